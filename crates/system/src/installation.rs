//! All that a tunnel's device is given in the system: added, kept there, and removed again without a trace.
//!
//! Nothing that others added is replaced: routes are added to those that are there ([`placement`] says where). What rtun adds carries its [`PROTOCOL`](crate::netlink::PROTOCOL) and the number of its device, so that the
//! next start removes what a killed run has left.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures_util::TryStreamExt;
use ipnet::IpNet;

use crate::link::{Address, LinkSettings, LinkSetup, SystemLink};
use crate::netlink::LinkError;
use crate::os_route::{self, Family, FoundRoute, MAIN, OsRoute, Placed, Scope};
use crate::os_rule::{self, OsRule};
use crate::placement::{self, Apart, NUMBERS, OwnPackets, Plan};

/// Begins the alias of a persistent device in use; says how the device was before.
const WAS: &str = "rtun: was ";

/// One thing that a device is given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Item {
    /// The longest packet.
    Mtu,
    /// An address.
    Address(IpNet),
    /// Being up.
    Up,
    /// The rules that keep the tunnel's own packets out of it, all together.
    Rules,
    /// A route.
    Route(OsRoute),
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mtu => f.write_str("the MTU"),
            Self::Address(address) => write!(f, "address {address}"),
            Self::Up => f.write_str("up"),
            Self::Rules => f.write_str("routing rules"),
            Self::Route(route) => write!(f, "route {route}"),
        }
    }
}

/// What [`Installation::restore`] has done.
#[derive(Debug, Default)]
pub struct Restored {
    /// What is new in the plan and has been added.
    pub put: Vec<Item>,
    /// What was planned before, was missing, and has been added again.
    pub back: Vec<Item>,
    /// What is missing and was not to be added again.
    pub left: Vec<Item>,
    /// What is missing because the system refused.
    pub failed: Vec<(Item, LinkError)>,
    /// IPv6 is switched off, and all that belongs to it was left out: the first refusal.
    pub ipv6_off: Option<LinkError>,
    /// The routes that are in the tunnel's own table, with the reason.
    pub apart: Vec<Apart>,
}

/// What a device was given. [`remove`](Installation::remove) takes it away; a plain drop leaves what does not go with the
/// device to the next start.
#[must_use = "routes and rules stay in the system until they are removed"]
#[derive(Debug)]
pub struct Installation {
    link: SystemLink,
    setup: LinkSetup,
    /// Its table, and its metric in the main table.
    number: u32,
    /// How a persistent device was before.
    before: Option<DeviceBefore>,
    /// Addresses added by this run.
    added: BTreeSet<IpNet>,
    others: Others,
    /// The plan of the last [`Installation::restore`].
    last: Option<Plan>,
    /// Whether somebody else's routes have to be read again.
    stale: bool,
}

/// Somebody else's routes in the main table.
#[derive(Debug, Default)]
struct Others {
    /// Those to one of the tunnel's destinations, as they look.
    taken: BTreeMap<IpNet, String>,
    /// Those that already do what one of the tunnel's is for.
    serving: BTreeSet<OsRoute>,
}

/// How a persistent device was before rtun used it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DeviceBefore {
    up: bool,
    mtu: u32,
    gen_mode: Option<u8>,
    alias: String,
}

/// What is in the system now.
struct InSystem {
    settings: LinkSettings,
    addresses: Vec<Address>,
    /// Of this tunnel, in any table.
    routes: Vec<FoundRoute>,
    /// Of anybody, in the main table through the device.
    through: Vec<FoundRoute>,
    rules: Vec<OsRule>,
}

impl Installation {
    /// To be called for a device that is there before a program attaches to it: one that stays is kept from being given an
    /// IPv6 address by the system when that happens, and how it was is noted in its alias.
    pub async fn announce(link: &SystemLink) -> Result<(), LinkError> {
        let settings = link.settings().await?;
        if settings.persistent && !settings.running {
            link.set_alias(&DeviceBefore::of(&settings).alias_in_use()).await?;
            if !settings.is_ethernet {
                link.no_made_up_addresses().await?;
            }
        }
        Ok(())
    }

    /// Makes a device what it was before it was announced, where nothing came of it.
    pub async fn withdraw(link: &SystemLink) -> Result<(), LinkError> {
        let settings = link.settings().await?;
        let noted = settings.alias.as_deref().and_then(DeviceBefore::noted);
        let Some(before) = noted.filter(|_| !settings.running) else { return Ok(()) };
        before.put_back(link).await
    }

    /// Prepares for giving the device of `link` what `setup` says. Removes what killed runs have left, of this device and
    /// of those that are gone. Nothing is given yet: [`restore`](Installation::restore) does that.
    pub async fn prepare(link: SystemLink, setup: LinkSetup) -> Result<Self, LinkError> {
        let number = NUMBERS + link.index();
        sweep(&link, number).await?;
        let settings = link.settings().await?;
        let before = match settings.persistent {
            false => None,
            true => {
                let before = DeviceBefore::of(&settings);
                link.set_alias(&before.alias_in_use()).await?;
                Some(before)
            }
        };
        let (added, others, last) = (BTreeSet::new(), Others::default(), None);
        Ok(Self { link, setup, number, before, added, others, last, stale: true })
    }

    /// Whether the device was there before rtun, and stays.
    pub fn is_persistent(&self) -> bool {
        self.before.is_some()
    }

    /// Somebody else's routes may have changed.
    pub fn surroundings_changed(&mut self) {
        self.stale = true;
    }

    /// Adds what is missing, in this order: MTU, addresses, up, rules, routes; removes routes and rules of this
    /// tunnel that are no longer right. What is there already is left alone, so a second call changes nothing. `may` is
    /// asked before something is added again. Goes on after a refusal; an error means that the system cannot be read.
    pub async fn restore(
        &mut self,
        own: &OwnPackets,
        may: &mut (dyn FnMut(&Item) -> bool + Send),
    ) -> Result<Restored, LinkError> {
        if self.stale {
            self.others = self.read_others().await?;
            self.stale = false;
        }
        let last = self.last.take();
        let mut work = Work { outcome: Restored::default(), may, last: last.as_ref() };
        let plan = placement::plan(self.number, &self.setup, own, &self.others.taken);
        self.restore_device(&plan, &mut work).await?;
        let present = self.read().await?;
        if present.settings.up {
            self.restore_routes(&plan, &present, &mut work).await;
        }
        self.remove_wrong(&plan, &present).await?;
        let mut outcome = work.outcome;
        outcome.apart.clone_from(&plan.apart);
        self.last = Some(plan);
        Ok(outcome)
    }

    /// Takes away all that the device was given, and makes a persistent device what it was. What is gone already is fine.
    /// Goes on after a failure and answers the first one.
    pub async fn remove(self) -> Result<(), LinkError> {
        let mut first = Ok(());
        let mut done = |result: Result<(), LinkError>| {
            if first.is_ok() {
                first = result;
            }
        };
        match self.own_routes().await {
            Ok(routes) => {
                for found in routes {
                    done(os_route::remove(self.link.handle(), &found).await);
                }
            }
            Err(error) => done(Err(error)),
        }
        match self.own_rules().await {
            Ok(rules) => {
                // The last added first: the end that packets jump to is there as long as the rules that jump.
                for rule in rules.iter().rev() {
                    done(os_rule::remove(self.link.handle(), rule).await);
                }
            }
            Err(error) => done(Err(error)),
        }
        if let Some(before) = &self.before {
            done(self.remove_addresses().await);
            done(before.put_back(&self.link).await);
        }
        first
    }

    async fn remove_addresses(&self) -> Result<(), LinkError> {
        for address in self.link.addresses().await? {
            if address.ours || self.added.contains(&address.net) {
                self.link.remove_address(address.net).await?;
            }
        }
        Ok(())
    }

    async fn restore_device(&mut self, plan: &Plan, work: &mut Work<'_>) -> Result<(), LinkError> {
        let again = work.last.is_some();
        let settings = self.link.settings().await?;
        if settings.mtu != u32::from(self.setup.mtu) && work.wants(Item::Mtu, again) {
            work.done(Item::Mtu, again, self.link.set_mtu(self.setup.mtu).await);
        }
        if settings.makes_up_addresses() {
            self.link.no_made_up_addresses().await?;
        }
        let present = self.link.addresses().await?;
        for address in &self.setup.addresses {
            let item = Item::Address(*address);
            if present.iter().any(|it| it.net == *address)
                || work.is_off(address)
                || !work.wants(item.clone(), again)
            {
                continue;
            }
            let with_route = !plan.prefixes_apart.contains(address);
            let added = self.link.add_address_as(*address, with_route).await;
            if added.is_ok() {
                self.added.insert(*address);
            }
            work.done(item, again, added);
        }
        if !settings.up && work.wants(Item::Up, again) {
            work.done(Item::Up, again, self.link.up().await);
        }
        Ok(())
    }

    async fn restore_routes(&self, plan: &Plan, present: &InSystem, work: &mut Work<'_>) {
        let missing: Vec<&OsRule> =
            plan.rules.iter().filter(|rule| !present.rules.contains(rule)).collect();
        let again = work.last.is_some_and(|last| missing.iter().all(|it| last.rules.contains(*it)));
        if !missing.is_empty() && work.wants(Item::Rules, again) {
            let mut result = Ok(());
            for rule in missing {
                result = os_rule::add(self.link.handle(), rule).await;
                if result.is_err() {
                    break;
                }
            }
            let failed = result.is_err();
            work.done(Item::Rules, again, result);
            if failed {
                return;
            }
        }
        let prefixes = self.setup.addresses.iter().filter(|address| {
            let is_host = address.prefix_len() == address.max_prefix_len();
            let there = present.addresses.iter().any(|it| it.net == **address);
            there && !is_host && !plan.prefixes_apart.contains(address)
        });
        let prefixes = prefixes.map(|address| Placed {
            route: OsRoute { destination: address.trunc(), gateway: None },
            table: MAIN,
            metric: None,
            source: Some(address.addr()),
        });
        for placed in prefixes.chain(plan.routes.iter().cloned()) {
            if self.is_there(&placed, present) || work.is_off(&placed.route.destination) {
                continue;
            }
            let item = Item::Route(placed.route.clone());
            let is_prefix = placed.table == MAIN && placed.metric.is_none();
            let again = work.last.is_some_and(|last| is_prefix || last.routes.contains(&placed));
            if work.wants(item.clone(), again) {
                let (index, name) = (self.link.index(), self.link.name());
                let added = os_route::add(self.link.handle(), &placed, index, name).await;
                work.done(item, again, added);
            }
        }
    }

    fn is_there(&self, placed: &Placed, present: &InSystem) -> bool {
        let Placed { route, table, metric, .. } = placed;
        let same = |found: &FoundRoute| {
            found.route == *route
                && found.table == *table
                && (route.gateway.is_some() || found.through == Some(self.link.index()))
        };
        match (*table == MAIN, metric) {
            (true, None) => present.through.iter().any(same),
            (true, Some(metric)) => {
                self.others.serving.contains(route)
                    || present.routes.iter().any(|found| same(found) && found.metric == *metric)
            }
            (false, _) => present.routes.iter().any(same),
        }
    }

    /// Removes routes and rules of this tunnel that are not in the plan.
    async fn remove_wrong(&self, plan: &Plan, present: &InSystem) -> Result<(), LinkError> {
        let is_prefix = |found: &FoundRoute| {
            let mut prefixes = self.setup.addresses.iter().map(IpNet::trunc);
            found.table == MAIN
                && found.metric < NUMBERS
                && prefixes.any(|net| net == found.route.destination)
        };
        for found in &present.routes {
            let right = is_prefix(found)
                || plan.routes.iter().any(|placed| {
                    placed.route == found.route
                        && placed.table == found.table
                        && !(found.table == MAIN && self.others.serving.contains(&found.route))
                });
            if !right {
                os_route::remove(self.link.handle(), found).await?;
            }
        }
        for rule in present.rules.iter().rev() {
            if !plan.rules.contains(rule) {
                os_rule::remove(self.link.handle(), rule).await?;
            }
        }
        Ok(())
    }

    async fn read(&self) -> Result<InSystem, LinkError> {
        let mut through = Vec::new();
        for family in Family::BOTH {
            let scope = Scope::main_through(self.link.index());
            through.extend(os_route::list(self.link.handle(), family, scope).await?);
        }
        Ok(InSystem {
            settings: self.link.settings().await?,
            addresses: self.link.addresses().await?,
            routes: self.own_routes().await?,
            through,
            rules: self.own_rules().await?,
        })
    }

    async fn own_routes(&self) -> Result<Vec<FoundRoute>, LinkError> {
        let mut routes = all_routes(&self.link).await?;
        routes.retain(|found| number_of(found) == Some(self.number));
        Ok(routes)
    }

    /// In the order in which they are added.
    async fn own_rules(&self) -> Result<Vec<OsRule>, LinkError> {
        let mut rules = all_rules(&self.link).await?;
        rules.retain(|rule| rule.table == self.number);
        rules.sort();
        Ok(rules)
    }

    async fn read_others(&self) -> Result<Others, LinkError> {
        let mut others = Others::default();
        let destinations: BTreeSet<IpNet> =
            self.setup.routes.iter().map(|route| route.destination.trunc()).collect();
        let prefixes: BTreeSet<IpNet> = self.setup.addresses.iter().map(IpNet::trunc).collect();
        for family in Family::BOTH {
            for found in os_route::list(self.link.handle(), family, Scope::main()).await? {
                let net = found.route.destination;
                let is_wanted = destinations.contains(&net) || prefixes.contains(&net);
                if !is_wanted || number_of(&found) == Some(self.number) {
                    continue;
                }
                let is_through = found.through == Some(self.link.index());
                if is_through && found.is_the_systems() {
                    continue;
                }
                let serves = |route: &OsRoute| {
                    route.destination.trunc() == net
                        && route.gateway == found.route.gateway
                        && (route.gateway.is_some() || is_through)
                };
                if found.is_rtuns() && is_through {
                    continue;
                }
                if !found.is_rtuns() && self.setup.routes.iter().any(serves) {
                    others.serving.insert(found.route);
                    continue;
                }
                others.taken.entry(net).or_insert_with(|| describe(&found));
            }
        }
        Ok(others)
    }
}

/// A [`Installation::restore`] at work.
struct Work<'a> {
    outcome: Restored,
    may: &'a mut (dyn FnMut(&Item) -> bool + Send),
    /// The plan before this one; none the first time.
    last: Option<&'a Plan>,
}

impl Work<'_> {
    /// Whether something that is missing is to be added, or added again if it was planned before.
    fn wants(&mut self, item: Item, again: bool) -> bool {
        let wanted = !again || (self.may)(&item);
        if !wanted {
            self.outcome.left.push(item);
        }
        wanted
    }

    fn is_off(&self, net: &IpNet) -> bool {
        self.outcome.ipv6_off.is_some() && net.addr().is_ipv6()
    }

    fn done(&mut self, item: Item, again: bool, result: Result<(), LinkError>) {
        let is_ipv6 = match &item {
            Item::Address(net) => net.addr().is_ipv6(),
            Item::Route(route) => route.destination.addr().is_ipv6(),
            Item::Mtu | Item::Up | Item::Rules => false,
        };
        match result {
            Ok(()) if again => self.outcome.back.push(item),
            Ok(()) => self.outcome.put.push(item),
            Err(error) if is_ipv6 && error.is_ipv6_off() => self.outcome.ipv6_off = Some(error),
            Err(error) => self.outcome.failed.push((item, error)),
        }
    }
}

impl DeviceBefore {
    /// How the device was: as a run before this one has noted, if it was killed, or as it is.
    fn of(settings: &LinkSettings) -> Self {
        let alias = settings.alias.clone().unwrap_or_default();
        Self::noted(&alias).unwrap_or(Self {
            up: settings.up,
            mtu: settings.mtu,
            gen_mode: settings.gen_mode,
            alias,
        })
    }

    async fn put_back(&self, link: &SystemLink) -> Result<(), LinkError> {
        if !self.up {
            link.down().await?;
        }
        if let Ok(mtu) = u16::try_from(self.mtu) {
            link.set_mtu(mtu).await?;
        }
        if let Some(mode) = self.gen_mode {
            link.set_gen_mode(mode).await?;
        }
        link.set_alias(&self.alias).await
    }

    fn noted(alias: &str) -> Option<Self> {
        let mut words = alias.strip_prefix(WAS)?.splitn(4, ' ');
        let up = words.next()? == "up";
        let mtu = words.next()?.parse().ok()?;
        let gen_mode = words.next()?.parse().ok();
        Some(Self { up, mtu, gen_mode, alias: words.next().unwrap_or_default().to_owned() })
    }

    fn alias_in_use(&self) -> String {
        let Self { up, mtu, gen_mode, alias } = self;
        let up = if *up { "up" } else { "down" };
        let mode = gen_mode.map_or_else(|| "-".to_owned(), |mode| mode.to_string());
        format!("{WAS}{up} {mtu} {mode} {alias}").trim_end().to_owned()
    }
}

/// Removes the routes and rules that belong to devices that are gone, or that no program holds any more.
async fn sweep(link: &SystemLink, own: u32) -> Result<(), LinkError> {
    let mut alive = BTreeSet::from([own]);
    let failed = |error| LinkError::new("reading the devices".into(), error);
    let mut answers = link.handle().link().get().execute();
    while let Some(message) = answers.try_next().await.map_err(failed)? {
        if LinkSettings::of(&message).running {
            alive.insert(NUMBERS + message.header.index);
        }
    }
    for found in all_routes(link).await? {
        if number_of(&found).is_some_and(|number| !alive.contains(&number)) {
            os_route::remove(link.handle(), &found).await?;
        }
    }
    let mut rules = all_rules(link).await?;
    rules.sort();
    for rule in rules.iter().rev().filter(|rule| !alive.contains(&rule.table)) {
        os_rule::remove(link.handle(), rule).await?;
    }
    Ok(())
}

async fn all_routes(link: &SystemLink) -> Result<Vec<FoundRoute>, LinkError> {
    let mut found = Vec::new();
    for family in Family::BOTH {
        found.extend(os_route::list(link.handle(), family, Scope::of_rtuns()).await?);
    }
    Ok(found)
}

async fn all_rules(link: &SystemLink) -> Result<Vec<OsRule>, LinkError> {
    let mut found = Vec::new();
    for family in Family::BOTH {
        found.extend(os_rule::list(link.handle(), family).await?);
    }
    Ok(found)
}

/// The number of the tunnel that a route belongs to, if an rtun made it.
fn number_of(found: &FoundRoute) -> Option<u32> {
    let number = if found.table == MAIN { found.metric } else { found.table };
    match found.is_rtuns() {
        true if number >= NUMBERS => Some(number),
        // The prefix of an address, which looks as if the system had made it.
        true => found.through.map(|index| NUMBERS + index),
        false => None,
    }
}

fn describe(found: &FoundRoute) -> String {
    let mut text = found.route.to_string();
    if let Some(index) = found.through
        && let Ok(name) = nix::net::if_::if_indextoname(index)
    {
        text += &format!(" through {}", name.to_string_lossy());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_persistent_device_was_survives_a_killed_run() {
        for (up, gen_mode, alias) in
            [(true, Some(0), "uplink of Paris"), (false, None, ""), (false, Some(1), "up 7")]
        {
            let before = DeviceBefore { up, mtu: 1500, gen_mode, alias: alias.to_owned() };
            assert_eq!(DeviceBefore::noted(&before.alias_in_use()), Some(before));
        }
        assert_eq!(DeviceBefore::noted("somebody's own"), None);
    }
}
