//! An end of an Ethernet tunnel: server or client, its device, and what frames are sealed with.

use rtun_core::udp_tunnel::{CipherMethod, DatagramCipher, MacAddress};

use super::{
    client::servers,
    server::{check_admissions, listen_address},
};
use crate::{
    address,
    findings::{Code, Report},
    location::{At, quote},
    normalise::{Context, admissions, device, sockets},
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
pub(in crate::normalise) fn read(
    at: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<ServiceKind> {
    let handler = at.get(&service::HANDLER)?;
    without_effect(at, &handler, report);
    let is_client = at.filled(&service::FORWARDER).is_some();
    if is_client {
        let servers = servers(at, context, report);
        without_effect_on_client(at, report);
        let tap = settings(at, &handler, report)?;
        let servers = servers?;
        let is_local = servers.iter().all(|server| is_loopback(server));
        exposure(&handler, &tap, (!is_local).then_some(Exposed::Client), report);
        let sockets = sockets::of_service(at, report);
        return Some(ServiceKind::TapClient(TapClientSettings { servers, tap, sockets }));
    }
    let address = listen_address(at, report);
    if at.filled(&service::ADDR).is_none() {
        let help = "write `addr: :8421` for a server, or `forwarder: {nodes: [{addr: 'HOST:8421'}]}` for a client";
        report
            .error(at, "the end of an Ethernet tunnel has neither an address nor a server")
            .help(help);
    }
    let tap = settings(at, &handler, report)?;
    let (addr, addr_at) = address?;
    let admissions = admissions::of_service(at, &context.names, &context.admissions, report);
    check_admissions(at, &admissions, report);
    let exposed = (!is_loopback(&addr)).then_some(Exposed::Server(&addr, addr_at));
    exposure(&handler, &tap, exposed, report);
    let so_mark = sockets::so_mark_of(at, report);
    let netns = tap.device.netns.clone();
    Some(ServiceKind::TapServer(TapServerSettings { addr, so_mark, netns, tap, admissions }))
}

fn is_loopback(addr: &str) -> bool {
    address::split_host_port(addr).is_some_and(|(host, _)| address::is_loopback(host))
}

/// What belongs to other services.
fn without_effect(at: &Cursor<'_>, handler: &Cursor<'_>, report: &mut Report) {
    for key in [handler::AUTHER.name(), handler::AUTHERS.name()] {
        let Some(at) = handler.child_named(key).filter(|at| !at.value.is_unset()) else { continue };
        report
            .error(at.key(), format!("`{key}` has no effect: an Ethernet tunnel has no users"))
            .help("who has the cipher's password takes part: it is the handler's `auth`");
    }
    if let Some(chain) = handler.filled(&handler::CHAIN) {
        report
            .error(chain.key(), "an Ethernet tunnel through a chain is not supported")
            .help("leave the chain out: a client sends to its server itself");
    }
    if let Some(retries) = handler.filled(&handler::RETRIES) {
        report.info(retries.key(), "`retries` has no effect on an Ethernet tunnel");
    }
    if let Some(listeners) = at.filled(&service::LISTENERS) {
        report
            .error(listeners.key(), "`listeners` is for hubs: an Ethernet tunnel has one socket")
            .help("remove it");
    }
}

fn without_effect_on_client(at: &Cursor<'_>, report: &mut Report) {
    let addr = at.filled(&service::ADDR);
    if let Some(addr) = addr.filter(|addr| addr.read().as_deref() != Some(":0")) {
        report.info(addr.key(), "`addr` has no effect on a client: it only sends to its server");
    }
    for key in [service::ADMISSION.name(), service::ADMISSIONS.name()] {
        let Some(at) = at.child_named(key).filter(|at| !at.value.is_unset()) else { continue };
        report.info(at.key(), "an admission has no effect on a client: only its server is heard");
    }
}

/// Device, hardware address and cipher; `None` after an error was reported.
fn settings(at: &Cursor<'_>, handler: &Cursor<'_>, report: &mut Report) -> Option<TapSettings> {
    let listener = at.get(&service::LISTENER)?;
    let (mac, cipher) = (mac(&listener, report), cipher(handler, report));
    let device = device::read(&listener, sockets::netns_of(at, report), report)?;
    if device.mtu > MAX_MTU {
        let mtu = device.mtu;
        let message = format!("the MTU is {mtu}; a datagram carries at most {MAX_MTU} bytes");
        let help = "leave it out: 1420 bytes fit nearly everywhere";
        return report.refuse(listener.place_of(&device_listener::MTU), message, help);
    }
    Some(TapSettings { device, mac: mac?, cipher: cipher? })
}

/// The outer `None` after an error was reported.
fn mac(listener: &Cursor<'_>, report: &mut Report) -> Option<Option<MacAddress>> {
    let Some(text) = listener.read(&tap_listener::MAC) else { return Some(None) };
    let place = listener.place_of(&tap_listener::MAC);
    let help =
        "write six pairs of hexadecimal digits of which the first is even, as 02:00:5e:10:00:01";
    match text.parse::<MacAddress>() {
        Ok(mac) if mac.is_station() => Some(Some(mac)),
        Ok(_) => {
            report.refuse(place, format!("{} is no address of one device", quote(&text)), help)
        }
        Err(_) => report.refuse(place, format!("{} is no hardware address", quote(&text)), help),
    }
}

/// The outer `None` after an error was reported.
fn cipher(handler: &Cursor<'_>, report: &mut Report) -> Option<Option<DatagramCipher>> {
    let auth = handler.filled(&handler::AUTH);
    let name = auth.as_ref().and_then(|auth| auth.read(&auth::USERNAME)).unwrap_or_default();
    let password = auth.as_ref().and_then(|auth| auth.read(&auth::PASSWORD)).unwrap_or_default();
    let key = handler.filled(&tap_handler::KEY);
    if name.is_empty() || name.eq_ignore_ascii_case(DUMMY) {
        let Some(key) = key else { return Some(None) };
        let message = "a key without a cipher seals nothing";
        return report.refuse(&key, message, "name one: `auth: {username: aes-256-gcm}`");
    }
    let auth = auth?;
    let method = match name.parse::<CipherMethod>() {
        Ok(method) => method,
        Err(error) => {
            let all = ["aes-128-gcm", "aes-256-gcm", "chacha20-ietf-poly1305"];
            let help = suggest::did_you_mean(&name, all);
            let help = help.unwrap_or_else(|| "choose the same at both ends".to_owned());
            let message = format!("{} is no cipher: {error}", quote(&name));
            return report.refuse(auth.place_of(&auth::USERNAME), message, help);
        }
    };
    let Some(key) = key else {
        if password.is_empty() {
            let message = "a cipher without a password seals nothing: everybody knows its key";
            return report.refuse(&auth, message, HELP);
        }
        return Some(Some(DatagramCipher::from_password(method, &password)));
    };
    if !password.is_empty() {
        report.info(auth.place_of(&auth::PASSWORD), "the password has no effect: the `key` counts");
    }
    match DatagramCipher::from_key(method, key.read()?.as_bytes()) {
        Ok(cipher) => Some(Some(cipher)),
        Err(error) => {
            report.refuse(&key, error.to_string(), "it is taken as it is written, byte by byte")
        }
    }
}

/// Who can be reached from elsewhere.
enum Exposed<'a> {
    /// Where it listens, and where that is written.
    Server(&'a str, At),
    Client,
}

/// C02 and C03: frames that leave the machine as they are. With a cipher, what it does not do.
fn exposure(
    handler: &Cursor<'_>,
    tap: &TapSettings,
    exposed: Option<Exposed<'_>>,
    report: &mut Report,
) {
    if tap.cipher.is_some() {
        let message = "the cipher has no protection from replay where the other end is GOST: frames that somebody has recorded \
                       can be sent again, and GOST takes them. rtun takes each once, of the last 131,072";
        report.info(handler.place_of(&handler::AUTH), message);
        return;
    }
    match exposed {
        Some(Exposed::Server(addr, at)) => {
            let addr = quote(addr);
            let message = format!(
                "anybody who reaches {addr} may send frames, and get those of others: there is no cipher, so that all is clear text"
            );
            report.coded(Code::C02, at, message).help(HELP);
        }
        Some(Exposed::Client) => {
            let message =
                "frames cross the network readable, and anybody can forge some: there is no cipher";
            report.coded(Code::C03, handler, message).help(HELP);
        }
        None => {}
    }
}
