//! The server of a UDP tunnel: who may register which addresses, and where packets go.

use std::net::IpAddr;

use rtun_core::{Route, udp_tunnel::Passphrase};

use super::{tunnel_device, without_client_keys};
use crate::{
    address,
    findings::Code,
    location::quote,
    normalise::{
        Context, access, admissions,
        limiters::{self, LimitedTunnel},
        sockets, tables,
    },
    report::At,
    schema::{handler, service, tun_handler, tun_listener},
    value::Cursor,
};
use rtun_settings::{
    AdmissionSettings, ClientNetwork, DeviceRoute, LocatedRow, Matcher, Named, UdpServerRules,
    UdpServerSettings, User,
};

/// The server at `at`, which has an `addr`.
pub(in crate::normalise) fn read(
    at: &Cursor<'_>,
    context: &Context<'_>,
) -> Option<UdpServerSettings> {
    let handler = at.get(&service::HANDLER)?;
    let listener = at.get(&service::LISTENER)?;
    let (addr, addr_at) = listen_address(at)?;
    without_effect(at, &handler);
    let (device, routes) = tunnel_device(at, &listener);
    let authers = access::authers(&handler, context);
    check_users(&handler, authers.as_deref());
    let admissions = admissions::of_service(at, &context.names, &context.admissions);
    check_admissions(at, &admissions);
    exposure(&addr, &addr_at, authers.is_some());
    Some(UdpServerSettings {
        addr,
        so_mark: sockets::so_mark_of(at),
        netns: device.netns.clone(),
        rules: UdpServerRules {
            networks: networks(&routes),
            router: router(&listener, context),
            allowed: allowed(&handler),
            authers,
            admissions,
            point_to_point: handler.or_default(&tun_handler::P2P),
            limits: limiters::of_tunnel(LimitedTunnel::Server, at, context),
        },
        device,
    })
}

/// Where a server listens, and where that is written; `None` after an error was reported, or without one.
pub(super) fn listen_address<'a>(at: &Cursor<'a>) -> Option<(String, At<'a>)> {
    let addr_at = at.filled(&service::ADDR)?;
    let addr = addr_at.read()?;
    if let Err(error) = address::check(&addr) {
        let message = format!("{} is no address to listen on: {error}", quote(&addr));
        let help = "write for example :8421, 192.0.2.1:8421 or [2001:db8::1]:8421";
        return addr_at.refuse(message, help);
    }
    Some((addr, addr_at.at.clone()))
}

/// What is for clients, hubs and hosts only.
fn without_effect(at: &Cursor<'_>, handler: &Cursor<'_>) {
    let why = "it belongs to a client, and this service has no forwarder: it is a server";
    without_client_keys(handler, why);
    if let Some(retries) = handler.filled(&handler::RETRIES) {
        retries.key().info("`retries` has no effect on the server of a UDP tunnel");
    }
    if let Some(listeners) = at.filled(&service::LISTENERS) {
        listeners
            .key()
            .error("`listeners` is for hubs: a UDP tunnel has one socket")
            .help("remove it");
    }
}

/// Networks behind clients, by the routes of the device that have a gateway.
fn networks(routes: &[LocatedRow<DeviceRoute>]) -> Vec<LocatedRow<ClientNetwork>> {
    let network = |row: &LocatedRow<DeviceRoute>| {
        let DeviceRoute { prefix, gateway } = row.value;
        let (value, file) = (ClientNetwork { prefix, gateway: gateway? }, row.file.clone());
        Some(LocatedRow { value, file, line: row.line })
    };
    routes.iter().filter_map(network).collect()
}

/// Prefixes of addresses that clients may have besides those of the device's networks.
fn allowed(handler: &Cursor<'_>) -> Vec<ipnet::IpNet> {
    let texts = handler.read(&tun_handler::ALLOW).unwrap_or_default();
    texts.iter().filter_map(|(text, at)| tables::prefix(text, at)).collect()
}

/// The router that the listener names, whose gateways are addresses of clients.
fn router(listener: &Cursor<'_>, context: &Context<'_>) -> Option<Named<Route>> {
    let at = listener.filled(&tun_listener::ROUTER)?;
    let (name, _) = context.names.routers.resolve(&at)?;
    let table = context.tables.router(name)?;
    if !table.router.is_all_inline() {
        let message = format!("the router {} has rows outside of the configuration", quote(name));
        let help = "for a UDP tunnel write its `routes` into the configuration";
        return at.refuse(message, help);
    }
    for (route, row) in table.routes() {
        let gateway = route.gateway.as_str();
        if gateway.parse::<IpAddr>().is_err() {
            let message = format!("{} is no address of a client", quote(gateway));
            row.gateway
                .error(message)
                .help("in a UDP tunnel a gateway is an address that a client registers");
        }
    }
    Some(table.router.clone())
}

/// Refuses admissions that are not of addresses alone, which need no lookup.
pub(super) fn check_admissions(at: &Cursor<'_>, admissions: &[AdmissionSettings]) {
    for AdmissionSettings { matchers, .. } in admissions {
        let has_names = matchers.inline().any(|matcher| matches!(matcher, Matcher::Name(_)));
        if !matchers.is_all_inline() || has_names {
            at.error(format!("the admission {} is not one of addresses alone", quote(&matchers.name)))
                .help("for a UDP tunnel write its `matchers` into the configuration, as addresses and prefixes");
        }
    }
}

/// C02 and C03: this tunnel is not encrypted, whatever users it has.
fn exposure(addr: &str, at: &At<'_>, has_auther: bool) {
    const HELP: &str = "a routing tunnel encrypts: `rtun convert` makes one of this (docs/two-ways.md); or listen on a loopback address";
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
        at.coded(Code::C03, message).help(HELP);
    } else {
        let message = format!(
            "anybody who reaches {addr} may register: there is no auther, and this tunnel has no encryption"
        );
        let help = format!("name an `auther` in the handler; {HELP}");
        at.coded(Code::C02, message).help(help);
    }
}

/// Users that no client can be: a user's name is an address, and only 16 bytes of a passphrase are sent.
fn check_users(handler: &Cursor<'_>, authers: Option<&[Named<User>]>) {
    let at = [handler::AUTHER.any(), handler::AUTHERS.any(), handler::AUTH.any()];
    let at = at.iter().find_map(|field| handler.filled(field));
    let at = at.map_or_else(|| handler.at.clone(), |at| at.key());
    for auther in authers.into_iter().flatten() {
        access::refuse_plugin(auther, &at, "for a UDP tunnel ");
        for user in auther.inline() {
            let name = quote(&user.name);
            if user.name.parse::<IpAddr>().is_err() {
                let message = format!("no client can be the user {name}: it is no address");
                at.warning(message)
                    .help("in a UDP tunnel a user's name is the address that the client registers");
            }
            if let Err(error) = Passphrase::new(user.password.expose()) {
                let message = format!("the password of the user {name} is never right: {error}");
                at.error(message).help("choose one of at most 16 bytes");
            }
        }
    }
}
