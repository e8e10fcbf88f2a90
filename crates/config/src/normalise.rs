//! From a document to the model: names resolved, texts read, everything else reported.

mod access;
mod admissions;
mod host;
mod hub;
mod listener;
mod log;
mod metrics;
mod names;
mod plugins;
mod providers;
mod quotas;
mod sockets;
mod sources;
mod tables;
mod tls;
mod transport_stack;
mod udp_tunnel;

pub(crate) use hub::HubView;
pub(crate) use listener::encrypted_form;
pub(crate) use names::Names;
pub(crate) use providers::is_all_inline;
use udp_tunnel::Role;

pub(crate) use tables::{Ingress, Table, Tables};

use crate::{
    findings::{At, Report, quote},
    schema::{HANDLERS, LISTENERS, Types},
    suggest,
    value::{Cursor, Value},
};
use rtun_settings::{AdmissionSettings, Config, Named, Service, ServiceKind, User};

/// What the parts of the normaliser share.
pub(crate) struct Context<'a> {
    pub(crate) names: Names<'a>,
    pub(crate) tables: Tables,
    pub(crate) authers: Vec<Named<User>>,
    pub(crate) admissions: Vec<AdmissionSettings>,
    pub(crate) tls: tls::Common,
}

/// The model of `document`, complete only if nothing reported is an error, and what the checks across objects
/// look at.
pub(crate) fn normalise<'a>(
    document: &'a Value,
    report: &mut Report,
) -> (Config, Context<'a>, Vec<HubView>) {
    let root = Cursor::root(document);
    let names = Names::collect(&root, report);
    let tables = Tables::read(&names, report);
    let authers = access::read(&names, report);
    let admissions = admissions::read(&names, report);
    let tls = tls::common(root.get("tls").as_ref(), report);
    let context = Context { names, tables, authers, admissions, tls };
    let log = log::read(root.get("log"), report);
    let metrics = metrics::read(root.get("metrics"), &context, report);
    let mut config = Config { services: Vec::new(), log, metrics };
    let mut hubs = Vec::new();
    if context.names.services.list.is_empty() && !context.names.services.nameless {
        report
            .error(At::default(), "there is no service: nothing would run")
            .help("a hub needs a service with a `router` handler, a host one with a `tun` handler");
    }
    for (name, at) in &context.names.services.list {
        let Some(kind) = service_kind(at, report) else { continue };
        let kind = match kind {
            Kind::Hub => hub::read(at, &context, report).map(|(hub, view)| {
                hubs.push(view);
                ServiceKind::Hub(hub)
            }),
            Kind::Tun => match udp_tunnel::role(at, &context) {
                Role::Host => host::read(at, &context, report).map(ServiceKind::Host),
                Role::Server => {
                    udp_tunnel::server(at, &context, report).map(ServiceKind::UdpServer)
                }
                Role::Client => {
                    udp_tunnel::client(at, &context, report).map(ServiceKind::UdpClient)
                }
            },
        };
        config.services.extend(kind.map(|kind| Service { name: name.clone(), kind }));
    }
    (config, context, hubs)
}

enum Kind {
    Hub,
    Tun,
}

fn service_kind(at: &Cursor<'_>, report: &mut Report) -> Option<Kind> {
    let Some(handler) = at.get("handler") else {
        report
            .error(at, "the service has no handler")
            .help("add `handler: {type: router}` for a hub, `handler: {type: tun}` for a host");
        return None;
    };
    let handler = checked_type(&handler, &HANDLERS, "auto", report)?;
    let listener = match at.get("listener") {
        Some(listener) => Some((checked_type(&listener, &LISTENERS, "tcp", report)?, listener)),
        None => None,
    };
    let listener_name = listener.as_ref().map_or("tcp", |(name, _)| name.as_str());
    let place = listener.as_ref().map_or(At::from(at), |(_, l)| type_place(l));
    match (handler.as_str(), listener_name) {
        ("router", "tun") => {
            report
                .error(place, "a `router` handler cannot work on a `tun` listener")
                .help("a hub listens with `listener: {type: tcp}`, a host's handler is `tun`");
            None
        }
        ("router", _) => Some(Kind::Hub),
        (_, "tun") => Some(Kind::Tun),
        _ => {
            report
                .error(
                    place,
                    format!(
                        "a `tun` handler needs a `tun` listener, this one is `{listener_name}`"
                    ),
                )
                .help("write `listener: {type: tun}`");
            None
        }
    }
}

fn type_place(at: &Cursor<'_>) -> At {
    at.get("type").map_or_else(|| At::from(at), |at| At::from(&at))
}

/// The type named by the `type` in `at`; `None` after an error was reported because it is not supported.
pub(crate) fn checked_type(
    at: &Cursor<'_>,
    types: &'static Types,
    default: &str,
    report: &mut Report,
) -> Option<String> {
    let what = types.what;
    let name = match at.get("type") {
        Some(at) => report.text(&at)?,
        None => default.to_owned(),
    };
    if types.supported.contains(&name.as_str()) {
        return Some(name);
    }
    let place = type_place(at);
    let supported: Vec<String> = types.supported.iter().map(|t| format!("`{t}`")).collect();
    let supported = format!("rtun's {what} types: {}", supported.join(", "));
    let quoted = quote(&name);
    if at.get("type").is_none() {
        report
            .error(
                place,
                format!("the {what} has no type; {quoted}, which it would be, is not supported"),
            )
            .help(supported);
    } else if let Some(refused) = types.refused(&name) {
        let message = format!("{what} type {quoted} is not supported: {}", refused.reason);
        report.error(place, message).help(refused.instead);
    } else if types.elsewhere.contains(&name.as_str()) {
        report
            .error(
                place,
                format!("{what} type {quoted} is not supported: rtun builds routing tunnels"),
            )
            .help(supported);
    } else {
        let help = suggest::did_you_mean(&name, types.supported.iter().copied());
        report
            .error(place, format!("there is no {what} type {quoted}"))
            .help(help.unwrap_or(supported));
    }
    None
}
