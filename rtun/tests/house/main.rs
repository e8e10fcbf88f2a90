//! Rules for the sources and pages of this repository: sizes of files, names of types, uses between files, words.
//!
//! Every violation is reported as `file:line: what is wrong; what to do instead`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod circles;
mod code;
mod source;
mod words;

use std::collections::BTreeMap;

use source::SourceFile;

/// The most lines of a file. A longer file has a second subject, or its tests can move to `FILE/tests.rs`.
const MAX_LINES: usize = 650;

fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

#[test]
fn no_file_is_too_long() {
    let written = source::rust_files().into_iter().filter(|file| !file.is_generated());
    let long = written.filter_map(|file| {
        let lines = file.text.lines().count();
        let path = &file.path;
        (lines > MAX_LINES).then(|| {
            format!(
                "{path}:{MAX_LINES}: {lines} lines; at most {MAX_LINES}, split the file by subject"
            )
        })
    });
    assert_none(&long.collect::<Vec<_>>());
}

#[test]
fn no_type_name_is_defined_in_two_crates() {
    let files = source::rust_files();
    let mut types: BTreeMap<String, Vec<(&SourceFile, usize)>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_in_src()) {
        for (line, name) in code::type_names(&code::without_text(&file.text)) {
            types.entry(name).or_default().push((file, line));
        }
    }
    let mut violations = Vec::new();
    for (name, places) in types {
        let (first, _) = places[0];
        if places.iter().all(|(file, _)| file.crate_dir() == first.crate_dir()) {
            continue;
        }
        for (file, line) in &places {
            let others = places.iter().filter(|(other, _)| other.crate_dir() != file.crate_dir());
            let others: Vec<_> =
                others.map(|(other, line)| format!("{}:{line}", other.path)).collect();
            violations.push(format!(
                "{}:{line}: `{name}` is also defined in {}; give one of them the name of its subject",
                file.path,
                others.join(", ")
            ));
        }
    }
    assert_none(&violations);
}

#[test]
fn no_files_of_a_crate_use_each_other_in_a_circle() {
    let files = source::rust_files();
    let mut crates: BTreeMap<&str, Vec<&SourceFile>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_in_src()) {
        crates.entry(file.crate_dir()).or_default().push(file);
    }
    let violations: Vec<_> = crates.values().flat_map(|files| circles::find(files)).collect();
    assert_none(&violations);
}

#[test]
fn no_old_word_is_used() {
    let files = source::rust_files().into_iter().chain(source::pages());
    assert_none(&files.flat_map(|file| words::check(&file)).collect::<Vec<_>>());
}
