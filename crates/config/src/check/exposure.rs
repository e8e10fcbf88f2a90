//! Hubs that more can use than should: open to the network, passwords in the clear, names for the taking.

use crate::{
    address,
    findings::Code,
    location::quote,
    normalise::{HubView, encrypted_form},
    report::At,
};
use rtun_settings::{ListenerSettings, Named, User};

/// C02, C03, C04 and C11 for one hub.
pub(super) fn check(hub: &HubView<'_>) {
    for (listener, at) in &hub.listeners {
        self::listener(hub, listener, at);
    }
    any_name(hub);
}

/// C02, C03 and C04: who can reach the address can join, or read passwords on their way.
fn listener(hub: &HubView<'_>, listener: &ListenerSettings, at: &At<'_>) {
    let addr = &listener.addr;
    let host = address::split_host_port(addr).map_or("", |(host, _)| host);
    if address::is_loopback(host) {
        return;
    }
    let addr = quote(addr);
    match (listener.stack.tls(), &hub.authers) {
        (None, None) => {
            let message =
                format!("anybody who reaches {addr} may join: there is neither TLS nor auth");
            at.coded(Code::C02, message).help(
                "name an `auther` in the handler and encrypt with `type: tls`, or listen on a loopback \
                 address",
            );
        }
        (None, Some(_)) => {
            let message =
                format!("passwords cross the network to {addr} readable: there is no TLS");
            let help = format!(
                "encrypt with {}, or listen where only a trusted network reaches it",
                encrypted_form(listener.stack.name())
            );
            at.coded(Code::C03, message).help(help);
        }
        (Some(tls), None) if tls.client_ca.is_none() && hub.ingress.is_none() => {
            let message = format!(
                "anybody who reaches {addr} may join under any name: there is neither auth nor an ingress"
            );
            at.coded(Code::C04, message).help(
                "name an `auther` in the handler, or give the listener's `tls` a `caFile` that signs the \
                 hosts' certificates",
            );
        }
        (Some(_), _) => {}
    }
}

/// C11: users who may take the name of any host, and with it the packets to it.
fn any_name(hub: &HubView<'_>) {
    let Some(authers) = hub.authers.as_ref().filter(|_| hub.ingress.is_none()) else { return };
    let free: Vec<String> = authers.iter().flat_map(unbound).collect();
    let Some(first) = free.first() else { return };
    let others = match free.len() {
        1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    let message = format!("{first}{others} may report any host name, and there is no ingress");
    let help =
        "list the `hosts` of each user in an auther, or say in an ingress which host may join what";
    hub.auth.coded(Code::C11, message).help(help);
}

/// The users who may report any name, as far as the configuration knows; of a plugin that is all.
fn unbound(auther: &Named<User>) -> Vec<String> {
    if auther.plugin().is_some() {
        return vec![format!("all users of {}", quote(&auther.name))];
    }
    let free = auther.inline().filter(|u| u.hosts.is_none() && !u.password.expose().is_empty());
    free.map(|user| quote(&user.name)).collect()
}
