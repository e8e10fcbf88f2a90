//! What waits in front of slow and stalled hosts: how long, in how much memory, and how little others notice of it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use common::{
    Rtun, World, at, count_of,
    gso_packet::sum,
    ip,
    raw::{RawHost, udp, udp_to},
    reaches, wait_until,
};
use rtun_lab::{NetNamespace, tools};
use rtun_proto::extension::Capabilities;

const HUB: &str = "
services:
- name: service-0
  addr: :8443
  handler: {type: router, metadata: {router: router-0}}
  listener: {type: tcp}
routers:
- name: router-0
  routes:
";

const MIB: u64 = 1024 * 1024;

/// A hub with a route to `host-N` for each N, `192.168.H.L` of N = 256 H + L.
fn hub(world: &World, hosts: impl Iterator<Item = usize>) -> Rtun {
    let route = |n| format!("  - {{dst: {}, gateway: host-{n}}}\n", inside(n));
    world.hub(&(HUB.to_owned() + &hosts.map(route).collect::<String>()))
}

fn inside(n: usize) -> String {
    format!("192.168.{}.{}", n / 256, n % 256)
}

fn start(world: &World, machine: &NetNamespace, n: usize, more: &str) -> Rtun {
    let service = format!("tun:///host-{n}?net={}/16{more}", inside(n));
    world.start(machine, &["-L", &service, "-F", "router://server_ip:8443"])
}

/// Has the systems of both ends keep little for a connection, so that what waits, waits in the hub.
fn with_small_buffers(world: &World, machine: &NetNamespace) {
    machine.sysctl("ipv4/tcp_rmem", "4096 16384 16384").unwrap();
    world.hub.sysctl("ipv4/tcp_wmem", "4096 16384 16384").unwrap();
}

#[test]
fn hosts_with_and_without_gso_frames_all_transfer_at_the_same_time() {
    let Some(world) = World::new() else { return };
    let hub = hub(&world, 1..=4);
    let machines = [1, 2, 3, 4].map(|n| world.machine(&format!("host-{n}")));
    let more = ["", "", "&superFrames=false", "&offload=false"];
    let hosts: Vec<_> = (0..4).map(|n| start(&world, &machines[n], n + 1, more[n])).collect();
    hub.wait_for_nth("host speaks the extension", 4);
    let greetings = hub.said("host speaks the extension");
    for (n, expected) in [(1, true), (2, true), (3, false), (4, false)] {
        let line = greetings.iter().find(|line| line["host"] == format!("host-{n}")).unwrap();
        assert_eq!(line["super_frames"], expected, "{line}");
    }
    let pairs: Vec<_> =
        (0..4).flat_map(|from| (0..4).map(move |to| (from, to))).filter(|(a, b)| a != b).collect();
    for (from, to) in &pairs {
        reaches(&machines[*from], &inside(to + 1));
    }
    let transfers: Vec<_> = pairs
        .into_iter()
        .map(|(from, to)| {
            let (sender, receiver) = (machines[from].clone(), machines[to].clone());
            let address = at(&inside(to + 1), 7000 + from as u16);
            thread::spawn(move || {
                tools::tcp_hash_transfer(&sender, &receiver, address, 6 * MIB)
                    .unwrap_or_else(|error| panic!("host {from} to host {to}: {error}"))
            })
        })
        .collect();
    for transfer in transfers {
        transfer.join().unwrap();
    }
    for host in &hosts {
        host.stop();
    }
    let report = hub.stop_balanced();
    let packets = report["packets_out"].as_u64().unwrap();
    assert!(packets > 12 * 6 * MIB / 1380, "segments count as packets: {report}");
}

#[test]
fn hundreds_of_stalled_hosts_hold_no_more_than_the_budget_and_hold_up_nobody() {
    let Some(world) = World::new() else { return };
    const STALLED: usize = 300;
    /// Of all queues, whatever their number.
    const BUDGET: u64 = 256 * MIB;
    let (flooder, first) = (3, 4);
    let hub = hub(&world, 1..first + STALLED);
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let _honest = [start(&world, &one, 1, ""), start(&world, &two, 2, "")];
    reaches(&one, &inside(2));
    let crowd = world.machine("crowd");
    with_small_buffers(&world, &crowd);
    let stalled: Vec<_> =
        (first..first + STALLED).map(|n| RawHost::join(&crowd, &format!("host-{n}"))).collect();
    let before = memory(&hub, "VmRSS");

    let sender = world.machine("flooder");
    let flood = RawHost::join_greeting(&sender, &format!("host-{flooder}"), 1, Capabilities::NONE);
    let (stop, full) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let flooding = {
        let (stop, full, stream) =
            (Arc::clone(&stop), Arc::clone(&full), flood.stream.try_clone().unwrap());
        let frames: Vec<_> = (first..first + STALLED)
            .map(|n| framed(&udp(&inside(flooder), &inside(n), &[0x5a; 16_000])))
            .collect();
        thread::spawn(move || send_in_turn(stream, &frames, &stop, &full))
    };
    wait_until("a used budget", || hub.dropped("queue_budget") > 1000);
    full.store(true, Ordering::Relaxed);
    let mut times: Vec<_> = (0..60)
        .map(|_| tools::ping(&one, ip(&inside(2)), 56, false, Duration::from_secs(1)).unwrap())
        .collect();
    let report = hub.hub_report();
    let used = memory(&hub, "VmHWM");
    assert!(hub.said("host left").is_empty(), "all of them are still there");
    stop.store(true, Ordering::Relaxed);
    flooding.join().unwrap();

    times.sort();
    assert!(times[30] < Duration::from_millis(20), "median ping: {:?}", times[30]);
    // What is read and sorted besides, and what the allocator does not give back.
    let bound = before + BUDGET + 48 * MIB;
    assert!(used < bound, "{} MiB, of at most {}", used / MIB, bound / MIB);
    assert!(used > before + BUDGET / 2, "the queues are full: {} MiB", used / MIB);
    let mut reasons = reasons(&report);
    assert!(reasons.remove("queue_budget"));
    for reason in ["queue_full_oldest", "queue_codel", "queue_too_old"] {
        reasons.remove(reason);
    }
    assert!(reasons.is_empty(), "{report}");
    drop((stalled, flood));
    hub.stop_balanced();
}

#[test]
fn books_balance_although_hosts_come_and_go_under_load() {
    let Some(world) = World::new() else { return };
    let hub = hub(&world, 1..=4);
    let machine = world.machine("hosts");
    let stop = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = [1, 2]
        .into_iter()
        .map(|n| {
            let sender = RawHost::join(&machine, &format!("host-{n}"));
            let frames: Vec<_> = [3, 4]
                .map(|to| framed(&udp(&inside(n), &inside(to), &[0x5a; 1000])).repeat(20))
                .into();
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                send_in_turn(sender.stream, &frames, &stop, &AtomicBool::new(false))
            })
        })
        .collect();
    // The log says so of a host at most ten times a second.
    let left = || {
        let ended = hub.status()["services"][0]["ended"].clone();
        let counts = ended.as_object().into_iter().flat_map(|ended| ended.values().cloned());
        counts.filter_map(|it| it["count"].as_u64()).sum::<u64>()
    };
    for round in 0..50 {
        let mut three = RawHost::join(&machine, "host-3");
        let mut four = RawHost::join(&machine, "host-4");
        three.receive();
        four.receive();
        drop((three, four));
        wait_until("both have left", || left() >= 2 * round + 2);
    }
    stop.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.join().unwrap();
    }
    wait_until("all have left", || left() >= 102);
    hub.stop_balanced();
}

/// The first host sends 16 times its share, in 500 flows from as many addresses; the second five times its share, in one flow.
#[test]
fn many_flows_and_addresses_get_a_host_no_more_of_a_slow_one_than_others_have() {
    const RATE: f64 = 1e6;
    const FLOWS: u16 = 500;
    let Some(world) = World::new() else { return };
    let config = HUB.to_owned()
        + "  - {dst: 10.7.0.0/16, gateway: greedy}\n  - {dst: 10.8.0.1, gateway: honest}\n"
        + "  - {dst: 10.9.0.1, gateway: slow}\n";
    let hub = world.hub(&config);
    let machine = world.machine("hosts");
    with_small_buffers(&world, &machine);
    let [greedy, honest, mut slow] =
        ["greedy", "honest", "slow"].map(|n| RawHost::join(&machine, n));
    let one = [framed(&udp_to("10.8.0.1", "10.9.0.1", 1, &[0x5a; 1372]))];
    let many: Vec<_> = (0..FLOWS)
        .map(|n| {
            let source = format!("10.7.{}.{}", n / 250, n % 250 + 1);
            framed(&udp_to(&source, "10.9.0.1", n, &[0x5a; 1372]))
        })
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    // Frames in a millisecond: 1.4 MB/s each.
    let senders = [(greedy, many, 6), (honest, one.to_vec(), 2)].map(|(host, frames, each)| {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            let mut stream = host.stream;
            let (begin, mut sent) = (Instant::now(), 0);
            for frame in frames.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                while sent / each > begin.elapsed().as_millis() {
                    thread::sleep(Duration::from_millis(1));
                }
                stream.write_all(frame).unwrap();
                sent += 1;
            }
        })
    });
    let (begin, mut read, mut buffer) = (Instant::now(), 0, Vec::new());
    let mut chunk = [0; 4096];
    let mut bytes = [0_usize; 2];
    while begin.elapsed() < Duration::from_secs(5) {
        let due = begin + Duration::from_secs_f64(read as f64 / RATE);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let len = slow.stream.read(&mut chunk).unwrap();
        read += len;
        buffer.extend_from_slice(&chunk[..len]);
        while buffer.len() >= 2 {
            let frame = 2 + usize::from(u16::from_be_bytes([buffer[0], buffer[1]]));
            if buffer.len() < frame {
                break;
            }
            let packet: Vec<u8> = buffer.drain(..frame).skip(2).collect();
            // Once the queue stands.
            if begin.elapsed() > Duration::from_secs(1) {
                bytes[usize::from(packet[13] == 8)] += packet.len();
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    drop(slow);
    for sender in senders {
        sender.join().unwrap();
    }
    let [of_greedy, of_honest] = bytes;
    let share = of_honest as f64 / ((of_greedy + of_honest) as f64 / 2.0);
    assert!(of_greedy > 1_000_000, "{of_greedy} bytes: the host was busy");
    assert!(share > 0.9, "{share:.3} of a fair share: {of_honest} bytes, the other {of_greedy}");
    hub.stop_balanced();
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&(packet.len() as u16).to_be_bytes()[..], packet].concat()
}

/// Sends the frames round and round: as fast as the hub takes them, and once it is full one in a millisecond.
fn send_in_turn(mut stream: TcpStream, frames: &[Vec<u8>], stop: &AtomicBool, full: &AtomicBool) {
    for frame in frames.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        stream.write_all(frame).unwrap();
        if full.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A figure of the process in bytes: `VmRSS`, what it holds in memory; `VmHWM`, the most it held so far.
fn memory(hub: &Rtun, figure: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", hub.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(figure)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// For what packets were lost.
fn reasons(report: &serde_json::Value) -> BTreeSet<String> {
    let drops = report["drops"].as_str().unwrap();
    drops.split(' ').filter_map(|drop| Some(drop.split_once('=')?.0.to_owned())).collect()
}

/// The UDP ports of the two flows below.
const BULK: u16 = 1;
const PROBE: u16 = 2;

/// What a slow reader has seen of both flows so far.
#[derive(Default)]
struct Seen {
    last_bulk: AtomicU64,
    marked: AtomicU64,
    probes: AtomicU64,
}

#[test]
fn a_standing_queue_is_marked_and_a_sparse_flow_does_not_wait_in_it() {
    let Some(world) = World::new() else { return };
    let hub = hub(&world, 1..=2);
    let machine = world.machine("hosts");
    with_small_buffers(&world, &machine);
    let mut sender = RawHost::join(&machine, "host-1");
    let slow = RawHost::join(&machine, "host-2");
    let epoch = Instant::now();
    let seen = Arc::new(Seen::default());
    let connection = slow.stream.try_clone().unwrap();
    let reader = {
        let seen = Arc::clone(&seen);
        thread::spawn(move || read_slowly(slow, epoch, &seen))
    };
    // As a TCP connection with a window of 100 packets that never shrinks.
    const WINDOW: u64 = 100;
    const PROBES: u64 = 150;
    let (mut sent, mut probes) = (0, 0);
    let mut next_probe = epoch + Duration::from_secs(1);
    while probes < PROBES {
        let stamp = epoch.elapsed().as_micros() as u64;
        let numbered = |number: u64| [number.to_be_bytes(), stamp.to_be_bytes()].concat();
        if Instant::now() >= next_probe {
            sender.send(&udp_to(&inside(1), &inside(2), PROBE, &numbered(0)));
            probes += 1;
            next_probe += Duration::from_millis(20);
        }
        if sent - seen.last_bulk.load(Ordering::Relaxed) < WINDOW {
            sent += 1;
            let mut payload = numbered(sent);
            payload.resize(1372, 0);
            sender.send(&with_ect(udp_to(&inside(1), &inside(2), BULK, &payload)));
        } else {
            thread::sleep(Duration::from_millis(1));
        }
    }
    let arrived = || seen.probes.load(Ordering::Relaxed) * 100 >= PROBES * 99;
    wait_until("99 of 100 probes", arrived);
    connection.shutdown(Shutdown::Both).unwrap();
    let (mut bulk_times, mut probe_times) = reader.join().unwrap();
    bulk_times.sort();
    probe_times.sort();
    let bulk_median = bulk_times[bulk_times.len() / 2];
    assert!(bulk_median > Duration::from_millis(60), "a queue stands: {bulk_median:?}");
    assert!(seen.marked.load(Ordering::Relaxed) > 5, "packets are marked");
    let p99 = probe_times[probe_times.len() * 99 / 100];
    assert!(p99 < Duration::from_millis(100), "p99 {p99:?}, bulk median {bulk_median:?}");
    let report = hub.stop_balanced();
    assert_eq!(count_of(&report, "queue_codel"), 0, "what may be marked is not dropped: {report}");
}

/// The packet with ECT(0).
fn with_ect(mut packet: Vec<u8>) -> Vec<u8> {
    packet[1] = 2;
    packet[10..12].fill(0);
    let sum = !sum(&[&packet[..20]]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// Reads about 1 MB/s until the connection ends; answers how long the packets of either flow took.
fn read_slowly(mut host: RawHost, epoch: Instant, seen: &Seen) -> (Vec<Duration>, Vec<Duration>) {
    const RATE: f64 = 1e6;
    let (mut bulk_times, mut probe_times) = (Vec::new(), Vec::new());
    let (begin, mut read, mut buffer) = (Instant::now(), 0, Vec::new());
    let mut chunk = [0; 4096];
    loop {
        let due = begin + Duration::from_secs_f64(read as f64 / RATE);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let Ok(len @ 1..) = host.stream.read(&mut chunk) else {
            return (bulk_times, probe_times);
        };
        read += len;
        buffer.extend_from_slice(&chunk[..len]);
        while buffer.len() >= 2 {
            let frame = 2 + usize::from(u16::from_be_bytes([buffer[0], buffer[1]]));
            if buffer.len() < frame {
                break;
            }
            let packet: Vec<u8> = buffer.drain(..frame).skip(2).collect();
            let number = |at: usize| u64::from_be_bytes(packet[at..at + 8].try_into().unwrap());
            assert_eq!(!sum(&[&packet[..20]]), 0, "the header's checksum is right");
            let took = epoch.elapsed() - Duration::from_micros(number(36));
            if packet[23] == PROBE as u8 {
                assert_eq!(packet[1], 0, "what is not ECN-capable is not marked");
                probe_times.push(took);
                seen.probes.fetch_add(1, Ordering::Relaxed);
            } else {
                seen.last_bulk.store(number(28), Ordering::Relaxed);
                seen.marked.fetch_add(u64::from(packet[1] == 3), Ordering::Relaxed);
                bulk_times.push(took);
            }
        }
    }
}
