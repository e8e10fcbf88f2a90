//! What belongs to a connection: PROXY preambles, the interface and the `SO_MARK` of sockets.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{THREE_HOSTS, World, pings, reaches, wait_until};

/// The hub's file, in which PROXY preambles are expected, and trusted from `trusted`.
fn hub(trusted: &str) -> String {
    THREE_HOSTS
        .replace("  addr: :8443\n", "  addr: :8443\n  metadata: {proxyProtocol: 1}\n")
        .replace("{type: tcp}", &format!("{{type: tcp, metadata: {{trustedProxies: {trusted}}}}}"))
}

/// Host `number`, whose node has this metadata.
fn host(number: u8, metadata: &str) -> String {
    format!(
        "
services:
- name: service-0
  handler: {{type: tun}}
  listener: {{type: tun, metadata: {{net: 192.168.123.{number}/24}}}}
  forwarder: {{nodes: [{{addr: host-{number}}}]}}
chains:
- name: chain-0
  hops:
  - name: hop-0
    nodes:
    - name: hub
      addr: server_ip:8443
      connector: {{type: router}}
      dialer: {{type: tcp}}
      metadata: {{{metadata}}}
"
    )
}

#[test]
fn preambles_of_both_forms_are_written_and_read() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&hub("10.0.0.0/16"));
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let hosts = [
        world.host(&one, &host(1, "proxyProtocol: 1")),
        world.host(&two, &host(2, "proxyProtocol: 2")),
    ];
    reaches(&one, "192.168.123.2");
    let peers: Vec<String> = hub
        .said("host joined")
        .iter()
        .map(|line| line["peer"].as_str().unwrap().to_owned())
        .collect();
    assert!(peers.iter().any(|peer| peer.starts_with("10.0.0.3:")), "{peers:?}");
    assert!(peers.iter().any(|peer| peer.starts_with("10.0.0.4:")), "{peers:?}");
    for host in &hosts {
        host.stop();
    }
    hub.stop_balanced();
}

#[test]
fn preambles_of_strangers_are_refused_and_so_are_connections_without() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&hub("10.9.0.0/16"));
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let _hosts = [world.host(&one, &host(1, "proxyProtocol: 1")), world.host(&two, &host(2, ""))];
    wait_until("refusals of both", || {
        let refused = |peer: &str| {
            hub.lines().iter().any(|line| {
                line["reason"] == "untrusted_forwarder"
                    && line["peer"].as_str().is_some_and(|from| from.starts_with(peer))
            })
        };
        refused("10.0.0.3:") && refused("10.0.0.4:")
    });
    assert!(hub.said("host joined").is_empty());
}

#[test]
fn sockets_are_bound_and_marked_as_configured() {
    let Some(world) = World::new() else { return };
    let _hub = world.hub(THREE_HOSTS);
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    // The first interface does not exist; the second one does.
    let first = world.host(&one, &host(1, "interface: \"none0,eth0\", so_mark: 7"));
    let _second = world.host(&two, &host(2, "interface: \"10.0.0.4\""));
    reaches(&two, "192.168.123.1");
    let sockets = one
        .run(|| std::process::Command::new("ss").args(["-Htnpe", "dport", "=", ":8443"]).output());
    if let Ok(output) = sockets.unwrap() {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("%eth0") && text.contains("fwmark:0x7"), "{text}");
    }
    assert!(pings(&one, "192.168.123.2"));
    first.stop();

    // Only an interface that is not there.
    let third = world.machine("host-3");
    let lost = world.host(&third, &host(3, "interface: \"none0!,eth0\""));
    wait_until("a complaint", || lost.log().contains("No such device"));
    assert!(lost.said("joined the hub").is_empty());
}
