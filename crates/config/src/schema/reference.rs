//! The tables as pages for people.

use super::{
    field::{KeyStatus, Object, Shape},
    metadata, objects, rows, tls, transports,
};

/// The pages of docs/, each with its tables in order.
fn pages() -> [Page; 3] {
    let shown = |tables: &[&'static Object]| -> Vec<_> {
        tables.iter().copied().filter(|table| !table.only_shared).collect()
    };
    let mut objects = shown(objects::TABLES);
    objects.retain(|object| !object.taken().is_empty());
    [
        ("configuration-reference.md", objects),
        ("configuration-tables.md", shown(&[rows::TABLES, tls::TABLES].concat())),
        ("configuration-metadata.md", shown(&[metadata::TABLES, transports::TABLES].concat())),
    ]
}

fn contains(tables: &[&'static Object], object: &'static Object) -> bool {
    tables.iter().any(|table| std::ptr::eq(*table, object))
}

/// Every key there is: the object's description and the key.
pub fn all_keys() -> Vec<(&'static str, &'static str)> {
    let mut keys = Vec::new();
    for object in pages().into_iter().flat_map(|(_, tables)| tables) {
        let named = object.keys().into_iter().filter(|k| !matches!(k.status, KeyStatus::Silent));
        keys.extend(named.flat_map(|key| key.names.iter().map(|name| (object.what, *name))));
    }
    keys
}

/// The pages of docs/ that show the tables, each with its tables in Markdown.
pub fn reference() -> Vec<(&'static str, String)> {
    let pages = pages();
    let show = |(page, tables): &Page| {
        (*page, tables.iter().map(|table| section(table, page, &pages)).collect())
    };
    pages.iter().map(show).collect()
}

/// What becomes of lists that rtun itself does not use.
const BY_NAME: &str = "Left out quietly where only services of other kinds use them, with a warning where nothing does; a key of a \
                       tunnel that names one of them says itself what becomes of it:";

/// Its name, and its tables in order.
type Page = (&'static str, Vec<&'static Object>);

/// One table on `page`.
fn section(table: &'static Object, page: &str, pages: &[Page]) -> String {
    let mut rows = String::new();
    // Keys that share what becomes of them are one paragraph.
    let mut others: Vec<(String, Vec<String>)> = Vec::new();
    let mut add = |what: String, names: String| match others.iter_mut().find(|(o, _)| *o == what) {
        Some((_, keys)) => keys.push(names),
        None => others.push((what, vec![names])),
    };
    for line in table.lines {
        let keys = match line.shared() {
            Some(object) if pages.iter().any(|(_, tables)| contains(tables, object)) => {
                add("Also the keys of".to_owned(), link(object, page, pages));
                continue;
            }
            _ => line.keys(),
        };
        for key in keys {
            let names: Vec<String> = key.names.iter().map(|name| format!("`{name}`")).collect();
            let names = names.join(", ");
            match key.status {
                KeyStatus::Taken(default, meaning) => {
                    let shape = shape(key.shape, page, pages);
                    rows += &format!("| {names} | {shape} | {default} | {meaning} |\n");
                }
                KeyStatus::Silent => {}
                KeyStatus::NoEffect(why) => add(format!("Without effect ({why}):"), names),
                KeyStatus::NotYet => add("Not supported yet:".to_owned(), names),
                KeyStatus::Refused(why) => add(format!("Refused ({why}):"), names),
                KeyStatus::Harmless(why) => {
                    add(format!("Without effect, with a warning ({why}):"), names);
                }
                KeyStatus::ByName => add(BY_NAME.to_owned(), names),
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

fn shape(shape: Shape, page: &str, pages: &[Page]) -> String {
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
        Shape::In(object) => return link(object, page, pages),
        Shape::ObjectList(object) => return format!("list: {}", link(object, page, pages)),
    };
    word.to_owned()
}

/// A link from `page` to the section of `table`.
fn link(table: &'static Object, page: &str, pages: &[Page]) -> String {
    let what = table.what;
    let anchor = what.to_lowercase().replace(' ', "-").replace(['`', '\'', '/'], "");
    let there = pages.iter().find(|(_, tables)| contains(tables, table));
    let there = there.map_or("", |(there, _)| if *there == page { "" } else { there });
    format!("[{what}]({there}#{anchor})")
}
