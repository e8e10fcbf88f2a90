//! A hub and two hosts over one transport, before and after a fault.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use rtun_lab::{NetNamespace, tools};

use crate::{
    common::{
        HUB, Rtun, THREE_HOSTS, World, at, ip,
        programs::address,
        reaches,
        vitals::{Rest, Vitals, calm},
    },
    middle::Middle,
};

/// The hosts' devices.
pub const DEVICE: &str = "mesh";

/// What a process may hold more after a fault than before: what its allocator keeps.
const MORE_MEMORY: u64 = 8 << 20;

/// The hosts' addresses.
const ADDRESSES: [&str; 2] = ["192.168.123.1", "192.168.123.2"];

/// A hub and two hosts over one transport.
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
    config: String,
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
        let config = THREE_HOSTS.replace("type: tcp", &format!("type: {transport}"));
        let hub = world.hub(&config);
        let (mut entry, mut middle) = (at(HUB, 8443), None);
        if with_middle {
            let machine = world.machine("middle");
            entry = SocketAddr::new(address(&machine), 8443);
            middle = Some(Middle::start(&machine, 8443, at(HUB, 8443)));
        }
        let machines = [1, 2].map(|n| world.machine(&format!("host-{n}")));
        let peers = world.machine("peers");
        let hosts = [0, 1].map(|n| {
            let arguments = arguments(transport, entry, n);
            world.start(&machines[n], &arguments.each_ref().map(String::as_str))
        });
        for host in &hosts {
            assert_eq!(host.wait_for("joined the hub")["transport"], transport);
        }
        reaches(&machines[0], ADDRESSES[1]);
        let rest = calm(&[("the hub", &hub), ("host 1", &hosts[0]), ("host 2", &hosts[1])], None);
        let before = [0, 1, 2].map(|n| rest[n].holds);
        Self { world, transport, hub, machines, peers, hosts, middle, config, entry, before }
    }

    /// Starts the hub again.
    pub fn restart_hub(&mut self) {
        self.hub = self.world.hub(&self.config);
    }

    /// Starts a host again, counted from 0.
    pub fn restart_host(&mut self, n: usize) {
        let arguments = arguments(self.transport, self.entry, n);
        let arguments = arguments.each_ref().map(String::as_str);
        self.hosts[n] = self.world.start(&self.machines[n], &arguments);
    }

    /// Whether a packet from the first host to the second is answered, soon.
    pub fn passes(&self) -> bool {
        let soon = Duration::from_millis(100);
        tools::ping(&self.machines[0], ip(ADDRESSES[1]), 56, false, soon).is_ok()
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
            let lost = || {
                let lines = host.lines();
                let mut said = lines.iter().filter_map(|line| line["message"].as_str());
                said.any(|text| text.contains("lost the hub"))
            };
            while !lost() {
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
        let all = [("the hub", &self.hub), ("host 1", &self.hosts[0]), ("host 2", &self.hosts[1])];
        let after = calm(&all, Some(&most));
        for host in &self.hosts {
            host.stop();
        }
        self.hub.stop_balanced();
        Account { outcome, before: self.before, after }
    }
}

/// What a busy machine may take longer.
pub const BUSY: Duration = Duration::from_millis(1_500);

fn arguments(transport: &str, entry: SocketAddr, n: usize) -> [String; 4] {
    let (host, address) = (n + 1, ADDRESSES[n]);
    let service = format!("tun:///host-{host}?net={address}/24&name={DEVICE}");
    let node = format!("router+{transport}://{entry}");
    ["-L".into(), service, "-F".into(), node]
}

/// The last lines of a log.
fn tail(rtun: &Rtun) -> String {
    let log = rtun.log();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
