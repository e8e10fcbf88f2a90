//! What `rtun status` says about running hubs and hosts, and to whom.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener, process::CommandExt},
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use common::{Rtun, THREE_HOSTS, World, raw::RawHost, reaches, wait_until};
use nix::sys::signal::Signal;
use rtun_proto::extension::Capabilities;
use rtun_tls::Authority;
use serde_json::Value;

/// `rtun status` as somebody runs it whose runtime folder this is.
fn status(folder: &Path, arguments: &[&str]) -> Output {
    command(Path::new(env!("CARGO_BIN_EXE_rtun")), folder, arguments).output().unwrap()
}

fn command(program: &Path, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.arg("status").args(arguments).env_clear().env("RUNTIME_DIRECTORY", folder);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The status of the process whose socket this is.
fn json(socket: &Path) -> Value {
    let output = status(Path::new("/nowhere"), &["--json", "--socket", socket.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut all: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(all.as_array().map(Vec::len), Some(1), "{all}");
    all[0].take()
}

/// A page of metrics of a process in this namespace.
fn scrape(machine: &rtun_lab::NetNamespace, port: u16, path: &str) -> String {
    let path = path.to_owned();
    let page = machine.run(move || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        let mut page = String::new();
        std::io::Read::read_to_string(&mut stream, &mut page).unwrap();
        page
    });
    page.unwrap()
}

fn socket_of(rtun: &Rtun) -> std::path::PathBuf {
    rtun.wait_for("control socket is open")["path"].as_str().unwrap().into()
}

#[test]
fn a_hub_and_a_host_tell_how_they_go() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(THREE_HOSTS);
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let hosts = [world.join(&one, 1), world.join(&two, 2)];
    reaches(&one, "192.168.123.2");
    hosts[0].wait_for("joined the hub");
    let mut standing =
        RawHost::join_greeting(&world.machine("old"), "host-3", 1, Capabilities::NONE);
    let _newer = RawHost::join(&world.machine("new"), "host-3");
    standing.send(&common::raw::udp("10.9.9.9", "192.168.123.1", b"from nowhere"));

    let at_hub = socket_of(&hub);
    wait_until("the drop is counted", || {
        json(&at_hub)["services"][0]["namespaces"][0]["traffic"]["drops"]["src_not_allowed"] == 1
    });
    let report = json(&at_hub);
    let workers = std::thread::available_parallelism().unwrap().get();
    let tasks = report["tasks"]["workers"].as_array().unwrap();
    assert_eq!(tasks.len(), workers);
    // Each of four associations has at least one.
    assert!(tasks.iter().map(|tasks| tasks.as_u64().unwrap()).sum::<u64>() >= 4, "{tasks:?}");
    assert!(report["tasks"]["main"].as_u64().unwrap() > 0);
    let service = &report["services"][0];
    assert_eq!((&service["name"], &service["kind"]), (&"service-0".into(), &"hub".into()));
    let listen = serde_json::json!([
        {"address": "[::]:8443", "transport": "tcp", "path": null, "certificate": null}
    ]);
    assert_eq!(service["listen"], listen);
    assert_eq!(service["admitted"], 4);
    assert_eq!(service["queue_budget"], 256 * 1024 * 1024);
    let namespace = &service["namespaces"][0];
    assert_eq!(namespace["routes"], 3);
    let hosts_seen = namespace["hosts"].as_array().unwrap();
    let seen: Vec<_> = hosts_seen
        .iter()
        .map(|host| (host["host"].as_str().unwrap(), host["carries"].as_bool().unwrap()))
        .collect();
    assert_eq!(seen, [("host-1", true), ("host-2", true), ("host-3", true), ("host-3", false)]);
    assert_eq!(hosts_seen[0]["transport"], "tcp");
    assert_eq!(hosts_seen[0]["software"], concat!("rtun/", env!("CARGO_PKG_VERSION")));
    assert_eq!(hosts_seen[0]["mtu"], 1420);
    assert!(hosts_seen[0]["traffic"]["packets_in"].as_u64().unwrap() > 0);
    assert_eq!(hosts_seen[2]["software"], Value::Null, "says nothing of itself");

    let output = status(Path::new("/nowhere"), &["--socket", at_hub.to_str().unwrap()]);
    let shown = text(&output.stdout);
    assert!(output.status.success() && shown.is_ascii(), "{shown}");
    assert!(shown.contains("Hub service-0   listens on tcp [::]:8443\n"), "{shown}");
    assert!(shown.contains("Namespace default   3 routes, 4 hosts"), "{shown}");
    assert!(shown.contains("host-3 (standby)") && shown.contains("src_not_allowed 1"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");

    let at_host = socket_of(&hosts[0]);
    let report = json(&at_host);
    let service = &report["services"][0];
    assert_eq!((&service["kind"], &service["host"]), (&"host".into(), &"host-1".into()));
    assert_eq!(service["connection"]["hub"], "server_ip:8443");
    assert_eq!(service["connection"]["rtun"], true);
    assert_eq!((&service["joined"], &service["last_error"]), (&1.into(), &Value::Null));

    hub.stop();
    assert!(!at_hub.exists(), "an orderly end leaves nothing behind");
    wait_until("the loss of the hub shows", || {
        json(&at_host)["services"][0]["connection"].is_null()
    });
    let output = status(Path::new("/nowhere"), &["--socket", at_host.to_str().unwrap()]);
    let shown = text(&output.stdout);
    let (problems, rest) = shown.split_once("Host ").unwrap();
    assert!(
        problems.contains("Problems") && problems.contains("not connected: server_ip:8443"),
        "{shown}"
    );
    assert!(rest.contains("hub           not connected"), "{shown}");
}

#[test]
fn ways_in_and_the_ends_of_their_certificates_are_told() {
    const DAY: u64 = 24 * 60 * 60;
    let Some(world) = World::new() else { return };
    let (authority, own) = Authority::make("authority", Duration::from_secs(400 * DAY)).unwrap();
    world.file("ca.pem", &own.certificate);
    let save = |name: &str, days: u64| {
        let names = ["hub.example".to_owned()];
        let issued = authority.server(&names, Duration::from_secs(days * DAY + 60)).unwrap();
        world.file(&format!("{name}.pem"), &issued.certificate);
        world.file(&format!("{name}.key"), &issued.key);
        issued.info.sha256.to_string()
    };
    let [long, short] = [save("long", 300), save("short", 20)];
    let config = THREE_HOSTS.replace(
        "listener: {type: tcp}",
        "listener: {type: tls, tls: {certFile: long.pem, keyFile: long.key}}
  listeners:
  - {type: quic, tls: {certFile: short.pem, keyFile: short.key}}
  - {type: tcp, addr: ':8444'}",
    ) + "metrics: {addr: '127.0.0.1:9000'}\n";
    let hub = world.hub(&config);
    let socket = socket_of(&hub);
    let listen = json(&socket)["services"][0]["listen"].take();
    let said: Vec<_> = listen
        .as_array()
        .unwrap()
        .iter()
        .map(|way| {
            let certificate = &way["certificate"];
            let days = certificate["expires_in"].as_f64().map(|left| left as u64 / DAY);
            let fingerprint = certificate["fingerprint"].as_str().map(str::to_owned);
            let text = |key: &str| way[key].as_str().unwrap().to_owned();
            (text("transport"), text("address"), days, fingerprint)
        })
        .collect();
    let way = |transport: &str, address: &str, days, fingerprint| {
        (transport.to_owned(), address.to_owned(), days, fingerprint)
    };
    let expected = [
        way("tls", "[::]:8443", Some(300), Some(long)),
        way("quic", "[::]:8443", Some(20), Some(short)),
        way("tcp", "[::]:8444", None, None),
    ];
    assert_eq!(said, expected);

    let output = status(Path::new("/nowhere"), &["--socket", socket.to_str().unwrap()]);
    let shown = text(&output.stdout);
    assert!(shown.contains("quic [::]:8443: its certificate ends in 20d 0h\n"), "{shown}");
    assert!(shown.contains("listens on tls [::]:8443\n  and on   quic [::]:8443, "), "{shown}");
    assert!(shown.contains("\n  and on   tcp [::]:8444\n"), "{shown}");
    let page = scrape(&world.hub, 9000, "/metrics");
    let left = |listener: &str| {
        let series = format!(
            "rtun_tls_cert_expiry_seconds{{service=\"service-0\",listener=\"{listener}\"}} "
        );
        let line = page.lines().find_map(|line| line.strip_prefix(&series));
        line.map(|value| value.parse::<f64>().unwrap() as u64 / DAY)
    };
    let left = ["tls://[::]:8443", "quic://[::]:8443", "tcp://[::]:8444"].map(left);
    assert_eq!(left, [Some(300), Some(20), None], "{page}");

    // Over QUIC packets of rtun hosts go as datagrams, and both ends say so.
    let (one, two) = (world.machine("one"), world.machine("two"));
    let join = |machine: &rtun_lab::NetNamespace, n: u8, transport: &str| {
        let service = format!("tun:///host-{n}?net=192.168.123.{n}/24");
        let node = format!("router+{transport}://server_ip:8443");
        world.start(machine, &["-L", &service, "-F", &node])
    };
    let hosts = [join(&one, 1, "quic"), join(&two, 2, "tls")];
    reaches(&one, "192.168.123.2");
    let at_hub = json(&socket);
    let seen = at_hub["services"][0]["namespaces"][0]["hosts"].as_array().unwrap();
    let seen: Vec<_> = seen.iter().map(|host| host["datagrams"].as_bool().unwrap()).collect();
    assert_eq!(seen, [true, false]);
    for (host, (transport, datagrams)) in hosts.iter().zip([("quic", true), ("tls", false)]) {
        let at_host = json(&socket_of(host));
        let connection = &at_host["services"][0]["connection"];
        assert_eq!(connection["transport"], transport);
        assert_eq!(connection["datagrams"], datagrams);
    }
    let socket = socket_of(&hosts[0]);
    let output = status(Path::new("/nowhere"), &["--socket", socket.to_str().unwrap()]);
    assert!(text(&output.stdout).contains(" over quic for "), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains(", datagrams\n"), "{}", text(&output.stdout));
}

#[test]
fn all_of_a_machine_are_found_and_the_dead_are_forgotten() {
    let Some(world) = World::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = world.file("hub.yaml", THREE_HOSTS);
    let start = |name: &str| {
        let machine = world.machine(name);
        let mut rtun = Command::new(env!("CARGO_BIN_EXE_rtun"));
        rtun.arg("-C").arg(&config).env("RUNTIME_DIRECTORY", folder.path());
        rtun.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        machine.spawn(rtun).unwrap()
    };
    let (first, second) = (start("first"), start("second"));
    let pids = || {
        let output = status(folder.path(), &["--json"]);
        let all: Value = serde_json::from_slice(&output.stdout).unwrap();
        let all = all.as_array().unwrap();
        all.iter().map(|one| one["pid"].as_u64().unwrap() as u32).collect::<Vec<_>>()
    };
    let both = [first.id(), second.id()];
    wait_until("both", || both.iter().all(|pid| pids().contains(pid)));

    let killed = folder.path().join(format!("{}.sock", first.id()));
    assert!(killed.exists());
    first.kill().unwrap();
    assert!(!pids().contains(&first.id()) && pids().contains(&second.id()));
    assert!(!killed.exists(), "swept");

    let ended = folder.path().join(format!("{}.sock", second.id()));
    second.signal(Signal::SIGTERM).unwrap();
    assert!(second.wait(Duration::from_secs(5)).unwrap().unwrap().success());
    assert!(!ended.exists());
}

#[test]
fn where_nobody_runs_it_says_where_it_looked() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("1.sock");
    let output = status(folder.path(), &["--socket", socket.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no process listens there"), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
}

#[test]
fn what_a_stranger_answers_is_escaped_and_what_is_no_answer_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let answers = ["{\"error\":\"\\u001b[2Jgone\"}\n", "\x1b[2J\n", ""];
    let server = std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            std::io::Write::write_all(&mut stream, answer.as_bytes()).unwrap();
        }
    });
    for expected in ["\\u{1b}[2Jgone", "the answer cannot be read", "Broken pipe|end of file"] {
        let output = status(folder.path(), &["--socket", path.to_str().unwrap()]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(expected.split('|').any(|expected| said.contains(expected)), "{said}");
        assert!(!said.contains('\x1b'), "{said:?}");
    }
    server.join().unwrap();
}

#[test]
fn another_user_is_told_nothing() {
    if !nix::unistd::geteuid().is_root() {
        // Nobody else can be anybody else.
        return;
    }
    let Some(world) = World::new() else { return };
    let hub = world.hub(THREE_HOSTS);
    let socket = socket_of(&hub);
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("rtun");
    fs::copy(env!("CARGO_BIN_EXE_rtun"), &program).unwrap();
    let as_nobody = |socket: &Path| {
        let mut command = command(&program, folder.path(), &["--socket", socket.to_str().unwrap()]);
        command.uid(65_534).gid(65_534).current_dir("/").output().unwrap()
    };
    let output = as_nobody(&socket);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("belongs to another user"), "{}", text(&output.stderr));

    // Even if somebody has opened the file permissions for them.
    let open = folder.path().join("open.sock");
    fs::rename(&socket, &open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
    let output = as_nobody(&open);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("only root and the user"), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
    json(&open);
}

#[test]
fn a_source_that_fails_shows_first_and_metrics_say_the_same() {
    let Some(world) = World::new() else { return };
    let routes = world.file("routes.txt", "192.168.123.1 host-1\n192.168.123.2 host-2\nnonsense\n");
    let config = "
services:
- name: service-0
  addr: :8443
  handler: {type: router, metadata: {router: router-0}}
  listener: {type: tcp}
routers:
- name: router-0
  reload: 1s
  file: {path: routes.txt}
metrics: {addr: '127.0.0.1:9000', path: /m}
";
    let hub = world.hub(config);
    let socket = socket_of(&hub);
    let one = world.machine("host-1");
    let service = "tun:///host-1?net=192.168.123.1/24&name=tun9";
    let arguments = ["-L", service, "-F", "router://server_ip:8443", "-metrics", "127.0.0.1:9001"];
    let host = world.start(&one, &arguments);
    host.wait_for("joined the hub");
    assert_eq!(json(&socket)["sources"][0]["rows"], 2);
    fs::remove_file(routes).unwrap();
    wait_until("the failure shows", || json(&socket)["sources"][0]["state"] == "failing");

    let output = status(Path::new("/nowhere"), &["--socket", socket.to_str().unwrap()]);
    let shown = text(&output.stdout);
    let problems = shown.split("\n\n").nth(1).unwrap();
    assert!(problems.starts_with("Problems\n"), "{shown}");
    assert!(problems.contains("router router-0  1 line left out; line 3: "), "{shown}");
    assert!(problems.contains("source fails for "), "{shown}");
    assert!(shown.contains("failing") && shown.contains("routes.txt"), "{shown}");
    assert!(shown.contains("Namespace default   2 routes, 1 host"), "the good rows stay: {shown}");

    let page = scrape(&world.hub, 9000, "/m");
    let of_source = |name: &str| {
        let prefix = format!("{name}{{kind=\"router\",name=\"router-0\",source=\"");
        let line =
            page.lines().find(|line| line.starts_with(&prefix)).unwrap_or_else(|| panic!("{page}"));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert_eq!(of_source("rtun_reload_lines_skipped"), 1.0);
    assert_eq!(of_source("rtun_source_rows"), 2.0);
    assert!(of_source("rtun_reload_age_seconds") > 0.0);
    assert!(page.contains("\nrtun_sessions{transport=\"tcp\"} 1"), "{page}");

    let page = scrape(&one, 9001, "/metrics");
    let connected = page.lines().find(|line| line.starts_with("rtun_device_connected{"));
    assert!(
        connected.is_some_and(|line| line.ends_with("} 1.0") || line.ends_with("} 1")),
        "{page}"
    );
    assert!(
        page.lines().any(|line| {
            line.starts_with("gost_chain_node_connect_duration_seconds_count{")
                && line.ends_with(" 1")
        }),
        "{page}"
    );
}
