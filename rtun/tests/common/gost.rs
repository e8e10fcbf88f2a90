//! A GOST program, for tests that hold rtun against it.

use std::{
    fs::File,
    io::{self, Write as _},
    process::{Command, Stdio},
};

use rtun_lab::{NetNamespace, Process};

use super::World;

/// The path of a GOST program, which `RTUN_GOST` names; without one this part of the test is reported as skipped.
pub fn program() -> Option<String> {
    let gost = std::env::var("RTUN_GOST").ok();
    if gost.is_none() {
        // Past the test harness, which shows the output of failed tests only.
        let _ = io::stderr().write_all(b"skipped: RTUN_GOST names no GOST program to compare\n");
    }
    gost
}

/// Starts GOST, if there is one; its log goes into the test's folder.
pub fn start(world: &World, machine: &NetNamespace, arguments: &[&str]) -> Option<Process> {
    let mut command = Command::new(program()?);
    let log = File::create(world.file(&format!("gost-{}.log", machine.name()), "")).unwrap();
    // It writes files where it is started.
    command.args(arguments).current_dir(world.folder.path()).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log);
    Some(machine.spawn(command).unwrap())
}
