//! Which sources are read, how they are merged, and what no text can do.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its arguments has failed")]

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use rtun_config::{
    Environment, Outcome, Variable, cli, cli_url, config_yaml,
    findings::{Profile, Severity},
    load, load_text,
    source::{ConfigSource, Content, NodeSource, NodeTexts, ReadError, Reader},
};
use rtun_settings::{Config, ServiceKind, SourceSettings};

/// What `arguments` become with `files` and nothing else to read.
fn run(arguments: &[&str], files: &[(&str, &str)]) -> Outcome {
    let args = cli::parse(arguments.iter().copied()).unwrap();
    let environment = Environment { home: Some("/home/u".to_owned()), ..Environment::default() };
    let mut reader = |source: &ConfigSource| {
        let name = source.to_string();
        let (_, text) = files.iter().find(|(file, _)| *file == name).ok_or(ReadError::NotFound)?;
        Ok(Content { bytes: text.as_bytes().to_vec(), content_type: None })
    };
    load(&args, &environment, &mut reader, Profile::Compat)
}

fn service_names(outcome: &Outcome) -> Vec<String> {
    let shown = || outcome.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let config = outcome.config.as_ref().unwrap_or_else(|| panic!("{}", shown()));
    config.services.iter().map(|service| service.name.clone()).collect()
}

fn hub(name: &str, port: u16) -> String {
    format!("services: [{{name: {name}, addr: ':{port}', handler: {{type: router}}}}]\n")
}

#[test]
fn sources_are_merged_left_to_right() {
    let first = hub("a", 1) + "log: {level: debug, format: text}\nrouters: [{name: r}]\n";
    let second = hub("b", 2) + "LOG: {level: error}\nRouters: [{name: s}]\ningresses: ~\n";
    let outcome = run(
        &[
            "-C",
            "1.yaml",
            "-L",
            "router://:4",
            "-C",
            "2.yaml",
            "-C",
            "{\"services\": [{\"name\": \"c\", \"addr\": \":3\", \"handler\": {\"type\": \"router\"}}]}",
        ],
        &[("1.yaml", &first), ("2.yaml", &second)],
    );
    assert_eq!(service_names(&outcome), ["a", "b", "c", "service-0"]);
    let text = outcome.document.unwrap().emit(cli::OutputFormat::Yaml);
    assert!(text.contains("log:\n  level: error\n"), "replaced whole\n{text}");
    assert!(!text.contains("format"), "{text}");
    assert!(text.contains("routers:\n- name: r\n- name: s\n"), "appended\n{text}");
}

#[test]
fn stdin_and_urls_are_sources() {
    let outcome = run(&["-C", "-"], &[("stdin", &hub("a", 1))]);
    assert_eq!(service_names(&outcome), ["a"]);
    let json = "{\"services\": [{\"name\": \"b\", \"addr\": \":1\", \"handler\": {\"type\": \"router\"}}]}";
    let outcome = run(&["-C", "-"], &[("stdin", json)]);
    assert_eq!(service_names(&outcome), ["b"]);
    let outcome = run(&["-C", "https://u:p@h/x.json"], &[("https://h/x.json", json)]);
    assert_eq!(service_names(&outcome), ["b"]);
}

#[test]
fn a_default_file_is_read_only_when_nothing_is_named() {
    let (a, b) = (hub("a", 1), hub("b", 2));
    let files = [("/etc/rtun/rtun.yaml", &*a), ("gost.yml", &*b), ("x.yaml", &*b)];
    assert_eq!(service_names(&run(&[], &files)), ["a"]);
    assert_eq!(service_names(&run(&[], &files[1..])), ["b"]);
    assert_eq!(service_names(&run(&["-C", "x.yaml"], &files)), ["b"]);
    assert_eq!(service_names(&run(&["-L", "router://:3"], &files)), ["service-0"]);
    let home = [("/home/u/.gost/gost.json", "{}"), ("gost.yml", &*b)];
    assert_eq!(run(&[], &home).exit_status(), 78, "an earlier file counts though it is empty");
    assert_eq!(run(&[], &[]).exit_status(), 78);
}

#[test]
fn what_the_environment_asks_for_is_not_ignored() {
    let args = cli::parse(["-L", "router://:1"]).unwrap();
    let api = Variable { name: "GOST_API".to_owned(), value: ":18080".to_owned() };
    let environment = Environment { api: Some(api), ..Environment::default() };
    let mut nothing = |_: &ConfigSource| Err(ReadError::NotFound);
    let outcome = load(&args, &environment, &mut nothing, Profile::Compat);
    let shown: Vec<String> = outcome.findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "GOST_API:1:1: error[C06]: anybody who reaches `:18080` can change this configuration: the Web API has no `auther`\n  1 | :18080\n    | ^^^^^^ api.addr\n  help: listen on 127.0.0.1 or a `unix://` socket, or give the API both an `auther` and `tls`; `insecure: true` serves it as it is"
        ]
    );
}

#[test]
fn keys_in_any_case_are_the_same_keys() {
    let lower = "services: [{name: a, addr: 'localhost:1', handler: {type: router, metadata: {router: r, sourcecheck: off}}}]\nrouters: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: h}]}]\n";
    let mixed = "SERVICES: [{Name: a, ADDR: 'localhost:1', Handler: {Type: router, MetaData: {ROUTER: r, SourceCheck: off}}}]\nRouters: [{NAME: r, Routes: [{DST: 10.0.0.0/8, GateWay: h}]}]\n";
    let read = |text| load_text("a", text, false, Profile::Strict).config.unwrap();
    assert_eq!(read(lower), read(mixed));
}

#[test]
fn the_first_alias_that_is_present_wins() {
    let host = |metadata: &str| {
        let text = format!(
            "services: [{{name: a, handler: {{type: tun}}, listener: {{type: tun, metadata: {{net: 10.0.0.1/8, {metadata}}}}}, forwarder: {{nodes: [{{addr: h}}]}}}}]
chains: [{{name: c, hops: [{{name: h, nodes: [{{addr: 'h:1', connector: {{type: router}}}}]}}]}}]"
        );
        let outcome = load_text("a", &text, false, Profile::Compat);
        let config = outcome.config.unwrap_or_else(|| panic!("{}", outcome.findings[0]));
        format!("{:?}", config.services[0].kind)
    };
    assert!(host("tun.mtu: 1300").contains("mtu: 1300"));
    assert!(host("tun.mtu: 1300, mtu: 1400").contains("mtu: 1400"));
    assert!(host("mtu: '1300'").contains("mtu: 1300"));
    assert!(host("mtu: -1").contains("mtu: 1420"));
}

#[test]
fn json_numbers_count() {
    let text = r#"{"services": [{"name": "a", "addr": ":1", "handler": {"type": "router",
        "metadata": {"readTimeout": 5, "ttl": 1}}}]}"#;
    let outcome = load_text("a", text, true, Profile::Compat);
    assert_eq!(outcome.worst(), Some(Severity::Warning), "C29");
    let shown = format!("{:?}", outcome.config.unwrap());
    assert!(shown.contains("handshake_timeout: 5s") && shown.contains("ttl: true"), "{shown}");
}

/// A hub whose table, ingress and users have `count` entries each, on one line, with gateways that no host may be.
fn large(count: u32) -> String {
    let (mut routes, mut rules, mut users) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..count {
        let [_, a, b, c] = i.to_be_bytes();
        routes.push(format!("{{\"dst\": \"10.{a}.{b}.{c}\", \"gateway\": \"gateway-{i}\"}}"));
        let id = format!("e87f56dd-fd57-4921-9ab8-{i:012}");
        rules.push(format!("{{\"hostname\": \"name-{i}\", \"endpoint\": \"{id}\"}}"));
        users.push(format!("{{\"username\": \"u{i}\", \"password\": 1, \"hosts\": [\"x{i}\"]}}"));
    }
    format!(
        "{{\"services\": [{{\"name\": \"a\", \"addr\": \"[::1]:1\", \"handler\": {{\"type\": \"router\", \
         \"auther\": \"a\", \"metadata\": {{\"router\": \"r\", \"ingress\": \"i\"}}}}}}], \
         \"routers\": [{{\"name\": \"r\", \"routes\": [{}]}}], \
         \"ingresses\": [{{\"name\": \"i\", \"rules\": [{}]}}], \
         \"authers\": [{{\"name\": \"a\", \"auths\": [{}]}}]}}",
        routes.join(", "),
        rules.join(", "),
        users.join(", ")
    )
}

#[test]
fn what_a_large_configuration_has_said_of_it_is_bounded() {
    let outcome = load_text("a", &large(1_000), true, Profile::Compat);
    assert_eq!(outcome.exit_status(), 1);
    assert_eq!(outcome.findings.len(), 101);
    assert_eq!(outcome.findings[100].message, "900 more findings are not shown");
}

const FILES: [&str; 5] = [
    include_str!("tutorial/server-ingress.yaml"),
    include_str!("tutorial/host-1-namespace.yaml"),
    include_str!("tutorial/server-namespaces.yaml"),
    include_str!("everything.yaml"),
    include_str!("transports.yaml"),
];

/// A right file with some bytes replaced, removed or doubled.
fn mutated() -> impl Strategy<Value = String> {
    let change = (any::<prop::sample::Index>(), 0..4u8, "[ -~\n\t]{0,4}");
    (0..FILES.len(), prop::collection::vec(change, 1..6)).prop_map(|(file, changes)| {
        let mut chars: Vec<char> = FILES[file].chars().collect();
        for (index, kind, text) in changes {
            let at = index.index(chars.len());
            match kind {
                0 => drop(chars.remove(at)),
                1 => drop(chars.splice(at..at, text.chars())),
                2 => drop(chars.splice(at..(at + text.len()).min(chars.len()), text.chars())),
                _ => {
                    let end = (at + 40).min(chars.len());
                    let copy = chars[at..end].to_vec();
                    drop(chars.splice(at..at, copy));
                }
            }
        }
        chars.into_iter().collect()
    })
}

#[test]
fn what_is_changed_at_random_is_right_unchanged() {
    for file in FILES {
        let outcome = load_text("a", file, false, Profile::Compat);
        let shown: Vec<String> = outcome.findings.iter().map(ToString::to_string).collect();
        assert!(outcome.config.is_some(), "{}", shown.join("\n"));
    }
}

/// The model as text, without the files and lines its rows were written on.
fn without_places(config: &Config) -> String {
    let text = format!("{config:?}");
    let mut parts = text.split(", file: ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |whole, part| whole + part.split_once(" }").map_or("", |(_, rest)| rest))
}

/// What loads is, printed and loaded again, the same. Tells whether it loads.
fn prints_as_itself(text: &str) -> bool {
    let outcome = load_text("a", text, false, Profile::Compat);
    let (Some(config), Some(document)) = (&outcome.config, &outcome.document) else { return false };
    for (format, json) in [(cli::OutputFormat::Yaml, false), (cli::OutputFormat::Json, true)] {
        let printed = document.emit(format);
        let again = load_text("b", &printed, json, Profile::Compat);
        let again = again.config.as_ref().map(without_places);
        assert_eq!(again, Some(without_places(config)), "{printed}");
    }
    true
}

#[test]
fn a_table_that_a_plugin_answers_prints_as_itself() {
    assert!(prints_as_itself(
        "services:
  - name: service-0
    addr: :8443
    handler: {type: router, metadata: {router: router-0}} # optional
    listener: {type: tcp}
routers:
  - name: e87f56dd-fd57-4921-9ab8-a0847662daae
    routes:
      - {dst: 192.168.123.1, gateway: host-1}
      - {dst: 192.168.11.0/24, gateway: ost-2}
  - name: router-0
    plugin: {type: http, addr: http://127.0.0.1:8000}
"
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_panics(text: String) {
        config_yaml(&text);
    }

    #[test]
    fn no_yaml_like_text_panics(text in "([a-z]{1,4}: ?|- |\\{|\\}|\\[|\\]|,|\n| {1,4}|\"|'|&a |\\*a|<<: |[0-9.:/]{1,8}|#|!|\\||>|%|@|`|~|\t){0,40}") {
        config_yaml(&text);
    }

    #[test]
    fn no_mutation_of_a_real_file_panics(text in mutated()) {
        config_yaml(&text);
    }

    #[test]
    fn what_loads_prints_as_itself(text in mutated()) {
        prints_as_itself(&text);
    }

    #[test]
    fn no_url_panics(text: String) {
        cli_url(&text);
    }

    #[test]
    fn no_url_like_text_panics(text in "(router|tun|socks5|\\+tls|\\+quic|://|:|/|,|\\?|&|=|%|[0-9]{1,5}|-|@|\\[|\\]|net=|auth=|limiter.in=|fallback=|fingerprint=|mux.version=|handler\\.|[a-zö.#;]{1,3}){0,20}") {
        cli_url(&text);
    }
}

/// A hop with three sources of nodes, and what these say.
struct Hubs {
    config: String,
    says: [Result<&'static str, ReadError>; 3],
    before: Option<&'static str>,
    used: Vec<String>,
}

impl Reader for &mut Hubs {
    fn read(&mut self, _: &ConfigSource) -> Result<Content, ReadError> {
        Ok(Content { bytes: self.config.clone().into_bytes(), content_type: None })
    }

    fn nodes(&mut self, source: &NodeSource) -> NodeTexts {
        assert_eq!((&*source.hop, source.reload), ("hubs", Some(Duration::from_secs(30))));
        let index = match &source.settings {
            SourceSettings::File(_) => 0,
            SourceSettings::Redis(_) => 1,
            SourceSettings::Http(_) => 2,
        };
        let now = self.says[index].clone().map(Into::into);
        NodeTexts { now, before: self.before.filter(|_| index == 0).map(Into::into) }
    }

    fn nodes_used(&mut self, source: &NodeSource, _: &Arc<str>) {
        self.used.push(source.settings.label());
    }
}

/// The hubs of a host whose sources say this, what was said of them, and the sources that are used.
fn hubs(
    own: &str,
    says: [Result<&'static str, ReadError>; 3],
    before: Option<&'static str>,
) -> (Vec<String>, Vec<String>, Vec<String>) {
    let config = format!(
        "
services:
- name: host
  handler: {{type: tun, chain: out}}
  listener: {{type: tun, metadata: {{net: 10.1.0.1/24}}}}
  forwarder: {{nodes: [{{addr: berlin}}]}}
chains: [{{name: out, hops: [{{name: hubs}}]}}]
hops:
- name: hubs
  reload: 30s
  {own}
  file: {{path: hubs.json}}
  redis: {{addr: '127.0.0.1:6379', password: tell-nobody}}
  http: {{url: 'http://me:tell-nobody@127.0.0.1/hubs'}}
"
    );
    let args = cli::parse(["-C", "main.yaml"]).unwrap();
    let mut hubs = Hubs { config, says, before, used: Vec::new() };
    let outcome = load(&args, &Environment::default(), &mut &mut hubs, Profile::Compat);
    let findings: Vec<String> = outcome.findings.iter().map(|it| it.message.clone()).collect();
    assert!(!findings.concat().contains("tell-nobody"), "{findings:?}");
    let config = outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.findings));
    let ServiceKind::Host(host) = &config.services[0].kind else { panic!("{config:?}") };
    let addresses = host.all_hubs().map(|hub| hub.addr.clone()).collect();
    (addresses, findings, hubs.used)
}

#[test]
fn nodes_of_a_hop_are_its_own_then_those_of_a_file_of_redis_and_of_a_url() {
    const FILE: &str = "[{\"addr\": \"1.1.1.1:1\",\n\t\"connector\": {\"type\": \"router\"}}]";
    const REDIS: &str = "- {addr: '2.2.2.2:2', connector: {type: router}}\n";
    const HTTP: &str = "[{addr: '3.3.3.3:3', connector: {type: router}}]";
    let own = "nodes: [{addr: '9.9.9.9:9', connector: {type: router}}]";
    let sources = ["hubs.json", "redis://127.0.0.1:6379/0/gost", "http://127.0.0.1/hubs"];

    let (addresses, said, used) = hubs(own, [Ok(FILE), Ok(REDIS), Ok(HTTP)], None);
    assert_eq!(addresses, ["9.9.9.9:9", "1.1.1.1:1", "2.2.2.2:2", "3.3.3.3:3"]);
    assert_eq!((said, used), (Vec::new(), sources.map(str::to_owned).to_vec()));

    // What cannot be used is left out by itself.
    let wrong = "[{addr: '1.1.1.1', connector: {type: router}}]";
    let command =
        "[{addr: '3.3.3.3:3', connector: {type: router}, probe: {type: cmd, command: x}}]";
    let (addresses, said, used) = hubs(own, [Ok(wrong), Ok(REDIS), Ok(command)], None);
    assert_eq!((addresses, used.len()), (vec!["9.9.9.9:9".into(), "2.2.2.2:2".into()], 1));
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("hubs.json gives no nodes: line 1: "), "{said:?}");
    assert!(said[1].ends_with("may not run a command"), "{said:?}");
    let file = "[{addr: '3.3.3.3:3', connector: {type: router, auth: {file: /etc/shadow}}}]";
    let (_, said, _) = hubs(own, [Ok(FILE), Ok(REDIS), Ok(file)], None);
    assert!(said.iter().any(|it| it.contains("may not name a file")), "{said:?}");

    // What it said before counts, unless the configuration has made that wrong, too.
    for now in [Err(ReadError::NotFound), Ok(wrong), Ok(""), Ok("[]"), Ok("[1]"), Ok("x: [")] {
        let refused = || Err(ReadError::Other("it is refused".into()));
        let (addresses, said, _) = hubs("", [now, refused(), Err(ReadError::NotAsked)], Some(FILE));
        assert_eq!((addresses, said.len()), (vec!["1.1.1.1:1".to_owned()], 2), "{said:?}");
    }
    let missing = || Err(ReadError::NotFound);
    let (addresses, said, _) = hubs(own, [Ok(wrong), missing(), missing()], Some("[{addr: x}]"));
    assert_eq!((addresses, said.len()), (vec!["9.9.9.9:9".to_owned()], 3), "{said:?}");

    // A host without a hub waits for one.
    let (addresses, said, used) = hubs("", [missing(), missing(), missing()], None);
    assert_eq!((addresses.len(), said.len(), used.len()), (0, 3, 0), "{said:?}");
}
