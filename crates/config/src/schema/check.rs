//! The check of a document against the keys: what is unknown, not supported, of the wrong kind.

use std::{borrow::Cow, collections::HashMap};

use rtun_core::redact;

use super::{
    field::{KeySpec, KeyStatus, Object, Setting, Shape},
    metadata as meta,
    objects::{chain, connector, dialer, handler, hop, listener_base, node, root, service},
    transports,
};
use crate::{
    coerce::{self, BareUnit, Expected, NotSpan, SPAN},
    findings::{Code, Report},
    location::{At, Position, quote},
    suggest,
    value::{Cursor, Data, Member, Value},
};

/// Reports every key of `document` that cannot be used, and every value that cannot be read.
pub(crate) fn check(document: &Value, report: &mut Report) {
    object(&Cursor::root(document), &root::OBJECT, report);
}

fn object(at: &Cursor<'_>, keys: &'static Object, report: &mut Report) {
    if !is_map(at, keys.what, report) {
        return;
    }
    for entry in at.value.entries() {
        let child = at.child(entry);
        match keys.key(&entry.key) {
            None => unknown(&child, &entry.key, keys, report),
            Some(key) => known(&child, &entry.key, key, BareUnit::Nanoseconds, report),
        }
    }
    if let Some(set) = metadata_of(at, keys) {
        set.check(report);
    }
}

fn is_map(at: &Cursor<'_>, what: &str, report: &mut Report) -> bool {
    let is_map = matches!(at.value.data, Data::Map(_) | Data::Null);
    if !is_map {
        let found = at.value.describe();
        report.error(at, format!("expected {what}, a map of keys, found {found}"));
    }
    is_map
}

/// Checks the value of `key`, which is written as `name`.
fn known(at: &Cursor<'_>, name: &str, key: &KeySpec, unit: BareUnit, report: &mut Report) {
    let name =
        quote(key.names.iter().find(|known| known.eq_ignore_ascii_case(name)).unwrap_or(&name));
    match key.status {
        _ if matches!(at.value.data, Data::Null) => {}
        KeyStatus::Silent => {}
        KeyStatus::Taken(..) => shape(at, key.shape, unit, report),
        KeyStatus::NoEffect(why) => {
            shape(at, key.shape, unit, report);
            report.info(at.key(), format!("{name} has no effect: {why}"));
        }
        _ if at.value.is_unset() => {}
        KeyStatus::NotYet => drop(report.error(at.key(), format!("{name} is not supported yet"))),
        KeyStatus::Refused(why) => {
            report.error(at.key(), format!("{name} is not supported: {why}"));
        }
        KeyStatus::Elsewhere => report
            .error(at.key(), format!("{name} is not supported"))
            .help("rtun builds routing tunnels; this key belongs to another use of GOST"),
        KeyStatus::Misplaced(right) => {
            report.error(at.key(), format!("{name} has no effect here")).help(right);
        }
    }
}

fn unknown(at: &Cursor<'_>, name: &str, keys: &Object, report: &mut Report) {
    let message = format!("there is no key {} in {}", quote(name), keys.what);
    let in_metadata = || {
        let inside = right_table(name).is_some() && keys.key("metadata").is_some();
        inside.then(|| format!("{} belongs under `metadata`", quote(name)))
    };
    report
        .coded(Code::C26, at.key(), message)
        .help_with(|| in_metadata().or_else(|| suggest::did_you_mean(name, keys.names())));
}

fn shape(at: &Cursor<'_>, shape: Shape, unit: BareUnit, report: &mut Report) {
    match shape {
        Shape::OneText => {
            spelling(at, report);
            readable(at, at.value, coerce::text(at.value), report);
        }
        Shape::Flag => readable(at, at.value, coerce::boolean(at.value), report),
        Shape::Int => readable(at, at.value, coerce::integer(at.value), report),
        Shape::Timespan => span(at, unit, report),
        // Less than nothing is nothing.
        Shape::Period if coerce::span(at.value, unit) == Err(NotSpan::Negative) => {}
        Shape::Period => span(at, unit, report),
        Shape::Texts | Shape::CommaTexts => {
            for piece in coerce::texts(at, false) {
                readable(piece.at, piece.value, piece.text, report);
            }
        }
        Shape::In(keys) => object(at, keys, report),
        Shape::ObjectList(keys) => at.items().iter().for_each(|item| object(item, keys, report)),
        Shape::Metadata => drop(is_map(at, "metadata", report)),
        Shape::Headers | Shape::Any => {}
    }
}

fn readable<T>(at: impl Into<At>, value: &Value, read: Result<T, Expected>, report: &mut Report) {
    if let Err(expected) = read {
        let found = value.describe();
        report.error(at, format!("expected {expected}, found {found}"));
    }
}

/// A duration; a bare number is C29.
fn span(at: &Cursor<'_>, unit: BareUnit, report: &mut Report) {
    let found = at.value.describe();
    let message = match coerce::span(at.value, unit) {
        Ok((_, false)) => return,
        Ok((_, true)) => {
            let number = coerce::text(at.value).unwrap_or_default();
            let unit = match unit {
                BareUnit::Seconds => "seconds",
                BareUnit::Nanoseconds => "nanoseconds",
            };
            let message =
                format!("`{number}` has no unit and is read as {number} {unit}, as GOST does here");
            let help = format!("write `{number}s` if seconds are meant");
            return report.coded(Code::C29, at, message).help(help);
        }
        Err(NotSpan::Negative) => format!("{found} is a negative duration"),
        Err(NotSpan::Text(error)) => format!("{found} is {error}"),
        Err(NotSpan::Kind) => format!("expected {SPAN}, found {found}"),
    };
    report.error(at, message);
}

/// Says so where a number or boolean is used as a text and reads differently from what was written (`0123` is 83).
fn spelling(at: &Cursor<'_>, report: &mut Report) {
    if !matches!(at.value.data, Data::Int(_) | Data::Float(_) | Data::Bool(_)) {
        return;
    }
    let (Ok(read), Some(written)) = (coerce::text(at.value), report.texts.written(at.value.place))
    else {
        return;
    };
    if read == written {
        return;
    }
    if redact::is_secret(at.path.rsplit('.').next().unwrap_or("")) {
        report
            .warning(at, "this is a number and is not read as it is written")
            .help("put it in quotes");
    } else {
        report
            .warning(at, format!("`{written}` is a number and is read as `{read}`"))
            .help(format!("write '{written}' if the text is meant"));
    }
}

/// Most different values of one key that are compared with those of other maps.
const MAX_ACCEPTED: usize = 64;

/// The metadata maps that one set of query parameters goes to: a key that one of them knows is right in all
/// of them.
struct MetadataSet<'a> {
    maps: Vec<(Cursor<'a>, MetadataTables)>,
    /// By key in lower case, the values where it is known.
    known: HashMap<String, Vec<&'a Value>>,
    /// Likewise, where they can be read; at most [`MAX_ACCEPTED`] different ones.
    accepted: HashMap<String, Vec<&'a Value>>,
    /// By key in lower case and place, the maps it is in.
    places: HashMap<(String, Position), Vec<usize>>,
}

/// The keys of one map.
struct MetadataKeys {
    /// For messages: "the metadata of a `wss` listener".
    what: Cow<'static, str>,
    tables: Vec<&'static Object>,
}

/// `None` where the type of what a map belongs to is not known, and so are its keys.
type MetadataTables = Option<MetadataKeys>;

fn metadata_of<'a>(at: &Cursor<'a>, keys: &'static Object) -> Option<MetadataSet<'a>> {
    let mut maps = Vec::new();
    let mut add = |owner: &Cursor<'a>, tables: MetadataTables| {
        maps.extend(owner.child_named("metadata").map(|metadata| (metadata, tables)));
    };
    if std::ptr::eq(keys, &service::OBJECT) {
        add(at, one(&meta::service_metadata::OBJECT));
        if let Some(handler) = at.get(&service::HANDLER) {
            add(&handler, of_handler(&handler));
        }
        let first = at.get(&service::LISTENER).map(Setting::cursor);
        for listener in first.into_iter().chain(at.items_of(&service::LISTENERS)) {
            add(&listener, of_listener(&listener));
        }
    } else if std::ptr::eq(keys, &hop::OBJECT) {
        add(at, one(&meta::node_metadata::OBJECT));
        for node in at.items_of(&hop::NODES) {
            let dialer = node.get(&node::DIALER).map(Setting::cursor);
            for dialer in dialer.into_iter().chain(node.items_of(&node::DIALERS)) {
                add(&dialer, of_dialer(&dialer));
            }
            add(&node, one(&meta::node_metadata::OBJECT));
            if let Some(connector) = node.get(&node::CONNECTOR) {
                add(&connector, of_connector(&connector));
            }
        }
    } else if std::ptr::eq(keys, &chain::OBJECT) {
        add(at, one(&meta::chain_metadata::OBJECT));
    } else {
        return None;
    }
    Some(MetadataSet::new(maps))
}

fn one(table: &'static Object) -> MetadataTables {
    Some(MetadataKeys { what: table.what.into(), tables: vec![table] })
}

fn of_handler(at: &Cursor<'_>) -> MetadataTables {
    match at.read(&handler::TYPE)?.as_str() {
        "router" => one(&meta::router_handler::OBJECT),
        "tun" => one(&meta::tun_handler::OBJECT),
        "tap" => one(&meta::tap_handler::OBJECT),
        _ => None,
    }
}

fn of_listener(at: &Cursor<'_>) -> MetadataTables {
    let name = at.or_default(&listener_base::TYPE);
    match name.as_str() {
        "tun" => return one(&meta::tun_listener::OBJECT),
        "tap" => return one(&meta::tap_listener::OBJECT),
        _ => {}
    }
    let what = format!("the metadata of a `{name}` listener").into();
    transports::of_listener(&name).map(|tables| MetadataKeys { what, tables })
}

fn of_connector(at: &Cursor<'_>) -> MetadataTables {
    match at.or_default(&connector::TYPE).as_str() {
        "router" => one(&meta::router_connector::OBJECT),
        "http" => one(&meta::http_connector::OBJECT),
        "socks5" | "socks" => one(&meta::socks5_connector::OBJECT),
        _ => None,
    }
}

fn of_dialer(at: &Cursor<'_>) -> MetadataTables {
    let name = at.or_default(&dialer::TYPE);
    let what = format!("the metadata of a `{name}` dialer").into();
    transports::of_dialer(&name).map(|tables| MetadataKeys { what, tables })
}

impl<'a> MetadataSet<'a> {
    fn new(maps: Vec<(Cursor<'a>, MetadataTables)>) -> Self {
        let mut known: HashMap<String, Vec<&'a Value>> = HashMap::new();
        let mut accepted: HashMap<String, Vec<&'a Value>> = HashMap::new();
        let mut places: HashMap<(String, Position), Vec<usize>> = HashMap::new();
        for (i, (map, tables)) in maps.iter().enumerate() {
            for entry in map.value.entries() {
                let key = entry.key.to_lowercase();
                if tables.as_ref().is_none_or(|known| counts(&known.tables, &entry.key)) {
                    known.entry(key.clone()).or_default().push(&entry.value);
                }
                let here = tables.as_ref().and_then(|known| find(&known.tables, &entry.key));
                if here.is_some_and(|key| key.accepts(&entry.value)) {
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
                    Some(key) if !key.accepts(&entry.value) && self.accepted_elsewhere(entry) => {}
                    Some(key) => metadata_key(&at, &entry.key, key, report),
                    None if self.known_elsewhere(&entry.key, &entry.value) => {}
                    None => self.unknown(i, &at, &entry.key, report),
                }
            }
        }
    }

    /// Whether some map has the same key with the same value and can read it, as a `quic` listener can read `ttl=5s` and
    /// a hub cannot.
    fn accepted_elsewhere(&self, entry: &Member) -> bool {
        let values = self.accepted.get(&entry.key.to_lowercase());
        values.is_some_and(|values| values.iter().any(|value| value.same(&entry.value)))
    }

    /// Whether some map has the same key with the same value and knows it.
    fn known_elsewhere(&self, key: &str, value: &Value) -> bool {
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

/// Whether `tables` know `key`, and not only as something meant for another map.
fn counts(tables: &[&'static Object], key: &str) -> bool {
    find(tables, key).is_some_and(|key| !matches!(key.status, KeyStatus::Silent))
}

fn find(tables: &[&'static Object], name: &str) -> Option<&'static KeySpec> {
    tables.iter().find_map(|table| table.key(name))
}

fn metadata_key(at: &Cursor<'_>, written: &str, key: &KeySpec, report: &mut Report) {
    let nested =
        matches!(at.value.data, Data::Map(_)) && !matches!(key.shape, Shape::Any | Shape::Headers);
    if !nested {
        return known(at, written, key, BareUnit::Seconds, report);
    }
    let name = key.names[0];
    let inner = at.value.entries().first().map_or("cache", |entry| entry.key.as_str());
    report
        .error(at, format!("metadata is flat: `{name}` cannot hold keys"))
        .help(format!("write the key with a dot, as in {}", quote(&format!("{name}.{inner}"))));
}

/// Where a key is known, if not here.
fn right_table(name: &str) -> Option<String> {
    let read = |table: &&&'static Object| {
        matches!(table.key(name), Some(KeySpec { status: KeyStatus::Taken(..), .. }))
    };
    let table = meta::TABLES.iter().chain(transports::TABLES).find(read)?;
    Some(format!("it belongs to {}", table.what))
}
