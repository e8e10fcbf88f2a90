//! The same requests to rtun's Web API and to that of a GOST program (`RTUN_GOST`), on the same configuration: the same statuses,
//! codes and bodies, but for the differences that are listed here with their reasons.

use std::process::Command;

use serde_json::{Value, json};

use super::common::{
    SOON, World, gost, wait_until,
    web::{Web, WebAnswer},
};

const CONFIG: &str = "
services:
- name: hub
  addr: :8443
  handler: {type: router, metadata: {router: main}}
  listener: {type: tcp}
routers:
- name: main
  routes:
  - {dst: 192.168.123.1, gateway: host-1}
  - {dst: 192.168.123.2, gateway: host-2}
authers:
- name: members
  auths:
  - {username: eve, password: apple}
  reload: 10s
api: {addr: 127.0.0.1:18080}
";

const ID: &str = "1a2b3c4d-1111-4222-8333-444455556666";

/// A status and, of an error in the envelope, its code.
type Said = (u16, Option<u64>);

const OK: Said = (200, None);

/// Requests that are answered in another way on purpose: what GOST says, what rtun says, and why. Each leaves both as they were, or
/// is followed by one that does.
const DIFFERENCES: &[(&str, &str, &str, Said, Said, &str)] = &[
    (
        "POST",
        "/config/routers",
        r#"{"name": "x", "reload": "soon"}"#,
        OK,
        (400, Some(40001)),
        "what is wrong is refused",
    ),
    ("DELETE", "/config/routers/x", "", OK, (400, Some(40004)), "so there is none"),
    ("DELETE", "/config/routers/main", "", OK, (400, Some(40001)), "the hub names it"),
    (
        "POST",
        "/config/routers",
        r#"{"name": "main", "routes": [{"dst": "192.168.123.1", "gateway": "host-1"}, {"dst": "192.168.123.2", "gateway": "host-2"}]}"#,
        OK,
        (400, Some(40002)),
        "so it is still there",
    ),
    (
        "POST",
        "/config/services",
        r#"{"name": "x", "addr": ":8443", "handler": {"type": "router", "metadata": {"router": "main"}}, "listener": {"type": "tcp"}}"#,
        (500, Some(40003)),
        (400, Some(40001)),
        "two services of one address are seen before anything is opened",
    ),
    (
        "POST",
        "/config/services",
        r#"{"name": "x", "addr": ":8444", "handler": {"type": "socks5"}, "listener": {"type": "tcp"}}"#,
        OK,
        (400, Some(40001)),
        "rtun has no proxies",
    ),
    ("DELETE", "/config/services/x", "", OK, (400, Some(40004)), "so there is none"),
    ("GET", "/config/bypasses", "", OK, (404, Some(404)), "a tunnel has no need of them"),
    ("GET", "/config/caches", "", OK, (404, Some(404)), "likewise"),
    (
        "POST",
        "/config?path=elsewhere.yaml",
        "",
        OK,
        (400, Some(40001)),
        "only the configuration's own files are written",
    ),
    (
        "GET",
        "/config/loggers",
        "",
        (404, None),
        (404, Some(404)),
        "the reason is said in the envelope",
    ),
    (
        "PATCH",
        "/config/services",
        "",
        (404, None),
        (405, Some(405)),
        "it says which methods there are",
    ),
    ("PUT", "/config/services", "", (404, None), (405, Some(405)), "likewise"),
    ("DELETE", "/config", "", (404, None), (405, Some(405)), "likewise"),
    (
        "GET",
        "/config/services/hub/more",
        "",
        (404, None),
        (404, Some(404)),
        "the reason is said in the envelope",
    ),
    ("GET", "/config/", "", (301, None), OK, "answered there, not where GOST sends one on to"),
    ("GET", "/config/routers/", "", (301, None), OK, "likewise"),
    ("GET", "/config/reload", "", (404, None), (405, Some(405)), "it says which methods there are"),
    ("HEAD", "/config/services", "", (404, None), OK, "HEAD is GET without the body"),
];

/// Both programs.
struct Both<'a> {
    rtun: Web<'a>,
    gost: Web<'a>,
}

impl Both<'_> {
    fn ask(&self, method: &str, path: &str, body: &str) -> [WebAnswer; 2] {
        [&self.gost, &self.rtun]
            .map(|web| web.ask(method, path, &["Content-Type: application/json"], body))
    }

    /// Both say the same; this is what.
    fn same(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let [gost, rtun] = self.ask(method, path, &body);
        let what = format!("{method} {path} {body}:\n{gost:?}\n{rtun:?}");
        assert_eq!(said(&rtun), said(&gost), "{what}");
        assert_eq!(rtun.content_type(), gost.content_type(), "{what}");
        let [of_gost, of_rtun] = [&gost, &rtun].map(|answer| comparable(answer.json()));
        // Messages are for people.
        assert!(rtun.status != 200 || of_rtun == of_gost, "{what}");
        of_rtun
    }

    /// Both refuse it with the same status and code. rtun says more than what GOST does.
    fn refused(&self, method: &str, path: &str, body: &str, expected: Said) {
        let [gost, rtun] = self.ask(method, path, body);
        assert_eq!(
            [said(&gost), said(&rtun)],
            [expected; 2],
            "{method} {path} {body}:\n{gost:?}\n{rtun:?}"
        );
    }
}

fn said(answer: &WebAnswer) -> Said {
    let json: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    (answer.status, json["code"].as_u64())
}

/// Without what differs from one process to the next, and with secrets as rtun shows them.
fn comparable(mut json: Value) -> Value {
    match &mut json {
        Value::Object(map) => {
            // What rtun says besides.
            map.remove("findings");
            if let Some(Value::Object(status)) = map.get_mut("status") {
                status.retain(|key, _| key == "state");
            }
            if map.get("status").is_some_and(|status| status == &json!({})) {
                map.remove("status");
            }
            for (key, value) in map.iter_mut() {
                match key.as_str() {
                    "password" | "token" => *value = json!("***"),
                    _ => *value = comparable(value.take()),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = comparable(item.take())),
        _ => {}
    }
    json
}

/// A group, one object of it with a name, and another without.
fn objects() -> Vec<(&'static str, Value, Value)> {
    let node = |addr: &str| json!({"name": "n", "addr": addr, "connector": {"type": "router"}, "dialer": {"type": "tcp"}});
    let hop = |addr: &str| json!([{"name": "h", "nodes": [node(addr)]}]);
    let service = |addr: &str| json!({"addr": addr, "handler": {"type": "router", "metadata": {"router": "main"}}, "listener": {"type": "tcp"}});
    let plugin = |path: &str| json!({"type": "http", "addr": format!("http://127.0.0.1:9/{path}"), "timeout": 3_000_000_000_u64});
    [
        ("authers", json!({"auths": [{"username": "u", "password": "p"}], "reload": 10_000_000_000_u64}), json!({"auths": [{"username": "w", "password": "p"}]})),
        ("admissions", json!({"matchers": ["203.0.113.0/24"]}), json!({"whitelist": true, "matchers": ["127.0.0.1"]})),
        ("ingresses", json!({"rules": [{"hostname": "host-1", "endpoint": ID}]}), json!({"rules": [{"hostname": "host-2", "endpoint": ID}]})),
        ("routers", json!({"routes": [{"dst": "10.9.0.0/24", "gateway": "host-9"}], "reload": 30_000_000_000_u64, "file": {"path": "/nonexistent/routes"}}), json!({"routes": [{"net": "10.9.0.0/24", "gateway": "host-8"}]})),
        ("observers", json!({"plugin": plugin("observe")}), json!({"plugin": plugin("other")})),
        ("limiters", json!({"limits": ["$ 100MB 100MB"]}), json!({"limits": ["$ 1MB 1MB"]})),
        ("climiters", json!({"limits": ["$ 1000"]}), json!({"limits": ["$ 2000"]})),
        ("rlimiters", json!({"limits": ["$ 1000"]}), json!({"limits": ["$ 2000"]})),
        ("quotas", json!({"limit": "1TB"}), json!({"limit": "2TB"})),
        ("recorders", json!({"tcp": {"addr": "127.0.0.1:9", "timeout": 2_000_000_000_u64}}), json!({"http": {"url": "http://127.0.0.1:9/x"}})),
        ("hops", json!({"nodes": [node("192.0.2.1:1")]}), json!({"nodes": [node("192.0.2.2:1")]})),
        ("chains", json!({"hops": hop("192.0.2.1:1")}), json!({"hops": hop("192.0.2.2:1")})),
        ("resolvers", json!({"nameservers": [{"addr": "192.0.2.53", "ttl": 60_000_000_000_u64}]}), json!({"nameservers": [{"addr": "192.0.2.54"}]})),
        ("hosts", json!({"mappings": [{"ip": "192.0.2.1", "hostname": "hub.example"}]}), json!({"mappings": [{"ip": "192.0.2.2", "hostname": "hub.example"}]})),
        ("services", service("127.0.0.1:9443"), service("127.0.0.1:9444")),
    ]
    .map(|(group, mut named, other)| {
        named["name"] = json!("a");
        (group, named, other)
    })
    .into()
}

#[test]
fn it_answers_as_gost_does() {
    if gost::program().is_none() {
        return;
    }
    let Some(world) = World::new() else { return };
    let other_machine = world.machine("gost");
    let file = world.file("gost.yaml", CONFIG);
    let Some(_gost) = gost::start(&world, &other_machine, &["-C", file.to_str().unwrap(), "-D"])
    else {
        return;
    };
    let hub = world.hub(CONFIG);
    let both = Both { rtun: Web::new(&world.hub), gost: Web::new(&other_machine) };
    wait_until("GOST's API", || {
        let address = both.gost.address.parse().unwrap();
        other_machine
            .run(move || std::net::TcpStream::connect_timeout(&address, SOON))
            .unwrap()
            .is_ok()
    });

    let config = both.same("GET", "/config", &json!(null));
    both.same("GET", "/config?format=json", &json!(null));
    both.same("GET", "/config?format=toml", &json!(null));
    for (group, object, other) in objects() {
        let list = format!("/config/{group}");
        let path = format!("{list}/a");
        // Where GOST shows another list, only what changes this one is compared.
        let show = |path: &str| match group {
            "rlimiters" => Value::Null,
            _ => both.same("GET", path, &json!(null)),
        };
        let before = show(&list);
        both.same("POST", &list, &object);
        both.same("POST", &list, &object);
        show(&list);
        show(&path);
        both.same("PUT", &path, &other);
        show(&path);
        let named = |name: &str| {
            let mut named = object.clone();
            named["name"] = json!(name);
            named
        };
        // The name in the path counts; blanks around one do not.
        both.same("PUT", &path, &named("b"));
        show(&path);
        show(&format!("{list}/b"));
        both.same("DELETE", &format!("{list}/%20a%20"), &json!(null));
        both.same("POST", &list, &named("  a "));
        show(&path);
        both.same("DELETE", &path, &json!(null));
        both.same("DELETE", &path, &json!(null));
        both.same("PUT", &path, &other);
        show(&path);
        for wrong in [
            "",
            "{}",
            "{",
            "[1]",
            "7",
            "null",
            r#"{"name": ""}"#,
            r#"{"name": "  "}"#,
            r#"{"name": 7}"#,
        ] {
            both.refused("POST", &list, wrong, (400, Some(40001)));
        }
        assert_eq!(show(&list), before);
    }
    // What neither knows is left out.
    both.same("POST", "/config/routers", &json!({"name": "x", "unknown": [1]}));
    both.same("DELETE", "/config/routers/x", &json!(null));
    both.same("POST", "/config/quotas/nobody/reset", &json!(null));
    both.same("POST", "/config/quotas", &json!({"name": "q", "limit": "1GB"}));
    both.same("POST", "/config/quotas/q/reset", &json!(null));
    both.same("POST", "/config/quotas/q/reset", &json!({"used": 5000}));
    both.same("GET", "/config/quotas/q", &json!(null));
    both.same("DELETE", "/config/quotas/q", &json!(null));
    assert_eq!(both.same("GET", "/config", &json!(null)), config);

    for (method, path, body, of_gost, of_rtun, why) in DIFFERENCES {
        let [gost, rtun] = both.ask(method, path, body);
        assert_eq!(
            [said(&gost), said(&rtun)],
            [*of_gost, *of_rtun],
            "{why}: {method} {path} {body}:\n{gost:?}\n{rtun:?}"
        );
    }
    // GOST takes no duration as text: it is 0 there, and left out.
    let ten = json!({"name": "ten", "reload": "10s"});
    both.same("POST", "/config/routers", &ten);
    let [gost, rtun] =
        [&both.gost, &both.rtun].map(|web| web.get("/config/routers/ten").json()["data"].clone());
    assert_eq!(
        [gost, rtun],
        [json!({"name": "ten"}), json!({"name": "ten", "reload": 10_000_000_000_u64})]
    );

    // Saved and read again, it is still there; what was not saved is not.
    both.same("POST", "/config", &json!(null));
    both.same("POST", "/config?format=yaml", &json!(null));
    both.same("POST", "/config/routers", &json!({"name": "unsaved"}));
    both.same("POST", "/config/reload", &json!(null));
    for (name, is_there) in [("ten", true), ("unsaved", false)] {
        let found = [&both.gost, &both.rtun]
            .map(|web| web.get(&format!("/config/routers/{name}")).json()["data"].is_object());
        assert_eq!(found, [is_there; 2], "{name}");
    }

    // Each reads the YAML that the other shows, and to GOST it means what the JSON says.
    for web in [&both.gost, &both.rtun] {
        let yaml = web.get("/config?format=yaml");
        assert_eq!(yaml.content_type(), Some("text/x-yaml"));
        world.file("shown.yaml", &yaml.body);
        let [of_gost, _] =
            [gost::program().unwrap().as_str(), env!("CARGO_BIN_EXE_rtun")].map(|program| {
                let mut command = Command::new(program);
                command.args(["-C", "shown.yaml", "-O", "json"]).current_dir(world.path(""));
                let output = command.output().unwrap();
                assert!(output.status.success(), "{output:?}");
                output.stdout
            });
        let read = comparable(serde_json::from_slice(&of_gost).unwrap());
        assert_eq!(read, comparable(web.get("/config").json()));
    }
    hub.stop();
}
