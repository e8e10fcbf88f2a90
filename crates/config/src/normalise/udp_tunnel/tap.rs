//! An end of an Ethernet tunnel: server or client, its device, and what frames are sealed with.

use rtun_core::udp_tunnel::{CipherMethod, DatagramCipher, MacAddress};

use super::{
    client::{relay_of, servers, stays_here},
    server::{check_admissions, listen_address},
};
use crate::{
    address,
    findings::Code,
    location::quote,
    normalise::{
        Context, admissions, device,
        limiters::{self, LimitedTunnel},
        sockets,
    },
    report::At,
    schema::{auth, device_listener, handler, service, tap_handler, tap_listener},
    suggest,
    value::Cursor,
};
use rtun_settings::{ServiceKind, TapClientSettings, TapServerSettings, TapSettings};

/// The largest packet whose frame fits into a datagram, sealed and with two VLAN tags, in bytes.
const MAX_MTU: u16 = 65_437;

/// What GOST calls no cipher.
const DUMMY: &str = "dummy";

const HELP: &str = "give the handler a cipher and a password, at both ends, as \
                    `auth: {username: aes-256-gcm, password: ...}`, or tap://aes-256-gcm:PASSWORD@...";

/// The service at `at`, whose handler and listener are `tap`.
pub(in crate::normalise) fn read(at: &Cursor<'_>, context: &Context<'_>) -> Option<ServiceKind> {
    let handler = at.get(&service::HANDLER)?;
    let listener = at.get(&service::LISTENER)?;
    without_effect(at, &handler);
    if at.filled(&service::FORWARDER).is_some() {
        let relay = relay_of(at, &handler, context);
        let servers = servers(at, relay.is_some(), context);
        without_effect_on_client(at);
        let tap = settings(at, &handler, &listener);
        let is_safe = stays_here(&servers, relay.as_ref());
        exposure(&handler, &tap, (!is_safe).then_some(Exposed::Client));
        let sockets = sockets::of_service(at);
        let limits = limiters::of_tunnel(LimitedTunnel::Client, at, context);
        let client = TapClientSettings { servers, tap, sockets, relay, limits };
        return Some(ServiceKind::TapClient(client));
    }
    let tap = settings(at, &handler, &listener);
    if let Some(chain) = handler.filled(&handler::CHAIN) {
        chain.key().info("`chain` has no effect on a server: clients come to it");
    }
    if at.filled(&service::ADDR).is_none() {
        let help = "write `addr: :8421` for a server, or `forwarder: {nodes: [{addr: 'HOST:8421'}]}` for a client";
        return at
            .refuse("the end of an Ethernet tunnel has neither an address nor a server", help);
    }
    let (addr, addr_at) = listen_address(at)?;
    let admissions = admissions::of_service(at, &context.names, &context.admissions);
    check_admissions(at, &admissions);
    let exposed = (!is_loopback(&addr)).then_some(Exposed::Server(&addr, addr_at));
    exposure(&handler, &tap, exposed);
    let (so_mark, netns) = (sockets::so_mark_of(at), tap.device.netns.clone());
    let limits = limiters::of_tunnel(LimitedTunnel::Server, at, context);
    let server = TapServerSettings { addr, so_mark, netns, tap, admissions, limits };
    Some(ServiceKind::TapServer(server))
}

fn is_loopback(addr: &str) -> bool {
    address::split_host_port(addr).is_some_and(|(host, _)| address::is_loopback(host))
}

/// What belongs to other services.
fn without_effect(at: &Cursor<'_>, handler: &Cursor<'_>) {
    for field in [handler::AUTHER.any(), handler::AUTHERS.any()] {
        let Some(at) = handler.filled(&field) else { continue };
        at.key()
            .error(format!("`{}` has no effect: an Ethernet tunnel has no users", field.name()))
            .help("who has the cipher's password takes part: it is the handler's `auth`");
    }
    if let Some(retries) = handler.filled(&handler::RETRIES) {
        retries.key().info("`retries` has no effect on an Ethernet tunnel");
    }
    if let Some(listeners) = at.filled(&service::LISTENERS) {
        listeners
            .key()
            .error("`listeners` is for hubs: an Ethernet tunnel has one socket")
            .help("remove it");
    }
}

fn without_effect_on_client(at: &Cursor<'_>) {
    let addr = at.filled(&service::ADDR).filter(|addr| addr.read().as_deref() != Some(":0"));
    if let Some(addr) = addr {
        addr.key().info("`addr` has no effect on a client: it only sends to its server");
    }
    for field in [service::ADMISSION.any(), service::ADMISSIONS.any()] {
        let Some(at) = at.filled(&field) else { continue };
        at.key().info("an admission has no effect on a client: only its server is heard");
    }
}

/// Device, hardware address and cipher.
fn settings(at: &Cursor<'_>, handler: &Cursor<'_>, listener: &Cursor<'_>) -> TapSettings {
    let (mac, cipher) = (mac(listener), cipher(handler));
    let device = device::read(listener, sockets::netns_of(at));
    if device.mtu > MAX_MTU {
        let mtu = device.mtu;
        let message = format!("the MTU is {mtu}; a datagram carries at most {MAX_MTU} bytes");
        let help = "leave it out: 1420 bytes fit nearly everywhere";
        listener.place_of(&device_listener::MTU).error(message).help(help);
    }
    TapSettings { device, mac, cipher }
}

fn mac(listener: &Cursor<'_>) -> Option<MacAddress> {
    let at = listener.filled(&tap_listener::MAC)?;
    let text = at.read()?;
    let help =
        "write six pairs of hexadecimal digits of which the first is even, as 02:00:5e:10:00:01";
    match text.parse::<MacAddress>() {
        Ok(mac) if mac.is_station() => Some(mac),
        Ok(_) => at.refuse(format!("{} is no address of one device", quote(&text)), help),
        Err(_) => at.refuse(format!("{} is no hardware address", quote(&text)), help),
    }
}

/// As written; empty: there is to be none.
fn cipher_name(handler: &Cursor<'_>) -> String {
    let name = handler.object(&handler::AUTH).read(&auth::USERNAME).unwrap_or_default();
    if name.eq_ignore_ascii_case(DUMMY) { String::new() } else { name }
}

/// `None` without one, or after an error was reported.
fn cipher(handler: &Cursor<'_>) -> Option<DatagramCipher> {
    let auth = handler.filled(&handler::AUTH);
    let name = cipher_name(handler);
    let password = auth.as_ref().and_then(|auth| auth.read(&auth::PASSWORD)).unwrap_or_default();
    let key = handler.filled(&tap_handler::KEY);
    if name.is_empty() {
        let message = "a key without a cipher seals nothing";
        return key?.refuse(message, "name one: `auth: {username: aes-256-gcm}`");
    }
    let auth = auth?;
    let method = match name.parse::<CipherMethod>() {
        Ok(method) => method,
        Err(error) => {
            let all = ["aes-128-gcm", "aes-256-gcm", "chacha20-ietf-poly1305"];
            let help = suggest::did_you_mean(&name, all);
            let help = help.unwrap_or_else(|| "choose the same at both ends".to_owned());
            let message = format!("{} is no cipher: {error}", quote(&name));
            return auth.place_of(&auth::USERNAME).refuse(message, help);
        }
    };
    let Some(key) = key else {
        if password.is_empty() {
            let message = "a cipher without a password seals nothing: everybody knows its key";
            return auth.refuse(message, HELP);
        }
        return Some(DatagramCipher::from_password(method, &password));
    };
    if !password.is_empty() {
        auth.place_of(&auth::PASSWORD).info("the password has no effect: the `key` counts");
    }
    DatagramCipher::from_key(method, key.read()?.as_bytes()).map_or_else(
        |error| key.refuse(error.to_string(), "it is taken as it is written, byte by byte"),
        Some,
    )
}

/// Who can be reached from elsewhere.
enum Exposed<'a> {
    /// Where it listens, and where that is written.
    Server(&'a str, At<'a>),
    Client,
}

/// C02 and C03: frames that leave the machine as they are. With a cipher, what it does not do.
fn exposure(handler: &Cursor<'_>, tap: &TapSettings, exposed: Option<Exposed<'_>>) {
    if tap.cipher.is_some() {
        let message = "the cipher has no protection from replay where the other end is GOST: frames that somebody has recorded \
                       can be sent again, and GOST takes them. rtun takes each once, of the last 131,072";
        handler.place_of(&handler::AUTH).info(message);
        return;
    }
    // What is wrong with a cipher has been said.
    if handler.filled(&tap_handler::KEY).is_some() || !cipher_name(handler).is_empty() {
        return;
    }
    match exposed {
        Some(Exposed::Server(addr, at)) => {
            let addr = quote(addr);
            let message = format!(
                "anybody who reaches {addr} may send frames, and get those of others: there is no cipher, so that all is clear text"
            );
            at.coded(Code::C02, message).help(HELP);
        }
        Some(Exposed::Client) => {
            let message =
                "frames cross the network readable, and anybody can forge some: there is no cipher";
            handler.coded(Code::C03, message).help(HELP);
        }
        None => {}
    }
}
