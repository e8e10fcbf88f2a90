//! Limiters of traffic, connections and requests, and limits of hosts and namespaces.

use std::{num::NonZeroU64, time::Duration};

use rtun_core::{
    NamespaceId, Parsed, TooManyRows,
    limit::{TrafficRate, parse_size},
    parse_connection_limits, parse_request_limits, parse_traffic_limits,
};
use rtun_settings::{
    HubLimits, LimitRow, LimitScope, LimiterScope, LimiterSettings, LocatedRow, Named, Provider,
    TrafficLimit, TunnelLimitSettings,
};

use super::{
    Context, DocumentNames,
    choice::one_of_or_default,
    located::Located,
    names::NamedObjects,
    providers::named,
    sources::{self, TableKind},
    tables::host_name,
    volumes,
};
use crate::{
    location::quote,
    report::At,
    schema::{
        Field, OneText, Texts, Timespan, counting_limiter, handler, host_limit, limiter,
        router_handler, service, service_metadata,
    },
    value::Cursor,
};

/// Least time after which a plugin is asked again.
const MIN_REFRESH: Duration = Duration::from_secs(1);

const SCOPES: [(&str, LimiterScope); 3] = [
    ("both", LimiterScope::All),
    ("service", LimiterScope::Service),
    ("conn", LimiterScope::Connection),
];

/// All limiters, in order.
pub(crate) struct Limiters {
    traffic: Vec<Named<LimitRow<TrafficLimit>>>,
    connections: Vec<Named<LimitRow<u32>>>,
    requests: Vec<Named<LimitRow<f64>>>,
}

impl Limiters {
    pub(super) fn read(names: &DocumentNames<'_>) -> Self {
        Self {
            traffic: all(
                &names.limiters,
                &limiter::LIMITS,
                &sources::LIMITER,
                parse_traffic_limits,
            ),
            connections: all(
                &names.climiters,
                &counting_limiter::LIMITS,
                &sources::CLIMITER,
                parse_connection_limits,
            ),
            requests: all(
                &names.rlimiters,
                &counting_limiter::LIMITS,
                &sources::RLIMITER,
                parse_request_limits,
            ),
        }
    }
}

type ParseLines<L> = fn(&str, usize) -> Result<Parsed<LimitRow<L>>, TooManyRows>;

fn all<L>(
    names: &NamedObjects<'_>,
    limits: &Field<Texts>,
    kind: &TableKind,
    parse: ParseLines<L>,
) -> Vec<Named<LimitRow<L>>> {
    let mut read = Vec::new();
    for (name, at) in &names.list {
        let mut rows = Vec::new();
        for (text, at) in at.read(limits).unwrap_or_default() {
            rows.extend(row(&text, &at, parse).map(|row| at.row(row)));
        }
        read.push(named(name, at, kind, rows));
    }
    read
}

/// One line; `None` if it says nothing, or an error was reported.
fn row<L>(text: &str, at: &At<'_>, parse: ParseLines<L>) -> Option<LimitRow<L>> {
    let Ok(mut parsed) = parse(text, 1) else {
        return at.refuse("this has more than one line", "write a line for each limit");
    };
    if let Some(bad) = parsed.bad.first.first() {
        let message = bad.to_string();
        // Messages about lines say what is wrong, then what would be right.
        let (what, help) = match message.split_once("; ") {
            Some((what, help)) => (what.to_owned(), Some(help.to_owned())),
            None => (message, None),
        };
        at.error(what).maybe_help(help);
    }
    parsed.rows.pop().map(|row| row.value)
}

/// What the hub at `service` limits.
pub(super) fn of_hub(
    service: &Cursor<'_>,
    handler: &Cursor<'_>,
    context: &Context<'_>,
) -> HubLimits {
    let traffic = traffic(service, &service::LIMITER, &service_metadata::REFRESH, context);
    let traffic = traffic.map(|(limits, at)| {
        useless(&limits.limits, &at, |scope| match scope {
            LimitScope::Host(..) | LimitScope::Namespace(_) => {
                Some("a service's limiter is about connections; name the limiter in the `handler` for hosts and namespaces")
            }
            _ => None,
        });
        LimiterSettings { scope: scope(service), ..limits }
    });
    let hosts = self::traffic(handler, &handler::LIMITER, &router_handler::REFRESH, context);
    let hosts = hosts.map(|(limits, at)| {
        useless(&limits.limits, &at, |scope| match scope {
            LimitScope::Network(_) => {
                Some("a handler's limiter is about hosts; name the limiter in the service itself for addresses")
            }
            _ => None,
        });
        limits
    });
    let own = host_limits(handler);
    if let (Some(hosts), Some(at)) = (&hosts, handler.filled(&handler::LIMITS))
        && hosts.limits.plugin().is_some()
    {
        at.key()
            .error("`limits` do not count where the limiter is a plugin")
            .help("have the plugin answer for these hosts, or remove one of the two");
    }
    HubLimits {
        traffic,
        hosts,
        own,
        connections: of_connections(service, context),
        requests: of_requests(service, context),
    }
}

/// What the host at `service` limits.
pub(super) fn of_host(
    service: &Cursor<'_>,
    handler: &Cursor<'_>,
    context: &Context<'_>,
) -> Option<LimiterSettings> {
    for field in [&service::CLIMITER, &service::RLIMITER] {
        if let Some(at) = service.filled(field) {
            let message =
                format!("`{}` has no effect on a host: nobody connects to it", field.name());
            at.key().error(message).help("remove it, or name a `limiter`");
        }
    }
    let misplaced = handler.filled(&handler::LIMITER).map(|at| at.key());
    if let Some(at) = misplaced.or_else(|| handler.filled(&handler::LIMITS).map(|at| at.key())) {
        at.error("a host's handler limits nothing")
            .help("name the `limiter` in the service itself");
    }
    let limiter = traffic(service, &service::LIMITER, &service_metadata::REFRESH, context);
    limiter.map(|(limits, at)| {
        useless(&limits.limits, &at, |scope| match scope {
            LimitScope::Service => None,
            _ => Some("a host has one device: write `$` for all that passes it"),
        });
        if scope(service) == LimiterScope::Connection {
            service
                .place_of(&service_metadata::SCOPE)
                .error("`conn` leaves nothing that a host limits")
                .help("remove `limiter.scope`");
        }
        limits
    })
}

/// What has clients, or is one, and limits what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LimitedTunnel {
    /// Of a UDP or Ethernet tunnel.
    Server,
    /// Of a UDP or Ethernet tunnel.
    Client,
    Relay,
}

/// What the end of a tunnel, or the relay, at `service` limits. Connections and requests are those of a relay.
pub(super) fn of_tunnel(
    end: LimitedTunnel,
    service: &Cursor<'_>,
    context: &Context<'_>,
) -> TunnelLimitSettings {
    let (what, why) = match end {
        LimitedTunnel::Server => {
            ("the server of a tunnel", "clients send datagrams and do not connect")
        }
        LimitedTunnel::Client => ("the client of a tunnel", "nobody connects to it"),
        LimitedTunnel::Relay => ("a relay", ""),
    };
    for field in [&service::CLIMITER, &service::RLIMITER] {
        let Some(at) = service.filled(field).filter(|_| end != LimitedTunnel::Relay) else {
            continue;
        };
        let message = format!("`{}` has no effect on {what}: {why}", field.name());
        at.key().error(message).help("remove it, or name a `limiter`");
    }
    if let Some(handler) = service.get(&service::HANDLER) {
        let misplaced = handler.filled(&handler::LIMITER).map(|at| at.key());
        let misplaced = misplaced.or_else(|| handler.filled(&handler::LIMITS).map(|at| at.key()));
        if let Some(at) = misplaced {
            at.error(format!("the handler limits hosts and namespaces, and {what} has none"))
                .help("name the `limiter` in the service itself: it limits clients");
        }
    }
    let traffic = traffic(service, &service::LIMITER, &service_metadata::REFRESH, context);
    let traffic = traffic.map(|(limits, at)| {
        refuse_plugin(&limits.limits, &at);
        useless(&limits.limits, &at, |scope| match (scope, end) {
            (LimitScope::Service, _) => None,
            (LimitScope::Host(..) | LimitScope::Namespace(_), _) => {
                Some("there are no hosts and namespaces: write `$`, `$$` or an address")
            }
            (_, LimitedTunnel::Client) => {
                Some("a client has one device: write `$` for all that passes it")
            }
            _ => None,
        });
        let scope = match (scope(service), end) {
            (LimiterScope::Connection, LimitedTunnel::Client) => {
                service
                    .place_of(&service_metadata::SCOPE)
                    .error("`conn` leaves nothing that a client limits")
                    .help("remove `limiter.scope`");
                LimiterScope::Service
            }
            (_, LimitedTunnel::Client) => LimiterScope::Service,
            (scope, LimitedTunnel::Server | LimitedTunnel::Relay) => scope,
        };
        LimiterSettings { scope, ..limits }
    });
    TunnelLimitSettings { traffic, volumes: volumes::of_service(service, context) }
}

/// The limits of a hub's or relay's connections at once.
pub(super) fn of_connections(
    service: &Cursor<'_>,
    context: &Context<'_>,
) -> Option<Named<LimitRow<u32>>> {
    let (names, limiters) = (&context.names.climiters, &context.limiters.connections);
    counting(service, &service::CLIMITER, names, limiters)
}

/// The limits of a hub's or relay's requests a second.
pub(super) fn of_requests(
    service: &Cursor<'_>,
    context: &Context<'_>,
) -> Option<Named<LimitRow<f64>>> {
    let (names, limiters) = (&context.names.rlimiters, &context.limiters.requests);
    counting(service, &service::RLIMITER, names, limiters)
}

/// Refuses a plugin, which tunnels and relays do not ask.
fn refuse_plugin<T>(limiter: &Named<T>, at: &At<'_>) {
    if limiter.plugin().is_some() {
        let name = quote(&limiter.name);
        at.error(format!("the limiter {name} is a plugin, and only hubs and hosts ask one"))
            .help("for a tunnel or a relay give it `limits`, a `file`, `redis` or `http`");
    }
}

/// The limiter of traffic that `field` names, and where.
fn traffic<'a>(
    at: &Cursor<'a>,
    field: &Field<OneText>,
    refresh: &Field<Timespan>,
    context: &Context<'_>,
) -> Option<(LimiterSettings, At<'a>)> {
    let reference = at.filled(field)?;
    let (name, _) = context.names.limiters.resolve(&reference)?;
    let limits = context.limiters.traffic.iter().find(|limiter| limiter.name == *name)?.clone();
    let period = at.or_default(refresh);
    if period < MIN_REFRESH {
        at.place_of(refresh).info("`limiter.refreshInterval` is raised to 1s, the least there is");
    }
    let settings =
        LimiterSettings { limits, refresh: period.max(MIN_REFRESH), scope: LimiterScope::All };
    Some((settings, reference.at.clone()))
}

fn scope(service: &Cursor<'_>) -> LimiterScope {
    one_of_or_default(service, &service_metadata::SCOPE, &SCOPES)
}

fn counting<L: Clone>(
    service: &Cursor<'_>,
    field: &Field<OneText>,
    names: &NamedObjects<'_>,
    limiters: &[Named<LimitRow<L>>],
) -> Option<Named<LimitRow<L>>> {
    let (name, _) = names.resolve(&service.filled(field)?)?;
    limiters.iter().find(|limiter| limiter.name == *name).cloned()
}

/// Warns of rows in the configuration that have no effect where the limiter is named.
fn useless(
    limiter: &Named<LimitRow<TrafficLimit>>,
    at: &At<'_>,
    why: impl Fn(&LimitScope) -> Option<&'static str>,
) {
    let Provider::Rows(rows) = &limiter.provider else { return };
    for LocatedRow { value, file, line } in &rows.inline {
        if let Some(help) = why(&value.scope) {
            let message = format!(
                "the row for {} of the limiter {} ({file}:{line}) has no effect here",
                quote(&value.scope.to_string()),
                quote(&limiter.name)
            );
            at.warning(message).help(help);
        }
    }
}

/// The `limits` of a handler.
fn host_limits(handler: &Cursor<'_>) -> Vec<LimitRow<TrafficLimit>> {
    let items = handler.items_of(&handler::LIMITS);
    items.iter().filter_map(|item| host_limit(item)).collect()
}

fn host_limit(at: &Cursor<'_>) -> Option<LimitRow<TrafficLimit>> {
    let host = match at.read(&host_limit::HOST) {
        Some(text) => Some(host_name(&text, &at.place_of(&host_limit::HOST))?),
        None => None,
    };
    let namespace = match at.read(&host_limit::NAMESPACE) {
        Some(text) => match text.parse::<NamespaceId>() {
            Ok(id) => Some(id),
            Err(error) => {
                at.place_of(&host_limit::NAMESPACE).error(format!("{} is {error}", quote(&text)));
                return None;
            }
        },
        None => None,
    };
    let scope = match (host, namespace) {
        (Some(host), namespace) => LimitScope::Host(host, namespace),
        (None, Some(namespace)) => LimitScope::Namespace(namespace),
        (None, None) => {
            let help = "add `host:` or `namespace:`; a limiter's row `$$` is for each host";
            return at.refuse("this limit is about no host and no namespace", help);
        }
    };
    let (input, output) = (size(at, &host_limit::IN)?, size(at, &host_limit::OUT)?);
    let burst = size(at, &host_limit::BURST)?;
    if input.is_none() && output.is_none() {
        at.warning("this limits nothing").help("add `in: 10MB`, `out: 10MB` or both");
    }
    let rate = |bytes: Option<NonZeroU64>| {
        let rate = TrafficRate::new(bytes?);
        Some(TrafficRate { burst: burst.map_or(rate.burst, NonZeroU64::get), ..rate })
    };
    Some(LimitRow { scope, limit: TrafficLimit { input: rate(input), output: rate(output) } })
}

/// A size in bytes, `None` inside for none; `None` after an error was reported.
fn size(at: &Cursor<'_>, field: &Field<OneText>) -> Option<Option<NonZeroU64>> {
    let Some(text) = at.read(field) else { return Some(None) };
    match parse_size(&text) {
        Ok(bytes) => Some(NonZeroU64::new(bytes)),
        Err(error) => {
            let message = format!("{} {error}", quote(&text));
            let (what, help) = message.split_once("; ").unwrap_or((&message, ""));
            at.place_of(field).error(what).maybe_help((!help.is_empty()).then(|| help.to_owned()));
            None
        }
    }
}
