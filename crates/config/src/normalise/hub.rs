//! Services with a `router` handler.

use std::{collections::BTreeMap, net::IpAddr, ops::RangeInclusive};

use super::{Context, access, admissions, choice::one_of, listener, quotas};
use crate::{
    location::quote,
    report::At,
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
pub(crate) struct HubView<'a> {
    pub(crate) default_router: Option<(String, At<'a>)>,
    pub(crate) ingress: Option<String>,
    pub(crate) authers: Option<Vec<Named<User>>>,
    /// Where `authers` stand in its handler.
    pub(crate) auth: At<'a>,
    pub(crate) quotas: Quotas,
    /// Where the quota of all routes was written.
    pub(crate) max_routes: Option<At<'a>>,
    /// Where and how it listens, and where the address was written.
    pub(crate) listeners: Vec<(ListenerSettings, At<'a>)>,
}

pub(super) fn read<'a>(
    at: &Cursor<'a>,
    context: &Context<'a>,
) -> Option<(HubSettings, HubView<'a>)> {
    let listeners = listener::read(at, context);
    let handler = at.get(&service::HANDLER)?;
    without_effect(at, &handler, context);

    let router_at = handler.filled(&router_handler::ROUTER);
    let default = router_at.as_ref().and_then(|at| context.names.routers.resolve(at));
    let default = default.and_then(|(name, _)| context.tables.router(name));
    let ingress = handler.filled(&router_handler::INGRESS);
    let ingress = ingress.and_then(|at| context.names.ingresses.resolve(&at));
    let ingress = ingress.and_then(|(name, _)| context.tables.ingress(name));
    let authers = access::authers(&handler, context);
    let skip_auth = access::skip_auth(&handler);
    let admissions = admissions::of_service(at, &context.names, &context.admissions);

    let namespaces = context.tables.routers.iter();
    let namespaces: BTreeMap<_, _> =
        namespaces.filter_map(|table| Some((table.id?, table.router.clone()))).collect();
    let addresses = addresses(&handler);
    let quotas = quotas::read(&handler);
    let mut read = listeners.iter().map(|(listener, _)| listener.clone());
    let first = read.next();
    let more_listeners = read.collect();
    let auth = [handler::AUTHER.any(), handler::AUTHERS.any(), handler::AUTH.any()];
    let auth = auth.iter().find_map(|field| handler.filled(field)).map(|at| at.key());
    let view = HubView {
        default_router: default
            .zip(router_at.as_ref())
            .map(|(table, at)| (table.router.name.clone(), at.at.clone())),
        ingress: ingress.map(|table| table.ingress.name.clone()),
        authers: authers.clone(),
        listeners,
        auth: auth.unwrap_or_else(|| handler.at.clone()),
        quotas: quotas.clone(),
        max_routes: handler.get(&router_handler::MAX_ROUTES).map(|at| at.at.clone()),
    };
    let rules = HubRules {
        namespaces,
        default_router: default.map(|table| table.router.clone()),
        ingress: ingress.map(|table| table.ingress.clone()),
        authers,
        skip_auth,
        admissions,
        source_check: one_of(&handler, &router_handler::SOURCE_CHECK, &SOURCE_CHECKS),
        sharing: one_of(&handler, &router_handler::SHARING, &SHARINGS),
        icmp: handler.or_default(&router_handler::ICMP).then_some(addresses),
        ttl: handler.or_default(&router_handler::TTL),
        gso_frames: handler.or_default(&router_handler::GSO_FRAMES),
        queue_budget: queue_budget(&handler) * MIB,
        quotas,
    };
    let handshake_timeout = handler.or_default(&router_handler::READ_TIMEOUT);
    Some((HubSettings { listener: first?, more_listeners, rules, handshake_timeout }, view))
}

/// What is for hosts only.
fn without_effect(at: &Cursor<'_>, handler: &Cursor<'_>, context: &Context<'_>) {
    if let Some(forwarder) = at.filled(&service::FORWARDER) {
        forwarder.key().info("a forwarder has no effect on a hub");
    }
    let chain = handler.filled(&handler::CHAIN);
    if let Some(chain) = &chain {
        context.names.chains.resolve(chain);
    }
    let group = handler.filled(&handler::CHAIN_GROUP).map(|group| group.key());
    for key in chain.map(|chain| chain.key()).into_iter().chain(group) {
        key.info("a chain has no effect on a hub");
    }
    if let Some(retries) = handler.filled(&handler::RETRIES) {
        retries.key().info("`retries` has no effect on a hub: it opens no connections");
    }
}

/// At most one of each IP version.
fn addresses(handler: &Cursor<'_>) -> IcmpErrors {
    const HELP: &str = "write one IPv4 address, one IPv6 address or both";
    let mut icmp = IcmpErrors::default();
    for (text, at) in handler.read(&router_handler::ADDRESS).unwrap_or_default() {
        let taken = match text.parse() {
            Ok(address) if !names_one_host(address) => {
                at.error(format!("{address} is no address that an ICMP error may come from"))
                    .help("write an address of the hub inside the tunnel, such as 10.0.0.254");
                continue;
            }
            Ok(IpAddr::V4(address)) => icmp.v4.replace(address).is_some(),
            Ok(IpAddr::V6(address)) => icmp.v6.replace(address).is_some(),
            Err(_) => {
                at.error(format!("{} is no IP address", quote(&text))).help(HELP);
                continue;
            }
        };
        if taken {
            at.error("there is another address of that IP version").help(HELP);
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

/// In MiB.
fn queue_budget(handler: &Cursor<'_>) -> usize {
    let number = handler.or_default(&router_handler::QUEUE_BUDGET);
    let budget = usize::try_from(number).ok().filter(|budget| QUEUE_BUDGETS.contains(budget));
    budget.unwrap_or_else(|| {
        handler
            .place_of(&router_handler::QUEUE_BUDGET)
            .error(format!("{number} MiB is no memory to queue packets in"))
            .help("write a whole number of MiB, at least 16; 256 unless configured");
        *QUEUE_BUDGETS.start()
    })
}
