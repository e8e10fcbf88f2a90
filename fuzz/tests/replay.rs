//! Runs every target with every committed input, on a stable compiler and without a fuzzer.

use std::{collections::BTreeSet, fs, path::PathBuf};

use rtun_fuzz::TARGETS;

const MAX_FILES: usize = 100;

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

#[test]
fn no_input_breaks_its_target() {
    for (name, target) in TARGETS {
        let directory = fs::read_dir(corpus().join(name)).unwrap();
        let files: Vec<_> = directory.map(|entry| entry.unwrap().path()).collect();
        assert!((1..=MAX_FILES).contains(&files.len()), "{name} has {} inputs", files.len());
        for file in files {
            let input = fs::read(&file).unwrap();
            // Shows the input if the target panics.
            println!("{}", file.display());
            target(&input);
        }
    }
}

#[test]
fn every_corpus_has_its_target() {
    let entries = fs::read_dir(corpus()).unwrap();
    let corpora: BTreeSet<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(corpora, targets);
}
