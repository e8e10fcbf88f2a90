//! The nodes of a chain: hubs or relays and the endpoints they are reached at, proxies before them.

use rtun_core::NamespaceId;

use crate::{
    address::{self, AddressError},
    findings::Code,
    location::quote,
    normalise::{
        access, checked_type, selector, sockets, tls,
        transport_stack::{self, Side, StackReader, encrypted_form},
    },
    report::At,
    schema::{
        CONNECTORS, DIALERS, Field, OneText, Setting, connector, dialer, dialer_tls,
        http_connector, more_dialer, node, proxy_connector, relay_connector, router_connector,
        socks4_connector, socks5_connector, tls_files,
    },
    value::Cursor,
};
use rtun_settings::{
    DialTls, Endpoint, HubNode, Login, ProbeKind, ProbeSettings, ProxyKind, ProxyNode,
    TransportStack, Verification,
};

/// Most dialers of one node.
const MAX_DIALERS: usize = 8;

/// A hop whose nodes are read.
pub(super) struct ChainHop<'a, 'r> {
    pub(super) service: &'a Cursor<'a>,
    pub(super) at: &'a Cursor<'r>,
    /// The name of its chain.
    pub(super) chain: &'a str,
    /// Whether there is another hop before it.
    pub(super) after_proxy: bool,
}

/// The hub at `at`; `None` after it was reported that it is none.
pub(super) fn hub(at: &Cursor<'_>, hop: &ChainHop<'_, '_>) -> Option<HubNode> {
    last(at, hop, "hub", "router")
}

/// The relay at `at`, which has no namespace; `None` after it was reported that it is none.
pub(super) fn relay(at: &Cursor<'_>, hop: &ChainHop<'_, '_>) -> Option<HubNode> {
    last(at, hop, "relay", "relay")
}

/// The SOCKS5 proxy at `at` in the place of a relay; `None` after it was reported that it is none.
pub(super) fn socks5_relay(at: &Cursor<'_>, hop: &ChainHop<'_, '_>) -> Option<HubNode> {
    last(at, hop, "relay", "socks5")
}

/// Whether the node is a SOCKS5 proxy.
pub(super) fn is_socks5(at: &Cursor<'_>) -> bool {
    let kind = at.get(&node::CONNECTOR).and_then(|connector| connector.read(&connector::TYPE));
    matches!(kind.as_deref(), Some("socks5" | "socks"))
}

/// A node of the last hop: a `what`, whose connector is of type `wanted`.
fn last(at: &Cursor<'_>, hop: &ChainHop<'_, '_>, what: &str, wanted: &str) -> Option<HubNode> {
    let addr = addr(at, &node::ADDR, what);
    let endpoints = endpoints(at, addr.as_deref(), what);
    let (kind, connector) = connector(at)?;
    let is_wanted = kind == wanted || wanted == "socks5" && kind == "socks";
    if !is_wanted {
        let end = match kind.as_str() {
            "router" => "hub",
            "relay" => "relay",
            _ => "proxy",
        };
        let message = format!("the chain ends in a {end} ({}), not in a {what}", quote(&kind));
        let help = match end {
            "proxy" => {
                format!("add a hop after it whose nodes have `connector: {{type: {wanted}}}`")
            }
            _ => format!("write `connector: {{type: {wanted}}}`, or another chain"),
        };
        return connector.place_of(&connector::TYPE).refuse(message, help);
    }
    if wanted == "socks5" {
        own_encryption(&connector);
        own_datagrams(&connector);
    }
    let namespace = match wanted {
        "router" => namespace(&connector),
        _ => NamespaceId::DEFAULT,
    };
    for (endpoint, at) in endpoints.iter().filter(|(e, _)| hop.after_proxy && e.stack.is_on_udp()) {
        through_proxy(&endpoint.stack, at);
    }
    let endpoints: Vec<Endpoint> = endpoints.into_iter().map(|(endpoint, _)| endpoint).collect();
    let addr = addr.unwrap_or_default();
    let preference = selector::preference(at, &addr);
    if let (Some(ProbeSettings { kind: ProbeKind::Http(_), .. }), Some(first)) =
        (&preference.probe, endpoints.first())
        && !matches!(first.stack, TransportStack::Tcp { .. })
    {
        at.place_of(&node::PROBE)
            .error(format!("{} carries no HTTP probe", quote(first.stack.name())))
            .help("write `type: tcp`, which connects to the node");
    }
    Some(HubNode {
        name: at.read(&node::NAME).unwrap_or_else(|| addr.clone()),
        chain: hop.chain.to_owned(),
        addr: endpoints.first().map_or(addr, |endpoint| endpoint.addr.clone()),
        endpoints,
        namespace,
        auth: auth(&connector),
        connect_timeout: connector.read(&router_connector::CONNECT_TIMEOUT),
        sockets: sockets::options(at, hop.at, hop.service),
        proxy_protocol: sockets::preamble(at, hop.at),
        preference,
    })
}

/// Refuses a transport on UDP after a proxy.
fn through_proxy(stack: &TransportStack<DialTls>, at: &At<'_>) {
    let message = format!("{} cannot go through a proxy: it is on UDP", quote(stack.name()));
    at.error(message).help("use `tls`, `wss` or another transport on TCP");
}

fn namespace(connector: &Cursor<'_>) -> NamespaceId {
    let Some(at) = connector.get(&router_connector::ROUTER_ID) else { return NamespaceId::DEFAULT };
    let Some(text) = at.read() else { return NamespaceId::DEFAULT };
    text.parse().unwrap_or_else(|error| {
        at.error(format!("{} is {error}", quote(&text)));
        NamespaceId::DEFAULT
    })
}

/// The proxy at `at`; `None` after it was reported that it is none.
pub(super) fn proxy(at: &Cursor<'_>, hop: &ChainHop<'_, '_>) -> Option<ProxyNode> {
    let addr = addr(at, &node::ADDR, "proxy");
    if let Some(dialers) = at.filled(&node::DIALERS) {
        let message = "a proxy has one `dialer`: only to a hub there are several ways";
        return dialers.key().refuse(message, "list several nodes in the hop");
    }
    let endpoints = endpoints(at, addr.as_deref(), "proxy");
    let (kind, connector) = connector(at)?;
    let protocol = match kind.as_str() {
        "http" => ProxyKind::Http,
        "socks4" | "socks4a" => {
            ProxyKind::Socks4 { names: !connector.or_default(&socks4_connector::DISABLE_4A) }
        }
        "socks5" | "socks" => ProxyKind::Socks5,
        "relay" => {
            ProxyKind::Relay { answers_at_once: connector.or_default(&relay_connector::NODELAY) }
        }
        _ => {
            let message = "a hub can only be the last hop: it leads to no other";
            let help = "before it come proxies: `connector: {type: http}`, `socks5` or `relay`";
            return connector.place_of(&connector::TYPE).refuse(message, help);
        }
    };
    if protocol == ProxyKind::Socks5 {
        own_encryption(&connector);
        if let Some(at) = connector.filled(&socks5_connector::RELAY) {
            at.key().info("`relay` has no effect: no datagrams pass here");
        }
    }
    let headers = connector.get(&http_connector::HEADER).filter(|_| protocol == ProxyKind::Http);
    let headers = headers.map(|at| transport_stack::headers(&at)).unwrap_or_default();
    let auth = auth(&connector);
    let is_socks4 = matches!(protocol, ProxyKind::Socks4 { .. });
    if auth.as_ref().is_some_and(|auth| is_socks4 && !auth.password.expose().is_empty()) {
        let message = "the password is not sent: SOCKS 4 has none, only a user";
        connector.place_of(&connector::AUTH).warning(message).help("use `socks5` where it counts");
    }
    let preference = selector::preference(at, addr.as_deref().unwrap_or_default());
    if preference.probe.is_some() {
        at.place_of(&node::PROBE)
            .warning("`probe` has no effect: only the nodes of the last hop are probed");
    }
    let sockets = sockets::options(at, hop.at, hop.service);
    let proxy_protocol = sockets::preamble(at, hop.at);
    let (Endpoint { addr, stack, segment_max }, place) = endpoints.into_iter().next()?;
    if hop.after_proxy && stack.is_on_udp() {
        through_proxy(&stack, &place);
    }
    let connect_timeout = match protocol {
        ProxyKind::Relay { .. } => connector.read(&relay_connector::CONNECT_TIMEOUT),
        _ => connector.read(&proxy_connector::TIMEOUT),
    };
    Some(ProxyNode {
        name: at.read(&node::NAME).unwrap_or_else(|| addr.clone()),
        addr,
        protocol,
        auth,
        stack,
        segment_max,
        connect_timeout,
        headers,
        sockets,
        proxy_protocol,
        preference,
    })
}

/// Datagrams next to a SOCKS5 proxy's connection, which many proxies have, are not what its connection carries.
fn own_datagrams(connector: &Cursor<'_>) {
    let Some(at) = connector.filled(&socks5_connector::RELAY) else { return };
    if at.read().is_some_and(|relay| relay == "udp") {
        at.error("datagrams next to the connection of a SOCKS5 proxy are not supported")
            .help("leave `relay` out: datagrams pass on the connection, as GOST's proxies take them (`udp: true` there)");
    }
}

fn own_encryption(connector: &Cursor<'_>) {
    let tls = connector.child_named("tls").filter(|at| !at.value.is_unset());
    if let Some(tls) = tls {
        tls.key()
            .error(
                "SOCKS5's own encryption is not supported: the connection would not be encrypted",
            )
            .help("write `type: tls` in the dialer if the proxy takes that");
    }
}

/// The connector of a node and its type; `None` after an error was reported.
fn connector<'a>(at: &Cursor<'a>) -> Option<(String, Cursor<'a>)> {
    let Some(connector) = at.get(&node::CONNECTOR) else {
        let help = "add `connector: {type: router}` for a hub, `http`, `socks5` or `relay` for a proxy before it";
        return at.refuse("the node has no connector", help);
    };
    let kind = checked_type(&connector, &connector::TYPE, &CONNECTORS)?;
    Some((kind, connector.cursor()))
}

fn auth(connector: &Cursor<'_>) -> Option<Login> {
    connector
        .filled(&connector::AUTH)
        .and_then(|auth| access::credentials(&auth, "add `username:`, or a `file:` with it"))
}

/// How a node is reached, and where each type is written; at least one unless an error was reported.
fn endpoints<'a>(at: &Cursor<'a>, addr: Option<&str>, what: &str) -> Vec<(Endpoint, At<'a>)> {
    let dialers = match at.filled(&node::DIALERS) {
        None => vec![at.object(&node::DIALER)],
        Some(dialers) => {
            if at.get(&node::DIALER).is_some() {
                let help = "put all of them into `dialers`, the preferred one first";
                dialers.key().error("the node has a `dialer` and `dialers`").help(help);
            }
            dialers.items()
        }
    };
    if dialers.len() > MAX_DIALERS {
        at.error(format!("a node has at most {MAX_DIALERS} dialers"));
    }
    let read = dialers.iter().take(MAX_DIALERS).filter_map(|at| endpoint(at, addr, what));
    let endpoints: Vec<_> = read.collect();
    if endpoints.len() < dialers.len() {
        // How those that are missing compare is not known.
        return endpoints;
    }
    weaker(&endpoints);
    for (i, (endpoint, at)) in endpoints.iter().enumerate() {
        if endpoints[..i].iter().any(|(earlier, _)| earlier == endpoint) {
            at.warning("this endpoint is the same as one before it");
        }
    }
    endpoints
}

/// C30: dialers without TLS next to others that have it: who blocks those can read everything.
fn weaker(endpoints: &[(Endpoint, At<'_>)]) {
    let encrypted = endpoints.iter().find(|(endpoint, _)| endpoint.stack.tls().is_some());
    let Some((encrypted, _)) = encrypted else { return };
    for (endpoint, at) in endpoints.iter().filter(|(e, _)| e.stack.tls().is_none()) {
        let (name, other) = (quote(endpoint.stack.name()), quote(encrypted.stack.name()));
        let message =
            format!("{name} does not encrypt: an attacker who blocks {other} can read everything");
        at.coded(Code::C30, message).help("leave it out, unless nobody is on the path");
    }
}

fn endpoint<'a>(
    dialer: &Cursor<'a>,
    node_addr: Option<&str>,
    what: &str,
) -> Option<(Endpoint, At<'a>)> {
    let name = checked_type(dialer, &dialer::TYPE, &DIALERS)?;
    let place = dialer.place_of(&dialer::TYPE);
    let addr = match dialer.filled(&more_dialer::ADDR) {
        Some(_) => addr(dialer, &more_dialer::ADDR, "hub"),
        None => node_addr.map(str::to_owned),
    };
    let segment_max = sockets::segment_max(dialer);
    let reader = StackReader { name: &name, side: Side::Dialer, at: dialer };
    let tls_at = dialer.object(&dialer::TLS);
    if !reader.is_encrypted() {
        unencrypted(&tls_at, &name);
        let stack = reader.stack(None)?;
        return Some((Endpoint { addr: addr?, stack, segment_max }, place));
    }
    let tls = tls::dial(&tls_at);
    reader.check_versions(tls.versions, &tls_at);
    let stack = reader.stack(Some(tls.clone()))?;
    let addr = addr?;
    let secure = tls_at.get(&dialer_tls::SECURE);
    unverified(&tls, secure.as_ref().map_or(&place, |secure| &secure.at), &addr, what);
    Some((Endpoint { addr, stack, segment_max }, place))
}

/// C07: what is asked for of a certificate where there is none.
fn unencrypted(tls: &Cursor<'_>, name: &str) {
    let secure = tls.get(&dialer_tls::SECURE).filter(|at| at.read() == Some(true));
    let others =
        [dialer_tls::FINGERPRINT.any(), tls_files::CA_FILE.any(), tls_files::CERT_FILE.any()];
    let others = others.iter().filter_map(|field| tls.filled(field));
    let keys = secure.map(Setting::cursor).into_iter().chain(others.map(Setting::cursor));
    for at in keys {
        let key = at.path.rsplit('.').next().unwrap_or_default();
        let message = format!("{} has no effect: {} does not encrypt", quote(key), quote(name));
        let help = format!("write {} to encrypt", encrypted_form(name));
        at.key().coded(Code::C07, message).help(help);
    }
}

/// C07: dialers that cannot tell who answers.
fn unverified(tls: &DialTls, at: &At<'_>, addr: &str, what: &str) {
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
    at.coded(Code::C07, message).help(help);
}

/// The `host:port` of something that is connected to; `None` after an error was reported.
fn addr(at: &Cursor<'_>, field: &Field<OneText>, what: &str) -> Option<String> {
    const HELP: &str = "write for example hub.example:8443";
    let missing = format!("the node has no `addr`: where is the {what}?");
    let (text, text_at) = at.required(field, &missing, HELP)?;
    let checked = match address::check(&text) {
        Ok((_, 0)) => Err(AddressError::BadPort),
        Ok(("", port)) => return Some(format!("127.0.0.1:{port}")),
        other => other,
    };
    if let Err(error) = checked {
        let message = format!("{} is no address of a {what}: {error}", quote(&text));
        return text_at.refuse(message, HELP);
    }
    Some(text)
}
