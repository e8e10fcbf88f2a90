//! A long run of what a network goes through in months: hosts join and leave over all transports, the configuration is
//! read again and again, the hub ends and comes back. What the processes hold meanwhile goes to a file.
//!
//! ```text
//! RTUN_SOAK=soak.csv cargo test --release -p rtun --test soak -- --ignored --nocapture
//! script/plot-soak soak.csv docs/soak.svg
//! ```
//!
//! `RTUN_SOAK_SHARE=0.01` does a hundredth of it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    fs::{self, File},
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use common::{HUB, Rtun, World, ip, peer, pings, vitals::Vitals, wait_until};
use nix::sys::signal::Signal;
use rtun_lab::{NetNamespace, tools};
use tokio::{runtime, task::JoinSet};

const JOINS: u32 = 100_000;
const RELOADS: u32 = 1_000;
const RESTARTS: u32 = 100;

/// Hosts that join and leave at a time.
const AT_ONCE: u32 = 8;

/// Between two looks at the processes.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What the hub may hold more after all joins and reloads than after the first tenth of them, in bytes.
const HUB_GROWTH: u64 = 8 << 20;

/// What each host may hold more after all of the hub's restarts.
const HOST_GROWTH: u64 = 8 << 20;

/// Each with a port of the hub's, from 8443 on.
const TRANSPORTS: [&str; 12] =
    ["tcp", "tls", "ws", "wss", "quic", "mtcp", "mtls", "mws", "mwss", "h2", "h2c", "grpc"];

/// Over these the hosts that stay are connected.
const STAYING: [&str; 4] = ["tcp", "mwss", "quic", "grpc"];

#[test]
#[ignore = "takes many minutes"]
fn months_in_minutes() {
    let Some(world) = World::new() else { return };
    let share = std::env::var("RTUN_SOAK_SHARE").map_or(1.0, |share| share.parse().unwrap());
    let of = |count: u32| (f64::from(count) * share).ceil() as u32;
    let into = std::env::var_os("RTUN_SOAK").map(|path| File::create(path).unwrap());
    let mut soak = Soak::new(world, into);
    soak.phase = "join";
    soak.join_and_reload(of(JOINS) / 10, of(RELOADS) / 10);
    let [hub_before, ..] = soak.at_rest();
    soak.join_and_reload(of(JOINS) - of(JOINS) / 10, of(RELOADS) - of(RELOADS) / 10);
    let [hub_after, hosts @ ..] = soak.at_rest();
    soak.phase = "restart";
    soak.restart(of(RESTARTS));
    let [_, hosts_after @ ..] = soak.at_rest();
    soak.report();
    let more = |what: &str, before: Vitals, after: Vitals, growth: u64| {
        eprintln!("{what}: before {before:?}, after {after:?}");
        assert!(after.descriptors <= before.descriptors && after.tasks <= before.tasks, "{what}");
        assert!(after.memory <= before.memory + growth, "{what}");
    };
    more("the hub, after joins and reloads", hub_before, hub_after, HUB_GROWTH);
    for (number, (before, after)) in hosts.into_iter().zip(hosts_after).enumerate() {
        let what = format!("the host over {}, after restarts", STAYING[number]);
        more(&what, before, after, HOST_GROWTH);
    }
    soak.end();
}

struct Soak {
    world: World,
    hub: Rtun,
    hosts: [Rtun; 4],
    machines: [NetNamespace; 4],
    crowd: NetNamespace,
    begin: Instant,
    into: Option<File>,
    phase: &'static str,
    joins: Arc<AtomicU32>,
    reloads: u32,
    restarts: u32,
    /// Longest time until packets passed again after a restart.
    longest: Duration,
    /// Processor time so far of the hub and of the first host, with when that was.
    last: (Instant, [f64; 2]),
    next_look: Instant,
}

impl Soak {
    fn new(world: World, mut into: Option<File>) -> Self {
        let hub = start_hub(&world, 0);
        let machines = [1, 2, 3, 4].map(|n| world.machine(&format!("host-{n}")));
        let crowd = world.machine("crowd");
        crowd.sysctl("ipv4/ip_local_port_range", "1024 65535").unwrap();
        let hosts = [0, 1, 2, 3].map(|n| {
            let service = format!("tun:///host-{0}?net=192.168.123.{0}/24&name=mesh", n + 1);
            let node = format!("router+{}://server_ip:{}", STAYING[n], port_of(STAYING[n]));
            world.start_quietly(&machines[n], &["-L", &service, "-F", &node])
        });
        if let Some(into) = &mut into {
            writeln!(
                into,
                "seconds,phase,joins,reloads,restarts,hub_kib,hub_descriptors,hub_tasks,hub_cpu,host_kib,host_descriptors,host_tasks,host_cpu"
            )
            .unwrap();
        }
        let now = Instant::now();
        let soak = Self {
            world,
            hub,
            hosts,
            machines,
            crowd,
            begin: now,
            into,
            phase: "start",
            joins: Arc::default(),
            reloads: 0,
            restarts: 0,
            longest: Duration::ZERO,
            last: (now, [0.0; 2]),
            next_look: now,
        };
        soak.all_reach();
        soak
    }

    fn all_reach(&self) {
        for to in ["192.168.123.2", "192.168.123.3", "192.168.123.4"] {
            wait_until(&format!("the way to {to}"), || pings(&self.machines[0], to));
        }
    }

    /// `joins` joins over all transports in turn, while the hub reads its configuration `reloads` times.
    fn join_and_reload(&mut self, joins: u32, reloads: u32) {
        let (first, failed) = (self.joins.load(Ordering::Relaxed), Arc::new(AtomicU32::new(0)));
        let (count, refused) = (Arc::clone(&self.joins), Arc::clone(&failed));
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let joining = self.crowd.thread(move || {
            let event_loop = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            event_loop.block_on(async {
                let mut all = JoinSet::new();
                let next = Arc::new(AtomicU32::new(first));
                for _ in 0..AT_ONCE {
                    let (next, count, refused, stopped) = (
                        Arc::clone(&next),
                        Arc::clone(&count),
                        Arc::clone(&refused),
                        Arc::clone(&stopped),
                    );
                    all.spawn(async move {
                        while !stopped.load(Ordering::Relaxed) {
                            let n = next.fetch_add(1, Ordering::Relaxed);
                            if n >= first + joins {
                                break;
                            }
                            match visit(n).await {
                                Ok(()) => count.fetch_add(1, Ordering::Relaxed),
                                Err(_) => refused.fetch_add(1, Ordering::Relaxed),
                            };
                        }
                    });
                }
                all.join_all().await;
            });
        });
        let joining = joining.unwrap();
        let first_reload = self.reloads;
        while !joining.is_finished() || self.reloads < first_reload + reloads {
            let done = self.joins.load(Ordering::Relaxed) - first;
            let due = u64::from(done) * u64::from(reloads) / u64::from(joins.max(1));
            if self.reloads < first_reload + due as u32
                || (joining.is_finished() && self.reloads < first_reload + reloads)
            {
                self.reloads += 1;
                write_config(&self.world, self.reloads);
                self.hub.process.signal(Signal::SIGHUP).unwrap();
            }
            self.look();
            thread::sleep(Duration::from_millis(10));
        }
        joining.join().unwrap().unwrap();
        let failed = failed.load(Ordering::Relaxed);
        assert!(failed <= joins / 100, "{failed} of {joins} were not admitted");
        self.all_reach();
    }

    /// The hub ends so often, in an orderly way and not, in turn, and comes back at once.
    fn restart(&mut self, times: u32) {
        for n in 0..times {
            let signal = if n % 2 == 0 { Signal::SIGKILL } else { Signal::SIGTERM };
            self.hub.process.signal(signal).unwrap();
            self.hub.process.wait(Duration::from_secs(5)).unwrap().unwrap();
            self.hub = start_hub(&self.world, self.reloads);
            self.restarts += 1;
            self.last.1[0] = 0.0;
            let begin = Instant::now();
            let soon = Duration::from_millis(50);
            for to in ["192.168.123.2", "192.168.123.3", "192.168.123.4"] {
                while tools::ping(&self.machines[0], ip(to), 56, false, soon).is_err() {
                    self.look();
                    assert!(begin.elapsed() < Duration::from_secs(15), "no way to {to}");
                }
            }
            self.longest = self.longest.max(begin.elapsed());
            self.look();
        }
    }

    /// What the hub and the hosts hold once nobody comes and goes.
    fn at_rest(&mut self) -> [Vitals; 5] {
        let mut all = vec![("the hub", &self.hub)];
        all.extend(self.hosts.iter().map(|host| ("a host", host)));
        let rest = common::vitals::calm(&all, None);
        std::array::from_fn(|n| rest[n].holds)
    }

    /// Writes down how the hub and the first host are, if it is time.
    fn look(&mut self) {
        if Instant::now() < self.next_look {
            return;
        }
        self.next_look = Instant::now() + LOOK_EVERY;
        let both = [&self.hub, &self.hosts[0]];
        // A hub that has just begun answers nobody yet.
        let [Ok(hub), Ok(host)] = both.map(Rtun::vitals) else { return };
        let (time, took) = (both.map(cpu_seconds), self.last.0.elapsed().as_secs_f64());
        let share = |n: usize| ((time[n] - self.last.1[n]) / took * 100.0).max(0.0);
        let line = format!(
            "{:.1},{},{},{},{},{},{},{},{:.1},{},{},{},{:.1}",
            self.begin.elapsed().as_secs_f64(),
            self.phase,
            self.joins.load(Ordering::Relaxed),
            self.reloads,
            self.restarts,
            hub.memory / 1024,
            hub.descriptors,
            hub.tasks,
            share(0),
            host.memory / 1024,
            host.descriptors,
            host.tasks,
            share(1),
        );
        self.last = (Instant::now(), time);
        if let Some(into) = &mut self.into {
            writeln!(into, "{line}").unwrap();
        }
    }

    fn report(&self) {
        eprintln!(
            "{} joins, {} reloads, {} restarts in {:.0?}; after a restart packets passed within {:.2?}",
            self.joins.load(Ordering::Relaxed),
            self.reloads,
            self.restarts,
            self.begin.elapsed(),
            self.longest
        );
    }

    fn end(self) {
        for host in &self.hosts {
            host.stop();
        }
        self.hub.stop();
    }
}

/// Joins as a host of its own and leaves, in one of several ways.
async fn visit(n: u32) -> std::io::Result<()> {
    let transport = TRANSPORTS[n as usize % TRANSPORTS.len()];
    let stream = peer::connect(transport, port_of(transport)).await?;
    let mut id = [0; 16];
    // Half of them are of a namespace that nobody has seen before.
    if n.is_multiple_of(2) {
        id[..4].copy_from_slice(&n.to_be_bytes());
        id[15] = 1;
    }
    let admitted = peer::join(&*stream, &format!("visitor-{}", n % 50), id).await?;
    if !admitted {
        return Err(std::io::ErrorKind::PermissionDenied.into());
    }
    if n.is_multiple_of(3) {
        // An orderly end, which is answered.
        stream.shutdown().await?;
        peer::ends_within(&*stream, Duration::from_secs(2)).await;
    }
    Ok(())
}

fn port_of(transport: &str) -> u16 {
    let place = TRANSPORTS.iter().position(|it| *it == transport).unwrap();
    8443 + place as u16
}

fn write_config(world: &World, version: u32) -> std::path::PathBuf {
    let listeners: String = TRANSPORTS[1..]
        .iter()
        .map(|transport| format!("  - {{addr: ':{}', type: {transport}}}\n", port_of(transport)))
        .collect();
    let routes: String =
        (1..=4).map(|n| format!("  - {{dst: 192.168.123.{n}, gateway: host-{n}}}\n")).collect();
    let config = format!(
        "log: {{level: warn}}
services:
- name: service-0
  addr: :8443
  handler: {{type: router, metadata: {{router: router-0}}}}
  listener: {{type: tcp}}
  listeners:
{listeners}routers:
- name: router-0
  routes:
{routes}  - {{dst: 10.{}.0.0/16, gateway: visitor-1}}
",
        version % 200
    );
    world.file("hub.yaml", &config)
}

fn start_hub(world: &World, version: u32) -> Rtun {
    let config = write_config(world, version);
    let hub = world.start_quietly(&world.hub, &["-C", config.to_str().unwrap()]);
    let listens = || {
        let connect = || std::net::TcpStream::connect((HUB, port_of("grpc")));
        world.hub.run(connect).unwrap().is_ok()
    };
    wait_until("the hub", listens);
    hub
}

/// User and system time of a process so far.
fn cpu_seconds(process: &Rtun) -> f64 {
    let stat =
        fs::read_to_string(format!("/proc/{}/stat", process.process.id())).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|it| it.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}
