//! One address wanted by two clients: the last comer has it, until the first one shows that it is still there.
//!
//! A client that starts again or whose network changes comes from somewhere else, and has its address at once. Two clients with one
//! address by mistake would take it from each other with every keepalive. So one that comes back for an address soon after it
//! lost it is a duplicate: the other one keeps it for as long as it is there and is contested.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// How long a contested address stays where it is after the last try for it.
pub(super) const HOLD: Duration = Duration::from_secs(60);

/// AddressContests remembered; for one more the oldest goes.
const KEPT: usize = 4096;

#[derive(Debug, Clone, Copy)]
struct AddressContest {
    /// Who had the address before.
    former: SocketAddr,
    /// Until when its return shows that there are two.
    until: Instant,
    /// Until when nobody gets the address, once there are two.
    held: Option<Instant>,
}

/// Addresses that changed hands lately.
#[derive(Debug, Default)]
pub(super) struct AddressContests(HashMap<IpAddr, AddressContest>);

impl AddressContests {
    /// Whether `claimant` may have the address now, as far as its history goes. `is_silent`: the client that has it does not seem to be
    /// there any more.
    pub(super) fn admits(
        &mut self,
        address: IpAddr,
        claimant: SocketAddr,
        is_silent: bool,
        now: Instant,
    ) -> bool {
        let Some(contest) = self.0.get_mut(&address) else { return true };
        let is_held = contest.held.is_some_and(|until| now < until);
        let comes_back = contest.former == claimant && now < contest.until;
        if is_silent || !(is_held || comes_back) {
            return true;
        }
        contest.held = Some(now + HOLD);
        false
    }

    /// The address has gone from `former`, whose registers come so often, to another client.
    pub(super) fn moved(
        &mut self,
        address: IpAddr,
        former: SocketAddr,
        interval: Duration,
        now: Instant,
    ) {
        if self.0.len() >= KEPT && !self.0.contains_key(&address) {
            self.0.retain(|_, it| now < it.until.max(it.held.unwrap_or(it.until)));
            let oldest = self.0.iter().min_by_key(|(_, contest)| contest.until);
            if let Some(oldest) =
                oldest.map(|(address, _)| *address).filter(|_| self.0.len() >= KEPT)
            {
                self.0.remove(&oldest);
            }
        }
        let until = now + interval * 3;
        self.0.insert(address, AddressContest { former, until, held: None });
    }
}
