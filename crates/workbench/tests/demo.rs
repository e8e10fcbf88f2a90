//! `rtun-workbench demo` as its reader sees it, and what both commands say where there is no `rtun`.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use common::can_run;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

#[test]
fn the_demo_shows_the_network_and_a_signal_ends_all_of_it() {
    if !can_run() {
        return;
    }
    let mut command = common::workbench();
    command.arg("demo").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut demo = command.spawn().unwrap();
    let mut said = String::new();
    // A demo that fails ends, and its output with it.
    for line in BufReader::new(demo.stdout.take().unwrap()).lines() {
        said += &format!("{}\n", line.unwrap());
        if said.contains("kill -HUP") {
            break;
        }
    }
    for shown in ["host-1 reaches host-2", "reaches one behind host-2", "Gbit/s", "What to try"] {
        assert!(said.contains(shown), "{shown:?} is not in:\n{said}");
    }
    let hub = said.split_once("kill -USR1 ").unwrap().1.split_once(';').unwrap().0;
    let process = Path::new("/proc").join(hub);
    assert_eq!(fs::read_to_string(process.join("comm")).unwrap(), "rtun\n");
    let folder = said.split_once("logs: ").unwrap().1.lines().next().unwrap();
    assert!(Path::new(folder).join("host-1.yaml").is_file(), "{folder}");

    kill(Pid::from_raw(demo.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert!(demo.wait().unwrap().success());
    assert!(!process.exists(), "the hub runs on");
    assert!(!Path::new(folder).exists(), "{folder} is left");
}

#[test]
fn a_signal_at_the_start_leaves_nothing_either() {
    if !can_run() {
        return;
    }
    let mut command = common::workbench();
    command.arg("demo").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut demo = command.spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let line = lines.by_ref().map(Result::unwrap).find(|line| line.contains("logs: ")).unwrap();
    let folder = line.split_once("logs: ").unwrap().1;
    kill(Pid::from_raw(demo.id().cast_signed()), Signal::SIGTERM).unwrap();
    let output = demo.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "rtun-workbench demo: ended by a signal\n");
    assert!(!Path::new(folder).exists(), "{folder} is left");
    for process in fs::read_dir("/proc").unwrap() {
        // A process that has ended meanwhile has no command line.
        let line = fs::read(process.unwrap().path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        assert!(!line.contains(folder), "runs on: {line}");
    }
}

#[test]
fn without_rtun_both_commands_say_how_to_build_it() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let alone = folder.path().join("rtun-workbench");
    // A copy that is just written may still be open in a program that the other test starts.
    fs::hard_link(env!("CARGO_BIN_EXE_rtun-workbench"), &alone).unwrap();
    for arguments in [&["demo", "--once"][..], &["bench", "--rounds=1", "--seconds=1"]] {
        let output = Command::new(&alone).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        let start = format!("rtun-workbench {}: there is no program rtun in ", arguments[0]);
        assert!(said.starts_with(&start), "{said}");
        assert!(said.contains("cargo build --release -p rtun -p rtun-workbench"), "{said}");
        let named = [arguments, &["--rtun", "/nowhere/rtun"]].concat();
        let output = Command::new(&alone).args(named).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("there is no file /nowhere/rtun"), "{said}");
    }
}
