//! The files that the rules are for.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file of the repository.
pub(crate) struct SourceFile {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceFile {
    /// The directory of its crate: `rtun`, `fuzz` or `crates/NAME`.
    pub(crate) fn crate_dir(&self) -> &str {
        let parts = if self.path.starts_with("crates/") { 2 } else { 1 };
        let end = self.path.match_indices('/').nth(parts - 1).map(|(at, _)| at);
        &self.path[..end.unwrap_or(self.path.len())]
    }

    /// The path below the crate's `src`.
    pub(crate) fn in_src(&self) -> Option<&str> {
        self.path[self.crate_dir().len()..].strip_prefix("/src/")
    }

    /// Whether a program has written it: its first line says so.
    pub(crate) fn is_generated(&self) -> bool {
        self.text.starts_with("// This file is @generated")
    }

    pub(crate) fn is_in_src(&self) -> bool {
        self.in_src().is_some()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All Rust files of all crates, without this test.
pub(crate) fn rust_files() -> Vec<SourceFile> {
    let mut files = Vec::new();
    for directory in ["crates", "rtun", "fuzz"] {
        collect(&root().join(directory), "rs", &mut files);
    }
    files.retain(|file| !file.path.starts_with("rtun/tests/house/"));
    assert!(files.len() > 100, "the sources are found");
    files
}

/// The pages for people, without the changelog: it tells of the past.
pub(crate) fn pages() -> Vec<SourceFile> {
    let mut files = Vec::new();
    collect(&root().join("docs"), "md", &mut files);
    for name in ["README.md", "CONTRIBUTING.md", "SECURITY.md", "fuzz/README.md"] {
        files.push(read(&root().join(name)));
    }
    files
}

fn collect(directory: &Path, extension: &str, files: &mut Vec<SourceFile>) {
    let mut entries: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, extension, files);
        } else if path.extension().is_some_and(|it| it == extension) {
            files.push(read(&path));
        }
    }
}

fn read(path: &Path) -> SourceFile {
    let text = fs::read_to_string(path).unwrap();
    SourceFile { path: path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(), text }
}
