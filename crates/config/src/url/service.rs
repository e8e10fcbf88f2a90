//! One `-L` URL: one service, or one for each port of a range.

use super::{
    CHAIN, field,
    objects::Objects,
    params::Params,
    parts::{self, UrlPiece},
    split,
};
use crate::{
    address,
    location::quote,
    report::Report,
    schema::{HANDLERS, LISTENERS},
    value::Value,
};

const PLACES: [&str; 3] = ["service.", "handler.", "listener."];

/// Adds the services of one argument to `objects`; `None` after an error was reported.
pub(super) fn add(flag: &str, url: &str, objects: &mut Objects, report: &Report) -> Option<()> {
    let parts = parts::parse(flag, url, report)?;
    let place = parts.whole;
    let (mut handler, listener) = parts::halves(&parts, &HANDLERS, &LISTENERS, report)?;
    let addrs = expand(&parts.host, report)?;
    let targets = targets(&parts.path, report)?;
    if let (Some(_), "router") = (targets.first(), handler.text.as_str()) {
        return report.at(parts.path.place).refuse(
            "a path would turn this hub into a port forwarding, as in GOST",
            "a host's name stands in its own URL, -L tun:///NAME?net=ADDRESS/PREFIX",
        );
    }
    if !targets.is_empty() && handler.text != "relay" {
        handler.text = forwarder_type(&listener.text).to_owned();
    }

    let mut params = Params(parts.params);
    let auth = params.take_auth(parts.user, report).ok()?;
    let tls = tls(&mut params);
    if let Some(dns) = params.0.iter_mut().find(|p| p.key.eq_ignore_ascii_case("dns")) {
        dns.value = split(&dns.value);
    }
    // What goes to the service's metadata only.
    let own = params.take_each(&["interface", "so_mark", "proxyProtocol", "netns", "netns.out"]);
    let selector = params.take_selector();
    let metadata = |prefix: &str| params.metadata(prefix, &PLACES);
    let service_params: Vec<_> = metadata("service.").into_iter().chain(own).collect();
    let chain = (objects.count("chains") > 0).then(|| Value::text(CHAIN, place));
    // GOST's reverse listeners connect, and those of SSH ask for the user.
    let is_reverse = matches!(listener.text.as_str(), "rtcp" | "rudp" | "runix");
    let asks_itself = matches!(listener.text.as_str(), "ssh" | "sshd");

    for (i, addr) in addrs.iter().enumerate() {
        let mut handler_params = Params(metadata("handler."));
        let retries = handler_params.take(&["retries"]);
        let links = objects.of_service(&mut handler_params);
        let handler = [
            field("type", handler.value()),
            field("retries", retries),
            field("chain", chain.clone().filter(|_| !is_reverse)),
            field("auth", auth.clone().filter(|_| !asks_itself)),
            field("metadata", Value::filled(handler_params.0, place)),
        ];
        let listener = [
            field("type", listener.value()),
            field("chain", chain.clone().filter(|_| is_reverse)),
            field("auth", auth.clone().filter(|_| asks_itself)),
            field("tls", tls.clone()),
            field("metadata", Value::filled(metadata("listener."), place)),
        ];
        let targets = match targets.len() {
            1 => targets.clone(),
            _ if addrs.len() == 1 => targets.clone(),
            _ => targets.get(i).cloned().into_iter().collect(),
        };
        let addr = Value::text(addr, parts.host.place);
        let name = format!("service-{}", objects.count("services"));
        let service = [
            field("name", Value::text(&name, place)),
            field("addr", Some(addr).filter(|addr| !addr.is_unset())),
            field("handler", Value::map(handler, place)),
            field("listener", Value::map(listener, place)),
            field("forwarder", forwarder(targets, selector.clone())),
            field("metadata", Value::filled(service_params.clone(), place)),
        ];
        let fields = service.into_iter().chain(links.into_iter().map(Some));
        objects.push("services", Value::map(fields, place));
    }
    Some(())
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

fn expand(piece: &UrlPiece, report: &Report) -> Option<Vec<String>> {
    let addrs = address::expand(&piece.text).map_err(|error| {
        let message = format!("{} is no address: {error}", quote(&piece.text));
        report.at(piece.place).error(message);
    });
    addrs.ok()
}

/// The comma list after the slash, port ranges expanded, as nodes of a forwarder.
fn targets(path: &UrlPiece, report: &Report) -> Option<Vec<Value>> {
    let mut targets = Vec::new();
    let trimmed = path.text.trim_matches('/');
    for target in trimmed.split(',').filter(|_| !trimmed.is_empty()) {
        let piece = UrlPiece { text: escaped(target), place: path.place };
        for addr in expand(&piece, report)? {
            let name = field("name", Value::text(&format!("target-{}", targets.len()), path.place));
            let addr = field("addr", Value::text(&addr, path.place));
            targets.push(Value::map([name, addr], path.place));
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
    let mut tls = params.take_tls(&["rejectUnknownSNI", "bindNames", "serverNames"]);
    if let Some(names) = tls.iter_mut().find(|field| field.key == "serverNames") {
        names.value = split(&names.value);
    }
    let place = tls.first()?.place;
    Value::filled(tls, place)
}

fn forwarder(targets: Vec<Value>, selector: Option<Value>) -> Option<Value> {
    let place = targets.first()?.place;
    let fields = [field("nodes", Value::list(targets, place)), field("selector", selector)];
    Some(Value::map(fields, place))
}
