//! One `-F` URL: a hop with one node for each address.

use super::{
    map,
    objects::{self, Objects},
    parts::{self, Params, entry, text as text_of},
    text,
};
use crate::{
    address,
    findings::Report,
    location::Position,
    schema::{CONNECTORS, DIALERS},
    value::{Data, Member, Value},
};

const PLACES: [&str; 4] = ["hop.", "node.", "connector.", "dialer."];

/// Most addresses of one URL.
const MAX_NODES: usize = 256;

/// The hop number `number`; `None` after an error was reported.
pub(super) fn hop(
    flag: &str,
    url: &str,
    number: usize,
    objects: &mut Objects,
    report: &mut Report,
) -> Option<Value> {
    let parts = parts::parse(flag, url, report)?;
    let place = parts.whole;
    let (connector, dialer) = parts::halves(&parts, &CONNECTORS, &DIALERS, report)?;
    let mut params = Params(parts.params);
    let query_auth = params.take_auth(report).ok()?;
    let auth = parts.user.or(query_auth);
    auth.iter().for_each(|auth| auth.warn_of_password(report));
    let auth = auth.map(|auth| auth.value());
    let selector = params.take_selector();
    let links = objects.of_hop(&mut params);
    let own = ["interface", "so_mark", "proxyProtocol"]
        .into_iter()
        .filter_map(|key| params.take(&[key]).map(|param| entry(key, param.value)))
        .collect::<Vec<_>>();
    let tls = tls(&mut params);
    let fallback = params.take(&["fallback"]);
    let metadata = |prefix: &str| {
        let prefixes: Vec<&str> = PLACES.into_iter().filter(|p| *p != prefix).collect();
        params.metadata(prefix, &prefixes)
    };

    let connector_entry = || {
        let mut entries = vec![entry("type", connector.value())];
        entries.extend(auth.clone().map(|auth| entry("auth", auth)));
        entries.extend(filled("metadata", metadata("connector."), place));
        map(entries, place)
    };
    let dialer_of = |kind: &Value, addr: &str, with_tls: bool| {
        let mut tls = if with_tls { tls.clone() } else { Vec::new() };
        if with_tls && tls.iter().all(|e| e.key != "serverName") {
            let host = address::split_host_port(addr).map_or(addr, |(host, _)| host);
            let host = address::without_zone(host);
            let name =
                (!host.is_empty()).then(|| entry("serverName", text(host, parts.host.place)));
            tls.extend(name);
        }
        let mut entries = vec![entry("type", kind.clone())];
        entries.extend(filled("tls", tls, place));
        entries.extend(filled("metadata", metadata("dialer."), place));
        map(entries, place)
    };
    // `fallback=wss,tls`: the same with these dialers, where the first does not get through.
    let fallback = fallback
        .map(|param| objects::split(text_of(&param.value).unwrap_or(""), param.value.place));
    let fallback: &[Value] = match fallback.as_ref().map(|list| &list.data) {
        Some(Data::List(list)) => list,
        _ => &[],
    };
    let dialers = |addr: &str| {
        let first = dialer_of(&dialer.value(), addr, true);
        if fallback.is_empty() {
            return entry("dialer", first);
        }
        let encrypted = |kind: &Value| {
            text_of(kind).is_none_or(|kind| !matches!(kind, "tcp" | "ws" | "mtcp" | "mws" | "h2c"))
        };
        let others = fallback.iter().map(|kind| dialer_of(kind, addr, encrypted(kind)));
        let list = std::iter::once(first).chain(others).collect();
        entry("dialers", Value::new(place, Data::List(list)))
    };
    let addrs = parts.host.text.split(',').filter(|addr| !addr.is_empty());
    let nodes = addrs.enumerate().map(|(i, addr)| {
        let mut entries = vec![
            entry("name", text(&format!("node-{i}"), parts.host.place)),
            entry("addr", text(addr, parts.host.place)),
            entry("connector", connector_entry()),
            dialers(addr),
        ];
        entries.extend(filled("metadata", metadata("node."), place));
        map(entries, place)
    });
    let nodes: Vec<Value> = nodes.take(MAX_NODES + 1).collect();
    if nodes.len() > MAX_NODES {
        report.error(parts.host.place, format!("a URL has at most {MAX_NODES} addresses"));
        return None;
    }
    if nodes.is_empty() {
        return report.refuse(
            place,
            format!("{flag} names no address"),
            "write for example router://hub.example:8443",
        );
    }

    let mut entries = vec![entry("name", text(&format!("hop-{number}"), place))];
    entries.extend(selector.map(|selector| entry("selector", selector)));
    entries.extend(links);
    entries.push(entry("nodes", Value::new(place, Data::List(nodes))));
    let mut hop_params = metadata("hop.");
    hop_params.extend(own);
    entries.extend(filled("metadata", hop_params, place));
    Some(map(entries, place))
}

fn tls(params: &mut Params) -> Vec<Member> {
    let mut tls = params.take_tls_files();
    tls.extend(params.take_tls(&[
        ("secure", ["tls.secure", "secure"]),
        ("serverName", ["tls.serverName", "serverName"]),
        ("fingerprint", ["tls.fingerprint", "fingerprint"]),
    ]));
    tls
}

fn filled(key: &str, entries: Vec<Member>, place: Position) -> Option<Member> {
    (!entries.is_empty()).then(|| entry(key, map(entries, place)))
}
