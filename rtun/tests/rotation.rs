//! Certificates that are replaced, broken and run out while packets pass.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use common::{Rtun, THREE_HOSTS, World, at, reaches};
use nix::sys::signal::Signal;
use rtun_lab::{
    NetNamespace,
    tools::{Pulse, PulseRun, UdpEcho, udp_echo},
};
use rtun_settings::{DialTls, SocketOptions, Verification};
use rtun_tls::{Authority, Connector, Issued};
use rtun_transport::tcp;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// For what a hub does by itself within its second.
const PATIENCE: Duration = Duration::from_secs(20);

/// A hub with TLS, hosts that verify its certificate, and somebody who looks at it from outside.
struct Network {
    hub: Rtun,
    authority: Authority,
    ca: PathBuf,
    watcher: NetNamespace,
    world: World,
}

impl Network {
    /// A hub whose certificate is valid for so long.
    fn new(validity: Duration) -> Option<Self> {
        let world = World::new()?;
        let (authority, own) = Authority::make("authority", 24 * HOUR).unwrap();
        let ca = world.file("ca.pem", &own.certificate);
        save(&world, &issue(&authority, validity));
        let config = THREE_HOSTS.replace(
            "listener: {type: tcp}",
            "listener: {type: tls, tls: {certFile: hub.pem, keyFile: hub.key}}",
        );
        let hub = world.hub(&config);
        let watcher = world.machine("watcher");
        Some(Self { hub, authority, ca, watcher, world })
    }

    fn issue(&self, validity: Duration) -> Issued {
        issue(&self.authority, validity)
    }

    fn save(&self, issued: &Issued) {
        save(&self.world, issued);
    }

    fn join(&self, machine: &NetNamespace, n: u8) -> Rtun {
        let service = format!("tun:///host-{n}?net=192.168.123.{n}/24");
        let node = "router+tls://server_ip:8443?secure=true&serverName=hub.example&caFile=ca.pem";
        self.world.start(machine, &["-L", &service, "-F", node])
    }

    /// The fingerprint of the certificate that is shown to somebody who verifies it, or why nobody connects.
    fn shown(&self) -> Result<String, String> {
        let tls = DialTls {
            verification: Verification::Full { ca: Some(self.ca.clone()) },
            server_name: Some("hub.example".into()),
            ..DialTls::default()
        };
        let connector = Connector::new(&tls, &[]).unwrap();
        let connect = async {
            let hub = at(common::HUB, 8443).into();
            let stream =
                tcp::connect(&hub, &SocketOptions::default(), None, PATIENCE).await.unwrap();
            let connected = rtun_transport::tls::connect(&connector, Arc::new(stream), "").await;
            connected.map(|connected| connected.certificate.unwrap().sha256.to_string())
        };
        self.watcher.block_on(connect).unwrap().map_err(|error| error.to_string())
    }

    /// Waits until this certificate is the one that is shown; until then it is the other.
    fn wait_for(&self, new: &str, old: &str) {
        let start = Instant::now();
        loop {
            let shown = self.shown().unwrap();
            if shown == new {
                return;
            }
            assert_eq!(shown, old, "one or the other");
            assert!(
                start.elapsed() < PATIENCE,
                "the hub keeps its certificate: {}",
                self.hub.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn fingerprint(issued: &Issued) -> String {
    issued.info.sha256.to_string()
}

fn issue(authority: &Authority, validity: Duration) -> Issued {
    authority.server(&["hub.example".to_owned()], validity).unwrap()
}

fn save(world: &World, issued: &Issued) {
    world.file("hub.key", &issued.key);
    world.file("hub.pem", &issued.certificate);
}

/// Two hosts between which packets pass all the time, there and back.
struct Traffic {
    hosts: [Rtun; 2],
    pulse: Pulse,
    _echo: UdpEcho,
}

impl Traffic {
    fn begin(network: &Network) -> Self {
        let (one, two) = (network.world.machine("host-1"), network.world.machine("host-2"));
        let hosts = [network.join(&one, 1), network.join(&two, 2)];
        reaches(&one, "192.168.123.2");
        let echo = udp_echo(&two, at("192.168.123.2", 7)).unwrap();
        let pulse = Pulse::start(&one, echo.address(), Duration::from_millis(5)).unwrap();
        Self { hosts, pulse, _echo: echo }
    }

    /// Nothing was lost, and nobody has connected anew.
    fn end(self) -> PulseRun {
        let run = self.pulse.stop().unwrap();
        assert_eq!(run.arrived, run.sent, "{run:?}");
        for host in self.hosts {
            assert_eq!(host.said("joined the hub").len(), 1, "{}", host.log());
            host.stop();
        }
        run
    }
}

fn complaints(hub: &Rtun) -> Vec<String> {
    let messages = hub.lines().into_iter().map(|line| line["message"].as_str().unwrap().to_owned());
    messages.filter(|message| message.starts_with("the certificate stays as it was")).collect()
}

#[test]
fn a_hundred_certificates_in_a_row_cost_no_packet() {
    const ROUNDS: usize = 100;
    let Some(network) = Network::new(HOUR) else { return };
    let traffic = Traffic::begin(&network);
    let mut old = network.shown().unwrap();
    for round in 0..ROUNDS {
        let new = network.issue(HOUR);
        network.save(&new);
        // Now and then nobody tells the hub, which looks by itself.
        if round % 10 != 9 {
            network.hub.process.signal(Signal::SIGHUP).unwrap();
        }
        let new = fingerprint(&new);
        network.wait_for(&new, &old);
        old = new;
    }
    let run = traffic.end();
    assert!(run.sent > 500, "{run:?}");
    network.hub.stop_balanced();
}

#[test]
fn a_broken_pair_changes_nothing_and_is_complained_of_once() {
    let Some(network) = Network::new(HOUR) else { return };
    let before = network.shown().unwrap();
    let traffic = Traffic::begin(&network);
    let next = network.issue(HOUR);
    let foreign = network.issue(HOUR);
    // The certificate of one and the key of another; half a certificate; nothing at all.
    network.world.file("hub.pem", &next.certificate);
    let hub = &network.hub;
    let wait_for = |count: usize| {
        let start = Instant::now();
        while complaints(hub).len() < count {
            assert!(start.elapsed() < PATIENCE, "{}", hub.log());
            thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for(1);
    network.world.file("hub.key", &foreign.key);
    network.world.file("hub.pem", &next.certificate[..next.certificate.len() / 2]);
    wait_for(2);
    fs::remove_file(network.ca.with_file_name("hub.pem")).unwrap();
    wait_for(3);
    // It looks three times more at least, and has nothing new to say.
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        assert_eq!(network.shown().as_ref(), Ok(&before));
        thread::sleep(Duration::from_millis(100));
    }
    let said = complaints(hub);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].contains("hub.key does not belong to the certificate in hub.pem"), "{said:?}");
    assert!(said[2].contains("cannot read hub.pem"), "{said:?}");

    network.save(&next);
    network.wait_for(&fingerprint(&next), &before);
    traffic.end();
    network.hub.stop_balanced();
}

#[test]
fn a_certificate_that_runs_out_ends_nothing_that_runs_and_lets_nobody_else_in() {
    let Some(network) = Network::new(Duration::from_secs(15)) else { return };
    let three = network.world.machine("host-3");
    let traffic = Traffic::begin(&network);
    let start = Instant::now();
    let refusal = loop {
        if let Err(refusal) = network.shown() {
            break refusal;
        }
        assert!(start.elapsed() < 2 * PATIENCE, "it is still taken");
        thread::sleep(Duration::from_millis(100));
    };
    assert!(refusal.contains("it was valid until "), "{refusal}");
    network.hub.wait_for("the hub's certificate has expired");

    let late = network.join(&three, 3);
    let start = Instant::now();
    while !late.log().contains("is refused: it was valid until ") {
        assert!(start.elapsed() < PATIENCE, "{}", late.log());
        thread::sleep(Duration::from_millis(20));
    }
    assert!(late.said("joined the hub").is_empty());

    // A new one is all it takes.
    network.save(&network.issue(HOUR));
    late.wait_for("joined the hub");
    reaches(&three, "192.168.123.1");
    let run = traffic.end();
    assert!(run.sent > 1000, "it ran before and after: {run:?}");
    late.stop();
    network.hub.stop_balanced();
}
