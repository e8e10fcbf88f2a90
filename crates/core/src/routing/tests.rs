use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::Route;

const NS: NamespaceId = NamespaceId::from_bytes([7; 16]);

fn name(text: &str) -> HostName {
    HostName::new(text).unwrap()
}

fn table(routes: &[(&str, &str)]) -> Router {
    let routes: Vec<_> =
        routes.iter().map(|(dst, gw)| Route::new(dst.parse().unwrap(), name(gw))).collect();
    Router::Table(Arc::new(RoutingTable::new(&routes)))
}

fn tutorial() -> Router {
    table(&[
        ("192.168.123.1/32", "host-1"),
        ("192.168.100.0/24", "host-1"),
        ("192.168.123.2/32", "host-2"),
        ("192.168.200.0/24", "host-2"),
    ])
}

fn packet(source: &str, destination: &str) -> Vec<u8> {
    match (source.parse().unwrap(), destination.parse().unwrap()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut bytes = vec![0; 20];
            bytes[0] = 0x45;
            bytes[3] = 20;
            bytes[8] = 64;
            bytes[12..16].copy_from_slice(&source.octets());
            bytes[16..20].copy_from_slice(&destination.octets());
            bytes
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut bytes = vec![0; 40];
            bytes[0] = 0x60;
            bytes[6] = 59;
            bytes[8..24].copy_from_slice(&source.octets());
            bytes[24..40].copy_from_slice(&destination.octets());
            bytes
        }
        _ => panic!("mixed families"),
    }
}

fn forward_with(
    routing: &Routing,
    sender: &str,
    source: &str,
    destination: &str,
    answers: &impl Answers,
) -> Verdict {
    let bytes = packet(source, destination);
    routing.forward(&name(sender), &Packet::parse(&bytes).unwrap(), answers)
}

fn forward(routing: &Routing, sender: &str, source: &str, destination: &str) -> Verdict {
    forward_with(routing, sender, source, destination, &NoAnswers)
}

fn strict(routers: Vec<Router>) -> Routing {
    Routing::new(NS, routers, SourceCheck::Strict, Sharing::Newest)
}

fn to(gateway: &str) -> Verdict {
    Verdict::Deliver { gateway: name(gateway), cacheable: true }
}

#[test]
fn the_tutorial_routes_both_ways() {
    let routing = strict(vec![tutorial()]);
    assert_eq!(forward(&routing, "host-1", "192.168.123.1", "192.168.123.2"), to("host-2"));
    assert_eq!(forward(&routing, "host-2", "192.168.200.9", "192.168.100.5"), to("host-1"));
}

#[test]
fn each_drop_has_its_reason() {
    let routing = strict(vec![tutorial()]);
    for (sender, source, destination, reason) in [
        ("host-1", "192.168.123.1", "10.0.0.1", DropReason::NoRoute),
        ("host-1", "192.168.123.2", "192.168.123.2", DropReason::SrcNotAllowed),
        ("host-3", "192.168.123.1", "192.168.123.2", DropReason::SrcNotAllowed),
        ("host-1", "10.9.9.9", "192.168.123.2", DropReason::SrcNotAllowed),
        ("host-1", "0.0.0.0", "192.168.123.2", DropReason::SrcNotAllowed),
        ("host-1", "127.0.0.1", "192.168.123.2", DropReason::SrcNotAllowed),
        ("host-1", "192.168.123.1", "192.168.100.1", DropReason::Hairpin),
        ("host-1", "192.168.123.1", "224.0.0.251", DropReason::IpDisallowedDst),
        ("host-1", "fe80::1", "ff02::2", DropReason::IpDisallowedDst),
    ] {
        assert_eq!(forward(&routing, sender, source, destination), Verdict::Drop(reason));
    }
    assert_eq!(
        forward(&strict(vec![]), "host-1", "192.168.123.1", "192.168.123.2"),
        Verdict::Drop(DropReason::NoTable)
    );
}

fn receivers(routing: &Routing, destination: &str) -> Vec<String> {
    let hosts = routing.receivers(destination.parse().unwrap(), &NoAnswers);
    hosts.iter().map(|host| host.as_str().to_owned()).collect()
}

#[test]
fn packets_for_many_follow_routes_of_such_addresses_alone() {
    let one = [
        ("10.0.0.1/32", "a"),
        ("10.0.0.2/32", "b"),
        ("fd00::1/128", "a"),
        ("0.0.0.0/0", "everything"),
        ("::/0", "everything"),
        ("224.0.0.0/3", "everything"),
        ("239.0.0.0/8", "b"),
        ("255.255.255.255/32", "b"),
        ("ff00::/8", "b"),
    ];
    let routing = strict(vec![table(&one)]);
    for (source, destination) in
        [("10.0.0.1", "239.255.255.250"), ("10.0.0.1", "255.255.255.255"), ("fd00::1", "ff02::fb")]
    {
        assert_eq!(forward(&routing, "a", source, destination), to("b"), "{destination}");
    }
    for (sender, source, destination, reason) in [
        // A default route is not about them, nor is a prefix with other addresses, too.
        ("a", "10.0.0.1", "224.0.0.251", DropReason::IpDisallowedDst),
        ("b", "10.0.0.2", "239.1.1.1", DropReason::Hairpin),
        ("a", "10.0.0.2", "239.1.1.1", DropReason::SrcNotAllowed),
        ("a", "fe80::1", "ff02::fb", DropReason::SrcNotAllowed),
        ("a", "0.0.0.0", "255.255.255.255", DropReason::SrcNotAllowed),
        ("a", "10.0.0.1", "127.0.0.1", DropReason::IpDisallowedDst),
        ("a", "10.0.0.1", "169.254.1.1", DropReason::IpDisallowedDst),
    ] {
        let verdict = forward(&routing, sender, source, destination);
        assert_eq!(verdict, Verdict::Drop(reason), "{sender} {source} {destination}");
    }
    // The own table has a route for all addresses, and the default router one for many.
    let default = strict(vec![table(&[("0.0.0.0/0", "a")]), table(&[("224.0.0.0/4", "b")])]);
    assert_eq!(forward(&default, "a", "10.0.0.1", "239.1.1.1"), to("b"));
    let (many, b) = ("239.1.1.1".parse().unwrap(), name("b"));
    assert_eq!(default.prefix_of(many, &b), Some("224.0.0.0/4".parse().unwrap()));
}

#[test]
fn each_host_of_a_prefix_for_many_gets_a_copy() {
    let routes = [
        ("10.0.0.1/32", "a"),
        ("10.0.0.2/32", "b"),
        ("239.0.0.0/8", "a"),
        ("239.0.0.0/8", "b"),
        ("239.0.0.0/8", "c"),
        ("239.1.0.0/16", "a"),
        ("239.1.0.0/16", "b"),
        ("10.9.0.0/16", "a"),
        ("10.9.0.0/16", "b"),
        ("10.9.0.0/16", "c"),
    ];
    for sharing in [Sharing::Newest, Sharing::Flow] {
        let routing = Routing::new(NS, vec![table(&routes)], SourceCheck::Strict, sharing);
        assert_eq!(forward(&routing, "a", "10.0.0.1", "239.9.9.9"), Verdict::Copy);
        assert_eq!(receivers(&routing, "239.9.9.9"), ["a", "b", "c"]);
        assert_eq!(forward(&routing, "a", "10.0.0.1", "239.1.9.9"), to("b"), "the only other");
        assert_eq!(forward(&routing, "b", "10.0.0.2", "239.1.9.9"), to("a"), "the only other");
        let one = forward(&routing, "b", "10.0.0.2", "10.9.0.1");
        assert!(matches!(one, Verdict::Deliver { .. }), "one host of these: {one:?}");
    }
    let many: Vec<_> = (0..80).map(|n| ("224.0.0.0/4".to_owned(), format!("h{n}"))).collect();
    let many: Vec<_> = many.iter().map(|(net, host)| (&**net, &**host)).collect();
    let routing = Routing::new(NS, vec![table(&many)], SourceCheck::Off, Sharing::Newest);
    assert_eq!(receivers(&routing, "224.0.0.1").len(), crate::MAX_COPIES);
}

#[test]
fn a_plugin_is_asked_about_packets_for_many() {
    let plugin = PluginId(0);
    let routing = strict(vec![Router::Plugin(plugin)]);
    let [a, many] = ["10.0.0.1", "239.1.1.1"].map(|text| text.parse::<IpAddr>().unwrap());
    let mut answers = Map(HashMap::new());
    let verdict = |answers: &Map| forward_with(&routing, "a", "10.0.0.1", "239.1.1.1", answers);
    assert_eq!(verdict(&answers), Verdict::Ask(plugin, many));
    answers.0.insert(many, PluginRoute::Nothing);
    assert_eq!(verdict(&answers), Verdict::Drop(DropReason::IpDisallowedDst));
    answers.0.insert(many, PluginRoute::Gateway(name("b")));
    assert_eq!(verdict(&answers), Verdict::Ask(plugin, a));
    answers.0.insert(a, PluginRoute::Gateway(name("a")));
    assert_eq!(verdict(&answers), Verdict::Deliver { gateway: name("b"), cacheable: false });
}

#[test]
fn looser_source_checks_let_through_what_they_say() {
    let loose = Routing::new(NS, vec![tutorial()], SourceCheck::Loose, Sharing::Newest);
    assert_eq!(forward(&loose, "host-1", "192.168.123.2", "192.168.200.1"), to("host-2"));
    assert_eq!(
        forward(&loose, "host-1", "10.9.9.9", "192.168.200.1"),
        Verdict::Drop(DropReason::SrcNotAllowed)
    );
    let off = Routing::new(NS, vec![tutorial()], SourceCheck::Off, Sharing::Newest);
    assert_eq!(forward(&off, "host-1", "10.9.9.9", "192.168.200.1"), to("host-2"));
    assert_eq!(
        forward(&off, "host-1", "127.0.0.1", "192.168.200.1"),
        Verdict::Drop(DropReason::SrcNotAllowed)
    );
}

#[test]
fn the_default_router_answers_where_the_own_one_does_not() {
    let own = table(&[("10.0.0.0/24", "a"), ("10.0.1.0/24", "b")]);
    let default = table(&[("10.0.0.0/8", "c")]);
    let routing = strict(vec![own, default]);
    assert_eq!(forward(&routing, "a", "10.0.0.1", "10.0.1.1"), to("b"));
    assert_eq!(forward(&routing, "a", "10.0.0.1", "10.7.7.7"), to("c"));
}

struct Map(HashMap<IpAddr, PluginRoute>);

impl Answers for Map {
    fn known(&self, _: PluginId, namespace: NamespaceId, addr: IpAddr) -> PluginRoute {
        assert_eq!(namespace, NS);
        self.0.get(&addr).cloned().unwrap_or(PluginRoute::Unasked)
    }

    fn is_connected(&self, _: &HostName) -> bool {
        true
    }
}

/// Without plugins; these hosts are connected.
struct Here(HashSet<&'static str>);

impl Answers for Here {
    fn known(&self, _: PluginId, _: NamespaceId, _: IpAddr) -> PluginRoute {
        PluginRoute::Nothing
    }

    fn is_connected(&self, host: &HostName) -> bool {
        self.0.contains(host.as_str())
    }
}

fn here(hosts: &[&'static str]) -> Here {
    Here(hosts.iter().copied().collect())
}

fn behind_two() -> Router {
    table(&[
        ("10.1.0.0/16", "a"),
        ("10.1.0.0/16", "b"),
        ("10.1.0.0/16", "c"),
        ("10.2.0.0/16", "x"),
        ("10.1.9.0/24", "b"),
    ])
}

#[test]
fn of_hosts_with_the_same_prefix_the_first_connected_one_carries() {
    let routing = strict(vec![behind_two()]);
    let carries = |connected: &[&'static str], sender: &str, source: &str| {
        forward_with(&routing, sender, source, "10.1.0.1", &here(connected))
    };
    let from_x = |connected: &[&'static str]| carries(connected, "x", "10.2.0.1");
    assert_eq!(from_x(&["a", "b", "c"]), to("a"));
    assert_eq!(from_x(&["b", "c"]), to("b"));
    assert_eq!(from_x(&["c"]), to("c"));
    assert_eq!(from_x(&["a", "c"]), to("a"), "back when it returns");
    assert_eq!(from_x(&[]), to("a"), "none connected: the first");
    // Each of them may send from there, and gets nothing of its own back while another is there.
    assert_eq!(carries(&["a", "b"], "b", "10.1.0.7"), to("a"));
    assert_eq!(carries(&["a", "b"], "a", "10.1.0.7"), to("b"));
    assert_eq!(
        forward_with(&routing, "a", "10.1.0.7", "10.2.0.1", &here(&[])),
        to("x"),
        "for any connected host"
    );
    assert_eq!(
        forward_with(&routing, "a", "10.1.9.7", "10.2.0.1", &here(&["a", "b"])),
        Verdict::Drop(DropReason::SrcNotAllowed),
        "the longer prefix is another's alone"
    );
    assert_eq!(
        forward_with(&routing, "x", "10.2.0.1", "10.1.9.1", &here(&["a"])),
        to("b"),
        "a longer prefix is not given up for a shorter one"
    );
}

#[test]
fn flows_are_shared_out_among_those_connected_and_stay() {
    let routing = Routing::new(NS, vec![behind_two()], SourceCheck::Strict, Sharing::Flow);
    let carrier = |flow: u16, connected: &[&'static str]| {
        let bytes = udp("10.2.0.1", "10.1.0.1", flow);
        let packet = Packet::parse(&bytes).unwrap();
        match routing.forward(&name("x"), &packet, &here(connected)) {
            Verdict::Deliver { gateway, cacheable: false } => gateway.as_str().to_owned(),
            other => panic!("{other:?}"),
        }
    };
    let mut counts = HashMap::<String, usize>::new();
    for flow in 0..3000 {
        let all = carrier(flow, &["a", "b", "c"]);
        assert_eq!(carrier(flow, &["c", "a", "b"]), all);
        let without_b = carrier(flow, &["a", "c"]);
        assert_ne!(without_b, "b");
        assert!(all == "b" || without_b == all, "only flows of the one that went change over");
        *counts.entry(all).or_default() += 1;
    }
    assert!(counts.len() == 3 && counts.values().all(|n| (800..1200).contains(n)), "{counts:?}");
    // A destination with one gateway is cacheable.
    assert_eq!(forward(&routing, "x", "10.2.0.1", "10.1.9.1"), to("b"));
}

fn udp(source: &str, destination: &str, flow: u16) -> Vec<u8> {
    let mut bytes = packet(source, destination);
    let header = bytes.len();
    bytes.extend(flow.to_be_bytes());
    bytes.extend([0, 9, 0, 8, 0, 0]);
    if header == 20 {
        bytes[3] = 28;
        bytes[9] = 17;
    } else {
        bytes[5] = 8;
        bytes[6] = 17;
    }
    bytes
}

/// An ICMP error of `router` about a packet.
fn error(router: &str, source: &str, destination: &str) -> Vec<u8> {
    use rtun_proto::icmp::{Unreachable, unreachable};
    let bytes = udp(source, destination, 7);
    let packet = Packet::parse(&bytes).unwrap();
    let router = router.parse().unwrap();
    unreachable(&packet, Unreachable::TooBig { mtu: 1280 }, router).unwrap()
}

#[test]
fn routers_that_no_table_knows_may_report_packets_that_went_to_their_host() {
    let table = || {
        table(&[
            ("10.1.0.0/16", "a"),
            ("10.2.0.0/16", "b"),
            ("10.3.0.0/16", "c"),
            ("fd01::/64", "a"),
            ("fd02::/64", "b"),
        ])
    };
    let strict = strict(vec![table()]);
    let loose = Routing::new(NS, vec![table()], SourceCheck::Loose, Sharing::Newest);
    let verdict = |routing: &Routing, sender: &str, bytes: &[u8]| {
        routing.forward(&name(sender), &Packet::parse(bytes).unwrap(), &NoAnswers)
    };
    let passed = Verdict::Deliver { gateway: name("a"), cacheable: false };
    let refused = Verdict::Drop(DropReason::SrcNotAllowed);
    // A router behind b reports to a machine behind a about its packet to a machine behind b.
    for good in
        [error("172.16.0.1", "10.1.0.1", "10.2.0.1"), error("2001:db8::1", "fd01::1", "fd02::1")]
    {
        assert_eq!(verdict(&strict, "b", &good), passed);
        assert_eq!(verdict(&loose, "b", &good), passed);
        assert_eq!(verdict(&strict, "c", &good), refused, "it did not go to c");
    }
    for (why, bad) in [
        ("it went to c", error("172.16.0.1", "10.1.0.1", "10.3.0.1")),
        ("it went to nobody", error("172.16.0.1", "10.1.0.1", "10.9.0.1")),
        ("it went to a", error("172.16.0.1", "10.1.0.1", "10.1.0.2")),
        ("the source is c's", error("10.3.0.9", "10.1.0.1", "10.2.0.1")),
        ("the source is a's", error("10.1.0.9", "10.1.0.1", "10.2.0.1")),
        ("the source is link-local", error("169.254.0.1", "10.1.0.1", "10.2.0.1")),
        ("the source is link-local", error("fe80::1", "fd01::1", "fd02::1")),
        ("the source is loopback", error("127.0.0.1", "10.1.0.1", "10.2.0.1")),
        ("no error at all", udp("172.16.0.1", "10.1.0.1", 7)),
        ("it goes to another than the quoted source", {
            let mut bytes = error("172.16.0.1", "10.1.0.1", "10.2.0.1");
            bytes[19] = 2;
            bytes
        }),
        ("the quoted source is another", {
            let mut bytes = error("172.16.0.1", "10.1.0.2", "10.2.0.1");
            bytes[19] = 1;
            bytes
        }),
    ] {
        assert_eq!(verdict(&strict, "b", &bad), refused, "{why}");
        if !why.starts_with("the source is a") && !why.starts_with("the source is c") {
            assert_eq!(verdict(&loose, "b", &bad), refused, "{why}");
        }
    }
    let from_own = error("10.2.0.254", "10.1.0.1", "10.2.0.1");
    assert_eq!(verdict(&strict, "b", &from_own), to("a"), "as any other packet of b");
}

#[test]
fn a_plugin_is_asked_where_the_packet_went_that_an_error_is_about() {
    let plugin = PluginId(0);
    let routing = strict(vec![Router::Plugin(plugin)]);
    let bytes = error("172.16.0.1", "10.1.0.1", "10.2.0.1");
    let packet = Packet::parse(&bytes).unwrap();
    let [router, a, b] = ["172.16.0.1", "10.1.0.1", "10.2.0.1"].map(|a| a.parse().unwrap());
    let mut answers = Map(HashMap::new());
    let verdict = |answers: &Map| routing.forward(&name("b"), &packet, answers);
    assert_eq!(verdict(&answers), Verdict::Ask(plugin, router));
    answers.0.insert(router, PluginRoute::Nothing);
    assert_eq!(verdict(&answers), Verdict::Ask(plugin, b));
    answers.0.insert(b, PluginRoute::Gateway(name("b")));
    assert_eq!(verdict(&answers), Verdict::Ask(plugin, a));
    answers.0.insert(a, PluginRoute::Gateway(name("a")));
    assert_eq!(verdict(&answers), Verdict::Deliver { gateway: name("a"), cacheable: false });
    answers.0.insert(b, PluginRoute::Gateway(name("c")));
    assert_eq!(verdict(&answers), Verdict::Drop(DropReason::SrcNotAllowed));
}

#[test]
fn a_plugin_is_asked_for_source_and_destination_and_then_followed() {
    let plugin = PluginId(3);
    let routing = strict(vec![tutorial(), Router::Plugin(plugin)]);
    let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    let mut answers = Map(HashMap::new());
    let verdict = |answers: &Map| forward_with(&routing, "a", "10.0.0.1", "10.0.0.2", answers);

    assert_eq!(verdict(&answers), Verdict::Ask(plugin, a));
    answers.0.insert(a, PluginRoute::Gateway(name("a")));
    assert_eq!(verdict(&answers), Verdict::Ask(plugin, b));
    answers.0.insert(b, PluginRoute::Nothing);
    assert_eq!(verdict(&answers), Verdict::Drop(DropReason::RouteDenied));
    answers.0.insert(b, PluginRoute::Gateway(name("b")));
    assert_eq!(verdict(&answers), Verdict::Deliver { gateway: name("b"), cacheable: false });
    answers.0.insert(a, PluginRoute::Gateway(name("z")));
    assert_eq!(verdict(&answers), Verdict::Drop(DropReason::SrcNotAllowed));

    assert_eq!(
        forward_with(&routing, "host-1", "192.168.123.1", "192.168.123.2", &answers),
        to("host-2"),
        "known routes do not depend on the plugin"
    );
}

proptest! {
    /// Whatever a host sends, only packets whose source is routed back to it are delivered, and only to the host
    /// that the table names for the destination.
    #[test]
    fn no_spoofed_source_passes(sender in 0..4usize, source in 0u8..8, destination in 0u8..8) {
        let gateway_of = |n: u8| format!("h{}", n % 4);
        let routes: Vec<_> = (0..6u8)
            .map(|n| Route::new(format!("10.0.{n}.0/24").parse().unwrap(), name(&gateway_of(n))))
            .collect();
        let routing = strict(vec![Router::Table(Arc::new(RoutingTable::new(&routes)))]);
        let sender = format!("h{sender}");
        let verdict = forward(
            &routing, &sender, &format!("10.0.{source}.1"), &format!("10.0.{destination}.1"),
        );
        let allowed = source < 6 && gateway_of(source) == sender;
        let expected = match destination {
            _ if !allowed => Verdict::Drop(DropReason::SrcNotAllowed),
            6.. => Verdict::Drop(DropReason::NoRoute),
            n if gateway_of(n) == sender => Verdict::Drop(DropReason::Hairpin),
            n => to(&gateway_of(n)),
        };
        prop_assert_eq!(verdict, expected);
    }
}
