//! Services with a `router` handler.

use std::{collections::BTreeMap, net::IpAddr, ops::RangeInclusive, time::Duration};

use super::{Context, access, admissions, listener, log::one_of, quotas};
use crate::{
    coerce::{self, Place},
    findings::{At, Report, quote},
    value::Cursor,
};
use rtun_settings::{
    HubRules, HubSettings, IcmpErrors, ListenerSettings, Named, Quotas, Sharing, SourceCheck, User,
};

/// Accept to admitted, unless `readTimeout` says otherwise.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

const MIB: usize = 1024 * 1024;

/// Of all queues, in MiB, unless `queueBudget` says otherwise.
const QUEUE_BUDGET: usize = 256;

/// What it may say: not less than a handful of hosts need, not more than a machine has.
const QUEUE_BUDGETS: RangeInclusive<usize> = 16..=1024 * 1024;

/// What the checks across objects need to know of a hub.
pub(crate) struct HubView {
    pub(crate) default_router: Option<(String, At)>,
    pub(crate) ingress: Option<String>,
    pub(crate) authers: Option<Vec<Named<User>>>,
    /// Where `authers` stand in its handler.
    pub(crate) auth: At,
    pub(crate) quotas: Quotas,
    /// Where the quota of all routes was written.
    pub(crate) max_routes: Option<At>,
    /// Where and how it listens, and where the address was written.
    pub(crate) listeners: Vec<(ListenerSettings, At)>,
}

pub(super) fn read(
    at: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<(HubSettings, HubView)> {
    let listeners = listener::read(at, context, report);
    let handler = at.get("handler")?;
    if let Some(forwarder) = at.filled("forwarder") {
        report.info(forwarder.key(), "a forwarder has no effect on a hub");
    }
    for key in ["chain", "chainGroup"] {
        if let Some(chain) = handler.filled(key) {
            if key == "chain" {
                context.names.chains.resolve(&chain, report);
            }
            report.info(chain.key(), "a chain has no effect on a hub");
        }
    }
    if let Some(retries) = handler.filled("retries") {
        report.info(retries.key(), "`retries` has no effect on a hub: it opens no connections");
    }

    let metadata = handler.get("metadata");
    let get = |keys: &[&str]| metadata.as_ref().and_then(|m| m.first(keys));
    let router_at = get(&["router"]).filter(|at| !at.value.is_unset());
    let default = router_at.as_ref().and_then(|at| context.names.routers.resolve(at, report));
    let default = default.and_then(|(name, _)| context.tables.router(name));
    let ingress_at = get(&["ingress"]).filter(|at| !at.value.is_unset());
    let ingress = ingress_at.as_ref().and_then(|at| context.names.ingresses.resolve(at, report));
    let ingress = ingress.and_then(|(name, _)| context.tables.ingress(name));
    let authers = access::authers(&handler, context, report);
    let admissions = admissions::of_service(at, &context.names, &context.admissions, report);

    let namespaces = context.tables.routers.iter();
    let namespaces: BTreeMap<_, _> =
        namespaces.filter_map(|table| Some((table.id?, table.router.clone()))).collect();
    let checks =
        [("strict", SourceCheck::Strict), ("loose", SourceCheck::Loose), ("off", SourceCheck::Off)];
    let source_check = get(&["sourceCheck"]).and_then(|at| one_of(&at, &checks, report));
    let ways = [("newest", Sharing::Newest), ("flow", Sharing::Flow)];
    let sharing = get(&["router.sharing", "sharing"]).and_then(|at| one_of(&at, &ways, report));
    // On a command line it may be that of a `quic` listener; anything else was said when keys were checked.
    let ttl = get(&["ttl"]).and_then(|at| coerce::boolean(at.value).ok());
    let gso_frames = get(&["superFrames"]).and_then(|at| report.boolean(&at));
    let icmp = get(&["icmp"]).and_then(|at| report.boolean(&at)).unwrap_or(true);
    let addresses = get(&["address"]).map(|at| addresses(&at, report)).unwrap_or_default();
    let queue_budget = get(&["queueBudget"]).and_then(|at| queue_budget(&at, report));
    let quotas = quotas::read(metadata.as_ref(), report);
    let timeout = get(&["readTimeout"]).and_then(|at| report.span(&at, Place::Metadata));

    let listeners = listeners?;
    let mut read = listeners.iter().map(|(listener, _)| listener.clone());
    let (listener, more_listeners) = (read.next()?, read.collect());
    let view = HubView {
        default_router: default
            .zip(router_at.as_ref())
            .map(|(table, at)| (table.router.name.clone(), at.into())),
        ingress: ingress.map(|ingress| ingress.name.clone()),
        authers: authers.clone(),
        listeners,
        auth: ["auther", "authers", "auth"]
            .iter()
            .find_map(|key| handler.filled(key))
            .map_or_else(|| At::from(&handler), |at| at.key()),
        quotas: quotas.clone(),
        max_routes: metadata.as_ref().and_then(|at| at.get("maxRoutes")).map(|at| At::from(&at)),
    };
    let rules = HubRules {
        namespaces,
        default_router: default.map(|table| table.router.clone()),
        ingress: ingress.map(|i| Named { name: i.name.clone(), provider: i.provider.clone() }),
        authers,
        admissions,
        source_check: source_check.unwrap_or_default(),
        sharing: sharing.unwrap_or_default(),
        icmp: icmp.then_some(addresses),
        ttl: ttl.unwrap_or(false),
        gso_frames: gso_frames.unwrap_or(true),
        queue_budget: queue_budget.unwrap_or(QUEUE_BUDGET) * MIB,
        quotas,
        limits: Default::default(),
    };
    let handshake_timeout = timeout.filter(|t| !t.is_zero()).unwrap_or(HANDSHAKE_TIMEOUT);
    Some((HubSettings { listener, more_listeners, rules, handshake_timeout }, view))
}

/// At most one of each IP version.
fn addresses(at: &Cursor<'_>, report: &mut Report) -> IcmpErrors {
    let mut icmp = IcmpErrors::default();
    for (text, at) in report.texts(at, true) {
        let taken = match text.parse() {
            Ok(address) if !names_one_host(address) => {
                report
                    .error(at, format!("{address} is no address that an ICMP error may come from"))
                    .help("write an address of the hub inside the tunnel, such as 10.0.0.254");
                continue;
            }
            Ok(IpAddr::V4(address)) => icmp.v4.replace(address).is_some(),
            Ok(IpAddr::V6(address)) => icmp.v6.replace(address).is_some(),
            Err(_) => {
                report
                    .error(at, format!("{} is no IP address", quote(&text)))
                    .help("write one IPv4 address, one IPv6 address or both");
                continue;
            }
        };
        if taken {
            report
                .error(at, "there is another address of that IP version")
                .help("write one IPv4 address, one IPv6 address or both");
        }
    }
    icmp
}

/// Whether somebody could answer there.
fn names_one_host(address: IpAddr) -> bool {
    !(address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || matches!(address, IpAddr::V4(address) if address.octets()[0] >= 240))
}

/// In MiB.
fn queue_budget(at: &Cursor<'_>, report: &mut Report) -> Option<usize> {
    let number = report.integer(at)?;
    match usize::try_from(number) {
        Ok(mebibytes) if QUEUE_BUDGETS.contains(&mebibytes) => Some(mebibytes),
        _ => {
            report
                .error(at, format!("{number} MiB is no memory to queue packets in"))
                .help("write a whole number of MiB, at least 16; 256 unless configured");
            None
        }
    }
}
