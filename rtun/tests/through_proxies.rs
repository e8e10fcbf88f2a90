//! A host whose only way out is a proxy that wants to know who it is: squid and CONNECT, microsocks and SOCKS5.
//!
//! ```text
//!   host-1 (10.1.0.2) --- 10.1.0.1 proxy 10.0.0.x --- switch --- hub.test:8443 (TLS), host-2
//! ```

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use common::{
    HUB, Rtun, World, does_not_reach,
    programs::{self, Certificate},
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
