use proptest::prelude::*;

use super::*;
use crate::{
    Environment, Outcome, cli, load, load_parts,
    source::{ConfigSource, Content},
};

const HUB: &str = "
services:
- name: hub
  addr: 127.0.0.1:8443
  handler: {type: router, auther: members, metadata: {router: main}}
  listener: {type: tcp}
routers:
- name: main
  routes:
  - {dst: 10.1.0.0/24, gateway: host-1}
authers:
- name: members
  auths:
  - {username: eve, password: apple, hosts: [host-1]}
  - {username: bob, password: pear, hosts: [host-1]}
api: {addr: 127.0.0.1:18080}
";

fn read(text: &str) -> Outcome {
    let args = cli::parse(["-C", "hub.yaml"]).unwrap();
    let mut reader =
        |_: &ConfigSource| Ok(Content { bytes: text.as_bytes().to_vec(), content_type: None });
    load(&args, &Environment::default(), &mut reader, Profile::Compat)
}

fn parts() -> ConfigParts {
    read(HUB).parts.unwrap()
}

/// What becomes of the configuration, as a reload would read it.
fn understood(parts: &ConfigParts) -> Outcome {
    let args = cli::parse(["-C", "hub.yaml"]).unwrap();
    let mut nothing = |_: &ConfigSource| unreachable!("all was read");
    load_parts(parts, &args, &Environment::default(), &mut nothing, Profile::Compat)
}

fn edit(
    parts: &ConfigParts,
    group: &str,
    action: ChangeAction<'_>,
) -> Result<ConfigParts, EditError> {
    parts.edit(&ObjectChange { group, action, title: "PUT /config" })
}

fn message(parts: &ConfigParts, group: &str, action: ChangeAction<'_>) -> String {
    edit(parts, group, action).unwrap_err().to_string()
}

fn shown(parts: &ConfigParts, group: &str, name: &str) -> serde_json::Value {
    let document = understood(parts).document.unwrap();
    let object = document.show_object(group, name, &|_, _| None);
    object.map_or(serde_json::Value::Null, |it| serde_json::from_str(&it).unwrap())
}

use ChangeAction::{Create, Delete, Replace};

#[test]
fn objects_come_change_and_go() {
    let parts = parts();
    let more = r#"{"name": " more ", "routes": [{"dst": "10.2.0.0/24", "gateway": "host-2"}]}"#;
    let added = edit(&parts, "routers", Create(more)).unwrap();
    assert!(added.is_edited() && !parts.is_edited());
    assert_eq!(shown(&added, "routers", "more")["routes"][0]["gateway"], "host-2");
    let changed =
        edit(&added, "routers", Replace("more", r#"{"name": "x", "routes": []}"#)).unwrap();
    assert_eq!(shown(&changed, "routers", "more")["name"], "more", "the name in the path counts");
    let gone = edit(&changed, "routers", Delete("more")).unwrap();
    assert_eq!(shown(&gone, "routers", "more"), serde_json::Value::Null);
    let config = |parts| understood(parts).config.unwrap();
    assert_eq!(config(&gone), config(&parts));
    assert_ne!(
        config(
            &edit(
                &parts,
                "routers",
                Replace("main", r#"{"routes": [{"dst": "10.9.0.0/24", "gateway": "host-1"}]}"#)
            )
            .unwrap()
        ),
        config(&parts)
    );
}

#[test]
fn a_wrong_change_is_refused_by_what_is_wrong() {
    let parts = parts();
    for (group, action, expected) in [
        ("routers", Create("{\"name\": \"a\""), "PUT /config:1:"),
        ("routers", Create("[]"), "an object is a map of keys, this is a list"),
        ("routers", Create("7"), "an object is a map of keys"),
        ("routers", Create("{}"), "the object has no name"),
        ("routers", Create(r#"{"name": "  "}"#), "the object has no name"),
        ("routers", Create(r#"{"name": 7}"#), "the object has no name"),
        ("routers", Create(r#"{"name": "main"}"#), "router main already exists"),
        ("routers", Replace("mian", "{}"), "router mian not found: did you mean `main`?"),
        ("services", Delete("x"), "service x not found"),
        ("rooters", Delete("x"), "there is no list `rooters`"),
        ("caches", Delete("x"), "rtun does not use `caches`"),
        ("loggers", Delete("x"), "there is no list `loggers`"),
    ] {
        let message = message(&parts, group, action);
        assert!(message.contains(expected), "{group} {action:?}: {message}");
    }
    let body = r#"{"name": "hub", "adr": ":1", "handler": {"type": "rooter"}}"#;
    let wrong = understood(&edit(&parts, "services", Replace("hub", body)).unwrap());
    assert!(wrong.config.is_none());
    let texts: Vec<String> = wrong.findings.iter().map(ToString::to_string).collect();
    assert!(
        texts
            .iter()
            .any(|text| text
                .starts_with("PUT /config:1:50: error: there is no handler type `rooter`")),
        "{texts:#?}"
    );
    let used = understood(&edit(&parts, "routers", Delete("main")).unwrap());
    assert!(used.config.is_none(), "a service names it");
}

#[test]
fn secrets_are_stars_and_stars_stay_what_they_are() {
    let parts = parts();
    let members = shown(&parts, "authers", "members");
    assert_eq!(members["auths"][0]["password"], "***");
    assert!(!members.to_string().contains("apple") && !members.to_string().contains("pear"));
    let document = |parts| understood(parts).document.unwrap().emit(cli::OutputFormat::Json);
    let same = edit(&parts, "authers", Replace("members", &members.to_string())).unwrap();
    assert_eq!(document(&same), document(&parts));
    // In another order, and one less.
    let bob = r#"{"auths": [{"username": "bob", "password": "***", "hosts": ["host-1"]}]}"#;
    let less = edit(&parts, "authers", Replace("members", bob)).unwrap();
    let full = edit(&less, "authers", Replace("members", bob)).unwrap();
    assert_eq!(document(&full), document(&less));
    assert!(document(&full).contains("pear") && !document(&full).contains("apple"));
    for body in [
        r#"{"auths": [{"username": "mallory", "password": "***"}]}"#,
        r#"{"auths": [{"password": "***"}]}"#,
        r#"{"http": {"url": "https://***@rules.example/users"}}"#,
    ] {
        let message = message(&parts, "authers", Replace("members", body));
        assert!(message.contains("stars stand for a secret"), "{body}: {message}");
    }
    let created = message(
        &parts,
        "authers",
        Create(r#"{"name": "x", "auths": [{"username": "eve", "password": "***"}]}"#),
    );
    assert!(created.contains("stars stand for a secret"), "{created}");
}

#[test]
fn secrets_of_every_kind_are_hidden() {
    let marker = "s3cr3t";
    let text = format!(
        "
routers:
- name: main
  redis: {{addr: 127.0.0.1:6379, password: {marker}, key: table}}
  http: {{url: 'https://admin:{marker}@rules.example/x'}}
- name: asked
  plugin: {{type: http, addr: 'http://u:{marker}@127.0.0.1:1', token: {marker}}}
chains:
- name: out
  hops:
  - name: hop
    nodes:
    - name: node
      addr: 192.0.2.1:443
      connector: {{type: router, auth: {{username: u, password: {marker}}}}}
      dialer: {{type: wss, metadata: {{header: {{Authorization: {marker}, X-Api-Key: {marker}, Host: hub.example}}}}}}
services:
- name: t
  addr: :8421
  handler: {{type: tun, metadata: {{passphrase: {marker}, tun.token: {marker}}}}}
  listener: {{type: tun, metadata: {{net: 10.0.0.1/24}}}}
api: {{addr: 127.0.0.1:1, auth: {{username: u, password: {marker}}}}}
"
    );
    let outcome = read(&text);
    let document = outcome.document.unwrap();
    for format in [cli::OutputFormat::Json, cli::OutputFormat::Yaml] {
        let shown = document.show(format, &|_, _| None);
        assert!(!shown.contains(marker), "{shown}");
        for kept in ["table", "hub.example", "https://***@rules.example/x", "node"] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
    }
    for group in ["routers", "chains", "services"] {
        let (_, list) = document.show_list(group, &|_, _| None);
        assert!(!list.contains(marker), "{list}");
    }
    // What is shown can be sent back and changes nothing.
    let parts = outcome.parts.unwrap();
    for (group, name) in
        [("routers", "main"), ("routers", "asked"), ("chains", "out"), ("services", "t")]
    {
        let shown = document.show_object(group, name, &|_, _| None).unwrap();
        let same = edit(&parts, group, Replace(name, &shown)).unwrap();
        assert_eq!(
            understood(&same).document.unwrap().emit(cli::OutputFormat::Json),
            document.emit(cli::OutputFormat::Json),
            "{group} {name}"
        );
    }
}

#[test]
fn durations_are_nanoseconds_and_texts() {
    let parts = parts();
    let body = |reload: &str| {
        format!(r#"{{"name": "timed", "file": {{"path": "/x"}}, "reload": {reload}}}"#)
    };
    for (written, meant) in [
        ("10000000000", 10_000_000_000_u64),
        ("\"10s\"", 10_000_000_000),
        ("1500000000", 1_500_000_000),
    ] {
        let added = edit(&parts, "routers", Create(&body(written))).unwrap();
        assert_eq!(shown(&added, "routers", "timed")["reload"], meant, "{written}");
        let outcome = understood(&added);
        assert!(outcome.findings.iter().all(|it| it.code.is_none()), "{:?}", outcome.findings);
        assert!(!outcome.document.unwrap().emit(cli::OutputFormat::Yaml).contains("000000"));
    }
}

#[test]
fn no_commands_come_over_the_api() {
    let with_hook = HUB.replace(
        "  listener: {type: tcp}",
        "  listener: {type: tcp}\n  metadata: {preUp: [\"/bin/true\"]}",
    );
    let parts = read(&with_hook).parts.unwrap();
    let shown = shown(&parts, "services", "hub");
    assert!(edit(&parts, "services", Replace("hub", &shown.to_string())).is_ok(), "it was there");
    for hook in ["preUp", "PREUP", "postUp", "preDown", "postDown"] {
        let mut other = shown.clone();
        other["metadata"] = serde_json::json!({hook: ["/bin/false"]});
        let message = message(&parts, "services", Replace("hub", &other.to_string()));
        assert!(message.contains("no commands are taken over the Web API"), "{message}");
        other["name"] = "hub2".into();
        let message = self::message(&parts, "services", Create(&other.to_string()));
        assert!(message.contains("no commands are taken over the Web API"), "{message}");
    }
}

#[test]
fn no_command_of_a_probe_comes_over_the_api() {
    let hop = |command: &str| {
        let probe = serde_json::json!({"type": "cmd", "COMMAND": command});
        let node = serde_json::json!({"name": "a", "addr": "192.0.2.1:8443", "Probe": probe});
        serde_json::json!({"name": "hubs", "nodes": [node]}).to_string()
    };
    let with_probe = format!("{HUB}hops: [{}]\n", hop("true"));
    let parts = read(&with_probe).parts.unwrap();
    assert!(edit(&parts, "hops", Replace("hubs", &hop("true"))).is_ok(), "it was there");
    let chain = format!(r#"{{"name": "out", "hops": [{}]}}"#, hop("true"));
    for (group, change) in [
        ("hops", Replace("hubs", &hop("false"))),
        ("hops", Create(&hop("true").replace("hubs", "others"))),
        ("chains", Create(&chain)),
    ] {
        let message = message(&parts, group, change);
        assert!(message.contains("no commands are taken over the Web API"), "{message}");
    }
}

#[test]
fn no_file_to_write_comes_over_the_api() {
    let recorder = |path: &str| {
        serde_json::json!({"name": "disk", "FILE": {"path": path, "sep": "\n"}}).to_string()
    };
    let parts = read(&format!("{HUB}recorders: [{}]\n", recorder("/a"))).parts.unwrap();
    assert!(edit(&parts, "recorders", Replace("disk", &recorder("/a"))).is_ok(), "it was there");
    let url = r#"{"name": "url", "http": {"url": "http://127.0.0.1:8000"}}"#;
    assert!(edit(&parts, "recorders", Create(url)).is_ok());
    for change in
        [Replace("disk", &recorder("/b")), Create(&recorder("/a").replace("disk", "other"))]
    {
        let message = message(&parts, "recorders", change);
        assert!(message.contains("no files to write are taken over the Web API"), "{message}");
    }
}

#[test]
fn many_changes_take_no_more_memory_than_one() {
    let mut parts = parts();
    for number in 0..50 {
        let body =
            format!(r#"{{"routes": [{{"dst": "10.{number}.0.0/24", "gateway": "host-1"}}]}}"#);
        parts = edit(&parts, "routers", Replace("main", &body)).unwrap();
    }
    assert_eq!(parts.texts.count(), 2, "the file and the last body");
    let wrong = edit(&parts, "routers", Replace("main", "{\n \"reutes\": []}")).unwrap();
    let said =
        understood(&wrong).findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(said.contains("PUT /config:2:2") && said.contains("reutes"), "{said}");
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value as Json;
    let word = prop::sample::select(vec![
        "name",
        "routes",
        "dst",
        "gateway",
        "main",
        "members",
        "hub",
        "auths",
        "password",
        "***",
        "metadata",
        "preUp",
        "10.0.0.0/8",
        "handler",
        "type",
        "router",
        "status",
        "reload",
        "10s",
        "http://***@h",
        "url",
    ]);
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        word.clone().prop_map(Json::from),
        any::<String>().prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::vec((word.clone(), inner), 0..6).prop_map(|entries| {
                Json::Object(
                    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
                )
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_body_panics_or_changes_another_object(
        body in any_json(),
        group in prop::sample::select(vec!["services", "routers", "authers"]),
        text in "[ -~]{0,40}",
    ) {
        let parts = parts();
        let name = match group { "services" => "hub", "routers" => "main", _ => "members" };
        for body in [body.to_string(), text] {
            for action in [Create(&body), Replace(name, &body), Delete(name)] {
                let Ok(next) = edit(&parts, group, action) else { continue };
                let _ = understood(&next);
                for (other, name) in [("services", "hub"), ("routers", "main"), ("authers", "members")] {
                    if other != group {
                        let (one, two) = (objects(&parts.parts[0].value, other), objects(&next.parts[0].value, other));
                        prop_assert_eq!(one.len(), two.len());
                        prop_assert!(one[0].same(two[0]), "{}", name);
                    }
                }
            }
        }
    }
}

#[test]
fn counts_are_shown_where_the_service_says_so() {
    let document = read(
        "services:
- {name: one, addr: ':1', handler: {type: router}, listener: {type: tcp}, metadata: {enablestats: true}, quotas: [q]}
- {name: two, addr: ':2', handler: {type: router}, listener: {type: tcp}}
quotas: [{name: q, limit: 1GB}]
",
    )
    .document
    .unwrap();
    let status = |group: &str, name: &str| {
        Some(serde_json::json!({"state": format!("{group} {name}"), "stats": {"totalConns": 3}}))
    };
    let shown = document.show(cli::OutputFormat::Json, &status);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let [one, two] = [0, 1].map(|n| &shown["services"][n]["status"]);
    assert_eq!(*one, serde_json::json!({"state": "services one", "stats": {"totalConns": 3}}));
    assert_eq!(*two, serde_json::json!({"state": "services two"}));
    assert_eq!(shown["quotas"][0]["status"]["state"], "quotas q");
    let quota = document.show_object("quotas", "q", &status).unwrap();
    assert!(quota.contains("quotas q"), "{quota}");
}
