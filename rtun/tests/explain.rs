//! What `rtun explain` and `rtun check --reach` say: by files, and of a running hub whose counters then have to agree.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use common::{
    Rtun, World,
    raw::{Answer, RawHost, request},
    wait_until,
};
use rtun_core::{
    NamespaceId,
    explain::{Because, Conclusion, HubExplanation, Presence},
};
use rtun_node::{
    AskedAddress, Explained, Inquiry,
    control_socket::{ControlRequest, ask},
};
use serde_json::Value;

const PAGE: &str = include_str!("../../docs/explain.md");
const RED: &str = "e87f56dd-fd57-4921-9ab8-a0847662daae";
const BLUE: &str = "ef502590-c5f4-437e-a81f-fe4083505075";

fn rtun(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rtun"));
    command.args(arguments).current_dir(folder).env_clear();
    command.env("RTUN_SOCKET", folder.join("none.sock")).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn tutorial() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tutorial")
}

/// The fenced blocks of the page with this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let opening = format!("```{language}\n");
    PAGE.split(&*opening).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn the_page_shows_what_is_really_said() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hub.yaml"), blocks("yaml")[0]).unwrap();
    std::fs::write(folder.path().join("red.txt"), blocks("text")[0]).unwrap();
    std::fs::write(folder.path().join("server.yaml"), blocks("yaml")[1]).unwrap();
    let examples = blocks("console");
    assert_eq!(examples.len(), 7);
    for example in examples {
        let (command, shown) = example.strip_prefix("$ rtun ").unwrap().split_once('\n').unwrap();
        let output = rtun(folder.path(), &command.split(' ').collect::<Vec<_>>());
        assert_eq!(text(&output.stdout), shown, "{command}");
    }
}

#[test]
fn exit_statuses_tell_what_becomes_of_the_packet() {
    let folder = tutorial();
    let (routes, ingress, namespaces) =
        ("server-routes.yaml", "server-ingress.yaml", "server-namespaces.yaml");
    for (arguments, status, said) in [
        (vec!["-C", routes, "192.168.123.1", "192.168.200.7"], 0, "delivered to host-2"),
        (vec!["-C", routes, "192.168.123.1", "192.168.100.7"], 1, "dropped: hairpin"),
        (vec!["-C", routes, "192.168.123.1", "10.0.0.1"], 1, "dropped: no_route"),
        (vec!["-C", routes, "10.0.0.1", "192.168.123.1"], 1, "dropped: src_not_allowed"),
        (vec!["-C", routes, "192.168.123.1", "224.0.0.5"], 1, "dropped: ip_disallowed_dst"),
        (vec!["-C", routes, "192.168.123.1", "::1"], 64, "both"),
        (vec!["-C", routes, "192.168.123.1"], 64, "DST"),
        (vec!["-C", routes, "--service", "x", "1.1.1.1", "1.1.1.1"], 64, "there is: service-0"),
        (vec!["-C", namespaces, "192.168.123.1", "192.168.123.2"], 64, BLUE),
        (vec!["-C", namespaces, "--namespace", RED, "192.168.123.1", "192.168.123.2"], 0, "host-2"),
        (vec!["-C", namespaces, "--namespace", RED, "10.0.0.1", "10.0.0.2"], 1, "plugin router-0"),
        (
            vec!["-C", ingress, "--namespace", RED, "192.168.123.1", "192.168.123.2"],
            1,
            "dropped: no_gateway_connected",
        ),
        (vec!["-C", routes, "02:00:00:00:00:01", "02:00:00:00:00:02"], 64, "goes by IP addresses"),
        (vec!["-C", routes, "1.1.1.1", "02:00:00:00:00:02"], 64, "both hardware addresses"),
        (vec!["-C", "host-1.yaml", "1.1.1.1", "1.1.1.1"], 64, "no hub"),
        (vec!["-C", "missing.yaml", "1.1.1.1", "1.1.1.1"], 78, "missing.yaml"),
    ] {
        let output = rtun(&folder, &[&["explain"], &*arguments].concat());
        let all = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {all}");
        assert!(all.contains(said), "{arguments:?}: {all}");
        if status < 2 {
            let json = rtun(&folder, &[&["explain", "--json"], &*arguments].concat());
            let json: Value = serde_json::from_slice(&json.stdout).unwrap();
            assert_eq!((&json["status"], &json["live"]), (&status.into(), &false.into()));
        }
    }
}

#[test]
fn sources_that_were_not_asked_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = "
services:
- {name: hub, addr: ':8443', handler: {type: router, metadata: {router: r}}, listener: {type: tcp}}
routers:
- name: r
  routes:
  - {dst: 10.0.0.1, gateway: a}
  - {dst: 10.0.0.2, gateway: b}
  file: {path: missing.txt}
  redis: {addr: '127.0.0.1:6379', password: secret, key: routes}
  http: {url: 'https://user:secret@example.org/routes?token=secret'}
";
    std::fs::write(folder.path().join("hub.yaml"), config).unwrap();
    let output = rtun(folder.path(), &["explain", "-C", "hub.yaml", "10.0.0.1", "10.0.0.2"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    for source in [
        "not asked  router r: file missing.txt: No such file",
        "not asked  router r: redis 127.0.0.1:6379 key routes",
        "not asked  router r: https://example.org/routes\n",
    ] {
        assert!(said.contains(source), "{said}");
    }
    assert!(!said.contains("secret"), "{said}");
}

/// The reach of each namespace, by `rtun check --json`.
fn reach(folder: &Path, file: &str) -> (BTreeMap<String, Vec<String>>, Value) {
    let output = rtun(folder, &["check", "--json", file]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let hub = &json["reach"][0];
    let namespaces = hub["namespaces"].as_array().unwrap().iter().map(|namespace| {
        assert_eq!(namespace["truncated"], false);
        let pairs = namespace["pairs"].as_array().unwrap();
        assert_eq!(namespace["pairs_total"], pairs.len());
        let word = |pair: &Value, key: &str| pair[key].as_str().unwrap().to_owned();
        let pairs = pairs.iter().map(|pair| word(pair, "from") + " " + &word(pair, "to"));
        (word(namespace, "namespace"), pairs.collect())
    });
    (namespaces.collect(), hub["shared"].clone())
}

#[test]
fn who_reaches_whom_can_be_asserted() {
    let (reaches, shared) = reach(&tutorial(), "server-namespaces.yaml");
    let both = vec!["host-1 host-2".to_owned(), "host-2 host-1".to_owned()];
    let expected = [(RED, both.clone()), (BLUE, both), ("*", vec![])];
    assert_eq!(reaches, expected.map(|(id, pairs)| (id.to_owned(), pairs)).into());
    assert_eq!(shared["any_host_any_namespace"], true);
    assert_eq!(shared["default_routers"][0]["router"], "router-0");
    assert_eq!(shared["hosts"][0]["host"], "host-1");
    assert_eq!(shared["hosts"][0]["namespaces"], serde_json::json!([RED, BLUE]));

    let (reaches, _) = reach(&tutorial(), "server-ingress.yaml");
    assert!(reaches.values().all(Vec::is_empty), "no gateway may join: {reaches:?}");
}

#[test]
fn many_hosts_are_counted_and_not_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let mut routes = String::new();
    for n in 0..400 {
        routes += &format!("10.0.{}.{} host-{n}\n", n / 250, n % 250 + 1);
    }
    std::fs::write(folder.path().join("routes.txt"), routes).unwrap();
    let config = "
services:
- {name: hub, addr: ':8443', handler: {type: router, metadata: {router: r}}, listener: {type: tcp}}
routers:
- name: r
  file: {path: routes.txt}
";
    std::fs::write(folder.path().join("hub.yaml"), config).unwrap();
    let output = text(&rtun(folder.path(), &["check", "--reach", "hub.yaml"]).stdout);
    assert!(output.contains("every namespace: 400 hosts, 159600 ways\n  multicast"), "{output}");
    let json = rtun(folder.path(), &["check", "--json", "hub.yaml"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let namespace = &json["reach"][0]["namespaces"][0];
    assert_eq!(
        (&namespace["pairs_total"], &namespace["truncated"]),
        (&159_600.into(), &true.into())
    );
    assert_eq!(namespace["pairs"].as_array().unwrap().len(), 100_000);
}

fn socket_of(rtun: &Rtun) -> PathBuf {
    rtun.wait_for("control socket is open")["path"].as_str().unwrap().into()
}

/// A hub of two tenants whose tables overlap, contradict each other and end in a shared default router.
const TENANTS: &str = "
services:
- name: hub
  addr: :8443
  handler: {type: router, metadata: {router: router-0, ttl: true}}
  listener: {type: tcp}
routers:
- name: e87f56dd-fd57-4921-9ab8-a0847662daae
  file: {path: red.txt}
  routes:
  - {dst: 10.0.0.0/28, gateway: h0}
  - {dst: 10.0.0.16/28, gateway: h1}
  - {dst: 10.0.0.0/27, gateway: h2}
  - {dst: 10.0.0.32/28, gateway: away}
  - {dst: 10.0.0.8/29, gateway: h1}
  - {dst: 10.0.0.8/29, gateway: h2}
- name: ef502590-c5f4-437e-a81f-fe4083505075
  routes:
  - {dst: 10.0.0.0/28, gateway: h1}
  - {dst: 10.0.0.16/28, gateway: h0}
- name: router-0
  routes:
  - {dst: 10.0.0.0/25, gateway: h2}
  - {dst: 'fd00::/120', gateway: h0}
  - {dst: 'fd00::80/121', gateway: h1}
";

const RED_ROWS: &str = "
10.0.0.8/29 h2
10.0.0.4 h1
10.0.0.48/28 h2
";

fn inquiry(source: IpAddr, destination: IpAddr, from: Option<&str>, namespace: &str) -> Inquiry {
    Inquiry {
        source: AskedAddress::Ip(source),
        destination: AskedAddress::Ip(destination),
        from: from.map(str::to_owned),
        namespace: Some(namespace.to_owned()),
        service: None,
        ttl: 64,
        vlan: 0,
    }
}

fn explain(socket: &Path, inquiry: Inquiry) -> HubExplanation {
    let answer = ask(socket, &ControlRequest::Explain(inquiry)).unwrap();
    match serde_json::from_value(answer).unwrap() {
        Explained::Found(mut found) if found.hubs.len() == 1 => found.hubs.remove(0),
        other => panic!("{other:?}"),
    }
}

fn packet(source: IpAddr, destination: IpAddr, hops: u8) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut bytes = vec![0x45, 0, 0, 20, 0, 0, 0, 0, hops, 59, 0, 0];
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut bytes = vec![0x60, 0, 0, 0, 0, 0, 59, hops];
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes
        }
        _ => panic!("mixed families"),
    }
}

/// What a namespace has counted: drops by reason, and packets out by host.
fn counted(socket: &Path, namespace: &str) -> (u64, BTreeMap<String, u64>) {
    let status = ask(socket, &ControlRequest::Status).unwrap();
    let namespaces = status["services"][0]["namespaces"].as_array().unwrap();
    let namespace = namespaces.iter().find(|ns| ns["id"] == namespace).unwrap();
    let traffic = &namespace["traffic"];
    let mut counts = BTreeMap::new();
    for (reason, count) in traffic["drops"].as_object().unwrap() {
        counts.insert(reason.clone(), count.as_u64().unwrap());
    }
    for host in namespace["hosts"].as_array().unwrap() {
        let name = host["host"].as_str().unwrap();
        let out = host["traffic"]["packets_out"].as_u64().unwrap();
        *counts.entry(format!("to {name}")).or_default() += out;
    }
    counts.retain(|_, count| *count > 0);
    (traffic["packets_in"].as_u64().unwrap(), counts)
}

/// Random packets of hosts in two namespaces: before each the hub is asked, after it exactly the counter that was
/// foretold has moved.
#[test]
fn each_prediction_is_the_counter_that_moves() {
    let Some(world) = World::new() else { return };
    world.file("red.txt", RED_ROWS);
    let hub = world.hub(TENANTS);
    let socket = socket_of(&hub);
    let machine = world.machine("hosts");
    let mut hosts = Vec::new();
    for namespace in [RED, BLUE] {
        let id = *namespace.parse::<NamespaceId>().unwrap().as_bytes();
        for name in ["h0", "h1", "h2"] {
            if (namespace, name) == (BLUE, "h2") {
                continue;
            }
            let mut raw = RawHost::connect(&machine);
            assert_eq!(raw.ask(&request(name, id)), Answer::Status(0));
            hosts.push((namespace, name, raw));
        }
    }
    let mut random = fastrand::Rng::with_seed(7);
    let mut met: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..600 {
        let pick = random.usize(..hosts.len());
        let (namespace, name, raw) = &mut hosts[pick];
        let v6 = random.u8(..6) == 0;
        let mut address = || -> IpAddr {
            match (random.u8(..12), v6) {
                (0, false) => random.choice(["224.0.0.1", "127.0.0.1", "0.0.0.0"].map(ip)).unwrap(),
                (0, true) => random.choice(["ff02::1", "::1", "fe80::1"].map(ip)).unwrap(),
                (_, false) => IpAddr::from([10, 0, 0, random.u8(..140)]),
                (_, true) => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, random.u16(..256)]),
            }
        };
        let (source, destination) = (address(), address());
        let ttl = random.choice([1, 2, 64]).unwrap();
        let asked = Inquiry { ttl, ..inquiry(source, destination, Some(name), namespace) };
        let foretold = match explain(&socket, asked).explanation.conclusion {
            Conclusion::Delivered { to } => format!("to {to}"),
            Conclusion::Dropped { reason } => reason.as_str().to_owned(),
            Conclusion::Copied { to } => panic!("no route for many, and {to:?}"),
            Conclusion::Asks { .. } => panic!("there is no plugin"),
        };
        let (before_in, mut expected) = counted(&socket, namespace);
        *expected.entry(foretold.clone()).or_default() += 1;
        raw.send(&packet(source, destination, ttl));
        let what =
            format!("{name} of {namespace}: {source} to {destination}, ttl {ttl}: {foretold}");
        wait_until(&what, || counted(&socket, namespace) == (before_in + 1, expected.clone()));
        *met.entry(foretold.split(' ').next().unwrap().to_owned()).or_default() += 1;
    }
    let words: Vec<&str> = met.keys().map(String::as_str).collect();
    assert_eq!(
        words,
        [
            "hairpin",
            "ip_disallowed_dst",
            "no_gateway_connected",
            "no_route",
            "src_not_allowed",
            "to",
            "ttl_expired"
        ],
        "{met:?}"
    );
    drop(hosts);
    hub.stop();
}

#[test]
fn a_running_hub_explains_with_its_rows_and_connections() {
    let Some(world) = World::new() else { return };
    let rows = world.file("red.txt", RED_ROWS);
    let hub = world.hub(TENANTS);
    let socket = socket_of(&hub);
    let machine = world.machine("hosts");
    let id = *RED.parse::<NamespaceId>().unwrap().as_bytes();
    let join = |name: &str| {
        let mut raw = RawHost::connect(&machine);
        assert_eq!(raw.ask(&request(name, id)), Answer::Status(0));
        raw
    };
    let _hosts = [join("h0"), join("h2"), join("h2")];
    let asked = || inquiry(ip("10.0.0.1"), ip("10.0.0.9"), None, RED);
    let explained = explain(&socket, asked()).explanation;
    assert_eq!(explained.sender.map(|sender| sender.host).as_deref(), Some("h0"));
    let row = explained.destination.row.unwrap();
    assert_eq!((&*row.source, row.line, &*row.gateway), ("red.txt", 2, "h2"));
    let passed: Vec<_> =
        explained.destination.passed_over.iter().map(|p| (p.row.line, p.because)).collect();
    assert_eq!(
        passed,
        [
            (15, Because::StandsBy),
            (16, Because::LowerSource),
            (11, Because::ShorterPrefix),
            (13, Because::ShorterPrefix),
            (23, Because::RouterNotAsked),
        ]
    );
    let Presence::Connected { connections } = explained.gateway.unwrap().presence else {
        panic!("it is connected");
    };
    let standby: Vec<bool> = connections.iter().map(|c| c.standing_by).collect();
    assert_eq!(standby, [false, true]);

    let arguments = ["explain", "--namespace", RED, "--socket", socket.to_str().unwrap()];
    let said = |addresses: [&str; 2]| {
        let output = rtun(Path::new("/"), &[&arguments[..], &addresses].concat());
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let (status, shown) = said(["10.0.0.1", "10.0.0.9"]);
    assert_eq!(status, Some(0), "{shown}");
    assert!(shown.contains("red.txt:2  10.0.0.8/29 -> h2"), "{shown}");
    assert!(
        shown.contains(
            "(tcp), 0 packets queued, standing by\nor         h1 is not connected\nverdict"
        ),
        "{shown}"
    );
    let (status, shown) = said(["10.0.0.1", "10.0.0.33"]);
    assert_eq!(status, Some(1), "{shown}");
    assert!(shown.contains("dropped: no_gateway_connected"), "{shown}");

    std::fs::write(rows, "10.0.0.8/29 h2\n10.0.0.4 h1\n").unwrap();
    wait_until("the new row", || {
        let row = explain(&socket, asked()).explanation.destination.row.unwrap();
        (row.line, &*row.gateway) == (1, "h2")
    });
    let unclear =
        ask(&socket, &ControlRequest::Explain(Inquiry { namespace: None, ..asked() })).unwrap();
    assert!(unclear.to_string().contains(BLUE), "{unclear}");
    let wrong = Inquiry { namespace: Some("x".into()), ..asked() };
    let error = ask(&socket, &ControlRequest::Explain(wrong)).unwrap_err().to_string();
    assert!(error.contains("not a UUID"), "{error}");
    hub.stop();
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
