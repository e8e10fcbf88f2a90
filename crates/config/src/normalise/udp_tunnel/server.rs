//! The server of a UDP tunnel: who may register which addresses, and where packets go.

use std::net::IpAddr;

use rtun_core::{Route, udp_tunnel::Passphrase};

use super::{inline, tunnel_device, without_client_keys};
use crate::{
    address,
    findings::{Code, Report},
    location::{At, quote},
    normalise::{Context, access, admissions, providers, sockets, tables},
    schema::{handler, service, tun_handler, tun_listener},
    value::Cursor,
};
use rtun_settings::{
    AdmissionSettings, ClientNetwork, DeviceSettings, Matcher, Named, UdpServerRules,
    UdpServerSettings, User,
};

/// The server at `at`, which has an `addr`.
pub(in crate::normalise) fn read(
    at: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<UdpServerSettings> {
    let handler = at.get(&service::HANDLER)?;
    let listener = at.get(&service::LISTENER)?;
    let (addr, addr_at) = listen_address(at, report)?;
    without_effect(at, &handler, report);
    let device = tunnel_device(at, &listener, report)?;
    let authers = access::authers(&handler, context, report);
    check_users(&handler, authers.as_deref(), report);
    let admissions = admissions::of_service(at, &context.names, &context.admissions, report);
    check_admissions(at, &admissions, report);
    exposure(&addr, &addr_at, authers.is_some(), report);
    Some(UdpServerSettings {
        addr,
        so_mark: sockets::so_mark_of(at, report),
        netns: device.netns.clone(),
        rules: UdpServerRules {
            networks: networks(&device),
            router: router(&listener, context, report),
            allowed: allowed(&handler, report),
            authers,
            admissions,
            point_to_point: handler.or_default(&tun_handler::P2P),
        },
        device,
    })
}

/// Where a server listens, and where that is written; `None` after an error was reported, or without one.
pub(super) fn listen_address(at: &Cursor<'_>, report: &mut Report) -> Option<(String, At)> {
    let addr_at = at.filled(&service::ADDR)?;
    let addr = addr_at.read()?;
    if let Err(error) = address::check(&addr) {
        let message = format!("{} is no address to listen on: {error}", quote(&addr));
        let help = "write for example :8421, 192.0.2.1:8421 or [2001:db8::1]:8421";
        return report.refuse(&addr_at, message, help);
    }
    Some((addr, At::from(&addr_at)))
}

/// What is for clients, hubs and hosts only.
fn without_effect(at: &Cursor<'_>, handler: &Cursor<'_>, report: &mut Report) {
    let why = "it belongs to a client, and this service has no forwarder: it is a server";
    without_client_keys(handler, why, report);
    if let Some(retries) = handler.filled(&handler::RETRIES) {
        report.info(retries.key(), "`retries` has no effect on the server of a UDP tunnel");
    }
    if let Some(listeners) = at.filled(&service::LISTENERS) {
        report
            .error(listeners.key(), "`listeners` is for hubs: a UDP tunnel has one socket")
            .help("remove it");
    }
}

/// Networks behind clients, by the routes of the device that have a gateway.
fn networks(device: &DeviceSettings) -> Vec<ClientNetwork> {
    let routes = device.routes.iter();
    let networks = routes
        .filter_map(|route| Some(ClientNetwork { prefix: route.prefix, gateway: route.gateway? }));
    networks.collect()
}

/// Prefixes of addresses that clients may have besides those of the device's networks.
fn allowed(handler: &Cursor<'_>, report: &mut Report) -> Vec<ipnet::IpNet> {
    let texts = handler.read(&tun_handler::ALLOW).unwrap_or_default();
    texts.iter().filter_map(|(text, at)| tables::prefix(text, at, report)).collect()
}

/// The router that the listener names, whose gateways are addresses of clients.
fn router(
    listener: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<Named<Route>> {
    let at = listener.filled(&tun_listener::ROUTER)?;
    let (name, _) = context.names.routers.resolve(&at, report)?;
    let table = context.tables.router(name)?;
    if !providers::is_all_inline(&table.router.provider) {
        let message = format!("the router {} has rows outside of the configuration", quote(name));
        let help = "for a UDP tunnel write its `routes` into the configuration";
        return report.refuse(&at, message, help);
    }
    for (route, row) in inline(&table.router.provider).zip(&table.rows) {
        let gateway = route.gateway.as_str();
        if gateway.parse::<IpAddr>().is_err() {
            let message = format!("{} is no address of a client", quote(gateway));
            report
                .error(row.gateway.clone(), message)
                .help("in a UDP tunnel a gateway is an address that a client registers");
        }
    }
    Some(table.router.clone())
}

/// Refuses admissions that are not of addresses alone, which need no lookup.
pub(super) fn check_admissions(
    at: &Cursor<'_>,
    admissions: &[AdmissionSettings],
    report: &mut Report,
) {
    for AdmissionSettings { matchers: Named { name, provider }, .. } in admissions {
        let has_names = inline(provider).any(|matcher| matches!(matcher, Matcher::Name(_)));
        if !providers::is_all_inline(provider) || has_names {
            report
                .error(at, format!("the admission {} is not one of addresses alone", quote(name)))
                .help("for a UDP tunnel write its `matchers` into the configuration, as addresses and prefixes");
        }
    }
}

/// C02 and C03: this tunnel is not encrypted, whoever its users are.
fn exposure(addr: &str, at: &At, has_auther: bool, report: &mut Report) {
    const HELP: &str =
        "a routing tunnel encrypts (docs/two-ways.md); or listen on a loopback address";
    let host = address::split_host_port(addr).map_or("", |(host, _)| host);
    if address::is_loopback(host) {
        return;
    }
    let addr = quote(addr);
    if has_auther {
        let message = format!(
            "packets and passphrases cross the network to {addr} readable, and who reads one can use it: \
             this tunnel has no encryption"
        );
        report.coded(Code::C03, at, message).help(HELP);
    } else {
        let message = format!(
            "anybody who reaches {addr} may register: there is no auther, and this tunnel has no encryption"
        );
        let help = format!("name an `auther` in the handler; {HELP}");
        report.coded(Code::C02, at, message).help(help);
    }
}

/// Users that no client can be: a user's name is an address, and only 16 bytes of a passphrase are sent.
fn check_users(handler: &Cursor<'_>, authers: Option<&[Named<User>]>, report: &mut Report) {
    let at = [handler::AUTHER.name(), handler::AUTHERS.name(), handler::AUTH.name()];
    let mut at = at.iter().filter_map(|key| handler.child_named(key));
    let at = at.find(|at| !at.value.is_unset()).map_or_else(|| At::from(handler), |at| at.key());
    for auther in authers.into_iter().flatten() {
        if !providers::is_all_inline(&auther.provider) {
            let name = quote(&auther.name);
            let message = format!("the auther {name} has users outside of the configuration");
            report
                .error(at.clone(), message)
                .help("for a UDP tunnel write its `auths` into the configuration");
        }
        for user in inline(&auther.provider) {
            let name = quote(&user.name);
            if user.name.parse::<IpAddr>().is_err() {
                let message = format!("no client can be the user {name}: it is no address");
                report
                    .warning(at.clone(), message)
                    .help("in a UDP tunnel a user's name is the address that the client registers");
            }
            if let Err(error) = Passphrase::new(user.password.expose()) {
                let message = format!("the password of the user {name} is never right: {error}");
                report.error(at.clone(), message).help("choose one of at most 16 bytes");
            }
        }
    }
}
