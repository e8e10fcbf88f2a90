//! The check of a document against the keys: what is unknown, not supported, of the wrong kind.

use std::collections::HashMap;

use super::{Key, Object, ROOT, Shape, Status, Types, keys, metadata};
use crate::{
    coerce::Place,
    findings::{Code, Report, quote},
    suggest,
    value::{Cursor, Kind, Place as ValuePlace, Value},
};

/// Reports every key of `document` that cannot be used.
pub(crate) fn check(document: &Value, report: &mut Report) {
    object(&Cursor::root(document), &ROOT, report);
}

fn object(at: &Cursor<'_>, keys: &'static Object, report: &mut Report) {
    if !is_map(at, keys.what, report) {
        return;
    }
    for entry in at.value.entries() {
        let child = at.child(entry);
        match keys.key(&entry.key) {
            None => unknown(&child, &entry.key, keys, report),
            Some(key) => known(&child, key, report),
        }
    }
    if let Some(set) = metadata_of(at, keys) {
        set.check(report);
    }
}

fn is_map(at: &Cursor<'_>, what: &str, report: &mut Report) -> bool {
    match at.value.kind {
        Kind::Map(_) | Kind::Null => true,
        _ => {
            let found = at.value.describe();
            report.error(at, format!("expected {what}, a map of keys, found {found}"));
            false
        }
    }
}

fn known(at: &Cursor<'_>, key: &Key, report: &mut Report) {
    let name = quote(key.names[0]);
    match key.status {
        _ if matches!(at.value.kind, Kind::Null) => {}
        Status::Silent => {}
        Status::Supported => shape(at, key.shape, Place::Field, report),
        Status::NoEffect(why) => {
            shape(at, key.shape, Place::Field, report);
            no_effect(at, &name, why, report);
        }
        _ if at.value.is_unset() => {}
        Status::NotYet => not_yet(at, &name, report),
        Status::Elsewhere => elsewhere(at, &name, report),
        Status::Misplaced(right) => misplaced(at, &name, right, report),
    }
}

fn no_effect(at: &Cursor<'_>, name: &str, why: &str, report: &mut Report) {
    report.info(at.key(), format!("{name} has no effect: {why}"));
}

fn not_yet(at: &Cursor<'_>, name: &str, report: &mut Report) {
    report.error(at.key(), format!("{name} is not supported yet"));
}

fn elsewhere(at: &Cursor<'_>, name: &str, report: &mut Report) {
    report
        .error(at.key(), format!("{name} is not supported"))
        .help("rtun builds routing tunnels; this key belongs to another use of GOST");
}

fn misplaced(at: &Cursor<'_>, name: &str, right: &str, report: &mut Report) {
    report.error(at.key(), format!("{name} has no effect here")).help(right);
}

fn unknown(at: &Cursor<'_>, name: &str, keys: &Object, report: &mut Report) {
    let message = format!("there is no key {} in {}", quote(name), keys.what);
    let in_metadata = || {
        let tables = metadata::tables();
        let inside = tables
            .iter()
            .any(|table| matches!(table.key(name), Some(Key { status: Status::Supported, .. })));
        (inside && keys.key("metadata").is_some())
            .then(|| format!("{} belongs under `metadata`", quote(name)))
    };
    report
        .coded(Code::C26, at.key(), message)
        .help_with(|| in_metadata().or_else(|| suggest::did_you_mean(name, keys.names())));
}

fn shape(at: &Cursor<'_>, shape: Shape, place: Place, report: &mut Report) {
    match shape {
        Shape::Text => drop(report.text(at)),
        Shape::Bool => drop(report.boolean(at)),
        Shape::Int => drop(report.integer(at)),
        Shape::Duration => drop(report.span(at, place)),
        Shape::Period => drop(report.period(at)),
        Shape::Texts => drop(report.texts(at, false)),
        Shape::Object(keys) => object(at, keys, report),
        Shape::List(keys) => at.items().iter().for_each(|item| object(item, keys, report)),
        Shape::Metadata => drop(is_map(at, "metadata", report)),
        Shape::Any => {}
    }
}

/// The metadata maps that one set of query parameters goes to: a key that one of them knows is right in all
/// of them.
struct Set<'a> {
    maps: Vec<(Cursor<'a>, Tables)>,
    /// By key in lower case, the values where it is known.
    known: HashMap<String, Vec<&'a Value>>,
    /// By key in lower case and place, the maps it is in.
    places: HashMap<(String, ValuePlace), Vec<usize>>,
}

/// The tables of one map; `None` where its type is not known, and so are its keys.
type Tables = Option<Vec<&'static Object>>;

fn metadata_of<'a>(at: &Cursor<'a>, keys: &'static Object) -> Option<Set<'a>> {
    let mut maps = Vec::new();
    let mut add = |owner: Option<Cursor<'a>>, tables: Tables| {
        maps.extend(owner.and_then(|o| o.get("metadata")).map(|metadata| (metadata, tables)));
    };
    match keys {
        _ if std::ptr::eq(keys, &keys::SERVICE) => {
            let (handler, listener) = (at.get("handler"), at.get("listener"));
            let handler_tables = of_handler(handler.as_ref());
            let listener_tables = of_listener(listener.as_ref());
            add(Some(at.clone()), Some(vec![&metadata::SERVICE]));
            add(handler, handler_tables);
            add(listener, listener_tables);
        }
        _ if std::ptr::eq(keys, &keys::HOP) => {
            add(Some(at.clone()), Some(vec![&metadata::NODE]));
            for node in at.get("nodes").iter().flat_map(Cursor::items) {
                let (connector, dialer) = (node.get("connector"), node.get("dialer"));
                let connector_tables = match type_of(connector.as_ref()).as_deref() {
                    Some("router") => Some(vec![&metadata::ROUTER_CONNECTOR]),
                    _ => None,
                };
                let dialer_tables = of_dialer(dialer.as_ref());
                add(Some(node), Some(vec![&metadata::NODE]));
                add(connector, connector_tables);
                add(dialer, dialer_tables);
            }
        }
        _ if std::ptr::eq(keys, &keys::CHAIN) => add(Some(at.clone()), Some(vec![&metadata::NODE])),
        _ => return None,
    }
    Some(Set::new(maps))
}

fn type_of(at: Option<&Cursor<'_>>) -> Option<String> {
    crate::coerce::text(at?.get("type")?.value).ok()
}

fn of_handler(at: Option<&Cursor<'_>>) -> Tables {
    match type_of(at)?.as_str() {
        "router" => Some(vec![&metadata::ROUTER_HANDLER]),
        "tun" => Some(vec![&metadata::TUN_HANDLER]),
        _ => None,
    }
}

fn of_listener(at: Option<&Cursor<'_>>) -> Tables {
    match type_of(at).as_deref() {
        Some("tcp") | None => Some(vec![&metadata::TCP_LISTENER]),
        Some("tun") => Some(vec![&metadata::TUN_LISTENER]),
        Some(other) => of_transport(other, &keys::LISTENERS),
    }
}

fn of_dialer(at: Option<&Cursor<'_>>) -> Tables {
    match type_of(at).as_deref() {
        Some("tcp") | None => Some(vec![&metadata::TCP_DIALER]),
        Some(other) => of_transport(other, &keys::DIALERS),
    }
}

fn of_transport(name: &str, types: &Types) -> Tables {
    types.not_yet.contains(&name).then(|| metadata::of_transport(name))
}

impl<'a> Set<'a> {
    fn new(maps: Vec<(Cursor<'a>, Tables)>) -> Self {
        let mut known: HashMap<String, Vec<&'a Value>> = HashMap::new();
        let mut places: HashMap<(String, ValuePlace), Vec<usize>> = HashMap::new();
        for (i, (map, tables)) in maps.iter().enumerate() {
            for entry in map.value.entries() {
                let key = entry.key.to_lowercase();
                if tables.as_ref().is_none_or(|tables| counts(tables, &entry.key)) {
                    known.entry(key.clone()).or_default().push(&entry.value);
                }
                places.entry((key, entry.value.place)).or_default().push(i);
            }
        }
        Self { maps, known, places }
    }

    fn check(&self, report: &mut Report) {
        for (i, (map, tables)) in self.maps.iter().enumerate() {
            let Some(tables) = tables else { continue };
            for entry in map.value.entries() {
                let at = map.child(entry);
                match find(tables, &entry.key) {
                    // The error about the transport's type says it all.
                    Some(_) if tables.iter().any(|table| metadata::is_unsupported(table)) => {}
                    Some(key) => metadata_key(&at, key, report),
                    None if self.known_beside(&entry.key, &entry.value) => {}
                    None => self.unknown(i, &at, &entry.key, report),
                }
            }
        }
    }

    /// Whether some map has the same key with the same value and knows it.
    fn known_beside(&self, key: &str, value: &Value) -> bool {
        let values = self.known.get(&key.to_lowercase());
        values.is_some_and(|values| values.iter().any(|known| known.same(value)))
    }

    /// Reports a key of the `index`th map that no map knows; one parameter in several maps is reported once.
    fn unknown(&self, index: usize, at: &Cursor<'_>, name: &str, report: &mut Report) {
        let key = (name.to_lowercase(), at.value.place);
        let maps = self.places.get(&key).map_or(&[][..], Vec::as_slice);
        if maps.first() != Some(&index) {
            return;
        }
        let tables: Vec<_> =
            maps.iter().filter_map(|i| self.maps[*i].1.as_ref()).flatten().collect();
        let message = match (maps, tables.first()) {
            ([_], Some(table)) => format!("there is no key {} in {}", quote(name), table.what),
            _ => format!("there is no parameter {}", quote(name)),
        };
        report.coded(Code::C26, at.key(), message).help_with(|| {
            let names = tables.iter().flat_map(|table| table.names());
            right_table(name).or_else(|| suggest::did_you_mean(name, names))
        });
    }
}

/// Whether `tables` know `key`, and not only as something meant for another map.
fn counts(tables: &[&'static Object], key: &str) -> bool {
    find(tables, key).is_some_and(|key| !matches!(key.status, Status::Silent))
}

fn find(tables: &[&'static Object], name: &str) -> Option<&'static Key> {
    tables.iter().find_map(|table| table.key(name))
}

fn metadata_key(at: &Cursor<'_>, key: &Key, report: &mut Report) {
    let nested = matches!(at.value.kind, Kind::Map(_)) && !matches!(key.shape, Shape::Any);
    if nested {
        let name = key.names[0];
        let inner = at.value.entries().first().map_or("cache", |entry| entry.key.as_str());
        report
            .error(at, format!("metadata is flat: `{name}` cannot hold keys"))
            .help(format!("write the key with a dot, as in {}", quote(&format!("{name}.{inner}"))));
        return;
    }
    match key.status {
        Status::Supported => shape(at, key.shape, Place::Metadata, report),
        Status::NoEffect(why) => {
            shape(at, key.shape, Place::Metadata, report);
            no_effect(at, &quote(key.names[0]), why, report);
        }
        _ => known(at, key, report),
    }
}

/// Where a key is known, if not here.
fn right_table(name: &str) -> Option<String> {
    let supported = |table: &&&'static Object| {
        matches!(table.key(name), Some(Key { status: Status::Supported, .. }))
    };
    let tables = metadata::tables();
    let table = tables.iter().find(supported)?;
    Some(format!("it belongs to {}", table.what))
}
