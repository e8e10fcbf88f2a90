//! A host whose only way out is a proxy that wants to know who it is: squid and CONNECT, microsocks and SOCKS5; proxies of every
//! kind over every transport.
//!
//! ```text
//!   host-1 (10.1.0.2) --- 10.1.0.1 proxy 10.0.0.x --- switch --- hub.test:8443 (TLS), host-2
//! ```

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use common::{
    HUB, Rtun, THREE_HOSTS, World, does_not_reach, gost,
    programs::{self, Certificate},
    proxy_server::{self, Speaks},
    reaches, wait_until,
};
use rtun_lab::{NetNamespace, tools};

/// Only the proxy's machine, and those on the switch, can look it up.
const HUB_NAME: &str = "hub.test";

const CONNECT: &str = "http://alice:s3cret@10.1.0.1:3128";
const SOCKS: &str = "socks5://bob:pa55word@10.1.0.1:1080";
const WRONG_CONNECT: &str = "http://alice:wrong@10.1.0.1:3128";
const WRONG_SOCKS: &str = "socks5://bob:wrong@10.1.0.1:1080";
const NOBODY_CONNECT: &str = "http://10.1.0.1:3128";
const NOBODY_SOCKS: &str = "socks5://10.1.0.1:1080";

struct Site {
    world: World,
    hub: Rtun,
    /// Behind the proxy.
    inside: NetNamespace,
    /// On the switch, joined.
    outside: NetNamespace,
    host_2: Rtun,
    /// What verifies the hub.
    checked: String,
}

/// Both proxies on one machine; `None` where one is missing.
fn site() -> Option<Site> {
    let world = World::new()?;
    let (proxy, outside) = (world.machine("proxy"), world.machine("host-2"));
    for machine in [&proxy, &outside] {
        machine.hosts([(HUB_NAME, HUB)]);
    }
    let inside = world.only_beside(&proxy, "10.1.0");
    programs::squid(&world, &proxy, "alice", "s3cret")?;
    programs::microsocks(&world, &proxy, "bob", "pa55word")?;
    let certificate = Certificate::new(&world, HUB_NAME);
    let hub = world.hub(&format!(
        "
services:
- name: service-0
  addr: :8443
  handler: {{type: router, metadata: {{router: router-0}}}}
  listener: {{type: tls, tls: {{certFile: '{}', keyFile: '{}'}}}}
routers:
- name: router-0
  routes:
  - {{dst: 192.168.123.1, gateway: host-1}}
  - {{dst: 192.168.123.2, gateway: host-2}}
",
        certificate.file.display(),
        certificate.key.display()
    ));
    let checked = format!("secure=true&caFile={}", certificate.authority.display());
    let host_2 = join(&world, &outside, 2, &[], &checked);
    host_2.wait_for("joined the hub");
    // Nothing leads out but the proxies.
    let past = tools::ping(&inside, HUB.parse().unwrap(), 56, false, Duration::from_millis(300));
    assert!(past.is_err(), "{past:?}");
    Some(Site { world, hub, inside, outside, host_2, checked })
}

/// Starts host N, through these proxies.
fn join(world: &World, machine: &NetNamespace, n: u8, proxies: &[&str], checked: &str) -> Rtun {
    let service = format!("tun:///host-{n}?net=192.168.123.{n}/24");
    let node = format!("router+tls://{HUB_NAME}:8443?{checked}");
    let mut arguments = vec!["-L", &service];
    for proxy in proxies.iter().copied().chain([&*node]) {
        arguments.extend(["-F", proxy]);
    }
    world.start(machine, &arguments)
}

impl Site {
    /// The tunnel comes up through these proxies, and carries packets both ways.
    fn comes_up(&self, proxies: &[&str]) {
        let Self { world, inside, outside, checked, .. } = self;
        let host = join(world, inside, 1, proxies, checked);
        host.wait_for("joined the hub");
        reaches(inside, "192.168.123.2");
        reaches(outside, "192.168.123.1");
        host.stop();
    }

    /// It does not, attempt after attempt, and no secret gets into the log.
    fn stays_down(&self, proxies: &[&str]) {
        let Self { world, inside, checked, hub, .. } = self;
        let before = hub.said("host joined").len();
        let host = join(world, inside, 1, proxies, checked);
        let complaints = || {
            let lines = host.lines().into_iter();
            lines.filter(|line| line["level"] == "WARN" || line["level"] == "warn").count()
        };
        wait_until("a complaint", || complaints() >= 1);
        does_not_reach(inside, "192.168.123.2");
        assert_eq!(hub.said("host joined").len(), before, "{proxies:?}");
        assert!(host.process.try_wait().unwrap().is_none(), "it tries on: {}", host.log());
        assert!(!host.log().contains("wrong"), "{}", host.log());
        host.stop();
    }
}

#[test]
fn an_http_proxy_that_asks_for_a_password() {
    let Some(site) = site() else { return };
    site.comes_up(&[CONNECT]);
    site.stays_down(&[WRONG_CONNECT]);
    site.stays_down(&[NOBODY_CONNECT]);
    site.comes_up(&[CONNECT]);
    site.host_2.stop();
    site.hub.stop_balanced();
}

#[test]
fn a_socks_proxy_that_asks_for_a_password() {
    let Some(site) = site() else { return };
    site.comes_up(&[SOCKS]);
    site.stays_down(&[WRONG_SOCKS]);
    site.stays_down(&[NOBODY_SOCKS]);
    site.comes_up(&[SOCKS]);
    site.host_2.stop();
    site.hub.stop_balanced();
}

#[test]
fn one_proxy_behind_another() {
    let Some(site) = site() else { return };
    // The second is found from the first one's machine.
    site.comes_up(&[CONNECT, "socks5://bob:pa55word@127.0.0.1:1080"]);
    site.comes_up(&[SOCKS, "http://alice:s3cret@127.0.0.1:3128"]);
    site.stays_down(&[CONNECT, "socks5://bob:wrong@127.0.0.1:1080"]);
}

/// A hub that only the proxy's machine can look up, and a host whose only way out is that machine.
fn beside_a_proxy() -> Option<(World, NetNamespace, NetNamespace, Rtun)> {
    let world = World::new()?;
    let proxy = world.machine("proxy");
    proxy.hosts([(HUB_NAME, HUB)]);
    let inside = world.only_beside(&proxy, "10.1.0");
    let hub = world.hub(THREE_HOSTS);
    Some((world, proxy, inside, hub))
}

/// The host joins a hub through these proxies.
fn joins_through(world: &World, inside: &NetNamespace, proxies: &[&str], hub: &str) {
    let mut arguments = vec!["-L", "tun:///host-1?net=192.168.123.1/24"];
    let node = format!("router://{hub}:8443");
    for proxy in proxies.iter().copied().chain([&*node]) {
        arguments.extend(["-F", proxy]);
    }
    let host = world.start(inside, &arguments);
    host.wait_for("joined the hub");
    host.stop();
}

#[test]
fn proxies_of_other_kinds_and_over_other_transports() {
    let Some((world, proxy, inside, hub)) = beside_a_proxy() else { return };
    let servers = [
        (9001, "tcp", Speaks::Socks4),
        (9002, "ws", Speaks::Socks4),
        (9003, "tcp", Speaks::Relay),
        (9004, "mws", Speaks::Relay),
        (9005, "ws", Speaks::Connect),
    ];
    for (port, transport, speaks) in servers {
        proxy_server::start(&proxy, port, transport, speaks);
    }
    for nodes in [
        &["socks4://bob@10.1.0.1:9001"][..],
        &["socks4a+ws://bob@10.1.0.1:9002"],
        &["relay://bob:pa55word@10.1.0.1:9003"],
        &["relay+mws://bob:pa55word@10.1.0.1:9004"],
        &["http+ws://10.1.0.1:9005"],
        // One after the other, and a proxy before them.
        &["http+ws://10.1.0.1:9005", "relay+mws://bob:pa55word@127.0.0.1:9004"],
        &["relay://bob:pa55word@10.1.0.1:9003", "socks4://bob@127.0.0.1:9001"],
    ] {
        joins_through(&world, &inside, nodes, HUB_NAME);
    }
    // A proxy for addresses only, and a name that this machine knows.
    inside.hosts([("known.test", HUB)]);
    joins_through(&world, &inside, &["socks4://bob@10.1.0.1:9001?disable4a=true"], "known.test");
    hub.stop_balanced();
}

#[test]
fn a_relay_that_refuses_is_left_for_the_next() {
    let Some((world, proxy, inside, hub)) = beside_a_proxy() else { return };
    proxy_server::start(&proxy, 9003, "tcp", Speaks::Relay);
    let host = |user: &str| {
        format!(
            "
services:
- name: host
  handler: {{type: tun, chain: out}}
  listener: {{type: tun, metadata: {{net: 192.168.123.1/24}}}}
  forwarder: {{nodes: [{{addr: host-1}}]}}
chains:
- name: out
  hops:
  - selector: {{strategy: fifo, failTimeout: 1m}}
    nodes:
    - {{addr: '10.1.0.1:9003', connector: {{type: relay, auth: {{username: eve, password: x}}}}}}
    - {{addr: '10.1.0.1:9003', connector: {{type: relay, auth: {{username: {user}, password: pa55word}}}}}}
  - nodes:
    - {{addr: '{HUB_NAME}:8443', connector: {{type: router}}}}
"
        )
    };
    let running = world.host(&inside, &host("bob"));
    running.wait_for("joined the hub");
    assert!(running.log().contains("the relay refused: 2 unauthorized"), "{}", running.log());
    running.stop();
    hub.stop_balanced();
}

/// GOST's own proxies: each protocol, and each transport at least once.
#[test]
fn gosts_proxies() {
    let Some((world, proxy, inside, hub)) = beside_a_proxy() else { return };
    let kinds = [
        "socks4",
        "socks4a+tls",
        "relay",
        "relay+tls",
        "relay+ws",
        "relay+wss",
        "relay+quic",
        "relay+h2",
        "relay+grpc",
        "relay+mwss",
        "http+wss",
        "http+quic",
        "http+h2c",
        "http+mtls",
        "socks5+ws",
        "socks5+quic",
        "socks5+h2",
        "socks5+mtcp",
    ];
    let services: Vec<_> = kinds
        .iter()
        .zip(9101..)
        .map(|(kind, port)| match kind.strip_prefix("socks4") {
            Some(rest) => format!("socks4{}://:{port}", rest.trim_start_matches('a')),
            None => format!("{kind}://bob:pa55word@:{port}"),
        })
        .collect();
    let arguments: Vec<&str> = services.iter().flat_map(|service| ["-L", service]).collect();
    let Some(gost) = gost::start(&world, &proxy, &arguments) else { return };
    let listens = |port| inside.run(|| std::net::TcpStream::connect(("10.1.0.1", port)).is_ok());
    wait_until("GOST's listeners", || listens(9101).unwrap() && listens(9118).unwrap());
    for (kind, port) in kinds.iter().zip(9101..) {
        let node = format!("{kind}://bob:pa55word@10.1.0.1:{port}");
        joins_through(&world, &inside, &[&node], HUB_NAME);
    }
    // Two of them, one after the other.
    let nodes =
        ["relay+wss://bob:pa55word@10.1.0.1:9106", "socks5+h2://bob:pa55word@127.0.0.1:9117"];
    joins_through(&world, &inside, &nodes, HUB_NAME);
    gost.kill().unwrap();
    hub.stop_balanced();
}
