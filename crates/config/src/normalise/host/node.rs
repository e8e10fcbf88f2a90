//! The nodes of a chain: hubs and the endpoints they are reached at, proxies before them.

use rtun_core::NamespaceId;

use super::selector;
use crate::{
    address::{self, AddressError},
    findings::{Code, Report},
    location::{At, quote},
    normalise::{
        access, checked_type, sockets, tls,
        transport_stack::{self, Side, StackReader, encrypted_form},
    },
    schema::{
        CONNECTORS, DIALERS, Field, OneText, Setting, connector, dialer, dialer_tls,
        http_connector, more_dialer, node, proxy_connector, router_connector, tls_files,
    },
    value::Cursor,
};
use rtun_settings::{
    DialTls, Endpoint, HubNode, Login, ProxyKind, ProxyNode, TransportStack, Verification,
};

/// Most dialers of one node.
const MAX_DIALERS: usize = 8;

/// A hop whose nodes are read.
pub(super) struct ChainHop<'a> {
    pub(super) service: &'a Cursor<'a>,
    pub(super) at: &'a Cursor<'a>,
    /// Whether there is another hop before it.
    pub(super) after_proxy: bool,
}

/// The hub at `at`; `None` after an error was reported.
pub(super) fn hub(at: &Cursor<'_>, hop: &ChainHop<'_>, report: &mut Report) -> Option<HubNode> {
    let addr = addr(at, &node::ADDR, "hub", report);
    let connector = connector(at, report);
    let endpoints = endpoints(at, addr.as_deref(), "hub", report);
    let (kind, connector) = connector?;
    if kind != "router" {
        let message = format!("the chain ends in a proxy ({}), not in a hub", quote(&kind));
        let help = "add a hop after it whose nodes have `connector: {type: router}`";
        return report.refuse(connector.place_of(&connector::TYPE), message, help);
    }
    let namespace = namespace(&connector, report);
    let auth = auth(&connector, report);
    let name = at.read(&node::NAME);
    let preference = selector::preference(at, report);
    let sockets = sockets::options(at, hop.at, hop.service, report);
    let proxy_protocol = sockets::preamble(at, hop.at, report);
    let (addr, endpoints) = (addr?, endpoints?);
    for (endpoint, at) in endpoints.iter().filter(|(e, _)| hop.after_proxy && e.stack.is_on_udp()) {
        let name = quote(endpoint.stack.name());
        let message = format!("{name} cannot go through a proxy: it is on UDP");
        report.error(at, message).help("use `tls`, `wss` or another transport on TCP");
    }
    Some(HubNode {
        name: name.unwrap_or_else(|| addr.clone()),
        addr: endpoints.first().map_or(addr, |(endpoint, _)| endpoint.addr.clone()),
        endpoints: endpoints.into_iter().map(|(endpoint, _)| endpoint).collect(),
        namespace: namespace?,
        auth: auth?,
        connect_timeout: connector.read(&router_connector::CONNECT_TIMEOUT),
        sockets,
        proxy_protocol,
        preference,
    })
}

fn namespace(connector: &Cursor<'_>, report: &mut Report) -> Option<NamespaceId> {
    let field = &router_connector::ROUTER_ID;
    let Some(text) = connector.read(field) else { return Some(NamespaceId::DEFAULT) };
    let id = text.parse::<NamespaceId>();
    id.map_err(|error| {
        drop(report.error(connector.place_of(field), format!("{} is {error}", quote(&text))));
    })
    .ok()
}

/// The proxy at `at`; `None` after an error was reported.
pub(super) fn proxy(at: &Cursor<'_>, hop: &ChainHop<'_>, report: &mut Report) -> Option<ProxyNode> {
    let addr = addr(at, &node::ADDR, "proxy", report);
    let connector = connector(at, report);
    if let Some(dialers) = at.filled(&node::DIALERS) {
        let message = "a proxy has one `dialer`: only to a hub there are several ways";
        return report.refuse(dialers.key(), message, "list several nodes in the hop");
    }
    let endpoints = endpoints(at, addr.as_deref(), "proxy", report);
    let (kind, connector) = connector?;
    let protocol = match kind.as_str() {
        "http" => ProxyKind::Http,
        "socks5" | "socks" => ProxyKind::Socks5,
        _ => {
            let message = "a hub can only be the last hop: it leads to no other";
            let help = "before it come proxies: `connector: {type: http}` or `socks5`";
            return report.refuse(connector.place_of(&connector::TYPE), message, help);
        }
    };
    let headers = connector.get(&http_connector::HEADER).filter(|_| protocol == ProxyKind::Http);
    let headers = match headers {
        Some(at) => transport_stack::headers(&at, report),
        None => Some(Vec::new()),
    };
    let auth = auth(&connector, report);
    let name = at.read(&node::NAME);
    let preference = selector::preference(at, report);
    let sockets = sockets::options(at, hop.at, hop.service, report);
    let proxy_protocol = sockets::preamble(at, hop.at, report);
    let addr = addr?;
    let (Endpoint { stack, segment_max, .. }, place) = endpoints?.into_iter().next()?;
    if !matches!(stack, TransportStack::Tcp { ws: None, mux: None, .. }) {
        let message = format!("a proxy is not reached over {}", quote(stack.name()));
        let help = "write `type: tcp`, or `type: tls` for one with TLS";
        return report.refuse(place, message, help);
    }
    Some(ProxyNode {
        name: name.unwrap_or_else(|| addr.clone()),
        addr,
        protocol,
        auth: auth?,
        stack,
        segment_max,
        connect_timeout: connector.read(&proxy_connector::TIMEOUT),
        headers: headers?,
        sockets,
        proxy_protocol,
        preference,
    })
}

/// The connector of a node and its type; `None` after an error was reported.
fn connector<'a>(at: &Cursor<'a>, report: &mut Report) -> Option<(String, Cursor<'a>)> {
    let Some(connector) = at.get(&node::CONNECTOR) else {
        let help =
            "add `connector: {type: router}` for a hub, `http` or `socks5` for a proxy before it";
        return report.refuse(at, "the node has no connector", help);
    };
    let kind = checked_type(&connector, &connector::TYPE, &CONNECTORS, report)?;
    Some((kind, connector.cursor()))
}

/// The outer `None` after an error was reported.
fn auth(connector: &Cursor<'_>, report: &mut Report) -> Option<Option<Login>> {
    match connector.filled(&connector::AUTH) {
        Some(auth) => access::credentials(&auth, report).map(Some),
        None => Some(None),
    }
}

/// How a node is reached, at least one, and where the type is written; `None` after an error was reported.
fn endpoints(
    at: &Cursor<'_>,
    addr: Option<&str>,
    what: &str,
    report: &mut Report,
) -> Option<Vec<(Endpoint, At)>> {
    let dialers = match (at.filled(&node::DIALERS), at.get(&node::DIALER)) {
        (None, None) => {
            let stack = TransportStack::tcp();
            let endpoint = Endpoint { addr: addr?.to_owned(), stack, segment_max: None };
            return Some(vec![(endpoint, At::from(at))]);
        }
        (None, Some(dialer)) => vec![dialer.cursor()],
        (Some(dialers), None) => dialers.items(),
        (Some(dialers), Some(_)) => {
            let message = "the node has a `dialer` and `dialers`";
            let help = "put all of them into `dialers`, the preferred one first";
            return report.refuse(dialers.key(), message, help);
        }
    };
    if dialers.len() > MAX_DIALERS {
        report.error(at, format!("a node has at most {MAX_DIALERS} dialers"));
        return None;
    }
    let read: Vec<_> = dialers.iter().map(|at| endpoint(at, addr, what, report)).collect();
    let endpoints: Vec<_> = read.into_iter().collect::<Option<_>>()?;
    weaker(&endpoints, report);
    for (i, (endpoint, at)) in endpoints.iter().enumerate() {
        if endpoints[..i].iter().any(|(earlier, _)| earlier == endpoint) {
            report.warning(at, "this endpoint is the same as one before it");
        }
    }
    Some(endpoints)
}

/// C30: dialers without TLS next to others that have it: who blocks those can read everything.
fn weaker(endpoints: &[(Endpoint, At)], report: &mut Report) {
    let encrypted = endpoints.iter().find(|(endpoint, _)| endpoint.stack.tls().is_some());
    let Some((encrypted, _)) = encrypted else { return };
    for (endpoint, at) in endpoints.iter().filter(|(e, _)| e.stack.tls().is_none()) {
        let (name, other) = (quote(endpoint.stack.name()), quote(encrypted.stack.name()));
        let message =
            format!("{name} does not encrypt: an attacker who blocks {other} can read everything");
        report.coded(Code::C30, at, message).help("leave it out, unless nobody is on the path");
    }
}

fn endpoint(
    dialer: &Cursor<'_>,
    node_addr: Option<&str>,
    what: &str,
    report: &mut Report,
) -> Option<(Endpoint, At)> {
    let name = checked_type(dialer, &dialer::TYPE, &DIALERS, report)?;
    let place = dialer.place_of(&dialer::TYPE);
    let addr = match dialer.filled(&more_dialer::ADDR) {
        Some(_) => addr(dialer, &more_dialer::ADDR, "hub", report),
        None => node_addr.map(str::to_owned),
    };
    let segment_max = sockets::segment_max(dialer, report);
    let reader = StackReader { name: &name, side: Side::Dialer, at: dialer };
    let tls_at = dialer.get(&dialer::TLS);
    if !reader.is_encrypted() {
        if let Some(tls) = &tls_at {
            unencrypted(tls, &name, report);
        }
        let stack = reader.stack(None, report)?;
        return Some((Endpoint { addr: addr?, stack, segment_max }, place));
    }
    let tls = tls::dial(tls_at.as_deref(), report);
    let stack = reader.stack(tls.clone(), report);
    let (tls, addr) = (tls?, addr?);
    reader.check_versions(tls.versions, tls_at.as_deref(), report)?;
    let secure = tls_at.and_then(|tls| Some(At::from(&tls.get(&dialer_tls::SECURE)?)));
    unverified(&tls, secure.unwrap_or_else(|| place.clone()), &addr, what, report);
    Some((Endpoint { addr, stack: stack?, segment_max }, place))
}

/// C07: what is asked for of a certificate where there is none.
fn unencrypted(tls: &Cursor<'_>, name: &str, report: &mut Report) {
    let secure = tls.get(&dialer_tls::SECURE).filter(|at| at.read() == Some(true));
    let keys = [
        secure.map(Setting::cursor),
        tls.filled(&dialer_tls::FINGERPRINT).map(Setting::cursor),
        tls.filled(&tls_files::CA_FILE).map(Setting::cursor),
        tls.filled(&tls_files::CERT_FILE).map(Setting::cursor),
    ];
    for at in keys.into_iter().flatten() {
        let key = at.path.rsplit('.').next().unwrap_or_default();
        let message = format!("{} has no effect: {} does not encrypt", quote(key), quote(name));
        let help = format!("write {} to encrypt", encrypted_form(name));
        report.coded(Code::C07, at.key(), message).help(help);
    }
}

/// C07: dialers that cannot tell who answers.
fn unverified(tls: &DialTls, at: At, addr: &str, what: &str, report: &mut Report) {
    if !tls.fingerprints.is_empty() {
        return;
    }
    let addr = quote(addr);
    let (message, help) = match tls.verification {
        Verification::Full { .. } => return,
        Verification::Chain { .. } => (
            format!(
                "the name in the certificate of {addr} is not verified: any other that the authority signed is accepted"
            ),
            "add `secure: true` to the dialer's `tls`",
        ),
        Verification::Off => (
            format!("the certificate of the {what} {addr} is not verified"),
            "add `secure: true` to the dialer's `tls`, with `caFile` if no public authority signed it; \
             or `fingerprint`, which rtun's hubs log",
        ),
    };
    report.coded(Code::C07, at, message).help(help);
}

/// The `host:port` of something that is connected to; `None` after an error was reported.
fn addr(
    at: &Cursor<'_>,
    field: &Field<OneText>,
    what: &str,
    report: &mut Report,
) -> Option<String> {
    const HELP: &str = "write for example hub.example:8443";
    let Some(addr) = at.filled(field) else {
        let message = format!("the node has no `addr`: where is the {what}?");
        return report.refuse(at, message, HELP);
    };
    let text = addr.read()?;
    let checked = match address::check(&text) {
        Ok(("", _)) => Err(AddressError::NoHost),
        Ok((_, 0)) => Err(AddressError::BadPort),
        other => other,
    };
    if let Err(error) = checked {
        let message = format!("{} is no address of a {what}: {error}", quote(&text));
        return report.refuse(&addr, message, HELP);
    }
    Some(text)
}
