//! A document as YAML or JSON, in GOST's shape, order and spelling of keys.

use crate::{
    cli::OutputFormat,
    schema::{KeySpec, Object, Shape, root},
    value::{Data, Member, Value, same_key},
    yaml,
};

/// `document` as text, ending in a newline. Only what was set is printed.
pub(crate) fn emit(document: &Value, format: OutputFormat) -> String {
    let document = canonical(document, Some(&root::OBJECT));
    let mut text = String::new();
    match format {
        OutputFormat::Json => json(&document, 0, &mut text),
        OutputFormat::Yaml if document.entries().is_empty() => text.push_str("{}"),
        OutputFormat::Yaml => yaml(&document, 0, &mut text),
    }
    text.push('\n');
    text
}

/// Keys that `table` knows in their canonical spelling and order; nulls left out.
fn canonical(value: &Value, table: Option<&'static Object>) -> Value {
    let data = match &value.data {
        Data::List(items) => Data::List(items.iter().map(|item| canonical(item, table)).collect()),
        Data::Map(entries) => {
            let keys = table.map(Object::keys).unwrap_or_default();
            let set = entries.iter().filter(|entry| !matches!(entry.value.data, Data::Null));
            let mut entries: Vec<(usize, Member)> =
                set.map(|entry| canonical_entry(entry, &keys)).collect();
            entries.sort_by_key(|(rank, _)| *rank);
            Data::Map(entries.into_iter().map(|(_, entry)| entry).collect())
        }
        other => other.clone(),
    };
    Value::new(value.place, data)
}

/// The entry and its rank among the known keys; unknown ones come last.
fn canonical_entry(entry: &Member, keys: &[&'static KeySpec]) -> (usize, Member) {
    let known = keys.iter().enumerate().find_map(|(rank, key)| {
        let name = key.names.iter().find(|name| same_key(name, &entry.key))?;
        Some((rank, *name, key.shape))
    });
    let (rank, name, inner) = match known {
        Some((rank, name, Shape::In(inner) | Shape::ObjectList(inner))) => {
            (rank, name, Some(inner))
        }
        Some((rank, name, _)) => (rank, name, None),
        None => (usize::MAX, entry.key.as_str(), None),
    };
    let value = canonical(&entry.value, inner);
    (rank, Member { key: name.to_owned(), place: entry.place, value })
}

fn newline(indent: usize, to: &mut String) {
    to.push('\n');
    to.extend(std::iter::repeat_n(' ', indent));
}

fn json(value: &Value, indent: usize, to: &mut String) {
    match &value.data {
        Data::List(items) if !items.is_empty() => {
            to.push('[');
            for (i, item) in items.iter().enumerate() {
                to.push_str(if i > 0 { "," } else { "" });
                newline(indent + 2, to);
                json(item, indent + 2, to);
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
                json(&entry.value, indent + 2, to);
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

fn yaml(value: &Value, indent: usize, to: &mut String) {
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
                        yaml(&entry.value, indent + 2, to);
                    }
                    Data::List(items) if !items.is_empty() => {
                        newline(indent, to);
                        yaml(&entry.value, indent, to);
                    }
                    _ => {
                        to.push(' ');
                        yaml(&entry.value, indent, to);
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
                yaml(item, indent + 2, to);
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

#[cfg(test)]
mod tests;
