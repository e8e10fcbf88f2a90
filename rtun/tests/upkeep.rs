//! What a running rtun reads, writes and keeps on its machine, while others change it and take it away.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use common::raw::request_as;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rtun_core::NamespaceId;
use serde_json::Value;

/// For what should happen at once.
const SOON: Duration = Duration::from_secs(20);

/// A folder with everything that an rtun has on its machine.
struct Site {
    folder: tempfile::TempDir,
    port: u16,
}

/// A running rtun, which ends with it.
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

impl Site {
    fn new() -> Self {
        // Free when it was asked for; another test's own is its own.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { folder: tempfile::tempdir().unwrap(), port }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// A hub with one route, and more keys at its end.
    fn hub(&self, listener: &str, more: &str) -> String {
        let port = self.port;
        format!(
            "
services:
- name: service-0
  addr: 127.0.0.1:{port}
  handler: {{type: router, metadata: {{router: router-0}}}}
  listener: {listener}
routers:
- name: router-0
  routes: [{{dst: 192.168.123.1, gateway: host-1}}]
{more}"
        )
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rtun"));
        command.args(arguments).current_dir(&self.folder).env_clear().stdin(Stdio::null());
        command.env("RTUN_STATE_DIR", self.path("state"));
        command.env("RUNTIME_DIRECTORY", self.path("run"));
        command
    }

    fn output(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
    }

    /// Starts it with this configuration, its errors in a file.
    fn start(&self, config: &str) -> Running {
        let file = self.file("rtun.yaml", config);
        self.spawn(self.command(&["-C", file.to_str().unwrap()]))
    }

    fn spawn(&self, mut command: Command) -> Running {
        let (log, path) =
            tempfile::Builder::new().tempfile_in(&self.folder).unwrap().keep().unwrap();
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Running { child, log: path }
    }

    /// Starts it and waits until it listens.
    fn hub_with(&self, listener: &str, more: &str) -> Running {
        let mut hub = self.start(&self.hub(listener, more));
        hub.wait_for("hub listens");
        hub
    }

    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }
}

impl Running {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits until its errors hold a text.
    fn wait_for(&mut self, text: &str) -> String {
        let start = Instant::now();
        loop {
            let log = fs::read_to_string(&self.log).unwrap();
            if let Some(line) = log.lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < SOON, "no {text:?}: {ended:?}\n{log}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < SOON, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn holds(path: &Path, text: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|content| content.contains(text))
}

fn utf16(text: &str) -> Vec<u8> {
    std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

fn marked(text: &str) -> Vec<u8> {
    format!("\u{feff}{text}").into()
}

const TCP: &str = "{type: tcp}";

#[test]
fn a_reload_opens_the_log_again_and_changes_all_of_it() {
    let site = Site::new();
    let log = site.path("rtun.log");
    let keys = |rest: &str| format!("log: {{output: {}{rest}}}\n", log.display());
    let hub = site.start(&site.hub(TCP, &keys("")));
    wait_until("a log", || holds(&log, "hub listens"));
    assert!(!holds(&log, "DEBUG"));

    // As logrotate does it.
    let moved = site.path("rtun.log.1");
    fs::rename(&log, &moved).unwrap();
    hub.signal(Signal::SIGHUP);
    wait_until("a new file", || holds(&log, "configuration read again"));
    assert!(!holds(&moved, "configuration read again"), "nothing is written to the old one");

    site.file("rtun.yaml", site.hub(TCP, &keys(", level: debug, format: text")));
    hub.signal(Signal::SIGHUP);
    wait_until("the change", || holds(&log, " INFO the log has changed as configured"));
    drop(TcpStream::connect(site.address()).unwrap());
    wait_until("lines at level debug", || holds(&log, "DEBUG not admitted"));

    let other = site.path("other.log");
    site.file("rtun.yaml", site.hub(TCP, &keys("").replace("rtun.log", "other.log")));
    hub.signal(Signal::SIGHUP);
    wait_until("another file", || holds(&other, "\"message\":\"configuration read again\""));

    // One that cannot be opened changes nothing, which is said.
    site.file("rtun.yaml", site.hub(TCP, &keys("").replace("rtun.log", "nowhere/rtun.log")));
    hub.signal(Signal::SIGHUP);
    wait_until("a complaint", || holds(&other, "the log stays where it was"));
    assert!(holds(&other, "log.output"));
}

#[test]
fn a_log_file_that_goes_is_made_again_and_that_is_said_once() {
    let site = Site::new();
    let log = site.path("rtun.log");
    let hub = site.start(&site.hub(TCP, &format!("log: {{output: {}}}\n", log.display())));
    wait_until("a log", || holds(&log, "hub listens"));
    fs::remove_file(&log).unwrap();
    wait_until("a new file", || holds(&log, "the log's file had gone and is made again"));
    hub.signal(Signal::SIGUSR1);
    wait_until("lines in it", || holds(&log, "hub report"));
    let said = fs::read_to_string(&log).unwrap().matches("made again").count();
    assert_eq!(said, 1);
}

#[test]
fn an_unknown_level_or_format_starts_as_gost_does_and_is_said() {
    let site = Site::new();
    let mut hub = site.hub_with(TCP, "log: {level: verbose, format: xml}\n");
    for text in ["`verbose` is not known, `info` is taken", "`xml` is not known, `json` is taken"] {
        let line: Value = serde_json::from_str(&hub.wait_for(text)).unwrap();
        assert_eq!(line["level"], "WARN", "{line}");
    }
}

#[test]
fn every_text_is_read_in_every_encoding() {
    let site = Site::new();
    for (name, encode) in [
        ("utf-8", (|text: &str| text.into()) as fn(&str) -> Vec<u8>),
        ("marked utf-8", marked),
        ("utf-16", utf16),
    ] {
        for end in ["\n", "\r\n"] {
            let lines = |lines: &[&str]| encode(&(lines.join(end) + end));
            let id = "e87f56dd-fd57-4921-9ab8-a0847662daae";
            site.file("routes.txt", lines(&["10.0.0.0/8 host-1", "10.1.0.0/16 nowhere"]));
            site.file("users.txt", lines(&["alice s3cret", "bob s3cret"]));
            site.file("ingress.txt", lines(&[&format!("host-1 {id}"), &format!("host-2 {id}")]));
            site.file("sources.txt", lines(&["127.0.0.1", "10.0.0.0/8"]));
            let config = format!(
                "services:
- name: service-0
  addr: 127.0.0.1:{}
  admission: door
  handler: {{type: router, auther: users, metadata: {{ingress: hosts}}}}
  listener: {{type: tcp}}
routers:
- {{name: {id}, file: {{path: routes.txt}}}}
authers:
- {{name: users, file: {{path: users.txt}}}}
ingresses:
- {{name: hosts, file: {{path: ingress.txt}}}}
admissions:
- {{name: door, whitelist: true, file: {{path: sources.txt}}}}
",
                site.port
            );
            site.file("hub.yaml", encode(&config.replace('\n', end)));
            let (_, said) = site.output(&["check", "--reach", "hub.yaml"]);
            assert!(!said.contains("error") && !said.contains("is left out"), "{name}: {said}");
            assert!(!said.contains("C15"), "{name}: {said}");
            let mut hub = site.spawn(site.command(&["-C", "hub.yaml"]));
            hub.wait_for("hub listens");
            assert!(admits(site.address(), "alice"), "{name}, the first user: {}", hub.said());
            assert!(admits(site.address(), "bob"), "{name}: {}", hub.said());
        }
    }
    site.file("hub.yaml", b"services: []\nlog: {output: b\xfc.log}\n");
    let (status, said) = site.output(&["check", "hub.yaml"]);
    assert_eq!(status, Some(78));
    assert!(said.contains("hub.yaml:2:16") && said.contains("save it as UTF-8"), "{said}");
}

/// Whether a hub admits this user with the password of all.
fn admits(hub: SocketAddr, user: &str) -> bool {
    let host = if user == "alice" { "host-1" } else { "host-2" };
    answer_to(hub, host, user, "s3cret") == Some(0)
}

/// The status that a hub answers to somebody who wants to join, if it answers.
fn answer_to(hub: SocketAddr, host: &str, user: &str, password: &str) -> Option<u8> {
    let id: NamespaceId = "e87f56dd-fd57-4921-9ab8-a0847662daae".parse().unwrap();
    let mut stream = TcpStream::connect(hub).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(&request_as(Some((user, password)), host, *id.as_bytes())).unwrap();
    let mut head = [0; 2];
    stream.read_exact(&mut head).ok()?;
    Some(head[1])
}

#[test]
fn a_configuration_from_a_url_is_read_from_there_and_nowhere_else() {
    let site = Site::new();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = elsewhere.local_addr().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: http://{to}/x.yaml\r\nContent-Length: 0\r\n\r\n"
        )
        .unwrap();
    });
    let mut command = site.command(&["check", &format!("http://u:s3cret@{at}/hub.yaml")]);
    // A proxy of the environment is not asked either.
    command.env("http_proxy", format!("http://{to}")).env("HTTP_PROXY", format!("http://{to}"));
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("status 302") && said.contains("redirects are not followed"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
    serving.join().unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    assert!(elsewhere.accept().is_err(), "nobody came");
}
