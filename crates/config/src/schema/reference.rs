//! The tables as pages for people.

use super::{
    field::{KeyStatus, Object, Shape},
    metadata,
    objects::{anything, root},
    transports,
};

/// The tables of objects, each once, in the order in which a document uses them.
fn objects() -> Vec<&'static Object> {
    let mut tables: Vec<&'static Object> = vec![&root::OBJECT];
    let mut next = 0;
    while let Some(object) = tables.get(next) {
        for key in object.keys() {
            if let Shape::In(inner) | Shape::ObjectList(inner) = key.shape
                && !contains(&tables, inner)
            {
                tables.push(inner);
            }
        }
        next += 1;
    }
    tables.retain(|table| !std::ptr::eq(*table, &anything::OBJECT));
    tables
}

/// The tables of metadata.
fn metadata() -> Vec<&'static Object> {
    metadata::TABLES.iter().chain(transports::TABLES).copied().collect()
}

fn contains(tables: &[&'static Object], object: &'static Object) -> bool {
    tables.iter().any(|table| std::ptr::eq(*table, object))
}

/// Every key there is: the object's description and the key.
pub fn all_keys() -> Vec<(&'static str, &'static str)> {
    let mut keys = Vec::new();
    for object in objects().into_iter().chain(metadata()) {
        let named = object.keys().into_iter().filter(|k| !matches!(k.status, KeyStatus::Silent));
        keys.extend(named.flat_map(|key| key.names.iter().map(|name| (object.what, *name))));
    }
    keys
}

/// The tables in Markdown: those of objects, for docs/configuration-reference.md, and those of metadata, for
/// docs/configuration-metadata.md.
pub fn reference() -> [String; 2] {
    [objects(), metadata()].map(|mut tables| {
        // What three tables and more share has a section of its own.
        let lines = tables.iter().flat_map(|table| table.lines);
        let shared: Vec<_> = lines.filter_map(|line| line.shared()).collect();
        let often = |object: &Object| {
            let uses = shared.iter().filter(|other| std::ptr::eq(**other, object)).count();
            uses > 2 && object.keys().iter().any(|key| !matches!(key.status, KeyStatus::Silent))
        };
        for object in shared.iter().filter(|object| often(object)) {
            if !contains(&tables, object) {
                tables.push(object);
            }
        }
        tables.iter().map(|table| section(table, &often)).collect()
    })
}

fn section(table: &'static Object, is_apart: &dyn Fn(&Object) -> bool) -> String {
    let mut rows = String::new();
    // Keys that share what becomes of them are one paragraph.
    let mut others: Vec<(String, Vec<String>)> = Vec::new();
    let mut add = |what: String, names: String| match others.iter_mut().find(|(o, _)| *o == what) {
        Some((_, keys)) => keys.push(names),
        None => others.push((what, vec![names])),
    };
    for line in table.lines {
        let keys = match line.shared() {
            Some(object) if is_apart(object) => {
                add("Also the keys of".to_owned(), link(object));
                continue;
            }
            _ => line.keys(),
        };
        for key in keys {
            let names: Vec<String> = key.names.iter().map(|name| format!("`{name}`")).collect();
            let names = names.join(", ");
            match key.status {
                KeyStatus::Taken(default, meaning) => {
                    let shape = shape(key.shape);
                    rows += &format!("| {names} | {shape} | {default} | {meaning} |\n");
                }
                KeyStatus::Silent => {}
                KeyStatus::NoEffect(why) => add(format!("Without effect ({why}):"), names),
                KeyStatus::NotYet => add("Not supported yet:".to_owned(), names),
                KeyStatus::Refused(why) => add(format!("Refused ({why}):"), names),
                KeyStatus::Elsewhere => add("Of other uses of GOST:".to_owned(), names),
                KeyStatus::Misplaced(right) => add(format!("Refused here ({right}):"), names),
            }
        }
    }
    let (first, rest) = table.what.split_at(1);
    let mut section = format!("\n### {}{rest}\n", first.to_uppercase());
    if !rows.is_empty() {
        section += &format!("\n| Key | Value | Default | Meaning |\n|---|---|---|---|\n{rows}");
    }
    for (what, keys) in others {
        section += &format!("\n{what} {}.\n", keys.join(", "));
    }
    section
}

fn shape(shape: Shape) -> String {
    let word = match shape {
        Shape::OneText => "text",
        Shape::Flag => "true or false",
        Shape::Int => "whole number",
        Shape::Timespan | Shape::Period => "duration",
        Shape::Texts => "list of texts",
        Shape::CommaTexts => "list or comma text",
        Shape::Headers => "map of headers",
        Shape::Any => "any",
        Shape::Metadata => "map",
        Shape::In(object) => return link(object),
        Shape::ObjectList(object) => return format!("list: {}", link(object)),
    };
    word.to_owned()
}

/// A link to the section of `table`.
fn link(table: &Object) -> String {
    let what = table.what;
    let anchor = what.to_lowercase().replace(' ', "-").replace(['`', '\''], "");
    format!("[{what}](#{anchor})")
}
