//! What somebody sees who starts rtun where GOST ran: files with services of other kinds, several processes, habits of the command line.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use common::{
    SOON,
    raw::{Answer, request, request_as},
    wait_until,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

const MIXED: &str = "
services:
- name: hub
  addr: 127.0.0.1:0
  metadata: {labels: {site: a}}
  handler: {type: router, metadata: {router: main}}
- name: web
  addr: 127.0.0.1:0
  limiter: slow
  handler: {type: http, chain: away}
- name: names
  addr: 127.0.0.1:0
  handler: {type: dns}
  listener: {type: dns}
chains: [{name: away, hops: [{name: h, nodes: [{name: n, addr: 'a:1', connector: {type: relay}, dialer: {type: kcp}}]}]}]
limiters: [{name: slow, limits: ['$ 1MB']}]
routers: [{name: main, routes: [{dst: 10.1.0.0/16, gateway: berlin}]}]
";

/// A folder with files, and the rtun that runs in it.
struct Site(TempDir);

impl Site {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    /// Puts `text` in the place of a file, at once.
    fn replace(&self, name: &str, text: &str) {
        let new = self.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path().join(name)).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rtun"));
        command.args(arguments).current_dir(self.path()).env_clear();
        command.env("RTUN_STATE_DIR", self.path().join("state"));
        command
    }

    /// Standard output and exit status.
    fn output(&self, arguments: &[&str]) -> (String, Option<i32>) {
        let output = self.command(arguments).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    }

    fn start(&self, arguments: &[&str]) -> Running {
        let log = self.path().join("log");
        let file = fs::File::create(&log).unwrap();
        let child = self.command(arguments).stderr(file).stdout(Stdio::null()).spawn().unwrap();
        Running { child, log }
    }
}

/// A process that is killed when it is dropped.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn count(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    fn wait_for(&self, text: &str, times: usize) {
        wait_until(&format!("{times} times {text:?} in\n{}", self.log()), || {
            self.count(text) >= times
        });
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// The addresses in the lines that have `text`.
    fn addresses(&self, text: &str) -> Vec<SocketAddr> {
        let log = self.log();
        let lines = log.lines().filter(|line| line.contains(text));
        let parsed = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        parsed.map(|line| line["address"].as_str().unwrap().parse().unwrap()).collect()
    }
}

fn answers(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

#[test]
fn a_check_ends_with_what_runs_what_is_left_out_and_what_stops_it() {
    let site = Site::new(&[("mixed.yaml", MIXED)]);
    let (said, status) = site.output(&["check", "mixed.yaml"]);
    assert_eq!(status, Some(78));
    let last: Vec<_> = said.lines().rev().take(2).collect();
    assert_eq!(last[1], "would run: `hub` (router)");
    assert!(last[0].starts_with("stopped by: services[1].handler.type (mixed.yaml:"), "{said}");
    let (said, status) = site.output(&["check", "-C", "mixed.yaml", "--only-tunnels", "-D"]);
    assert_eq!(status, Some(1));
    assert!(
        said.ends_with(
            "runs: hub `hub` (tcp on 127.0.0.1:0)\nleft out: `web` (http), `names` (dns)\n"
        ),
        "{said}"
    );
    let (json, _) = site.output(&["check", "--json", "mixed.yaml", "--only-tunnels"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let fates: Vec<_> =
        json["services"].as_array().unwrap().iter().map(|it| it["fate"].clone()).collect();
    assert_eq!(fates, ["runs", "left out", "left out"]);
}

#[test]
fn a_check_takes_the_flags_of_a_start() {
    let site = Site::new(&[("mixed.yaml", MIXED)]);
    let hub = ["-L", "router://127.0.0.1:8443?router=main", "--only-tunnels", "-metrics=:9000"];
    let all = [&["check", "mixed.yaml", "-DD", "-R", "30s"], &hub[..]].concat();
    let (said, status) = site.output(&all);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("hub `service-0` (tcp on 127.0.0.1:8443), metrics on :9000"), "{said}");
    let (said, status) = site.output(&["check", "-C", "mixed.yaml", "-api", ":18080"]);
    assert_eq!(status, Some(78));
    assert!(said.contains("the Web API has no `auther`"), "{said}");
    assert_eq!(site.output(&["check", "-R", "30"]).1, Some(64));
    assert_eq!(site.output(&["check", "-metrics"]).1, Some(64));
    // What is printed is the whole configuration.
    let (said, _) = site.output(&["check", "-C", "mixed.yaml", "--only-tunnels", "-O", "json"]);
    let printed: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(printed["services"].as_array().unwrap().len(), 3);
    // Each of several processes is checked.
    let parts = ["check", "-C", "mixed.yaml", "--only-tunnels", "--", "-L", "socks5://:1080"];
    let (said, status) = site.output(&parts);
    assert_eq!(status, Some(78));
    assert!(said.contains("runs: hub `hub`") && said.contains("its handler is `socks5`"), "{said}");
}

#[test]
fn a_check_compares_with_gost() {
    let site = Site::new(&[("mixed.yaml", MIXED)]);
    let (said, _) = site.output(&["check", "--gost", "--only-tunnels", "mixed.yaml"]);
    let page = said.split_once("Against GOST 3\n").unwrap().1;
    let section = |title: &str| {
        let after = page.split_once(&format!("{title}:\n")).unwrap().1;
        after.lines().take_while(|line| line.starts_with("  - ")).collect::<Vec<_>>().join("\n")
    };
    assert!(section("the same").contains("over `tcp` on 127.0.0.1:0"), "{page}");
    assert!(section("better").contains("longest prefix"), "{page}");
    assert!(section("different").contains("sourceCheck"), "{page}");
    let missing = section("missing");
    assert!(missing.contains("`labels`") && missing.contains("`web` (http): left out"), "{page}");
    let (said, status) = site.output(&["check", "--gost", "mixed.yaml"]);
    assert_eq!(status, Some(78));
    assert!(said.contains("  - stops it: the service `web` is no tunnel"), "{said}");
}

#[test]
fn tunnels_of_a_mixed_file_run_and_the_rest_is_named_once() {
    let site = Site::new(&[("mixed.yaml", MIXED)]);
    let running = site.start(&["-C", "mixed.yaml", "--only-tunnels", "-R", "200ms", "-D"]);
    running.wait_for("hub listens", 1);
    running.wait_for("the configuration has not changed", 3);
    assert_eq!(running.count("configuration read again"), 0, "{}", running.log());
    for text in ["only tunnels are to run: `web` (http), `names` (dns)", "`labels` has no effect"] {
        assert_eq!(running.count(text), 1, "{}", running.log());
    }
    // What is new is said, and once.
    let wrong = MIXED.replace("router: main", "router: mian");
    site.replace("mixed.yaml", &wrong);
    running.wait_for("no router named `mian`", 1);
    running.wait_for("not applied: it has errors", 1);
    let other = MIXED.replace("web", "site");
    site.replace("mixed.yaml", &other);
    running.wait_for("`site` (http), `names` (dns)", 1);
    let before = running.count("the configuration has not changed");
    running.wait_for("the configuration has not changed", before + 3);
    // What runs is the same: another service is left out.
    assert_eq!(running.count("configuration read again"), 0, "{}", running.log());
    for text in ["no router named `mian`", "not applied: it has errors", "`site` (http)"] {
        assert_eq!(running.count(text), 1, "{}", running.log());
    }
    assert!(answers(running.addresses("hub listens")[0]));
    // Who asks learns everything.
    running.signal(Signal::SIGHUP);
    running.wait_for("`site` (http)", 2);
    running.wait_for("configuration read again", 1);
    // A change is said, and once.
    site.replace("mixed.yaml", &other.replace("name: hub", "name: other-hub"));
    running.wait_for("configuration read again", 2);
    let before = running.count("the configuration has not changed");
    running.wait_for("the configuration has not changed", before + 3);
    assert_eq!(running.count("configuration read again"), 2, "{}", running.log());
}

const TABLE: &str = r#"{"routers": [{"name": "main", "routes": []}]}"#;
const HUB: &str = "router://127.0.0.1:0?router=main";

#[test]
fn several_processes_end_together() {
    let site = Site::new(&[]);
    let mut running = site.start(&["-C", TABLE, "-L", HUB, "--", "-C", TABLE, "-L", HUB]);
    running.wait_for("hub listens", 2);
    let hubs = running.addresses("hub listens");
    assert!(hubs.len() == 2 && hubs.iter().all(|hub| answers(*hub)));
    // From then on they know what to do with signals.
    let ready =
        || running.count("control socket is open") + running.count("cannot ask this process");
    wait_until("both to listen for signals", || ready() == 2);
    running.signal(Signal::SIGHUP);
    running.wait_for("configuration read again", 2);
    running.signal(Signal::SIGTERM);
    assert_eq!(running.child.wait().unwrap().code(), Some(0), "{}", running.log());
    assert_eq!(running.count("\"stopped\""), 2, "{}", running.log());
    assert!(!hubs.iter().any(|hub| answers(*hub)));
}

#[test]
fn a_process_that_fails_ends_the_others_with_its_exit_status() {
    let site = Site::new(&[]);
    let nameless = HUB.replace("main", "none");
    let mut running = site.start(&["-C", TABLE, "-L", HUB, "--", "-L", &nameless]);
    assert_eq!(running.child.wait().unwrap().code(), Some(78), "{}", running.log());
    assert!(running.log().contains("no router named `none`"));
    assert!(!running.addresses("hub listens").iter().any(|hub| answers(*hub)));
    // A mistake in one of the parts starts none.
    let mut running = site.start(&["-C", TABLE, "-L", HUB, "--", "-Q"]);
    assert_eq!(running.child.wait().unwrap().code(), Some(64), "{}", running.log());
    assert_eq!(running.count("hub listens"), 0, "{}", running.log());
}

#[test]
fn several_processes_do_not_outlive_their_parent() {
    let site = Site::new(&[]);
    let mut running = site.start(&["-C", TABLE, "-L", HUB, "--", "-C", TABLE, "-L", HUB]);
    running.wait_for("hub listens", 2);
    let hubs = running.addresses("hub listens");
    running.child.kill().unwrap();
    wait_until("both to end", || !hubs.iter().any(|hub| answers(*hub)));
}

#[test]
fn a_metrics_service_serves_them() {
    let site = Site::new(&[]);
    let metrics = "metrics://eve:apple@127.0.0.1:0?path=/numbers";
    let running = site.start(&["-C", TABLE, "-L", HUB, "-L", metrics]);
    running.wait_for("metrics are served", 1);
    let address = running.addresses("metrics are served")[0];
    let ask = |header: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /numbers HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{header}\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("").starts_with("HTTP/1.1 401"));
    // eve:apple
    let page = ask("Authorization: Basic ZXZlOmFwcGxl\r\n");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("rtun_build_info"), "{page}");
}

/// A hub behind a proxy of this machine: what that says of a host's address counts for `skipauth`, what hosts say does not.
#[test]
fn addresses_that_need_no_password_are_those_that_can_be_trusted() {
    let hub = "
services:
- name: hub
  addr: 127.0.0.1:0
  metadata: {proxyProtocol: 1}
  handler: {type: router, auther: members, metadata: {router: main, skipauth: 10.9.0.0/16}}
- name: direct
  addr: 127.0.0.1:0
  handler: {type: router, auther: members, metadata: {router: main, skipauth: 10.9.0.0/16}}
  listener: {type: tcp}
authers: [{name: members, auths: [{username: eve, password: apple, hosts: [a, b, c, d, e, f, g]}]}]
routers: [{name: main, routes: [{dst: 10.1.0.0/16, gateway: a}]}]
";
    let site = Site::new(&[("hub.yaml", hub)]);
    let running = site.start(&["-C", "hub.yaml"]);
    running.wait_for("hub listens", 2);
    // Each has a name of its own: a name in use is only given to the same user.
    let ask =
        |name: &str, address: SocketAddr, from: Option<&str>, user: Option<(&str, &str)>| {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            let mut host = common::raw::RawHost { stream };
            if let Some(from) = from {
                host.stream
                    .write_all(format!("PROXY TCP4 {from} 10.0.0.1 5 6\r\n").as_bytes())
                    .unwrap();
            }
            host.ask(&user.map_or_else(
                || request(name, [0; 16]),
                |user| request_as(Some(user), name, [0; 16]),
            ))
        };
    let of =
        |service: &str| running.addresses(&format!("hub listens\",\"service\":\"{service}"))[0];
    let (proxied, direct) = (of("hub"), of("direct"));
    assert_eq!(ask("a", proxied, Some("10.9.1.2"), None), Answer::Status(0));
    assert_eq!(ask("b", proxied, Some("10.9.1.2"), Some(("eve", "pear"))), Answer::Status(0));
    assert_eq!(ask("c", proxied, Some("10.8.1.2"), Some(("eve", "apple"))), Answer::Status(0));
    assert_eq!(ask("d", proxied, Some("10.8.1.2"), None), Answer::Status(2));
    assert_eq!(ask("e", direct, None, None), Answer::Status(2));
    assert_eq!(ask("f", direct, None, Some(("eve", "apple"))), Answer::Status(0));
    assert_ne!(ask("g", direct, Some("10.9.1.2"), None), Answer::Status(0));
}

#[test]
fn a_hub_and_hosts_are_checked_together() {
    const HOST: &str = "
services:
- name: NAME
  handler: {type: tun, chain: out-NAME}
  listener: {type: tun, metadata: {net: NET, route: '10.1.0.0/16, 172.16.0.0/24, 224.0.0.0/4'}}
  forwarder: {nodes: [{addr: NAME}]}
chains:
- {name: out-NAME, hops: [{name: h, nodes: [{name: n, addr: 'hub.example:8443', connector: {type: router}}]}]}
";
    let hub = |handler: &str| {
        format!(
            "
services:
- name: hub
  addr: 127.0.0.1:8443
  handler: {{type: router, metadata: {{router: main{handler}}}}}
  listener: {{type: tcp}}
ingresses:
- name: who
  rules: [{{hostname: berlin, endpoint: 00000000-0000-0000-0000-000000000001}}]
routers:
- name: main
  routes: [{{dst: 10.1.0.0/16, gateway: berlin}}, {{dst: 10.2.0.0/16, gateway: paris}}]
"
        )
    };
    let host = |name: &str, net: &str| HOST.replace("NAME", name).replace("NET", net);
    let (berlin, paris) = (host("berlin", "10.1.0.1/24"), host("paris", "192.168.7.9/24"));
    let site = Site::new(&[
        ("hub.yaml", &hub("")),
        ("listed.yaml", &hub(", ingress: who")),
        ("berlin.yaml", &berlin),
        ("paris.yaml", &paris),
        ("elsewhere.yaml", &paris.replace(":8443", ":9443")),
    ]);
    let check = |files: &[&str]| site.output(&[&["check"], files].concat());
    let (said, status) = check(&["hub.yaml", "berlin.yaml", "paris.yaml"]);
    assert_eq!(status, Some(1), "{said}");
    for part in [
        "`paris` has 192.168.7.9, and no route of the hub `hub` leads there: what it sends from there is dropped, and nothing gets there",
        "help: add a route for 192.168.7.9 to paris",
        "`berlin` sends what is for 172.16.0.0/24 into the tunnel, and the hub `hub` has no route for it",
        "`paris` sends what is for 224.0.0.0/4 into the tunnel",
    ] {
        assert!(said.contains(part), "{part:?} in\n{said}");
    }
    assert!(!said.contains("`berlin` has") && !said.contains("is for 10.1.0.0/16"), "{said}");
    let (said, _) = check(&["listed.yaml", "berlin.yaml", "paris.yaml"]);
    for part in [
        "does not admit the host `paris`: who has no rule for that name; GOST lets it in, as it has no `router.id`",
        "help: add a rule for paris to who",
        "does not admit the host `berlin`: who admits that name to 00000000-0000-0000-0000-000000000001 instead",
    ] {
        assert!(said.contains(part), "{part:?} in\n{said}");
    }
    let (said, _) = check(&["hub.yaml", "elsewhere.yaml"]);
    assert!(said.starts_with("nothing to complain of\n"), "another hub's: {said}");
}
