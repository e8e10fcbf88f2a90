//! A hub and two hosts over one transport, or the server and two clients of a UDP or Ethernet tunnel, before and after a fault.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use rtun_lab::{NetNamespace, tools};

use crate::{
    common::{
        HUB, Rtun, SOON, THREE_HOSTS, World, at, ip,
        programs::address,
        proxy_server::{self, Speaks},
        vitals::{Rest, Vitals, calm},
        wait_until,
    },
    middle::Middle,
};

/// The hosts' devices.
pub const DEVICE: &str = "mesh";

/// What a process may hold more after a fault than before: what its allocator keeps.
const MORE_MEMORY: u64 = 8 << 20;

/// The hosts' addresses.
const ADDRESSES: [&str; 2] = ["192.168.123.1", "192.168.123.2"];

/// That of a tunnel's server.
const SERVER: &str = "192.168.123.254";

/// One whose clients are known by their passphrases: an address moves with its client at once.
const UDP_SERVER: &str = "
services:
- name: server
  addr: :8443
  handler: {type: tun, auther: clients}
  listener: {type: tun, metadata: {net: 192.168.123.254/24, name: mesh}}
authers:
- name: clients
  auths:
  - {username: 192.168.123.1, password: pass-1}
  - {username: 192.168.123.2, password: pass-2}
";

/// What frames of an Ethernet tunnel are sealed with.
const CIPHER: &str = "aes-256-gcm:a-long-password";

/// A hub and two hosts over one transport. Of a UDP or Ethernet tunnel the hub is the server, with its relay if it has one, and
/// the hosts are clients.
pub struct Network {
    pub world: World,
    pub transport: &'static str,
    pub hub: Rtun,
    /// One for each host.
    pub machines: [NetNamespace; 2],
    /// The machine of unauthenticated peers.
    pub peers: NetNamespace,
    pub hosts: [Rtun; 2],
    pub middle: Option<Middle>,
    hub_arguments: Vec<String>,
    /// The proxy that hosts go through, if they do.
    hop: Option<String>,
    /// Where hosts find the hub.
    entry: SocketAddr,
    before: [Vitals; 3],
}

/// What came of a fault.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// From the fault until an end said that it had noticed, where one has to.
    pub noticed: Option<Duration>,
    /// From the end of the fault until packets passed again.
    pub back: Duration,
}

/// A network and what it held before and holds after.
pub struct Account {
    pub outcome: Outcome,
    /// Of the hub and both hosts.
    pub before: [Vitals; 3],
    pub after: Vec<Rest>,
}

impl Network {
    /// A network at rest, with somebody in the middle if that is asked for.
    pub fn new(world: World, transport: &'static str, with_middle: bool) -> Self {
        let hub_arguments = hub_arguments(&world, transport);
        let hub = start_hub(&world, transport, &hub_arguments);
        let (mut entry, mut middle) = (at(HUB, 8443), None);
        if with_middle {
            let machine = world.machine("middle");
            entry = SocketAddr::new(address(&machine), 8443);
            middle = Some(Middle::start(&machine, 8443, at(HUB, 8443)));
        }
        let hop = hop(transport).map(|(login, speaks)| {
            let machine = world.machine("proxy");
            proxy_server::start(&machine, 1080, "tcp", speaks);
            format!("{login}@{}:1080", address(&machine))
        });
        let machines = [1, 2].map(|n| world.machine(&format!("host-{n}")));
        let peers = world.machine("peers");
        let arguments = |n| arguments(transport, entry, hop.as_deref(), n);
        let hosts = [0, 1].map(|n| start_host(&world, &machines[n], &arguments(n)));
        for host in hosts.iter().filter(|_| !is_tunnel(transport)) {
            assert_eq!(host.wait_for("joined the hub")["transport"], connections(transport));
        }
        let before = [Vitals::default(); 3];
        let mut network = Self {
            world,
            transport,
            hub,
            machines,
            peers,
            hosts,
            middle,
            hub_arguments,
            hop,
            entry,
            before,
        };
        network.back_within(SOON);
        let rest = calm(&network.all(), None);
        network.before = [0, 1, 2].map(|n| rest[n].holds);
        network
    }

    /// All processes, with their names.
    fn all(&self) -> [(&'static str, &Rtun); 3] {
        [("the hub", &self.hub), ("host 1", &self.hosts[0]), ("host 2", &self.hosts[1])]
    }

    /// Whether it is a UDP or Ethernet tunnel.
    pub fn is_tunnel(&self) -> bool {
        is_tunnel(self.transport)
    }

    /// What connections are made over.
    pub fn connections(&self) -> &'static str {
        connections(self.transport)
    }

    /// Starts the hub again.
    pub fn restart_hub(&mut self) {
        self.hub = start_hub(&self.world, self.transport, &self.hub_arguments);
    }

    /// Starts a host again, counted from 0.
    pub fn restart_host(&mut self, n: usize) {
        let arguments = arguments(self.transport, self.entry, self.hop.as_deref(), n);
        self.hosts[n] = start_host(&self.world, &self.machines[n], &arguments);
    }

    /// Whether a packet from the first host to the second is answered, soon, and of a tunnel one from the second to the server.
    pub fn passes(&self) -> bool {
        self.passes_within(Duration::from_millis(100))
    }

    /// The same with this time for each answer.
    fn passes_within(&self, time: Duration) -> bool {
        let passes =
            |from: usize, to| tools::ping(&self.machines[from], ip(to), 56, false, time).is_ok();
        passes(0, ADDRESSES[1]) && (!self.is_tunnel() || passes(1, SERVER))
    }

    /// Waits until packets pass; how long that took. Panics when it takes longer than promised.
    pub fn back_within(&self, promised: Duration) -> Duration {
        let begin = Instant::now();
        while !self.passes() {
            let took = begin.elapsed();
            assert!(
                took < promised + BUSY,
                "no packet passes {took:?} after the fault's end; the hub says:\n{}\nhost 2 says:\n{}",
                tail(&self.hub),
                tail(&self.hosts[1])
            );
            // An error comes at once.
            thread::sleep(Duration::from_millis(10));
        }
        begin.elapsed()
    }

    /// Checks that nothing has happened to the connections of both hosts, and that packets pass; how long that took. A machine that
    /// is busy with others' handshakes takes longer for each packet.
    pub fn is_undisturbed(&self) -> Duration {
        let begin = Instant::now();
        while !self.passes_within(BUSY / 3) {
            let took = begin.elapsed();
            assert!(took < 2 * BUSY, "no packet passes for {took:?}: {}", tail(&self.hub));
        }
        for host in &self.hosts {
            assert!(!has_lost_hub(host), "a host has lost its hub: {}", tail(host));
        }
        begin.elapsed()
    }

    /// Lets the fault last, with a packet now and then.
    pub fn try_for(&self, time: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < time {
            self.passes();
            thread::sleep(Duration::from_millis(150));
        }
    }

    /// Waits until the hub has said so often that this host left; how long that took.
    pub fn host_left_within(&self, host: &str, nth: usize, promised: Duration) -> Duration {
        let begin = Instant::now();
        loop {
            let left = self.hub.said("host left");
            if left.iter().filter(|line| line["host"] == host).count() >= nth {
                return begin.elapsed();
            }
            let took = begin.elapsed();
            assert!(
                took < promised + BUSY,
                "the hub knows nothing after {took:?}: {}",
                tail(&self.hub)
            );
            self.passes();
        }
    }

    /// Waits until both hosts have lost the hub; how long that took.
    pub fn hub_lost_within(&self, promised: Duration) -> Duration {
        let begin = Instant::now();
        for host in &self.hosts {
            while !has_lost_hub(host) {
                let took = begin.elapsed();
                assert!(took < promised + BUSY, "unnoticed after {took:?}: {}", tail(host));
                thread::sleep(Duration::from_millis(20));
            }
        }
        begin.elapsed()
    }

    /// Waits until everything rests as it did before, and ends it.
    pub fn settle(self, outcome: Outcome) -> Account {
        let most = self.before.map(|before| Vitals {
            // What was not needed before the fault may have come into memory with it.
            memory: before.memory + MORE_MEMORY,
            ..before
        });
        let after = calm(&self.all(), Some(&most));
        for host in &self.hosts {
            host.stop();
        }
        match self.is_tunnel() {
            true => self.hub.stop(),
            false => drop(self.hub.stop_balanced()),
        }
        Account { outcome, before: self.before, after }
    }
}

/// Whether a host has said that it has lost its hub, or a client its server.
fn has_lost_hub(host: &Rtun) -> bool {
    let lines = host.lines();
    let mut said = lines.iter().filter_map(|line| line["message"].as_str());
    said.any(|text| text.contains("lost the hub") || text.contains("server is gone"))
}

/// What a busy machine may take longer.
pub const BUSY: Duration = Duration::from_millis(1_500);

fn is_tunnel(transport: &str) -> bool {
    matches!(transport, "udp" | "tap") || transport.starts_with("relay+")
}

/// What connections to the hub are made over.
fn connections(transport: &'static str) -> &'static str {
    match hop(transport) {
        Some(_) => "tcp",
        None => transport.strip_prefix("relay+").unwrap_or(transport),
    }
}

/// The proxy that hosts go through: what goes before its address, and what it speaks.
fn hop(transport: &str) -> Option<(&'static str, Speaks)> {
    match transport {
        "through-socks4" => Some(("socks4://bob", Speaks::Socks4)),
        "through-relay" => Some(("relay://bob:pa55word", Speaks::Relay)),
        _ => None,
    }
}

fn hub_arguments(world: &World, transport: &'static str) -> Vec<String> {
    let device = format!("net={SERVER}/24&name={DEVICE}");
    match transport {
        "udp" => {
            let file = world.file("server.yaml", UDP_SERVER);
            vec!["-C".to_owned(), file.to_str().unwrap().to_owned()]
        }
        "tap" => vec!["-L".to_owned(), format!("tap://{CIPHER}@:8443?{device}")],
        _ if is_tunnel(transport) => {
            let server = format!("tun://127.0.0.1:8421?{device}");
            vec!["-L".to_owned(), server, "-L".to_owned(), format!("{transport}://:8443")]
        }
        _ => {
            let config =
                THREE_HOSTS.replace("type: tcp", &format!("type: {}", connections(transport)));
            let file = world.file("hub.yaml", &config);
            vec!["-C".to_owned(), file.to_str().unwrap().to_owned()]
        }
    }
}

/// Starts it and waits until it listens everywhere.
fn start_hub(world: &World, transport: &str, arguments: &[String]) -> Rtun {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let hub = world.start(&world.hub, &arguments);
    if !is_tunnel(transport) {
        hub.wait_for("hub listens");
        return hub;
    }
    wait_until("a server", || hub.log().contains("listening on"));
    if transport.starts_with("relay+") {
        hub.wait_for("relay listens");
    }
    hub
}

fn start_host(world: &World, machine: &NetNamespace, arguments: &[String]) -> Rtun {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    world.start(machine, &arguments)
}

fn arguments(
    transport: &'static str,
    entry: SocketAddr,
    hop: Option<&str>,
    n: usize,
) -> Vec<String> {
    let (host, address) = (n + 1, ADDRESSES[n]);
    let device = format!("net={address}/24&name={DEVICE}");
    let services = match transport {
        "udp" => vec![format!("tun://:0/{entry}?{device}&ttl=1s&passphrase=pass-{host}")],
        "tap" => vec![format!("tap://{CIPHER}@:0/{entry}?{device}")],
        _ if is_tunnel(transport) => {
            vec![format!("tun://:0/:8421?{device}&ttl=1s"), format!("{transport}://{entry}")]
        }
        _ => {
            let own = connections(transport);
            let hub = format!("router+{own}://{entry}");
            let device = format!("tun:///host-{host}?{device}");
            [device].into_iter().chain(hop.map(str::to_owned)).chain([hub]).collect()
        }
    };
    let flags = ["-L", "-F", "-F"].map(str::to_owned);
    flags.into_iter().zip(services).flat_map(|(flag, value)| [flag, value]).collect()
}

/// The last lines of a log.
fn tail(rtun: &Rtun) -> String {
    let log = rtun.log();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
