//! What transports, TLS, proxies, selectors and socket options come to in the model.

#![allow(clippy::unwrap_used, reason = "a test whose configuration is refused has failed")]

use std::time::Duration;

use rtun_config::{
    Environment, Outcome, cli,
    findings::{Code, Profile, Severity},
    load, load_text, schema,
    source::{ConfigSource, ReadError},
};
use rtun_settings::{
    Bind, CertificateFiles, CipherSuite, Config, CongestionControl, DialTls, Endpoint, Fingerprint,
    GrpcSettings, HostSettings, Http2Settings, HttpHeader, HubNode, HubSettings, Interface,
    MuxSettings, MuxVersion, NetworkNamespace, NodePreference, OwnCertificate, ProbeSettings,
    ProxyKind, ProxyProtocol, QuicSettings, Secret, Selection, ServerCertificate, ServerTls,
    ServiceKind, SocketOptions, Strategy, TlsVersions, TransportStack, Verification,
    WebSocketSettings,
};

const TUN: &str = "tun:///host-1?net=10.1.0.1/24";

fn run(arguments: &[&str]) -> Outcome {
    let args = cli::parse(arguments.iter().copied()).unwrap();
    let mut nothing = |_: &ConfigSource| Err(ReadError::NotFound);
    load(&args, &Environment::default(), &mut nothing, Profile::Compat)
}

fn model(outcome: Outcome) -> Config {
    let shown: Vec<String> = outcome.findings.iter().map(ToString::to_string).collect();
    outcome.config.unwrap_or_else(|| panic!("{}", shown.join("\n")))
}

/// The hub whose `listener` and further lines are as given, with nothing said above an information.
fn hub_and(listener: &str, more: &str) -> HubSettings {
    let text = format!(
        "services: [{{name: a, addr: '127.0.0.1:1', handler: {{type: router}}, listener: {{{listener}}}}}]\n{more}"
    );
    let outcome = load_text("a", &text, false, Profile::Strict);
    assert!(outcome.worst() <= Some(Severity::Info), "{}", outcome.findings[0]);
    match model(outcome).services.remove(0).kind {
        ServiceKind::Hub(hub) => hub,
        other => panic!("{other:?}"),
    }
}

fn listener(listener: &str) -> TransportStack<ServerTls> {
    hub_and(listener, "").listener.stack
}

fn server_tls(written: &str, more: &str) -> ServerTls {
    hub_and(&format!("type: tls, tls: {{{written}}}"), more).listener.stack.tls().unwrap().clone()
}

/// The host whose service has `service`, and whose chain has `hops`.
fn host_of(service: &str, hops: &str) -> (HostSettings, Vec<Code>) {
    let text = format!(
        "services:
- name: a
  handler: {{type: tun}}
  listener: {{type: tun, metadata: {{net: 10.1.0.1/24}}}}
  forwarder: {{nodes: [{{addr: h}}]}}
  {service}
chains: [{{name: c, hops: [{hops}]}}]"
    );
    let outcome = load_text("a", &text, false, Profile::Compat);
    let codes = outcome.findings.iter().filter_map(|finding| finding.code).collect();
    (host(model(outcome)), codes)
}

fn host(mut config: Config) -> HostSettings {
    match config.services.remove(0).kind {
        ServiceKind::Host(host) => host,
        other => panic!("{other:?}"),
    }
}

fn node_and(node: &str) -> (HubNode, Vec<Code>) {
    let hop = format!("{{name: h, nodes: [{{addr: 'h:1', connector: {{type: router}}, {node}}}]}}");
    let (mut host, codes) = host_of("", &hop);
    (host.hubs.remove(0), codes)
}

fn dialer(dialer: &str) -> TransportStack<DialTls> {
    node_and(&format!("dialer: {{{dialer}}}")).0.endpoints.remove(0).stack
}

fn dial_tls(written: &str) -> DialTls {
    dialer(&format!("type: tls, tls: {{{written}}}")).tls().unwrap().clone()
}

const NO_TLS: [&str; 5] = ["tcp", "ws", "mtcp", "mws", "h2c"];

/// Listeners that are devices.
const DEVICES: [&str; 2] = ["tun", "tap"];

#[test]
fn every_transport_listens_and_dials() {
    for name in schema::LISTENERS.supported.iter().filter(|name| !DEVICES.contains(name)) {
        let written = listener(&format!("type: {name}"));
        let url = model(run(&["-L", &format!("router+{name}://127.0.0.1:1")]));
        let ServiceKind::Hub(hub) = &url.services[0].kind else { panic!("{url:?}") };
        assert_eq!(hub.listener.stack, written);
        assert_eq!(written.name(), *name);
        assert_eq!(written.tls().is_none(), NO_TLS.contains(name), "{name}");
        assert_eq!(written.is_on_udp(), *name == "quic");
    }
    for name in schema::DIALERS.supported {
        let written = dialer(&format!("type: {name}"));
        let url = host(model(run(&["-L", TUN, "-F", &format!("router+{name}://h:1")])));
        let endpoint = &url.hubs[0].endpoints[0];
        assert_eq!((endpoint.addr.as_str(), endpoint.stack.name()), ("h:1", *name));
        assert_eq!(written.name(), *name);
        assert_eq!(written.tls().is_none(), NO_TLS.contains(name), "{name}");
    }
    assert_eq!(schema::LISTENERS.supported.len(), schema::DIALERS.supported.len() + DEVICES.len());
}

#[test]
fn web_sockets() {
    let plain = |stack| match stack {
        TransportStack::Tcp { tls: None::<DialTls>, ws: Some(ws), mux: None } => ws,
        other => panic!("{other:?}"),
    };
    let default =
        WebSocketSettings { path: "/ws".to_owned(), host: None, headers: vec![], ping_every: None };
    assert_eq!(plain(dialer("type: ws")), default);
    let header =
        |name: &str, value: &str| HttpHeader { name: name.to_owned(), value: Secret::new(value) };
    assert_eq!(
        plain(dialer(
            "type: ws, metadata: {path: a/b, ws.host: 'cdn.example:8080', header: {X-A: 1, authorization: t}, keepalive: true}"
        )),
        WebSocketSettings {
            path: "/a/b".to_owned(),
            host: Some("cdn.example:8080".to_owned()),
            headers: vec![header("X-A", "1"), header("authorization", "t")],
            ping_every: Some(Duration::from_secs(15)),
        }
    );
    let written = "type: ws, metadata: {host: a, header: {Host: b}, ws.keepalive: 1, keepalive: 0, ttl: 3s, keepalive.interval: 9s}";
    let ws = plain(dialer(written));
    assert_eq!((ws.host.as_deref(), ws.headers.len()), (Some("b"), 0), "as in GOST");
    assert_eq!(ws.ping_every, Some(Duration::from_secs(3)), "the first name counts");
    let TransportStack::Tcp { ws: Some(ws), .. } =
        listener("type: wss, metadata: {ws.path: /a/, path: /b, header: {Server: nginx}}")
    else {
        panic!("no WebSocket")
    };
    assert_eq!((ws.path.as_str(), ws.headers), ("/a/", vec![header("Server", "nginx")]));
    assert!(!format!("{:?}", header("a", "hunter2")).contains("hunter2"));
}

#[test]
fn multiplexing() {
    fn mux<T: std::fmt::Debug>(stack: TransportStack<T>) -> MuxSettings {
        match stack {
            TransportStack::Tcp { mux: Some(mux), .. } => mux,
            other => panic!("{other:?}"),
        }
    }
    let default = MuxSettings {
        version: MuxVersion::One,
        keepalive: Some(Duration::from_secs(10)),
        keepalive_timeout: Duration::from_secs(30),
        max_frame: 32768,
        receive_buffer: 4 << 20,
        stream_buffer: 64 << 10,
    };
    for name in ["mtls", "mws", "mwss"] {
        assert_eq!(mux(listener(&format!("type: {name}"))), default);
        assert_eq!(
            mux(dialer(&format!("type: {name}, metadata: {{mux.type: smux, mux.version: 0}}"))),
            { default }
        );
    }
    assert_eq!(mux(dialer("type: mtcp")).version, MuxVersion::Two);
    assert_eq!(mux(dialer("type: mtcp, metadata: {mux.version: 1}")).version, MuxVersion::One);
    let all = "mux.version: '2', mux.keepaliveInterval: 5, mux.keepaliveTimeout: 15s, mux.maxFrameSize: 65535, mux.maxReceiveBuffer: 1048576, mux.maxStreamBuffer: 1024";
    assert_eq!(
        mux(dialer(&format!("type: mws, metadata: {{{all}}}"))),
        MuxSettings {
            version: MuxVersion::Two,
            keepalive: Some(Duration::from_secs(5)),
            keepalive_timeout: Duration::from_secs(15),
            max_frame: 65535,
            receive_buffer: 1 << 20,
            stream_buffer: 1024,
        }
    );
    let quiet = "type: mtls, metadata: {mux.keepaliveDisabled: true, mux.keepaliveInterval: 1m}";
    assert_eq!(mux(listener(quiet)).keepalive, None);
}

#[test]
fn quic_http2_and_grpc() {
    let quic = |stack| match stack {
        TransportStack::Quic { quic, .. } => quic,
        other => panic!("{other:?}"),
    };
    let default = QuicSettings {
        keepalive: Some(Duration::from_secs(10)),
        idle_timeout: Duration::from_secs(90),
        handshake_timeout: None,
        datagrams: true,
        max_streams: None,
        congestion: CongestionControl::Adaptive,
    };
    assert_eq!(quic(dialer("type: quic")), default);
    assert_eq!(
        quic(dialer(
            "type: quic, metadata: {keepAlive: false, ttl: 3s, maxIdleTimeout: 5s, handshakeTimeout: 2s, datagrams: false, maxStreams: 7, congestion: CUBIC}"
        )),
        QuicSettings {
            keepalive: None,
            idle_timeout: Duration::from_secs(5),
            handshake_timeout: Some(Duration::from_secs(2)),
            datagrams: false,
            max_streams: Some(7),
            congestion: CongestionControl::Cubic,
        }
    );
    let tls12 = "type: quic, tls: {options: {minVersion: VersionTLS12}}";
    assert_eq!(dialer(tls12).name(), "quic", "1.3 is spoken too");

    let http = |stack| match stack {
        TransportStack::Http2 { tls, http } => (tls.is_some(), http),
        other => panic!("{other:?}"),
    };
    let default = Http2Settings { path: None, host: None, headers: vec![] };
    assert_eq!(http(dialer("type: h2c")), (false, default));
    let written = "type: h2, metadata: {path: /t, host: cdn.example, header: {A: b}}";
    let (encrypted, written) = http(dialer(written));
    assert!(encrypted);
    assert_eq!(
        (written.path.as_deref(), written.host.as_deref()),
        (Some("/t"), Some("cdn.example"))
    );

    let grpc = |stack| match stack {
        TransportStack::Grpc { tls, grpc } => (tls.is_some(), grpc),
        other => panic!("{other:?}"),
    };
    let default = GrpcSettings { path: "/GostTunel/Tunnel".to_owned(), authority: None };
    assert_eq!(grpc(dialer("type: grpc")), (true, default));
    assert_eq!(
        grpc(dialer(
            "type: grpc, metadata: {insecure: true, grpc.path: a.B/c/d, host: h, keepalive: true, keepalive.time: 9s, grpc.keepalive.permitWithoutStream: true}"
        )),
        (false, GrpcSettings { path: "/a.B/c-d".to_owned(), authority: Some("h".to_owned()) })
    );
    let text = "services: [{name: a, addr: '127.0.0.1:1', handler: {type: router}, listener: {type: grpc, metadata: {keepalive: true}}}]";
    let loaded = load_text("a", text, false, Profile::Compat);
    let shown = format!("{:?}", loaded.findings);
    assert!(shown.contains("`keepalive` has no effect"), "{shown}");
}

#[test]
fn certificates_of_a_hub() {
    let files = |certificate: &str, key: &str| {
        ServerCertificate::Files(CertificateFiles {
            certificate: certificate.into(),
            key: key.into(),
        })
    };
    let own = ServerCertificate::Own(OwnCertificate::default());
    let tls = server_tls("", "");
    assert_eq!((&tls.certificate, &tls.client_ca, tls.versions), (&own, &None, TlsVersions::Tls13));
    let tls = server_tls("certFile: c, keyFile: k, caFile: a, bindNames: true", "");
    assert_eq!((&tls.certificate, tls.client_ca), (&files("c", "k"), Some("a".into())));
    assert!(tls.bind_names && !tls.reject_unknown_sni);

    let top = "tls: {certFile: tc, keyFile: tk, caFile: ta}";
    let tls = server_tls("", top);
    assert_eq!((&tls.certificate, tls.client_ca), (&files("tc", "tk"), Some("ta".into())));
    let tls = server_tls("certFile: c, keyFile: k", top);
    assert_eq!((&tls.certificate, tls.client_ca), (&files("c", "k"), None), "they go together");
    let tls = server_tls("caFile: a", top);
    assert_eq!((&tls.certificate, tls.client_ca), (&files("tc", "tk"), Some("a".into())));

    let tls = server_tls("", "tls: {validity: 24h, commonName: hub.example, organization: O}");
    let made = OwnCertificate {
        validity: Duration::from_secs(24 * 60 * 60),
        common_name: "hub.example".to_owned(),
        organization: "O".to_owned(),
    };
    assert_eq!(tls.certificate, ServerCertificate::Own(made));
    let tls = server_tls("rejectUnknownSNI: true, serverNames: [a.example, b.example]", "");
    assert_eq!((tls.reject_unknown_sni, tls.server_names.len()), (true, 2));
}

#[test]
fn versions_suites_and_protocols() {
    let options = |written: &str| dial_tls(&format!("options: {{{written}}}"));
    for (written, versions) in [
        ("", TlsVersions::Tls13),
        ("minVersion: VersionTLS13", TlsVersions::Tls13),
        ("minVersion: versiontls12", TlsVersions::Tls12And13),
        ("minVersion: VersionTLS12, maxVersion: VersionTLS13", TlsVersions::Tls12And13),
        ("maxVersion: VersionTLS13", TlsVersions::Tls13),
        ("maxVersion: VersionTLS12", TlsVersions::Tls12),
        ("minVersion: VersionTLS12, maxVersion: VersionTLS12", TlsVersions::Tls12),
    ] {
        assert_eq!(options(written).versions, versions, "{written}");
    }
    let suites = "cipherSuites: [tls_ecdhe_rsa_with_aes_128_gcm_sha256, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]";
    assert_eq!(options(suites).cipher_suites, [], "TLS 1.3 has its own");
    assert_eq!(
        options(&format!("minVersion: VersionTLS12, {suites}")).cipher_suites,
        [CipherSuite::EcdheRsaAes128GcmSha256, CipherSuite::EcdheEcdsaChacha20Poly1305Sha256]
    );
    assert_eq!(options("alpn: [h2, http/1.1]").alpn, ["h2", "http/1.1"]);
    assert_eq!(options("alpn: h3").alpn, ["h3"]);
}

#[test]
fn who_a_host_believes_to_be_its_hub() {
    let digits = "0123456789abcdef".repeat(4);
    let pin = format!("fingerprint: '{digits}'");
    let colons = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    let colons = colons.collect::<Vec<_>>().join(":").to_uppercase();
    let ca = || Some("ca.pem".into());
    for (written, verification, pins, code) in [
        ("", Verification::Off, 0, Some(Code::C07)),
        ("secure: false", Verification::Off, 0, Some(Code::C07)),
        ("secure: true", Verification::Full { ca: None }, 0, None),
        ("secure: true, caFile: ca.pem", Verification::Full { ca: ca() }, 0, None),
        ("caFile: ca.pem", Verification::Chain { ca: "ca.pem".into() }, 0, Some(Code::C07)),
        (pin.as_str(), Verification::Off, 1, None),
        (&format!("secure: true, {pin}"), Verification::Full { ca: None }, 1, None),
        (&format!("caFile: ca.pem, {pin}"), Verification::Chain { ca: "ca.pem".into() }, 1, None),
        (&format!("fingerprint: ['{digits}', 'sha256:{colons}']"), Verification::Off, 2, None),
        (&format!("fingerprint: '{digits},{colons}'"), Verification::Off, 2, None),
    ] {
        let (node, codes) = node_and(&format!("dialer: {{type: wss, tls: {{{written}}}}}"));
        let tls = node.endpoints[0].stack.tls().unwrap();
        assert_eq!((&tls.verification, tls.fingerprints.len()), (&verification, pins), "{written}");
        assert_eq!(codes, code.into_iter().collect::<Vec<_>>(), "{written}");
        let expected = Fingerprint(std::array::from_fn(|i| {
            let (high, low) = ((i * 2 % 16) as u8, (i * 2 % 16 + 1) as u8);
            high << 4 | low
        }));
        assert!(tls.fingerprints.iter().all(|pin| *pin == expected), "{written}");
        let is_verified =
            matches!(verification, Verification::Full { .. } | Verification::Chain { .. });
        assert_eq!(tls.is_authenticated(), is_verified || pins > 0, "{written}");
    }
    let tls = dial_tls("secure: true, serverName: hub.example, certFile: c, keyFile: k");
    assert_eq!(tls.server_name.as_deref(), Some("hub.example"));
    let files = CertificateFiles { certificate: "c".into(), key: "k".into() };
    assert_eq!(tls.certificate, Some(files));
}

#[test]
fn open_hubs() {
    let codes = |listener: &str, handler: &str, more: &str| {
        let text = format!(
            "services: [{{name: a, addr: ':443', handler: {{type: router, {handler}}}, listener: {{{listener}}}}}]\n{more}"
        );
        let findings = load_text("a", &text, false, Profile::Compat).findings;
        findings.iter().filter_map(|finding| finding.code).collect::<Vec<_>>()
    };
    let user = "auther: u";
    let users = "authers: [{name: u, auths: [{username: u, password: p, hosts: [h]}]}]";
    for name in schema::LISTENERS.supported.iter().filter(|name| !DEVICES.contains(name)) {
        let typed = format!("type: {name}");
        let plain = NO_TLS.contains(name);
        let open = if plain { Code::C02 } else { Code::C04 };
        assert_eq!(codes(&typed, "", ""), [open], "{name}");
        let passwords: &[Code] = if plain { &[Code::C03] } else { &[] };
        assert_eq!(codes(&typed, user, users), passwords, "{name}");
    }
    assert_eq!(codes("type: grpc, metadata: {insecure: true}", "", ""), [Code::C02]);
    let certificates = "type: tls, tls: {certFile: c, keyFile: k, caFile: a}";
    assert_eq!(codes(certificates, "", ""), []);
    let ingress = "ingresses: [{name: i, rules: [{hostname: h, endpoint: e87f56dd-fd57-4921-9ab8-a0847662daae}]}]
routers: [{name: e87f56dd-fd57-4921-9ab8-a0847662daae}]";
    assert_eq!(codes("type: wss", "metadata: {ingress: i}", ingress), []);
}

#[test]
fn a_host_behind_proxies() {
    let outcome = run(&[
        "-L",
        TUN,
        "-F",
        "http://user:pass@proxy.example:3128?timeout=5s",
        "-F",
        "socks5+tls://second.example:1080?secure=true",
        "-F",
        "router+tls://hub.example:443?secure=true&router.id=e87f56dd-fd57-4921-9ab8-a0847662daae",
    ]);
    let codes: Vec<_> = outcome.findings.iter().filter_map(|finding| finding.code).collect();
    assert_eq!(codes, [Code::C09]);
    let host = host(model(outcome));
    let [first, second] = &host.proxies[..] else { panic!("{host:?}") };
    let ([first], [second]) = (&first.nodes[..], &second.nodes[..]) else { panic!("{host:?}") };
    assert_eq!((first.addr.as_str(), first.protocol), ("proxy.example:3128", ProxyKind::Http));
    assert_eq!(first.stack, TransportStack::tcp());
    assert_eq!(first.connect_timeout, Some(Duration::from_secs(5)));
    let auth = first.auth.as_ref().unwrap();
    assert_eq!((auth.user.as_str(), auth.password.expose()), ("user", "pass"));
    assert_eq!((second.addr.as_str(), second.protocol), ("second.example:1080", ProxyKind::Socks5));
    assert_eq!((second.stack.name(), second.auth.as_ref()), ("tls", None));
    let [hub] = &host.hubs[..] else { panic!("{host:?}") };
    assert_eq!((hub.addr.as_str(), hub.endpoints[0].stack.name()), ("hub.example:443", "tls"));
    assert!(!hub.namespace.is_default());

    let hops = "{name: p, selector: {strategy: rand}, nodes: [
  {name: a, addr: 'a:1', connector: {type: socks, metadata: {notls: true}}},
  {addr: 'b:2', connector: {metadata: {header: {User-Agent: curl}}}}]},
{name: h, nodes: [{addr: 'h:1', connector: {type: router}}]}";
    let (host, _) = host_of("", hops);
    let [hop] = &host.proxies[..] else { panic!("{host:?}") };
    assert_eq!(hop.selector.strategy, Strategy::Random);
    let names: Vec<_> = hop
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.protocol, node.headers.len()))
        .collect();
    assert_eq!(names, [("a", ProxyKind::Socks5, 0), ("b:2", ProxyKind::Http, 1)], "as in GOST");
}

#[test]
fn several_ways_to_one_hub() {
    let (node, codes) = node_and(
        "dialers: [{type: quic, tls: {secure: true}}, {type: wss, addr: 'cdn:443', tls: {secure: true}, metadata: {path: /t}}, {type: tcp}]",
    );
    let ways = |node: &HubNode| {
        let endpoint = |endpoint: &Endpoint| format!("{} {}", endpoint.stack.name(), endpoint.addr);
        node.endpoints.iter().map(endpoint).collect::<Vec<_>>()
    };
    assert_eq!(ways(&node), ["quic h:1", "wss cdn:443", "tcp h:1"]);
    assert_eq!((node.addr.as_str(), &codes[..]), ("h:1", &[Code::C30][..]));
    let (node, _) = node_and("dialers: {type: ws, addr: 'x:1'}");
    assert_eq!((node.addr.as_str(), &ways(&node)[..]), ("x:1", &["ws x:1".to_owned()][..]));

    let url =
        "router+quic://a:443,b:443?secure=true&path=/t&fallback=wss,h2,tcp&serverName=hub.example";
    let outcome = run(&["-L", TUN, "-F", url]);
    let codes: Vec<_> = outcome.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [Some(Code::C30)], "said once");
    let host = host(model(outcome));
    let [a, b] = &host.hubs[..] else { panic!("{host:?}") };
    assert_eq!(ways(a), ["quic a:443", "wss a:443", "h2 a:443", "tcp a:443"]);
    assert_eq!(ways(b), ["quic b:443", "wss b:443", "h2 b:443", "tcp b:443"]);
    for endpoint in &b.endpoints[..3] {
        let tls = endpoint.stack.tls().unwrap();
        assert_eq!(tls.verification, Verification::Full { ca: None });
        assert_eq!(tls.server_name.as_deref(), Some("hub.example"));
    }
    let TransportStack::Tcp { ws: Some(ws), .. } = &b.endpoints[1].stack else { panic!("{b:?}") };
    assert_eq!(ws.path, "/t");
}

#[test]
fn selectors_and_probes() {
    let hop = |selector: &str, node: &str| {
        let hop = format!(
            "{{name: h, selector: {{{selector}}}, nodes: [{{addr: 'h:1', connector: {{type: router}}, {node}}}]}}"
        );
        let (mut host, _) = host_of("", &hop);
        (host.selector, host.hubs.remove(0).preference)
    };
    let default = Selection {
        strategy: Strategy::Round,
        max_fails: 1,
        fail_timeout: Duration::from_secs(10),
        max_latency: None,
    };
    assert_eq!(hop("", ""), (default, NodePreference::default()));
    for (name, strategy) in [
        ("round", Strategy::Round),
        ("rr", Strategy::Round),
        ("random", Strategy::Random),
        ("rand", Strategy::Random),
        ("fifo", Strategy::Fifo),
        ("ha", Strategy::Fifo),
        ("hash", Strategy::Hash),
        ("parallel", Strategy::Parallel),
        ("lowestlatency", Strategy::LowestLatency),
        ("lowest", Strategy::LowestLatency),
        ("ll", Strategy::LowestLatency),
        ("''", Strategy::Round),
    ] {
        assert_eq!(hop(&format!("strategy: {name}"), "").0.strategy, strategy);
    }
    let (selector, standing) = hop(
        "maxFails: 3, failTimeout: 5s",
        "metadata: {weight: 7, backup: true}, probe: {addr: x, interval: 2s}",
    );
    assert_eq!((selector.max_fails, selector.fail_timeout), (3, Duration::from_secs(5)));
    let probe = ProbeSettings { interval: Duration::from_secs(2), ..ProbeSettings::default() };
    assert_eq!(
        standing,
        NodePreference { weight: 7, backup: true, probe: Some(probe), ..NodePreference::default() }
    );
    assert_eq!(hop("maxFails: -1, failTimeout: 0s", "metadata: {weight: -7}").0, default);
    assert_eq!(hop("", "probe: {type: tcp}").1.probe, Some(ProbeSettings::default()));

    let host = host(model(run(&["-L", TUN, "-F", "router://h:1?maxFails=2"])));
    assert_eq!(
        host.selector.fail_timeout,
        Duration::from_secs(30),
        "as GOST's command line has it"
    );
    assert_eq!((host.selector.max_fails, host.retries), (2, 0));
    let host = self::host(model(run(&["-L", &format!("{TUN}&retries=3"), "-F", "router://h:1"])));
    assert_eq!(host.retries, 3);
}

#[test]
fn sockets_of_a_host() {
    let device = |name: &str, strict| Interface { bind: Bind::Device(name.to_owned()), strict };
    let service =
        "metadata: {interface: 'eth0,eth1!', so_mark: 7, netns: inside, netns.out: /run/outside}";
    let hop = "{name: h, interface: eth2, sockopts: {mark: 9}, metadata: {proxyProtocol: 1, netns: there}, nodes: [
  {addr: 'a:1', connector: {type: router}},
  {addr: 'b:1', connector: {type: router}, interface: eth3, netns: here, metadata: {so_mark: 11, proxyProtocol: 2}},
  {addr: 'c:1', connector: {type: router}, metadata: {interface: '10.0.0.1,fd00::1!', netns: ''}}]}";
    let (host, _) = host_of(service, hop);
    assert_eq!(host.device.netns, Some(NetworkNamespace::Named("inside".to_owned())));
    let [a, b, c] = &host.hubs[..] else { panic!("{host:?}") };
    let there = Some(NetworkNamespace::Named("there".to_owned()));
    let expected = SocketOptions {
        interfaces: vec![device("eth2", false)],
        so_mark: Some(9),
        netns: there,
        mptcp: false,
    };
    assert_eq!((&a.sockets, a.proxy_protocol), (&expected, Some(ProxyProtocol::V1)));
    let here = Some(NetworkNamespace::Named("here".to_owned()));
    let expected = SocketOptions {
        interfaces: vec![device("eth3", false)],
        so_mark: Some(11),
        netns: here,
        mptcp: false,
    };
    assert_eq!((&b.sockets, b.proxy_protocol), (&expected, Some(ProxyProtocol::V2)));
    let address =
        |text: &str, strict| Interface { bind: Bind::Address(text.parse().unwrap()), strict };
    assert_eq!(c.sockets.interfaces, [address("10.0.0.1", false), address("fd00::1", true)]);

    let (host, _) =
        host_of(service, "{name: h, nodes: [{addr: 'h:1', connector: {type: router}}]}");
    let outside = Some(NetworkNamespace::Path("/run/outside".into()));
    let interfaces = vec![device("eth0", false), device("eth1", true)];
    assert_eq!(
        host.hubs[0].sockets,
        SocketOptions { interfaces, so_mark: Some(7), netns: outside, mptcp: false }
    );
}

#[test]
fn around_a_hub() {
    let config = model(run(&[
        "-L",
        "router+ws://127.0.0.1:1?proxyProtocol=1&trustedProxies=192.0.2.7,2001:db8::1/32&so_mark=7&netns=edge&reuseport=true",
        "-L",
        "router+quic://127.0.0.1:1",
    ]));
    let ServiceKind::Hub(hub) = &config.services[0].kind else { panic!("{config:?}") };
    let listener = &hub.listener;
    assert!(listener.proxy_protocol && listener.sockets.reuse_port);
    let trusted: Vec<String> = listener.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(trusted, ["192.0.2.7/32", "2001:db8::/32"]);
    assert_eq!(listener.sockets.so_mark, Some(7));
    assert_eq!(listener.sockets.netns, Some(NetworkNamespace::Named("edge".to_owned())));
    let plain = hub_and("type: tcp", "").listener;
    assert_eq!(plain, rtun_settings::ListenerSettings::tcp("127.0.0.1:1"));
    let two = |second: &str| {
        let text = format!(
            "services:
- {{name: a, addr: '127.0.0.1:1', handler: {{type: router}}, listener: {{type: wss}}}}
- {{name: b, addr: '127.0.0.1:1', handler: {{type: router}}, {second}}}"
        );
        load_text("a", &text, false, Profile::Compat).config.is_some()
    };
    assert!(two("listener: {type: quic}"), "UDP has ports of its own");
    assert!(two("listener: {type: tls}, metadata: {netns: other}"), "so has a namespace");
    assert!(!two("listener: {type: tls}"));
}

#[test]
fn several_ways_in_to_one_hub() {
    let text = "services:
- name: a
  addr: 127.0.0.1:443
  metadata: {so_mark: 7}
  handler: {type: router}
  listener: {type: wss, metadata: {path: /t}}
  listeners:
  - {type: quic}
  - {type: ws, addr: '[::1]:80', metadata: {trustedProxies: '::1'}}";
    let config = model(load_text("a", text, false, Profile::Strict));
    let ServiceKind::Hub(hub) = &config.services[0].kind else { panic!("{config:?}") };
    let shown: Vec<_> = hub
        .listeners()
        .map(|listener| (listener.addr.as_str(), listener.stack.name(), listener.sockets.so_mark))
        .collect();
    let expected = [
        ("127.0.0.1:443", "wss", Some(7)),
        ("127.0.0.1:443", "quic", Some(7)),
        ("[::1]:80", "ws", Some(7)),
    ];
    assert_eq!(shown, expected);
    let trusted: Vec<usize> = hub.listeners().map(|l| l.trusted_proxies.len()).collect();
    assert_eq!(trusted, [0, 0, 1], "each for itself");
    let open = text.replace("127.0.0.1:443", ":443");
    let findings = load_text("a", &open, false, Profile::Compat).findings;
    let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [Some(Code::C04)], "once for one address");
}

/// `tests/gost/NAME.yaml` is what GOST 3.3.0 printed with `-O yaml` for the arguments in `NAME.args`.
#[test]
fn what_gost_writes_means_what_its_command_line_means() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gost");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "args") {
            continue;
        }
        count += 1;
        let arguments = std::fs::read_to_string(&path).unwrap();
        let line = run(&arguments.lines().collect::<Vec<_>>());
        let text = std::fs::read_to_string(path.with_extension("yaml")).unwrap();
        let file = load_text("gost.yaml", &text, false, Profile::Compat);
        let unknown: Vec<String> = [&line, &file]
            .into_iter()
            .flat_map(|outcome| &outcome.findings)
            .filter(|finding| finding.code == Some(Code::C26))
            .map(ToString::to_string)
            .collect();
        assert!(unknown.is_empty(), "{}", unknown.join("\n"));
        let printed = line.document.as_ref().unwrap().emit(cli::OutputFormat::Yaml);
        let again = load_text("again.yaml", &printed, false, Profile::Compat);
        let line = model(line);
        assert_eq!(model(file), line, "{}", path.display());
        assert_eq!(model(again), line, "{}", path.display());
    }
    assert_eq!(count, 8);
}
