//! Where a packet goes: a namespace's routers, the source check, and the verdict.

use std::{net::IpAddr, sync::Arc};

use rtun_proto::packet::{Packet, destination_is_never_routed, source_is_never_valid};

use crate::{DropReason, HostName, NamespaceId, RoutingTable};

/// How a namespace routes: an immutable snapshot, bound to one namespace so that no lookup can be made in another's.
pub struct Routing {
    namespace: NamespaceId,
    routers: Vec<Router>,
    source_check: SourceCheck,
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

/// Answers of plugins, as far as they are known now.
pub trait Answers {
    /// What `plugin` says of `addr` in `namespace`.
    fn known(&self, plugin: PluginId, namespace: NamespaceId, addr: IpAddr) -> Known;
}

/// For namespaces without plugins.
pub struct NoAnswers;

impl Answers for NoAnswers {
    fn known(&self, _: PluginId, _: NamespaceId, _: IpAddr) -> Known {
        Known::Nothing
    }
}

/// What to do with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Hand it to this host. `lasting`: the same holds for every packet of the same source and destination until the
    /// snapshot changes; otherwise it came from a plugin, whose answers age.
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
pub(crate) enum Found {
    /// The router at this position names this gateway; whether that holds until the snapshot changes.
    Gateway { gateway: HostName, router: usize, lasting: bool },
    /// The router at this position is this plugin, which has to be asked.
    Ask { plugin: PluginId, router: usize },
    /// None of them has a route.
    Nowhere(DropReason),
}

impl Routing {
    /// A namespace that asks `routers` in turn until one has a route.
    pub fn new(namespace: NamespaceId, routers: Vec<Router>, source_check: SourceCheck) -> Self {
        Self { namespace, routers, source_check }
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
        self.decide(Some(sender), packet.source(), packet.destination(), answers)
    }

    /// Decides by the addresses alone, which is all that counts; `None` is a sender that owns nothing.
    pub(crate) fn decide(
        &self,
        sender: Option<&HostName>,
        source: IpAddr,
        destination: IpAddr,
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
        let source_lasting = match self.check_source(sender, source, answers) {
            Ok(lasting) => lasting,
            Err(verdict) => return verdict,
        };
        match self.find(destination, answers) {
            Found::Gateway { gateway, .. } if Some(&gateway) == sender => {
                Verdict::Drop(DropReason::Hairpin)
            }
            Found::Gateway { gateway, lasting, .. } => {
                Verdict::Deliver { gateway, lasting: lasting && source_lasting }
            }
            Found::Ask { plugin, .. } => Verdict::Ask(plugin, destination),
            Found::Nowhere(reason) => Verdict::Drop(reason),
        }
    }

    /// Whether packets to `addr` go to `host`; `None` while a plugin has still to say.
    pub fn leads_to(&self, host: &HostName, addr: IpAddr, answers: &impl Answers) -> Option<bool> {
        match self.find(addr, answers) {
            Found::Gateway { gateway, .. } => Some(gateway == *host),
            Found::Nowhere(_) => Some(false),
            Found::Ask { .. } => None,
        }
    }

    /// How strictly sources are checked.
    pub fn source_check(&self) -> SourceCheck {
        self.source_check
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
        answers: &impl Answers,
    ) -> Result<bool, Verdict> {
        if self.source_check == SourceCheck::Off {
            return Ok(true);
        }
        match self.find(source, answers) {
            Found::Gateway { gateway, lasting, .. }
                if self.source_check == SourceCheck::Loose || Some(&gateway) == sender =>
            {
                Ok(lasting)
            }
            Found::Ask { plugin, .. } => Err(Verdict::Ask(plugin, source)),
            Found::Gateway { .. } | Found::Nowhere(_) => {
                Err(Verdict::Drop(DropReason::SrcNotAllowed))
            }
        }
    }

    /// Asks the routers in turn until one has a route to `addr`.
    pub(crate) fn find(&self, addr: IpAddr, answers: &impl Answers) -> Found {
        let mut reason = DropReason::NoRoute;
        let mut lasting = true;
        for (router, asked) in self.routers.iter().enumerate() {
            match asked {
                Router::Table(table) => {
                    if let Some(gateway) = table.lookup(addr) {
                        return Found::Gateway { gateway: gateway.clone(), router, lasting };
                    }
                }
                Router::Plugin(plugin) => {
                    lasting = false;
                    match answers.known(*plugin, self.namespace, addr) {
                        Known::Gateway(gateway) => {
                            return Found::Gateway { gateway, router, lasting: false };
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

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
        Routing::new(NS, routers, SourceCheck::Strict)
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
        let loose = Routing::new(NS, vec![tutorial()], SourceCheck::Loose);
        assert_eq!(forward(&loose, "host-1", "192.168.123.2", "192.168.200.1"), to("host-2"));
        assert_eq!(
            forward(&loose, "host-1", "10.9.9.9", "192.168.200.1"),
            Verdict::Drop(DropReason::SrcNotAllowed)
        );
        let off = Routing::new(NS, vec![tutorial()], SourceCheck::Off);
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
