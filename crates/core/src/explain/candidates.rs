//! The rows that contain an address, and which of them is used.

use std::{cmp::Reverse, net::IpAddr};

use super::{
    Listed, Listing,
    report::{Because, PassedOver, RouterInfo, TableRow},
};
use crate::{HostName, prefix_is_for_many};

/// How many unused rows are reported; more are only counted.
const MAX_PASSED_OVER: usize = 32;

/// Rows that contain an address: the best ones, and how many more there are.
#[derive(Default)]
pub(super) struct RowCandidates<'a> {
    kept: Vec<RowCandidate<'a>>,
    more: u64,
}

struct RowCandidate<'a> {
    router: usize,
    /// The position among the rows of its router.
    position: usize,
    listed: Listed<'a>,
    /// It is not for many alone, as the packet is.
    is_too_wide: bool,
}

/// Whether an address is the source or the destination of a packet.
#[derive(Clone, Copy)]
pub(super) enum AddressRole<'a> {
    Source,
    Destination {
        /// The host that sends the packet.
        sender: Option<&'a HostName>,
        /// Whether the hosts with the best prefix share its flows.
        share_flows: bool,
        /// Whether each of them gets a copy.
        copies: bool,
    },
}

/// The candidates for each of `addresses`, each with whether a packet to it is for many. Reads each row once.
pub(super) fn gather<'a, const N: usize>(
    addresses: [(IpAddr, bool); N],
    listings: Vec<Listing<'a>>,
) -> [RowCandidates<'a>; N] {
    let mut all: [RowCandidates<'a>; N] = std::array::from_fn(|_| RowCandidates::default());
    for (router, listing) in listings.into_iter().enumerate() {
        for (position, listed) in listing.rows.into_iter().flatten().enumerate() {
            for ((address, for_many), candidates) in addresses.iter().zip(&mut all) {
                let prefix = listed.route.prefix;
                if prefix.contains(address) {
                    let is_too_wide = *for_many && !prefix_is_for_many(prefix);
                    candidates.add(RowCandidate { router, position, listed, is_too_wide });
                }
            }
        }
    }
    for candidates in &mut all {
        candidates.keep_the_best();
    }
    all
}

impl<'a> RowCandidates<'a> {
    fn add(&mut self, candidate: RowCandidate<'a>) {
        self.kept.push(candidate);
        if self.kept.len() > 4 * MAX_PASSED_OVER {
            self.keep_the_best();
        }
    }

    fn keep_the_best(&mut self) {
        self.kept.sort_by_key(|candidate| {
            let Listed { route, origin, .. } = candidate.listed;
            let rank = (route.prefix.prefix_len(), origin);
            (candidate.is_too_wide, candidate.router, Reverse(rank), candidate.position)
        });
        let beyond = self.kept.len().saturating_sub(MAX_PASSED_OVER + 1);
        self.more += beyond as u64;
        self.kept.truncate(MAX_PASSED_OVER + 1);
    }

    /// The row by which the router at position `answering` names `gateway`, the rows that are not used, and how many more
    /// of these there are.
    pub(super) fn judge(
        self,
        answering: Option<usize>,
        gateway: Option<&HostName>,
        role: AddressRole<'_>,
        routers: &[RouterInfo],
    ) -> (Option<TableRow>, Vec<PassedOver>, u64) {
        let best =
            self.kept.first().filter(|best| Some(best.router) == answering && !best.is_too_wide);
        let winner = best.and_then(|best| {
            self.kept.iter().position(|candidate| {
                candidate.router == best.router
                    && candidate.listed.route.prefix == best.listed.route.prefix
                    && Some(&candidate.listed.route.gateway) == gateway
            })
        });
        let losers = || self.kept.iter().enumerate().filter(|(at, _)| Some(*at) != winner);
        let beyond = losers().count().saturating_sub(MAX_PASSED_OVER);
        let passed_over = losers().take(MAX_PASSED_OVER).map(|(at, loser)| PassedOver {
            router: routers.get(loser.router).map_or_else(String::new, |r| r.name.clone()),
            row: row(&loser.listed),
            because: match winner.map(|winner| (winner, &self.kept[winner])) {
                _ if loser.is_too_wide => Because::NotForMany,
                Some((position, winner)) if winner.router == loser.router => {
                    why(&winner.listed, &loser.listed, at < position, role)
                }
                _ => Because::RouterNotAsked,
            },
        });
        let passed_over = passed_over.collect();
        let row = winner.map(|winner| row(&self.kept[winner].listed));
        (row, passed_over, self.more + beyond as u64)
    }
}

fn why(
    winner: &Listed<'_>,
    loser: &Listed<'_>,
    comes_first: bool,
    role: AddressRole<'_>,
) -> Because {
    let is_shorter = loser.route.prefix.prefix_len() < winner.route.prefix.prefix_len();
    match role {
        _ if is_shorter => Because::ShorterPrefix,
        _ if loser.route.gateway == winner.route.gateway && loser.origin < winner.origin => {
            Because::LowerSource
        }
        _ if loser.route.gateway == winner.route.gateway => Because::ListedLater,
        AddressRole::Source => Because::MaySendToo,
        AddressRole::Destination { sender, .. } if sender == Some(&loser.route.gateway) => {
            Because::Sends
        }
        AddressRole::Destination { share_flows: true, .. } => Because::SharesFlows,
        AddressRole::Destination { copies: true, .. } => Because::GetsCopy,
        AddressRole::Destination { .. } if comes_first => Because::Away,
        AddressRole::Destination { .. } => Because::StandsBy,
    }
}

fn row(listed: &Listed<'_>) -> TableRow {
    let Listed { route, origin, source, line } = *listed;
    TableRow {
        prefix: route.prefix.to_string(),
        gateway: route.gateway.as_str().to_owned(),
        origin,
        source: source.to_owned(),
        line,
    }
}
