//! `rtun bench` from its command line to its JSON; how fast anything is, is not judged here.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{self, Write},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// Scenarios, contenders and figures of the run below.
const FIGURES: [(&str, &str, &[&str]); 5] = [
    ("tcp1", "relay", &["throughput", "cpu_hub"]),
    ("tcp1", "rtun", &["throughput", "cpu_hub", "cpu_host_A", "cpu_host_B"]),
    ("udp1372", "relay", &["rate"]),
    ("udp1372", "rtun", &["rate"]),
    ("ping-idle", "rtun", &["p50", "p99"]),
];

/// Many times what the run takes.
const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn every_figure_is_measured_and_written() {
    if let Err(reason) = rtun_lab::tun_available() {
        assert!(std::env::var_os("RTUN_TESTS_MUST_RUN").is_none(), "cannot run: {reason}");
        // Past the test harness, which shows the output of failed tests only.
        let _ = io::stderr().write_all(format!("skipped: {reason}\n").as_bytes());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figures.json");
    let output = bench(&[
        "--rounds=1",
        "--seconds=1",
        "--only=tcp1,udp1372,ping-idle",
        "--json",
        file.to_str().unwrap(),
    ]);
    for said in ["tcp1: One TCP stream", "throughput", "x relay", "cubic"] {
        assert!(output.contains(said), "{said:?} is not in:\n{output}");
    }
    let json: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(json["congestion_control"]["name"], "cubic", "{json:#}");
    for (scenario, contender, figures) in FIGURES {
        let row = &json["scenarios"][scenario][contender];
        assert_eq!(row["failures"], serde_json::json!([]), "{scenario} {contender}: {row:#}");
        for figure in figures {
            let median = row["figures"][figure]["median"].as_f64();
            assert!(median.is_some_and(|value| value > 0.0), "{scenario} {contender}: {row:#}");
        }
    }
    let ratio = &json["scenarios"]["tcp1"]["rtun"]["figures"]["throughput"]["ratios"]["relay"];
    assert!(ratio.as_f64().is_some_and(|ratio| ratio > 0.0), "{json:#}");
}

/// Runs the benchmark and answers what it printed.
fn bench(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rtun"));
    command.arg("bench").args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    // What it prints fits into the pipes.
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            // Unlike a kill this lets it end the programs it has started.
            kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("too slow: {}", String::from_utf8_lossy(&output.stderr));
        }
        thread::sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
