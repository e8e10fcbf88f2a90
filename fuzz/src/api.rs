//! What the Web API is sent: heads of requests, and bodies that change the configuration.

use std::net::IpAddr;

use rtun_api::request_head;
use rtun_config::{
    ChangeAction, ConfigParts, Environment, ObjectChange, Outcome,
    cli::{self, OutputFormat},
    findings::Profile,
    load, load_parts,
    source::{ConfigSource, Content},
};

const HUB: &str = "# A hub.
services:
- name: hub
  addr: 127.0.0.1:8443
  handler: {type: router, auther: members, metadata: {router: main}}
  listener: {type: tcp}
routers:
- name: main
  routes:
  - {dst: 10.1.0.0/24, gateway: host-1} # here
  http: {url: 'http://u:s3cr3t@127.0.0.1:9/table'}
  reload: 10s
authers:
- name: members
  auths:
  - {username: eve, password: s3cr3t, hosts: [host-1]}
api: {addr: 127.0.0.1:18080}
";

/// Never shown: it stands in the configuration only.
const SECRET: &str = "s3cr3t";

/// A change of an object: a line with method, list and name, then the body. It is refused or made; what is made can be shown, sent
/// back, saved and read again without a change of it, and shows no secret.
pub fn api_change(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (line, body) = text.split_once('\n').unwrap_or((text, ""));
    let mut words = line.splitn(3, ' ');
    let (method, group) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let name = words.next().unwrap_or("");
    let action = match method {
        "POST" => ChangeAction::Create(body),
        "PUT" => ChangeAction::Replace(name, body),
        _ => ChangeAction::Delete(name),
    };
    let parts = read(HUB).parts.expect("it is well-formed");
    let next = match parts.edit(&ObjectChange { group, action, title: "a change" }) {
        Ok(next) => next,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let outcome = understood(&next);
    for finding in &outcome.findings {
        assert!(!finding.to_string().is_empty());
    }
    // What would be wrong is not put in force.
    let (Some(_), Some(document)) = (outcome.config, outcome.document) else { return };
    let knows_secret = body.contains(SECRET);
    for format in [OutputFormat::Json, OutputFormat::Yaml] {
        let shown = document.show(format, &|_, _| None);
        assert!(knows_secret || !shown.contains(SECRET), "{shown}");
    }
    let meant = document.emit(OutputFormat::Json);
    let same = |outcome: Outcome, how: &str| {
        let again = outcome.document.map(|document| document.emit(OutputFormat::Json));
        assert_eq!(again.as_ref(), Some(&meant), "{how}: {:?}", outcome.findings);
    };
    let shown = document.show_object(group, name, &|_, _| None).filter(|_| method == "PUT");
    if let Some(shown) = shown {
        let action = ChangeAction::Replace(name, &shown);
        let back = next.edit(&ObjectChange { group, action, title: "the same" });
        same(understood(&back.expect("what is shown is taken")), &shown);
    }
    for rewrite in next.rewrites().expect("it comes from a YAML file") {
        same(read(&rewrite.after), &rewrite.after);
    }
}

fn read(text: &str) -> Outcome {
    let args = cli::parse(["-C", "hub.yaml"]).expect("these are arguments");
    let mut reader =
        |_: &ConfigSource| Ok(Content { bytes: text.as_bytes().to_vec(), content_type: None });
    load(&args, &Environment::default(), &mut reader, Profile::Compat)
}

fn understood(parts: &ConfigParts) -> Outcome {
    let args = cli::parse(["-C", "hub.yaml"]).expect("these are arguments");
    let mut nothing = |_: &ConfigSource| Ok(Content { bytes: Vec::new(), content_type: None });
    load_parts(parts, &args, &Environment::default(), &mut nothing, Profile::Compat)
}

/// Method and target in a line, headers in others. Who is let in names a host that nobody else can lead there, and comes from no page but
/// one of that host or of a listed origin.
pub fn api_request(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut lines = text.lines();
    let (method, target) = lines.next().unwrap_or("").split_once(' ').unwrap_or_default();
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let Some(head) = request_head(method, target, &headers) else { return };
    assert!(head.names.iter().all(|name| !name.is_empty()));
    let first = |wanted: &str| {
        let found = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.trim().to_ascii_lowercase())
    };
    // A target with a host of its own has no need of the header.
    if !head.permitted || !target.starts_with('/') {
        return;
    }
    let host = first("host").expect("without a host nobody is let in");
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(&*host, |it| it.0);
    let is_known = ["localhost", "hub.example", "ops.example"].contains(&name);
    let address = name.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(name);
    assert!(is_known || address.parse::<IpAddr>().is_ok(), "{host}");
    if let Some(origin) = first("origin") {
        assert!(origin == format!("http://{host}") || origin == "https://ops.example", "{origin}");
    }
}
