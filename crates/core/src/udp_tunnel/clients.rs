//! Who has registered which addresses, from where and when.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use rtun_proto::udp_tunnel::Passphrase;

use super::{AddressRules, DatagramDrop, contest::AddressContests, rate::RegisterRate};

/// The most addresses of one register.
pub const MAX_PER_REGISTER: usize = 16;

/// A client from which nothing has come for so long does not seem to be there; it stays registered all the same.
pub const SILENT_AFTER: Duration = Duration::from_secs(30);

/// Between registers of a client that has registered once.
const USUAL_INTERVAL: Duration = Duration::from_secs(10);

/// What registers may be apart and count as one client's keepalive.
const LONGEST_INTERVAL: Duration = Duration::from_secs(120);

/// A known client's registers are looked at when they are so far apart, whatever others send.
const KEEPALIVE_SPACING: Duration = Duration::from_millis(100);

/// Clients that may go are looked for at most this often, and at most this number is found at once.
const LOOK_FOR_SILENT: Duration = Duration::from_secs(1);
const FOUND_AT_ONCE: usize = 1024;

/// How many addresses may be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    /// By all clients together.
    pub addresses: usize,
    /// From one outer IP address. Loopback, from where relays come, has no limit of its own.
    pub per_outer: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self { addresses: 65_536, per_outer: 1024 }
    }
}

/// A client's place, good until the next call of [`ClientTable::register`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(u32);

/// A client: an outer address and port, and what it has registered.
#[derive(Debug, Clone)]
pub struct TunnelClient {
    /// Where it sends from.
    pub outer: SocketAddr,
    /// At least one; IPv4 is never mapped.
    pub addresses: Vec<IpAddr>,
    /// Its first register from there.
    pub since: Instant,
    /// Its last register.
    pub registered: Instant,
    /// Its last data, or its first register.
    pub data: Instant,
    /// Registers so far.
    pub registers: u64,
    /// The address of the server that its last register came to, if that is known.
    pub local: Option<IpAddr>,
    /// What its last register presented.
    pub passphrase: Passphrase,
    /// Between its registers.
    interval: Duration,
    /// Packets and bytes from it, and to it.
    pub received: Volume,
    /// Packets and bytes to it.
    pub sent: Volume,
    /// Its datagrams that went nowhere, and packets for it, by reason.
    pub drops: [u64; DatagramDrop::COUNT],
}

/// How much has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Volume {
    /// IP packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Volume {
    /// So much more.
    #[inline]
    pub fn add(&mut self, packets: u64, bytes: u64) {
        self.packets += packets;
        self.bytes += bytes;
    }
}

impl TunnelClient {
    /// When something came from it last.
    pub fn seen(&self) -> Instant {
        self.registered.max(self.data)
    }

    fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.seen()) >= SILENT_AFTER
    }
}

/// What a register has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registration {
    /// Whether the client was not there before.
    pub is_new: bool,
    /// Addresses that were another client's until now, with where that one is.
    pub moved: Vec<(IpAddr, SocketAddr)>,
    /// ClientTable that had to make room.
    pub evicted: Vec<SocketAddr>,
}

/// Why a register is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisterRefusal {
    /// The reason; never one of data.
    pub reason: DatagramDrop,
    /// The address that it is about.
    pub address: Option<IpAddr>,
    /// The client that has the address.
    pub incumbent: Option<SocketAddr>,
}

impl From<DatagramDrop> for RegisterRefusal {
    fn from(reason: DatagramDrop) -> Self {
        Self { reason, address: None, incumbent: None }
    }
}

/// A server's clients. Bounded: what is past the limits is refused, or the client that has been silent for longest makes room.
#[derive(Debug)]
pub struct ClientTable {
    limits: ClientLimits,
    rate: RegisterRate,
    contests: AddressContests,
    clients: Vec<Option<TunnelClient>>,
    free: Vec<u32>,
    by_outer: HashMap<SocketAddr, u32>,
    by_address: HashMap<IpAddr, u32>,
    /// Addresses registered from each outer IP address.
    per_outer: HashMap<IpAddr, usize>,
    /// ClientTable that were silent when they were looked for, the one silent for longest last.
    silent: Vec<(Instant, SocketAddr)>,
    looked: Option<Instant>,
}

impl ClientTable {
    /// None yet.
    pub fn new(limits: ClientLimits) -> Self {
        Self {
            limits,
            rate: RegisterRate::new(),
            contests: AddressContests::default(),
            clients: Vec::new(),
            free: Vec::new(),
            by_outer: HashMap::new(),
            by_address: HashMap::new(),
            per_outer: HashMap::new(),
            silent: Vec::new(),
            looked: None,
        }
    }

    /// The client that sends from there.
    #[inline]
    pub fn sender(&self, outer: SocketAddr) -> Option<ClientId> {
        self.by_outer.get(&outer).map(|slot| ClientId(*slot))
    }

    /// The client that has registered `address`.
    #[inline]
    pub fn owner(&self, address: IpAddr) -> Option<ClientId> {
        self.by_address.get(&address).map(|slot| ClientId(*slot))
    }

    /// A client by its place.
    ///
    /// # Panics
    ///
    /// If somebody has registered since and the client is gone.
    #[inline]
    pub fn get(&self, id: ClientId) -> &TunnelClient {
        self.clients[id.0 as usize].as_ref().expect("a place is good until the next register")
    }

    /// The same, to count what passes.
    ///
    /// # Panics
    ///
    /// If somebody has registered since and the client is gone.
    #[inline]
    pub fn get_mut(&mut self, id: ClientId) -> &mut TunnelClient {
        self.clients[id.0 as usize].as_mut().expect("a place is good until the next register")
    }

    /// All clients, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &TunnelClient> {
        self.clients.iter().flatten()
    }

    /// How many clients there are.
    pub fn len(&self) -> usize {
        self.by_outer.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_outer.is_empty()
    }

    /// How many addresses are registered.
    pub fn addresses(&self) -> usize {
        self.by_address.len()
    }

    /// Judges a register from `outer` and carries it out. `prove` tells whether the passphrase is right for an address; `None`:
    /// there is none to be checked, and an address only changes hands within one outer IP address, or when its client is
    /// silent. `also` is registered with the others, unchecked.
    ///
    /// # Errors
    ///
    /// Nothing has changed, and nothing is to be answered.
    pub fn register(
        &mut self,
        outer: SocketAddr,
        addresses: impl ExactSizeIterator<Item = IpAddr>,
        also: Option<IpAddr>,
        rules: &AddressRules,
        prove: Option<&mut dyn FnMut(IpAddr) -> bool>,
        now: Instant,
    ) -> Result<Registration, RegisterRefusal> {
        if !(1..=MAX_PER_REGISTER).contains(&addresses.len()) {
            return Err(DatagramDrop::Malformed.into());
        }
        let mut wanted: Vec<IpAddr> = Vec::with_capacity(addresses.len() + 1);
        for address in addresses.chain(also) {
            let refused =
                |reason| RegisterRefusal { reason, address: Some(address), incumbent: None };
            if Some(address) != also {
                rules.check(address).map_err(refused)?;
            }
            if !wanted.contains(&address) {
                wanted.push(address);
            }
        }
        if !self.is_keepalive(outer, &wanted, now) && !self.rate.admits(outer.ip(), now) {
            return Err(DatagramDrop::Rate.into());
        }
        let is_proven = prove.is_some();
        if let Some(prove) = prove {
            for address in wanted.iter().filter(|address| Some(**address) != also) {
                if !prove(*address) {
                    let reason = DatagramDrop::Auth;
                    return Err(RegisterRefusal {
                        reason,
                        address: Some(*address),
                        incumbent: None,
                    });
                }
            }
        }
        self.check_owners(outer, &wanted, is_proven, now)?;
        let evicted = self.make_room(outer, &wanted, now)?;
        let mut registered = self.enter(outer, &wanted, now);
        registered.evicted = evicted;
        Ok(registered)
    }

    /// Forgets clients with an address that `rules` do not allow any more, as after new rules.
    pub fn keep_only(&mut self, mut keep: impl FnMut(&TunnelClient) -> bool) -> Vec<SocketAddr> {
        let gone: Vec<SocketAddr> =
            self.iter().filter(|client| !keep(client)).map(|client| client.outer).collect();
        for outer in &gone {
            self.remove(*outer);
        }
        gone
    }

    /// Whether this is what a known client has said before, at a decent distance.
    fn is_keepalive(&self, outer: SocketAddr, wanted: &[IpAddr], now: Instant) -> bool {
        let Some(id) = self.sender(outer) else { return false };
        now.saturating_duration_since(self.get(id).registered) >= KEEPALIVE_SPACING
            && wanted.iter().all(|address| self.owner(*address) == Some(id))
    }

    /// Whether each address is free, the client's already, or to be had.
    fn check_owners(
        &mut self,
        outer: SocketAddr,
        wanted: &[IpAddr],
        is_proven: bool,
        now: Instant,
    ) -> Result<(), RegisterRefusal> {
        for address in wanted {
            let Some(owner) = self.owner(*address).map(|id| self.get(id)) else { continue };
            let (incumbent, is_silent) = (owner.outer, owner.is_silent(now));
            if incumbent == outer {
                continue;
            }
            let is_entitled = is_proven || is_silent || incumbent.ip() == outer.ip();
            if !is_entitled || !self.contests.admits(*address, outer, is_silent, now) {
                return Err(RegisterRefusal {
                    reason: DatagramDrop::Duplicate,
                    address: Some(*address),
                    incumbent: Some(incumbent),
                });
            }
        }
        Ok(())
    }

    /// Sees to it that the addresses fit.
    fn make_room(
        &mut self,
        outer: SocketAddr,
        wanted: &[IpAddr],
        now: Instant,
    ) -> Result<Vec<SocketAddr>, RegisterRefusal> {
        let full = RegisterRefusal::from(DatagramDrop::TableFull);
        let ip = outer.ip();
        let from_here = |address: &&IpAddr| {
            self.owner(**address).is_some_and(|id| self.get(id).outer.ip() == ip)
        };
        let more = wanted.len() - wanted.iter().filter(from_here).count();
        let there = self.per_outer.get(&ip).copied().unwrap_or(0);
        if !ip.to_canonical().is_loopback() && more > 0 && there + more > self.limits.per_outer {
            return Err(full);
        }
        let new = wanted.iter().filter(|address| self.owner(**address).is_none()).count();
        let mut evicted = Vec::new();
        if new > 0 {
            let mut excess = (self.addresses() + new).saturating_sub(self.limits.addresses);
            while excess > 0 {
                let Some(silent) = self.longest_silent(outer, &evicted, now) else {
                    self.silent.extend(evicted.iter().rev().map(|(_, entry)| *entry));
                    return Err(full);
                };
                let id = self.sender(silent.1).expect("a silent client is a client");
                let freed = self.get(id).addresses.iter().filter(|it| !wanted.contains(it)).count();
                excess = excess.saturating_sub(freed);
                evicted.push((id, silent));
            }
        }
        for (_, (_, silent)) in &evicted {
            self.remove(*silent);
        }
        Ok(evicted.into_iter().map(|(_, (_, silent))| silent).collect())
    }

    /// The client that has been silent for longest, if it counts as silent, and is none of those already `chosen`.
    fn longest_silent(
        &mut self,
        except: SocketAddr,
        chosen: &[(ClientId, (Instant, SocketAddr))],
        now: Instant,
    ) -> Option<(Instant, SocketAddr)> {
        let mut own = None;
        let found = loop {
            let Some((seen, outer)) = self.silent.pop() else {
                if !self.look_for_silent(now) {
                    break None;
                }
                continue;
            };
            let Some(id) = self.sender(outer).filter(|id| self.get(*id).seen() == seen) else {
                continue;
            };
            if outer == except {
                own = Some((seen, outer));
            } else if !chosen.iter().any(|(other, _)| *other == id) {
                break Some((seen, outer));
            }
        };
        self.silent.extend(own);
        found
    }

    /// Looks for silent clients, if it is time to; whether it has.
    fn look_for_silent(&mut self, now: Instant) -> bool {
        if self.looked.is_some_and(|at| now.saturating_duration_since(at) < LOOK_FOR_SILENT) {
            return false;
        }
        self.looked = Some(now);
        let mut silent: Vec<_> = self
            .iter()
            .filter(|client| client.is_silent(now))
            .map(|client| (client.seen(), client.outer))
            .collect();
        if silent.len() > FOUND_AT_ONCE {
            silent.select_nth_unstable(FOUND_AT_ONCE);
            silent.truncate(FOUND_AT_ONCE);
        }
        silent.sort_unstable_by(|one, other| other.cmp(one));
        self.silent = silent;
        true
    }

    /// Carries a register out that nothing stands against.
    fn enter(&mut self, outer: SocketAddr, wanted: &[IpAddr], now: Instant) -> Registration {
        let mut registered = Registration::default();
        for address in wanted {
            let Some(owner) = self.owner(*address) else { continue };
            let client = self.get(owner);
            if client.outer == outer {
                continue;
            }
            let (former, interval) = (client.outer, client.interval);
            self.contests.moved(*address, former, interval, now);
            registered.moved.push((*address, former));
            self.withdraw(former, *address);
        }
        let slot = match self.by_outer.get(&outer) {
            Some(slot) => *slot,
            None => {
                registered.is_new = true;
                self.place(outer, now)
            }
        };
        let client = self.clients[slot as usize].as_mut().expect("just looked up or placed");
        let apart = now.saturating_duration_since(client.registered);
        if client.registers > 0 && apart >= KEEPALIVE_SPACING && apart <= LONGEST_INTERVAL {
            client.interval = apart.max(Duration::from_secs(1));
        }
        client.registered = now;
        client.registers += 1;
        for address in wanted {
            if self.by_address.insert(*address, slot).is_none() {
                let client =
                    self.clients[slot as usize].as_mut().expect("just looked up or placed");
                client.addresses.push(*address);
                *self.per_outer.entry(outer.ip()).or_default() += 1;
            }
        }
        registered
    }

    fn place(&mut self, outer: SocketAddr, now: Instant) -> u32 {
        let client = TunnelClient {
            outer,
            addresses: Vec::new(),
            since: now,
            registered: now,
            data: now,
            registers: 0,
            local: None,
            passphrase: Passphrase::NONE,
            interval: USUAL_INTERVAL,
            received: Volume::default(),
            sent: Volume::default(),
            drops: [0; DatagramDrop::COUNT],
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.clients[slot as usize] = Some(client);
                slot
            }
            None => {
                self.clients.push(Some(client));
                u32::try_from(self.clients.len() - 1).expect("the limit of addresses fits")
            }
        };
        self.by_outer.insert(outer, slot);
        slot
    }

    /// Takes an address from a client; one without any is gone.
    fn withdraw(&mut self, outer: SocketAddr, address: IpAddr) {
        let Some(id) = self.sender(outer) else { return };
        let client = self.get_mut(id);
        client.addresses.retain(|other| *other != address);
        let is_gone = client.addresses.is_empty();
        self.by_address.remove(&address);
        self.count_out(outer.ip(), 1);
        if is_gone {
            self.remove(outer);
        }
    }

    fn remove(&mut self, outer: SocketAddr) {
        let Some(slot) = self.by_outer.remove(&outer) else { return };
        let Some(client) = self.clients[slot as usize].take() else { return };
        self.free.push(slot);
        for address in &client.addresses {
            self.by_address.remove(address);
        }
        self.count_out(outer.ip(), client.addresses.len());
    }

    fn count_out(&mut self, ip: IpAddr, addresses: usize) {
        if let Some(count) = self.per_outer.get_mut(&ip) {
            *count -= addresses;
            if *count == 0 {
                self.per_outer.remove(&ip);
            }
        }
    }

    /// Whether everything agrees with everything else; for tests.
    #[doc(hidden)]
    pub fn is_consistent(&self) -> bool {
        let by_client: HashSet<(IpAddr, SocketAddr)> = self
            .iter()
            .flat_map(|client| client.addresses.iter().map(|address| (*address, client.outer)))
            .collect();
        let by_address: HashSet<(IpAddr, SocketAddr)> = self
            .by_address
            .iter()
            .map(|(address, slot)| (*address, self.get(ClientId(*slot)).outer))
            .collect();
        let sum: usize = self.per_outer.values().sum();
        by_client == by_address
            && sum == self.by_address.len()
            && self.iter().count() == self.by_outer.len()
            && self.iter().all(|client| !client.addresses.is_empty())
    }
}
