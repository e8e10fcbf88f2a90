//! `rtun ping`: the path to a host leg by leg, on hosts and on hubs, with other programs at the ends, and what a hub
//! answers hosts.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    net::{IpAddr, UdpSocket},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use common::{
    HUB, Rtun, THREE_HOSTS, World, gost,
    raw::{RawHost, request},
    wait_until,
};
use rtun_lab::{Direction, Wan};
use rtun_proto::extension::{Capabilities, Echo, EchoOutcome, EchoReply, Extension};
use serde_json::Value;

const OTHER: &str = "e87f56dd-fd57-4921-9ab8-a0847662daae";
const OTHER_BYTES: [u8; 16] = [
    0xe8, 0x7f, 0x56, 0xdd, 0xfd, 0x57, 0x49, 0x21, 0x9a, 0xb8, 0xa0, 0x84, 0x76, 0x62, 0xda, 0xae,
];

/// Runs `rtun ping` at the process with this log; its exit status and what it prints.
fn ping(of: &Rtun, arguments: &[&str]) -> (i32, String) {
    let socket = of.wait_for("control socket is open")["path"].clone();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rtun"));
    command.arg("ping").args(arguments).arg("--socket").arg(Path::new(socket.as_str().unwrap()));
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// What `rtun ping --json` says of each leg in the end.
fn legs(of: &Rtun, arguments: &[&str]) -> Vec<Value> {
    let (status, text) = ping(of, &[arguments, &["--json", "-i", "0.1"]].concat());
    assert_eq!(status, 0, "{text}");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["probe"].is_null()).collect()
}

fn number(leg: &Value, key: &str) -> f64 {
    leg[key].as_f64().unwrap_or_else(|| panic!("{key} of {leg}"))
}

/// A host behind a long path that loses packets longer than this, connected over QUIC.
fn far_host(world: &World, n: u8, delay: Duration, longest: usize) -> (Rtun, Wan) {
    let (machine, wan, hub) = world.far(&format!("far-{n}"), delay);
    for direction in [Direction::AToB, Direction::BToA] {
        wan.change(direction, |path| path.longest = Some(longest));
    }
    let service = format!("tun:///host-{n}?net=192.168.123.{n}/24");
    let host = world.start(&machine, &["-L", &service, "-F", &format!("router+quic://{hub}:8443")]);
    (host, wan)
}

#[test]
fn each_leg_has_its_own_round_trip_loss_and_datagrams() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&THREE_HOSTS.replace("type: tcp", "type: quic"));
    let (one, _near) = far_host(&world, 1, Duration::from_millis(5), 1300);
    let (two, far) = far_host(&world, 2, Duration::from_millis(20), 1500);
    one.wait_for("joined the hub");
    two.wait_for("joined the hub");

    let mut found = Vec::new();
    // What goes as a datagram grows while the path is searched for longer ones; the first probes may come before a host's hello.
    wait_until("the datagrams of both legs", || {
        found = legs(&one, &["host-2", "-c", "3"]);
        let longest = |leg: &Value| leg["datagram"].as_f64().unwrap_or_default();
        found[1]["sent"] == 3 && longest(&found[1]) > 1350.0 && longest(&found[0]) > 1200.0
    });
    let [first, second] = &found[..] else { panic!("{found:?}") };
    assert_eq!([&first["from"], &second["to"]], ["host-1", "host-2"]);
    assert!(first["to"].as_str().unwrap().ends_with(":8443") && first["to"] == second["from"]);
    for (leg, least) in [(first, 0.01), (second, 0.04)] {
        assert_eq!([&leg["sent"], &leg["received"], &leg["mtu"]], [3, 3, 1420], "{leg}");
        assert!((least..least + 0.03).contains(&number(leg, "min")), "{leg}");
        assert!(number(leg, "jitter") < 0.03 && number(leg, "loss") == 0.0, "{leg}");
    }
    assert!(number(first, "datagram") < 1300.0, "what the path takes: {first}");

    // The hub sees one leg, with the same numbers; a probe that is too long for a datagram goes on the stream.
    let at_hub = legs(&hub, &["host-1", "-c", "1", "-s", "1400"]);
    assert_eq!((at_hub.len(), &at_hub[0]["from"]), (1, &Value::from("service-0")));
    assert!(number(&at_hub[0], "min") >= 0.01 && number(&at_hub[0], "datagram") < 1300.0);

    far.change(Direction::BToA, |path| path.loss = 0.5);
    wait_until("a loss on the second leg alone", || {
        let (_, text) = ping(&one, &["host-2", "-c", "1", "--json"]);
        let probe: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(probe["legs"][0]["outcome"], "answered", "{probe}");
        probe["legs"][1]["outcome"] == "lost"
    });
    far.change(Direction::BToA, |path| path.loss = 0.0);
    hub.stop_balanced();
}

#[test]
fn the_other_end_may_be_away_elsewhere_older_or_another_program() {
    let Some(world) = World::new() else { return };
    let other =
        format!("- name: {OTHER}\n  routes:\n  - {{dst: 192.168.123.9, gateway: host-9}}\n");
    let hub = world.hub(&format!("{THREE_HOSTS}{other}"));
    let machine = world.machine("host-1");
    let one = world.join(&machine, 1);
    one.wait_for("joined the hub");
    let raws = world.machine("raws");

    let path = legs(&one, &["host-1", "-c", "2"]);
    assert_eq!((path[0]["received"].clone(), path[1]["received"].clone()), (2.into(), 2.into()));
    assert_eq!(path[0]["datagram"], Value::Null, "a stream has none");
    let (status, text) = ping(&one, &["host-1", "-c", "1", "-s", "1420"]);
    assert_eq!(status, 0, "{text}");
    assert!(
        text.starts_with(&format!("host-1 -> {HUB}")) || text.starts_with("host-1 -> "),
        "{text}"
    );
    assert!(text.contains("LEG") && text.contains("JITTER"), "{text}");

    // A host of another namespace is as one that is away: only the hub itself knows it.
    let mut elsewhere = RawHost::connect(&raws);
    elsewhere.ask(&request("host-9", OTHER_BYTES));
    let (_, away) = ping(&one, &["host-3"]);
    let (status, apart) = ping(&one, &["host-9"]);
    assert_eq!(status, 1, "{apart}");
    assert!(apart.contains("no host of that name is connected in this namespace"), "{apart}");
    let after_probe =
        |text: &str| text.lines().nth(1).unwrap().split_once("+").unwrap().1.to_owned();
    assert_eq!(after_probe(&away), after_probe(&apart));
    let (_, at_hub) = ping(&hub, &["host-9"]);
    assert!(at_hub.contains("a program other than rtun"), "{at_hub}");
    let (status, nobody) = ping(&hub, &["host-3"]);
    assert!(status == 1 && nobody.contains("no host host-3 is connected"), "{nobody}");

    // Without the extension it cannot be asked; an older rtun answers pings.
    let silent = RawHost::join(&raws, "host-2");
    let (status, text) = ping(&one, &["host-2"]);
    assert!(status == 1 && text.contains("a program other than rtun"), "{text}");
    drop(silent);
    let mut older = RawHost::join_greeting(&raws, "host-3", 3, Capabilities::NONE);
    let answering = thread::spawn(move || {
        // Answers pings until the hub ends.
        while older.stream.peek(&mut [0]).is_ok_and(|bytes| bytes > 0) {
            let mut frame = [0; 11];
            if std::io::Read::read_exact(&mut older.stream, &mut frame).is_err() {
                return;
            }
            older.send(&[&[5][..], &frame[3..]].concat());
        }
    });
    let path = legs(&one, &["host-3", "-c", "1", "-s", "1000"]);
    assert_eq!((&path[1]["received"], &path[1]["mtu"]), (&1.into(), &65535.into()));

    // So it is with GOST: its hosts are connected and answer nothing, and its hubs measure nothing.
    if let Some(_host) = gost::start(
        &world,
        &world.machine("gost-host"),
        &["-L", "tun:///host-2?net=192.168.123.2/24", "-F", "router://server_ip:8443"],
    ) {
        let joined = |line: &Value| line["message"] == "host joined" && line["host"] == "host-2";
        wait_until("GOST's host", || hub.lines().iter().filter(|line| joined(line)).count() == 2);
        let (status, text) = ping(&one, &["host-2"]);
        assert!(status == 1 && text.contains("a program other than rtun"), "{text}");

        let server = world.machine("gost-hub");
        let file = world.file("gost.yaml", THREE_HOSTS);
        let _hub = gost::start(&world, &server, &["-C", file.to_str().unwrap()]).unwrap();
        let address = server.run(local_address).unwrap();
        let guest = world.machine("guest");
        let service = ["-L", "tun:///host-3?net=192.168.123.3/24", "-F"];
        let guest =
            world.start(&guest, &[&service[..], &[&format!("router://{address}:8443")]].concat());
        guest.wait_for("joined the hub");
        let (status, text) = ping(&guest, &["host-2"]);
        assert!(status == 1 && text.contains("the hub runs a program other than rtun"), "{text}");
    }
    hub.stop();
    answering.join().unwrap();
}

/// The address of this machine on the switch.
fn local_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect((HUB, 9)).unwrap();
    socket.local_addr().unwrap().ip()
}

fn echo(raw: &mut RawHost, host: &str, n: u8, length: u16) {
    let mut frame = Vec::new();
    let echo = Echo { stamp: [n; 8], host: host.into(), length };
    Extension::Echo(echo).write_frame(&mut frame).unwrap();
    raw.send(&frame[2..]);
}

fn reply(raw: &mut RawHost) -> EchoReply {
    match Extension::decode(&raw.receive()).unwrap() {
        Extension::EchoReply(reply) => reply,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hub_answers_echoes_within_bounds() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(THREE_HOSTS);
    let machine = world.machine("raws");
    let mut one = RawHost::join(&machine, "host-1");
    assert!(one.greet(1, Capabilities::ECHOES).accepted.has(Capabilities::ECHOES));
    echo(&mut one, "", 1, 900);
    let answer = reply(&mut one);
    assert_eq!((answer.stamp, answer.outcome, answer.length), ([1; 8], EchoOutcome::Answered, 900));
    echo(&mut one, "no host\u{a0}name", 2, 0);
    assert_eq!(reply(&mut one).outcome, EchoOutcome::NotConnected);

    // Its own name leads back to it; a host that does not answer is lost after a second, and further questions meanwhile are refused.
    for n in 0..20 {
        echo(&mut one, "host-1", 10 + n, 100);
    }
    let mut outcomes = Vec::new();
    let asked = loop {
        match Extension::decode(&one.receive()).unwrap() {
            Extension::EchoReply(reply) => outcomes.push(reply.outcome),
            Extension::Echo(echo) => break echo,
            other => panic!("{other:?}"),
        }
    };
    assert!(asked.host.is_empty() && asked.length == 100, "{asked:?}");
    // One is asked, eight wait, and the task may have taken one of these already.
    while outcomes.len() < 11 {
        outcomes.push(reply(&mut one).outcome);
    }
    assert!(outcomes.iter().all(|outcome| *outcome == EchoOutcome::Busy), "{outcomes:?}");
    let first = reply(&mut one);
    assert_eq!((first.stamp, first.outcome, first.mtu), ([10; 8], EchoOutcome::Lost, u16::MAX));

    // A forged answer and one that is too late change nothing.
    let mut forged = Vec::new();
    Extension::EchoReply(EchoReply { stamp: asked.stamp, ..answer })
        .write_frame(&mut forged)
        .unwrap();
    one.send(&forged[2..]);
    drop(one);
    hub.wait_for("host left");
    hub.stop_balanced();
}
