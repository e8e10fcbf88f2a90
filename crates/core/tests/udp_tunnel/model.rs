//! The table of clients against lists that are walked.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use proptest::prelude::*;
use rtun_core::udp_tunnel::{AddressRules, ClientLimits, ClientTable, DatagramDrop};

const LIMITS: ClientLimits = ClientLimits { addresses: 5, per_outer: 3 };
const SILENT: Duration = Duration::from_secs(30);
const HOLD: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
struct Known {
    outer: SocketAddr,
    addresses: Vec<IpAddr>,
    registered: Instant,
    data: Instant,
    interval: Duration,
}

struct Contest {
    address: IpAddr,
    former: SocketAddr,
    until: Instant,
    held: Option<Instant>,
}

#[derive(Default)]
struct Model {
    clients: Vec<Known>,
    contests: Vec<Contest>,
}

impl Known {
    fn is_silent(&self, now: Instant) -> bool {
        now - self.registered.max(self.data) >= SILENT
    }
}

impl Model {
    fn owner(&self, address: IpAddr) -> Option<&Known> {
        self.clients.iter().find(|client| client.addresses.contains(&address))
    }

    fn register(
        &mut self,
        outer: SocketAddr,
        wanted: &[IpAddr],
        proven: bool,
        now: Instant,
    ) -> Result<(), DatagramDrop> {
        for address in wanted {
            let Some(owner) = self.owner(*address).cloned() else { continue };
            if owner.outer == outer {
                continue;
            }
            let silent = owner.is_silent(now);
            if !proven && !silent && owner.outer.ip() != outer.ip() {
                return Err(DatagramDrop::Duplicate);
            }
            let contest = self.contests.iter_mut().find(|it| it.address == *address);
            if let Some(contest) = contest.filter(|_| !silent) {
                let returns = contest.former == outer && now < contest.until;
                if returns || contest.held.is_some_and(|until| now < until) {
                    contest.held = Some(now + HOLD);
                    return Err(DatagramDrop::Duplicate);
                }
            }
        }
        let here = |client: &&Known| client.outer.ip() == outer.ip();
        let from_here: Vec<IpAddr> =
            self.clients.iter().filter(here).flat_map(|client| client.addresses.clone()).collect();
        let more = wanted.iter().filter(|address| !from_here.contains(address)).count();
        if more > 0 && from_here.len() + more > LIMITS.per_outer {
            return Err(DatagramDrop::TableFull);
        }
        let mut silent: Vec<Known> = self
            .clients
            .iter()
            .filter(|it| it.outer != outer && it.is_silent(now))
            .cloned()
            .collect();
        silent.sort_by_key(|it| (it.registered.max(it.data), it.outer));
        let all = self.clients.iter().flat_map(|client| &client.addresses);
        let others = all.clone().filter(|address| !wanted.contains(address)).count();
        let is_new = wanted.iter().any(|address| self.owner(*address).is_none());
        let mut gone = Vec::new();
        let mut left = others;
        let mut silent = silent.into_iter();
        while is_new && left + wanted.len() > LIMITS.addresses {
            let Some(next) = silent.next() else { return Err(DatagramDrop::TableFull) };
            left -= next.addresses.iter().filter(|address| !wanted.contains(address)).count();
            gone.push(next.outer);
        }
        self.clients.retain(|client| !gone.contains(&client.outer));
        for address in wanted {
            let Some(owner) = self.owner(*address).cloned() else { continue };
            if owner.outer != outer {
                self.contests.retain(|it| it.address != *address);
                self.contests.push(Contest {
                    address: *address,
                    former: owner.outer,
                    until: now + owner.interval * 3,
                    held: None,
                });
            }
        }
        for client in self.clients.iter_mut().filter(|client| client.outer != outer) {
            client.addresses.retain(|address| !wanted.contains(address));
        }
        self.clients.retain(|client| !client.addresses.is_empty());
        match self.clients.iter_mut().find(|client| client.outer == outer) {
            Some(client) => {
                let apart = now - client.registered;
                if apart <= Duration::from_secs(120) {
                    client.interval = apart.max(Duration::from_secs(1));
                }
                client.registered = now;
                for address in wanted {
                    if !client.addresses.contains(address) {
                        client.addresses.push(*address);
                    }
                }
            }
            None => self.clients.push(Known {
                outer,
                addresses: wanted.to_vec(),
                registered: now,
                data: now,
                interval: Duration::from_secs(10),
            }),
        }
        Ok(())
    }
}

fn outer(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 77, 0, n % 3], 1000 + u16::from(n / 3)))
}

fn addresses(bits: u8) -> Vec<IpAddr> {
    (0..7).filter(|n| bits & 1 << n != 0).map(|n| IpAddr::from([192, 168, 123, 2 + n])).collect()
}

fn seen(model: &[Known]) -> Vec<(SocketAddr, Vec<IpAddr>)> {
    let mut all: Vec<_> = model.iter().map(|it| (it.outer, it.addresses.clone())).collect();
    all.iter_mut().for_each(|(_, addresses)| addresses.sort_unstable());
    all.sort_unstable();
    all
}

proptest! {
    #[test]
    fn the_table_is_what_the_lists_are(
        proven in any::<bool>(),
        steps in prop::collection::vec((0..8_u8, prop_oneof![1..8_u8, 1..127_u8], 1..40_u64, any::<bool>()), 1..60),
    ) {
        let rules = AddressRules::new(&["192.168.123.1/24".parse().unwrap()], &[]);
        let mut clients = ClientTable::new(LIMITS);
        let mut model = Model::default();
        let mut now = Instant::now();
        for (from, bits, seconds, is_data) in steps {
            now += Duration::from_secs(seconds);
            let from = outer(from);
            if is_data && let Some(id) = clients.sender(from) {
                clients.get_mut(id).data = now;
                model.clients.iter_mut().find(|it| it.outer == from).unwrap().data = now;
                continue;
            }
            let wanted = addresses(bits);
            let mut prove = |_| true;
            let prove: Option<&mut dyn FnMut(IpAddr) -> bool> =
                if proven { Some(&mut prove) } else { None };
            let result = clients.register(from, wanted.iter().copied(), None, &rules, prove, now);
            let expected = model.register(from, &wanted, proven, now);
            prop_assert_eq!(result.map(drop).map_err(|refused| refused.reason), expected);
            prop_assert!(clients.is_consistent());
            let found: Vec<Known> = clients.iter().map(|it| Known {
                outer: it.outer,
                addresses: it.addresses.clone(),
                registered: it.registered,
                data: it.data,
                interval: Duration::ZERO,
            }).collect();
            prop_assert_eq!(seen(&found), seen(&model.clients));
        }
    }
}
