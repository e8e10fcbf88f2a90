//! A lab built for real: needs root, or a user namespace's root.
//!
//! ```text
//!   a (10.9.0.1, fd09::1) --- switch --- b (10.9.0.2, fd09::2) === cable === c (10.8.0.2)
//! ```

#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rtun_lab::tools::{PingError, ping, tcp_hash_transfer, tcp_throughput, udp_echo};
use rtun_lab::{Lab, NetNamespace, Process, Switch};

const PATIENCE: Duration = Duration::from_secs(5);
/// Long enough for an answer on one machine, and short enough to wait if there is none.
const SILENCE: Duration = Duration::from_millis(300);

struct Pair {
    lab: Lab,
    switch: Switch,
    a: NetNamespace,
    b: NetNamespace,
}

/// Two machines on a switch; `None`, with a message, if it cannot be built.
fn pair() -> Option<Pair> {
    if let Err(reason) = rtun_lab::available() {
        eprintln!("skipped: {reason}");
        return None;
    }
    let lab = Lab::new().unwrap();
    let switch = lab.switch().unwrap();
    let a = lab.namespace("a").unwrap();
    let b = lab.namespace("b").unwrap();
    switch.attach(&a, "eth0", &["10.9.0.1/24", "fd09::1/64"]).unwrap();
    switch.attach(&b, "eth0", &["10.9.0.2/24", "fd09::2/64"]).unwrap();
    Some(Pair { lab, switch, a, b })
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn machines_on_a_switch_reach_each_other_over_both_families() {
    let Some(Pair { lab: _lab, switch: _switch, a, b }) = pair() else { return };
    for payload in [0, 1, 1400, 1452] {
        for dont_fragment in [false, true] {
            ping(&a, ip("10.9.0.2"), payload, dont_fragment, PATIENCE).unwrap();
            ping(&b, ip("10.9.0.1"), payload, dont_fragment, PATIENCE).unwrap();
            ping(&a, ip("fd09::2"), payload, dont_fragment, PATIENCE).unwrap();
            ping(&b, ip("fd09::1"), payload, dont_fragment, PATIENCE).unwrap();
        }
    }
    ping(&a, ip("127.0.0.1"), 10, false, PATIENCE).unwrap();
}

#[test]
fn long_pings_go_in_fragments_unless_that_is_forbidden() {
    let Some(Pair { lab: _lab, switch: _switch, a, b: _b }) = pair() else { return };
    for to in ["10.9.0.2", "fd09::2"] {
        ping(&a, ip(to), 9000, false, PATIENCE).unwrap();
        let refused = ping(&a, ip(to), 9000, true, PATIENCE);
        assert!(matches!(refused, Err(PingError::Send(_))), "{refused:?}");
    }
}

#[test]
fn a_cut_is_silent_and_can_be_restored() {
    let Some(Pair { lab: _lab, switch, a, b }) = pair() else { return };
    ping(&a, ip("10.9.0.2"), 10, false, PATIENCE).unwrap();
    switch.cut(&b).unwrap();
    let lost = ping(&a, ip("10.9.0.2"), 10, false, SILENCE);
    assert!(matches!(lost, Err(PingError::TimedOut)), "{lost:?}");
    let lost = ping(&b, ip("10.9.0.1"), 10, false, SILENCE);
    assert!(matches!(lost, Err(PingError::TimedOut)), "{lost:?}");
    let carrier = b.spawn(cat("/proc/net/route")).unwrap();
    assert!(output(&carrier).contains("eth0"), "the route through the cut device stays");
    switch.restore(&b).unwrap();
    ping(&a, ip("10.9.0.2"), 10, false, PATIENCE).unwrap();
    ping(&b, ip("fd09::1"), 10, false, PATIENCE).unwrap();
}

#[test]
fn addresses_and_devices_go_while_others_look_on() {
    let Some(Pair { lab: _lab, switch: _switch, a, b }) = pair() else { return };
    b.addr_add("eth0", "10.9.0.3/24").unwrap();
    ping(&a, ip("10.9.0.3"), 56, false, PATIENCE).unwrap();
    b.addr_remove("eth0", "10.9.0.3/24").unwrap();
    assert!(ping(&a, ip("10.9.0.3"), 56, false, SILENCE).is_err(), "the address is gone");
    assert!(b.addr_remove("eth0", "10.9.0.3/24").is_err(), "it is gone already");
    assert!(b.has_device("eth0"));
    b.device_remove("eth0").unwrap();
    assert!(!b.has_device("eth0"));
    assert!(b.device_remove("eth0").is_err(), "it is gone already");
}

#[test]
fn a_router_leads_to_the_network_behind_it() {
    let Some(Pair { lab, switch: _switch, a, b }) = pair() else { return };
    let c = lab.namespace("c").unwrap();
    lab.veth(&b, "eth1", &c, "eth0").unwrap();
    b.addr_add("eth1", "10.8.0.1/24").unwrap();
    b.addr_add("eth1", "10.8.0.1/24").unwrap();
    c.addr_add("eth0", "10.8.0.2/24").unwrap();
    let unreachable = ping(&a, ip("10.8.0.2"), 10, false, SILENCE);
    assert!(matches!(unreachable, Err(PingError::Send(_))), "{unreachable:?}");
    a.route_add("10.8.0.0/24", "10.9.0.2").unwrap();
    c.route_add("0.0.0.0/0", "10.8.0.1").unwrap();
    b.forward_packets().unwrap();
    ping(&a, ip("10.8.0.2"), 10, false, PATIENCE).unwrap();
    // A router's refusal is distinguished from silence.
    a.route_add("10.7.0.0/24", "10.9.0.2").unwrap();
    let refused = ping(&a, ip("10.7.0.1"), 10, false, PATIENCE);
    let from_b = ip("10.9.0.2");
    assert!(
        matches!(refused, Err(PingError::Refused { from, kind: 3, .. }) if from == from_b),
        "{refused:?}"
    );
}

#[test]
fn programs_end_with_the_lab() {
    let Some(Pair { lab, switch: _switch, a, .. }) = pair() else { return };
    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    let process = a.spawn(sleep).unwrap();
    assert_eq!(process.wait(SILENCE).unwrap(), None);
    drop(lab);
    assert!(!Path::new(&format!("/proc/{}", process.id())).exists());
    assert!(process.try_wait().unwrap().is_some());
    let late = a.spawn(cat("/dev/null")).unwrap_err();
    assert!(late.to_string().contains("dropped"), "{late}");
}

#[test]
fn programs_see_the_network_and_the_names_of_their_namespace() {
    let Some(Pair { lab: _lab, switch: _switch, a, b: _b }) = pair() else { return };
    a.hosts([("server_ip", "10.9.0.2"), ("other", "fd09::2")]);
    let mut getent = Command::new("getent");
    getent.args(["hosts", "server_ip"]);
    getent.stdout(Stdio::piped());
    let answer = output(&a.spawn(getent).unwrap());
    assert_eq!(answer.split_whitespace().collect::<Vec<_>>(), ["10.9.0.2", "server_ip"]);
    let devices = output(&a.spawn(cat("/proc/net/dev")).unwrap());
    assert!(devices.contains("eth0:"), "{devices}");
    let own = std::fs::read_to_string("/etc/hosts").unwrap();
    assert!(!own.contains("server_ip"), "this machine's own names stay as they are");
}

#[test]
fn transfers_arrive_whole_and_are_measured() {
    let Some(Pair { lab: _lab, switch: _switch, a, b }) = pair() else { return };
    for address in ["10.9.0.2:0", "[fd09::2]:0"] {
        let address = address.parse().unwrap();
        let moved = tcp_hash_transfer(&a, &b, address, 3_000_001).unwrap();
        assert_eq!(moved.bytes, 3_000_001);
        let moved = tcp_throughput(&a, &b, address, SILENCE).unwrap();
        assert!(moved.gbit_per_s() > 0.1, "{moved:?}");
        assert!(!moved.congestion_control.is_empty());
    }
    let nobody = tcp_throughput(&a, &b, "10.9.0.77:0".parse().unwrap(), SILENCE).unwrap_err();
    assert!(nobody.to_string().starts_with("receiving on 10.9.0.77"), "{nobody}");
}

#[test]
fn datagrams_come_back() {
    let Some(Pair { lab: _lab, switch: _switch, a, b }) = pair() else { return };
    let server = udp_echo(&b, "10.9.0.2:0".parse().unwrap()).unwrap();
    let answer = a.run(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(b"hello", server.address()).unwrap();
        let mut buffer = [0; 16];
        let (length, _) = socket.recv_from(&mut buffer).unwrap();
        buffer[..length].to_vec()
    });
    assert_eq!(answer.unwrap(), b"hello");
}

#[test]
fn wrong_arguments_are_named() {
    let Some(Pair { lab: _lab, switch, a, b }) = pair() else { return };
    let error = a.addr_add("eth0", "10.9.0.1").unwrap_err().to_string();
    assert!(error.contains("\"10.9.0.1\" is not an address with its prefix length"), "{error}");
    let error = a.addr_add("eth7", "10.9.0.1/24").unwrap_err().to_string();
    assert!(error.contains("in namespace a: looking for network device eth7"), "{error}");
    let error = switch.attach(&b, "eth0", &["10.9.0.3/24"]).unwrap_err().to_string();
    assert!(error.contains("connecting b (eth0)"), "{error}");
    let error = a.sysctl("ipv4/nonsense", "1").unwrap_err().to_string();
    assert!(error.contains("/proc/sys/net/ipv4/nonsense"), "{error}");
    let error = a.tcp_congestion("nonsense").unwrap_err().to_string();
    assert!(error.contains("nonsense"), "{error}");
}

fn cat(path: &str) -> Command {
    let mut cat = Command::new("cat");
    cat.arg(path).stdout(Stdio::piped());
    cat
}

fn output(process: &Process) -> String {
    let text = std::io::read_to_string(process.stdout().unwrap()).unwrap();
    let status = process.wait(PATIENCE).unwrap().expect("it closed its output");
    assert!(status.success(), "{status}");
    text
}
