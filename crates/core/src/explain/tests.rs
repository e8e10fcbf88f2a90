use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ipnet::IpNet;
use proptest::prelude::*;
use rtun_proto::packet::Packet;

use super::*;
use crate::{NoAnswers, RoutingTable};

const NS: NamespaceId = NamespaceId::from_bytes([7; 16]);

fn name(text: &str) -> HostName {
    HostName::new(text).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Rows with the kind of their source; the line of a row is its position in the router.
type OriginRows = Vec<(Route, Origin)>;

#[derive(Debug, Clone)]
enum TestRouter {
    Table(OriginRows),
    Plugin(BTreeMap<IpAddr, Option<HostName>>),
}

#[derive(Debug, Clone)]
struct TestNetwork {
    routers: Vec<TestRouter>,
    check: SourceCheck,
    connected: BTreeSet<HostName>,
    takes_hops: bool,
}

impl TestNetwork {
    /// Compiled as a hub does: of equal prefixes the one of the better source first, then in order.
    fn routing(&self) -> Routing {
        let routers = self.routers.iter().enumerate().map(|(i, router)| match router {
            TestRouter::Table(rows) => {
                let mut rows: Vec<_> = rows.iter().collect();
                rows.sort_by_key(|(_, origin)| std::cmp::Reverse(*origin));
                Router::Table(Arc::new(RoutingTable::new(rows.iter().map(|(route, _)| route))))
            }
            TestRouter::Plugin(_) => Router::Plugin(PluginId(i)),
        });
        Routing::new(NS, routers.collect(), self.check, Sharing::Newest)
    }

    fn explain(&self, question: &Question) -> Explanation {
        let names: Vec<String> = (0..self.routers.len()).map(|i| format!("router-{i}")).collect();
        let listings =
            names.iter().zip(&self.routers).enumerate().map(|(i, (name, router))| {
                let rows: Option<Box<dyn Iterator<Item = Listed<'_>>>> =
                    match router {
                        TestRouter::Plugin(_) => None,
                        TestRouter::Table(rows) => {
                            Some(Box::new(rows.iter().zip(1..).map(|((route, origin), line)| {
                                Listed { route, origin: *origin, source: "rows", line }
                            })))
                        }
                    };
                Listing { name, is_default: i > 0, rows, not_read: Vec::new() }
            });
        let scene = Scene {
            routing: &self.routing(),
            listings: listings.collect(),
            answers: self,
            takes_hops: self.takes_hops,
            presence: &|host| self.presence(host),
        };
        explain(scene, question)
    }

    fn presence(&self, host: &HostName) -> Presence {
        match self.connected.contains(host) {
            true => Presence::Connected { connections: Vec::new() },
            false => Presence::NotConnected,
        }
    }

    /// Slow and simple: the first router that has an answer, and the hosts it names with their rows. Packets `for_many` follow
    /// rows of such addresses alone.
    fn locate(&self, address: IpAddr, for_many: bool) -> ModelAnswer<'_> {
        for (i, router) in self.routers.iter().enumerate() {
            match router {
                TestRouter::Plugin(answers) => match answers.get(&address) {
                    None => return ModelAnswer::Ask,
                    Some(Some(gateway)) => return ModelAnswer::Behind(i, vec![(gateway, None)]),
                    Some(None) => {}
                },
                TestRouter::Table(rows) => {
                    let containing = rows.iter().zip(1..).filter(|((route, _), _)| {
                        route.prefix.contains(&address) && (!for_many || is_for_many(route.prefix))
                    });
                    let mut containing: Vec<_> = containing.collect();
                    containing.sort_by_key(|((route, origin), _)| {
                        std::cmp::Reverse((route.prefix.prefix_len(), *origin))
                    });
                    let Some(((best, _), _)) = containing.first() else { continue };
                    let mut hosts: Vec<(&HostName, Option<usize>)> = Vec::new();
                    for ((route, _), line) in &containing {
                        if route.prefix == best.prefix
                            && !hosts.iter().any(|(host, _)| **host == route.gateway)
                        {
                            hosts.push((&route.gateway, Some(*line)));
                        }
                    }
                    return ModelAnswer::Behind(i, hosts);
                }
            }
        }
        ModelAnswer::Nowhere
    }

    /// The host of these that gets a packet of `sender`.
    fn carrier<'a>(
        &self,
        hosts: &[(&'a HostName, Option<usize>)],
        sender: Option<&HostName>,
    ) -> (&'a HostName, Option<usize>) {
        let other = |host: &&(&HostName, Option<usize>)| Some(host.0) != sender;
        let connected = hosts.iter().filter(other).find(|host| self.connected.contains(host.0));
        *connected.or_else(|| hosts.iter().find(other)).unwrap_or(&hosts[0])
    }

    /// The sender: the one named by the question, or the host that the source is behind.
    fn sender<'a>(&'a self, question: &'a Question) -> Option<&'a HostName> {
        match (&question.sender, self.locate(question.source, false)) {
            (Some(sender), _) => Some(sender),
            (None, ModelAnswer::Behind(_, hosts)) => Some(self.carrier(&hosts, None).0),
            (None, _) => None,
        }
    }

    fn containing(&self, address: IpAddr) -> usize {
        let count = |router: &TestRouter| match router {
            TestRouter::Plugin(_) => 0,
            TestRouter::Table(rows) => {
                rows.iter().filter(|(route, _)| route.prefix.contains(&address)).count()
            }
        };
        self.routers.iter().map(count).sum()
    }
}

enum ModelAnswer<'a> {
    Behind(usize, Vec<(&'a HostName, Option<usize>)>),
    Ask,
    Nowhere,
}

impl Answers for TestNetwork {
    fn known(&self, plugin: PluginId, _: NamespaceId, addr: IpAddr) -> PluginRoute {
        match &self.routers[plugin.0] {
            TestRouter::Plugin(answers) => match answers.get(&addr) {
                None => PluginRoute::Unasked,
                Some(None) => PluginRoute::Nothing,
                Some(Some(gateway)) => PluginRoute::Gateway(gateway.clone()),
            },
            TestRouter::Table(_) => panic!("no plugin"),
        }
    }

    fn is_connected(&self, host: &HostName) -> bool {
        self.connected.contains(host)
    }
}

/// Without an address that a packet for one host may have.
fn is_for_many(prefix: IpNet) -> bool {
    let wide = ["224.0.0.0/4", "255.255.255.255/32", "ff00::/8"];
    wide.iter().any(|wide| wide.parse::<IpNet>().unwrap().contains(&prefix))
}

fn packet(source: IpAddr, destination: IpAddr, hops: u8) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut bytes = vec![0x45, 0, 0, 20, 0, 0, 0, 0, hops, 59, 0, 0];
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut bytes = vec![0x60, 0, 0, 0, 0, 0, 59, hops];
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes
        }
        _ => panic!("mixed families"),
    }
}

/// So few addresses that most are in several rows, and all kinds of special addresses.
fn address(v6: bool) -> BoxedStrategy<IpAddr> {
    const SPECIAL: [[&str; 8]; 2] = [
        [
            "0.0.0.0",
            "127.0.0.1",
            "224.0.0.251",
            "255.255.255.255",
            "169.254.7.7",
            "240.0.0.1",
            "10.0.0.0",
            "192.0.2.1",
        ],
        ["::", "::1", "ff02::2", "::ffff:10.0.0.1", "fe80::7", "fd00::", "fd00::1", "2001:db8::1"],
    ];
    let near = (0..64u8).prop_map(move |low| match v6 {
        false => IpAddr::from([10, 0, low >> 4, low & 15]),
        true => IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, low >> 4, 0, low & 15]),
    });
    let special = prop::sample::select(SPECIAL[usize::from(v6)].to_vec()).prop_map(ip);
    prop_oneof![5 => near, 1 => special].boxed()
}

fn host() -> impl Strategy<Value = HostName> {
    (0..5u8).prop_map(|n| name(&format!("h{n}")))
}

fn origin() -> impl Strategy<Value = Origin> {
    prop::sample::select(vec![Origin::Inline, Origin::File, Origin::Redis, Origin::Http])
}

fn row(v6: bool) -> impl Strategy<Value = (Route, Origin)> {
    let max: u8 = if v6 { 128 } else { 32 };
    let len = prop_oneof![max - 16..=max, Just(max), Just(max - 8), 0..=max];
    (address(v6), len, host(), origin()).prop_map(|(address, len, gateway, origin)| {
        (Route::new(IpNet::new(address, len).unwrap(), gateway), origin)
    })
}

fn router() -> impl Strategy<Value = TestRouter> {
    let family = any::<bool>();
    let rows = prop::collection::vec(family.prop_flat_map(row), 0..60);
    let answers = prop::collection::btree_map(
        any::<bool>().prop_flat_map(address),
        prop::option::of(host()),
        0..60,
    );
    prop_oneof![4 => rows.prop_map(TestRouter::Table), 1 => answers.prop_map(TestRouter::Plugin)]
}

fn world() -> impl Strategy<Value = TestNetwork> {
    (
        prop::collection::vec(router(), 0..3),
        prop::sample::select(vec![SourceCheck::Strict, SourceCheck::Loose, SourceCheck::Off]),
        prop::collection::btree_set(host(), 0..5),
        any::<bool>(),
    )
        .prop_map(|(routers, check, connected, takes_hops)| TestNetwork {
            routers,
            check,
            connected,
            takes_hops,
        })
}

fn question() -> impl Strategy<Value = Question> {
    any::<bool>().prop_flat_map(|v6| {
        (
            prop::option::of(host()),
            address(v6),
            address(v6),
            prop::sample::select(vec![0, 1, 2, 64]),
        )
            .prop_map(|(sender, source, destination, hops)| Question {
                sender,
                source,
                destination,
                hops,
            })
    })
}

/// What the hub does with the packet, decided from the packet itself.
fn reality(world: &TestNetwork, sender: &HostName, question: &Question) -> Result<String, String> {
    let bytes = packet(question.source, question.destination, question.hops);
    let packet = Packet::parse(&bytes).unwrap();
    match world.routing().forward(sender, &packet, world) {
        Verdict::Drop(reason) => Err(reason.as_str().into()),
        Verdict::Ask(plugin, address) => Err(format!("asks router-{} {address}", plugin.0)),
        Verdict::Deliver { gateway, .. } if !world.connected.contains(&gateway) => {
            Err("no_gateway_connected".into())
        }
        Verdict::Deliver { .. }
            if world.takes_hops && rtun_proto::packet::take_hop(&packet).is_none() =>
        {
            Err("ttl_expired".into())
        }
        Verdict::Deliver { gateway, .. } => Ok(gateway.as_str().into()),
        Verdict::Copy => {
            let hosts = world.routing();
            let hosts = hosts.receivers(question.destination, world);
            let to = hosts.iter().filter(|to| *to != sender && world.connected.contains(*to));
            match to.map(HostName::as_str).collect::<Vec<_>>() {
                nobody if nobody.is_empty() => Err("no_gateway_connected".into()),
                _ if world.takes_hops && question.hops < 2 => Err("ttl_expired".into()),
                to => Ok(to.join(" ")),
            }
        }
    }
}

/// Whether the packet is for many and a router is about its destination.
fn is_carried(world: &TestNetwork, question: &Question) -> bool {
    destination_is_for_many(question.destination)
        && !matches!(world.locate(question.destination, true), ModelAnswer::Nowhere)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The explanation has the same result as the packet itself, for every sender.
    #[test]
    fn the_explanation_has_the_result_of_the_packet(
        world in world(),
        questions in prop::collection::vec(question(), 20),
    ) {
        for question in &questions {
            let explanation = world.explain(question);
            let explained = match &explanation.conclusion {
                Conclusion::Delivered { to } => Ok(to.clone()),
                Conclusion::Copied { to } => Ok(to.join(" ")),
                Conclusion::Dropped { reason } => Err(reason.as_str().to_owned()),
                Conclusion::Asks { plugin, address } => Err(format!("asks {plugin} {address}")),
            };
            let sender = world.sender(question).cloned().unwrap_or(name("somebody-else"));
            prop_assert_eq!(explained, reality(&world, &sender, question), "{:?}", question);
            prop_assert_eq!(
                explanation.source.special.is_some(), source_is_never_valid(question.source)
            );
            prop_assert_eq!(
                explanation.destination.special.is_some(),
                destination_is_never_routed(question.destination) && !is_carried(&world, question)
            );
            let text = serde_json::to_string(&explanation).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Explanation>(&text).unwrap(), &explanation);
        }
    }

    /// The reported row is the one that decides, and every other row that contains the address is reported or counted.
    #[test]
    fn the_row_is_the_one_that_decides(
        world in world(),
        questions in prop::collection::vec(question(), 20),
    ) {
        for question in &questions {
            let explanation = world.explain(question);
            let sender = world.sender(question);
            for (is_source, located) in
                [(true, &explanation.source), (false, &explanation.destination)]
            {
                let rows = world.containing(located.address);
                let for_many = !is_source && destination_is_for_many(located.address);
                let reported = usize::from(located.row.is_some()) + located.passed_over.len();
                prop_assert_eq!(reported + located.passed_over_more as usize, rows);
                let line = located.row.as_ref().map(|row| row.line as usize);
                match world.locate(located.address, for_many) {
                    ModelAnswer::Behind(router, hosts) => {
                        let its_own = hosts.iter().find(|(host, _)| Some(*host) == sender);
                        let (gateway, expected) = match its_own.filter(|_| is_source) {
                            Some(own) => *own,
                            None if is_source => world.carrier(&hosts, None),
                            None => world.carrier(&hosts, sender),
                        };
                        if !is_source {
                            let others = explanation.others.iter().map(|other| other.host.as_str());
                            let expected = hosts.iter().map(|(host, _)| host.as_str());
                            prop_assert!(others.eq(expected.filter(|host| *host != gateway.as_str())));
                        }
                        prop_assert_eq!(&located.router, &Some(format!("router-{router}")));
                        prop_assert_eq!(located.gateway.as_deref(), Some(gateway.as_str()));
                        prop_assert_eq!(line, expected);
                        prop_assert_eq!(&located.asks, &None);
                    }
                    ModelAnswer::Ask => {
                        prop_assert!(located.asks.is_some());
                        prop_assert_eq!(line, None);
                    }
                    ModelAnswer::Nowhere => {
                        prop_assert_eq!((&located.router, &located.gateway), (&None, &None));
                        prop_assert!(rows == 0 || for_many);
                    }
                }
                for passed in &located.passed_over {
                    let same_router = Some(&passed.router) == located.router.as_ref();
                    let len = |row: &TableRow| row.prefix.parse::<IpNet>().unwrap().prefix_len();
                    let expected = match &located.row {
                        _ if for_many && !is_for_many(passed.row.prefix.parse().unwrap()) => {
                            Because::NotForMany
                        }
                        Some(row) if same_router => match len(&passed.row).cmp(&len(row)) {
                            std::cmp::Ordering::Less => Because::ShorterPrefix,
                            _ if passed.row.gateway == row.gateway => {
                                match passed.row.origin < row.origin {
                                    true => Because::LowerSource,
                                    false => Because::ListedLater,
                                }
                            }
                            _ if is_source => Because::MaySendToo,
                            _ if sender.is_some_and(|s| s.as_str() == passed.row.gateway) => {
                                Because::Sends
                            }
                            _ if for_many => Because::GetsCopy,
                            _ if passed.row.origin > row.origin
                                || passed.row.origin == row.origin
                                    && passed.row.line < row.line =>
                            {
                                Because::Away
                            }
                            _ => Because::StandsBy,
                        },
                        _ => Because::RouterNotAsked,
                    };
                    prop_assert_eq!(passed.because, expected);
                }
            }
        }
    }
}

fn tutorial() -> TestNetwork {
    let row = |prefix: &str, gateway: &str, origin| {
        (Route::new(prefix.parse().unwrap(), name(gateway)), origin)
    };
    TestNetwork {
        routers: vec![
            TestRouter::Table(vec![
                row("192.168.123.1/32", "host-1", Origin::Inline),
                row("192.168.0.0/16", "host-9", Origin::Inline),
                row("192.168.200.0/24", "host-8", Origin::Inline),
                row("192.168.200.0/24", "host-2", Origin::File),
                row("192.168.200.0/24", "host-7", Origin::File),
            ]),
            TestRouter::Table(vec![row("192.168.200.7/32", "host-6", Origin::Http)]),
        ],
        check: SourceCheck::Strict,
        connected: [name("host-1"), name("host-2")].into(),
        takes_hops: false,
    }
}

fn asked(sender: Option<&str>, source: &str, destination: &str) -> Question {
    Question {
        sender: sender.map(name),
        source: ip(source),
        destination: ip(destination),
        hops: 64,
    }
}

#[test]
fn its_json_is_a_contract() {
    let explanation = tutorial().explain(&asked(None, "192.168.123.1", "192.168.200.7"));
    let row = |prefix: &str, gateway: &str, origin: &str, line: u32| {
        serde_json::json!({
            "prefix": prefix, "gateway": gateway, "origin": origin, "source": "rows", "line": line
        })
    };
    let passed = |router: &str, row: serde_json::Value, because: &str| {
        let mut passed = row;
        passed["router"] = router.into();
        passed["because"] = because.into();
        passed
    };
    assert_eq!(
        serde_json::to_value(&explanation).unwrap(),
        serde_json::json!({
            "namespace": "07070707-0707-0707-0707-070707070707",
            "source_check": "strict",
            "routers": [
                {"name": "router-0", "is_default": false, "is_plugin": false, "not_read": []},
                {"name": "router-1", "is_default": true, "is_plugin": false, "not_read": []},
            ],
            "sender": {
                "host": "host-1", "named": false,
                "presence": {"state": "connected", "connections": []},
            },
            "source": {
                "address": "192.168.123.1", "special": null, "router": "router-0", "gateway": "host-1",
                "row": row("192.168.123.1/32", "host-1", "inline", 1), "asks": null,
                "passed_over": [
                    passed("router-0", row("192.168.0.0/16", "host-9", "inline", 2), "shorter_prefix"),
                ],
                "passed_over_more": 0,
            },
            "destination": {
                "address": "192.168.200.7", "special": null, "router": "router-0", "gateway": "host-2",
                "row": row("192.168.200.0/24", "host-2", "file", 4), "asks": null,
                "passed_over": [
                    passed("router-0", row("192.168.200.0/24", "host-7", "file", 5), "stands_by"),
                    passed("router-0", row("192.168.200.0/24", "host-8", "inline", 3), "stands_by"),
                    passed("router-0", row("192.168.0.0/16", "host-9", "inline", 2), "shorter_prefix"),
                    passed("router-1", row("192.168.200.7/32", "host-6", "http", 1), "router_not_asked"),
                ],
                "passed_over_more": 0,
            },
            "gateway": {"host": "host-2", "presence": {"state": "connected", "connections": []}},
            "others": [
                {"host": "host-7", "presence": {"state": "not_connected"}},
                {"host": "host-8", "presence": {"state": "not_connected"}},
            ],
            "share_flows": false,
            "copies": false,
            "conclusion": {"verdict": "delivered", "to": "host-2"},
        })
    );
    let spoofed = tutorial().explain(&asked(Some("host-2"), "192.168.123.1", "192.168.200.7"));
    assert_eq!(
        serde_json::to_value(&spoofed.conclusion).unwrap(),
        serde_json::json!({
            "verdict": "dropped",
            "reason": "src_not_allowed",
            "help": DropReason::SrcNotAllowed.help(),
        })
    );
}

#[test]
fn packets_for_many_go_to_each_host_of_a_route_that_is_about_them() {
    let mut world = tutorial();
    let row = |prefix: &str, gateway: &str| {
        (Route::new(prefix.parse().unwrap(), name(gateway)), Origin::Inline)
    };
    world.routers[1] = TestRouter::Table(vec![
        row("224.0.0.0/4", "host-1"),
        row("224.0.0.0/4", "host-2"),
        row("224.0.0.0/4", "host-3"),
        row("224.0.0.0/4", "host-7"),
        row("0.0.0.0/0", "host-9"),
    ]);
    world.connected.insert(name("host-3"));
    let all = world.explain(&asked(None, "192.168.123.1", "239.1.2.3"));
    assert_eq!(
        serde_json::to_value(&all.conclusion).unwrap(),
        serde_json::json!({"verdict": "copied", "to": ["host-2", "host-3"]})
    );
    assert!(all.copies && all.destination.special.is_none());
    let because: Vec<_> = all.destination.passed_over.iter().map(|it| it.because).collect();
    let expected = [Because::Sends, Because::GetsCopy, Because::GetsCopy, Because::NotForMany];
    assert_eq!(because, expected);
    world.connected.remove(&name("host-3"));
    let one = world.explain(&asked(None, "192.168.123.1", "239.1.2.3"));
    assert_eq!(one.conclusion, Conclusion::Delivered { to: "host-2".into() });
    let none = world.explain(&asked(None, "192.168.123.1", "255.255.255.255"));
    assert_eq!(none.conclusion, Conclusion::Dropped { reason: DropReason::IpDisallowedDst });
    assert_eq!(none.destination.special, Some(Special::Broadcast));
}

#[test]
fn a_host_that_cannot_join_is_not_connected_and_an_unknown_one_may_be() {
    let world = tutorial();
    let routing = world.routing();
    let conclusion = |presence: Presence| {
        let scene = Scene {
            routing: &routing,
            listings: Vec::new(),
            answers: &NoAnswers,
            takes_hops: false,
            presence: &|_| presence.clone(),
        };
        explain(scene, &asked(None, "192.168.123.1", "192.168.200.7")).conclusion
    };
    let gone = Conclusion::Dropped { reason: DropReason::NoGatewayConnected };
    assert_eq!(conclusion(Presence::Impossible { because: "no rule".into() }), gone);
    assert_eq!(conclusion(Presence::NotConnected), gone);
    assert_eq!(conclusion(Presence::Unknown), Conclusion::Delivered { to: "host-2".into() });
}

#[test]
fn thousands_of_rows_for_one_address_are_counted_not_kept() {
    let mut world = tutorial();
    let route = Route::new("10.0.0.0/8".parse().unwrap(), name("a"));
    world.routers = vec![TestRouter::Table(vec![(route, Origin::File); 5_000])];
    let explanation = world.explain(&asked(None, "10.0.0.1", "10.0.0.2"));
    let LocatedAddress { row, passed_over, passed_over_more, .. } = explanation.destination;
    assert_eq!(row.map(|row| row.line), Some(1));
    let lines: Vec<u32> = passed_over.iter().map(|passed| passed.row.line).collect();
    assert_eq!(lines, (2..=33).collect::<Vec<_>>());
    assert_eq!(passed_over_more, 5_000 - 33);
}
