//! The endpoints as OpenAPI 3.1.

use rtun_config::{GROUPS, known_group};
use serde_json::{Map, Value, json};

use crate::endpoints::{ApiEndpoint, ENDPOINTS, EVERYWHERE, Holds};

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
            "schema": {"type": parameter.kind},
        })
    }));
    let is_gosts = endpoint.path.starts_with("/config");
    let mut answers = Map::new();
    for (status, holds, what) in EVERYWHERE.iter().chain(endpoint.answers) {
        answers.insert(status.to_string(), answer(*holds, what, is_gosts));
    }
    let mut operation = json!({
        "operationId": format!("{:?}", endpoint.action),
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

fn answer(holds: Holds, what: &str, is_gosts: bool) -> Value {
    let schema = match holds {
        Holds::File => return json!({"description": what, "content": {"text/*": {}}}),
        Holds::Config | Holds::Any | Holds::Events => json!({"type": "object"}),
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
        content["text/x-yaml"] = json!({"schema": {"type": "string"}});
    }
    json!({"description": what, "content": content})
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn schemas() -> Value {
    let text = json!({"type": "string"});
    let finding = json!({
        "type": "object",
        "required": ["severity", "message"],
        "properties": {
            "severity": {"type": "string", "enum": ["info", "warning", "error"]},
            "message": text, "code": text, "help": text, "key": text, "file": text,
            "line": {"type": "integer"}, "column": {"type": "integer"},
        },
    });
    let findings = json!({"type": "array", "items": reference("Finding")});
    json!({
        "Finding": finding,
        "Done": {
            "type": "object",
            "required": ["msg"],
            "properties": {"msg": {"const": "OK"}, "findings": findings},
        },
        "GostError": {
            "type": "object",
            "required": ["code", "msg"],
            "properties": {"code": {"type": "integer"}, "msg": text, "findings": findings},
        },
        "Error": {"type": "object", "required": ["error"], "properties": {"error": text}},
        "ObjectList": {
            "type": "object",
            "required": ["data"],
            "properties": {"data": {
                "type": "object",
                "required": ["count", "list"],
                "properties": {
                    "count": {"type": "integer"},
                    "list": {"type": ["array", "null"], "items": {"type": "object"}},
                },
            }},
        },
        "Object": {
            "type": "object",
            "required": ["data"],
            "properties": {"data": {"type": ["object", "null"]}},
        },
    })
}
