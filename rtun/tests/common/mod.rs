//! A network of namespaces with rtun in it, what it says about itself, and whether its books balance.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

pub mod dns;
pub mod gost;
pub mod gso_packet;
pub mod peer;
pub mod programs;
pub mod proxy_server;
pub mod raw;
pub mod services;
pub mod vitals;
pub mod web;

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rtun_lab::{Impairment, Lab, NetNamespace, Process, Switch, Wan, WanConfig, tools};
use serde_json::Value;

/// For what should happen at once.
pub const SOON: Duration = Duration::from_secs(20);

/// The hub's address on the switch, and its name in the tutorial.
pub const HUB: &str = "10.0.0.1";

/// A hub with one table, in which each of three hosts has one address.
pub const THREE_HOSTS: &str = "
services:
- name: service-0
  addr: :8443
  handler: {type: router, metadata: {router: router-0}}
  listener: {type: tcp}
routers:
- name: router-0
  routes:
  - {dst: 192.168.123.1, gateway: host-1}
  - {dst: 192.168.123.2, gateway: host-2}
  - {dst: 192.168.123.3, gateway: host-3}
";

/// A switch with a hub's machine on it; machines for hosts are added as needed.
pub struct World {
    pub hub: NetNamespace,
    pub switch: Switch,
    machines: AtomicUsize,
    folder: tempfile::TempDir,
    lab: Lab,
}

/// A running rtun and its log.
pub struct Rtun {
    pub process: Process,
    log: PathBuf,
}

impl World {
    /// A new network; where none can be made the test is reported as skipped, or fails if `RTUN_TESTS_MUST_RUN` is
    /// set.
    pub fn new() -> Option<Self> {
        if let Err(reason) = rtun_lab::tun_available() {
            assert!(std::env::var_os("RTUN_TESTS_MUST_RUN").is_none(), "cannot run: {reason}");
            // Past the test harness, which shows the output of failed tests only.
            let _ = io::stderr().write_all(format!("skipped: {reason}\n").as_bytes());
            return None;
        }
        let lab = Lab::new().unwrap();
        let (hub, switch) = (lab.namespace("hub").unwrap(), lab.switch().unwrap());
        switch.attach(&hub, "eth0", &["10.0.0.1/16", "fd77::1/64"]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        Some(Self { hub, switch, machines: AtomicUsize::new(1), folder, lab })
    }

    /// A machine on the switch that knows the hub as `server_ip`.
    pub fn machine(&self, name: &str) -> NetNamespace {
        let machine = self.lab.namespace(name).unwrap();
        let n = self.machines.fetch_add(1, Ordering::SeqCst) + 1;
        let v4 = format!("10.0.{}.{}/16", n / 250, n % 250 + 1);
        self.switch.attach(&machine, "eth0", &[&v4, &format!("fd77::{n}/64")]).unwrap();
        machine.hosts([("server_ip", HUB)]);
        machine
    }

    /// Starts host N with the tutorial's address for it.
    pub fn join(&self, machine: &NetNamespace, n: u8) -> Rtun {
        let service = format!("tun:///host-{n}?net=192.168.123.{n}/24");
        self.start(machine, &["-L", &service, "-F", "router://server_ip:8443"])
    }

    /// A machine whose packets take `delay` to the hub's, and as long back: it reaches that as the address returned. The way
    /// lasts as long as its handle.
    pub fn far(&self, name: &str, delay: Duration) -> (NetNamespace, Wan, String) {
        let machine = self.lab.namespace(name).unwrap();
        let n = self.machines.fetch_add(1, Ordering::SeqCst);
        let path = WanConfig::symmetric(1, Impairment { delay, ..Impairment::default() });
        let wan = self.lab.wan(&self.hub, &format!("wan{n}"), &machine, "eth0", &path).unwrap();
        self.hub.addr_add(&format!("wan{n}"), &format!("10.77.{n}.1/24")).unwrap();
        machine.addr_add("eth0", &format!("10.77.{n}.2/24")).unwrap();
        (machine, wan, format!("10.77.{n}.1"))
    }

    /// A machine behind `gateway`, in `net` ("192.168.100"): the gateway is .1, the machine .2.
    pub fn behind(&self, gateway: &NetNamespace, net: &str) -> NetNamespace {
        let machine = self.only_beside(gateway, net);
        gateway.forward_packets().unwrap();
        machine
    }

    /// The same, but the gateway passes nothing on.
    pub fn only_beside(&self, gateway: &NetNamespace, net: &str) -> NetNamespace {
        let machine = self.lab.namespace(net).unwrap();
        let cable = format!("lan{}", self.machines.fetch_add(1, Ordering::SeqCst));
        self.lab.veth(gateway, &cable, &machine, "eth0").unwrap();
        gateway.addr_add(&cable, &format!("{net}.1/24")).unwrap();
        machine.addr_add("eth0", &format!("{net}.2/24")).unwrap();
        machine.route_add("0.0.0.0/0", &format!("{net}.1")).unwrap();
        machine
    }

    /// A machine at the other end of a cable to `from`, whose device there is called `name` at both ends, with these
    /// addresses.
    pub fn cable(
        &self,
        from: &NetNamespace,
        name: &str,
        address: &str,
        other: &str,
    ) -> NetNamespace {
        let machine = self.lab.namespace(name).unwrap();
        self.lab.veth(from, name, &machine, name).unwrap();
        from.addr_add(name, address).unwrap();
        machine.addr_add(name, other).unwrap();
        machine
    }

    /// Writes a file into the test's folder.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A path in the test's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts rtun with these arguments; its log goes to a file of its own, at level debug.
    pub fn start(&self, machine: &NetNamespace, arguments: &[&str]) -> Rtun {
        let log = tempfile::Builder::new().suffix(".log").tempfile_in(self.folder.path()).unwrap();
        let (log, path) = log.keep().unwrap();
        self.spawn(machine, &[arguments, &["-D"]].concat(), log, path)
    }

    /// The same at the level that the configuration says, for much that would be logged.
    pub fn start_quietly(&self, machine: &NetNamespace, arguments: &[&str]) -> Rtun {
        let log = tempfile::Builder::new().suffix(".log").tempfile_in(self.folder.path()).unwrap();
        let (log, path) = log.keep().unwrap();
        self.spawn(machine, arguments, log, path)
    }

    /// Starts it again, with the log going on.
    pub fn start_again(&self, machine: &NetNamespace, arguments: &[&str], before: &Rtun) -> Rtun {
        let log = File::options().append(true).open(&before.log).unwrap();
        self.spawn(machine, &[arguments, &["-D"]].concat(), log, before.log.clone())
    }

    /// Starts rtun where names are looked up at this server, and nowhere else.
    pub fn start_asking(&self, machine: &NetNamespace, server: IpAddr, arguments: &[&str]) -> Rtun {
        let file = self.file("resolv.conf", &format!("nameserver {server}\n"));
        let log = tempfile::Builder::new().suffix(".log").tempfile_in(self.folder.path()).unwrap();
        let (log, path) = log.keep().unwrap();
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "sh",
            "-c",
            "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"",
        ]);
        command.arg(file).arg(env!("CARGO_BIN_EXE_rtun"));
        self.run(command, machine, &[arguments, &["-D"]].concat(), log, path)
    }

    fn spawn(&self, machine: &NetNamespace, arguments: &[&str], log: File, path: PathBuf) -> Rtun {
        let command = Command::new(env!("CARGO_BIN_EXE_rtun"));
        self.run(command, machine, arguments, log, path)
    }

    fn run(
        &self,
        mut command: Command,
        machine: &NetNamespace,
        arguments: &[&str],
        log: File,
        path: PathBuf,
    ) -> Rtun {
        command.args(arguments).current_dir(self.folder.path());
        command.env("HOME", self.folder.path());
        command.env("RTUN_STATE_DIR", self.folder.path().join("state"));
        command.env("RUNTIME_DIRECTORY", self.folder.path().join("run"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Rtun { process: machine.spawn(command).unwrap(), log: path }
    }

    /// Starts a hub with this configuration and waits until it listens.
    pub fn hub(&self, config: &str) -> Rtun {
        let file = self.file("hub.yaml", config);
        let hub = self.start(&self.hub, &["-C", file.to_str().unwrap()]);
        hub.wait_for("hub listens");
        hub
    }

    /// Starts a host with this configuration file.
    pub fn host(&self, machine: &NetNamespace, config: &str) -> Rtun {
        let file = self.file(&format!("{}.yaml", machine.name()), config);
        self.start(machine, &["-C", file.to_str().unwrap()])
    }
}

impl Rtun {
    /// Everything logged so far.
    pub fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The log as it is, for messages.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Lines with this message.
    pub fn said(&self, message: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["message"] == message).collect()
    }

    /// Waits for a line with this message.
    pub fn wait_for(&self, message: &str) -> Value {
        self.wait_for_nth(message, 1)
    }

    /// Waits for the `n`th line with this message.
    pub fn wait_for_nth(&self, message: &str, n: usize) -> Value {
        let start = Instant::now();
        loop {
            let mut lines = self.said(message);
            if lines.len() >= n {
                return lines.swap_remove(n - 1);
            }
            let ended = self.process.try_wait().unwrap();
            assert!(
                ended.is_none() && start.elapsed() < SOON,
                "no {message:?} ({ended:?}) in:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Has a hub say what passed and what was lost, and reads it.
    pub fn hub_report(&self) -> Value {
        let before = self.said("hub report").len();
        self.process.signal(Signal::SIGUSR1).unwrap();
        self.wait_for_nth("hub report", before + 1)
    }

    /// Packets a hub has lost for this reason.
    pub fn dropped(&self, reason: &str) -> u64 {
        count_of(&self.hub_report(), reason)
    }

    /// Waits until a hub has lost at least `count` packets for this reason.
    pub fn wait_for_drops(&self, reason: &str, count: u64) {
        wait_until(&format!("{count} x {reason}"), || self.dropped(reason) >= count);
    }

    /// Ends it with SIGTERM; it must end cleanly and soon.
    pub fn stop(&self) {
        self.process.signal(Signal::SIGTERM).unwrap();
        let status = self.process.wait(Duration::from_secs(5)).unwrap();
        assert!(status.is_some_and(|status| status.success()), "{status:?}: {}", self.log());
        assert!(!self.log().contains("panicked"), "{}", self.log());
    }

    /// Ends a hub whose hosts have gone quiet: every packet that came in went out or was counted as lost.
    pub fn stop_balanced(&self) -> Value {
        // Counts that are read while packets pass are not of one moment: the last acknowledgements must have passed, too.
        let mut before = Value::Null;
        wait_until("empty queues and quiet hosts", || {
            let report = self.hub_report();
            let passed = report["packets_in"].clone();
            let is_quiet = report["queued"] == 0 && passed == before;
            before = passed;
            is_quiet
        });
        self.stop();
        let report = self.said("hub report").pop().unwrap();
        let number = |key: &str| report[key].as_u64().unwrap();
        assert_eq!(
            number("packets_in") + number("copies"),
            number("packets_out") + number("dropped") + number("queued"),
            "{report}"
        );
        report
    }
}

/// The count of one reason in a line's `drops`.
pub fn count_of(report: &Value, reason: &str) -> u64 {
    let drops = report["drops"].as_str().unwrap();
    drops
        .split(' ')
        .find_map(|drop| drop.strip_prefix(reason)?.strip_prefix('=')?.parse().ok())
        .unwrap_or(0)
}

/// Waits for a condition.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < SOON, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn at(text: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(text), port)
}

/// One ping, with time enough for an answer.
pub fn pings(from: &NetNamespace, to: &str) -> bool {
    tools::ping(from, ip(to), 56, false, Duration::from_millis(500)).is_ok()
}

/// Pings until an answer comes.
pub fn reaches(from: &NetNamespace, to: &str) {
    wait_until(&format!("{} reaching {to}", from.name()), || pings(from, to));
}

/// Nothing answers, several times.
pub fn does_not_reach(from: &NetNamespace, to: &str) {
    for _ in 0..3 {
        assert!(!pings(from, to), "{} reaches {to}", from.name());
    }
}

/// GOST's HTTP route plugin, answering by `route(dst, id)`, on `address` in a namespace, for as long as the process
/// lives.
pub fn route_plugin(
    machine: &NetNamespace,
    address: &'static str,
    route: impl Fn(&str, &str) -> String + Send + 'static,
) -> Arc<AtomicUsize> {
    let questions = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&questions);
    let listener = machine.run(|| TcpListener::bind(address)).unwrap().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let query = head.split([' ', '?']).nth(2).unwrap_or("");
            let value = |key: &str| {
                let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                pairs.find(|(k, _)| *k == key).map_or("", |(_, v)| v).replace("%3A", ":")
            };
            counter.fetch_add(1, Ordering::SeqCst);
            let body = route(&value("dst"), &value("id"));
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    questions
}
