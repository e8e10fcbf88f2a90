//! A hub behind nginx: hosts come over TLS to its port 443, and it passes WebSocket on.
//!
//! ```text
//!   host-1, host-2, host-3 --- wss ---> proxy.test:443 nginx --- ws ---> hub:8080
//! ```

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::net::{IpAddr, SocketAddr};

use common::{
    HUB, Rtun, SOON, World, at, does_not_reach,
    programs::{self, Certificate},
    reaches, wait_until,
};
use rtun_lab::{NetNamespace, Process};
use serde_json::Value;

/// What hosts call nginx by.
const PROXY: &str = "proxy.test";

/// Everything between a host and the hub.
struct Site {
    hub: Rtun,
    nginx: Process,
    proxy: NetNamespace,
    certificate: Certificate,
}

/// A hub that trusts nginx, and admits these addresses only.
fn site(world: &World, admitted: &[IpAddr]) -> Option<Site> {
    let proxy = world.machine("proxy");
    let certificate = Certificate::new(world, PROXY);
    let nginx = programs::nginx(world, &proxy, &certificate, at(HUB, 8080))?;
    let admitted = admitted.iter().map(ToString::to_string).collect::<Vec<_>>().join("', '");
    let hub = world.hub(&format!(
        "
services:
- name: service-0
  addr: :8080
  admission: peers
  handler: {{type: router, metadata: {{router: router-0}}}}
  listener:
    type: ws
    metadata: {{path: /tunnel, trustedProxies: '{}'}}
admissions:
- name: peers
  whitelist: true
  matchers: ['{admitted}']
routers:
- name: router-0
  routes:
  - {{dst: 192.168.123.1, gateway: host-1}}
  - {{dst: 192.168.123.2, gateway: host-2}}
  - {{dst: 192.168.123.3, gateway: host-3}}
",
        programs::address(&proxy)
    ));
    Some(Site { hub, nginx, proxy, certificate })
}

impl Site {
    /// Starts host N over wss, through nginx.
    fn join(&self, world: &World, machine: &NetNamespace, n: u8) -> Rtun {
        self.name(machine);
        let authority = self.certificate.authority.display();
        let service = format!("tun:///host-{n}?net=192.168.123.{n}/24");
        let node = format!("router+wss://{PROXY}:443?path=/tunnel&secure=true&caFile={authority}");
        world.start(machine, &["-L", &service, "-F", &node])
    }

    fn name(&self, machine: &NetNamespace) {
        machine.hosts([(PROXY, &*programs::address(&self.proxy).to_string())]);
    }

    /// How often the hub has refused somebody for this address.
    fn refused(&self, address: IpAddr) -> usize {
        let lines = self.hub.lines().into_iter();
        let refused = lines.filter(|line| line["reason"] == "address_refused");
        refused.filter(|line| peer(line) == address).count()
    }

    /// From where the hub says that a host has come, each time it has.
    fn peers(&self, host: &str) -> Vec<IpAddr> {
        let joined = self.hub.said("host joined").into_iter();
        let joined = joined.filter(|line| line["host"] == host);
        joined.map(|line| peer(&line)).collect()
    }
}

/// The address of a log line's peer.
fn peer(line: &Value) -> IpAddr {
    line["peer"].as_str().unwrap().parse::<SocketAddr>().unwrap().ip()
}

/// A host that says for whom it asks, which only a proxy may.
fn pretender(n: u8, scheme: &str, node: &str, tls: &str, victim: IpAddr) -> String {
    format!(
        "
services:
- name: host
  handler: {{type: tun, chain: hub}}
  listener: {{type: tun, metadata: {{net: 192.168.123.{n}/24}}}}
  forwarder: {{nodes: [{{addr: host-{n}}}]}}
chains:
- name: hub
  hops:
  - name: hop
    nodes:
    - name: hub
      addr: '{node}'
      connector: {{type: router}}
      dialer:
        type: {scheme}
        tls: {tls}
        metadata:
          path: /tunnel
          header: {{X-Forwarded-For: '{victim}', X-Real-Ip: '{victim}'}}
"
    )
}

#[test]
fn hosts_reach_each_other_and_come_back_when_nginx_does() {
    let Some(world) = World::new() else { return };
    let machines = [1, 2].map(|n| world.machine(&format!("host-{n}")));
    let addresses = machines.each_ref().map(programs::address);
    let Some(site) = site(&world, &addresses) else { return };
    let hosts = [0, 1].map(|index| site.join(&world, &machines[index], index as u8 + 1));
    for host in &hosts {
        host.wait_for("joined the hub");
    }
    reaches(&machines[0], "192.168.123.2");
    reaches(&machines[1], "192.168.123.1");
    // The hub sees hosts, not nginx.
    assert_eq!(site.peers("host-1"), [addresses[0]]);
    assert_eq!(site.peers("host-2"), [addresses[1]]);
    site.nginx.kill().unwrap();
    let to = at(HUB, 8080);
    let again = programs::nginx(&world, &site.proxy, &site.certificate, to).unwrap();
    wait_until("both hosts back", || {
        site.peers("host-1").len() > 1 && site.peers("host-2").len() > 1
    });
    reaches(&machines[0], "192.168.123.2");
    for host in &hosts {
        host.stop();
    }
    site.hub.stop_balanced();
    again.kill().unwrap();
}

#[test]
fn only_nginx_is_believed_where_hosts_come_from() {
    let Some(world) = World::new() else { return };
    let machines = [1, 2, 3].map(|n| world.machine(&format!("host-{n}")));
    let [member, other, refused] = &machines;
    let admitted = [programs::address(member), programs::address(other)];
    let Some(site) = site(&world, &admitted) else { return };
    site.name(refused);
    let own = programs::address(refused);
    let _hosts = [site.join(&world, member, 1), site.join(&world, other, 2)];
    reaches(member, "192.168.123.2");
    let authority = site.certificate.authority.display();
    let checked = format!("{{secure: true, caFile: '{authority}'}}");
    let through_nginx = format!("{PROXY}:443");
    let beside_it = format!("{HUB}:8080");
    for (scheme, node, tls) in [("wss", &through_nginx, &*checked), ("ws", &beside_it, "{}")] {
        let config = pretender(3, scheme, node, tls, admitted[0]);
        let host = world.host(refused, &config);
        let before = site.refused(own);
        wait_until("two refusals", || site.refused(own) >= before + 2);
        does_not_reach(refused, "192.168.123.1");
        assert!(site.peers("host-3").is_empty(), "{scheme}: {}", site.hub.log());
        host.process.kill().unwrap();
        assert!(host.process.wait(SOON).unwrap().is_some());
    }
    reaches(member, "192.168.123.2");
}
