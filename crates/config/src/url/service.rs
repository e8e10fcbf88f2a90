//! One `-L` URL: one service, or one for each port of a range.

use super::{
    CHAIN, map,
    objects::{self, Objects},
    parts::{self, Param, Params, UrlPiece, entry, text as text_of},
    text,
};
use crate::{
    address,
    findings::Report,
    location::{Position, quote},
    schema::{HANDLERS, LISTENERS},
    value::{Data, Member, Value},
};

/// A service without its name and its links.
pub(super) struct UrlService {
    whole: Position,
    addr: Value,
    handler: Value,
    listener: Value,
    auth: Option<Value>,
    tls: Option<Value>,
    targets: Vec<Value>,
    selector: Option<Value>,
    params: Vec<Member>,
    handler_params: Vec<Member>,
    listener_params: Vec<Member>,
}

/// The services of one argument; none after an error was reported.
pub(super) fn services(flag: &str, url: &str, report: &mut Report) -> Vec<UrlService> {
    read(flag, url, report).unwrap_or_default()
}

fn read(flag: &str, url: &str, report: &mut Report) -> Option<Vec<UrlService>> {
    let parts = parts::parse(flag, url, report)?;
    let (mut handler, listener) = parts::halves(&parts, &HANDLERS, &LISTENERS, report)?;
    let addrs = expand(&parts.host, report)?;
    let targets = targets(&parts.path, report)?;
    if let (Some(_), "router") = (targets.first(), handler.text.as_str()) {
        return report.refuse(
            parts.path.place,
            "a path would turn this hub into a port forwarding, as in GOST",
            "a host's name stands in its own URL, -L tun:///NAME?net=ADDRESS/PREFIX",
        );
    }
    if !targets.is_empty() && handler.text != "relay" {
        handler.text = forwarder_type(&listener.text).to_owned();
    }

    let mut params = Params(parts.params);
    let query_auth = params.take_auth(report).ok()?;
    let auth = parts.user.or(query_auth);
    auth.iter().for_each(|auth| auth.warn_of_password(report));
    let auth = auth.map(|auth| auth.value());
    let tls = tls(&mut params);
    if let Some(dns) = params.0.iter_mut().find(|p| p.key.text.eq_ignore_ascii_case("dns")) {
        let list = objects::split(text_of(&dns.value).unwrap_or(""), dns.value.place);
        dns.value = list;
    }
    let own = service_only(&mut params);
    let selector = params.take_selector();
    let metadata = |prefix: &str| {
        let mut prefixes = vec!["service.", "handler.", "listener."];
        prefixes.retain(|p| *p != prefix);
        params.metadata(prefix, &prefixes)
    };
    let mut service_params = metadata("service.");
    service_params.extend(own);

    let only = addrs.len() == 1;
    let service = |(i, addr): (usize, &String)| UrlService {
        whole: parts.whole,
        addr: text(addr, parts.host.place),
        handler: handler.value(),
        listener: listener.value(),
        auth: auth.clone(),
        tls: tls.clone(),
        targets: match targets.len() {
            _ if only => targets.clone(),
            1 => targets.clone(),
            _ => targets.get(i).cloned().into_iter().collect(),
        },
        selector: selector.clone(),
        params: service_params.clone(),
        handler_params: metadata("handler."),
        listener_params: metadata("listener."),
    };
    Some(addrs.iter().enumerate().map(service).collect())
}

/// The handler of a service with targets, which do not go to a `relay`.
fn forwarder_type(listener: &str) -> &str {
    match listener {
        "tcp" | "udp" | "rtcp" | "rudp" | "tun" | "tap" | "dns" | "unix" | "runix" | "serial" => {
            listener
        }
        _ => "forward",
    }
}

fn expand(piece: &UrlPiece, report: &mut Report) -> Option<Vec<String>> {
    address::expand(&piece.text)
        .map_err(|error| {
            let message = format!("{} is no address: {error}", quote(&piece.text));
            report.error(piece.place, message);
        })
        .ok()
}

/// The comma list after the slash, port ranges expanded, as nodes of a forwarder.
fn targets(path: &UrlPiece, report: &mut Report) -> Option<Vec<Value>> {
    let mut targets = Vec::new();
    let trimmed = path.text.trim_matches('/');
    for target in trimmed.split(',').filter(|_| !trimmed.is_empty()) {
        let piece = UrlPiece { text: escaped(target), place: path.place };
        for addr in expand(&piece, report)? {
            let name = text(&format!("target-{}", targets.len()), path.place);
            let addr = text(&addr, path.place);
            targets.push(map(vec![entry("name", name), entry("addr", addr)], path.place));
        }
    }
    Some(targets)
}

/// Percent-codes for what a path cannot hold as it is; codes that are there already stay.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@[]%/".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped += &format!("%{byte:02X}");
        }
    }
    escaped
}

/// The listener's `tls`.
fn tls(params: &mut Params) -> Option<Value> {
    let mut tls = params.take_tls_files();
    tls.extend(params.take_tls(&[
        ("rejectUnknownSNI", ["tls.rejectUnknownSNI", "rejectUnknownSNI"]),
        ("bindNames", ["tls.bindNames", "bindNames"]),
    ]));
    if let Some(names) = params.take(&["tls.serverNames", "serverNames"]) {
        let list = objects::split(text_of(&names.value).unwrap_or(""), names.value.place);
        tls.push(entry("serverNames", list));
    }
    let place = tls.first()?.place;
    Some(map(tls, place))
}

/// Parameters that go to the service's metadata only.
fn service_only(params: &mut Params) -> Vec<Member> {
    let taken = |key: &'static str, param: Param| entry(key, param.value);
    ["interface", "so_mark", "proxyProtocol", "netns", "netns.out"]
        .into_iter()
        .filter_map(|key| params.take(&[key]).map(|param| taken(key, param)))
        .collect()
}

impl UrlService {
    /// Adds the service number `number` to `objects`.
    pub(super) fn build(self, number: usize, chained: bool, objects: &mut Objects) {
        let place = self.whole;
        let mut handler_params = Params(self.handler_params.into_iter().map(Param::from).collect());
        let retries = handler_params.take(&["retries"]);
        let links = objects.of_service(&mut handler_params);
        let handler_params = handler_params.0.into_iter().map(Member::from).collect();

        let reverse = matches!(text_of(&self.listener), Some("rtcp" | "rudp" | "runix"));
        let link = || chained.then(|| entry("chain", text(CHAIN, place)));
        let mut handler = vec![entry("type", self.handler)];
        handler.extend(retries.map(|param| entry("retries", param.value)));
        handler.extend(link().filter(|_| !reverse));
        let on_listener = matches!(text_of(&self.listener), Some("ssh" | "sshd"));
        handler.extend(self.auth.clone().filter(|_| !on_listener).map(|auth| entry("auth", auth)));
        handler.extend(metadata(handler_params, place));
        let mut listener = vec![entry("type", self.listener)];
        listener.extend(link().filter(|_| reverse));
        listener.extend(self.auth.filter(|_| on_listener).map(|auth| entry("auth", auth)));
        listener.extend(self.tls.map(|tls| entry("tls", tls)));
        listener.extend(metadata(self.listener_params, place));

        let mut service = vec![entry("name", text(&format!("service-{number}"), place))];
        service.extend((!self.addr.is_unset()).then(|| entry("addr", self.addr)));
        service.extend(links);
        service.push(entry("handler", map(handler, place)));
        service.push(entry("listener", map(listener, place)));
        service.extend(forwarder(self.targets, self.selector));
        service.extend(metadata(self.params, place));
        objects.push("services", service, place);
    }
}

fn forwarder(targets: Vec<Value>, selector: Option<Value>) -> Option<Member> {
    let place = targets.first()?.place;
    let mut entries = vec![entry("nodes", Value::new(place, Data::List(targets)))];
    entries.extend(selector.map(|selector| entry("selector", selector)));
    Some(entry("forwarder", map(entries, place)))
}

fn metadata(entries: Vec<Member>, place: Position) -> Option<Member> {
    (!entries.is_empty()).then(|| entry("metadata", map(entries, place)))
}
