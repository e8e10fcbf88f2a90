//! Relays of UDP tunnels, and clients that reach their server through one.

#![allow(clippy::unwrap_used, reason = "a test whose configuration is refused has failed")]

use std::time::Duration;

use rtun_config::{
    Environment, Outcome, cli,
    findings::{Code, Profile},
    load, load_text,
    source::{ConfigSource, ReadError},
};
use rtun_core::udp_tunnel::{FrameContent, RelayServer, RelayTargets};
use rtun_settings::{
    Config, LimiterScope, ProxyKind, RelayProtocol, RelaySettings, ServiceKind, TapClientSettings,
    UdpClientSettings,
};

const SERVER: &str = "tun://127.0.0.1:8421?net=192.168.123.1/24";

fn run(arguments: &[&str]) -> Outcome {
    let args = cli::parse(arguments.iter().copied()).unwrap();
    let mut nothing = |_: &ConfigSource| Err(ReadError::NotFound);
    load(&args, &Environment::default(), &mut nothing, Profile::Compat)
}

fn model(outcome: &Outcome) -> &Config {
    let shown: Vec<String> = outcome.findings.iter().map(ToString::to_string).collect();
    outcome.config.as_ref().unwrap_or_else(|| panic!("{}", shown.join("\n")))
}

fn relay(outcome: &Outcome) -> &RelaySettings {
    let mut relays = model(outcome).services.iter().filter_map(|service| match &service.kind {
        ServiceKind::Relay(relay) => Some(relay),
        _ => None,
    });
    relays.next().unwrap()
}

fn client(outcome: &Outcome) -> &UdpClientSettings {
    match &model(outcome).services[0].kind {
        ServiceKind::UdpClient(client) => client,
        other => panic!("{other:?}"),
    }
}

fn says(outcome: &Outcome, text: &str) -> bool {
    outcome.findings.iter().any(|finding| finding.to_string().contains(text))
}

#[test]
fn a_relay_leads_to_the_servers_of_its_process() {
    let other = "tun://192.0.2.1:8422?net=10.1.0.1/24";
    let outcome = run(&["-L", SERVER, "-L", other, "-L", "relay+wss://u:p@:8443?bind=true"]);
    let relay = relay(&outcome);
    let servers = [
        RelayServer { on: "127.0.0.1".parse().ok(), port: 8421, content: FrameContent::Packets },
        RelayServer { on: "192.0.2.1".parse().ok(), port: 8422, content: FrameContent::Packets },
    ];
    assert_eq!(relay.rules.targets, RelayTargets::Servers(servers.to_vec()));
    assert_eq!(relay.listener.stack.name(), "wss");
    assert_eq!(relay.handshake_timeout, Duration::from_secs(10));
    assert_eq!(relay.rules.authers.as_ref().unwrap().len(), 1);
    // The second server can be reached past the relay too.
    assert!(says(&outcome, "write tun://127.0.0.1:8422 if all clients come through the relay"));
    assert!(!says(&outcome, "write tun://127.0.0.1:8421"));
}

#[test]
fn a_relay_leads_to_the_servers_of_ethernet_tunnels_unless_it_is_not_to() {
    let server = "tap://127.0.0.1:8423?net=192.168.124.1/24";
    let content = FrameContent::Ethernet;
    let found = [RelayServer { on: "127.0.0.1".parse().ok(), port: 8423, content }];
    for relay_url in ["relay+tls://:8443", "relay+tls://:8443?bind=true"] {
        let outcome = run(&["-L", server, "-L", relay_url]);
        let relay = relay(&outcome);
        assert_eq!(relay.rules.targets, RelayTargets::Servers(found.to_vec()));
        assert!(relay.rules.takes_ethernet);
    }
    let outcome = run(&["-L", server, "-L", "relay+tls://:8443?bind=false"]);
    assert!(outcome.config.is_none() && says(&outcome, "this relay leads nowhere"));
    let outcome = run(&["-L", server, "-L", SERVER, "-L", "relay+tls://:8443?bind=false"]);
    assert!(!relay(&outcome).rules.takes_ethernet);
    // What is not encrypted on the way to the server itself is said once.
    let open = "tap://:8423?net=192.168.124.1/24";
    let outcome = run(&["-L", open, "-L", "relay+tls://:8443"]);
    assert!(says(&outcome, "write tap://127.0.0.1:8423 if all clients come through the relay"));
    let sealed = "tap://aes-256-gcm:a-password@:8423?net=192.168.124.1/24";
    let outcome = run(&["-L", sealed, "-L", "relay+tls://:8443"]);
    assert!(!says(&outcome, "if all clients come through the relay"));
}

#[test]
fn a_client_of_an_ethernet_tunnel_reaches_its_server_through_the_chain() {
    let url = "tap://:0/:8421?net=192.168.124.2/24";
    let tap = |outcome: &Outcome| -> TapClientSettings {
        match &model(outcome).services[0].kind {
            ServiceKind::TapClient(client) => client.clone(),
            other => panic!("{other:?}"),
        }
    };
    let clear = |outcome: &Outcome| says(outcome, "frames cross the network readable");
    let outcome = run(&["-L", url, "-F", "relay+wss://u:p@relay.example:8443?secure=true"]);
    let relay = tap(&outcome).relay.unwrap();
    assert_eq!(
        (tap(&outcome).servers, relay.protocol),
        (vec![":8421".into()], RelayProtocol::Relay)
    );
    assert!(!clear(&outcome));
    let outcome = run(&["-L", url, "-F", "http://a.example:3128", "-F", "socks5://b.example:1080"]);
    let relay = tap(&outcome).relay.unwrap();
    assert_eq!((relay.proxies.len(), relay.protocol), (1, RelayProtocol::Socks5));
    assert!(clear(&outcome));
}

#[test]
fn a_socks5_proxy_is_a_relay_where_it_is_the_last_hop() {
    let url = "tun://:0/192.0.2.1:8421?net=192.168.123.2/24";
    let outcome = run(&["-L", url, "-F", "socks5://u:p@proxy.example:1080"]);
    let chain = client(&outcome).relay.as_ref().unwrap();
    assert_eq!(chain.protocol, RelayProtocol::Socks5);
    assert_eq!(chain.relays[0].auth.as_ref().unwrap().user, "u");
    let outcome = run(&["-L", url, "-F", "socks5://proxy.example:1080?relay=udp"]);
    assert!(outcome.config.is_none());
    assert!(says(&outcome, "datagrams next to the connection of a SOCKS5 proxy"));
    let text = "
services:
- name: client
  addr: :0
  handler: {type: tun, chain: both}
  listener: {type: tun, metadata: {net: 192.168.123.2/24}}
  forwarder: {nodes: [{name: server, addr: '192.0.2.1:8421'}]}
chains:
- name: both
  hops:
  - name: last
    nodes:
    - {name: a, addr: 'a.example:1080', connector: {type: socks5}, dialer: {type: tcp}}
    - {name: b, addr: 'b.example:8443', connector: {type: relay}, dialer: {type: tls}}
";
    let outcome = load_text("a", text, false, Profile::Compat);
    assert!(outcome.config.is_none());
    assert!(says(&outcome, "the last hop has SOCKS5 proxies and others"));
}

#[test]
fn a_relay_with_a_target_leads_there_only() {
    for (target, found) in [
        ("127.0.0.1:8421", "127.0.0.1:8421"),
        (":8421", "127.0.0.1:8421"),
        ("[::1]:8421", "[::1]:8421"),
    ] {
        let outcome = run(&["-L", &format!("relay+tls://127.0.0.1:8443/{target}")]);
        let fixed = RelayTargets::Fixed(found.parse().unwrap());
        assert_eq!(relay(&outcome).rules.targets, fixed, "{target}");
    }
    let outcome = run(&["-L", "relay+tls://127.0.0.1:8443/192.0.2.1:8421"]);
    assert!(outcome.config.is_none() && says(&outcome, "is no target of a relay"));
}

#[test]
fn a_relay_in_the_clear_hides_nothing() {
    let codes = |relay: &str| {
        let outcome = run(&["-L", SERVER, "-L", relay]);
        assert!(outcome.config.is_some());
        outcome.findings.iter().filter_map(|finding| finding.code).collect::<Vec<_>>()
    };
    assert_eq!(codes("relay://:8443"), [Code::C02]);
    assert!(codes("relay+ws://u:p@:8443").contains(&Code::C03));
    assert_eq!(codes("relay+wss://:8443"), []);
    assert_eq!(codes("relay://127.0.0.1:8443"), []);
}

#[test]
fn a_client_reaches_its_server_through_the_chain() {
    let url = "tun://:0/:8421?net=192.168.123.2/24&passphrase=secret";
    let secure = "relay+wss://u:p@relay.example:8443?secure=true&nodelay=true";
    let outcome = run(&["-L", url, "-F", "http://proxy.example:3128", "-F", secure]);
    let client = client(&outcome);
    assert_eq!(client.servers, [":8421"]);
    let chain = client.relay.as_ref().unwrap();
    assert_eq!(chain.relays[0].addr, "relay.example:8443");
    assert_eq!(chain.relays[0].endpoints[0].stack.name(), "wss");
    assert_eq!(chain.relays[0].auth.as_ref().unwrap().user, "u");
    assert_eq!(chain.proxies[0].nodes[0].protocol, ProxyKind::Http);
    let codes = |outcome: &Outcome| {
        outcome.findings.iter().filter_map(|finding| finding.code).collect::<Vec<_>>()
    };
    let passphrases = |outcome: &Outcome| says(outcome, "the passphrase crosses the network");
    assert!(!passphrases(&outcome), "{:?}", codes(&outcome));
    let clear = run(&["-L", url, "-F", "relay+ws://relay.example:8443"]);
    assert!(passphrases(&clear), "{:?}", codes(&clear));
}

#[test]
fn a_relay_with_everything() {
    let text = "
services:
- name: server
  addr: 127.0.0.1:8421
  handler: {type: tun}
  listener: {type: tun, metadata: {net: 10.1.0.1/24}}
- name: relay
  addr: 127.0.0.1:8443
  admission: near
  handler: {type: relay, auther: users, metadata: {readTimeout: 3s}}
  listener: {type: wss}
  listeners: [{addr: '127.0.0.1:8444', type: quic}]
authers:
- name: users
  auths: [{username: u, password: p}]
admissions:
- name: near
  whitelist: true
  matchers: [10.0.0.0/8]
";
    let outcome = load_text("a", text, false, Profile::Strict);
    let relay = relay(&outcome);
    assert_eq!(relay.handshake_timeout, Duration::from_secs(3));
    assert_eq!(relay.listeners().count(), 2);
    assert_eq!(relay.rules.admissions.len(), 1);
}

#[test]
fn a_relay_limits_connections_and_an_end_of_a_tunnel_does_not() {
    let load = |service: &str, handler: &str, listener: &str| {
        let text = format!(
            "
services:
- name: server
  addr: 127.0.0.1:8421
  handler: {{type: tun}}
  listener: {{type: tun, metadata: {{net: 10.1.0.1/24}}}}
- name: limited
  addr: 127.0.0.1:8443
  limiter: slow
  climiter: few
  rlimiter: rare
  quotas: [monthly]
  handler: {{type: {handler}}}
  listener: {{type: {listener}}}
limiters: [{{name: slow, limits: ['$ 1MB']}}]
climiters: [{{name: few, limits: ['$ 10']}}]
rlimiters: [{{name: rare, limits: ['$ 10']}}]
quotas: [{{name: monthly, limit: 1GB}}]
"
        );
        let outcome = load_text("a", &text, false, Profile::Compat);
        let said = outcome.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert_eq!(outcome.config.is_some(), service == "relay", "{said}");
        (outcome.config, said)
    };
    let (config, _) = load("relay", "relay", "tls");
    let config = config.unwrap();
    let ServiceKind::Relay(relay) = &config.services[1].kind else { panic!("no relay") };
    let rules = &relay.rules;
    let limiter = rules.limits.limiter().unwrap();
    assert_eq!((limiter.limits.inline().count(), rules.limits.volumes.len()), (1, 1));
    assert!(rules.connections.is_some() && rules.requests.is_some());
    let (_, said) = load(
        "tap",
        "tap, auth: {username: aes-256-gcm, password: p}, limiter: slow",
        "tap, metadata: {net: 10.2.0.1/24}",
    );
    for refused in [
        "`climiter` has no effect on the server of a tunnel: clients send datagrams",
        "`rlimiter` has no effect on the server of a tunnel",
        "the handler limits hosts and namespaces, and the server of a tunnel has none",
    ] {
        assert!(said.contains(refused), "{said}");
    }
}

#[test]
fn of_a_limiter_that_a_client_names_only_the_row_for_all_counts() {
    let limited = "&limiter.in=1MB&limiter.conn.in=1KB";
    let outcome = run(&["-L", &format!("tun://:0/192.0.2.1:8421?net=10.1.0.2/24{limited}")]);
    assert!(says(&outcome, "has no effect here"));
    let limiter = client(&outcome).limits.limiter();
    assert_eq!(limiter.map(|limiter| limiter.scope), Some(LimiterScope::Service));
}

#[test]
fn with_only_tunnels_a_relay_stays_that_leads_to_a_server() {
    let runs = |arguments: &[&str]| {
        let outcome = run(arguments);
        model(&outcome).services.len()
    };
    let (relay, hub) = ("relay+wss://u:p@127.0.0.1:8443", "router://127.0.0.1:8444");
    assert_eq!(runs(&["--only-tunnels", "-L", SERVER, "-L", relay]), 2);
    let fixed = format!("{relay}/127.0.0.1:8421");
    assert_eq!(runs(&["--only-tunnels", "-L", hub, "-L", &fixed]), 2);
    assert_eq!(runs(&["--only-tunnels", "-L", hub, "-L", relay]), 1);
    let elsewhere = format!("{relay}/192.0.2.1:8421");
    assert_eq!(runs(&["--only-tunnels", "-L", hub, "-L", &elsewhere]), 1);
}
