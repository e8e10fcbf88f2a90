//! Registers that are not answered: said once a minute for each reason, and shown.

use std::{
    collections::{BTreeMap, HashSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use rtun_core::udp_tunnel::{DatagramDrop, RegisterRefusal};

use crate::report::TunnelRefusal;

/// How often a reason is said.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The last refusal of each reason.
#[derive(Default)]
pub(super) struct RegisterRefusals(BTreeMap<DatagramDrop, LastRefusal>);

struct LastRefusal {
    client: SocketAddr,
    refusal: RegisterRefusal,
    when: Instant,
    said: Instant,
    since_said: u64,
}

impl RegisterRefusals {
    /// Notes one; if it is to be said, how many there were since one of this reason was said last.
    pub(super) fn note(
        &mut self,
        client: SocketAddr,
        refusal: RegisterRefusal,
        now: Instant,
    ) -> Option<u64> {
        let Some(last) = self.0.get_mut(&refusal.reason) else {
            let last = LastRefusal { client, refusal, when: now, said: now, since_said: 0 };
            self.0.insert(refusal.reason, last);
            return Some(0);
        };
        (last.client, last.refusal, last.when) = (client, refusal, now);
        if now.saturating_duration_since(last.said) < SAY_EVERY {
            last.since_said += 1;
            return None;
        }
        last.said = now;
        Some(std::mem::take(&mut last.since_said))
    }

    /// The last refusals about one of these addresses: the address, the client, why, and when.
    pub(super) fn about<'a>(
        &'a self,
        addresses: &'a HashSet<IpAddr>,
    ) -> impl Iterator<Item = (IpAddr, SocketAddr, RegisterRefusal, Instant)> + 'a {
        self.0.values().filter_map(|last| {
            let address = last.refusal.address.filter(|it| addresses.contains(it))?;
            Some((address, last.client, last.refusal, last.when))
        })
    }

    pub(super) fn report(&self, now: Instant) -> Vec<TunnelRefusal> {
        let report = |last: &LastRefusal| TunnelRefusal {
            reason: last.refusal.reason.as_str().to_owned(),
            outer: last.client,
            address: last.refusal.address,
            incumbent: last.refusal.incumbent,
            ago: now.saturating_duration_since(last.when),
        };
        self.0.values().map(report).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_a_line_a_minute_and_one_entry() {
        let mut refusals = RegisterRefusals::default();
        let start = Instant::now();
        let from: SocketAddr = ([10, 0, 0, 1], 1).into();
        let mut said = Vec::new();
        for second in 0..180 {
            let now = start + Duration::from_secs(second);
            for reason in [DatagramDrop::Auth, DatagramDrop::Duplicate] {
                said.extend(refusals.note(from, reason.into(), now));
            }
        }
        assert_eq!(said, [0, 0, 59, 59, 59, 59]);
        assert_eq!(refusals.report(start).len(), 2);
    }
}
