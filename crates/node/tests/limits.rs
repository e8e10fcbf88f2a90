//! The limits of a hub, as its hosts see them on the wire.

#![allow(clippy::unwrap_used, reason = "a test that cannot reach its hub has failed")]

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use rtun_core::{
    DropReason, Parsed, Route, Row, parse_connection_limits, parse_request_limits,
    parse_traffic_limits,
};
use rtun_node::{KindReport, Node, Traffic};
use rtun_proto::relay::{Association, Network, Request};
use rtun_settings::{
    Config, HubLimits, HubRules, HubSettings, LimiterScope, LimiterSettings, ListenerSettings,
    LocatedRow, LogSettings, Named, Provider, Rows, Service, ServiceKind,
};
use tokio::runtime::Runtime;

/// Of an IPv4 packet of the flood.
const PACKET: usize = 1400;

struct Hub {
    runtime: Runtime,
    node: Node,
    address: SocketAddr,
}

impl Hub {
    fn start(limits: HubLimits) -> Self {
        let runtime = Runtime::new().unwrap();
        let node = runtime.block_on(Node::start(&config(limits), None)).unwrap();
        let address = node.hub_address("hub").unwrap();
        Self { runtime, node, address }
    }

    fn apply(&mut self, limits: HubLimits) {
        self.runtime.block_on(self.node.apply(&config(limits))).unwrap();
    }

    fn traffic(&self, host: &str) -> Traffic {
        let services = self.node.board().status().services;
        let KindReport::Hub(hub) = &services[0].kind else { panic!("a hub") };
        let mut hosts = hub.namespaces.iter().flat_map(|namespace| &namespace.hosts);
        hosts.find(|report| report.host.as_str() == host).unwrap().traffic.clone()
    }

    /// Joins, unless the connection is closed or refused.
    fn join(&self, number: u8) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let request = Request::associate(&Association {
            user: None,
            network: Network::Ip,
            source: None,
            host: format!("host-{number}"),
            router_id: [7; 16],
        });
        stream.write_all(&request.encode().unwrap()).ok()?;
        let mut answer = [0; 4 + 3 + 20];
        stream.read_exact(&mut answer).ok()?;
        assert_eq!(answer[1], 0, "admitted");
        Some(stream)
    }
}

/// Host n has the address 10.0.0.n.
fn config(limits: HubLimits) -> Config {
    let rows = (1..=9).map(|n| {
        let prefix = format!("10.0.0.{n}/32").parse().unwrap();
        let value = Route::new(prefix, format!("host-{n}").parse().unwrap());
        LocatedRow { value, file: "test".into(), line: n }
    });
    let router =
        Named { name: "table".into(), provider: Provider::Rows(Rows::inline(rows.collect())) };
    let rules = HubRules {
        default_router: Some(router),
        queue_budget: 256 * 1024 * 1024,
        limits,
        ..HubRules::default()
    };
    let hub = HubSettings {
        listener: ListenerSettings::tcp("127.0.0.1:0"),
        more_listeners: Vec::new(),
        rules,
        handshake_timeout: Duration::from_secs(10),
    };
    Config {
        services: vec![Service::new("hub", ServiceKind::Hub(hub))],
        loggers: Vec::new(),
        log: LogSettings::default(),
        ..Config::default()
    }
}

fn traffic(text: &str) -> Option<LimiterSettings> {
    let limits = named(parse_traffic_limits(text, 100).unwrap());
    Some(LimiterSettings { limits, refresh: Duration::from_secs(30), scope: LimiterScope::All })
}

fn named<T>(parsed: Parsed<T>) -> Named<T> {
    assert_eq!(parsed.bad.count, 0);
    let rows = parsed.rows.into_iter().map(|Row { value, line }| LocatedRow {
        value,
        file: "test".into(),
        line,
    });
    Named { name: "limits".into(), provider: Provider::Rows(Rows::inline(rows.collect())) }
}

/// A frame with a UDP packet.
fn frame(from: u8, to: u8, len: usize) -> Vec<u8> {
    let len = len as u16;
    let mut frame = len.to_be_bytes().to_vec();
    frame.extend([0x45, 0]);
    frame.extend(len.to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, from, 10, 0, 0, to]);
    frame.extend([0x12, 0x34, 0x12, 0x34]);
    frame.extend((len - 20).to_be_bytes());
    frame.resize(2 + usize::from(len), 0);
    frame
}

/// Sends from one to the other for as long as somebody reads.
fn flood(mut stream: &TcpStream, from: u8, to: u8) {
    let frames = frame(from, to, PACKET).repeat(40);
    while stream.write_all(&frames).is_ok() {}
}

/// Bytes a second that arrive, measured over `time` after the first half second.
fn rate(mut stream: &TcpStream, time: Duration) -> f64 {
    let mut buffer = vec![0; 256 * 1024];
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(500) {
        assert!(stream.read(&mut buffer).unwrap() > 0);
    }
    let (start, mut bytes) = (Instant::now(), 0);
    loop {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0);
        let elapsed = start.elapsed();
        if elapsed >= time {
            return bytes as f64 / elapsed.as_secs_f64();
        }
        bytes += read;
    }
}

/// Ends floods also when a check fails.
struct Ends<'a>(&'a [TcpStream]);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        for stream in self.0 {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// The rate at which host 2 gets what host 1 sends.
fn measured(hub: &Hub) -> f64 {
    let streams = [hub.join(1).unwrap(), hub.join(2).unwrap()];
    thread::scope(|scope| {
        let _ends = Ends(&streams);
        scope.spawn(|| flood(&streams[0], 1, 2));
        rate(&streams[1], Duration::from_secs(2))
    })
}

/// Never more than the limit, however busy this machine is; that it is no less is tested where time is simulated. What
/// sockets hold may arrive late, and in a window too many.
fn assert_kept(rate: f64, limit: f64) {
    assert!(rate > 0.0 && rate < limit * 1.03 + 64.0 * 1024.0, "{rate} of {limit} bytes a second");
}

#[test]
fn what_the_hub_sends_keeps_to_the_limit() {
    for mbit in [1, 10] {
        let bytes = mbit * 125_000;
        let text = format!("$$ 0 {bytes}B");
        let hub = Hub::start(HubLimits { traffic: traffic(&text), ..HubLimits::default() });
        let streams = [hub.join(1).unwrap(), hub.join(2).unwrap()];
        let rate = thread::scope(|scope| {
            let _ends = Ends(&streams);
            scope.spawn(|| flood(&streams[0], 1, 2));
            let measured = rate(&streams[1], Duration::from_secs(2));
            let deadline = Instant::now() + Duration::from_secs(20);
            while hub.traffic("host-2").dropped(DropReason::RateLimited) == 0 {
                let drops = hub.traffic("host-2").drops().to_string();
                assert!(Instant::now() < deadline, "{mbit} Mbit/s: {measured}, {drops}");
                rate(&streams[1], Duration::from_millis(100));
            }
            measured
        });
        assert_kept(rate, bytes as f64);
    }
}

#[test]
fn what_the_hub_receives_keeps_to_the_limit_and_the_connection_is_read_on() {
    let text = "host-1@* 1250000B";
    let hub = Hub::start(HubLimits { hosts: traffic(text), ..HubLimits::default() });
    assert_kept(measured(&hub), 1_250_000.0);
}

#[test]
fn a_limit_of_the_service_is_shared_and_changed_live() {
    let limits = |text| HubLimits { traffic: traffic(text), ..HubLimits::default() };
    let mut hub = Hub::start(limits("$ 0 1MB"));
    let streams: Vec<_> = (1..=4).map(|n| hub.join(n).unwrap()).collect();
    thread::scope(|scope| {
        let _ends = Ends(&streams);
        scope.spawn(|| flood(&streams[0], 1, 2));
        scope.spawn(|| flood(&streams[2], 3, 4));
        for (text, limit) in [("$ 0 1MB", 1 << 20), ("$ 0 512KB", 512 << 10)] {
            hub.apply(limits(text));
            let other = scope.spawn(|| rate(&streams[3], Duration::from_secs(2)));
            let one = rate(&streams[1], Duration::from_secs(2));
            let other = other.join().unwrap();
            assert_kept(one + other, f64::from(limit));
        }
    });
}

#[test]
fn a_connection_limit_refuses_and_the_hub_goes_on() {
    let connections = Some(named(parse_connection_limits("$ 3\n$$ 2", 10).unwrap()));
    let hub = Hub::start(HubLimits { connections, ..HubLimits::default() });
    for _ in 0..3 {
        let first = [hub.join(1).unwrap(), hub.join(2).unwrap()];
        for n in 3..9 {
            assert!(hub.join(n).is_none(), "the third is closed");
        }
        drop(first);
        let deadline = Instant::now() + Duration::from_secs(10);
        while hub.join(3).is_none() {
            assert!(Instant::now() < deadline, "a place is free again");
        }
        // That one has left too, before the next round.
        while hub.join(4).map(|first| (first, hub.join(5))).is_none_or(|two| two.1.is_none()) {
            assert!(Instant::now() < deadline, "places are free again");
        }
        while connected(&hub) > 0 {
            assert!(Instant::now() < deadline, "hosts leave");
        }
    }
}

fn connected(hub: &Hub) -> usize {
    let services = hub.node.board().status().services;
    let KindReport::Hub(hub) = &services[0].kind else { panic!("a hub") };
    hub.namespaces.iter().map(|namespace| namespace.hosts.len()).sum()
}

#[test]
fn a_rate_limit_refuses_and_tokens_come_back() {
    let requests = Some(named(parse_request_limits("$$ 1", 10).unwrap()));
    let hub = Hub::start(HubLimits { requests, ..HubLimits::default() });
    let begin = Instant::now();
    let admitted = (0..10).filter(|_| hub.join(1).is_some()).count();
    let most = 2 + begin.elapsed().as_secs() as usize + 1;
    assert!((2..=most).contains(&admitted), "{admitted} of 10");
    let deadline = Instant::now() + Duration::from_secs(10);
    while hub.join(1).is_none() {
        assert!(Instant::now() < deadline, "a token is there again");
    }
}
