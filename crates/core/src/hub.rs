//! Where a packet goes: a namespace's routers, the source check, and the verdict.

use std::{net::IpAddr, slice, sync::Arc};

use rtun_proto::{
    icmp::{Quote, quoted},
    packet::{Packet, destination_is_never_routed, source_is_never_valid},
};

use crate::{DropReason, HostName, NamespaceId, RoutingTable, Sharing};

/// How a namespace routes: an immutable snapshot, bound to one namespace so that no lookup can be made in another's.
pub struct Routing {
    namespace: NamespaceId,
    routers: Vec<Router>,
    source_check: SourceCheck,
    sharing: Sharing,
}

/// One of the routers of a namespace, its own or the default one.
#[derive(Clone)]
pub enum Router {
    /// A compiled table.
    Table(Arc<RoutingTable>),
    /// A plugin, known by its number to whoever can ask it.
    Plugin(PluginId),
}

/// Which plugin a router stands for; the meaning of the number is the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PluginId(pub usize);

/// How strictly a packet's source is checked, beyond what is never valid.
///
/// A prefix that is behind several hosts is routed back to each of them (RFC 3704 section 2.3). However strict, a source
/// that no router knows may send an ICMP error about a packet that did go to the sending host: one that runs from the
/// receiver of the error to an address routed back to the sender. A router of a network behind a host has often no other
/// address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SourceCheck {
    /// It must be routed back to the sending host.
    #[default]
    Strict,
    /// It must be routed to some host.
    Loose,
    /// No further check.
    Off,
}

/// What is known of a plugin's answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// The plugin named this gateway.
    Gateway(HostName),
    /// The plugin knows no route.
    Nothing,
    /// The plugin has to be asked.
    Unasked,
}

/// What a decision depends on besides the tables, as it is known now.
pub trait Answers {
    /// What `plugin` says of `addr` in `namespace`.
    fn known(&self, plugin: PluginId, namespace: NamespaceId, addr: IpAddr) -> Known;

    /// Whether a host of this name is connected; asked only of hosts that share a prefix with others.
    fn is_connected(&self, host: &HostName) -> bool;
}

/// For namespaces without plugins, with every host connected.
pub struct NoAnswers;

impl Answers for NoAnswers {
    fn known(&self, _: PluginId, _: NamespaceId, _: IpAddr) -> Known {
        Known::Nothing
    }

    fn is_connected(&self, _: &HostName) -> bool {
        true
    }
}

/// What to do with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Hand it to this host. `lasting`: the same holds for every packet of the same source and destination until the
    /// snapshot changes or a host comes or goes; otherwise it came from a plugin, whose answers age, or holds for this
    /// flow or this packet alone.
    Deliver {
        /// The host.
        gateway: HostName,
        /// Whether the verdict may be remembered.
        lasting: bool,
    },
    /// Ask this plugin about this address, then decide again.
    Ask(PluginId, IpAddr),
    /// Drop it.
    Drop(DropReason),
}

/// What a namespace's routers say of an address.
pub(crate) enum Found<'a> {
    /// The router at this position names these hosts; whether that holds until the snapshot changes.
    Behind { gateways: Gateways<'a>, router: usize, lasting: bool },
    /// The router at this position is this plugin, which has to be asked.
    Ask { plugin: PluginId, router: usize },
    /// None of them has a route.
    Nowhere(DropReason),
}

/// The hosts that an address is behind, in order of preference; at least one.
pub(crate) enum Gateways<'a> {
    /// By rows of a table.
    Listed(&'a [HostName]),
    /// By a plugin's word.
    Named(HostName),
}

impl Gateways<'_> {
    pub(crate) fn all(&self) -> &[HostName] {
        match self {
            Self::Listed(hosts) => hosts,
            Self::Named(host) => slice::from_ref(host),
        }
    }

    pub(crate) fn contains(&self, host: Option<&HostName>) -> bool {
        host.is_some_and(|host| self.all().contains(host))
    }
}

impl Routing {
    /// A namespace that asks `routers` in turn until one has a route.
    pub fn new(
        namespace: NamespaceId,
        routers: Vec<Router>,
        source_check: SourceCheck,
        sharing: Sharing,
    ) -> Self {
        Self { namespace, routers, source_check, sharing }
    }

    /// The namespace this snapshot belongs to.
    pub fn namespace(&self) -> NamespaceId {
        self.namespace
    }

    /// How many prefixes its tables have; what plugins know is not counted.
    pub fn prefixes(&self) -> usize {
        let prefixes = |router: &Router| match router {
            Router::Table(table) => table.len(),
            Router::Plugin(_) => 0,
        };
        self.routers.iter().map(prefixes).sum()
    }

    /// Decides about a packet that the host `sender` sent.
    pub fn forward(
        &self,
        sender: &HostName,
        packet: &Packet<'_>,
        answers: &impl Answers,
    ) -> Verdict {
        self.decide(Some(sender), packet.source(), packet.destination(), Some(packet), answers)
    }

    /// Decides by the addresses, and by `packet` if it is there: its flow, and whether it is an ICMP error. A sender that is
    /// `None` owns nothing.
    pub(crate) fn decide(
        &self,
        sender: Option<&HostName>,
        source: IpAddr,
        destination: IpAddr,
        packet: Option<&Packet<'_>>,
        answers: &impl Answers,
    ) -> Verdict {
        if destination_is_never_routed(destination) {
            return Verdict::Drop(DropReason::IpDisallowedDst);
        }
        if self.routers.is_empty() {
            return Verdict::Drop(DropReason::NoTable);
        }
        if source_is_never_valid(source) {
            return Verdict::Drop(DropReason::SrcNotAllowed);
        }
        let source_lasting = match self.check_source(sender, source, destination, packet, answers) {
            Ok(lasting) => lasting,
            Err(verdict) => return verdict,
        };
        match self.find(destination, answers) {
            Found::Behind { gateways, lasting, .. } => {
                let gateway = self.choose(&gateways, sender, packet, answers);
                if Some(gateway) == sender {
                    return Verdict::Drop(DropReason::Hairpin);
                }
                let by_flow = gateways.all().len() > 1 && self.sharing == Sharing::Flow;
                let lasting = lasting && source_lasting && !by_flow;
                Verdict::Deliver { gateway: gateway.clone(), lasting }
            }
            Found::Ask { plugin, .. } => Verdict::Ask(plugin, destination),
            Found::Nowhere(reason) => Verdict::Drop(reason),
        }
    }

    /// Whether packets to `addr` go to `host`, at least while others are away; `None` while a plugin has still to say.
    pub fn leads_to(&self, host: &HostName, addr: IpAddr, answers: &impl Answers) -> Option<bool> {
        match self.find(addr, answers) {
            Found::Behind { gateways, .. } => Some(gateways.contains(Some(host))),
            Found::Nowhere(_) => Some(false),
            Found::Ask { .. } => None,
        }
    }

    /// How strictly sources are checked.
    pub fn source_check(&self) -> SourceCheck {
        self.source_check
    }

    /// How packets are shared out among several connections or hosts.
    pub fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// The tables, in the order in which they are asked.
    pub fn tables(&self) -> impl Iterator<Item = &RoutingTable> {
        self.routers.iter().filter_map(|router| match router {
            Router::Table(table) => Some(&**table),
            Router::Plugin(_) => None,
        })
    }

    /// Of several hosts the first that is connected, or one by the packet's flow; the sender only where there is no other.
    /// One that is not connected if none is.
    pub(crate) fn choose<'a>(
        &self,
        gateways: &'a Gateways<'_>,
        sender: Option<&HostName>,
        packet: Option<&Packet<'_>>,
        answers: &impl Answers,
    ) -> &'a HostName {
        let gateways = gateways.all();
        let [only] = gateways else {
            let others = || gateways.iter().enumerate().filter(|(_, host)| Some(*host) != sender);
            let mut connected = others().filter(|(_, host)| answers.is_connected(host));
            let chosen = match packet.filter(|_| self.sharing == Sharing::Flow) {
                None => connected.next(),
                Some(packet) => {
                    let hash = packet.flow_hash(0);
                    connected.max_by_key(|(place, _)| weight(hash, *place))
                }
            };
            let chosen = chosen.or_else(|| others().next());
            return chosen.map_or(&gateways[0], |(_, host)| host);
        };
        only
    }

    /// The routers, in the order in which they are asked.
    pub(crate) fn routers(&self) -> &[Router] {
        &self.routers
    }

    /// Whether the check may be remembered, or what to do instead of forwarding.
    fn check_source(
        &self,
        sender: Option<&HostName>,
        source: IpAddr,
        destination: IpAddr,
        packet: Option<&Packet<'_>>,
        answers: &impl Answers,
    ) -> Result<bool, Verdict> {
        if self.source_check == SourceCheck::Off {
            return Ok(true);
        }
        match self.find(source, answers) {
            Found::Behind { gateways, lasting, .. }
                if self.source_check == SourceCheck::Loose || gateways.contains(sender) =>
            {
                Ok(lasting)
            }
            Found::Ask { plugin, .. } => Err(Verdict::Ask(plugin, source)),
            Found::Behind { .. } => Err(Verdict::Drop(DropReason::SrcNotAllowed)),
            Found::Nowhere(_) => match packet.filter(|_| !is_link_local(source)).and_then(quoted) {
                Some(quote) => self.check_quote(sender, destination, quote, answers),
                None => Err(Verdict::Drop(DropReason::SrcNotAllowed)),
            },
        }
    }

    /// The same for an ICMP error to `destination` from where no router knows. Never to be remembered: it holds for no other
    /// packet from there.
    fn check_quote(
        &self,
        sender: Option<&HostName>,
        destination: IpAddr,
        quote: Quote,
        answers: &impl Answers,
    ) -> Result<bool, Verdict> {
        if quote.source != destination {
            return Err(Verdict::Drop(DropReason::SrcNotAllowed));
        }
        match self.find(quote.destination, answers) {
            Found::Behind { gateways, .. } if gateways.contains(sender) => Ok(false),
            Found::Ask { plugin, .. } => Err(Verdict::Ask(plugin, quote.destination)),
            Found::Behind { .. } | Found::Nowhere(_) => {
                Err(Verdict::Drop(DropReason::SrcNotAllowed))
            }
        }
    }

    /// Asks the routers in turn until one has a route to `addr`.
    pub(crate) fn find(&self, addr: IpAddr, answers: &impl Answers) -> Found<'_> {
        let mut reason = DropReason::NoRoute;
        let mut lasting = true;
        for (router, asked) in self.routers.iter().enumerate() {
            match asked {
                Router::Table(table) => {
                    if let Some(gateways) = table.lookup(addr) {
                        let gateways = Gateways::Listed(gateways);
                        return Found::Behind { gateways, router, lasting };
                    }
                }
                Router::Plugin(plugin) => {
                    lasting = false;
                    match answers.known(*plugin, self.namespace, addr) {
                        Known::Gateway(gateway) => {
                            let gateways = Gateways::Named(gateway);
                            return Found::Behind { gateways, router, lasting: false };
                        }
                        Known::Nothing => reason = DropReason::RouteDenied,
                        Known::Unasked => return Found::Ask { plugin: *plugin, router },
                    }
                }
            }
        }
        Found::Nowhere(reason)
    }
}

/// Who of several is taken for a flow: the one of the greatest weight, so that only flows of one that goes change over
/// (highest random weight, Thaler and Ravishankar 1998).
fn weight(flow_hash: u64, place: usize) -> u64 {
    const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed =
        (flow_hash ^ (place as u64 + 1).wrapping_mul(GOLDEN_RATIO)).wrapping_mul(GOLDEN_RATIO);
    (mixed ^ (mixed >> 29)).wrapping_mul(GOLDEN_RATIO)
}

/// Routers pass nothing on from there (RFC 3927 section 7, RFC 4291 section 2.5.6).
fn is_link_local(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(source) => source.is_link_local(),
        IpAddr::V6(source) => source.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
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
        Verdict::Deliver { gateway: name(gateway), lasting: true }
    }

    #[test]
    fn the_tutorial_routes_both_ways() {
        let routing = strict(vec![tutorial()]);
        assert_eq!(forward(&routing, "host-1", "192.168.123.1", "192.168.123.2"), to("host-2"));
        assert_eq!(forward(&routing, "host-2", "192.168.200.9", "192.168.100.5"), to("host-1"));
    }

    #[test]
    fn each_way_to_go_nowhere_has_its_reason() {
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

    struct Map(HashMap<IpAddr, Known>);

    impl Answers for Map {
        fn known(&self, _: PluginId, namespace: NamespaceId, addr: IpAddr) -> Known {
            assert_eq!(namespace, NS);
            self.0.get(&addr).cloned().unwrap_or(Known::Unasked)
        }

        fn is_connected(&self, _: &HostName) -> bool {
            true
        }
    }

    /// Without plugins; these hosts are connected.
    struct Here(HashSet<&'static str>);

    impl Answers for Here {
        fn known(&self, _: PluginId, _: NamespaceId, _: IpAddr) -> Known {
            Known::Nothing
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
        assert_eq!(from_x(&[]), to("a"), "nobody: the first is missed");
        // Each of them may send from there, and gets nothing of its own back while another is there.
        assert_eq!(carries(&["a", "b"], "b", "10.1.0.7"), to("a"));
        assert_eq!(carries(&["a", "b"], "a", "10.1.0.7"), to("b"));
        assert_eq!(
            forward_with(&routing, "a", "10.1.0.7", "10.2.0.1", &here(&[])),
            to("x"),
            "whoever carries"
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
                Verdict::Deliver { gateway, lasting: false } => gateway.as_str().to_owned(),
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
        assert!(
            counts.len() == 3 && counts.values().all(|n| (800..1200).contains(n)),
            "{counts:?}"
        );
        // What has one gateway may be remembered.
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
    fn routers_that_no_table_knows_may_tell_of_packets_that_went_to_their_host() {
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
        let passed = Verdict::Deliver { gateway: name("a"), lasting: false };
        let refused = Verdict::Drop(DropReason::SrcNotAllowed);
        // A router behind b tells a machine behind a of its packet to a machine behind b.
        for good in [
            error("172.16.0.1", "10.1.0.1", "10.2.0.1"),
            error("2001:db8::1", "fd01::1", "fd02::1"),
        ] {
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
        answers.0.insert(router, Known::Nothing);
        assert_eq!(verdict(&answers), Verdict::Ask(plugin, b));
        answers.0.insert(b, Known::Gateway(name("b")));
        assert_eq!(verdict(&answers), Verdict::Ask(plugin, a));
        answers.0.insert(a, Known::Gateway(name("a")));
        assert_eq!(verdict(&answers), Verdict::Deliver { gateway: name("a"), lasting: false });
        answers.0.insert(b, Known::Gateway(name("c")));
        assert_eq!(verdict(&answers), Verdict::Drop(DropReason::SrcNotAllowed));
    }

    #[test]
    fn a_plugin_is_asked_for_source_and_destination_then_believed() {
        let plugin = PluginId(3);
        let routing = strict(vec![tutorial(), Router::Plugin(plugin)]);
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let mut answers = Map(HashMap::new());
        let verdict = |answers: &Map| forward_with(&routing, "a", "10.0.0.1", "10.0.0.2", answers);

        assert_eq!(verdict(&answers), Verdict::Ask(plugin, a));
        answers.0.insert(a, Known::Gateway(name("a")));
        assert_eq!(verdict(&answers), Verdict::Ask(plugin, b));
        answers.0.insert(b, Known::Nothing);
        assert_eq!(verdict(&answers), Verdict::Drop(DropReason::RouteDenied));
        answers.0.insert(b, Known::Gateway(name("b")));
        assert_eq!(verdict(&answers), Verdict::Deliver { gateway: name("b"), lasting: false });
        answers.0.insert(a, Known::Gateway(name("z")));
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
}
