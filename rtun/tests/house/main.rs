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

/// Violations that were there when the rule was written. A number may only become smaller, and goes with its last one.
const FILES_LEFT: usize = 3;
const TYPE_NAMES_LEFT: usize = 50;
const CIRCLES_LEFT: usize = 28;
const WORDS_LEFT: usize = 461;

fn assert_at_most(left: usize, violations: &[String]) {
    let found = violations.len();
    assert!(found <= left, "{found} violations, at most {left}:\n{}", violations.join("\n"));
}

#[test]
fn no_more_files_are_too_long() {
    let long = source::rust_files().into_iter().filter_map(|file| {
        let lines = file.text.lines().count();
        let path = &file.path;
        (lines > MAX_LINES).then(|| {
            format!(
                "{path}:{MAX_LINES}: {lines} lines; at most {MAX_LINES}, split the file by subject"
            )
        })
    });
    assert_at_most(FILES_LEFT, &long.collect::<Vec<_>>());
}

#[test]
fn no_further_type_name_is_defined_in_two_crates() {
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
    assert_at_most(TYPE_NAMES_LEFT, &violations);
}

#[test]
fn no_further_files_of_a_crate_use_each_other_in_a_circle() {
    let files = source::rust_files();
    let mut crates: BTreeMap<&str, Vec<&SourceFile>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_in_src()) {
        crates.entry(file.crate_dir()).or_default().push(file);
    }
    let violations: Vec<_> = crates.values().flat_map(|files| circles::find(files)).collect();
    assert_at_most(CIRCLES_LEFT, &violations);
}

#[test]
fn no_old_word_comes_back() {
    let files = source::rust_files().into_iter().chain(source::pages());
    assert_at_most(WORDS_LEFT, &files.flat_map(|file| words::check(&file)).collect::<Vec<_>>());
}
