//! Running rtuns watched from the command line: `rtun top`, `hosts`, `routes`, `drops` and `logs`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    io::{BufRead, BufReader, Write},
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use common::{
    HUB, Rtun, SOON, THREE_HOSTS, World,
    raw::{RawHost, udp},
    reaches, wait_until,
};
use rtun_node::control_socket::{ControlRequest, FollowRequest, follow};
use rtun_proto::udp_tunnel::{Passphrase, encode_register};
use serde_json::Value;

/// The program as anybody starts it who knows this socket.
fn command(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rtun"));
    command.args(arguments).arg("--socket").arg(socket);
    command
}

fn run(socket: &Path, arguments: &[&str]) -> Output {
    command(socket, arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Each line of the output as JSON.
fn lines(socket: &Path, arguments: &[&str]) -> Vec<Value> {
    let text = text(&run(socket, arguments));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A command that says something until it is killed, which dropping it does.
struct Live {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Live {
    fn start(socket: &Path, arguments: &[&str]) -> Self {
        let mut child = command(socket, arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line that contains this.
    fn wait_for(&mut self, wanted: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "it ends before {wanted:?}");
            if line.contains(wanted) {
                return line;
            }
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket_of(rtun: &Rtun) -> PathBuf {
    rtun.wait_for("control socket is open")["path"].as_str().unwrap().into()
}

fn is_sampling(socket: &Path) -> bool {
    lines(socket, &["drops", "--once", "--json"])[0]["sampling"] == true
}

#[test]
fn hosts_routes_drops_and_logs_of_a_running_hub() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(THREE_HOSTS);
    let socket = socket_of(&hub);
    let mut logs = Live::start(&socket, &["logs", "-f", "--level", "debug"]);
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let hosts = [world.join(&one, 1), world.join(&two, 2)];
    reaches(&one, "192.168.123.2");
    reaches(&two, "192.168.123.1");
    let line = logs.wait_for("host speaks the extension");
    assert!(line.contains(" DEBUG ") && line.contains(" host=host-"), "{line}");
    drop(logs);

    let found = lines(&socket, &["hosts", "--json", "--sort", "name"]);
    let names: Vec<_> = found.iter().map(|host| host["host"].as_str().unwrap()).collect();
    assert_eq!(names, ["host-1", "host-2"]);
    assert!(found[0]["in"]["packets"].as_u64().unwrap() > 0, "{}", found[0]);
    let shown = text(&run(&socket, &["hosts", "host-2"]));
    assert!(shown.starts_with("HOST ") && shown.contains("\nhost-2 "), "{shown}");
    assert!(!shown.contains("host-1"), "{shown}");

    let routes = lines(&socket, &["routes", "--json"]);
    assert_eq!(routes.len(), 3);
    for (route, is_used) in routes.iter().zip([true, true, false]) {
        assert_eq!(route["packets"].as_u64().unwrap() > 0, is_used, "{route}");
        assert_eq!(route["last_used"].is_u64(), is_used, "{route}");
        assert_eq!(route["connected"], is_used, "{route}");
    }
    assert!(routes[0]["origin"]["source"].as_str().unwrap().ends_with(".yaml"), "{}", routes[0]);
    let dead = text(&run(&socket, &["routes", "--dead"]));
    assert!(dead.contains("192.168.123.3/32  host-3  away"), "{dead}");
    assert!(!dead.contains("host-1") && dead.contains("never"), "{dead}");

    // What a host sends that the hub does not route is shown as it is lost, while somebody looks.
    let mut raw = RawHost::join(&world.machine("host-3"), "host-3");
    assert!(!is_sampling(&socket));
    let mut drops = Live::start(&socket, &["drops"]);
    wait_until("somebody looks", || is_sampling(&socket));
    raw.send(&udp("192.168.123.3", "172.16.9.9", b"nowhere"));
    let line = drops.wait_for("no_route");
    assert!(line.contains("192.168.123.3 -> 172.16.9.9 udp, 35 bytes, of host-3"), "{line}");
    drop(drops);
    wait_until("nobody looks", || !is_sampling(&socket));
    let counts = text(&run(&socket, &["drops", "--once"]));
    assert!(counts.contains("no_route") && counts.contains("Look at: the table."), "{counts}");

    let samples = lines(&socket, &["top", "--json", "--samples", "2", "--interval", "0.2"]);
    assert_eq!(samples.len(), 2);
    assert_eq!((&samples[1]["total"], &samples[1]["drops"]["no_route"]), (&3.into(), &1.into()));
    let once = text(&run(&socket, &["top", "--sort", "name"]));
    assert!(once.contains("hosts 3 ") && once.contains("3 of 3 hosts by name"), "{once}");
    drop(hosts);
    hub.stop();
    let nobody = run(&socket, &["hosts"]);
    assert_eq!(nobody.status.code(), Some(1), "{nobody:?}");
}

/// Runs `rtun top` on a terminal of its own; returns what it has written, and what `stty` says then.
fn on_a_terminal(socket: &Path, before: &str, keys: &[(&str, &str)]) -> (String, String) {
    let top = format!("{before}{} top --socket {}", env!("CARGO_BIN_EXE_rtun"), socket.display());
    let line = format!("stty rows 30 cols 120; {top}; echo status=$?; stty -a");
    let mut child = Command::new("script")
        .args(["-qfec", &line, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut written = Vec::new();
    for (wait_for, keys) in keys {
        let from = written.len();
        while !String::from_utf8_lossy(&written[from..]).contains(wait_for) {
            let mut piece = [0; 4096];
            let read = std::io::Read::read(&mut stdout, &mut piece).unwrap();
            let text = String::from_utf8_lossy(&written);
            assert!(read > 0, "it ends before {wait_for:?}: {text}");
            written.extend_from_slice(&piece[..read]);
        }
        stdin.write_all(keys.as_bytes()).unwrap();
    }
    std::io::Read::read_to_end(&mut stdout, &mut written).unwrap();
    child.wait().unwrap();
    let written = String::from_utf8_lossy(&written).into_owned();
    let (page, after) = written.split_once("status=").unwrap();
    (page.to_owned(), after.to_owned())
}

#[test]
fn top_shows_hosts_and_gives_the_terminal_back() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(THREE_HOSTS);
    let socket = socket_of(&hub);
    let _one = RawHost::join(&world.machine("one"), "host-1");
    let _two = RawHost::join(&world.machine("two"), "host-2");
    let is_restored = |after: &str| {
        let words: Vec<_> = after.split_whitespace().collect();
        ["icanon", "echo", "isig"].iter().all(|word| words.contains(word))
    };

    let keys = [
        ("2 of 2 hosts by traffic", "n"),
        ("hosts by name", "/host-2\r"),
        ("1 of 1 hosts by name", "\r"),
        ("host       host-2 at service-0", "q"),
    ];
    let (page, after) = on_a_terminal(&socket, "", &keys);
    assert!(page.contains("\x1b[?1049h") && page.trim_end().ends_with("\x1b[?1049l"), "{page:?}");
    assert!(after.starts_with('0') && is_restored(&after), "{after}");

    for signal in ["TERM", "INT"] {
        let killed = format!("timeout --foreground -s {signal} 2 ");
        let (page, after) = on_a_terminal(&socket, &killed, &[("host-1", "")]);
        assert!(page.contains("\x1b[?1049l"), "{signal}: {page:?}");
        assert!(after.starts_with("124") && is_restored(&after), "{signal}: {after}");
    }
    // Without an rtun to ask, nothing is drawn.
    hub.stop();
    let (page, after) = on_a_terminal(&socket, "", &[]);
    assert!(!page.contains("1049h") && page.contains("no process listens there"), "{page:?}");
    assert!(after.starts_with('1') && is_restored(&after), "{after}");
}

#[test]
fn clients_of_a_udp_tunnel_come_in_events_and_what_they_lose_in_samples() {
    let Some(world) = World::new() else { return };
    let server = world.start(&world.hub, &["-L", "tun://:8421?net=192.168.123.1/24&name=tun0"]);
    let socket = socket_of(&server);
    wait_until("a listening server", || server.log().contains("listening on"));
    let machine = world.machine("client");
    let client = machine.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    client.connect((HUB, 8421)).unwrap();
    client.send(&encode_register(Passphrase::NONE, &["192.168.123.2".parse().unwrap()])).unwrap();
    client.recv(&mut [0; 2000]).unwrap();
    let outer = client.local_addr().unwrap().to_string();
    let followed = ControlRequest::Follow(FollowRequest::Events { after: Some(0) });
    let mut events = follow(&socket, &followed).unwrap();
    let joined = events.find_map(|line| {
        let event = line.unwrap()["event"].take();
        (event["kind"] == "host_joined").then_some(event)
    });
    let joined = joined.unwrap();
    assert_eq!(
        (&joined["host"], &joined["text"]),
        (&outer.as_str().into(), &"registered 192.168.123.2".into())
    );
    let mut drops = Live::start(&socket, &["drops"]);
    wait_until("somebody looks", || is_sampling(&socket));
    client.send(&udp("192.168.123.9", "172.16.9.9", b"forged")).unwrap();
    let line = drops.wait_for("spoofed");
    let said = format!("192.168.123.9 -> 172.16.9.9 udp, 34 bytes, of {outer}");
    assert!(line.contains(&said), "{line} {said}");
    server.stop();
}
