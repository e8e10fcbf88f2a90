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
        routers: &[RouterInfo],
    ) -> (Option<Row>, Vec<PassedOver>, u64) {
        let winner = self
            .kept
            .first()
            .map(|best| (best.router, best.listed))
            .filter(|best| Some(best.0) == answering && Some(&best.1.route.gateway) == gateway);
        let losers = &self.kept[usize::from(winner.is_some())..];
        let beyond = losers.len().saturating_sub(MAX_PASSED_OVER);
        let passed_over = losers.iter().take(MAX_PASSED_OVER).map(|loser| PassedOver {
            router: routers.get(loser.router).map_or_else(String::new, |r| r.name.clone()),
            row: row(&loser.listed),
            because: match winner {
                Some((router, best)) if router == loser.router => why(&best, &loser.listed),
                _ => Because::RouterNotAsked,
            },
        });
        (winner.map(|(_, best)| row(&best)), passed_over.collect(), self.more + beyond as u64)
    }
}

fn why(winner: &Listed<'_>, loser: &Listed<'_>) -> Because {
    if loser.route.prefix.prefix_len() < winner.route.prefix.prefix_len() {
        Because::ShorterPrefix
    } else if loser.origin < winner.origin {
        Because::LowerSource
    } else {
        Because::ListedLater
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
