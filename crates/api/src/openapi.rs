//! The endpoints as OpenAPI 3.1.

use rtun_config::{GROUPS, known_group};
use serde_json::{Map, Value, json};

use crate::{
    endpoints::{ApiEndpoint, ENDPOINTS, EVERYWHERE, Holds, Parameter, ParameterKind},
    schemas::{reference, schemas},
};

/// The description, of paths after `prefix`.
pub(crate) fn description(prefix: &str) -> Value {
    let mut paths = Map::new();
    for endpoint in ENDPOINTS {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.to_ascii_lowercase()] = operation(endpoint);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "rtun",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "GOST's Web API for the configuration of routing tunnels, and rtun's own under /v1",
        },
        "servers": [{"url": if prefix.is_empty() { "/" } else { prefix }}],
        "security": [{}, {"basic": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
            "schemas": schemas(),
        },
    })
}

fn operation(endpoint: &ApiEndpoint) -> Value {
    let mut parameters = Vec::new();
    if endpoint.path.contains("{group}") {
        let groups: Vec<&str> =
            GROUPS.into_iter().filter(|group| known_group(group).is_ok()).collect();
        let schema = json!({"type": "string", "enum": groups});
        parameters.push(json!({"name": "group", "in": "path", "required": true, "schema": schema}));
    }
    if endpoint.path.contains("{name}") {
        let schema = json!({"type": "string", "minLength": 1});
        parameters.push(json!({"name": "name", "in": "path", "required": true, "schema": schema}));
    }
    parameters.extend(endpoint.parameters.iter().map(|parameter| {
        json!({
            "name": parameter.name,
            "in": "query",
            "required": parameter.required,
            "description": parameter.what,
            "schema": schema(parameter),
        })
    }));
    let is_gosts = endpoint.path.starts_with("/config");
    let mut answers = Map::new();
    let is_read = endpoint.method == "GET";
    let everywhere = EVERYWHERE.iter().filter(|(status, ..)| !is_read || *status != 415);
    for (status, holds, what) in everywhere.chain(endpoint.answers) {
        answers.insert(status.to_string(), answer(*holds, what, is_gosts));
    }
    let mut operation = json!({
        "operationId": endpoint.action.name(),
        "summary": endpoint.what,
        "parameters": parameters,
        "responses": answers,
    });
    if endpoint.has_body {
        let content = json!({"application/json": {"schema": {"type": "object"}}});
        operation["requestBody"] = json!({"required": false, "content": content});
    }
    operation
}

/// Of the values that are taken.
fn schema(parameter: &Parameter) -> Value {
    match parameter.kind {
        ParameterKind::Text => json!({"type": "string"}),
        ParameterKind::Id => json!({"type": "string", "format": "uuid"}),
        ParameterKind::Address => {
            let hardware = json!({"pattern": "^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$"});
            json!({"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}, hardware]})
        }
        ParameterKind::Flag => json!({"type": "boolean"}),
        ParameterKind::Seconds => json!({"type": "number", "minimum": 0, "maximum": 1e9}),
        ParameterKind::Count(least, most) => {
            json!({"type": "integer", "minimum": least, "maximum": most})
        }
        ParameterKind::Word(words) => json!({"type": "string", "enum": words}),
    }
}

fn answer(holds: Holds, what: &str, is_gosts: bool) -> Value {
    let schema = match holds {
        Holds::File => return json!({"description": what, "content": {"text/*": {}}}),
        Holds::Config | Holds::Any | Holds::Events => json!({"type": "object"}),
        Holds::View(name) => reference(name),
        Holds::ObjectList => reference("ObjectList"),
        Holds::Object => reference("Object"),
        Holds::Done => reference("Done"),
        Holds::Error if is_gosts => reference("GostError"),
        Holds::Error => reference("Error"),
    };
    let mut content = json!({"application/json": {"schema": schema}});
    if holds == Holds::Events {
        content = json!({"text/event-stream": {"schema": {"type": "string"}}});
    }
    if holds == Holds::Config {
        content["text/x-yaml"] = json!({});
    }
    json!({"description": what, "content": content})
}
