//! Which of a tunnel's routes go to the main table, and which to one of their own: a decision, nothing is done here.
//!
//! In the main table a route is where everybody expects it. But there it would conflict with another program's route to the
//! same destination, and it would lead the tunnel's own packets into the tunnel where it covers the other end. Such routes go
//! to a table of the tunnel's, which rules keep its own packets from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::link::LinkSetup;
use crate::os_route::{Family, MAIN, OsRoute, Placed};
use crate::os_rule::{OsRule, RuleKind};

/// A tunnel's table, and the metric of its routes in the main table, are this and the index of its device: so a later run
/// knows whose they were.
pub const NUMBERS: u32 = 7_274_000;

/// The `SO_MARK` of a tunnel's own packets unless it is configured: `rt`.
pub const OWN_SO_MARK: u32 = 0x7274;

/// The packets that a tunnel consists of, which must not enter it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnPackets {
    /// The `SO_MARK` values of its sockets, none of them 0.
    pub so_marks: Vec<u32>,
    /// Where they go, as far as known.
    pub peers: BTreeSet<IpAddr>,
    /// Whether they may go elsewhere too: a name has not been looked up yet.
    pub may_go_anywhere: bool,
    /// What no packet goes to through the tunnel, marked or not.
    pub let_past: BTreeSet<IpAddr>,
}

/// Why a route is not in the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Somebody else has a route to the same destination, written as here.
    Taken(String),
    /// It covers an address that the tunnel's own packets go to.
    Covers(IpAddr),
    /// It may cover one: not all of these addresses are known yet.
    MayCover,
}

/// A route that is in the tunnel's own table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apart {
    /// Which.
    pub route: OsRoute,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(other) => write!(f, "the system has {other} already, which stays"),
            Self::Covers(peer) => write!(f, "it covers {peer}, where the tunnel's own packets go"),
            Self::MayCover => {
                f.write_str("not all addresses the tunnel's own packets go to are known")
            }
        }
    }
}

/// What is to be in the system.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) routes: Vec<Placed>,
    pub(crate) rules: BTreeSet<OsRule>,
    pub(crate) apart: Vec<Apart>,
    /// Addresses whose prefixes are among the routes here instead of being made by the system.
    pub(crate) prefixes_apart: BTreeSet<IpNet>,
}

/// Decides for the tunnel whose table is `table`. `taken` are the destinations that others have routes to in the main
/// table, with what these look like.
pub(crate) fn plan(
    table: u32,
    setup: &LinkSetup,
    own: &OwnPackets,
    taken: &BTreeMap<IpNet, String>,
) -> Plan {
    let mut plan = Plan::default();
    let covered = |net: &IpNet| own.peers.iter().find(|peer| net.contains(*peer)).copied();
    for address in &setup.addresses {
        let net = address.trunc();
        // Of two devices in one network the first keeps it, as without rtun.
        if let Some(peer) = covered(&net).filter(|_| !is_host(&net) && !taken.contains_key(&net)) {
            let route = OsRoute { destination: net, gateway: None };
            plan.prefixes_apart.insert(*address);
            plan.apart.push(Apart { route: route.clone(), reason: Reason::Covers(peer) });
            plan.routes.push(Placed { route, table, metric: None, source: Some(address.addr()) });
        }
    }
    for route in &setup.routes {
        let net = route.destination.trunc();
        let route = OsRoute { destination: net, gateway: route.gateway };
        let reason = match (taken.get(&net), covered(&net)) {
            (Some(other), _) => Some(Reason::Taken(other.clone())),
            (None, Some(peer)) => Some(Reason::Covers(peer)),
            (None, None) => own.may_go_anywhere.then_some(Reason::MayCover),
        };
        if plan.routes.iter().any(|placed| placed.route == route) {
            continue;
        }
        let (table, metric) = if reason.is_some() { (table, None) } else { (MAIN, Some(table)) };
        plan.apart.extend(reason.map(|reason| Apart { route: route.clone(), reason }));
        plan.routes.push(Placed { route, table, metric, source: None });
    }
    for family in Family::BOTH {
        plan.rules.extend(rules(table, family, own, &plan.routes));
    }
    plan
}

fn rules(table: u32, family: Family, own: &OwnPackets, routes: &[Placed]) -> BTreeSet<OsRule> {
    let apart = routes.iter().filter(|placed| placed.table == table);
    let nets = apart.map(|placed| placed.route.destination);
    let lengths: BTreeSet<u8> =
        nets.filter(|net| Family::of(net) == family).map(|net| net.prefix_len()).collect();
    if lengths.is_empty() {
        return BTreeSet::new();
    }
    let mut kinds = vec![RuleKind::End];
    kinds.extend(own.so_marks.iter().copied().map(RuleKind::PassMarked));
    let past = own.let_past.iter().filter(|address| Family::of(&IpNet::from(**address)) == family);
    kinds.extend(past.copied().map(RuleKind::PassTo));
    kinds.extend(lengths.into_iter().flat_map(|bits| [RuleKind::Main(bits), RuleKind::Own(bits)]));
    kinds.into_iter().map(|kind| OsRule { family, kind, table }).collect()
}

fn is_host(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: u32 = NUMBERS + 7;

    fn setup(addresses: &[&str], routes: &[&str]) -> LinkSetup {
        let route = |text: &&str| OsRoute { destination: text.parse().unwrap(), gateway: None };
        LinkSetup {
            mtu: 1420,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            routes: routes.iter().map(route).collect(),
        }
    }

    fn towards(peer: &str) -> OwnPackets {
        let peers = BTreeSet::from([peer.parse().unwrap()]);
        OwnPackets { so_marks: vec![1], peers, ..OwnPackets::default() }
    }

    fn tables(plan: &Plan) -> Vec<(String, u32)> {
        plan.routes.iter().map(|placed| (placed.route.to_string(), placed.table)).collect()
    }

    #[test]
    fn a_route_that_is_in_nobodys_way_stands_in_the_main_table() {
        let setup = setup(&["10.1.0.1/16"], &["10.2.0.0/16"]);
        let plan = plan(TABLE, &setup, &towards("192.0.2.1"), &BTreeMap::new());
        assert_eq!(tables(&plan), [("10.2.0.0/16".to_owned(), MAIN)]);
        assert_eq!(plan.routes[0].metric, Some(TABLE));
        assert!(plan.rules.is_empty() && plan.apart.is_empty());
    }

    #[test]
    fn what_covers_the_other_end_or_is_taken_stands_apart() {
        let setup = setup(&[], &["10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16"]);
        let taken = BTreeMap::from([("10.3.0.0/16".parse().unwrap(), "10.3.0.0/16".to_owned())]);
        let plan = plan(TABLE, &setup, &towards("10.2.9.9"), &taken);
        let apart: Vec<_> = plan.apart.iter().map(|it| it.route.to_string()).collect();
        assert_eq!(apart, ["10.2.0.0/16", "10.3.0.0/16"]);
        assert_eq!(tables(&plan)[2], ("10.4.0.0/16".to_owned(), MAIN));
        let kinds: Vec<_> = plan.rules.iter().map(|rule| rule.kind.clone()).collect();
        assert_eq!(
            kinds,
            [RuleKind::End, RuleKind::PassMarked(1), RuleKind::Main(16), RuleKind::Own(16)]
        );
    }

    #[test]
    fn while_the_other_end_is_unknown_every_route_stands_apart() {
        let own = OwnPackets { may_go_anywhere: true, ..OwnPackets::default() };
        let setup = setup(&["10.1.0.1/16"], &["10.2.0.0/16"]);
        let plan = plan(TABLE, &setup, &own, &BTreeMap::new());
        assert_eq!(tables(&plan), [("10.2.0.0/16".to_owned(), TABLE)]);
    }

    #[test]
    fn the_prefix_of_an_address_stands_apart_only_where_it_covers_and_nobody_has_it() {
        let setup = setup(&["10.0.0.7/8", "10.9.9.9/32"], &[]);
        let net: IpNet = "10.0.0.0/8".parse().unwrap();
        let alone = plan(TABLE, &setup, &towards("10.9.9.9"), &BTreeMap::new());
        assert_eq!(alone.routes[0].source, Some(setup.addresses[0].addr()));
        assert_eq!(alone.prefixes_apart, BTreeSet::from([setup.addresses[0]]));
        let taken = BTreeMap::from([(net, "10.0.0.0/8".to_owned())]);
        assert_eq!(plan(TABLE, &setup, &towards("10.9.9.9"), &taken), Plan::default());
    }

    #[test]
    fn rules_are_made_for_the_families_and_lengths_in_use() {
        let mut own = towards("2001:db8::1");
        own.let_past =
            BTreeSet::from(["2001:db8::1".parse().unwrap(), "192.0.2.1".parse().unwrap()]);
        let plan = plan(TABLE, &setup(&[], &["::/0", "2000::/3"]), &own, &BTreeMap::new());
        assert!(plan.rules.iter().all(|rule| rule.family == Family::V6 && rule.table == TABLE));
        assert_eq!(plan.rules.len(), 3 + 2 * 2);
    }
}
