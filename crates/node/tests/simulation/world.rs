//! The nodes of a run, what happens to them, and what holds whatever happens.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt::Debug,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rtun_control::{MemoryPlugin, MemorySource, PluginError, SourceError};
use rtun_core::Backoff;
use rtun_node::{DeviceReport, HubReport, KindReport, Node, Surroundings, Traffic, Twin};
use rtun_transport::Stream;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    link::Pace,
    network::{Network, Sources},
    packet::Packet,
    plan::{Intruder, Step},
    setup::{
        HUB, INTRUDER, MACHINES, MOVING, address_of, host, hub, id_of, listen_addresses, name_of,
        namespace_of, number_of, pace, text,
    },
};

/// Time between two rounds of packets.
const ROUND: Duration = Duration::from_millis(250);

/// Time for what happens at once, and a part of what has to be done to be back: four ways there and back of at most 200 ms
/// (to connect, for the upper layer, to join, for a packet by way of the hub) and two rounds take 1.3 s, of which each
/// promise to be back has 0.5 s itself.
const AT_ONCE: Duration = Duration::from_secs(1);

/// So long after the last packet was sent no queue has one, or holds memory.
const AT_REST: Duration = Duration::from_secs(10);

/// A host is back so long after its hub or the way to it is (docs/architecture.md, "When things break"): after a pause of
/// [`Backoff::UNREACHABLE_CAP`] at most.
const BACK: Duration = Backoff::UNREACHABLE_CAP.saturating_add(Duration::from_millis(500));

/// The same after a way was cut. A system asks for a connection again 1 s, 3 s and 7 s after the first time, and a host gives
/// it 3 s, or 6 s with more layers than TCP: an attempt that has just asked in vain for the second time fails 2 s later, or
/// for the third time 3 s later. Then comes a pause.
const DIALLED: Duration = Duration::from_secs(3).saturating_add(BACK);

/// The one end of a connection notices after this much silence that the other is gone.
const SILENCE: Duration = Duration::from_secs(6);

/// 400 packets of 1,400 bytes are carried, at 200 kB/s, or dropped within this time.
const BURST: Duration = Duration::from_secs(3);

/// A host that is joining gives the hub so long for its answer, longer than each attempt to connect may take.
const ANSWER: Duration = Duration::from_secs(10);

/// A host that was refused tries again within this time, after an answer that waits for up to 4 s.
const REFUSED: Duration = Backoff::REFUSED_CAP.saturating_add(Duration::from_secs(4));

/// A task that panics again and again is started again after this time at the latest.
const PANICS: Duration = Duration::from_secs(30);

/// A source that works again is read within this time: a reading that hangs ends after 5 s, a change is looked for each
/// second, and left to rest.
const READ: Duration = Duration::from_secs(8);

/// A plugin that works again is asked within this time: a question that hangs ends after 2 s, the pause after failures takes
/// 5 s, and an answer is cached for 10 s.
const ASKED: Duration = Duration::from_secs(17);

/// A connection that nobody was admitted on is closed after this time.
const UNADMITTED: Duration = Duration::from_secs(10);

pub(crate) struct World {
    random: fastrand::Rng,
    begin: Instant,
    network: Network,
    sources: Sources,
    hub: Option<Node>,
    hosts: BTreeMap<usize, Node>,
    /// How often each machine has moved.
    moved: BTreeMap<usize, u8>,
    panics: u32,
    stacks: BTreeMap<usize, usize>,
    /// Behind which host [`MOVING`] lies, in each namespace.
    behind: [u8; 3],
    revoked: BTreeSet<usize>,
    cut: BTreeSet<usize>,
    stalled: BTreeSet<usize>,
    hub_is_cut: bool,
    source_is_ill: bool,
    plugin_is_ill: bool,
    /// When everything works again that does not work now.
    promised: Instant,
    /// When nothing is left any more of what has ended.
    forgotten: Instant,
    numbers: u64,
    /// Of the packets that have arrived.
    arrived: HashSet<u64>,
    /// From, to and by which address packets have arrived since this was emptied.
    pairs: HashSet<(usize, usize, bool)>,
    /// What intruders hold open.
    intruders: Vec<Arc<dyn Stream>>,
    trace: Vec<String>,
}

impl World {
    /// All nodes run, and have nothing to complain about.
    pub(crate) async fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let network = Network::new();
        let stacks = (1..=MACHINES).map(|machine| (machine, random.usize(..))).collect();
        for machine in 1..=MACHINES {
            network.add(machine, pace(&mut random));
        }
        let local = Pace { latency: Duration::from_millis(1), rate: 1 << 30, capacity: 65_536 };
        network.add(HUB, local);
        network.add(INTRUDER, local);
        let plugin = Arc::new(MemoryPlugin::default());
        for number in 1..=3 {
            plugin.insert_route(id_of(2), address_of(number).into(), name_of(number));
        }
        plugin.insert_route(id_of(2), MOVING.into(), name_of(1));
        let now = Instant::now();
        let mut world = Self {
            random,
            begin: now,
            network,
            sources: Sources {
                routes: MemorySource::new(&text(1), true),
                plugin,
                plugin_panics: Arc::default(),
            },
            hub: None,
            hosts: BTreeMap::new(),
            moved: BTreeMap::new(),
            panics: 0,
            stacks,
            behind: [1; 3],
            revoked: BTreeSet::new(),
            cut: BTreeSet::new(),
            stalled: BTreeSet::new(),
            hub_is_cut: false,
            source_is_ill: false,
            plugin_is_ill: false,
            promised: now,
            forgotten: now,
            numbers: 0,
            arrived: HashSet::new(),
            pairs: HashSet::new(),
            intruders: Vec::new(),
            trace: Vec::new(),
        };
        world.start_hub().await;
        for machine in 1..=MACHINES {
            world.start(machine).await;
        }
        world
    }

    /// Lets time pass, with packets.
    pub(crate) async fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            for _ in 0..3 {
                let from = self.random.usize(1..=MACHINES);
                let to = match self.random.u8(1..=5) {
                    number @ 1..=3 => address_of(number),
                    4 => MOVING,
                    // No table has it.
                    _ => address_of(200),
                };
                let len = self.random.usize(40..1400);
                self.send(from, to, len);
            }
            sleep_until(until.min(Instant::now() + ROUND)).await;
            self.receive();
        }
    }

    /// Has something happen.
    pub(crate) async fn happen(&mut self, step: Step) {
        self.note(&step);
        match step {
            Step::FailSource | Step::HangSource | Step::EmptySource => self.source_is_ill = true,
            Step::FailPlugin | Step::HangPlugin | Step::PanicPlugin => self.plugin_is_ill = true,
            _ => {}
        }
        match step {
            Step::Start(machine) => self.start(machine).await,
            Step::Stop(machine) => self.stop(machine).await,
            Step::Vanish(machine) => self.vanish(machine).await,
            Step::Cut(machine) => {
                self.network.cut(machine, true);
                self.cut.insert(machine);
            }
            Step::Stall(machine) => {
                self.network.stall(machine, true);
                self.stalled.insert(machine);
            }
            Step::Reset(machine) => {
                self.network.reset(machine);
                self.promise(BACK);
            }
            Step::Move(machine) => {
                let moved = self.moved.entry(machine).or_default();
                *moved += 1;
                self.network.move_away(machine, *moved);
                let joined = |node: &Node| device_report(node).connection.is_some();
                match self.hosts.get(&machine).is_some_and(joined) {
                    true => self.promise(SILENCE + BACK),
                    false => self.promise(ANSWER + BACK),
                }
            }
            Step::Panic(machine, side) => {
                self.network.panic(machine, side);
                let pause = self.pause_after_panic();
                self.promise(BACK + pause);
            }
            Step::Reroute => {
                self.behind[0] = 3 - self.behind[0];
                self.configure_hub().await;
            }
            Step::Revoke(machine) => {
                self.revoked.insert(machine);
                self.configure_hub().await;
                self.promise(AT_ONCE);
            }
            Step::Admit(machine) => self.admit(machine).await,
            Step::RestartHub(pause) => {
                self.stop_hub().await;
                self.pass(pause).await;
                self.start_hub().await;
            }
            Step::KillHub(pause) => {
                (1..=MACHINES).for_each(|machine| self.network.reset(machine));
                self.stop_hub().await;
                self.pass(pause).await;
                self.start_hub().await;
            }
            Step::CutHub => {
                (1..=MACHINES).for_each(|machine| self.network.cut(machine, true));
                self.hub_is_cut = true;
            }
            Step::RerouteSource => {
                self.behind[1] = 3 - self.behind[1];
                self.mend_source();
            }
            Step::FailSource => {
                self.sources.routes.fail(SourceError::Unreachable("as asked".into()));
            }
            Step::HangSource => self.sources.routes.hang(),
            Step::EmptySource => self.sources.routes.set(""),
            Step::ReroutePlugin => {
                self.behind[2] = 3 - self.behind[2];
                let host = name_of(self.behind[2]);
                self.sources.plugin.insert_route(id_of(2), MOVING.into(), host);
                self.promise(ASKED);
            }
            Step::FailPlugin => {
                let failure = PluginError::Unreachable("as asked".into());
                self.sources.plugin.fail_with(Some(failure));
            }
            Step::PanicAtAccept => {
                self.network.panic_at_door();
                self.intruders.clear();
                self.knock(Intruder::Leaves, 1).await;
                let pause = self.pause_after_panic();
                self.promise(BACK + pause);
            }
            Step::PanicPlugin => self.sources.plugin_panics.store(true, Ordering::Relaxed),
            Step::HangPlugin => self.sources.plugin.hang(true),
            Step::Burst(machine, count) => {
                for _ in 0..count {
                    let to = address_of(self.random.u8(1..=3));
                    self.send(machine, to, 1400);
                }
                self.promise(BURST);
            }
            Step::Intruders(intruder, count) => self.knock(intruder, count).await,
            Step::Settle => self.settle().await,
        }
    }

    /// Mends what does not work, waits no longer than was promised, and looks at everything.
    async fn settle(&mut self) {
        self.mend();
        self.note(&"mended");
        self.expect_all_reach_all().await;
        self.expect_nothing_left_over().await;
        self.expect_balance().await;
    }

    /// Everybody leaves; nothing of them stays.
    pub(crate) async fn end(mut self) {
        self.settle().await;
        self.intruders.clear();
        for machine in 1..=MACHINES {
            self.stop(machine).await;
        }
        self.note(&"all left");
        self.expect_nothing_left_over().await;
        self.expect_balance().await;
        self.note(&"nothing is left");
        self.stop_hub().await;
        sleep(AT_ONCE).await;
        assert_eq!(self.network.connections(), 0, "connections outlive their nodes");
        let tasks = Handle::current().metrics().num_alive_tasks();
        assert_eq!(tasks, 0, "tasks outlive their nodes");
    }

    fn mend(&mut self) {
        self.promise(Duration::ZERO);
        for machine in std::mem::take(&mut self.cut) {
            self.network.cut(machine, false);
            self.promise(DIALLED);
        }
        for machine in std::mem::take(&mut self.stalled) {
            self.network.stall(machine, false);
            self.promise(BACK);
        }
        if std::mem::take(&mut self.hub_is_cut) {
            (1..=MACHINES).for_each(|machine| self.network.cut(machine, false));
            self.promise(DIALLED);
        }
        if std::mem::take(&mut self.source_is_ill) {
            self.mend_source();
        }
        if std::mem::take(&mut self.plugin_is_ill) {
            self.sources.plugin.fail_with(None);
            self.sources.plugin.hang(false);
            self.sources.plugin_panics.store(false, Ordering::Relaxed);
            self.promise(ASKED);
        }
    }

    fn mend_source(&mut self) {
        self.sources.routes.set(&text(self.behind[1]));
        self.promise(READ);
    }

    /// How long a task that panics once more may wait until it is started again, if all panics were its own.
    fn pause_after_panic(&mut self) -> Duration {
        self.panics += 1;
        (Duration::from_millis(100) * 2_u32.saturating_pow(self.panics)).min(PANICS)
    }

    /// What has been mended works within this time.
    fn promise(&mut self, time: Duration) {
        let now = Instant::now();
        self.promised = self.promised.max(now + time + AT_ONCE);
        self.forgotten = self.forgotten.max(now + time.max(UNADMITTED) + AT_ONCE);
    }

    async fn start(&mut self, machine: usize) {
        if self.hosts.contains_key(&machine) {
            return;
        }
        let config = host(machine, self.stacks[&machine]);
        let node = Node::start_in(self.surroundings(machine), &config, None).await;
        self.hosts.insert(machine, node.expect("a host starts"));
        self.promise(BACK);
    }

    async fn stop(&mut self, machine: usize) {
        if let Some(node) = self.hosts.remove(&machine) {
            let stopped = timeout(Duration::from_secs(5), node.stop()).await;
            assert!(stopped.is_ok(), "the host of machine {machine} does not stop");
            self.promise(SILENCE);
        }
    }

    async fn vanish(&mut self, machine: usize) {
        let moved = self.moved.entry(machine).or_default();
        *moved += 1;
        self.network.move_away(machine, *moved);
        self.stop(machine).await;
        self.promise(SILENCE);
    }

    async fn admit(&mut self, machine: usize) {
        if self.revoked.remove(&machine) {
            self.configure_hub().await;
            self.promise(REFUSED + BACK);
        }
    }

    async fn start_hub(&mut self) {
        let config = hub(self.behind[0], &self.revoked);
        let node = Node::start_in(self.surroundings(HUB), &config, None).await;
        self.hub = Some(node.expect("a hub starts"));
        self.promise(BACK);
    }

    async fn stop_hub(&mut self) {
        if let Some(node) = self.hub.take() {
            let stopped = timeout(Duration::from_secs(5), node.stop()).await;
            assert!(stopped.is_ok(), "the hub does not stop");
        }
    }

    async fn configure_hub(&mut self) {
        let config = hub(self.behind[0], &self.revoked);
        if let Some(node) = &mut self.hub {
            node.apply(&config).await.expect("the configuration is right");
        }
        self.promise(AT_ONCE);
    }

    fn surroundings(&self, machine: usize) -> Surroundings {
        Surroundings::Twin(Arc::new(self.network.on(machine, &self.sources)))
    }

    async fn knock(&mut self, intruder: Intruder, count: usize) {
        let twin = self.network.on(INTRUDER, &self.sources);
        let listen_addresses = listen_addresses();
        for _ in 0..count {
            let address = &listen_addresses[self.random.usize(0..listen_addresses.len())];
            let Ok(Ok(stream)) = timeout(AT_ONCE, twin.connect(address)).await else { continue };
            let written = match intruder {
                Intruder::Silent => Ok(0),
                Intruder::Nonsense => stream.try_write(b"\xffGET nothing of yours\r\n\r\n"),
                // Of a request of rtun's protocol, of HTTP, and of HTTP/2.
                Intruder::HalfRequest => {
                    let halves: [&[u8]; 3] = [&[1, 6, 0, 40, 0], b"GET /ws HT", b"PRI * HTTP/2.0"];
                    stream.try_write(halves[self.random.usize(0..3)])
                }
                Intruder::Leaves => continue,
            };
            drop(written);
            self.intruders.push(stream);
        }
        self.promise(UNADMITTED);
    }

    fn send(&mut self, from: usize, destination: std::net::Ipv4Addr, len: usize) {
        if !self.hosts.contains_key(&from) {
            return;
        }
        self.numbers += 1;
        let (namespace, source) = (namespace_of(from), address_of(number_of(from)));
        let packet = Packet { namespace, source, destination, number: self.numbers };
        self.network.send(from, &packet.encode(len));
    }

    /// Takes what has arrived, and looks whether it may have.
    fn receive(&mut self) {
        for machine in 1..=MACHINES {
            for bytes in self.network.received(machine) {
                let packet = Packet::decode(&bytes);
                let number = number_of(machine);
                assert_eq!(packet.namespace, namespace_of(machine), "a packet crosses: {packet:?}");
                let moving = packet.destination == MOVING;
                let is_mine = packet.destination == address_of(number) || moving && number < 3;
                assert!(is_mine, "machine {machine} gets {packet:?}");
                assert!(self.arrived.insert(packet.number), "a packet comes twice: {packet:?}");
                let from = usize::from(packet.source.octets()[3]) + 3 * packet.namespace;
                self.pairs.insert((from, machine, moving));
            }
        }
    }

    /// Those that ought to be connected.
    fn connected(&self) -> Vec<usize> {
        self.hosts.keys().copied().filter(|machine| !self.revoked.contains(machine)).collect()
    }

    /// From, to, and by which address packets ought to arrive.
    fn expected_pairs(&self) -> Vec<(usize, usize, bool)> {
        let connected = self.connected();
        let mut pairs = Vec::new();
        for (from, to) in
            connected.iter().flat_map(|from| connected.iter().map(move |to| (from, to)))
        {
            let (from, to) = (*from, *to);
            if from != to && namespace_of(from) == namespace_of(to) {
                pairs.push((from, to, false));
                if number_of(to) == self.behind[namespace_of(to)] {
                    pairs.push((from, to, true));
                }
            }
        }
        pairs
    }

    async fn expect_all_reach_all(&mut self) {
        self.pairs.clear();
        let expected = self.expected_pairs();
        loop {
            let missing: Vec<_> =
                expected.iter().filter(|pair| !self.pairs.contains(pair)).copied().collect();
            if missing.is_empty() {
                return;
            }
            assert!(
                Instant::now() <= self.promised,
                "it was promised that these would reach each other (from, to, by the address that moves): {missing:?}"
            );
            for (from, to, moving) in missing {
                let destination = if moving { MOVING } else { address_of(number_of(to)) };
                self.send(from, destination, 100);
            }
            sleep(ROUND).await;
            self.receive();
        }
    }

    /// What has ended leaves nothing.
    async fn expect_nothing_left_over(&mut self) {
        let connected = self.connected();
        loop {
            let hub = self.hub_report();
            let mut hosts: Vec<_> = hub
                .namespaces
                .iter()
                .flat_map(|namespace| {
                    namespace.hosts.iter().map(|host| (namespace.id, host.host.clone()))
                })
                .collect();
            hosts.sort();
            let expected: Vec<_> = connected
                .iter()
                .map(|machine| (id_of(namespace_of(*machine)), name_of(number_of(*machine))))
                .collect();
            let namespaces: Vec<_> = hub.namespaces.iter().map(|namespace| namespace.id).collect();
            let asked = connected.iter().any(|machine| namespace_of(*machine) == 2);
            let expected_namespaces: Vec<_> = (0..if asked { 3 } else { 2 }).map(id_of).collect();
            let intruders = self.intruders.len();
            let connections = self.network.connections() - intruders;
            // Those that are refused may be trying again.
            let refused = self.hosts.len() - connected.len();
            let unadmitted = hub.unadmitted.saturating_sub(refused);
            let connections = connections.clamp(connected.len(), usize::MAX)
                - (connections.saturating_sub(connected.len())).min(refused);
            let left = (hosts, namespaces, unadmitted, hub.waiting_for_plugins, connections);
            let expected = (expected, expected_namespaces, 0, 0, connected.len());
            if left == expected {
                break;
            }
            assert!(
                Instant::now() <= self.forgotten,
                "hosts, namespaces, unadmitted connections, packets waiting for plugins, connections: {left:?} in the place \
                 of {expected:?}"
            );
            sleep(ROUND).await;
            self.receive();
        }
    }

    /// Once traffic rests, every packet that went in has come out or is counted as lost.
    async fn expect_balance(&mut self) {
        let begin = Instant::now();
        let (hub, hosts) = loop {
            sleep(AT_ONCE).await;
            self.receive();
            let hub = self.hub_report();
            let hosts: Vec<_> =
                self.hosts.iter().map(|(machine, node)| (*machine, device_report(node))).collect();
            let waiting: Vec<_> = hosts
                .iter()
                .map(|(machine, host)| (*machine, host.queued.packets))
                .filter(|(_, packets)| *packets > 0)
                .collect();
            if waiting.is_empty() && (queued(&hub), hub.queue_memory) == (0, 0) {
                break (hub, hosts);
            }
            assert!(
                begin.elapsed() < AT_REST,
                "at the hub {} packets wait for a way that takes them, its queues hold {} bytes; at hosts (machine, packets): \
                 {waiting:?}",
                queued(&hub),
                hub.queue_memory
            );
        };
        balances("the hub", &hub.traffic());
        for (_, host) in hosts {
            balances("what a host sent", &host.sent);
            balances("what a host received", &host.received);
        }
    }

    fn hub_report(&self) -> HubReport {
        let status = self.hub.as_ref().expect("the hub runs").board().status();
        match status.services.into_iter().next().map(|service| service.kind) {
            Some(KindReport::Hub(report)) => *report,
            other => panic!("{other:?}"),
        }
    }

    fn note(&mut self, what: &impl Debug) {
        let seconds = self.begin.elapsed().as_secs_f64();
        self.trace.push(format!("{seconds:9.3} {what:?}"));
    }
}

impl Drop for World {
    /// What led to a failure.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.note(&"failed");
            eprintln!("{}", self.trace.join("\n"));
        }
    }
}

fn device_report(node: &Node) -> DeviceReport {
    match node.board().status().services.into_iter().next().map(|service| service.kind) {
        Some(KindReport::Host(report)) => *report,
        other => panic!("{other:?}"),
    }
}

fn queued(hub: &HubReport) -> u64 {
    hub.hosts().map(|host| host.queued.packets).sum()
}

fn balances(whose: &str, traffic: &Traffic) {
    let Traffic { packets_in, packets_out, copies, .. } = traffic;
    assert_eq!(
        packets_in + copies,
        packets_out + traffic.all_dropped(),
        "{whose}: {}",
        traffic.drops()
    );
}
