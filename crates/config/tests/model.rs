//! What every supported key comes to in the model.

#![allow(clippy::unwrap_used, reason = "a test whose configuration is refused has failed")]

use std::time::Duration;

use rtun_config::{
    Environment, cli,
    findings::{Profile, Severity},
    load, load_text,
    source::{ConfigSource, ReadError},
};
use rtun_settings::{
    Config, HostSettings, HubSettings, IcmpErrors, LogFormat, LogLevel, LogOutput, Named, Provider,
    Quotas, ServiceKind, Sharing, SourceCheck, TapClientSettings, TapServerSettings,
};

/// The model of `text`, which gets no finding but informations.
fn read(text: &str) -> Config {
    let outcome = load_text("test", text, false, Profile::Strict);
    let shown: Vec<String> = outcome.findings.iter().map(ToString::to_string).collect();
    assert!(outcome.worst() <= Some(Severity::Info), "{}", shown.join("\n"));
    outcome.config.unwrap()
}

fn hub(config: &Config) -> &HubSettings {
    let ServiceKind::Hub(hub) = &config.services[0].kind else { panic!("{config:?}") };
    hub
}

fn host(config: &Config) -> &HostSettings {
    let ServiceKind::Host(host) = &config.services[0].kind else { panic!("{config:?}") };
    host
}

/// What the configuration itself says.
fn inline<T>(named: &Named<T>) -> impl Iterator<Item = &T> {
    let Provider::Rows(rows) = &named.provider else { panic!("a plugin") };
    rows.inline.iter().map(|row| &row.value)
}

#[test]
fn a_hub_with_everything() {
    let config = read(
        "
services:
- name: hub
  addr: 127.0.0.1:8443
  handler:
    type: router
    auther: a
    authers: [b]
    metadata:
      router: plugin
      ingress: names
      readTimeout: 3s
      sourceCheck: Loose
      router.sharing: flow
      address: 10.0.0.254, fd00::fe
      ttl: 1
      router.bufferSize: 8192
      router.cache: true
      router.cache.expiration: 5s
  listener:
    type: tcp
    metadata:
      keepalive: true
ingresses:
- name: names
  rules:
  - {hostname: '*.example.org', endpoint: '{E87F56DD-FD57-4921-9AB8-A0847662DAAE}'}
  - {hostname: x, endpoint: e87f56ddfd5749219ab8a0847662daae}
authers:
- name: a
  auths: [{username: u, password: 123, hosts: x}]
- name: b
  auths: [{username: u, password: other}, {username: v, password: p}]
routers:
- name: plugin
  plugin:
    type: HTTP
    addr: https://routes.example/get
    token: t
    timeout: 500ms
    tls: {secure: true, serverName: n}
log: {level: WARN, format: text, output: /var/log/rtun.log}
",
    );
    let hub = hub(&config);
    assert_eq!(
        (hub.listener.addr.as_str(), hub.handshake_timeout),
        ("127.0.0.1:8443", Duration::from_secs(3))
    );
    let rules = &hub.rules;
    assert_eq!(
        (rules.source_check, rules.sharing, rules.ttl),
        (SourceCheck::Loose, Sharing::Flow, true)
    );
    let icmp = rules.icmp.unwrap();
    assert_eq!(icmp.v4, Some([10, 0, 0, 254].into()));
    assert_eq!(icmp.v6, Some("fd00::fe".parse().unwrap()));
    let Provider::Plugin(plugin) = &rules.default_router.as_ref().unwrap().provider else {
        panic!("{rules:?}")
    };
    assert_eq!(plugin.addr, "https://routes.example/get");
    assert_eq!(plugin.token.as_ref().unwrap().expose(), "t");
    assert_eq!(plugin.timeout, Duration::from_millis(500));
    let tls = plugin.tls.as_ref().unwrap();
    assert_eq!((tls.verify, tls.server_name.as_deref()), (true, Some("n")));
    let patterns: Vec<(&str, String)> = inline(rules.ingress.as_ref().unwrap())
        .map(|r| (r.pattern.as_str(), r.namespace.to_string()))
        .collect();
    let id = "e87f56dd-fd57-4921-9ab8-a0847662daae".to_owned();
    assert_eq!(patterns, [(".example.org", id.clone()), ("x", id)]);
    let authers = rules.authers.iter().flatten();
    let users: Vec<_> = authers
        .flat_map(inline)
        .map(|u| (u.name.as_str(), u.password.expose(), u.hosts.as_ref().map(Vec::len)))
        .collect();
    assert_eq!(users, [("u", "123", Some(1)), ("u", "other", None), ("v", "p", None)]);
    assert_eq!((config.log.level, config.log.format), (LogLevel::Warn, LogFormat::Text));
    assert_eq!(config.log.output, LogOutput::File("/var/log/rtun.log".into()));
}

#[test]
fn a_host_with_everything() {
    let config = read(
        "
services:
- name: host
  addr: :0
  handler:
    type: tun
    retries: 3
    chainGroup: {chains: [{chain: hubs}]}
    metadata: {keepalive: true, ttl: 10s, passphrase: x, p2p: false, bufferSize: 1500}
  listener:
    type: tun
    metadata:
      name: tun7
      net: 10.1.0.1/24,fd00::1/64
      mtu: 1400
      gw: 10.1.0.254
      route: 10.2.0.0/16,fd01::/16
      routes: ['10.3.0.0/16', 10.4.0.0/16 10.1.0.253, 'fd02::/16 fd00::2']
      dns: [1.1.1.1, 'fd00::53']
  forwarder: {hop: me}
  metadata: {dialTimeout: 2s}
hops:
- name: me
  nodes: [{name: x, addr: 'fd00:64::7'}]
- name: hub
  selector: {strategy: fifo, maxFails: 1, failTimeout: 10s}
  nodes:
  - addr: a.example:8443
    connector:
      type: router
      auth: {username: u, password: p}
      metadata: {router.id: e87f56dd-fd57-4921-9ab8-a0847662daae, connectTimeout: 3s}
  - name: second
    addr: '[2001:db8::1]:8443'
    connector: {type: router}
    dialer: {type: tcp, tls: {serverName: x}}
chains:
- name: hubs
  hops: [{name: hub}]
",
    );
    let host = host(&config);
    assert_eq!(host.name.as_str(), "fd00:64::7");
    assert_eq!(host.dial_timeout, Some(Duration::from_secs(2)));
    let device = &host.device;
    assert_eq!((device.name.as_deref(), device.mtu), (Some("tun7"), 1400));
    let shown: Vec<String> = device.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.1.0.1/24", "fd00::1/64"]);
    let routes: Vec<(String, Option<String>)> = device
        .routes
        .iter()
        .map(|r| (r.prefix.to_string(), r.gateway.map(|g| g.to_string())))
        .collect();
    let route =
        |prefix: &str, gateway: Option<&str>| (prefix.to_owned(), gateway.map(str::to_owned));
    assert_eq!(
        routes,
        [
            route("10.2.0.0/16", Some("10.1.0.254")),
            route("fd01::/16", None),
            route("10.3.0.0/16", Some("10.1.0.254")),
            route("10.4.0.0/16", Some("10.1.0.253")),
            route("fd02::/16", Some("fd00::2")),
        ]
    );
    assert_eq!(device.dns.len(), 2);
    let [first, second] = &host.hubs[..] else { panic!("{host:?}") };
    assert_eq!((first.name.as_str(), first.addr.as_str()), ("a.example:8443", "a.example:8443"));
    assert_eq!(first.namespace.to_string(), "e87f56dd-fd57-4921-9ab8-a0847662daae");
    assert_eq!(
        first.auth.as_ref().map(|a| (a.user.as_str(), a.password.expose())),
        Some(("u", "p"))
    );
    assert_eq!(first.connect_timeout, Some(Duration::from_secs(3)));
    assert_eq!((second.name.as_str(), second.addr.as_str()), ("second", "[2001:db8::1]:8443"));
    assert!(second.namespace.is_default() && second.auth.is_none());
}

#[test]
fn defaults() {
    let config = read("services: [{name: a, addr: '127.0.0.1:0', handler: {type: router}}]");
    let hub = hub(&config);
    assert_eq!(hub.handshake_timeout, Duration::from_secs(10));
    assert_eq!((hub.rules.source_check, hub.rules.sharing), (SourceCheck::Strict, Sharing::Newest));
    assert_eq!(hub.rules.icmp, Some(IcmpErrors::default()), "sent unless configured");
    assert!(!hub.rules.ttl && hub.rules.default_router.is_none() && hub.rules.ingress.is_none());
    assert_eq!((&hub.rules.authers, &hub.rules.admissions), (&None, &vec![]));
    assert_eq!((&hub.rules.quotas, &config.metrics), (&Quotas::default(), &None));
    assert_eq!((config.log.level, config.log.output), (LogLevel::Info, LogOutput::Stderr));
}

#[test]
fn passwords_are_not_printed() {
    let text = "
services:
- name: a
  addr: 127.0.0.1:0
  admissions: [a, b]
  handler: {type: router, auth: {username: u, password: hunter2}, metadata: {ingress: i}}
ingresses:
- name: i
  redis: {addr: '127.0.0.1:6379', password: hunter2}
  http: {url: 'https://u:hunter2@rules.example/'}
admissions:
- {name: a, plugin: {addr: '127.0.0.1:8000', token: hunter2}}
- {name: b, plugin: {type: http, addr: 'https://u:hunter2@peer.example/?token=hunter2'}}
metrics: {addr: '127.0.0.1:0', auth: {username: u, password: hunter2}}
";
    let config = read(text);
    let users = hub(&config).rules.authers.as_deref().unwrap();
    assert_eq!(users.iter().flat_map(inline).count(), 1);
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn gso_frames_have_an_old_spelling() {
    let read = |key: &str| {
        let text = format!(
            "
services:
- name: hub
  addr: 127.0.0.1:8443
  handler: {{type: router, metadata: {{{key}: false}}}}
  listener: {{type: tcp}}
- name: host
  handler: {{type: tun, chain: hub}}
  listener: {{type: tun, metadata: {{net: 10.0.0.1/24, {key}: false}}}}
  forwarder: {{nodes: [{{addr: paris}}]}}
chains:
- name: hub
  hops: [{{name: hop, nodes: [{{name: hub, addr: 'h:1', connector: {{type: router}}}}]}}]
"
        );
        read(&text)
    };
    let config = read("gsoFrames");
    assert!(!hub(&config).rules.gso_frames);
    let ServiceKind::Host(host) = &config.services[1].kind else { panic!("{config:?}") };
    assert!(!host.device.gso_frames);
    assert_eq!(config, read("superFrames"));
}

fn tap_server(config: &Config) -> &TapServerSettings {
    let ServiceKind::TapServer(server) = &config.services[0].kind else { panic!("{config:?}") };
    server
}

fn tap_client(config: &Config) -> &TapClientSettings {
    let ServiceKind::TapClient(client) = &config.services[0].kind else { panic!("{config:?}") };
    client
}

#[test]
fn an_ethernet_tunnels_ends_mean_the_same_in_a_file_and_on_a_command_line() {
    let of_url = |url: &str| {
        let args = cli::parse(["-L", url]).unwrap();
        let mut nothing = |_: &ConfigSource| Err(ReadError::NotFound);
        load(&args, &Environment::default(), &mut nothing, Profile::Compat).config.unwrap()
    };
    let config = read(
        "
services:
- name: service-0
  addr: :8421
  handler: {type: tap, auth: {username: AES-256-GCM, password: secret}}
  listener:
    type: tap
    metadata:
      net: [10.1.0.1/24, 'fd01::1/64']
      mac: 02-00-5E-10-00-01
      mtu: 9000
      gw: 10.1.0.9
      route: 10.8.0.0/16
      routes: ['10.9.0.0/16 10.1.0.8']
      name: net0
",
    );
    let server = tap_server(&config);
    let (tap, device) = (&server.tap, &server.tap.device);
    assert_eq!(tap.mac.unwrap().to_string(), "02:00:5e:10:00:01");
    assert_eq!(
        (device.mtu, device.name.as_deref(), device.addresses.len()),
        (9000, Some("net0"), 2)
    );
    let gateways: Vec<_> = device.routes.iter().map(|it| it.gateway.unwrap().to_string()).collect();
    assert_eq!(gateways, ["10.1.0.9", "10.1.0.8"]);
    let url = "tap://AEAD_AES_256_GCM:secret@:8421?net=10.1.0.1/24,fd01::1/64&mac=02:00:5e:10:00:01&mtu=9000\
               &gw=10.1.0.9&route=10.8.0.0/16&routes=10.9.0.0/16+10.1.0.8&name=net0";
    assert_eq!(tap_server(&of_url(url)), server);

    let config = read(
        "
services:
- name: service-0
  handler: {type: tap, auth: {username: aes-128-gcm}, metadata: {key: 0123456789abcdef}}
  listener: {type: tap, metadata: {net: 10.1.0.2/24}}
  forwarder: {nodes: [{addr: 'a.example:8421'}, {addr: 'b.example:8421'}]}
",
    );
    let client = tap_client(&config);
    assert_eq!(client.servers, ["a.example:8421", "b.example:8421"]);
    assert_eq!((client.tap.device.mtu, client.tap.mac), (1420, None));
    assert_eq!(format!("{:?}", client.tap.cipher), "Some(aes-128-gcm:***)");
    let url = of_url("tap://dummy:x@:0/a.example:8421,b.example:8421?net=10.1.0.2/24");
    assert_eq!((&tap_client(&url).servers, &tap_client(&url).tap.cipher), (&client.servers, &None));
}
