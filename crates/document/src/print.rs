//! Values as text: JSON, or block YAML.

use crate::{
    value::{Data, Value},
    yaml,
};

/// `value` as JSON, indented by 2, ending in a newline.
pub fn json(value: &Value) -> String {
    let mut text = String::new();
    write_json(value, 0, &mut text);
    text.push('\n');
    text
}

/// `value` as YAML, ending in a newline.
pub fn yaml(value: &Value) -> String {
    let mut text = String::new();
    write_yaml(value, 0, &mut text);
    text.push('\n');
    text
}

fn newline(indent: usize, to: &mut String) {
    to.push('\n');
    to.extend(std::iter::repeat_n(' ', indent));
}

fn write_json(value: &Value, indent: usize, to: &mut String) {
    match &value.data {
        Data::List(items) if !items.is_empty() => {
            to.push('[');
            for (i, item) in items.iter().enumerate() {
                to.push_str(if i > 0 { "," } else { "" });
                newline(indent + 2, to);
                write_json(item, indent + 2, to);
            }
            newline(indent, to);
            to.push(']');
        }
        Data::Map(entries) if !entries.is_empty() => {
            to.push('{');
            for (i, entry) in entries.iter().enumerate() {
                to.push_str(if i > 0 { "," } else { "" });
                newline(indent + 2, to);
                quoted(&entry.key, to);
                to.push_str(": ");
                write_json(&entry.value, indent + 2, to);
            }
            newline(indent, to);
            to.push('}');
        }
        Data::Text(text) => quoted(text, to),
        // JSON has no infinities.
        Data::Float(number) if !number.is_finite() => quoted(&number.to_string(), to),
        _ => plain(value, to),
    }
}

fn write_yaml(value: &Value, indent: usize, to: &mut String) {
    match &value.data {
        Data::Map(entries) if !entries.is_empty() => {
            for (i, entry) in entries.iter().enumerate() {
                if i > 0 {
                    newline(indent, to);
                }
                yaml_text(&entry.key, to);
                to.push(':');
                match &entry.value.data {
                    Data::Map(inner) if !inner.is_empty() => {
                        newline(indent + 2, to);
                        write_yaml(&entry.value, indent + 2, to);
                    }
                    Data::List(items) if !items.is_empty() => {
                        newline(indent, to);
                        write_yaml(&entry.value, indent, to);
                    }
                    _ => {
                        to.push(' ');
                        write_yaml(&entry.value, indent, to);
                    }
                }
            }
        }
        Data::List(items) if !items.is_empty() => {
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    newline(indent, to);
                }
                to.push_str("- ");
                write_yaml(item, indent + 2, to);
            }
        }
        Data::Text(text) => yaml_text(text, to),
        Data::Float(number) if number.is_nan() => to.push_str(".nan"),
        Data::Float(number) if number.is_infinite() => {
            to.push_str(if *number > 0.0 { ".inf" } else { "-.inf" });
        }
        _ => plain(value, to),
    }
}

/// What both formats write alike.
fn plain(value: &Value, to: &mut String) {
    match &value.data {
        Data::Bool(value) => to.push_str(&value.to_string()),
        Data::Int(number) => to.push_str(&number.to_string()),
        // With a point or exponent, so that it stays a float.
        Data::Float(number) => to.push_str(&format!("{number:?}")),
        Data::List(_) => to.push_str("[]"),
        Data::Map(_) => to.push_str("{}"),
        Data::Null | Data::Text(_) => to.push_str("null"),
    }
}

/// Plain where a reader gets the same text back, in double quotes otherwise.
fn yaml_text(text: &str, to: &mut String) {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./:@+=~%*<".contains(c);
    let is_plain = matches!(yaml::resolve(text), Data::Text(_))
        && text
            .starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.' | ':'))
        && text.chars().all(safe)
        && !text.ends_with(':')
        && !matches!(text.to_ascii_lowercase().as_str(), "y" | "n" | "yes" | "no" | "on" | "off");
    if is_plain { to.push_str(text) } else { quoted(text, to) }
}

/// In double quotes, with escapes that YAML and JSON share.
fn quoted(text: &str, to: &mut String) {
    to.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => to.extend(['\\', c]),
            c if rtun_core::text::is_invisible(c) && u32::from(c) <= 0xffff => {
                to.push_str(&format!("\\u{:04X}", u32::from(c)));
            }
            c => to.push(c),
        }
    }
    to.push('"');
}
