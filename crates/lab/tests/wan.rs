//! The link emulator has the effects that are set: otherwise no measurement over it would be valid.
//!
//! ```text
//!   a (10.9.0.1, fd09::1) === wan === b (10.9.0.2, fd09::2)
//! ```

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use rtun_lab::tools::{PingError, UdpLoad, ping, tcp_hash_transfer, udp_load, udp_receiver};
use rtun_lab::{Direction, Impairment, Lab, NetNamespace, Rate, Reorder, Wan, WanConfig};

const PATIENCE: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_millis(300);

struct Pair {
    wan: Wan,
    a: NetNamespace,
    b: NetNamespace,
    _lab: Lab,
}

/// Two machines with a long path; `None`, with a message, if it cannot be built.
fn pair(config: &WanConfig) -> Option<Pair> {
    if let Err(reason) = rtun_lab::tun_available() {
        assert!(std::env::var_os("RTUN_TESTS_MUST_RUN").is_none(), "cannot run: {reason}");
        eprintln!("skipped: {reason}");
        return None;
    }
    let lab = Lab::new().unwrap();
    let (a, b) = (lab.namespace("a").unwrap(), lab.namespace("b").unwrap());
    let wan = lab.wan(&a, "eth0", &b, "eth1", config).unwrap();
    for (end, device, number) in [(&a, "eth0", 1), (&b, "eth1", 2)] {
        end.addr_add(device, &format!("10.9.0.{number}/24")).unwrap();
        end.addr_add(device, &format!("fd09::{number}/64")).unwrap();
    }
    Some(Pair { wan, a, b, _lab: lab })
}

fn one_way(seed: u64, a_to_b: Impairment) -> WanConfig {
    WanConfig { a_to_b, ..WanConfig::symmetric(seed, Impairment::default()) }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Pair {
    fn load(&self, payload: usize, rate: f64, during: Duration) -> UdpLoad<'_> {
        let at = "10.9.0.2:6000".parse().unwrap();
        let (client, server) = (&self.a, &self.b);
        UdpLoad { client, server, connect: at, listen: at, payload, rate, during }
    }

    /// Sends `count` numbered datagrams from a to b, and returns their numbers in the order of arrival.
    fn numbers(&self, count: u32) -> Vec<u32> {
        let receiver = self.b.run(|| udp_receiver("10.9.0.2:6000".parse().unwrap())).unwrap();
        let receiver = receiver.unwrap();
        let sender = self.a.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
        let mut arrived = Vec::new();
        let mut buffer = [0; 4];
        for number in 0..count {
            sender.send_to(&number.to_be_bytes(), "10.9.0.2:6000").unwrap();
            // No device's queue is ever near full.
            if number % 100 == 99 {
                std::thread::sleep(ms(1));
            }
        }
        while receiver.recv(&mut buffer).is_ok() {
            arrived.push(u32::from_be_bytes(buffer));
        }
        arrived
    }
}

#[test]
fn packets_travel_as_long_as_set() {
    for delays in [[20, 0], [0, 20], [10, 10]] {
        let [a_to_b, b_to_a] =
            delays.map(|delay| Impairment { delay: ms(delay), ..Impairment::default() });
        let config = WanConfig { seed: 1, mtu: 1500, a_to_b, b_to_a };
        let Some(pair) = pair(&config) else { return };
        let mut times: Vec<_> =
            (0..51).map(|_| ping(&pair.a, ip("10.9.0.2"), 56, false, PATIENCE).unwrap()).collect();
        times.sort_unstable();
        let (least, median) = (times[0].as_secs_f64() * 1e3, times[25].as_secs_f64() * 1e3);
        eprintln!("{delays:?} ms set: {least:.3} ms at least, median {median:.3}");
        // The rest is the time in both systems, on a machine that others use too.
        assert!(least >= 20.0 && median < 21.0, "{least} {median}");
    }
}

#[test]
fn as_many_are_lost_as_set() {
    let lossy = Impairment { loss: 0.01, delay: ms(5), ..Impairment::default() };
    let Some(pair) = pair(&one_way(42, lossy)) else { return };
    let (mut sent, mut arrived) = (0, 0);
    while sent < 100_000 {
        let run = udp_load(&pair.load(100, 25_000.0, ms(1000))).unwrap();
        (sent, arrived) = (sent + run.sent, arrived + run.arrived);
    }
    let counters = pair.wan.counters(Direction::AToB);
    let loss = 1.0 - arrived as f64 / sent as f64;
    eprintln!("1 % set: {:.4} % of {sent} lost, {counters:?}", 100.0 * loss);
    assert_eq!((counters.entered, counters.delivered), (sent, arrived), "{counters:?}");
    assert_eq!(counters.delivered + counters.lost, sent, "{counters:?}");
    assert!((loss - 0.01).abs() < 0.0015, "{loss} {counters:?}");
    let back = pair.wan.counters(Direction::BToA);
    assert_eq!(back.entered, 0, "{back:?}");
}

#[test]
fn the_same_seed_loses_the_same_packets() {
    let lossy = Impairment { loss: 0.1, ..Impairment::default() };
    let arrived: Vec<_> = [7, 7, 8]
        .into_iter()
        .filter_map(|seed| pair(&one_way(seed, lossy.clone())).map(|pair| pair.numbers(3000)))
        .collect();
    let [first, again, other] = &arrived[..] else { return };
    assert!((2600..2800).contains(&first.len()), "{}", first.len());
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[test]
fn the_rate_is_kept_and_the_queue_is_bounded() {
    // 20 Mbit/s, and 20 ms of it may wait.
    let rate = Some(Rate { bits_per_second: 20_000_000, queue: 50_000 });
    let Some(pair) = pair(&one_way(1, Impairment { rate, ..Impairment::default() })) else {
        return;
    };
    let (run, echo) = std::thread::scope(|scope| {
        let load = scope.spawn(|| udp_load(&pair.load(1172, 4000.0, ms(1500))).unwrap());
        std::thread::sleep(ms(500));
        let mut echoes: Vec<_> = (0..20)
            .filter_map(|_| ping(&pair.a, ip("10.9.0.2"), 56, false, SILENCE).ok())
            .collect();
        echoes.sort_unstable();
        (load.join().unwrap(), echoes.get(echoes.len() / 2).copied())
    });
    // With the IP and UDP headers; packets that still waited at the end arrived after the time.
    let mbit =
        (run.arrived as f64 * 1200.0 * 8.0 - 50_000.0 * 8.0) / run.elapsed.as_secs_f64() / 1e6;
    let counters = pair.wan.counters(Direction::AToB);
    eprintln!("20 Mbit/s set: {mbit:.3}; an echo waits for {echo:?}; {counters:?}");
    assert!((mbit - 20.0).abs() < 1.0, "{mbit} {run:?}");
    assert_eq!(counters.delivered + counters.queue_full, counters.entered, "{counters:?}");
    assert_eq!(counters.failed, 0);
    assert!(counters.queue_full > 1000, "{counters:?}");
    assert!(echo.is_some_and(|echo| echo > ms(15) && echo < ms(30)), "{echo:?}");
}

#[test]
fn a_blackhole_is_silent_and_can_be_ended() {
    let slow = Impairment { delay: ms(50), ..Impairment::default() };
    let Some(pair) = pair(&WanConfig::symmetric(1, slow)) else { return };
    let echo = || ping(&pair.a, ip("10.9.0.2"), 56, false, SILENCE);
    echo().unwrap();
    pair.wan.blackhole(true);
    assert!(matches!(echo(), Err(PingError::TimedOut)));
    pair.wan.blackhole(false);
    echo().unwrap();
    // In one direction only, and while the request is in flight.
    std::thread::scope(|scope| {
        let on_its_way = scope.spawn(echo);
        std::thread::sleep(ms(25));
        pair.wan.change(Direction::AToB, |way| way.blackhole = true);
        let lost = on_its_way.join().unwrap();
        assert!(matches!(lost, Err(PingError::TimedOut)), "{lost:?}");
    });
    let counters = pair.wan.counters(Direction::AToB);
    assert_eq!((counters.entered, counters.delivered, counters.blackholed), (4, 2, 2));
    let back = pair.wan.counters(Direction::BToA);
    assert_eq!((back.entered, back.delivered, back.blackholed), (2, 2, 0));
}

#[test]
fn packets_arrive_twice_or_late_where_that_is_set() {
    let twice = Impairment { duplicate: 0.1, ..Impairment::default() };
    let Some(pair) = pair(&one_way(5, twice)) else { return };
    let arrived = pair.numbers(2000);
    let mut once = arrived.clone();
    once.dedup();
    assert_eq!(once, (0..2000).collect::<Vec<_>>());
    assert!((150..250).contains(&(arrived.len() - once.len())), "{}", arrived.len());
    let late = Some(Reorder { share: 0.1, by: ms(2) });
    pair.wan.set(Direction::AToB, Impairment { reorder: late, ..Impairment::default() });
    let arrived = pair.numbers(2000);
    let mut latest = 0;
    let late = arrived.iter().filter(|number| {
        latest = latest.max(**number);
        **number < latest
    });
    let late = late.count();
    assert!((50..250).contains(&late), "{late}");
    let mut sorted = arrived.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..2000).collect::<Vec<_>>());
}

#[test]
fn streams_cross_in_packets_of_the_mtu_and_whole() {
    let bad = Impairment {
        delay: ms(2),
        jitter: ms(1),
        loss: 0.005,
        duplicate: 0.01,
        reorder: Some(Reorder { share: 0.01, by: ms(1) }),
        ..Impairment::default()
    };
    let Some(pair) = pair(&WanConfig::symmetric(3, bad)) else { return };
    const BYTES: u64 = 2_000_000;
    for address in ["10.9.0.2:0", "[fd09::2]:0"] {
        let before = pair.wan.counters(Direction::AToB);
        tcp_hash_transfer(&pair.a, &pair.b, address.parse().unwrap(), BYTES).unwrap();
        let after = pair.wan.counters(Direction::AToB);
        // GSO packets would be a few dozen.
        assert!(after.entered - before.entered >= BYTES / 1460, "{after:?}");
        assert_eq!(after.failed, 0);
    }
}

#[test]
fn a_dropped_link_is_gone() {
    let Some(pair) = pair(&WanConfig::symmetric(1, Impairment::default())) else { return };
    ping(&pair.b, ip("10.9.0.1"), 1400, true, PATIENCE).unwrap();
    drop(pair.wan);
    let gone = ping(&pair.b, ip("10.9.0.1"), 1400, true, SILENCE);
    assert!(matches!(gone, Err(PingError::Send(_))), "{gone:?}");
    let error = pair.a.addr_add("eth0", "10.9.0.9/24").unwrap_err().to_string();
    assert!(error.contains("looking for network device eth0"), "{error}");
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let Some(pair) = pair(&WanConfig::symmetric(1, Impairment::default())) else { return };
    let config = WanConfig::symmetric(1, Impairment::default());
    let error = pair._lab.wan(&pair.a, "eth0", &pair.b, "eth2", &config).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("connecting a (eth0) with b (eth2)"), "{error}");
    ping(&pair.a, ip("10.9.0.2"), 56, false, PATIENCE).unwrap();
}
