//! How a host joins: its command line and its file, for a hub as it runs.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rtun_node::{Board, JoinNeeds, JoinQuery};
use serde_json::{Value, json};

use crate::request::Asked;

/// What stays as it is in a URL between single quotes of a shell.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Stands where the hub's name is not known.
const UNNAMED: &str = "HUB";

/// What the host that is asked about needs.
pub(crate) fn answer(asked: &Asked, board: &Board) -> Result<Value, String> {
    let needed = |name: &str, what: &str| {
        asked.text(name).ok_or_else(|| format!("`{name}` is missing: {what}"))
    };
    let query = JoinQuery {
        host: needed("host", "the name that the host reports")?,
        addresses: needed("addresses", "the addresses of the host's device")?,
        namespace: asked.parsed("namespace")?,
        service: asked.text("service"),
        transport: asked.text("transport"),
    };
    let hub = match asked.parameter("hub") {
        Some(name) if !is_host_part(name) => {
            return Err(format!("`{}` is no name or address of a hub", name.escape_debug()));
        }
        name => name.map(str::to_owned),
    };
    let needs = board.joining(&query)?;
    let certified = needs.listener.certificate.as_ref().and_then(|it| it.names.first().cloned());
    let hub = hub.or(certified).unwrap_or_else(|| UNNAMED.into());
    Ok(composed(&needs, &hub))
}

/// Whether this can stand before the port in an address.
fn is_host_part(name: &str) -> bool {
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '[' | ']');
    name.len() <= 255 && name.chars().all(is_plain)
}

fn composed(needs: &JoinNeeds, hub: &str) -> Value {
    let JoinNeeds { service, host, addresses, namespace, listener, needs_user, missing } = needs;
    let transport = listener.transport.as_str();
    let hub = match hub.contains(':') && !hub.starts_with('[') {
        true => format!("[{hub}]"),
        false => hub.to_owned(),
    };
    let address = format!("{hub}:{}", listener.address.port());
    let fingerprint = listener.certificate.as_ref().map(|it| it.fingerprint.as_str());
    let namespace = (!namespace.is_default()).then(|| namespace.to_string());
    let net = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let encoded = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
    let is_bare_grpc = transport == "grpc" && fingerprint.is_none();

    let parameters: Vec<String> = [
        fingerprint.map(|it| format!("fingerprint={it}")),
        namespace.as_ref().map(|it| format!("router.id={it}")),
        listener.path.as_ref().map(|it| format!("path={}", encoded(it))),
        is_bare_grpc.then(|| "grpc.insecure=true".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let query = match parameters.is_empty() {
        true => String::new(),
        false => format!("?{}", parameters.join("&")),
    };
    let user = if *needs_user { "USER:PASSWORD@" } else { "" };
    let scheme = if transport == "tcp" { "router".into() } else { format!("router+{transport}") };
    let command = format!(
        "rtun -L 'tun:///{}?net={net}' -F '{scheme}://{user}{address}{query}'",
        encoded(host)
    );

    let quoted = |text: &str| Value::from(text).to_string();
    let line = |present: bool, line: String| if present { line + "\n" } else { String::new() };
    let dialer: Vec<String> = [
        listener.path.as_ref().map(|it| format!("path: {}", quoted(it))),
        is_bare_grpc.then(|| "grpc.insecure: true".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let file = [
        "services:\n- name: host\n  handler: {type: tun, chain: hub}\n  listener:\n    type: tun\n"
            .into(),
        format!("    metadata: {{net: {}}}\n", quoted(&net)),
        format!("  forwarder:\n    nodes:\n    - {{name: host, addr: {}}}\n", quoted(host)),
        "chains:\n- name: hub\n  hops:\n  - name: hub\n    nodes:\n    - name: hub\n".into(),
        format!("      addr: {}\n      connector:\n        type: router\n", quoted(&address)),
        line(*needs_user, "        auth: {username: USER, password: PASSWORD}".into()),
        namespace.map_or(String::new(), |it| {
            format!("        metadata: {{router.id: {}}}\n", quoted(&it))
        }),
        format!("      dialer:\n        type: {transport}\n"),
        fingerprint
            .map_or(String::new(), |it| format!("        tls: {{fingerprint: {}}}\n", quoted(it))),
        line(!dialer.is_empty(), format!("        metadata: {{{}}}", dialer.join(", "))),
    ]
    .concat();

    let mut notes = Vec::new();
    if *needs_user {
        notes.push(
            "Write the user and the password of this host in the place of USER and PASSWORD.",
        );
    }
    if hub == UNNAMED {
        notes.push("Write the name or the address under which the host reaches the hub in the place of HUB.");
    }
    if fingerprint.is_none() {
        notes.push(
            "This way is neither encrypted nor proven: on networks that you do not trust have the hub listen with TLS.",
        );
    }
    json!({
        "service": service,
        "host": host,
        "namespace": needs.namespace.to_string(),
        "transport": transport,
        "address": address,
        "fingerprint": fingerprint,
        "command": command,
        "file": file,
        "missing": missing,
        "notes": notes,
    })
}
