//! The live page in a real browser: `crates/api/page/test` has what is tried there.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Node with these arguments in the folder of the page; `None` where there is no browser, or where the tools of the tests are not
/// installed, unless `RTUN_TESTS_MUST_RUN` is set.
fn node(arguments: &[&str]) -> Option<Command> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/api/page");
    let has = |program: &str| {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|path| path.join(program).is_file())
    };
    let missing = [
        (!has("node"), "node"),
        (!Path::new("/usr/bin/chromium").is_file(), "chromium"),
        (!folder.join("node_modules/puppeteer-core").is_dir(), "puppeteer: run script/page"),
    ];
    if let Some((_, what)) = missing.iter().find(|(is_missing, _)| *is_missing) {
        assert!(std::env::var_os("RTUN_TESTS_MUST_RUN").is_none(), "no {what}");
        // Past the test harness, which shows the output of failed tests only.
        let _ = io::stderr().write_all(format!("skipped: no {what}\n").as_bytes());
        return None;
    }
    let mut command = Command::new("node");
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    Some(command)
}

#[test]
fn the_page_does_what_it_should_in_front_of_a_hub_that_is_made_up() {
    let Some(mut node) = node(&["--test", "test/page.test.mjs"]) else { return };
    let output = node.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
