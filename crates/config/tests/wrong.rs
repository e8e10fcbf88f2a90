//! A corpus of wrong configurations, each with the exact text its operator sees.
//!
//! `tests/wrong/NAME.yaml`, `NAME.json` or `NAME.args` (one argument a line) gives `NAME.expected`. A first
//! line
//! `# strict` asks for the strict profile. `UPDATE_EXPECT=1` rewrites what is expected: read it before
//! committing it.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its files has failed")]

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use rtun_config::{
    Environment, Outcome, cli,
    findings::Profile,
    load, load_text,
    source::{ConfigSource, Content, ReadError},
};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong")
}

fn seen_by_an_operator(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let profile = match text.lines().next() {
        Some("# strict") => Profile::Strict,
        _ => Profile::Compat,
    };
    let outcome = match path.extension().unwrap().to_str().unwrap() {
        "yaml" => load_text(name, &text, false, profile),
        "json" => load_text(name, &text, true, profile),
        _ => {
            let arguments = text.lines().filter(|line| *line != "# strict");
            match cli::parse(arguments) {
                Ok(args) => load(&args, &Environment::default(), &mut read, profile),
                Err(error) => return format!("error: {error}\n"),
            }
        }
    };
    show(&outcome)
}

/// The sources that a command line names are in the directory `sources`.
fn read(source: &ConfigSource) -> Result<Content, ReadError> {
    let ConfigSource::File(path) = source else {
        return Err(ReadError::Other("status 404".to_owned()));
    };
    match fs::read(directory().join("sources").join(path)) {
        Ok(bytes) => Ok(Content { bytes, content_type: None }),
        Err(_) => Err(ReadError::NotFound),
    }
}

fn show(outcome: &Outcome) -> String {
    let mut shown = String::new();
    for finding in &outcome.findings {
        writeln!(shown, "{finding}").unwrap();
    }
    writeln!(shown, "exit status {}", outcome.exit_status()).unwrap();
    assert_eq!(outcome.config.is_none(), outcome.exit_status() == 78);
    shown
}

#[test]
fn every_wrong_configuration_gets_its_message() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut cases = 0;
    let mut wrong = String::new();
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if !matches!(extension, "yaml" | "json" | "args") {
            continue;
        }
        cases += 1;
        let shown = seen_by_an_operator(&path);
        assert!(!shown.starts_with("exit status 0"), "{} is not wrong", path.display());
        assert!(!shown.contains("secret"), "{} shows a password", path.display());
        let expected_path = path.with_extension("expected");
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if shown != expected {
            if update {
                fs::write(&expected_path, &shown).unwrap();
            } else {
                let name = path.display();
                writeln!(wrong, "== {name}\n-- expected\n{expected}-- shown\n{shown}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(cases >= 60, "only {cases} wrong configurations");
}
