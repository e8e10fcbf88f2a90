//! Where rows are: sources, plugins and admissions in the model, and what is printed of them.

#![allow(clippy::unwrap_used, reason = "a test whose configuration is refused has failed")]

use std::time::Duration;

use rtun_config::{
    Outcome, cli,
    findings::{Code, Profile, Severity},
    load_text,
};
use rtun_settings::{
    ClientTls, Config, HttpSourceSettings, HubRules, HubSettings, PluginProtocol, PluginSettings,
    Provider, Quotas, RedisKind, RedisServer, RedisSettings, Rows, ServiceKind, SourceSettings,
};

const ID: &str = "e87f56dd-fd57-4921-9ab8-a0847662daae";

/// A hub that uses all of: the router `r`, the ingress `i`, the auther `a`, the admissions `x` and `y`.
fn outcome(objects: &str) -> Outcome {
    let text = format!(
        "
services:
- name: hub
  addr: 127.0.0.1:1
  admission: x
  admissions: [y]
  handler:
    type: router
    auther: a
    metadata:
      router: r
      ingress: i
      maxHosts: 5
      maxRoutesPerRouter: '7'
      maxRoutes: 8
      maxNamespaces: 9
      maxHostsPerUser: 2
{objects}"
    );
    load_text("test", &text, false, Profile::Compat)
}

fn config(outcome: &Outcome) -> &Config {
    let shown: Vec<String> = outcome.findings.iter().map(ToString::to_string).collect();
    outcome.config.as_ref().unwrap_or_else(|| panic!("refused:\n{}", shown.join("\n")))
}

fn rules(config: &Config) -> &HubRules {
    let ServiceKind::Hub(HubSettings { rules, .. }) = &config.services[0].kind else {
        panic!("{config:?}")
    };
    rules
}

fn rows<T: std::fmt::Debug>(provider: &Provider<T>) -> &Rows<T> {
    let Provider::Rows(rows) = provider else { panic!("{provider:?}") };
    rows
}

fn plugin<T: std::fmt::Debug>(provider: &Provider<T>) -> &PluginSettings {
    let Provider::Plugin(plugin) = provider else { panic!("{provider:?}") };
    plugin
}

fn messages(outcome: &Outcome, severity: Severity) -> Vec<&str> {
    let wanted = outcome.findings.iter().filter(|f| f.severity == severity);
    wanted.map(|f| f.message.as_str()).collect()
}

/// What was printed reads as the same, but for the places.
fn assert_prints_as_itself(outcome: &Outcome) {
    let without_places = |config: &Config| {
        let text = format!("{config:?}");
        let mut parts = text.split(", file: ");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |whole, part| whole + part.split_once(" }").map_or("", |(_, rest)| rest))
    };
    for (format, json) in [(cli::OutputFormat::Yaml, false), (cli::OutputFormat::Json, true)] {
        let printed = outcome.document.as_ref().unwrap().emit(format);
        let again = load_text("printed", &printed, json, Profile::Compat);
        let (model, wanted) = (without_places(config(&again)), without_places(config(outcome)));
        assert_eq!(model, wanted, "{printed}");
        let secrets = |text: &str| text.matches("secret").count();
        assert_eq!(secrets(&printed), 3, "{printed}");
    }
}

#[test]
fn sources_of_everything() {
    let outcome = outcome(
        "
routers:
- name: r
  reload: 1m
  routes: [{dst: 10.0.0.0/8, gateway: h}]
  http: {url: 'https://user:secret@routes.example/list'}
  redis: {addr: ':6379'}
  file: {path: routes/r.txt}
ingresses:
- name: i
  reload: 100ms
  redis:
    addr: redis.example:6379
    db: 3
    username: u
    password: secret-1
    key: k
    type: Set
    tls: {secure: true, serverName: n}
authers:
- name: a
  reload: -1s
  file: {path: users}
  auths: [{username: alice, hosts: [h]}]
admissions:
- name: x
  reverse: true
  redis: {addr: 'localhost:6379', password: secret-2}
- name: y
  reload: 5s
  matchers: 10.0.0.1
",
    );
    assert_eq!(messages(&outcome, Severity::Warning), [""; 0]);
    assert_eq!(
        messages(&outcome, Severity::Info),
        [
            "`reload` is raised to 1s, the least there is",
            "`reload` has no effect: this admission has no source",
        ]
    );
    let rules = rules(config(&outcome));
    let server = RedisServer {
        addr: "127.0.0.1:6379".to_owned(),
        db: 0,
        username: None,
        password: None,
        tls: None,
    };
    let local = RedisSettings { server, key: "gost".to_owned(), kind: RedisKind::Hash };
    let routes = rows(&rules.default_router.as_ref().unwrap().provider);
    assert_eq!((routes.inline.len(), routes.reload), (1, Some(Duration::from_secs(60))));
    let http = HttpSourceSettings {
        url: "https://user:secret@routes.example/list".to_owned(),
        timeout: Duration::from_secs(10),
    };
    assert_eq!(
        routes.sources,
        [
            SourceSettings::File("routes/r.txt".into()),
            SourceSettings::Redis(local),
            SourceSettings::Http(http)
        ],
        "in rising order of priority"
    );
    let ingress = rows(&rules.ingress.as_ref().unwrap().provider);
    let [SourceSettings::Redis(redis)] = &ingress.sources[..] else { panic!("{ingress:?}") };
    assert_eq!((redis.server.db, redis.key.as_str(), redis.kind), (3, "k", RedisKind::Set));
    assert_eq!(redis.server.password.as_ref().unwrap().expose(), "secret-1");
    let tls = ClientTls { verify: true, server_name: Some("n".to_owned()) };
    assert_eq!((redis.server.username.as_deref(), &redis.server.tls), (Some("u"), &Some(tls)));
    assert_eq!(ingress.reload, Some(Duration::from_secs(1)));
    let users = rows(&rules.authers.as_ref().unwrap()[0].provider);
    assert_eq!((users.sources.len(), users.reload), (1, None));
    let alice = &users.inline[0].value;
    assert_eq!((alice.password.expose(), alice.hosts.as_ref().unwrap().len()), ("", 1));
    let [x, y] = &rules.admissions[..] else { panic!("{rules:?}") };
    let [SourceSettings::Redis(redis)] = &rows(&x.matchers.provider).sources[..] else {
        panic!("{x:?}")
    };
    assert_eq!((x.whitelist, redis.kind), (true, RedisKind::Set));
    let matchers = rows(&y.matchers.provider);
    assert_eq!((y.whitelist, matchers.inline.len(), matchers.reload), (false, 1, None));
    assert_prints_as_itself(&outcome);
}

#[test]
fn plugins_of_everything() {
    let outcome = outcome(
        "
routers:
- name: r
  plugin: {addr: ':8000', timeout: 0s, token: secret-1}
ingresses:
- name: i
  plugin: {type: GRPC, addr: 'i.example:8000', tls: {secure: true}}
authers:
- name: a
  plugin: {type: HTTP, addr: 'https://a.example/', token: secret-2, timeout: 5s}
admissions:
- name: x
  plugin: {type: http, addr: 'http://[::1]:1/x', token: secret-3, tls: {secure: true}}
- name: y
  plugin: {type: http, addr: 'https://y.example', tls: {secure: true, serverName: n}}
",
    );
    assert_eq!(messages(&outcome, Severity::Warning), [""; 0]);
    let config = config(&outcome);
    let rules = rules(config);
    let router = plugin(&rules.default_router.as_ref().unwrap().provider);
    assert_eq!((router.protocol, router.addr.as_str()), (PluginProtocol::Grpc, "127.0.0.1:8000"));
    assert_eq!((router.timeout, &router.tls), (Duration::from_secs(2), &None));
    let tls =
        |name: Option<&str>| Some(ClientTls { verify: true, server_name: name.map(str::to_owned) });
    let ingress = plugin(&rules.ingress.as_ref().unwrap().provider);
    assert_eq!((ingress.protocol, &ingress.tls), (PluginProtocol::Grpc, &tls(None)));
    let auther = plugin(&rules.authers.as_ref().unwrap()[0].provider);
    assert_eq!((auther.protocol, auther.timeout), (PluginProtocol::Http, Duration::from_secs(5)));
    assert_eq!(auther.token.as_ref().unwrap().expose(), "secret-2");
    assert_eq!(auther.tls, tls(None), "an https server is verified unless configured otherwise");
    let [x, y] = &rules.admissions[..] else { panic!("{rules:?}") };
    assert_eq!(plugin(&x.matchers.provider).tls, None, "there is no TLS");
    assert_eq!(plugin(&y.matchers.provider).tls, tls(Some("n")));
    let quotas = Quotas {
        routes_per_router: 7,
        routes: 8,
        namespaces: 9,
        hosts: 5,
        hosts_per_user: Some(2),
    };
    assert_eq!(rules.quotas, quotas);
    assert_prints_as_itself(&outcome);
}

/// The codes found where the ingress, the users and the router are as given.
fn codes(ingress: &str, auther: &str, router: &str) -> Vec<Code> {
    let objects = format!(
        "ingresses: [{{name: i, {ingress}}}]\nauthers: [{{name: a, {auther}}}]\nrouters: [{{name: r, {router}}}]
admissions: [{{name: x}}, {{name: y}}]"
    );
    let outcome = outcome(&objects);
    config(&outcome);
    let mut codes: Vec<Code> = outcome.findings.iter().filter_map(|f| f.code).collect();
    codes.sort();
    codes
}

#[test]
fn nothing_is_claimed_of_rows_that_are_not_known() {
    let ingress = format!("rules: [{{hostname: other, endpoint: {ID}}}]");
    let auther = "auths: [{username: u, password: p, hosts: [other]}]";
    let routes = "routes: [{dst: 10.0.0.0/8, gateway: h}, {dst: 10.1.0.0/16, gateway: g}]";
    let elsewhere = "file: {path: f}";
    let with = |rows: &str| format!("{rows}, {elsewhere}");
    assert_eq!(codes(&ingress, auther, routes), [Code::C15, Code::C15, Code::C17]);
    assert_eq!(codes(&ingress, auther, &with(routes)), [Code::C15, Code::C15]);
    assert_eq!(codes(&with(&ingress), auther, &with(routes)), [Code::C15, Code::C15]);
    assert_eq!(codes(&with(&ingress), &with(auther), &with(routes)), []);
    let asked = "plugin: {addr: '127.0.0.1:1'}";
    assert_eq!(codes(asked, asked, routes), [Code::C17]);
    assert_eq!(codes(asked, asked, asked), []);
}

#[test]
fn an_admission_says_nothing_to_a_host() {
    let text = "
services:
- name: a
  admission: x
  handler: {type: tun}
  listener: {type: tun, metadata: {net: 10.0.0.1/8}}
  forwarder: {nodes: [{addr: h}]}
chains: [{name: c, hops: [{name: h, nodes: [{addr: 'h:1', connector: {type: router}}]}]}]
admissions: [{name: x}]
";
    let outcome = load_text("a", text, false, Profile::Compat);
    config(&outcome);
    let infos = messages(&outcome, Severity::Info);
    assert_eq!(infos[0], "an admission has no effect on a host: nobody connects to it");
}
