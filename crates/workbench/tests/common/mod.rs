//! What the tests of the workbench's commands have in common: the programs, and whether this machine lets them run.

// Each test program uses a part of it.
#![allow(dead_code)]

use std::{
    io::{self, Write},
    path::Path,
    process::Command,
};

/// The workbench; `rtun` is in the same directory.
pub(crate) fn workbench() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_rtun-workbench"));
    let rtun = program.with_file_name("rtun");
    assert!(
        rtun.is_file(),
        "{} is not built: `cargo build -p rtun` builds it, `cargo test --workspace` does too",
        rtun.display()
    );
    Command::new(program)
}

/// Whether there may be networks with TUN devices; says why if not.
pub(crate) fn can_run() -> bool {
    !skipped(rtun_lab::tun_available())
}

/// Says why if it is.
pub(crate) fn skipped(available: Result<(), String>) -> bool {
    let Err(reason) = available else { return false };
    assert!(std::env::var_os("RTUN_TESTS_MUST_RUN").is_none(), "cannot run: {reason}");
    // Past the test harness, which shows the output of failed tests only.
    let _ = io::stderr().write_all(format!("skipped: {reason}\n").as_bytes());
    true
}
