//! JSON Schema, as far as the API's description uses it; any other word in a schema is a failure.

#![allow(unreachable_pub, reason = "only this test program has it")]

use serde_json::{Map, Value};

/// What is wrong with `value` by `schema`, each with its place; references lead into `root`. Members that are not described are wrong.
pub fn complaints(root: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Checker { root, found: &mut found }.check(schema, value, "");
    found
}

struct Checker<'a> {
    root: &'a Value,
    found: &'a mut Vec<String>,
}

impl Checker<'_> {
    fn check(&mut self, schema: &Value, value: &Value, place: &str) {
        let words = schema.as_object().unwrap_or_else(|| panic!("{schema} is no schema"));
        for (word, said) in words {
            let holds = match word.as_str() {
                "$ref" => {
                    let pointer = said.as_str().and_then(|it| it.strip_prefix('#')).unwrap();
                    let there = self.root.pointer(pointer);
                    self.check(
                        there.unwrap_or_else(|| panic!("{said} leads nowhere")),
                        value,
                        place,
                    );
                    true
                }
                "type" => match said {
                    Value::Array(kinds) => kinds.iter().any(|kind| is_of(value, kind)),
                    kind => is_of(value, kind),
                },
                "enum" => said.as_array().unwrap().contains(value),
                "const" => said == value,
                "minimum" => value.as_f64().is_none_or(|number| number >= said.as_f64().unwrap()),
                "anyOf" => said
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|one| complaints(self.root, one, value).is_empty()),
                "required" => {
                    let names = said.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                    names.into_iter().all(|name| value.get(name).is_some())
                }
                "properties" => {
                    self.members(words, value, place);
                    true
                }
                "additionalProperties" => true,
                "items" => {
                    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(said, item, &format!("{place}/{number}"));
                    }
                    true
                }
                other => panic!("`{other}` of {schema} is not known here"),
            };
            if !holds {
                self.found.push(format!("{place}: {value} is not as {word} {said} says"));
            }
        }
        if !words.contains_key("properties") && words.contains_key("additionalProperties") {
            self.members(words, value, place);
        }
    }

    fn members(&mut self, words: &Map<String, Value>, value: &Value, place: &str) {
        for (name, member) in value.as_object().into_iter().flatten() {
            let place = format!("{place}/{name}");
            match (
                words.get("properties").and_then(|it| it.get(name)),
                words.get("additionalProperties"),
            ) {
                (Some(schema), _) => self.check(schema, member, &place),
                (None, Some(Value::Bool(true))) => {}
                (None, Some(schema)) => self.check(schema, member, &place),
                (None, None) => self.found.push(format!("{place} is not described")),
            }
        }
    }
}

fn is_of(value: &Value, kind: &Value) -> bool {
    match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("there is no type {other}"),
    }
}

#[test]
fn wrong_values_are_found() {
    let root = serde_json::json!({
        "is": {"type": "object", "required": ["a"], "properties": {"a": {"type": ["integer", "null"], "minimum": 0}, "b": {"$ref": "#/list"}}},
        "list": {"type": "array", "items": {"anyOf": [{"enum": ["x"]}, {"type": "object", "additionalProperties": {"type": "number"}}]}},
    });
    let wrong =
        |text: &str| complaints(&root, &root["is"], &serde_json::from_str(text).unwrap()).len();
    for right in [r#"{"a": null}"#, r#"{"a": 7, "b": []}"#, r#"{"a": 0, "b": ["x", {"any": 1.5}]}"#]
    {
        assert_eq!(wrong(right), 0, "{right}");
    }
    for one in [
        "7",
        "{}",
        r#"{"a": -1}"#,
        r#"{"a": 1.5}"#,
        r#"{"a": 1, "c": 1}"#,
        r#"{"a": 1, "b": ["y"]}"#,
        r#"{"a": 1, "b": [{"any": "1"}]}"#,
    ] {
        assert!(wrong(one) > 0, "{one}");
    }
}
