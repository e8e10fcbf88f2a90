//! The Web API of a running hub: what it shows, what it changes, whom it answers, and what goes on meanwhile.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod as_gost;
mod attacked;
#[path = "../common/mod.rs"]
mod common;
mod described;
mod schema;
mod secured;

use std::{fs, os::unix::fs::PermissionsExt, time::Instant};

use common::{World, does_not_reach, pings, reaches, wait_until, web::Web};
use serde_json::{Value, json};

const HUB: &str = "# The hub.
services:
- name: hub
  addr: :8443
  handler: {type: router, metadata: {router: main}}
  listener: {type: tcp}
  metadata: {enableStats: true}
# Who is where.
routers:
- name: main
  routes:
  - {dst: 192.168.123.1, gateway: host-1} # Berlin
  - {dst: 192.168.123.2, gateway: host-2}
# Others may read it.
api: {addr: 127.0.0.1:18080}
";

fn routes(routes: &[(&str, &str)]) -> Value {
    let routes = routes.iter().map(|(dst, gateway)| json!({"dst": dst, "gateway": gateway}));
    json!({"name": "main", "routes": routes.collect::<Vec<_>>()})
}

/// The configuration, without what its services do.
fn configured(web: &Web<'_>) -> Value {
    let mut config = web.get("/config").json();
    for service in config["services"].as_array_mut().unwrap() {
        service.as_object_mut().unwrap().remove("status");
    }
    config
}

#[test]
fn every_list_is_changed_while_hosts_stay_connected() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(HUB);
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let hosts = [world.join(&one, 1), world.join(&two, 2)];
    reaches(&one, "192.168.123.2");
    let web = Web::new(&world.hub);
    let list = web.get("/config/routers").json();
    assert_eq!(list["data"]["count"], 1);
    assert_eq!(
        list["data"]["list"][0]["routes"][1],
        json!({"dst": "192.168.123.2", "gateway": "host-2"})
    );
    assert_eq!(web.get("/config/authers").json(), json!({"data": {"count": 0, "list": null}}));
    assert_eq!(web.get("/config/routers/nobody").json(), json!({"data": null}));
    let service = web.get("/config/services/hub").json()["data"].clone();
    assert_eq!(service["status"]["state"], "ready", "{service}");
    let status = &service["status"];
    assert!(status["createTime"].as_u64().is_some_and(|time| time > 1_600_000_000));
    assert_eq!(status["events"][0]["msg"], "service hub: started", "{status}");
    assert_eq!(status["stats"]["currentConns"], 2, "{status}");
    assert!(status["stats"]["inputBytes"].as_u64().unwrap() > 0, "{status}");
    assert_eq!((&status["quotas"], &status["stoppedByLimit"]), (&Value::Null, &Value::Null));

    let id = "1a2b3c4d-1111-4222-8333-444455556666";
    let objects = [
        (
            "authers",
            json!({"name": "a", "auths": [{"username": "u", "password": "p", "hosts": ["host-1"]}]}),
            json!({"auths": []}),
        ),
        (
            "admissions",
            json!({"name": "a", "matchers": ["203.0.113.0/24"]}),
            json!({"matchers": ["203.0.113.7"]}),
        ),
        (
            "ingresses",
            json!({"name": "a", "rules": [{"hostname": "host-1", "endpoint": id}]}),
            json!({"rules": []}),
        ),
        (
            "routers",
            json!({"name": id, "routes": [{"dst": "10.9.0.0/24", "gateway": "host-9"}]}),
            json!({"routes": []}),
        ),
        (
            "limiters",
            json!({"name": "a", "limits": ["$ 100MB 100MB"]}),
            json!({"limits": ["$ 1MB 1MB"]}),
        ),
        ("climiters", json!({"name": "a", "limits": ["$ 1000"]}), json!({"limits": ["$ 2000"]})),
        ("rlimiters", json!({"name": "a", "limits": ["$ 1000"]}), json!({"limits": ["$ 2000"]})),
        ("quotas", json!({"name": "a", "limit": "1TB"}), json!({"limit": "2TB"})),
        (
            "hops",
            json!({"name": "a", "nodes": [{"name": "n", "addr": "192.0.2.1:1", "connector": {"type": "router"}}]}),
            json!({"nodes": [{"name": "n", "addr": "192.0.2.2:1", "connector": {"type": "router"}}]}),
        ),
        (
            "chains",
            json!({"name": "a", "hops": [{"name": "h", "nodes": [{"name": "n", "addr": "192.0.2.1:1", "connector": {"type": "router"}}]}]}),
            json!({"hops": [{"name": "h", "nodes": [{"name": "n", "addr": "192.0.2.2:1", "connector": {"type": "router"}}]}]}),
        ),
        (
            "services",
            json!({"name": "a", "addr": "127.0.0.1:9443", "handler": {"type": "router", "metadata": {"router": "main"}}, "listener": {"type": "tcp"}}),
            json!({"addr": "127.0.0.1:9444", "handler": {"type": "router", "metadata": {"router": "main"}}, "listener": {"type": "tcp"}}),
        ),
    ];
    for (group, object, other) in &objects {
        let list = format!("/config/{group}");
        let name = object["name"].as_str().unwrap();
        let path = format!("{list}/{name}");
        let before = web.get(&list).json()["data"]["count"].as_u64().unwrap();
        web.done("POST", &list, object);
        assert_eq!(web.get(&list).json()["data"]["count"], before + 1, "{group}");
        let again = web.send("POST", &list, object);
        assert_eq!((again.status, again.error().0), (400, 40002), "{group}: {again:?}");
        let shown = web.get(&path).json()["data"].clone();
        for (key, value) in object.as_object().unwrap() {
            if *group != "authers" {
                assert_eq!(&shown[key], value, "{group}: {shown}");
            }
        }
        web.done("PUT", &path, other);
        web.done("PUT", &path, &web.get(&path).json()["data"]);
        web.done("DELETE", &path, &json!(null));
        for method in ["PUT", "DELETE"] {
            let missing = web.send(method, &path, other);
            assert_eq!((missing.status, missing.error().0), (400, 40004), "{group}: {missing:?}");
        }
        assert_eq!(web.get(&list).json()["data"]["count"], before, "{group}");
    }
    // Of what applies to them, hosts lose what is taken, and nothing else.
    web.done("PUT", "/config/routers/main", &routes(&[("192.168.123.1", "host-1")]));
    does_not_reach(&one, "192.168.123.2");
    let both = routes(&[("192.168.123.1", "host-1"), ("192.168.123.2", "host-2")]);
    web.done("PUT", "/config/routers/main", &both);
    reaches(&one, "192.168.123.2");
    for host in &hosts {
        assert_eq!(host.said("joined the hub").len(), 1, "{}", host.log());
    }
    let logged = hub.said("Web API: done");
    assert!(logged.len() > 3 * objects.len(), "{}", hub.log());
    assert!(logged[0]["client"].as_str().unwrap().starts_with("127.0.0.1:"));
    hub.stop_balanced();
}

#[test]
fn what_is_wrong_changes_nothing_and_the_answer_says_what() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(HUB);
    let web = Web::new(&world.hub);
    let before = configured(&web);
    let service = web.get("/config/services/hub").json()["data"].clone();
    let with = |key: &str, value: Value| {
        let mut service = service.clone();
        service[key] = value;
        service
    };
    for (method, path, body, status, code, says) in [
        ("POST", "/config/routers", json!({"routes": []}), 400, 40001, "the object has no name"),
        ("POST", "/config/routers", json!([1]), 400, 40001, "an object is a map of keys"),
        ("POST", "/config/routers", routes(&[]), 400, 40002, "router main already exists"),
        (
            "PUT",
            "/config/routers/main",
            json!({"reload": "soon"}),
            400,
            40001,
            "PUT /config/routers/main:1:",
        ),
        (
            "DELETE",
            "/config/routers/main",
            json!(null),
            400,
            40001,
            "there is no router named `main`",
        ),
        (
            "PUT",
            "/config/services/hub",
            with("handler", json!({"type": "rooter"})),
            400,
            40001,
            "did you mean `router`?",
        ),
        (
            "PUT",
            "/config/services/hub",
            with("metadata", json!({"preUp": ["/bin/false"]})),
            400,
            40001,
            "no commands are taken",
        ),
        (
            "PUT",
            "/config/services/hub",
            with("addr", json!("127.0.0.1:18080")),
            500,
            40003,
            "in use",
        ),
        (
            "POST",
            "/config/services",
            json!({"name": "x", "addr": ":8443", "handler": {"type": "router", "metadata": {"router": "main"}}}),
            400,
            40001,
            "8443",
        ),
        (
            "POST",
            "/config/bypasses",
            json!({"name": "x"}),
            404,
            404,
            "rtun does not use `bypasses`",
        ),
        ("GET", "/config/rooters", json!(null), 404, 404, "there is no list `rooters`"),
        ("POST", "/config/quotas/x/reset", json!({}), 400, 40004, "quota x not found"),
        ("PATCH", "/config/routers/main", json!({}), 405, 405, "PUT"),
        ("POST", "/config?path=/etc/passwd", json!(null), 400, 40001, "`path` is refused"),
        ("GET", "/config/a/b/c/d", json!(null), 404, 404, "there is nothing here"),
    ] {
        let answer = web.send(method, path, &body);
        assert_eq!(
            (answer.status, answer.error().0),
            (status, code),
            "{method} {path}: {answer:?}"
        );
        assert!(answer.error().1.contains(says), "{method} {path}: {answer:?}");
    }
    let half = web.ask("POST", "/config/routers", &[], "{\"name\": \"x\", \"routes\": [");
    assert!(half.error().1.contains("POST /config/routers:1:"), "{half:?}");
    assert_eq!(configured(&web), before);
    assert!(hub.said("Web API: not done").len() >= 10, "{}", hub.log());
    // The hub that could not be moved listens where it did.
    let one = world.machine("host-1");
    let host = world.join(&one, 1);
    host.wait_for("joined the hub");
    hub.stop();
}

#[test]
fn only_those_are_answered_who_may_ask() {
    let Some(world) = World::new() else { return };
    let users = "
authers:
- name: operators
  auths: [{username: admin, password: sesame}, {username: monitor, password: watchful}]
";
    let api = "api: {addr: 127.0.0.1:18080, auther: operators, readers: [monitor], origins: ['https://ops.example']}\n";
    let config = HUB.replace("api: {addr: 127.0.0.1:18080}\n", api) + users;
    let hub = world.hub(&config);
    let mut web = Web::new(&world.hub);
    let nobody = web.get("/config");
    assert_eq!((nobody.status, nobody.error().0), (401, 401));
    assert!(nobody.head.contains("www-authenticate: basic"), "{nobody:?}");
    assert_eq!(web.get("/v1/status").status, 401);
    web.login = Some("admin:wrong");
    let start = Instant::now();
    assert_eq!(web.get("/config").status, 401);
    assert!(start.elapsed().as_secs() >= 1, "a wrong password takes time");
    web.login = Some("monitor:watchful");
    let shown = web.get("/config");
    assert_eq!(shown.status, 200);
    assert!(!shown.body.contains("sesame") && shown.body.contains("***"), "{}", shown.body);
    for (method, path) in [
        ("POST", "/config"),
        ("PUT", "/config/routers/main"),
        ("POST", "/config/reload"),
        ("DELETE", "/config/routers/main"),
    ] {
        assert_eq!(web.send(method, path, &routes(&[])).status, 403, "{method} {path}");
    }
    web.login = Some("admin:sesame");
    web.done("PUT", "/config/routers/main", &routes(&[("192.168.123.1", "host-1")]));

    // Pages in a browser: others may neither look nor change.
    let before = configured(&web);
    for headers in [
        &["Origin: http://evil.example"][..],
        &["Origin: null"],
        &["Host: evil.example"],
        &["Host: 127.0.0.1.evil.example:18080", "Origin: http://127.0.0.1.evil.example:18080"],
        &["Sec-Fetch-Site: cross-site"],
    ] {
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
            let answer = web.ask(method, "/config/routers/main", headers, "{}");
            assert_eq!(answer.status, 403, "{method} {headers:?}: {answer:?}");
            assert!(!answer.head.contains("access-control"), "{answer:?}");
        }
    }
    let form = ["Content-Type: text/plain"];
    assert_eq!(web.ask("POST", "/config/routers", &form, "{\"name\": \"x\"}").status, 415);
    assert_eq!(configured(&web), before);
    let listed = web.ask("GET", "/config", &["Origin: https://ops.example"], "");
    assert_eq!(listed.status, 200);
    assert!(listed.head.contains("access-control-allow-origin: https://ops.example"), "{listed:?}");
    for header in ["nosniff", "no-referrer", "no-store", "default-src 'none'"] {
        assert!(listed.head.contains(header), "{header}: {listed:?}");
    }
    hub.stop();
    let log = hub.log();
    assert!(
        !log.contains("sesame") && !log.contains("watchful") && !log.contains(":wrong"),
        "{log}"
    );
}

#[test]
fn changes_are_saved_where_they_come_from() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(HUB);
    let web = Web::new(&world.hub);
    let file = world.file("hub.yaml", HUB);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    web.done("POST", "/config", &json!(null));
    assert_eq!(fs::read_to_string(&file).unwrap(), HUB, "nothing was changed");
    let users = json!({"name": "members", "auths": [{"username": "eve", "password": "s3cr3t", "hosts": ["host-1"]}]});
    web.done("POST", "/config/authers", &users);
    web.done("POST", "/config/routers", &json!({"name": "more", "routes": []}));
    web.done("POST", "/config", &json!(null));
    let saved = fs::read_to_string(&file).unwrap();
    for kept in
        ["# The hub.\n", "# Berlin", "# Others may read it.\napi: {addr", "s3cr3t", "- name: more"]
    {
        assert!(saved.contains(kept), "{kept}: {saved}");
    }
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);

    // Somebody else writes the file.
    web.done("DELETE", "/config/routers/more", &json!(null));
    fs::write(&file, format!("{saved}# by hand\n")).unwrap();
    let refused = web.send("POST", "/config", &json!(null));
    assert_eq!((refused.status, refused.error().0), (409, 40005), "{refused:?}");
    assert!(fs::read_to_string(&file).unwrap().contains("# by hand"));
    web.done("POST", "/config/reload", &json!(null));
    assert_eq!(web.get("/config/routers").json()["data"]["count"], 2, "what was not saved is lost");
    web.done("DELETE", "/config/routers/more", &json!(null));
    fs::write(&file, HUB).unwrap();
    web.done("POST", "/config?force=true", &json!(null));
    let forced = fs::read_to_string(&file).unwrap();
    assert!(forced.contains("s3cr3t") && !forced.contains("more"), "{forced}");

    // A file that is wrong changes nothing.
    fs::write(&file, "services: [").unwrap();
    let wrong = web.send("POST", "/config/reload", &json!(null));
    assert_eq!((wrong.status, wrong.error().0), (400, 40001), "{wrong:?}");
    assert!(wrong.error().1.contains("hub.yaml:"), "{wrong:?}");
    assert_eq!(web.get("/config/authers").json()["data"]["count"], 1);
    hub.stop();
}

#[test]
fn nobody_can_take_the_api_from_others() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(HUB);
    let web = Web::new(&world.hub);
    let long = format!("{{\"name\": \"{}\"}}", "x".repeat(1 << 20));
    assert_eq!(web.ask("POST", "/config/routers", &[], &long).status, 413);
    let endless =
        "POST /config/routers HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999999999\r\n\r\n"
            .to_owned();
    assert!([408, 413].contains(&web.raw(endless).status));
    let head =
        format!("GET /config HTTP/1.1\r\nHost: 127.0.0.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    assert_eq!(web.raw(head).status, 431);
    for hostile in [
        "\0\0\0\0\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET http://evil.example/config HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ] {
        let status = web.raw(hostile.to_owned()).status;
        assert!((400..500).contains(&status), "{hostile:?}: {status}");
    }
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let wide = format!("{{\"name\": \"x\", \"routes\": [{}]}}", vec!["{}"; 200_000].join(","));
    let many =
        format!("{{{}}}", (0..5000).map(|n| format!("\"k{n}\":{n}")).collect::<Vec<_>>().join(","));
    for body in [
        deep.as_str(),
        &wide,
        &many,
        "{\"name\":\"\\u0000\\u202e\"}",
        "\u{feff}{}",
        "{\"name\":1e999}",
        "null",
        "\"x\"",
        "{\"a\":1}{\"b\":2}",
    ] {
        let answer = web.ask("POST", "/config/routers", &[], body);
        assert!([400, 413].contains(&answer.status), "{}: {answer:?}", &body[..body.len().min(60)]);
        assert!(answer.body.len() < 200_000, "{}", answer.body.len());
    }
    // Idle connections make room.
    let address = web.address.clone();
    let idle = world.hub.run(move || -> Vec<_> {
        (0..100).map(|_| std::net::TcpStream::connect(&address).unwrap()).collect()
    });
    let idle = idle.unwrap();
    assert_eq!(web.get("/config").status, 200);
    drop(idle);
    assert_eq!(web.get("/config/routers").json()["data"]["count"], 1);
    hub.stop();
}

#[test]
fn it_shows_what_runs() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(HUB);
    let one = world.machine("host-1");
    let _host = world.join(&one, 1);
    let web = Web::new(&world.hub);
    let connected = || {
        let status = web.get("/v1/status").json();
        status["services"][0]["namespaces"][0]["hosts"][0]["host"] == "host-1"
    };
    wait_until("the host is shown", connected);
    let explained = web.get("/v1/explain?source=192.168.123.1&destination=192.168.123.2").json();
    assert_eq!(
        (&explained["live"], &explained["status"]),
        (&json!(true), &json!(1)),
        "{explained}"
    );
    let unclear = web.get("/v1/explain?source=192.168.123.1");
    assert_eq!(unclear.status, 400);
    assert!(unclear.json()["error"].as_str().unwrap().contains("`destination` is missing"));

    let overview = web.get("/v1/overview").json();
    assert_eq!((&overview["hosts"], &overview["role"]), (&json!(1), &json!("admin")), "{overview}");
    let hosts = web.get("/v1/hosts?search=HOST-1&sort=name&per_page=1").json();
    assert_eq!(
        (&hosts["total"], &hosts["items"][0]["host"]),
        (&json!(1), &json!("host-1")),
        "{hosts}"
    );
    assert_eq!(web.get("/v1/hosts?search=nobody").json()["total"], 0);
    assert_eq!(web.get("/v1/namespaces").json()["items"][0]["routes"], 2);
    let dead = web.get("/v1/routes?dead=true&search=192.168.123.2").json();
    assert_eq!(dead["items"][0]["connected"], false, "{dead}");
    for path in ["/v1/traffic", "/v1/drops", "/v1/series?names=hosts", "/v1/problems"] {
        assert!(web.get(path).json().is_object(), "{path}");
    }
    // A host that joins by what it is given; what the hub lacks for it is a line that goes into the list as it is.
    let join = "/v1/join?host=host-7&addresses=192.168.123.7/24,fd00::7/64&hub=10.0.0.1";
    let asked = web.get(join).json();
    let command =
        "rtun -L 'tun:///host-7?net=192.168.123.7/24,fd00::7/64' -F 'router://10.0.0.1:8443'";
    assert_eq!(asked["command"], command, "{asked}");
    assert_eq!((&asked["fingerprint"], &asked["transport"]), (&Value::Null, &json!("tcp")));
    assert!(!asked["file"].as_str().unwrap().contains("auth:"), "no users: {asked}");
    let line = "- {dst: 192.168.123.7/32, gateway: \"host-7\"}";
    let missing = &asked["missing"];
    assert_eq!((&missing[0]["list"], &missing[0]["line"]), (&json!("routers"), &json!(line)));
    assert_eq!(missing[1]["line"], "- {dst: fd00::7/128, gateway: \"host-7\"}", "{missing}");
    let there = web.get("/v1/join?host=host-1&addresses=192.168.123.1/24").json();
    assert_eq!(there["missing"], json!([]), "{there}");
    assert!(there["command"].as_str().unwrap().contains("'router://HUB:8443'"), "{there}");
    for wrong in [
        "host=h",
        "host=h&addresses=x",
        "host=h&addresses=::1/64&hub=a/b",
        "host=h&addresses=::1/64&transport=ws",
    ] {
        let answer = web.get(&format!("/v1/join?{wrong}"));
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.body);
    }
    let scan =
        || std::io::Write::write_all(&mut std::net::TcpStream::connect("127.0.0.1:8443")?, b"GET");
    world.hub.run(scan).unwrap().unwrap();
    let problem = || web.get("/v1/problems").json()["problems"][0].clone();
    wait_until("a problem", || {
        problem()["what"].as_str().is_some_and(|it| it.contains("bad_version"))
    });
    assert!(problem()["remedy"].as_str().unwrap().contains("scanner"), "{}", problem());
    let sampling = json!({"enabled": true, "for": 60});
    assert_eq!(web.send("POST", "/v1/drops/sampling", &sampling).json()["sampling"], true);
    for path in [
        "/v1/hosts?page=x",
        "/v1/hosts?sort=x",
        "/v1/hosts?namespace=x",
        "/v1/routes?unused_for=-1",
    ] {
        assert_eq!(web.get(path).status, 400, "{path}");
    }
    let address = web.address.clone();
    let events = world.hub.run(move || {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        write!(stream, "GET /v1/events?since=0 HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        let (mut events, mut part) = (String::new(), [0; 4096]);
        while !events.contains("host_joined") {
            let read = stream.read(&mut part).unwrap();
            assert!(read > 0, "{events}");
            events.push_str(&String::from_utf8_lossy(&part[..read]));
        }
        events
    });
    let events = events.unwrap();
    assert!(
        events.contains("text/event-stream") && events.contains("id: 1\nevent: event\ndata: {"),
        "{events}"
    );
    hub.stop();
    assert!(!pings(&one, "192.168.123.2"));
}

#[test]
fn a_unix_socket_is_for_its_user_alone() {
    let Some(world) = World::new() else { return };
    let socket = world.file("api.sock", "");
    fs::remove_file(&socket).unwrap();
    let api = format!("api: {{addr: 'unix://{}', pathPrefix: /rtun}}\n", socket.display());
    let hub = world.hub(&HUB.replace("api: {addr: 127.0.0.1:18080}\n", &api));
    hub.wait_for("the Web API is served");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let ask = |path: &str| {
        use std::io::{Read as _, Write as _};
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("/rtun/config/routers").contains("host-2"));
    assert!(ask("/config/routers").starts_with("HTTP/1.0 404"));
    assert!(ask("/rtunx/config").starts_with("HTTP/1.0 404"));
    hub.stop();
    assert!(!socket.exists());
}
