//! The check of a document against the keys: what is unknown, not supported, of the wrong kind.

use std::{borrow::Cow, collections::HashMap};

use super::{Key, Object, ROOT, Shape, Status, keys, metadata, transport_stack};
use crate::{
    coerce::{self, Place},
    findings::{Code, Report, quote},
    suggest,
    value::{Cursor, Entry, Kind, Place as ValuePlace, Value},
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
        Status::Refused(why) => refused(at, &name, why, report),
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

fn refused(at: &Cursor<'_>, name: &str, why: &str, report: &mut Report) {
    report.error(at.key(), format!("{name} is not supported: {why}"));
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

/// Most different values of one key that are compared with those of other maps.
const MAX_ACCEPTED: usize = 64;

/// The metadata maps that one set of query parameters goes to: a key that one of them knows is right in all
/// of them.
struct Set<'a> {
    maps: Vec<(Cursor<'a>, Tables)>,
    /// By key in lower case, the values where it is known.
    known: HashMap<String, Vec<&'a Value>>,
    /// Likewise, where they can be read; at most [`MAX_ACCEPTED`] different ones.
    accepted: HashMap<String, Vec<&'a Value>>,
    /// By key in lower case and place, the maps it is in.
    places: HashMap<(String, ValuePlace), Vec<usize>>,
}

/// The keys of one map.
struct Known {
    /// For messages: "the metadata of a `wss` listener".
    what: Cow<'static, str>,
    tables: Vec<&'static Object>,
}

impl From<&'static Object> for Known {
    fn from(table: &'static Object) -> Self {
        Self { what: table.what.into(), tables: vec![table] }
    }
}

/// `None` where the type of what a map belongs to is not known, and so are its keys.
type Tables = Option<Known>;

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
            add(Some(at.clone()), Some((&metadata::SERVICE).into()));
            add(handler, handler_tables);
            add(listener, listener_tables);
            for listener in at.get("listeners").iter().flat_map(Cursor::items) {
                let tables = of_listener(Some(&listener));
                add(Some(listener), tables);
            }
        }
        _ if std::ptr::eq(keys, &keys::HOP) => {
            add(Some(at.clone()), Some((&metadata::NODE).into()));
            for node in at.get("nodes").iter().flat_map(Cursor::items) {
                let connector = node.get("connector");
                let connector_tables = of_connector(connector.as_ref());
                let ways = node.get("dialers");
                let ways = ways.iter().flat_map(Cursor::items);
                for dialer in node.get("dialer").into_iter().chain(ways) {
                    let tables = of_dialer(&dialer);
                    add(Some(dialer), tables);
                }
                add(Some(node), Some((&metadata::NODE).into()));
                add(connector, connector_tables);
            }
        }
        _ if std::ptr::eq(keys, &keys::CHAIN) => {
            add(Some(at.clone()), Some((&metadata::CHAIN).into()));
        }
        _ => return None,
    }
    Some(Set::new(maps))
}

fn type_of(at: Option<&Cursor<'_>>) -> Option<String> {
    crate::coerce::text(at?.get("type")?.value).ok()
}

fn of_handler(at: Option<&Cursor<'_>>) -> Tables {
    match type_of(at)?.as_str() {
        "router" => Some((&metadata::ROUTER_HANDLER).into()),
        "tun" => Some((&metadata::TUN_HANDLER).into()),
        _ => None,
    }
}

fn of_listener(at: Option<&Cursor<'_>>) -> Tables {
    match type_of(at).as_deref() {
        Some("tun") => Some((&metadata::TUN_LISTENER).into()),
        name => {
            let name = name.unwrap_or("tcp");
            let what = format!("the metadata of a `{name}` listener").into();
            transport_stack::of_listener(name).map(|tables| Known { what, tables })
        }
    }
}

fn of_connector(at: Option<&Cursor<'_>>) -> Tables {
    match type_of(at).as_deref() {
        Some("router") => Some((&metadata::ROUTER_CONNECTOR).into()),
        Some("http") | None => Some((&metadata::HTTP_CONNECTOR).into()),
        Some("socks5" | "socks") => Some((&metadata::SOCKS5_CONNECTOR).into()),
        Some(_) => None,
    }
}

fn of_dialer(at: &Cursor<'_>) -> Tables {
    let name = type_of(Some(at));
    let name = name.as_deref().unwrap_or("tcp");
    let what = format!("the metadata of a `{name}` dialer").into();
    transport_stack::of_dialer(name).map(|tables| Known { what, tables })
}

impl<'a> Set<'a> {
    fn new(maps: Vec<(Cursor<'a>, Tables)>) -> Self {
        let mut known: HashMap<String, Vec<&'a Value>> = HashMap::new();
        let mut accepted: HashMap<String, Vec<&'a Value>> = HashMap::new();
        let mut places: HashMap<(String, ValuePlace), Vec<usize>> = HashMap::new();
        for (i, (map, tables)) in maps.iter().enumerate() {
            for entry in map.value.entries() {
                let key = entry.key.to_lowercase();
                if tables.as_ref().is_none_or(|known| counts(&known.tables, &entry.key)) {
                    known.entry(key.clone()).or_default().push(&entry.value);
                }
                let here = tables.as_ref().and_then(|known| find(&known.tables, &entry.key));
                if here.is_some_and(|key| accepts(&entry.value, key)) {
                    let values = accepted.entry(key.clone()).or_default();
                    let new = !values.iter().any(|value| value.same(&entry.value));
                    if new && values.len() < MAX_ACCEPTED {
                        values.push(&entry.value);
                    }
                }
                places.entry((key, entry.value.place)).or_default().push(i);
            }
        }
        Self { maps, known, accepted, places }
    }

    fn check(&self, report: &mut Report) {
        for (i, (map, tables)) in self.maps.iter().enumerate() {
            let Some(tables) = tables else { continue };
            for entry in map.value.entries() {
                let at = map.child(entry);
                match find(&tables.tables, &entry.key) {
                    Some(key) if !accepts(&entry.value, key) && self.accepted_beside(entry) => {}
                    Some(key) => metadata_key(&at, key, report),
                    None if self.known_beside(&entry.key, &entry.value) => {}
                    None => self.unknown(i, &at, &entry.key, report),
                }
            }
        }
    }

    /// Whether some map has the same key with the same value and can read it, as a `quic` listener can read `ttl=5s` and
    /// a hub cannot.
    fn accepted_beside(&self, entry: &Entry) -> bool {
        let values = self.accepted.get(&entry.key.to_lowercase());
        values.is_some_and(|values| values.iter().any(|value| value.same(&entry.value)))
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
        let known: Vec<_> = maps.iter().filter_map(|i| self.maps[*i].1.as_ref()).collect();
        let message = match (maps, known.first()) {
            ([_], Some(known)) => format!("there is no key {} in {}", quote(name), known.what),
            _ => format!("there is no parameter {}", quote(name)),
        };
        report.coded(Code::C26, at.key(), message).help_with(|| {
            let tables = known.iter().flat_map(|known| &known.tables);
            let names = tables.flat_map(|table| table.names());
            right_table(name).or_else(|| suggest::did_you_mean(name, names))
        });
    }
}

/// Whether `value` can be read as what `key` says there.
fn accepts(value: &Value, key: &Key) -> bool {
    match (key.status, key.shape) {
        (Status::Silent, _) => false,
        (_, Shape::Bool) => coerce::boolean(value).is_ok(),
        (_, Shape::Int) => coerce::integer(value).is_ok(),
        (_, Shape::Duration) => coerce::span(value, Place::Metadata).is_ok(),
        _ => true,
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
