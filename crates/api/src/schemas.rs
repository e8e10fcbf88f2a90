//! What answers hold, as JSON Schema. Objects of rtun's own paths always have all their members, some of them `null`.

use rtun_node::{Transport, watch::SERIES_NAMES};
use serde_json::{Map, Value, json};

/// The reference to a schema of [`schemas`].
pub(crate) fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// All schemas, by name.
pub(crate) fn schemas() -> Value {
    let all = envelope().into_iter().chain(views());
    all.map(|(name, schema)| (name.to_owned(), schema)).collect::<Map<_, _>>().into()
}

/// GOST's envelope, and errors of both forms.
fn envelope() -> [(&'static str, Value); 6] {
    let findings = || json!({"type": "array", "items": reference("Finding")});
    let finding = json!({
        "type": "object",
        "required": ["severity", "message"],
        "properties": {
            "severity": {"type": "string", "enum": ["info", "warning", "error"]},
            "message": text(), "code": text(), "help": text(), "key": text(), "file": text(),
            "line": count(), "column": count(),
        },
    });
    let done = json!({
        "type": "object",
        "required": ["msg"],
        "properties": {"msg": {"const": "OK"}, "findings": findings()},
    });
    let gost_error = json!({
        "type": "object",
        "required": ["code", "msg"],
        "properties": {"code": {"type": "integer"}, "msg": text(), "findings": findings()},
    });
    let named = || {
        json!({
            "type": "object",
            "required": ["name"],
            "properties": {"name": text()},
            "additionalProperties": true,
        })
    };
    let objects = json!({"type": ["array", "null"], "items": named()});
    let list = object([("count", count()), ("list", objects)]);
    [
        ("Finding", finding),
        ("Done", done),
        ("GostError", gost_error),
        ("Error", object([("error", text())])),
        ("ObjectList", object([("data", list)])),
        ("Object", object([("data", json!({"anyOf": [named(), {"type": "null"}]}))])),
    ]
}

/// What runs.
fn views() -> Vec<(&'static str, Value)> {
    let rates = || [("in", reference("Rate")), ("out", reference("Rate"))];
    let [input, output] = rates();
    let service = object([("name", text()), ("kind", text()), ("summary", text())]);
    let overview = object([
        ("version", text()),
        ("pid", count()),
        ("started", count()),
        ("uptime", number()),
        ("services", list(service)),
        ("hosts", count()),
        ("namespaces", count()),
        ("problems", count()),
        ("rate", object([input, output, ("drops", number())])),
        ("role", json!({"enum": ["admin", "reader"]})),
    ]);
    let limit = object([
        ("limiter", text()),
        ("scope", text()),
        ("in", maybe("integer")),
        ("out", maybe("integer")),
    ]);
    let host = object([
        ("service", text()),
        ("namespace", text()),
        ("host", text()),
        ("peer", text()),
        ("transport", json!({"enum": Transport::ALL.map(Transport::as_str)})),
        ("connected", number()),
        ("carries", flag()),
        ("software", maybe("string")),
        ("mtu", maybe("integer")),
        ("gso_frames", flag()),
        ("datagrams", flag()),
        ("in", reference("Amounts")),
        ("out", reference("Amounts")),
        ("rate", object(rates())),
        ("drops", counts()),
        ("queued", reference("Amounts")),
        ("round_trip", maybe("number")),
        ("limits", list(limit)),
    ]);
    let namespace = object([
        ("service", text()),
        ("id", text()),
        ("configured", flag()),
        ("routes", count()),
        ("hosts", count()),
        ("in", reference("Amounts")),
        ("out", reference("Amounts")),
        ("rate", object(rates())),
        ("drops", counts()),
    ]);
    let origin =
        object([("list", text()), ("kind", text()), ("source", text()), ("line", count())]);
    let route = object([
        ("service", text()),
        ("namespace", text()),
        ("prefix", text()),
        ("host", text()),
        ("connected", flag()),
        ("origin", origin),
        ("packets", count()),
        ("bytes", count()),
        ("last_used", maybe("integer")),
    ]);
    let flow = object([
        ("service", text()),
        ("namespace", text()),
        ("from", text()),
        ("to", maybe("string")),
        ("rate", reference("Rate")),
        ("packets", count()),
        ("bytes", count()),
    ]);
    let reason = object([
        ("service", text()),
        ("reason", text()),
        ("packets", count()),
        ("last", count()),
        ("help", text()),
    ]);
    let sample = object([
        ("id", count()),
        ("time", number()),
        ("reason", text()),
        ("service", text()),
        ("namespace", maybe("string")),
        ("host", maybe("string")),
        ("source", maybe("string")),
        ("destination", maybe("string")),
        ("protocol", maybe("string")),
        ("length", count()),
    ]);
    let series: Map<_, _> =
        SERIES_NAMES.map(|name| (name.to_owned(), list(maybe("number")))).into_iter().collect();
    let problem = object([
        ("level", json!({"enum": ["error", "warning"]})),
        ("what", text()),
        ("where", text()),
        ("ago", number()),
        ("remedy", text()),
    ]);
    let missing = object([
        ("list", json!({"enum": ["routers", "ingresses"]})),
        ("name", text()),
        ("line", maybe("string")),
        ("because", text()),
    ]);
    let join = object([
        ("service", text()),
        ("host", text()),
        ("namespace", text()),
        ("transport", json!({"enum": Transport::ALL.map(Transport::as_str)})),
        ("address", text()),
        ("fingerprint", maybe("string")),
        ("command", text()),
        ("file", text()),
        ("missing", list(missing)),
        ("notes", list(text())),
    ]);
    vec![
        ("Amounts", object([("packets", count()), ("bytes", count())])),
        ("Rate", object([("packets", number()), ("bytes", number())])),
        ("Overview", overview),
        ("Hosts", page_of(host)),
        ("Namespaces", page_of(namespace)),
        ("Routes", page_of(route)),
        ("Traffic", object([("flows", list(flow)), ("truncated", flag())])),
        (
            "Drops",
            object([("reasons", list(reason)), ("sampling", flag()), ("samples", list(sample))]),
        ),
        (
            "Series",
            object([
                ("step", count()),
                ("end", count()),
                ("series", json!({"type": "object", "properties": series})),
            ]),
        ),
        ("Problems", object([("problems", list(problem))])),
        ("Join", join),
    ]
}

/// A part of a list.
fn page_of(item: Value) -> Value {
    object([("total", count()), ("page", count()), ("per_page", count()), ("items", list(item))])
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let required = members.each_ref().map(|(name, _)| (*name).to_owned());
    let members: Map<_, _> =
        members.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({"type": "object", "required": required.to_vec(), "properties": members})
}

fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

/// Numbers by word.
fn counts() -> Value {
    json!({"type": "object", "additionalProperties": count()})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn number() -> Value {
    json!({"type": "number"})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

/// Of this type, or `null`.
fn maybe(kind: &str) -> Value {
    json!({"type": [kind, "null"]})
}
