//! The check of a document against the keys: what is unknown, not supported, of the wrong kind.

use std::{borrow::Cow, collections::HashMap};

use rtun_core::redact;

use super::{
    field::{KeySpec, KeyStatus, Object, Shape},
    metadata as meta,
    objects::{chain, connector, dialer, handler, hop, listener_base, node, root, service},
    transports,
};
use crate::{
    coerce::{self, BareUnit, Expected, NotSpan, SPAN},
    findings::Code,
    location::{Position, quote},
    report::At,
    suggest,
    value::{Cursor, Data, Member, Value},
};

/// Reports every key of `document` that cannot be used, and every value that cannot be read.
pub(crate) fn check(document: &Cursor<'_>) {
    object(document, &root::OBJECT);
}

fn object(at: &Cursor<'_>, keys: &'static Object) {
    if !is_map(at, keys.what) {
        return;
    }
    for entry in at.value.entries() {
        let child = at.child(entry);
        match keys.key(&entry.key) {
            None => unknown(&child, &entry.key, keys),
            Some(key) => known(&child, &entry.key, key, BareUnit::Nanoseconds),
        }
    }
    if let Some(set) = metadata_of(at, keys) {
        set.check();
    }
}

fn is_map(at: &Cursor<'_>, what: &str) -> bool {
    let is_map = matches!(at.value.data, Data::Map(_) | Data::Null);
    if !is_map {
        let found = at.value.describe();
        at.error(format!("expected {what}, a map of keys, found {found}"));
    }
    is_map
}

/// Checks the value of `key`, which is written as `name`.
fn known(at: &Cursor<'_>, name: &str, key: &KeySpec, unit: BareUnit) {
    let name =
        quote(key.names.iter().find(|known| known.eq_ignore_ascii_case(name)).unwrap_or(&name));
    match key.status {
        _ if matches!(at.value.data, Data::Null) => {}
        KeyStatus::Silent | KeyStatus::ByName => {}
        KeyStatus::Taken(..) => shape(at, key.shape, unit),
        KeyStatus::NoEffect(why) => {
            shape(at, key.shape, unit);
            at.key().info(format!("{name} has no effect: {why}"));
        }
        _ if at.value.is_unset() => {}
        KeyStatus::NotYet => drop(at.key().error(format!("{name} is not supported yet"))),
        KeyStatus::Refused(why) => {
            at.key().error(format!("{name} is not supported: {why}"));
        }
        KeyStatus::Harmless(why) => drop(at.key().warning(format!("{name} has no effect: {why}"))),
        KeyStatus::Misplaced(right) => {
            at.key().error(format!("{name} has no effect here")).help(right);
        }
    }
}

fn unknown(at: &Cursor<'_>, name: &str, keys: &Object) {
    let message = format!("there is no key {} in {}", quote(name), keys.what);
    let in_metadata = || {
        let inside = right_table(name).is_some() && keys.key("metadata").is_some();
        inside.then(|| format!("{} belongs under `metadata`", quote(name)))
    };
    at.key()
        .coded(Code::C26, message)
        .help_with(|| in_metadata().or_else(|| suggest::did_you_mean(name, keys.names())));
}

fn shape(at: &Cursor<'_>, shape: Shape, unit: BareUnit) {
    match shape {
        Shape::OneText => {
            spelling(at);
            readable(at, at.value, coerce::text(at.value));
        }
        Shape::Flag => readable(at, at.value, coerce::boolean(at.value)),
        Shape::Int => readable(at, at.value, coerce::integer(at.value)),
        Shape::Timespan => span(at, unit),
        // Less than nothing is nothing.
        Shape::Period if coerce::span(at.value, unit) == Err(NotSpan::Negative) => {}
        Shape::Period => span(at, unit),
        Shape::Texts | Shape::CommaTexts => {
            for piece in coerce::texts(at, false) {
                readable(&piece.at, piece.value, piece.text);
            }
        }
        Shape::In(keys) => object(at, keys),
        Shape::ObjectList(keys) => at.items().iter().for_each(|item| object(item, keys)),
        Shape::Metadata => drop(is_map(at, "metadata")),
        Shape::Headers | Shape::Any => {}
    }
}

fn readable<T>(at: &At<'_>, value: &Value, read: Result<T, Expected>) {
    if let Err(expected) = read {
        let found = value.describe();
        at.error(format!("expected {expected}, found {found}"));
    }
}

/// A duration; a bare number is C29.
fn span(at: &Cursor<'_>, unit: BareUnit) {
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
            return at.coded(Code::C29, message).help(help);
        }
        Err(NotSpan::Negative) => format!("{found} is a negative duration"),
        Err(NotSpan::Text(error)) => format!("{found} is {error}"),
        Err(NotSpan::Kind) => format!("expected {SPAN}, found {found}"),
    };
    at.error(message);
}

/// Says so where a number or boolean is used as a text and reads differently from what was written (`0123` is 83).
fn spelling(at: &Cursor<'_>) {
    if !matches!(at.value.data, Data::Int(_) | Data::Float(_) | Data::Bool(_)) {
        return;
    }
    let (Ok(read), Some(written)) = (coerce::text(at.value), at.written()) else {
        return;
    };
    if read == written {
        return;
    }
    if redact::is_secret(at.path.rsplit('.').next().unwrap_or("")) {
        at.warning("this is a number and is not read as it is written").help("put it in quotes");
    } else {
        at.warning(format!("`{written}` is a number and is read as `{read}`"))
            .help(format!("write '{written}' if the text is meant"));
    }
}

/// Most different values of one key that are compared with those of other maps.
const MAX_VALUES: usize = 64;

/// The metadata maps that one set of query parameters goes to: a key that one of them knows is right in all
/// of them.
struct MetadataSet<'a> {
    maps: Vec<(Cursor<'a>, MetadataTables)>,
    /// What is written where its key is known.
    known: WrittenValues<'a>,
    /// What can be read where it is written.
    accepted: WrittenValues<'a>,
    /// By key in lower case and place, the maps it is in.
    places: HashMap<(String, Position), Vec<usize>>,
}

/// By key in lower case, at most [`MAX_VALUES`] different values.
#[derive(Default)]
struct WrittenValues<'a>(HashMap<String, Vec<&'a Value>>);

impl<'a> WrittenValues<'a> {
    fn add(&mut self, entry: &'a Member) {
        let values = self.0.entry(entry.key.to_lowercase()).or_default();
        let is_new = !values.iter().any(|value| value.same(&entry.value));
        if is_new && values.len() < MAX_VALUES {
            values.push(&entry.value);
        }
    }

    fn has(&self, entry: &Member) -> bool {
        let values = self.0.get(&entry.key.to_lowercase());
        values.is_some_and(|values| values.iter().any(|value| value.same(&entry.value)))
    }
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
        for handler in at.items_of(&service::HANDLER) {
            add(&handler, of_handler(&handler));
        }
        let listeners = [at.items_of(&service::LISTENER), at.items_of(&service::LISTENERS)];
        for listener in listeners.concat() {
            add(&listener, of_listener(&listener));
        }
    } else if std::ptr::eq(keys, &hop::OBJECT) {
        add(at, one(&meta::node_metadata::OBJECT));
        for node in at.items_of(&hop::NODES) {
            for dialer in [node.items_of(&node::DIALER), node.items_of(&node::DIALERS)].concat() {
                add(&dialer, of_dialer(&dialer));
            }
            add(&node, one(&meta::node_metadata::OBJECT));
            for connector in node.items_of(&node::CONNECTOR) {
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
        "relay" => one(&meta::relay_handler::OBJECT),
        "metrics" => one(&meta::metrics_handler::OBJECT),
        "api" => one(&meta::api_handler::OBJECT),
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
        "relay" => one(&meta::relay_connector::OBJECT),
        "http" => one(&meta::http_connector::OBJECT),
        "socks4" | "socks4a" => one(&meta::socks4_connector::OBJECT),
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
        let (mut known, mut accepted) = (WrittenValues::default(), WrittenValues::default());
        let mut places: HashMap<(String, Position), Vec<usize>> = HashMap::new();
        for (i, (map, tables)) in maps.iter().enumerate() {
            for entry in map.value.entries() {
                let key = tables.as_ref().map(|known| find(&known.tables, &entry.key));
                if key.is_none_or(|key| {
                    key.is_some_and(|key| !matches!(key.status, KeyStatus::Silent))
                }) {
                    known.add(entry);
                }
                if key.flatten().is_some_and(|key| key.accepts(&entry.value)) {
                    accepted.add(entry);
                }
                let place = (entry.key.to_lowercase(), entry.value.place);
                places.entry(place).or_default().push(i);
            }
        }
        Self { maps, known, accepted, places }
    }

    fn check(&self) {
        for (i, (map, tables)) in self.maps.iter().enumerate() {
            let Some(tables) = tables else { continue };
            for entry in map.value.entries() {
                let at = map.child(entry);
                match find(&tables.tables, &entry.key) {
                    // As a `quic` listener can read `ttl=5s` and a hub cannot.
                    Some(key) if !key.accepts(&entry.value) && self.accepted.has(entry) => {}
                    Some(key) => metadata_key(&at, &entry.key, key),
                    None if self.known.has(entry) => {}
                    None => self.unknown(i, &at, &entry.key),
                }
            }
        }
    }

    /// Reports a key of the `index`th map that no map knows; one parameter in several maps is reported once.
    fn unknown(&self, index: usize, at: &Cursor<'_>, name: &str) {
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
        at.key().coded(Code::C26, message).help_with(|| {
            let tables = known.iter().flat_map(|known| &known.tables);
            let names = tables.flat_map(|table| table.names());
            right_table(name).or_else(|| suggest::did_you_mean(name, names))
        });
    }
}

fn find(tables: &[&'static Object], name: &str) -> Option<&'static KeySpec> {
    tables.iter().find_map(|table| table.key(name))
}

fn metadata_key(at: &Cursor<'_>, written: &str, key: &KeySpec) {
    let nested =
        matches!(at.value.data, Data::Map(_)) && !matches!(key.shape, Shape::Any | Shape::Headers);
    if !nested {
        return known(at, written, key, BareUnit::Seconds);
    }
    let name = key.names[0];
    let inner = at.value.entries().first().map_or("cache", |entry| entry.key.as_str());
    at.error(format!("metadata is flat: `{name}` cannot hold keys"))
        .help(format!("write the key with a dot, as in {}", quote(&format!("{name}.{inner}"))));
}

/// Where a key is known, if not here.
fn right_table(name: &str) -> Option<String> {
    let read = |table: &Object| {
        matches!(table.key(name), Some(KeySpec { status: KeyStatus::Taken(..), .. }))
    };
    let mut tables = meta::TABLES.iter().chain(transports::TABLES);
    let table = tables.find(|table| !table.only_shared && read(table))?;
    Some(format!("it belongs to {}", table.what))
}
