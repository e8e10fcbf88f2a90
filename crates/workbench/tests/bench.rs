//! `rtun-workbench bench` from its command line to its JSON; how fast anything is, is not judged here.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    fs,
    process::Stdio,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use common::{can_run, skipped};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rtun_lab::{Lab, tools};
use serde_json::Value;

/// Scenarios, contenders and figures of the run below.
const FIGURES: [(&str, &str, &[&str]); 6] = [
    ("tcp1", "relay", &["throughput", "cpu_hub"]),
    ("tcp1", "rtun", &["throughput", "cpu_hub", "cpu_host_A", "cpu_host_B"]),
    ("udp1372", "relay", &["rate"]),
    ("udp1372", "rtun", &["rate"]),
    ("ping-idle", "rtun", &["p50", "p99"]),
    // Without optimisation cutting and summing is so slow that a second of TCP may bring nothing.
    ("ping-idle", "rtun-plain", &["p50", "p99"]),
];

/// The same of the run with networks of their own; differences, which may be below zero, are not among them.
const LARGE: [(&str, &str, &[&str]); 4] = [
    ("stalled", "rtun", &["alone", "reading", "stalled", "kept", "stalled_p99"]),
    ("link100", "rtun", &["goodput", "idle_p99", "load_p50", "load_p99"]),
    ("idle10000", "rtun", &["held", "hub_after", "admitted_in"]),
    ("swap", "rtun", &["swap_in", "gap_quiet", "gap_busy", "gap_swap"]),
];

/// The same over a transport that there is, on a way that loses packets.
const OVER_TRANSPORTS: [(&str, &str, &[&str]); 4] = [
    ("lossy", "relay", &["tcp1", "tcp8", "udp", "udp_lost"]),
    ("lossy", "rtun+tcp", &["tcp1", "tcp8", "udp", "load_p50", "load_p99"]),
    ("fair100", "rtun+tcp", &["alone_0.25", "share_1", "both_1", "twins_4"]),
    ("transports", "rtun+tcp", &["throughput", "cpu_hub"]),
];

/// Two benchmarks at once take the processors from each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Many times what the run takes.
const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn every_figure_is_measured_and_written() {
    if !can_run() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (output, json) = bench(&["--plain", "--only=tcp1,udp1372,ping-idle"]);
    for said in ["tcp1: One TCP stream", "throughput", "x relay", "cubic", "target at least 0.600"]
    {
        assert!(output.contains(said), "{said:?} is not in:\n{output}");
    }
    assert_eq!(json["congestion_control"]["name"], "cubic", "{json:#}");
    assert_measured(&FIGURES, &json);
    let throughput = &json["scenarios"]["tcp1"]["rtun"]["figures"]["throughput"];
    let ratio = throughput["ratios"]["relay"].as_f64();
    assert!(ratio.is_some_and(|ratio| ratio > 0.0), "{json:#}");
    let target = &throughput["targets"][0];
    assert_eq!(target["met"], ratio >= target["at_least"].as_f64(), "{target}");
}

#[test]
fn scenarios_with_networks_of_their_own_run_at_small_sizes() {
    if !can_run() || skipped(slow_link_available()) {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let only = "--only=stalled,link100,idle10000,swap";
    let (output, json) = bench(&[only, "--associations=100", "--routes=1000"]);
    assert_measured(&LARGE, &json);
    let value = |scenario: &str, figure: &str| {
        let figure = &json["scenarios"][scenario]["rtun"]["figures"][figure];
        figure["median"].as_f64().unwrap_or_else(|| panic!("{scenario} {figure}:\n{output}"))
    };
    assert_eq!(value("idle10000", "held"), 100.0, "{output}");
    let goodput = value("link100", "goodput");
    assert!(goodput < 110.0, "the link is not limited: {goodput}");
    for scenario in ["stalled", "link100", "idle10000", "swap"] {
        assert_eq!(json["scenarios"][scenario]["relay"], Value::Null, "{scenario}");
    }
}

#[test]
fn transports_are_compared_and_one_that_is_not_there_is_skipped() {
    if !can_run() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (output, json) = bench(&["--only=lossy,fair100,transports", "--transports=tcp,pigeon"]);
    assert_measured(&OVER_TRANSPORTS, &json);
    for scenario in ["lossy", "transports"] {
        let skipped = &json["scenarios"][scenario]["rtun+pigeon"]["skipped"];
        assert!(skipped.as_str().is_some_and(|why| why.contains("refuses")), "{output}");
    }
    let relay = &json["scenarios"]["lossy"]["relay"]["figures"];
    let value = |figure: &str| relay[figure]["median"].as_f64().unwrap();
    // Thousands of datagrams, each lost by a chance of 1 in 100; streams cannot fill such a way.
    assert!((0.5..2.0).contains(&value("udp_lost")), "{output}");
    assert!(value("tcp1") < 20.0, "{output}");
    let through_tcp = &json["scenarios"]["lossy"]["rtun+tcp"]["figures"]["udp"]["ratios"]["relay"];
    assert!(through_tcp.as_f64().is_some_and(|ratio| ratio < 0.5), "{output}");
}

#[test]
fn udp_tunnels_are_compared_and_a_server_holds_as_many_addresses_as_it_takes() {
    if !can_run() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let variants = "--variants=udp,relay+tls,tap";
    let (output, json) = bench(&["--only=udp-tunnel,udp-addresses", variants]);
    let value = |scenario: &str, contender: &str, figure: &str| {
        let figure = &json["scenarios"][scenario][contender]["figures"][figure];
        figure["median"].as_f64().unwrap_or_else(|| panic!("{contender} {figure}:\n{output}"))
    };
    for contender in ["rtun+udp", "rtun+relay+tls", "rtun+tap"] {
        for figure in ["to_server", "throughput", "rate", "load_p99"] {
            assert!(value("udp-tunnel", contender, figure) > 0.0, "{output}");
        }
        let ratios = &json["scenarios"]["udp-tunnel"][contender]["figures"]["rate"]["ratios"];
        assert!(ratios["relay"].as_f64().is_some_and(|it| it > 0.0), "{ratios}");
    }
    // Sixteen of them would have the last address of the network among them.
    assert_eq!(value("udp-addresses", "rtun+udp", "addresses"), 65_520.0, "{output}");
    assert!(value("udp-addresses", "rtun+udp", "memory") < 64.0, "{output}");
}

/// Whether `tc` and the kernel can limit what a device sends.
fn slow_link_available() -> Result<(), String> {
    let limited = Lab::new().and_then(|lab| {
        let machine = lab.namespace("probe")?;
        tools::slow_link(&machine, "lo", 100)
    });
    limited.map_err(|error| error.to_string())
}

fn assert_measured(figures: &[(&str, &str, &[&str])], json: &Value) {
    for (scenario, contender, figures) in figures {
        let row = &json["scenarios"][scenario][contender];
        assert_eq!(row["failures"], serde_json::json!([]), "{scenario} {contender}: {row:#}");
        for figure in *figures {
            let median = row["figures"][figure]["median"].as_f64();
            assert!(median.is_some_and(|value| value > 0.0), "{scenario} {contender}: {row:#}");
        }
    }
}

/// Runs the benchmark for one round of 1 s; what it printed, and what it wrote.
fn bench(arguments: &[&str]) -> (String, Value) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figures.json");
    let mut command = common::workbench();
    command.args(["bench", "--rounds=1", "--seconds=1"]).args(arguments).arg("--json").arg(&file);
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
    let json = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    (String::from_utf8(output.stdout).unwrap(), json)
}
