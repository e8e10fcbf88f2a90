//! A document as YAML or JSON, in GOST's shape, order and spelling of keys.

use crate::{
    cli::OutputFormat,
    print,
    schema::{KeySpec, Object, Shape, root},
    value::{Data, Member, Value, same_key},
};

/// `document` as text, ending in a newline. Only what was set is printed.
pub(crate) fn emit(document: &Value, format: OutputFormat) -> String {
    let document = canonical(document, Some(&root::OBJECT));
    match format {
        OutputFormat::Json => print::json(&document),
        OutputFormat::Yaml => print::yaml(&document),
    }
}

/// `value`, an object of `table` or a list of them, as JSON.
pub(crate) fn emit_list(value: &Value, table: Option<&'static Object>) -> String {
    print::json(&canonical(value, table))
}

/// `object` of `table` as an item of a YAML list.
pub(crate) fn emit_item(object: &Value, table: &'static Object) -> String {
    print::yaml(&Value::list(vec![canonical(object, Some(table))], object.place))
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

#[cfg(test)]
mod tests;
