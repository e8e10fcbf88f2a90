//! One `-F` URL: a hop with one node for each address.

use super::{
    field,
    objects::Objects,
    params::Params,
    parts::{self, UrlPiece},
    pieces,
};
use crate::{
    address,
    location::Position,
    report::Report,
    schema::{CONNECTORS, DIALERS},
    value::{Member, Value},
};

const PLACES: [&str; 4] = ["hop.", "node.", "connector.", "dialer."];

/// Most addresses of one URL.
const MAX_NODES: usize = 256;

/// Dialers without `tls`.
const UNENCRYPTED: [&str; 5] = ["tcp", "ws", "mtcp", "mws", "h2c"];

/// The hop number `number`; `None` after an error was reported.
pub(super) fn hop(
    flag: &str,
    url: &str,
    number: usize,
    objects: &mut Objects,
    report: &Report,
) -> Option<Value> {
    let parts = parts::parse(flag, url, report)?;
    let place = parts.whole;
    let (connector, dialer) = parts::halves(&parts, &CONNECTORS, &DIALERS, report)?;
    let mut params = Params(parts.params);
    let auth = params.take_auth(parts.user, report).ok()?;
    let selector = params.take_selector();
    let links = objects.of_hop(&mut params);
    let own = params.take_each(&["interface", "so_mark", "proxyProtocol"]);
    let tls = params.take_tls(&["secure", "serverName", "fingerprint"]);
    let fallback = params.take(&["fallback"]);
    let metadata = |prefix: &str| params.metadata(prefix, &PLACES);

    let connector = Value::map(
        [
            field("type", connector.value()),
            field("auth", auth),
            field("metadata", Value::filled(metadata("connector."), place)),
        ],
        place,
    );
    let dialers = Dialers {
        kind: dialer,
        fallback: fallback.as_ref(),
        tls,
        metadata: metadata("dialer."),
        place,
        host: parts.host.place,
    };
    let addrs = parts.host.text.split(',').filter(|addr| !addr.is_empty());
    let nodes = addrs.enumerate().map(|(i, addr)| {
        let fields = [
            field("name", Value::text(&format!("node-{i}"), parts.host.place)),
            field("addr", Value::text(addr, parts.host.place)),
            field("connector", connector.clone()),
            dialers.field(addr),
            field("metadata", Value::filled(metadata("node."), place)),
        ];
        Value::map(fields, place)
    });
    let nodes: Vec<Value> = nodes.take(MAX_NODES + 1).collect();
    if nodes.len() > MAX_NODES {
        report.at(parts.host.place).error(format!("a URL has at most {MAX_NODES} addresses"));
        return None;
    }
    if nodes.is_empty() {
        let help = "write for example router://hub.example:8443";
        return report.at(place).refuse(format!("{flag} names no address"), help);
    }
    let metadata = metadata("hop.").into_iter().chain(own).collect();
    let fields = [
        field("name", Value::text(&format!("hop-{number}"), place)),
        field("selector", selector),
        field("nodes", Value::list(nodes, place)),
        field("metadata", Value::filled(metadata, place)),
    ];
    Some(Value::map(fields.into_iter().chain(links.into_iter().map(Some)), place))
}

/// What the dialers of all nodes have in common.
struct Dialers<'a> {
    kind: UrlPiece,
    /// `fallback=wss,tls`: the same with these dialers, where the first does not get through.
    fallback: Option<&'a Value>,
    tls: Vec<Member>,
    metadata: Vec<Member>,
    place: Position,
    /// Where the addresses stand.
    host: Position,
}

impl Dialers<'_> {
    /// The `dialer` or `dialers` of the node with the address `addr`.
    fn field(&self, addr: &str) -> Option<Member> {
        let first = self.dialer(self.kind.value(), addr, true);
        let Some(fallback) = self.fallback.filter(|list| pieces(list).next().is_some()) else {
            return field("dialer", first);
        };
        let others = pieces(fallback).map(|kind| {
            let encrypted = !UNENCRYPTED.contains(&kind);
            self.dialer(Value::text(kind, fallback.place), addr, encrypted)
        });
        field("dialers", Value::list(std::iter::once(first).chain(others).collect(), self.place))
    }

    fn dialer(&self, kind: Value, addr: &str, with_tls: bool) -> Value {
        let mut tls = if with_tls { self.tls.clone() } else { Vec::new() };
        if with_tls && tls.iter().all(|e| e.key != "serverName") {
            let host = address::split_host_port(addr).map_or(addr, |(host, _)| host);
            let host = Value::text(address::without_zone(host), self.host);
            tls.extend(field("serverName", Some(host).filter(|host| !host.is_unset())));
        }
        let fields = [
            field("type", kind),
            field("tls", Value::filled(tls, self.place)),
            field("metadata", Value::filled(self.metadata.clone(), self.place)),
        ];
        Value::map(fields, self.place)
    }
}
