//! The tutorial's files, unchanged: as YAML, as JSON, and as command lines they are one model.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its files has failed")]

use rtun_config::{
    Environment, Outcome, cli,
    findings::{Code, Profile, Severity},
    load, load_text,
    source::{ConfigSource, Content, ReadError},
};
use rtun_settings::{Config, HostSettings, HubSettings, Provider, ServiceKind};

const ID_1: &str = "e87f56dd-fd57-4921-9ab8-a0847662daae";
const ID_2: &str = "ef502590-c5f4-437e-a81f-fe4083505075";

fn file(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/tutorial/{name}", env!("CARGO_MANIFEST_DIR")))
        .unwrap()
}

fn yaml(name: &str) -> Outcome {
    load_text(name, &file(name), false, Profile::Compat)
}

fn arguments(arguments: &[&str]) -> Outcome {
    let args = cli::parse(arguments.iter().copied()).unwrap();
    let mut files = |source: &ConfigSource| match source {
        ConfigSource::File(path) => {
            Ok(Content { bytes: file(path.to_str().unwrap()).into_bytes(), content_type: None })
        }
        _ => Err(ReadError::NotFound),
    };
    load(&args, &Environment::default(), &mut files, Profile::Compat)
}

fn config(outcome: &Outcome) -> &Config {
    let shown: Vec<String> = outcome.findings.iter().map(ToString::to_string).collect();
    outcome.config.as_ref().unwrap_or_else(|| panic!("refused:\n{}", shown.join("\n")))
}

fn hub(config: &Config) -> &HubSettings {
    match &config.services[..] {
        [service] => match &service.kind {
            ServiceKind::Hub(hub) => hub,
            _ => panic!("not a hub"),
        },
        other => panic!("{other:?}"),
    }
}

fn host(config: &Config) -> &HostSettings {
    match &config.services[..] {
        [service] => match &service.kind {
            ServiceKind::Host(host) => host,
            _ => panic!("not a host"),
        },
        other => panic!("{other:?}"),
    }
}

/// The model as text, without the files and lines its rows were written on.
fn without_places(config: &Config) -> String {
    let text = format!("{config:?}");
    let mut parts = text.split(", file: ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |whole, part| whole + part.split_once(" }").map_or("", |(_, rest)| rest))
}

fn messages(outcome: &Outcome, severity: Severity) -> Vec<String> {
    let wanted = outcome.findings.iter().filter(|f| f.severity == severity);
    wanted.map(|f| f.to_string()).collect()
}

#[test]
fn one_table() {
    let outcome = yaml("server-routes.yaml");
    assert_eq!(
        messages(&outcome, Severity::Warning),
        ["server-routes.yaml:3:11: warning[C02]: anybody who reaches `:8443` may join: there is neither TLS nor auth
  3 |     addr: :8443
    |           ^^^^^ services[0].addr
  help: name an `auther` in the handler and encrypt with `type: tls`, or listen on a loopback address"]
    );
    let hub = hub(config(&outcome));
    assert_eq!(hub.listener.addr, ":8443");
    assert_eq!(hub.rules.namespaces.len(), 0);
    assert_eq!((&hub.rules.ingress, &hub.rules.authers), (&None, &None));
    let router = hub.rules.default_router.as_ref().unwrap();
    let Provider::Rows(rows) = &router.provider else { panic!("{router:?}") };
    let routes = rows.inline.iter().map(|row| &row.value);
    let lines: Vec<String> = routes.map(|r| format!("{} {}", r.prefix, r.gateway)).collect();
    assert_eq!(
        lines,
        [
            "192.168.123.1/32 host-1",
            "192.168.100.0/24 host-1",
            "192.168.123.2/32 host-2",
            "192.168.200.0/24 host-2",
        ]
    );
}

#[test]
fn namespaces_with_a_plugin_for_the_others() {
    let outcome = yaml("server-namespaces.yaml");
    let hub = hub(config(&outcome));
    let ids: Vec<String> = hub.rules.namespaces.keys().map(ToString::to_string).collect();
    assert_eq!(ids, [ID_1, ID_2]);
    let router = hub.rules.default_router.as_ref().unwrap();
    let Provider::Plugin(plugin) = &router.provider else { panic!("{router:?}") };
    assert_eq!(plugin.addr, "http://127.0.0.1:8000");
    assert_eq!(plugin.timeout.as_secs(), 2);
    let codes: Vec<_> = outcome.findings.iter().filter_map(|f| f.code).collect();
    assert_eq!(codes, [Code::C02, Code::C28]);
}

#[test]
fn an_ingress_whose_names_are_not_those_of_the_routes() {
    let outcome = yaml("server-ingress.yaml");
    let hub = hub(config(&outcome));
    let Provider::Rows(rules) = &hub.rules.ingress.as_ref().unwrap().provider else {
        panic!("an ingress of rules")
    };
    assert_eq!(rules.inline.len(), 4);
    let unreachable: Vec<_> =
        outcome.findings.iter().filter(|f| f.code == Some(Code::C15)).collect();
    assert_eq!(unreachable.len(), 8, "every route of both tables");
    assert!(unreachable.iter().all(|f| f.severity == Severity::Warning));
    assert_eq!(
        unreachable[0].to_string(),
        "server-ingress.yaml:26:18: warning[C15]: no host can be `host-1` in this namespace: `ingress-0` does not admit that name to it
  26 |         gateway: host-1
     |                  ^^^^^^ routers[0].routes[0].gateway
  help: names it admits: `host-1-ns1`, `host-2-ns1`"
    );
}

#[test]
fn a_host_uses_the_only_chain() {
    let outcome = yaml("host-1.yaml");
    assert_eq!(messages(&outcome, Severity::Info), [
        "host-1.yaml:4:5: info: the service names no chain and uses `chain-0`, the only one that leads to a hub
  4 |     type: tun
    |     ^ services[0].handler"
    ]);
    let host = host(config(&outcome));
    assert_eq!(host.name.as_str(), "host-1");
    assert_eq!(host.device.addresses[0].to_string(), "192.168.123.1/24");
    assert_eq!(host.device.routes[0].prefix.to_string(), "192.168.200.0/24");
    assert_eq!((host.device.mtu, host.device.routes[0].gateway), (1420, None));
    assert_eq!(host.hubs[0].addr, "server_ip:8443");
    assert!(host.hubs[0].namespace.is_default());
}

#[test]
fn command_lines_mean_the_same_as_files() {
    let service = "tun:///host-1?net=192.168.123.1/24&route=192.168.200.0/24";
    for (name, url) in [
        ("host-1.yaml", "router://server_ip:8443".to_owned()),
        ("host-1-namespace.yaml", format!("router://server_ip:8443?router.id={ID_1}")),
    ] {
        let outcome = arguments(&["-L", service, "-F", &url]);
        assert_eq!(messages(&outcome, Severity::Warning), [""; 0]);
        assert_eq!(config(&outcome), config(&yaml(name)), "{name}");
    }
    let outcome = arguments(&["-C", "server-routes.yaml"]);
    assert_eq!(config(&outcome), config(&yaml("server-routes.yaml")));
}

const ALL: [&str; 5] = [
    "server-routes.yaml",
    "server-namespaces.yaml",
    "server-ingress.yaml",
    "host-1.yaml",
    "host-1-namespace.yaml",
];

#[test]
fn what_is_printed_means_the_same_in_both_formats() {
    for name in ALL {
        let outcome = yaml(name);
        let document = outcome.document.as_ref().unwrap();
        for (format, json) in [(cli::OutputFormat::Yaml, false), (cli::OutputFormat::Json, true)] {
            let text = document.emit(format);
            let again = load_text("printed", &text, json, Profile::Compat);
            let (again_model, model) = (config(&again), config(&outcome));
            assert_eq!(without_places(again_model), without_places(model), "{name}:\n{text}");
            let codes = |o: &Outcome| o.findings.iter().map(|f| f.code).collect::<Vec<_>>();
            assert_eq!(codes(&again), codes(&outcome), "{name}");
        }
    }
}

#[test]
fn a_printed_command_line_means_the_same() {
    let outcome = arguments(&[
        "-L",
        "router://u:p@:8443?ttl=true&readTimeout=5s&admission=10.0.0.0/8",
        "-L",
        "tun://:0/host-1?net=192.168.123.1/24,fd00::1/64&name=tun5&mtu=1400&dns=1.1.1.1,::1&keepalive=true",
        "-F",
        "router://a%40b:p%3A@h1:1,h2:2?router.id=E87F56DDFD5749219AB8A0847662DAAE&connectTimeout=3s&keepalive=true",
    ]);
    let codes = |o: &Outcome| o.findings.iter().filter_map(|f| f.code).collect::<Vec<_>>();
    assert_eq!(codes(&outcome), [Code::C09, Code::C11, Code::C09, Code::C03]);
    let wanted = config(&outcome);
    let ServiceKind::Host(host) = &wanted.services[1].kind else { panic!("{wanted:?}") };
    assert_eq!(host.device.addresses.len(), 2);
    assert_eq!(host.device.dns.len(), 2);
    assert_eq!(host.hubs.len(), 2);
    let auth = host.hubs[1].auth.as_ref().unwrap();
    assert_eq!((auth.user.as_str(), auth.password.expose()), ("a@b", "p:"));
    for (format, json) in [(cli::OutputFormat::Yaml, false), (cli::OutputFormat::Json, true)] {
        let text = outcome.document.as_ref().unwrap().emit(format);
        let again = load_text("printed", &text, json, Profile::Compat);
        assert_eq!(without_places(config(&again)), without_places(wanted), "{text}");
        assert_eq!(codes(&again), [Code::C03, Code::C11], "what a file may hold");
    }
}
