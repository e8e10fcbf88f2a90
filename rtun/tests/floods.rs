//! Unauthenticated peers connect faster than any hub serves: hosts that are far away join nevertheless.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use common::{HUB, THREE_HOSTS, World, at, ip, wait_until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rtun_lab::{LabError, NetNamespace};
use socket2::{Domain, Socket, Type};

/// Each way, between a host and the hub.
const FAR: Duration = Duration::from_millis(100);

/// A host is in by then.
const IN_WITHIN: Duration = Duration::from_secs(10);

/// Connections of a flood that are held at a time; the oldest go then, reset.
const HELD: usize = 3_000;

/// Hosts that join, one after the other, while the flood goes on.
const HOSTS: u8 = 3;

#[test]
fn a_far_host_gets_in_beside_8000_connections_a_second_from_60_addresses() {
    let Some(world) = World::new() else { return };
    let crowd = world.machine("crowd");
    let sources: Vec<_> = (1..=60).map(|n| format!("10.0.60.{n}")).collect();
    for source in &sources {
        crowd.addr_add("eth0", &format!("{source}/16")).unwrap();
    }
    let sources = sources.iter().map(|source| ip(source)).collect();
    hosts_get_in(&world, |_, _| Flood::start(&crowd, at(HUB, 8443), sources, 8_000));
}

#[test]
fn a_far_host_gets_in_beside_500_connections_a_second_from_its_own_address() {
    let Some(world) = World::new() else { return };
    hosts_get_in(&world, |far, hub| Flood::start(far, at(hub, 8443), vec![ip("0.0.0.0")], 500));
}

/// While the flood that `begin` starts goes on hosts far away join, over TCP with and without layers that take round
/// trips of their own.
fn hosts_get_in(world: &World, begin: impl FnOnce(&NetNamespace, &str) -> Flood) {
    raise_descriptor_limit();
    let secure = "  listeners:\n  - {addr: ':8444', type: wss}\n";
    let config = THREE_HOSTS.replace("routers:\n", &format!("{secure}routers:\n"));
    let config = world.file("hub.yaml", &format!("{config}log: {{level: info}}\n"));
    let hub = world.start_quietly(&world.hub, &["-C", config.to_str().unwrap()]);
    hub.wait_for("hub listens");
    let (far, _wan, hub_address) = world.far("far", FAR);
    let flood = begin(&far, &hub_address);
    let refused = || -> u64 {
        let refused = hub.status()["services"][0]["refused"].clone();
        let refused = refused.as_object().unwrap().values();
        refused.filter_map(|it| it["count"].as_u64()).sum()
    };
    let began = Instant::now();
    wait_until("the flood to be more than the hub keeps", || refused() > 200);
    let mut took = Vec::new();
    for n in 1..=HOSTS {
        let service = format!("tun:///host-{n}?net=192.168.123.{n}/24&name=mesh{n}");
        let node = match n % 2 {
            0 => format!("router+wss://{hub_address}:8444"),
            _ => format!("router://{hub_address}:8443"),
        };
        let begin = Instant::now();
        let host = world.start_quietly(&far, &["-L", &service, "-F", &node]);
        while host.said("joined the hub").is_empty() {
            let waited = begin.elapsed();
            let rate = flood.opened() as f64 / began.elapsed().as_secs_f64();
            assert!(
                waited < IN_WITHIN,
                "host {n} is not in, at {rate:.0} connections/s: {:?}",
                host.lines().iter().map(|line| line["message"].clone()).collect::<Vec<_>>()
            );
            thread::sleep(Duration::from_millis(20));
        }
        took.push(begin.elapsed());
    }
    let rate = flood.opened() as f64 / began.elapsed().as_secs_f64();
    eprintln!("in after {took:.2?}, at {rate:.0} connections/s; not admitted: {}", refused());
    flood.stop();
    // The peers of the flood are forgotten, and the hosts stay.
    wait_until("the crowd to be gone", || {
        hub.status()["services"][0]["unadmitted"].as_u64() == Some(0)
    });
    assert_eq!(hub.said("host left").len(), 0, "nobody admitted was turned out");
    hub.stop();
}

/// Connections that are opened and never used.
struct Flood {
    stop: Arc<AtomicBool>,
    opened: Arc<AtomicU64>,
    thread: JoinHandle<Result<(), LabError>>,
}

impl Flood {
    /// Opens `rate` connections a second to `to` from a machine, from its addresses in turn.
    fn start(machine: &NetNamespace, to: SocketAddr, sources: Vec<IpAddr>, rate: u64) -> Self {
        let (stop, opened) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        machine.sysctl("ipv4/ip_local_port_range", "1024 65535").unwrap();
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&opened));
        let thread = machine.thread(move || {
            let (begin, mut next, mut held) = (Instant::now(), 0, VecDeque::new());
            while !stopped.load(Ordering::Relaxed) {
                let due = begin.elapsed().as_millis() as u64 * rate / 1000;
                // What a busy machine does not let it do in time it leaves, but for a tenth of a second's worth.
                next = due.saturating_sub(rate / 10).max(next);
                while next < due {
                    if held.len() >= HELD {
                        held.pop_front();
                    }
                    if let Some(socket) = connect(sources[next as usize % sources.len()], to) {
                        held.push_back(socket);
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    next += 1;
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self { stop, opened, thread: thread.unwrap() }
    }

    /// Connections opened until now.
    fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().unwrap();
    }
}

/// A connection that the system makes while nobody waits for it; its drop is a reset, which leaves no port in use.
fn connect(source: IpAddr, to: SocketAddr) -> Option<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), None).ok()?;
    socket.set_linger(Some(Duration::ZERO)).ok()?;
    socket.set_reuse_address(true).ok()?;
    if !source.is_unspecified() {
        socket.bind(&SocketAddr::new(source, 0).into()).ok()?;
    }
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => None,
        _ => Some(socket),
    }
}

/// This process holds the whole flood.
fn raise_descriptor_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}
