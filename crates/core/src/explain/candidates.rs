//! The rows that contain an address, and which of them counts.

use std::{cmp::Reverse, net::IpAddr};

use super::{Because, Listed, Listing, PassedOver, RouterInfo, Row};
use crate::HostName;

/// How many rows that do not count are told; more are counted.
const MAX_PASSED_OVER: usize = 32;

/// Rows that contain an address: the best of them, and how many more there are.
#[derive(Default)]
pub(super) struct Candidates<'a> {
    kept: Vec<Candidate<'a>>,
    more: u64,
}

struct Candidate<'a> {
    router: usize,
    /// Among the rows of its router.
    position: usize,
    listed: Listed<'a>,
}

/// Which end of a packet an address is.
#[derive(Clone, Copy)]
pub(super) enum End<'a> {
    Source,
    Destination {
        /// Who sends it.
        sender: Option<&'a HostName>,
        /// Whether the hosts that share the best prefix share its flows too.
        share_flows: bool,
    },
}

/// The candidates for each of `addresses`, reading each row once.
pub(super) fn gather<'a, const N: usize>(
    addresses: [IpAddr; N],
    listings: Vec<Listing<'a>>,
) -> [Candidates<'a>; N] {
    let mut all: [Candidates<'a>; N] = std::array::from_fn(|_| Candidates::default());
    for (router, listing) in listings.into_iter().enumerate() {
        for (position, listed) in listing.rows.into_iter().flatten().enumerate() {
            for (address, candidates) in addresses.iter().zip(&mut all) {
                if listed.route.prefix.contains(address) {
                    candidates.add(Candidate { router, position, listed });
                }
            }
        }
    }
    for candidates in &mut all {
        candidates.keep_the_best();
    }
    all
}

impl<'a> Candidates<'a> {
    fn add(&mut self, candidate: Candidate<'a>) {
        self.kept.push(candidate);
        if self.kept.len() > 4 * MAX_PASSED_OVER {
            self.keep_the_best();
        }
    }

    fn keep_the_best(&mut self) {
        self.kept.sort_by_key(|candidate| {
            let Listed { route, origin, .. } = candidate.listed;
            let rank = (route.prefix.prefix_len(), origin);
            (candidate.router, Reverse(rank), candidate.position)
        });
        let beyond = self.kept.len().saturating_sub(MAX_PASSED_OVER + 1);
        self.more += beyond as u64;
        self.kept.truncate(MAX_PASSED_OVER + 1);
    }

    /// The row by which the router at position `answering` names `gateway`, the rows that do not count, and how many
    /// more of these there are.
    pub(super) fn judge(
        self,
        answering: Option<usize>,
        gateway: Option<&HostName>,
        end: End<'_>,
        routers: &[RouterInfo],
    ) -> (Option<Row>, Vec<PassedOver>, u64) {
        let best = self.kept.first().filter(|best| Some(best.router) == answering);
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
                Some((place, winner)) if winner.router == loser.router => {
                    why(&winner.listed, &loser.listed, at < place, end)
                }
                _ => Because::RouterNotAsked,
            },
        });
        let passed_over = passed_over.collect();
        let row = winner.map(|winner| row(&self.kept[winner].listed));
        (row, passed_over, self.more + beyond as u64)
    }
}

fn why(winner: &Listed<'_>, loser: &Listed<'_>, comes_first: bool, end: End<'_>) -> Because {
    let is_shorter = loser.route.prefix.prefix_len() < winner.route.prefix.prefix_len();
    match end {
        _ if is_shorter => Because::ShorterPrefix,
        _ if loser.route.gateway == winner.route.gateway && loser.origin < winner.origin => {
            Because::LowerSource
        }
        _ if loser.route.gateway == winner.route.gateway => Because::ListedLater,
        End::Source => Because::MaySendToo,
        End::Destination { sender, .. } if sender == Some(&loser.route.gateway) => Because::Sends,
        End::Destination { share_flows: true, .. } => Because::SharesFlows,
        End::Destination { .. } if comes_first => Because::Away,
        End::Destination { .. } => Because::StandsBy,
    }
}

fn row(listed: &Listed<'_>) -> Row {
    let Listed { route, origin, source, line } = *listed;
    Row {
        prefix: route.prefix.to_string(),
        gateway: route.gateway.as_str().to_owned(),
        origin,
        source: source.to_owned(),
        line,
    }
}
