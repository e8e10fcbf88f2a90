//! Services with a `router` handler.

use std::{collections::BTreeMap, net::IpAddr, ops::RangeInclusive};

use super::{Context, access, admissions, choice::one_of, listener, quotas};
use crate::{
    findings::Report,
    location::{At, quote},
    schema::{handler, router_handler, service},
    value::Cursor,
};
use rtun_settings::{
    HubRules, HubSettings, IcmpErrors, ListenerSettings, Named, Quotas, Sharing, SourceCheck, User,
};

const MIB: usize = 1024 * 1024;

/// What `queueBudget` may say, in MiB: not less than a few hosts need, not more than a machine has.
const QUEUE_BUDGETS: RangeInclusive<usize> = 16..=1024 * 1024;

const SOURCE_CHECKS: [(&str, SourceCheck); 3] =
    [("strict", SourceCheck::Strict), ("loose", SourceCheck::Loose), ("off", SourceCheck::Off)];

const SHARINGS: [(&str, Sharing); 2] = [("newest", Sharing::Newest), ("flow", Sharing::Flow)];

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
    let handler = at.get(&service::HANDLER)?;
    without_effect(at, &handler, context, report);

    let router_at = handler.filled(&router_handler::ROUTER);
    let default = router_at.as_ref().and_then(|at| context.names.routers.resolve(at, report));
    let default = default.and_then(|(name, _)| context.tables.router(name));
    let ingress = handler.filled(&router_handler::INGRESS);
    let ingress = ingress.and_then(|at| context.names.ingresses.resolve(&at, report));
    let ingress = ingress.and_then(|(name, _)| context.tables.ingress(name));
    let authers = access::authers(&handler, context, report);
    let admissions = admissions::of_service(at, &context.names, &context.admissions, report);

    let namespaces = context.tables.routers.iter();
    let namespaces: BTreeMap<_, _> =
        namespaces.filter_map(|table| Some((table.id?, table.router.clone()))).collect();
    let source_check = one_of(&handler, &router_handler::SOURCE_CHECK, &SOURCE_CHECKS, report);
    let sharing = one_of(&handler, &router_handler::SHARING, &SHARINGS, report);
    let icmp = handler.or_default(&router_handler::ICMP);
    let addresses = addresses(&handler, report);
    let queue_budget = queue_budget(&handler, report);
    let quotas = quotas::read(&handler, report);

    let listeners = listeners?;
    let mut read = listeners.iter().map(|(listener, _)| listener.clone());
    let (listener, more_listeners) = (read.next()?, read.collect());
    let auth = handler.filled(&handler::AUTHER).map(|at| at.key());
    let auth = auth.or_else(|| handler.filled(&handler::AUTHERS).map(|at| at.key()));
    let auth = auth.or_else(|| handler.filled(&handler::AUTH).map(|at| at.key()));
    let view = HubView {
        default_router: default
            .zip(router_at.as_ref())
            .map(|(table, at)| (table.router.name.clone(), at.into())),
        ingress: ingress.map(|ingress| ingress.name.clone()),
        authers: authers.clone(),
        listeners,
        auth: auth.unwrap_or_else(|| At::from(&handler)),
        quotas: quotas.clone(),
        max_routes: handler.get(&router_handler::MAX_ROUTES).map(|at| At::from(&at)),
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
        ttl: handler.or_default(&router_handler::TTL),
        gso_frames: handler.or_default(&router_handler::GSO_FRAMES),
        queue_budget: queue_budget? * MIB,
        quotas,
    };
    let handshake_timeout = handler.or_default(&router_handler::READ_TIMEOUT);
    Some((HubSettings { listener, more_listeners, rules, handshake_timeout }, view))
}

/// What is for hosts only.
fn without_effect(
    at: &Cursor<'_>,
    handler: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) {
    if let Some(forwarder) = at.filled(&service::FORWARDER) {
        report.info(forwarder.key(), "a forwarder has no effect on a hub");
    }
    let chain = handler.filled(&handler::CHAIN);
    if let Some(chain) = &chain {
        context.names.chains.resolve(chain, report);
    }
    let group = handler.filled(&handler::CHAIN_GROUP).map(|group| group.key());
    for key in chain.map(|chain| chain.key()).into_iter().chain(group) {
        report.info(key, "a chain has no effect on a hub");
    }
    if let Some(retries) = handler.filled(&handler::RETRIES) {
        report.info(retries.key(), "`retries` has no effect on a hub: it opens no connections");
    }
}

/// At most one of each IP version.
fn addresses(handler: &Cursor<'_>, report: &mut Report) -> IcmpErrors {
    const HELP: &str = "write one IPv4 address, one IPv6 address or both";
    let mut icmp = IcmpErrors::default();
    for (text, at) in handler.read(&router_handler::ADDRESS).unwrap_or_default() {
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
                report.error(at, format!("{} is no IP address", quote(&text))).help(HELP);
                continue;
            }
        };
        if taken {
            report.error(at, "there is another address of that IP version").help(HELP);
        }
    }
    icmp
}

/// Whether one machine could answer there.
fn names_one_host(address: IpAddr) -> bool {
    !(address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || matches!(address, IpAddr::V4(address) if address.octets()[0] >= 240))
}

/// In MiB; `None` after an error was reported.
fn queue_budget(handler: &Cursor<'_>, report: &mut Report) -> Option<usize> {
    let field = &router_handler::QUEUE_BUDGET;
    let number = handler.or_default(field);
    let budget = usize::try_from(number).ok().filter(|budget| QUEUE_BUDGETS.contains(budget));
    if budget.is_none() {
        report
            .error(
                handler.place_of(field),
                format!("{number} MiB is no memory to queue packets in"),
            )
            .help("write a whole number of MiB, at least 16; 256 unless configured");
    }
    budget
}
