//! What rtun says of its limits.

#![allow(unreachable_pub, reason = "a test program is no library")]

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::common::{Rtun, SOON};

/// The status of the first service of a process.
pub fn status(rtun: &Rtun) -> Value {
    of_process(rtun)["services"][0].take()
}

fn of_process(rtun: &Rtun) -> Value {
    let socket = rtun.wait_for("control socket is open")["path"].as_str().unwrap().to_owned();
    let output = Command::new(env!("CARGO_BIN_EXE_rtun"))
        .args(["status", "--json", "--socket", &socket])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut all: Value = serde_json::from_slice(&output.stdout).unwrap();
    all[0].take()
}

/// The status of one service.
pub fn service_status(rtun: &Rtun, name: &str) -> Value {
    let mut services = of_process(rtun)["services"].take();
    let mut all = services.as_array_mut().unwrap().iter_mut();
    all.find(|service| service["name"] == name).unwrap().take()
}

/// The same as text.
pub fn status_text(rtun: &Rtun) -> String {
    let socket = rtun.wait_for("control socket is open")["path"].as_str().unwrap().to_owned();
    let program = env!("CARGO_BIN_EXE_rtun");
    let output = Command::new(program).args(["status", "--socket", &socket]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The limits of a connected host, as `scope in out` in bytes a second.
pub fn limits_of(hub: &Rtun, host: &str) -> Vec<String> {
    let status = status(hub);
    let namespaces = status["namespaces"].as_array().unwrap();
    let mut hosts = namespaces.iter().flat_map(|it| it["hosts"].as_array().unwrap());
    let host = hosts.find(|it| it["host"] == host);
    let limits = host.map_or(&[][..], |it| it["limits"].as_array().unwrap());
    limits
        .iter()
        .map(|it| format!("{} {} {}", it["scope"].as_str().unwrap(), it["in"], it["out"]))
        .collect()
}

pub fn wait_for_limits(hub: &Rtun, host: &str, expected: &[&str]) {
    let mut seen = Vec::new();
    let started = Instant::now();
    while seen != expected {
        assert!(started.elapsed() < SOON, "{host}: {seen:?}, expected {expected:?}");
        thread::sleep(Duration::from_millis(50));
        seen = limits_of(hub, host);
    }
}

pub fn reload(hub: &Rtun) {
    hub.process.signal(Signal::SIGHUP).unwrap();
}
