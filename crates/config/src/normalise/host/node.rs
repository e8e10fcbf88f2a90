//! The nodes of a chain: hubs and the ways to them, proxies before them.

use rtun_core::NamespaceId;

use super::selector;
use crate::{
    address,
    coerce::Place,
    findings::{At, Code, Report, quote},
    normalise::{
        access, checked_type, listener,
        sockets::{self, Level},
        tls,
        transport_stack::{self, Side, Transport},
    },
    schema::{CONNECTORS, DIALERS},
    value::Cursor,
};
use rtun_settings::{
    DialTls, Endpoint, HubNode, Login, ProxyKind, ProxyNode, TransportStack, Verification,
};

/// Most dialers of one node.
const MAX_WAYS: usize = 8;

/// A hop whose nodes are read.
pub(super) struct Hop<'a> {
    pub(super) service: &'a Cursor<'a>,
    pub(super) at: &'a Cursor<'a>,
    /// Whether there is another hop before it.
    pub(super) behind_proxy: bool,
}

/// The hub at `at`; `None` after an error was reported.
pub(super) fn hub(at: &Cursor<'_>, hop: &Hop<'_>, report: &mut Report) -> Option<HubNode> {
    let addr = addr(at, "hub", report);
    let connector = connector(at, report);
    let ways = ways(at, addr.as_deref(), "hub", report);
    let (kind, connector) = connector?;
    if kind != "router" {
        let place = connector.get("type").map_or_else(|| At::from(&connector), |at| At::from(&at));
        report
            .error(place, format!("the chain ends in a proxy ({}), not in a hub", quote(&kind)))
            .help("add a hop behind it whose nodes have `connector: {type: router}`");
        return None;
    }
    let metadata = connector.get("metadata");
    let id_at = metadata.as_ref().and_then(|m| m.get("router.id"));
    let timeout_at = metadata.as_ref().and_then(|m| m.get("connectTimeout"));
    let namespace = match (report.some_text(id_at.as_ref()), &id_at) {
        (Some(text), Some(at)) => match text.parse::<NamespaceId>() {
            Ok(id) => Some(id),
            Err(error) => {
                report.error(at, format!("{} is {error}", quote(&text)));
                None
            }
        },
        _ => Some(NamespaceId::DEFAULT),
    };
    let auth = auth(&connector, report);
    let connect_timeout = timeout_at.and_then(|at| report.span(&at, Place::Metadata));
    let name = report.some_text(at.get("name").as_ref());
    let preference = selector::preference(at, report);
    let (sockets, proxy_protocol) = sockets(at, hop, report);
    let (addr, ways) = (addr?, ways?);
    for (way, at) in ways.iter().filter(|(way, _)| hop.behind_proxy && way.stack.is_on_udp()) {
        let message =
            format!("{} cannot go through a proxy: it is on UDP", quote(way.stack.name()));
        report.error(at.clone(), message).help("use `tls`, `wss` or another transport on TCP");
    }
    Some(HubNode {
        name: name.unwrap_or_else(|| addr.clone()),
        addr: ways.first().map_or(addr, |(way, _)| way.addr.clone()),
        endpoints: ways.into_iter().map(|(way, _)| way).collect(),
        namespace: namespace?,
        auth: auth?,
        connect_timeout: connect_timeout.filter(|t| !t.is_zero()),
        sockets,
        proxy_protocol,
        preference,
    })
}

/// The proxy at `at`; `None` after an error was reported.
pub(super) fn proxy(at: &Cursor<'_>, hop: &Hop<'_>, report: &mut Report) -> Option<ProxyNode> {
    let addr = addr(at, "proxy", report);
    let connector = connector(at, report);
    if let Some(ways) = at.filled("dialers") {
        report
            .error(ways.key(), "a proxy has one `dialer`: only to a hub there are several ways")
            .help("list several nodes in the hop");
        return None;
    }
    let ways = ways(at, addr.as_deref(), "proxy", report);
    let (kind, connector) = connector?;
    let protocol = match kind.as_str() {
        "http" => ProxyKind::Http,
        "socks5" | "socks" => ProxyKind::Socks5,
        _ => {
            let place = connector.get("type");
            let place = place.map_or_else(|| At::from(&connector), |at| At::from(&at));
            report
                .error(place, "a hub can only be the last hop: it leads to no other")
                .help("before it come proxies: `connector: {type: http}` or `socks5`");
            return None;
        }
    };
    let metadata = connector.get("metadata");
    let get = |key: &str| metadata.as_ref().and_then(|metadata| metadata.get(key));
    let timeout = get("timeout").and_then(|at| report.span(&at, Place::Metadata));
    let headers = match get("header").filter(|_| protocol == ProxyKind::Http) {
        Some(at) => transport_stack::headers(&at, report),
        None => Some(Vec::new()),
    };
    let auth = auth(&connector, report);
    let name = report.some_text(at.get("name").as_ref());
    let preference = selector::preference(at, report);
    let (sockets, proxy_protocol) = sockets(at, hop, report);
    let addr = addr?;
    let (Endpoint { stack, segment_max, .. }, place) = ways?.into_iter().next()?;
    if !matches!(stack, TransportStack::Tcp { ws: None, mux: None, .. }) {
        let message = format!("a proxy is not reached over {}", quote(stack.name()));
        report.error(place, message).help("write `type: tcp`, or `type: tls` for one with TLS");
        return None;
    }
    Some(ProxyNode {
        name: name.unwrap_or_else(|| addr.clone()),
        addr,
        protocol,
        auth: auth?,
        stack,
        segment_max,
        connect_timeout: timeout.filter(|t| !t.is_zero()),
        headers: headers?,
        sockets,
        proxy_protocol,
        preference,
    })
}

/// The connector of a node and its type; `None` after an error was reported.
fn connector<'a>(at: &Cursor<'a>, report: &mut Report) -> Option<(String, Cursor<'a>)> {
    let Some(connector) = at.get("connector") else {
        report.error(at, "the node has no connector").help(
            "add `connector: {type: router}` for a hub, `http` or `socks5` for a proxy before it",
        );
        return None;
    };
    let kind = checked_type(&connector, &CONNECTORS, "http", report)?;
    Some((kind, connector))
}

/// The outer `None` after an error was reported.
fn auth(connector: &Cursor<'_>, report: &mut Report) -> Option<Option<Login>> {
    match connector.filled("auth") {
        Some(auth) => access::credentials(&auth, report).map(Some),
        None => Some(None),
    }
}

fn sockets(
    at: &Cursor<'_>,
    hop: &Hop<'_>,
    report: &mut Report,
) -> (rtun_settings::SocketOptions, Option<rtun_settings::ProxyProtocol>) {
    let levels = [Level::hop_or_node(at), Level::hop_or_node(hop.at), Level::service(hop.service)];
    let options = sockets::options(&levels, report);
    (options, sockets::preamble(&levels[..2], report))
}

/// The ways to a node, at least one, and where their type is written; `None` after an error was reported.
fn ways(
    at: &Cursor<'_>,
    addr: Option<&str>,
    what: &str,
    report: &mut Report,
) -> Option<Vec<(Endpoint, At)>> {
    let several = at.filled("dialers");
    let dialers = match (&several, at.get("dialer")) {
        (None, None) => {
            let stack = TransportStack::tcp();
            let way = Endpoint { addr: addr?.to_owned(), stack, segment_max: None };
            return Some(vec![(way, At::from(at))]);
        }
        (None, Some(dialer)) => vec![dialer],
        (Some(ways), None) => ways.items(),
        (Some(ways), Some(_)) => {
            report
                .error(ways.key(), "the node has a `dialer` and `dialers`")
                .help("put all of them into `dialers`, the preferred one first");
            return None;
        }
    };
    if dialers.len() > MAX_WAYS {
        report.error(at, format!("a node has at most {MAX_WAYS} dialers"));
        return None;
    }
    let ways: Vec<_> = dialers.iter().map(|dialer| way(dialer, addr, what, report)).collect();
    let ways: Vec<_> = ways.into_iter().collect::<Option<_>>()?;
    weaker(&ways, report);
    for (i, (way, at)) in ways.iter().enumerate() {
        if ways[..i].iter().any(|(earlier, _)| earlier == way) {
            report.warning(at.clone(), "this way to the hub is the same as one before it");
        }
    }
    Some(ways)
}

/// C30: ways without TLS beside others that have it: whoever blocks those reads along.
fn weaker(ways: &[(Endpoint, At)], report: &mut Report) {
    let encrypted = ways.iter().find(|(way, _)| way.stack.tls().is_some());
    let Some((encrypted, _)) = encrypted else { return };
    for (way, at) in ways.iter().filter(|(way, _)| way.stack.tls().is_none()) {
        let (name, other) = (way.stack.name(), encrypted.stack.name());
        let message = format!(
            "{} does not encrypt: whoever blocks {} gets to read everything",
            quote(name),
            quote(other)
        );
        report
            .coded(Code::C30, at.clone(), message)
            .help("leave it out, unless nobody is on the way");
    }
}

fn way(
    dialer: &Cursor<'_>,
    node_addr: Option<&str>,
    what: &str,
    report: &mut Report,
) -> Option<(Endpoint, At)> {
    let name = checked_type(dialer, &DIALERS, "tcp", report)?;
    let place = dialer.get("type").map_or_else(|| At::from(dialer), |at| At::from(&at));
    let addr = match dialer.filled("addr") {
        Some(_) => addr(dialer, "hub", report),
        None => node_addr.map(str::to_owned),
    };
    let segment_max = sockets::segment_max(dialer, report);
    let transport = Transport { name: &name, side: Side::Dialer, at: dialer };
    if !transport.is_encrypted(report) {
        unencrypted(dialer, &name, report);
        let stack = transport.stack(None, report)?;
        return Some((Endpoint { addr: addr?, stack, segment_max }, place));
    }
    let tls = tls::dial(dialer, report);
    let stack = transport.stack(tls.clone(), report);
    listener::quic_versions(&name, tls.as_ref().map(|tls| tls.versions), dialer, report)?;
    let (tls, addr) = (tls?, addr?);
    unverified(&tls, dialer, &addr, what, report);
    Some((Endpoint { addr, stack: stack?, segment_max }, place))
}

/// C07: what is asked for of a certificate where there is none.
fn unencrypted(dialer: &Cursor<'_>, name: &str, report: &mut Report) {
    let Some(tls) = dialer.get("tls") else { return };
    for key in ["secure", "fingerprint", "caFile", "certFile"] {
        let Some(at) = tls.filled(key) else { continue };
        let unset = key == "secure" && report.boolean(&at) == Some(false);
        if !unset {
            let message = format!("`{key}` has no effect: {} does not encrypt", quote(name));
            let help = format!("write {} to encrypt", listener::encrypted_form(name));
            report.coded(Code::C07, at.key(), message).help(help);
        }
    }
}

/// C07: dialers that cannot tell who answers.
fn unverified(tls: &DialTls, dialer: &Cursor<'_>, addr: &str, what: &str, report: &mut Report) {
    if !tls.fingerprints.is_empty() {
        return;
    }
    let at = dialer.get("tls").and_then(|tls| tls.get("secure"));
    let at = at.or_else(|| dialer.get("type"));
    let at = at.as_ref().map_or_else(|| At::from(dialer), At::from);
    let message = match tls.verification {
        Verification::Full { .. } => return,
        Verification::Chain { .. } => format!(
            "the name in the certificate of {} is not verified: any other that the authority signed will do",
            quote(addr)
        ),
        Verification::Off => {
            format!("the certificate of the {what} {} is not verified", quote(addr))
        }
    };
    report.coded(Code::C07, at, message).help(match tls.verification {
        Verification::Chain { .. } => "add `secure: true` to the dialer's `tls`",
        _ => {
            "add `secure: true` to the dialer's `tls`, with `caFile` if no public authority signed it; \
             or `fingerprint`, which rtun's hubs log"
        }
    });
}

/// The `host:port` of something that is connected to; `None` after an error was reported.
fn addr(at: &Cursor<'_>, what: &str, report: &mut Report) -> Option<String> {
    const HELP: &str = "write for example hub.example:8443";
    let Some(addr) = at.filled("addr") else {
        report.error(at, format!("the node has no `addr`: where is the {what}?")).help(HELP);
        return None;
    };
    let text = report.text(&addr)?;
    let checked = match address::check(&text) {
        Ok(("", _)) => Err(address::AddressError::NoHost),
        Ok((_, 0)) => Err(address::AddressError::BadPort),
        other => other,
    };
    checked
        .map_err(|error| {
            report
                .error(&addr, format!("{} is no address of a {what}: {error}", quote(&text)))
                .help(HELP);
        })
        .ok()?;
    Some(text)
}
