//! What those who watch a hub see: counts equal what was sent, and events say what happened.

#![expect(clippy::unwrap_used, reason = "a test that cannot make its packets has failed")]

mod common;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use common::{hub_with, join, table};
use rtun_core::{DropReason, NamespaceId};
use rtun_node::{
    Board, Node,
    watch::{
        Followed, HostQuery, HostSort, NamespaceQuery, NodeEventKind, PageQuery, RouteQuery,
        SortOrder,
    },
};
use rtun_proto::frame::write_frame;
use rtun_settings::{Config, HubRules, SourceCheck};

const NAMESPACE: [u8; 16] = [7; 16];

const PACKET: u64 = 100;

fn config(routes: &[(&str, &str)]) -> Config {
    hub_with(HubRules {
        namespaces: [(NamespaceId::from_bytes(NAMESPACE), table("table", routes))].into(),
        source_check: SourceCheck::Off,
        queue_budget: 64 * 1024 * 1024,
        ..HubRules::default()
    })
}

const ROUTES: [(&str, &str); 4] = [
    ("10.0.1.0/24", "host-1"),
    ("10.0.2.0/24", "host-2"),
    ("10.0.2.7/32", "host-2"),
    ("10.0.9.0/24", "host-9"),
];

struct Host(TcpStream);

impl Host {
    fn join(hub: SocketAddr, name: &str) -> Self {
        Self(join(hub, name, NAMESPACE))
    }

    /// Sends this many packets of 100 bytes, from address to address.
    fn send(&mut self, from: [u8; 4], to: [u8; 4], packets: u64) {
        let mut packet = vec![0; PACKET as usize];
        packet[0] = 0x45;
        packet[3] = PACKET as u8;
        packet[8] = 64;
        packet[9] = 17;
        packet[12..16].copy_from_slice(&from);
        packet[16..20].copy_from_slice(&to);
        let sum = rtun_proto::checksum::Checksum::new().add_bytes(&packet[..20]).finish();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut frames = Vec::new();
        for _ in 0..packets {
            write_frame(&packet, &mut frames).unwrap();
        }
        self.0.write_all(&frames).unwrap();
    }

    fn receive(&mut self, packets: u64) {
        let mut bytes = vec![0; (packets * (PACKET + 2)) as usize];
        self.0.read_exact(&mut bytes).unwrap();
    }
}

async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn host_names(board: &Board, query: &HostQuery) -> (usize, Vec<String>) {
    let page = board.hosts(query);
    (page.total, page.items.into_iter().map(|host| host.host).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passed_is_seen_by_host_by_pair_and_by_route() {
    let mut node = Node::start(&config(&ROUTES), None).await.unwrap();
    let (hub, board) = (node.hub_address("hub").unwrap(), node.board());
    let mut one = Host::join(hub, "host-1");
    let mut two = Host::join(hub, "host-2");
    let (a, b, single) = ([10, 0, 1, 1], [10, 0, 2, 1], [10, 0, 2, 7]);
    // More destinations than a forwarder remembers, in turn.
    for _ in 0..3 {
        one.send(a, b, 10);
        one.send(a, single, 5);
        (100..200).for_each(|last| one.send(a, [10, 0, 2, last], 1));
    }
    two.receive(345);
    two.send(b, a, 7);
    one.receive(7);

    let flows = until("both pairs", || {
        let flows = board.traffic(None).flows;
        // What has arrived is counted when its whole read has been passed on.
        (flows.iter().map(|flow| flow.packets).sum::<u64>() == 352).then_some(flows)
    });
    let flows = flows.await;
    let pairs: Vec<_> = flows.iter().map(|it| (&*it.from, it.to.as_deref(), it.packets)).collect();
    assert_eq!(pairs, [("host-1", Some("host-2"), 345), ("host-2", Some("host-1"), 7)]);
    assert_eq!(flows[0].bytes, 345 * PACKET);
    let elsewhere = NamespaceId::from_bytes([8; 16]);
    assert!(board.traffic(Some(elsewhere)).flows.is_empty());

    let routes = board.routes(&RouteQuery::default());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let seen: Vec<_> = routes
        .items
        .iter()
        .map(|it| (&*it.prefix, it.connected, it.packets, it.last_used.is_some()))
        .collect();
    assert_eq!(
        seen,
        [
            ("10.0.1.0/24", true, 7, true),
            ("10.0.2.0/24", true, 330, true),
            ("10.0.2.7/32", true, 15, true),
            ("10.0.9.0/24", false, 0, false),
        ]
    );
    assert!(routes.items[0].last_used.unwrap().abs_diff(now) <= 2);
    let origin = &routes.items[0].origin;
    assert_eq!((&*origin.list, &*origin.source, origin.line), ("table", "test", 1));
    let found = |query: &RouteQuery| {
        let page = board.routes(query);
        page.items.into_iter().map(|route| route.prefix).collect::<Vec<_>>()
    };
    assert_eq!(found(&RouteQuery { dead: true, ..RouteQuery::default() }), ["10.0.9.0/24"]);
    let unused_for = Some(Duration::ZERO);
    assert_eq!(found(&RouteQuery { dead: true, unused_for, ..RouteQuery::default() }).len(), 4);
    let search = Some("10.0.2.7".into());
    let by_address = RouteQuery { search, ..RouteQuery::default() };
    assert_eq!(found(&by_address), ["10.0.2.0/24", "10.0.2.7/32"]);
    let search = Some("HOST-9".into());
    assert_eq!(found(&RouteQuery { search, ..RouteQuery::default() }), ["10.0.9.0/24"]);
    let part = PageQuery { page: 2, per_page: 3 };
    let page = board.routes(&RouteQuery { part, ..RouteQuery::default() });
    assert_eq!((page.total, page.items.len()), (4, 1));

    // A route that stays keeps its counts, one that goes loses them.
    node.apply(&config(&ROUTES[..2])).await.unwrap();
    two.send(b, a, 3);
    one.receive(3);
    let packets = until("the packets after the change", || {
        let routes = board.routes(&RouteQuery::default()).items;
        (routes[0].packets == 10).then(|| routes.iter().map(|it| it.packets).collect::<Vec<_>>())
    });
    assert_eq!(packets.await, [10, 330]);

    let all = HostQuery { sort: HostSort::Name, ..HostQuery::default() };
    assert_eq!(host_names(&board, &all), (2, vec!["host-1".into(), "host-2".into()]));
    let order = Some(SortOrder::Desc);
    assert_eq!(host_names(&board, &HostQuery { order, ..all.clone() }).1[0], "host-2");
    let search = Some("HOST-2".into());
    assert_eq!(host_names(&board, &HostQuery { search, ..all.clone() }).1, ["host-2"]);
    let search = Some(one.0.local_addr().unwrap().to_string());
    assert_eq!(host_names(&board, &HostQuery { search, ..all.clone() }).1, ["host-1"]);
    let part = PageQuery { page: 2, per_page: 1 };
    assert_eq!(host_names(&board, &HostQuery { part, ..all.clone() }), (2, vec!["host-2".into()]));
    let host = board.hosts(&all).items.remove(0);
    assert_eq!((host.input.packets, host.output.packets), (345, 10));
    let namespaces = board.namespaces(&NamespaceQuery::default());
    assert_eq!((namespaces.total, namespaces.items[0].hosts), (1, 2));

    // Rates are between two samples.
    let rate = until("a rate", || {
        one.send(a, b, 100);
        two.receive(100);
        board.hosts(&all).items.into_iter().map(|it| it.rate.input).find(|it| it.packets > 0.0)
    });
    let rate = rate.await;
    assert!((rate.bytes / rate.packets - PACKET as f64).abs() < 2.0, "{rate:?}");
    let overview = board.overview();
    assert_eq!((overview.hosts, overview.namespaces, overview.services.len()), (2, 1, 1));
    assert!(overview.rate.traffic.input.packets > 0.0, "{overview:?}");
    assert!(overview.services[0].summary.starts_with("2 hosts, listens on tcp 127.0.0.1:"));
    let series = board.series(&["hosts".into()], None);
    assert!((1..5).contains(&series.series["hosts"].len()), "{series:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joins_between_two_parts_of_a_list_moves_nobody_in_it() {
    let node = Node::start(&config(&ROUTES), None).await.unwrap();
    let (hub, board) = (node.hub_address("hub").unwrap(), node.board());
    let mut hosts = vec![Host::join(hub, "host-1"), Host::join(hub, "host-2")];
    let sort = HostSort::Name;
    let part =
        |page| HostQuery { sort, part: PageQuery { page, per_page: 1 }, ..HostQuery::default() };
    // Each goes before the one that came before it.
    let mut letters = ('a'..='z').rev();
    let next = until("two parts of a list, asked for at once", || {
        let begin = Instant::now();
        let all = host_names(&board, &HostQuery { sort, ..HostQuery::default() }).1;
        let first = host_names(&board, &part(1)).1;
        hosts.push(Host::join(hub, &format!("host-1{}", letters.next().unwrap())));
        let second = host_names(&board, &part(2)).1;
        // A list of a second ago is old.
        (begin.elapsed() < Duration::from_secs(1)).then(|| (all, [first, second].concat()))
    });
    let (all, shown) = next.await;
    assert_eq!(shown, all[..2]);
    let (total, first) = host_names(&board, &part(1));
    assert_eq!((total, first), (hosts.len(), vec!["host-1".into()]), "who asks anew sees all");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_packets_are_sampled_while_somebody_looks() {
    let node = Node::start(&config(&ROUTES), None).await.unwrap();
    let (hub, board) = (node.hub_address("hub").unwrap(), node.board());
    let mut one = Host::join(hub, "host-1");
    let lose = |one: &mut Host, last| {
        one.send([10, 0, 1, 1], [172, 16, 0, last], 1);
    };
    let lost = |count| {
        let board = &board;
        until("a drop", move || {
            let reasons = board.drops().reasons;
            reasons.into_iter().find(|it| it.reason == "no_route" && it.packets == count)
        })
    };
    lose(&mut one, 1);
    let reason = lost(1).await;
    assert_eq!(reason.help, DropReason::NoRoute.help());
    assert_eq!((board.drops().sampling, board.drops().samples.len()), (false, 0));
    let lease = board.lease_drop_samples();
    lose(&mut one, 2);
    lost(2).await;
    let drops = board.drops();
    assert!(drops.sampling);
    let [sample] = &drops.samples[..] else { panic!("{:?}", drops.samples) };
    assert_eq!(sample.source, Some("10.0.1.1".parse().unwrap()));
    assert_eq!(sample.destination, Some("172.16.0.2".parse().unwrap()));
    assert_eq!((sample.protocol.as_deref(), sample.length), (Some("udp"), PACKET as usize));
    assert_eq!((&*sample.service, sample.host.as_deref()), ("hub", Some("host-1")));
    assert_eq!(sample.namespace, Some(NamespaceId::from_bytes(NAMESPACE).to_string()));
    drop(lease);
    lose(&mut one, 3);
    lost(3).await;
    assert_eq!((board.drops().sampling, board.drops().samples.len()), (false, 1));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_say_who_joined_and_left_and_what_services_did() {
    let mut node = Node::start(&config(&ROUTES), None).await.unwrap();
    let (hub, board) = (node.hub_address("hub").unwrap(), node.board());
    let mut follower = board.follow_events(Some(0));
    let one = Host::join(hub, "host-1");
    let peer = one.0.local_addr().unwrap();
    drop(one);
    let mut seen: Vec<(NodeEventKind, Option<String>, String)> = Vec::new();
    while seen.last().is_none_or(|(kind, ..)| *kind != NodeEventKind::HostLeft) {
        let followed = tokio::time::timeout(Duration::from_secs(10), follower.next()).await;
        let Some(Followed::Event(event)) = followed.unwrap() else { panic!("{seen:?}") };
        seen.push((event.kind, event.host.clone(), event.text.clone()));
    }
    let host = Some("host-1".to_owned());
    assert_eq!(
        seen,
        [
            (NodeEventKind::Service, None, "started".into()),
            (NodeEventKind::HostJoined, host.clone(), format!("connected from {peer} (tcp)")),
            (NodeEventKind::HostLeft, host, format!("disconnected from {peer}: peer_closed")),
        ]
    );
    let mut slow = board.follow_events(None);
    for _ in 0..600 {
        drop(Host::join(hub, "host-2"));
    }
    until("the last has left", || (board.hosts(&HostQuery::default()).total == 0).then_some(()))
        .await;
    let Some(Followed::Missed(missed)) = slow.next().await else { panic!("it misses nothing") };
    assert!(missed >= 1200 - 1024, "{missed}");
    let mut followed = 0;
    while followed < 1024 {
        let Some(Followed::Event(_)) = slow.next().await else { panic!("after {followed}") };
        followed += 1;
    }
    node.apply(&Config::default()).await.unwrap();
    let Some(Followed::Event(event)) = slow.next().await else { panic!() };
    assert_eq!((event.kind, event.service.as_deref()), (NodeEventKind::Service, Some("hub")));
    assert_eq!(event.text, "stopped");
    node.stop().await;
}
