//! What becomes of everything that a configuration for GOST may say and rtun does not do: each kind of it with its outcome.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use rtun_config::{
    Environment, Outcome, ServiceFate, cli,
    findings::{Profile, Severity},
    load,
    source::{ConfigSource, Content, ReadError},
};
use rtun_settings::{Config, ServiceKind};

/// A hub and a host with places for keys.
const BOTH: &str = "
services:
- name: hub
  addr: 127.0.0.1:8443
  SERVICE
  handler: {type: router, auther: members, HANDLER metadata: {router: main, HUB-METADATA}}
  listener: {type: tcp, LISTENER metadata: {LISTENER-METADATA}}
  metadata: {SERVICE-METADATA}
- name: host
  handler: {type: tun, chain: out}
  listener: {type: tun, metadata: {net: 10.1.0.1/24}}
  forwarder: {nodes: [{addr: berlin, TARGET}]}
chains:
- name: out
  CHAIN
  hops:
  - name: hop
    HOP
    nodes:
    - name: node
      addr: 192.0.2.1:8443
      NODE
      connector: {type: router, CONNECTOR auth: {AUTH}}
      dialer: {type: tcp, DIALER metadata: {DIALER-METADATA}}
authers: [{name: members, auths: [{username: eve, password: apple, hosts: [berlin]}]}]
routers: [{name: main, routes: [{dst: 10.1.0.0/16, gateway: berlin}]}]
ROOT
";

#[derive(Debug, PartialEq)]
enum Becomes {
    /// It runs and nothing is said.
    Runs,
    /// It runs and something is said in passing.
    Informed(&'static str),
    /// It runs with one warning.
    Warned(&'static str),
    /// It does not run, for one reason.
    Refused(&'static str),
}

use Becomes::{Informed, Refused, Runs, Warned};

/// A place of [`BOTH`], what stands there, and what becomes of it.
const KEYS: &[(&str, &str, Becomes)] = &[
    // Without harm.
    ("ROOT", "profiling: {addr: ':6060'}", Warned("no Go runtime")),
    ("ROOT", "recorders: [{name: disk, file: {path: /tmp/x}}]", Runs),
    ("ROOT", "recorders: [{name: disk}]", Warned("writes nowhere")),
    ("ROOT", "bypasses: [{name: lan, matchers: [10.0.0.0/8]}]", Warned("nothing here uses it")),
    ("ROOT", "rewriters: [{name: words}]", Warned("nothing here uses it")),
    ("ROOT", "caches: [{name: pages}]", Warned("nothing here uses it")),
    ("ROOT", "sds: [{name: found}]", Warned("nothing here uses it")),
    ("ROOT", "observers: [{name: eye}]", Warned("has no plugin: nobody is informed")),
    ("ROOT", "colour: blue", Warned("there is no key `colour`")),
    ("ROOT", "onlyTunnels: false", Runs),
    ("ROOT", "bypasses: []\nprofiling: {}", Runs),
    ("SERVICE", "bypass: lan", Warned("`bypass` has no effect")),
    ("SERVICE", "bypasses: [lan]", Warned("`bypasses` has no effect")),
    ("SERVICE", "resolver: quad", Warned("`resolver` has no effect")),
    ("SERVICE", "hosts: names", Warned("`hosts` has no effect")),
    ("SERVICE", "rewriter: words", Warned("`rewriter` has no effect")),
    ("SERVICE", "cache: pages", Warned("`cache` has no effect")),
    ("SERVICE", "status: {state: running}", Runs),
    ("SERVICE-METADATA", "labels: {site: a}", Warned("`labels` has no effect")),
    ("SERVICE-METADATA", "enableStats: true", Runs),
    ("SERVICE-METADATA", "observer.period: 5s", Informed("`observer.period` has no effect")),
    ("SERVICE-METADATA", "wobble: 1", Warned("there is no key `wobble`")),
    ("HUB-METADATA", "hash: source", Warned("there is no key `hash`")),
    ("HUB-METADATA", "observePeriod: 9s", Informed("`observePeriod` has no effect")),
    ("HUB-METADATA", "observer: eye", Warned("`observer` has no effect")),
    ("HUB-METADATA", "router.cache: true", Informed("`router.cache` has no effect")),
    ("HANDLER", "tls: {certFile: a.pem},", Warned("`tls` has no effect")),
    ("LISTENER", "chain: out,", Warned("`chain` has no effect")),
    ("TARGET", "matcher: {rule: Host(`a`)}", Warned("`matcher` has no effect")),
    ("TARGET", "network: tcp", Warned("`network` has no effect")),
    ("CHAIN", "selector: {strategy: rand}", Warned("`selector` has no effect")),
    ("NODE", "network: tcp", Warned("`network` has no effect")),
    ("NODE", "http: {host: a}", Warned("`http` has no effect")),
    ("NODE", "probe: {type: tcp, addr: x, expectedStatus: 200}", Warned("`expectedStatus`")),
    ("CONNECTOR", "tls: {secure: true},", Warned("`tls` has no effect")),
    ("DIALER", "auth: {username: mallory, password: pear},", Warned("`auth` has no effect")),
    // Promises.
    ("ROOT", "api: {addr: ':18080'}", Refused("the Web API has no `auther`")),
    ("ROOT", "api: {addr: ':18080', auther: members}", Refused("the Web API has no `tls`")),
    ("ROOT", "api: {addr: ':18080', insecure: true}", Warned("can change this configuration")),
    ("ROOT", "api: {addr: ':18080', auther: members, tls: {}}", Runs),
    ("ROOT", "api: {addr: '127.0.0.1:18080'}", Runs),
    ("ROOT", "api: {addr: 'unix:///run/api.sock'}", Runs),
    ("ROOT", "api: {addr: '[::1]:1', auther: members, readers: [adam]}", Refused("no user `adam`")),
    ("ROOT", "api: {addr: '[::1]:1', readers: [eve]}", Refused("nobody is a reader")),
    ("ROOT", "api: {addr: '[::1]:1', origins: [ops.example]}", Refused("is no origin")),
    ("ROOT", "api: {addr: '[::1]:1', pathPrefix: api}", Refused("is no path of a URL")),
    ("SERVICE", "observer: eye", Refused("there is no observer named `eye`")),
    ("SERVICE", "recorders: [{name: disk, record: x}]", Refused("no recorder named `disk`")),
    ("HUB-METADATA", "auther: members", Refused("`auther` has no effect here")),
    ("HUB-METADATA", "entrypoint: ':9000'", Refused("`entrypoint` is not supported")),
    ("HUB-METADATA", "sd: found", Refused("`sd` is not supported")),
    ("LISTENER", "auth: {username: mallory},", Refused("`auth` has no effect here")),
    ("LISTENER", "tls: {fingerprint: aa},", Refused("`fingerprint` has no effect here")),
    ("HOP", "bypass: lan", Refused("which node is used")),
    ("NODE", "bypasses: [lan]", Refused("which node is used")),
    ("NODE", "matcher: {rule: Host(`a`)}", Refused("which node is used")),
    ("NODE", "filter: {host: a}", Refused("which node is used")),
    ("HANDLER", "auth: {username: a, password: b, file: c},", Refused("`file` is not supported")),
    // Habits.
    ("HUB-METADATA", "skipauth: '10.0.0.0/8, 192.0.2.7'", Runs),
    ("HUB-METADATA", "skipauth: [somewhere]", Refused("neither an address nor a prefix")),
    ("HUB-METADATA", "skipauth: 0.0.0.0/0", Warned("everybody without a password")),
    ("LISTENER-METADATA", "mptcp: true", Runs),
    ("DIALER-METADATA", "mptcp: true", Runs),
    ("SERVICE-METADATA", "proxyProtocol: 1", Runs),
    ("AUTH", "file: login", Runs),
    ("AUTH", "file: nothing", Refused("no line with a user")),
    ("AUTH", "file: gone", Refused("no such file")),
    ("AUTH", "file: gone, username: eve, password: apple", Warned("no such file")),
];

/// A type of listeners and dialers, and what stands in the message that refuses it.
const TRANSPORTS: [(&str, &str); 25] = [
    ("kcp", "a dozen settings"),
    ("dtls", "shifts the boundaries"),
    ("udp", "drops the rest of a datagram"),
    ("http2", "carries no stream"),
    ("http3", "carries no stream"),
    ("pht", "poll by HTTP"),
    ("phts", "poll by HTTPS"),
    ("h3", "over HTTP/3"),
    ("ohttp", "only looks like HTTP"),
    ("otls", "only looks like TLS"),
    ("ssh", "SSH"),
    ("utls", "browsers"),
    ("wt", "WebTransport"),
    ("icmp", "pings"),
    ("ftcp", "past the system's TCP"),
    ("icmp6", "pings"),
    ("ohttps", "looks like HTTP"),
    ("h3-masque", "over HTTP/3"),
    ("sshd", "SSH"),
    ("unix", "over a Unix socket"),
    ("runix", "no Unix socket of a proxy"),
    ("rtcp", "no port of a proxy"),
    ("serial", "serial lines"),
    ("stdio", "standard input"),
    ("wg", "WireGuard"),
];

/// The same of the connectors of proxies.
const PROXIES: [(&str, &str); 11] = [
    ("ss", "Shadowsocks"),
    ("ssu", "Shadowsocks"),
    ("sshd", "SSH"),
    ("forward", "leads to one place"),
    ("tcp", "leads to one place"),
    ("unix", "leads to one place"),
    ("serial", "serial lines"),
    ("sni", "names in TLS"),
    ("tunnel", "reverse proxies"),
    ("masque", "over HTTP/3"),
    ("http2", "HTTP/1.1"),
];

const OTHER_HANDLERS: [&str; 16] = [
    "auto", "dns", "file", "forward", "http", "http2", "redirect", "rtcp", "serial", "sni",
    "socks4", "socks5", "ss", "sshd", "tcp", "tunnel",
];

fn read(source: &ConfigSource) -> Result<Content, ReadError> {
    let text = match source {
        ConfigSource::File(path) if path.ends_with("login") => "# who\n\n eve  red apple \n",
        ConfigSource::File(path) if path.ends_with("nothing") => "# nobody\n\n",
        _ => return Err(ReadError::NotFound),
    };
    Ok(Content { bytes: text.into(), content_type: None })
}

/// Loads files, the first named `a.yaml`.
fn load_with(text: &str, flags: &[&str]) -> Outcome {
    let arguments = [&["-C", "a.yaml"], flags].concat();
    let args = cli::parse(arguments.iter().copied()).unwrap();
    let mut reader = |source: &ConfigSource| match source {
        ConfigSource::File(path) if path.ends_with("a.yaml") => {
            Ok(Content { bytes: text.into(), content_type: None })
        }
        other => read(other),
    };
    load(&args, &Environment::default(), &mut reader, Profile::Compat)
}

/// [`BOTH`] with `key` at `place`.
fn with(place: &str, key: &str) -> String {
    let fill = |text: String, (place, key): (&str, &str)| {
        let place_before = [format!(" {place}\n"), format!("\n{place}\n")];
        let text = place_before
            .iter()
            .fold(text, |text, found| text.replace(found, &found.replace(place, key)));
        // In braces the place is followed by a brace or by other keys.
        let inner = [format!("{place}}}"), format!("{place} ")];
        inner.iter().fold(text, |text, found| text.replace(found, &found.replace(place, key)))
    };
    let places = [
        "SERVICE-METADATA",
        "HUB-METADATA",
        "LISTENER-METADATA",
        "DIALER-METADATA",
        "SERVICE",
        "HANDLER",
        "LISTENER",
        "TARGET",
        "CHAIN",
        "HOP",
        "NODE",
        "CONNECTOR",
        "AUTH",
        "DIALER",
        "ROOT",
    ];
    let login = "username: eve, password: apple";
    let empty = |at: &str| if at == "AUTH" { login } else { "" };
    places.iter().fold(BOTH.to_owned(), |text, at| {
        fill(text, (at, if *at == place { key } else { empty(at) }))
    })
}

fn said(outcome: &Outcome, severity: Severity) -> Vec<String> {
    let found = outcome.findings.iter().filter(|finding| finding.severity == severity);
    found.map(ToString::to_string).collect()
}

#[test]
fn every_key_has_an_effect_or_a_warning_or_is_refused() {
    for (place, key, becomes) in KEYS {
        let text = with(place, key);
        let outcome = load_with(&text, &[]);
        let errors = said(&outcome, Severity::Error);
        let warnings = said(&outcome, Severity::Warning);
        let infos = said(&outcome, Severity::Info);
        let case = format!("{place}: {key}: {errors:?} {warnings:?} {infos:?}");
        let (expected, found) = match becomes {
            Runs | Informed(_) => (0, &errors),
            Warned(_) => (1, &warnings),
            Refused(_) => (1, &errors),
        };
        assert_eq!(found.len(), expected, "{case}");
        assert_eq!(outcome.config.is_some(), !matches!(becomes, Refused(_)), "{case}");
        match becomes {
            Runs => assert!(warnings.is_empty() && infos.is_empty(), "{case}"),
            Informed(says) => assert!(warnings.is_empty() && infos[0].contains(says), "{case}"),
            Warned(says) | Refused(says) => assert!(found[0].contains(says), "{case}"),
        }
    }
}

#[test]
fn every_transport_is_refused_for_its_own_reason() {
    for (name, reason) in TRANSPORTS {
        for (from, to) in [
            ("dialer: {type: tcp", format!("dialer: {{type: {name}")),
            ("listener: {type: tcp", format!("listener: {{type: {name}")),
        ] {
            let outcome = load_with(&with("", "").replace(from, &to), &[]);
            let errors = said(&outcome, Severity::Error);
            assert!(errors.len() == 1 && errors[0].contains(reason), "{to}: {errors:?}");
            assert!(
                errors[0].contains("with `tls`") || errors[0].contains("use `"),
                "{to}: {errors:?}"
            );
        }
    }
    for (name, reason) in PROXIES {
        let proxy = format!(
            "hops:\n  - name: proxies\n    nodes: [{{name: p, addr: '192.0.2.9:1080', connector: {{type: {name}}}}}]\n"
        );
        let outcome = load_with(&with("", "").replace("hops:\n", &proxy), &[]);
        let errors = said(&outcome, Severity::Error);
        assert!(errors.len() == 1 && errors[0].contains(reason), "{name}: {errors:?}");
    }
}

/// A service of another kind, and everything that only it uses, each in a form that a tunnel could not use.
fn other(handler: &str) -> String {
    format!(
        "
services:
- name: other
  addr: :1080
  admission: late
  bypass: lan
  limiter: slow
  climiter: few
  rlimiter: rare
  quotas: [monthly]
  logger: second
  observer: eye
  resolver: quad
  hosts: names
  recorders: [{{name: disk, record: recorder.service.handler}}]
  handler: {{type: {handler}, chain: away, auther: others, limiter: slow, metadata: {{sd: found, ingress: in}}}}
  listener: {{type: rudp, metadata: {{mptcp: perhaps}}}}
  forwarder: {{hop: shared}}
chains: [{{name: away, hops: [{{name: shared}}]}}]
hops: [{{name: shared, bypass: lan, nodes: [{{name: n, addr: nowhere, connector: {{type: relay}}, dialer: {{type: kcp}}}}]}}]
authers: [{{name: others, auths: [{{password: pear}}]}}]
admissions: [{{name: late, matchers: [{{}}]}}]
bypasses: [{{name: lan}}]
resolvers: [{{name: quad}}]
hosts: [{{name: names}}]
ingresses: [{{name: in, rules: [{{hostname: a, endpoint: b}}]}}]
sds: [{{name: found}}]
recorders: [{{name: disk}}]
limiters: [{{name: slow}}]
climiters: [{{name: few}}]
rlimiters: [{{name: rare}}]
quotas: [{{name: monthly}}]
observers: [{{name: eye}}]
loggers: [{{name: second}}]
"
    )
}

/// Both files as one configuration.
fn together(handler: &str, flags: &[&str]) -> Outcome {
    let files = BTreeMap::from([("a.yaml", with("", "")), ("b.yaml", other(handler))]);
    let arguments = [&["-C", "a.yaml", "-C", "b.yaml"], flags].concat();
    let args = cli::parse(arguments.iter().copied()).unwrap();
    let mut reader = |source: &ConfigSource| {
        let text = files.get(&*source.to_string()).ok_or(ReadError::NotFound)?;
        Ok(Content { bytes: text.clone().into(), content_type: None })
    };
    load(&args, &Environment::default(), &mut reader, Profile::Compat)
}

fn names(config: Option<Config>) -> Vec<String> {
    config.unwrap().services.into_iter().map(|service| service.name).collect()
}

#[test]
fn services_of_other_kinds_are_refused_or_left_out_with_what_only_they_use() {
    for handler in OTHER_HANDLERS {
        let refused = together(handler, &[]);
        let errors = said(&refused, Severity::Error);
        assert_eq!(errors.len(), 1, "{handler}: {errors:?}");
        assert!(errors[0].contains("the service `other` is no tunnel"), "{errors:?}");
        assert!(errors[0].contains("--only-tunnels"), "{errors:?}");
        let fates: Vec<_> = refused.services.iter().map(|service| service.fate).collect();
        assert_eq!(fates, [ServiceFate::Runs, ServiceFate::Runs, ServiceFate::Stops], "{handler}");

        let outcome = together(handler, &["--only-tunnels"]);
        let shown: Vec<_> = outcome.findings.iter().map(ToString::to_string).collect();
        let only = format!("info: left out, because only tunnels are to run: `other` ({handler})");
        assert_eq!(shown, [only]);
        assert_eq!(outcome.services[2].fate, ServiceFate::LeftOut);
        assert_eq!(names(outcome.config), ["hub", "host"]);
    }
}

/// A relay may be one of UDP tunnels, which rtun has.
#[test]
fn a_relay_of_other_uses_is_left_out_too() {
    let outcome = together("relay", &["--only-tunnels"]);
    let shown: Vec<_> = outcome.findings.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["info: left out, because only tunnels are to run: `other` (relay)"]);
    assert_eq!(outcome.services[2].fate, ServiceFate::LeftOut);
    assert_eq!(names(outcome.config), ["hub", "host"]);

    let refused = together("relay", &[]);
    assert!(refused.config.is_none());
    assert_eq!(refused.services[2].fate, ServiceFate::Stops);
}

#[test]
fn the_file_itself_may_ask_for_tunnels_only() {
    let text = with("ROOT", "onlyTunnels: true") .replace(
        "services:\n",
        "services:\n- {name: web, addr: ':80', handler: {type: http, chain: out, auther: members}}\n",
    );
    let outcome = load_with(&text, &[]);
    assert_eq!(said(&outcome, Severity::Error), [""; 0]);
    // What a tunnel uses too stays.
    assert_eq!(names(outcome.config), ["hub", "host"]);
    // The printed configuration is what was read.
    let printed = outcome.document.unwrap().emit(cli::OutputFormat::Json);
    assert!(printed.contains("\"web\"") && printed.contains("onlyTunnels"), "{printed}");
}

/// An error of a tunnel has its place in the list as it was written.
#[test]
fn what_is_left_out_moves_nothing() {
    let text = with("SERVICE", "observer: eye")
        .replace("services:\n", "services:\n- {name: web, addr: ':80', handler: {type: http}}\n");
    let outcome = load_with(&text, &["--only-tunnels"]);
    let errors = said(&outcome, Severity::Error);
    assert!(errors.len() == 1 && errors[0].contains("services[1].observer"), "{errors:?}");
    let fates: Vec<_> = outcome.services.iter().map(|service| service.fate).collect();
    assert_eq!(fates, [ServiceFate::LeftOut, ServiceFate::Stops, ServiceFate::Runs]);
}

#[test]
fn without_any_tunnel_nothing_runs() {
    let text = "services: [{name: web, addr: ':80', handler: {type: http}}, {name: nothing, addr: ':81'}]\n";
    let errors = said(&load_with(text, &[]), Severity::Error);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[1].contains("its handler has no type"), "{errors:?}");
    let errors = said(&load_with(text, &["--only-tunnels"]), Severity::Error);
    assert!(errors.len() == 1 && errors[0].contains("there is no service"), "{errors:?}");
    // A handler that nobody has is a mistake, whatever is asked for.
    let typo = text.replace("http", "httpp");
    let errors = said(&load_with(&typo, &["--only-tunnels"]), Severity::Error);
    assert!(errors.len() == 1 && errors[0].contains("there is no handler type"), "{errors:?}");
}

#[test]
fn the_web_api_may_be_a_service() {
    let table = with("", "");
    let api = |flags: &[&str]| load_with(&table, flags).config.unwrap().api.unwrap();
    let served = api(&["-L", "api://eve:apple@127.0.0.1:18080?pathPrefix=/rtun/&accessLog=true"]);
    assert_eq!((&*served.addr, &*served.path_prefix), ("127.0.0.1:18080", "/rtun"));
    assert!(served.auther.is_some() && served.tls.is_none() && served.access_log);
    assert!(api(&["-L", "api+tls://eve:apple@:18080"]).tls.is_some());
    for (flags, says) in [
        (&["-L", "api://127.0.0.1:1", "-L", "api://127.0.0.1:2"][..], "at another address already"),
        (&["-L", "api://127.0.0.1:1", "-api", "127.0.0.1:2"], "at another address already"),
        (&["-L", "api+wss://127.0.0.1:1"], "over `tcp` and `tls` only"),
        (&["-L", "api://:1"], "has no `auther`"),
        (&["-L", "api://127.0.0.1:1?admission=10.0.0.0/8"], "not supported where the Web API"),
    ] {
        let errors = said(&load_with(&table, flags), Severity::Error);
        assert!(errors.len() == 1 && errors[0].contains(says), "{flags:?}: {errors:?}");
    }
}

#[test]
fn metrics_may_be_a_service() {
    let table = with("", "");
    let metrics = |flags: &[&str]| load_with(&table, flags).config.unwrap().metrics.unwrap();
    let served = metrics(&["-L", "metrics://eve:apple@127.0.0.1:9000?path=/numbers"]);
    assert_eq!((&*served.addr, &*served.path), ("127.0.0.1:9000", "/numbers"));
    assert!(served.auther.is_some());
    assert_eq!(metrics(&["-L", "metrics://:9000"]).path, "/metrics");
    for (flags, says) in [
        (&["-L", "metrics://:9000", "-L", "metrics://:9001"][..], "at another address already"),
        (&["-L", "metrics://:9000", "-metrics", ":9001"], "at another address already"),
        (&["-L", "metrics+tls://:9000"], "over `tcp` only"),
        (&["-L", "metrics://:9000?admission=10.0.0.0/8"], "not supported where metrics are served"),
        (&["-L", "metrics://:9000?path=numbers"], "no path of a URL"),
        (&["-L", "metrics://"], "no address"),
    ] {
        let errors = said(&load_with(&table, flags), Severity::Error);
        assert!(errors.len() == 1 && errors[0].contains(says), "{flags:?}: {errors:?}");
    }
}

#[test]
fn habits_mean_what_they_mean_in_gost() {
    let of = |place: &str, key: &str| load_with(&with(place, key), &[]).config.unwrap();
    let hub = |config: &Config| match &config.services[0].kind {
        ServiceKind::Hub(hub) => hub.clone(),
        _ => panic!("no hub"),
    };
    let host = |config: &Config| match &config.services[1].kind {
        ServiceKind::Host(host) => host.clone(),
        _ => panic!("no host"),
    };
    let exempt = hub(&of("HUB-METADATA", "skipauth: '10.0.0.0/8, 192.0.2.7'")).rules.skip_auth;
    assert_eq!(
        exempt.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.0/8", "192.0.2.7/32"]
    );
    assert!(hub(&of("LISTENER-METADATA", "mptcp: true")).listener.sockets.mptcp);
    assert!(host(&of("DIALER-METADATA", "mptcp: true")).hubs[0].sockets.mptcp);
    let local = hub(&of("SERVICE-METADATA", "proxyProtocol: 1")).listener;
    assert!(local.proxy_protocol);
    let trusted: Vec<_> = local.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(trusted, ["127.0.0.0/8", "::1/128"]);
    let login = host(&of("AUTH", "file: login, username: mallory")).hubs[0].auth.clone().unwrap();
    assert_eq!((&*login.user, login.password.expose()), ("eve", "red apple"));
    assert_eq!(login.file, Some("login".into()));
    let inline =
        host(&of("AUTH", "file: gone, username: eve, password: apple")).hubs[0].auth.clone();
    assert_eq!(inline.unwrap().file, None);
    let here = with("", "").replace("192.0.2.1:8443", "':8443'");
    let here = host(&load_with(&here, &[]).config.unwrap());
    assert_eq!(here.hubs[0].addr, "127.0.0.1:8443");
}

/// A hub, a relay and a host with a recorder each, which records this.
fn recording(record: &str) -> Outcome {
    let uses = format!("recorders: [{{name: disk, record: {record}}}]");
    load_with(
        &format!(
            "
services:
- {{name: hub, addr: ':8443', {uses}, handler: {{type: router, metadata: {{router: main}}}}, listener: {{type: tcp}}}}
- {{name: relay, addr: ':8444', {uses}, handler: {{type: relay}}, listener: {{type: tcp}}}}
- {{name: server, addr: ':8421', handler: {{type: tun}}, listener: {{type: tun, metadata: {{net: 10.9.0.1/24}}}}}}
- {{name: host, {uses}, handler: {{type: tun, chain: out}}, listener: {{type: tun, metadata: {{net: 10.1.0.1/24}}}}, forwarder: {{nodes: [{{addr: berlin}}]}}}}
chains: [{{name: out, hops: [{{name: hop, nodes: [{{name: n, addr: '192.0.2.1:8443', connector: {{type: router}}}}]}}]}}]
routers: [{{name: main, routes: [{{dst: 10.1.0.0/16, gateway: berlin}}]}}]
recorders: [{{name: disk, file: {{path: records}}, http: {{url: records.example}}}}]
"
        ),
        &[],
    )
}

#[test]
fn what_a_service_records_is_recorded_said_or_refused() {
    let outcome = recording("recorder.service.client.address");
    let first_lines = |outcome: &Outcome, severity| {
        let said = said(outcome, severity).into_iter();
        said.map(|it| it.lines().next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut warnings = first_lines(&outcome, Severity::Warning);
    warnings.retain(|it| it.contains("has no effect"));
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings.iter().any(|it| it.contains("nobody connects to a service with a device")));
    assert!(
        warnings.iter().any(|it| it.contains("`http` has no effect: this recorder has `file`"))
    );
    let config = outcome.config.unwrap();
    let recorded = |name: &str| {
        let service = config.services.iter().find(|service| service.name == name).unwrap();
        service.recordings.len()
    };
    assert_eq!(["hub", "relay", "host"].map(recorded), [1, 1, 0]);
    for (record, refused) in [
        ("recorder.service.handler", 1),
        ("recorder.service.handler.tunnel", 1),
        ("recorder.service.router.dial.address", 2),
        ("recorder.service.router.dial.address.error", 2),
        ("recorder.service.client.adress", 0),
    ] {
        let outcome = recording(record);
        let of = |severity| {
            let said = first_lines(&outcome, severity).into_iter();
            said.filter(|it| it.contains(record)).count()
        };
        assert_eq!(
            (of(Severity::Error), of(Severity::Warning)),
            (refused, 3 - refused),
            "{record}"
        );
    }
}
