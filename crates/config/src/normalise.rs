//! From a document to the model: names resolved, texts read, everything else reported.

mod access;
mod admissions;
mod api;
mod chain;
mod choice;
mod device;
mod hooks;
mod host;
mod http_server;
mod hub;
mod limiters;
mod listener;
mod located;
mod log;
mod lookups;
mod metrics;
mod names;
mod observers;
mod plugins;
mod providers;
mod quotas;
mod recorders;
mod relay;
mod remote;
mod selector;
mod sockets;
pub(crate) mod sources;
mod tables;
mod tls;
mod transport_stack;
mod udp_tunnel;
mod volumes;

pub(crate) use hub::HubView;
pub(crate) use names::DocumentNames;
pub(crate) use relay::RelayView;
pub(crate) use tables::{HubTables, IngressTable, RouterTable};
pub(crate) use transport_stack::encrypted_form;

use udp_tunnel::TunRole;

use crate::{
    location::quote,
    report::Report,
    schema::{Field, HANDLERS, LISTENERS, OneText, Types, handler, listener_base, root, service},
    suggest,
    value::{Cursor, same_key},
};
use rtun_settings::{
    AdmissionSettings, Config, Named, ObserverSettings, RecorderSettings, Service, ServiceKind,
    User, VolumeQuota,
};

/// What the parts of the normaliser share.
pub(crate) struct Context<'a> {
    pub(crate) report: &'a Report,
    pub(crate) names: DocumentNames<'a>,
    pub(crate) tables: HubTables<'a>,
    pub(crate) authers: Vec<Named<User>>,
    pub(crate) admissions: Vec<AdmissionSettings>,
    pub(crate) limiters: limiters::Limiters,
    pub(crate) volumes: Vec<VolumeQuota>,
    pub(crate) observers: Vec<ObserverSettings>,
    pub(crate) recorders: Vec<RecorderSettings>,
    pub(crate) lookups: lookups::Lookups,
    pub(crate) tls: tls::CommonTls,
}

/// The model of the document at `root`, complete only if nothing reported is an error, and what the checks across objects
/// look at.
pub(crate) fn normalise<'a>(root: &Cursor<'a>) -> (Config, Context<'a>, ListenerViews<'a>) {
    let names = DocumentNames::collect(root);
    let tables = HubTables::read(&names);
    let authers = access::read(&names);
    let admissions = admissions::read(&names);
    let limiters = limiters::Limiters::read(&names);
    let volumes = volumes::read(&names);
    let observers = observers::read(&names);
    let recorders = recorders::read(&names);
    let lookups = lookups::Lookups::default();
    let tls = tls::common(root);
    let report = root.report;
    let context = Context {
        report,
        names,
        tables,
        authers,
        admissions,
        limiters,
        volumes,
        observers,
        recorders,
        lookups,
        tls,
    };
    let log = log::read(root);
    let loggers = log::loggers(&log, &context.names);
    let metrics = metrics::read(root, &context);
    let api = api::read(root, &context);
    let mut config = Config { services: Vec::new(), log, loggers, metrics, api };
    let mut views = ListenerViews::default();
    let nothing = context.names.services.list.is_empty() && !context.names.services.nameless;
    if nothing && config.api.is_none() && !is_refused_already(root) {
        root.report
            .whole()
            .error("there is no service: nothing would run")
            .help("a hub needs a service with a `router` handler, a host one with a `tun` handler");
    }
    for (name, at) in &context.names.services.list {
        let Some(kind) = service_kind(at) else { continue };
        let kind = match kind {
            Role::Hub => hub::read(at, &context).map(|(hub, view)| {
                views.hubs.push(view);
                ServiceKind::Hub(hub)
            }),
            Role::Relay => relay::read(at, &context).map(|(relay, view)| {
                views.relays.push(view);
                ServiceKind::Relay(relay)
            }),
            Role::Metrics if config.metrics.is_some() => at.refuse(
                "metrics are served at another address already",
                "keep one of the two: the `metrics` object or one service with a `metrics` handler",
            ),
            Role::Metrics => {
                config.metrics = metrics::of_service(at, &context);
                None
            }
            Role::Api if config.api.is_some() => at.refuse(
                "the Web API is served at another address already",
                "keep one of the two: the `api` object or one service with an `api` handler",
            ),
            Role::Api => {
                config.api = api::of_service(at, &context);
                None
            }
            Role::Tun => match udp_tunnel::role(at, &context) {
                TunRole::Host => host::read(at, &context).map(ServiceKind::Host),
                TunRole::Server => udp_tunnel::server(at, &context).map(ServiceKind::UdpServer),
                TunRole::Client => udp_tunnel::client(at, &context).map(ServiceKind::UdpClient),
            },
            Role::Tap => udp_tunnel::tap(at, &context),
        };
        let hooks = hooks::read(at);
        let loggers = log::loggers_of(at, &context.names);
        let name = name.clone();
        config.services.extend(kind.map(|kind| {
            let observers = observers::of_service(at, &kind, &context);
            let recordings = recorders::of_service(at, &kind, &context);
            Service { name, kind, hooks, loggers, observers, recordings }
        }));
    }
    relay::lead_to_servers(&mut config, &context);
    (config, context, views)
}

/// What listens, for the checks across objects.
#[derive(Default)]
pub(crate) struct ListenerViews<'a> {
    pub(crate) hubs: Vec<HubView<'a>>,
    pub(crate) relays: Vec<RelayView<'a>>,
}

enum Role {
    Hub,
    Relay,
    Tun,
    Tap,
    Metrics,
    Api,
}

/// Whether there are services of other kinds, and they are an error.
fn is_refused_already(root: &Cursor<'_>) -> bool {
    let has_list = root.value.entries().iter().any(|m| same_key(&m.key, root::SERVICES.name()));
    has_list && root.report.failed()
}

fn service_kind(at: &Cursor<'_>) -> Option<Role> {
    let Some(handler) = at.get(&service::HANDLER) else {
        let help = "add `handler: {type: router}` for a hub, `handler: {type: tun}` for a host";
        return at.refuse("the service has no handler", help);
    };
    let handler = checked_type(&handler, &handler::TYPE, &HANDLERS)?;
    let (listener, place) = match at.get(&service::LISTENER) {
        Some(listener) => {
            let name = checked_type(&listener, &listener_base::TYPE, &LISTENERS)?;
            (name, listener.place_of(&listener_base::TYPE))
        }
        None => (LISTENERS.unset.to_owned(), at.at.clone()),
    };
    match (handler.as_str(), listener.as_str()) {
        ("router", "tun" | "tap") => {
            let message = format!("a `router` handler cannot work on a `{listener}` listener");
            let help = "a hub listens with `listener: {type: tcp}`, a host's handler is `tun`";
            place.refuse(message, help)
        }
        ("relay", "tun" | "tap") => {
            let message = format!("a `relay` handler cannot work on a `{listener}` listener");
            let help = "a relay listens with `listener: {type: wss}`, and leads to a `tun` service";
            place.refuse(message, help)
        }
        ("router", _) => Some(Role::Hub),
        ("relay", _) => Some(Role::Relay),
        ("metrics", _) => Some(Role::Metrics),
        ("api", _) => Some(Role::Api),
        ("tun", "tun") => Some(Role::Tun),
        ("tap", "tap") => Some(Role::Tap),
        (handler, _) => {
            let message = format!(
                "a `{handler}` handler needs a `{handler}` listener, this one is `{listener}`"
            );
            place.refuse(message, format!("write `listener: {{type: {handler}}}`"))
        }
    }
}

/// The type in `field` of `at`; `None` after an error was reported because it is not supported.
pub(crate) fn checked_type(
    at: &Cursor<'_>,
    field: &Field<OneText>,
    types: &'static Types,
) -> Option<String> {
    let what = types.what;
    let written = at.filled(field);
    let name = match &written {
        Some(written) => written.read()?,
        None => types.unset.to_owned(),
    };
    if types.supported.contains(&name.as_str()) {
        return Some(name);
    }
    let place = at.place_of(field);
    let supported: Vec<String> = types.supported.iter().map(|t| format!("`{t}`")).collect();
    let supported = format!("rtun's {what} types: {}", supported.join(", "));
    let quoted = quote(&name);
    if written.is_none() {
        let message =
            format!("the {what} has no type; {quoted}, which it would be, is not supported");
        place.refuse(message, supported)
    } else if let Some(refused) = types.refused(&name) {
        let message = format!("{what} type {quoted} is not supported: {}", refused.reason);
        place.refuse(message, refused.instead)
    } else if types.is_elsewhere(&name) {
        let message = format!("{what} type {quoted} is not supported: rtun builds routing tunnels");
        place.refuse(message, supported)
    } else {
        let help = suggest::did_you_mean(&name, types.supported.iter().copied());
        let message = format!("there is no {what} type {quoted}");
        place.refuse(message, help.unwrap_or(supported))
    }
}
