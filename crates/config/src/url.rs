//! `-L` and `-F` URLs, turned into the same document a file would give.

mod node;
mod objects;
mod params;
mod parts;
mod service;

use objects::Objects;
use params::Params;

use crate::{
    report::Report,
    value::{Data, Member, Value},
};

/// The name of the chain that all `-F` together make.
const CHAIN: &str = "chain-0";

/// The document that these `-L` and `-F` arguments stand for; what is wrong is reported and left out.
pub(crate) fn document(services: &[String], nodes: &[String], report: &Report) -> Value {
    let mut objects = Objects::default();
    let mut hops = Vec::new();
    for (i, url) in nodes.iter().enumerate() {
        let flag = flag_name("-F", i, nodes.len());
        hops.extend(node::hop(&flag, url, i, &mut objects, report));
    }
    if let Some(place) = hops.first().map(|hop| hop.place) {
        let name = Value::text(CHAIN, place);
        objects.push(
            "chains",
            Value::map([field("name", name), field("hops", Value::list(hops, place))], place),
        );
    }
    for (i, url) in services.iter().enumerate().filter(|(_, url)| !url.trim().is_empty()) {
        let flag = flag_name("-L", i, services.len());
        // What is wrong has been reported.
        let _ = service::add(&flag, url, &mut objects, report);
    }
    objects.document()
}

/// How messages name the `index`th of `count` arguments.
fn flag_name(flag: &str, index: usize, count: usize) -> String {
    if count == 1 { flag.to_owned() } else { format!("{flag}#{}", index + 1) }
}

/// A key that stands where its value stands, if there is a value.
fn field(key: &str, value: impl Into<Option<Value>>) -> Option<Member> {
    let value = value.into()?;
    Some(Member { key: key.to_owned(), place: value.place, value })
}

/// The `api` or `metrics` object that the argument of `-api` or `-metrics` stands for; `keys` become its
/// fields.
pub(crate) fn listen_url(flag: &str, text: &str, keys: &[&str], report: &Report) -> Option<Value> {
    let parts = parts::parse(flag, text, report)?;
    let addr = match text.starts_with("unix://") {
        true => Value::text(text.split('?').next().unwrap_or_default(), parts.host.place),
        false => parts.host.value(),
    };
    let auth = parts.user.map(|auth| auth.value());
    let mut params = Params(parts.params);
    let others = keys.iter().map(|key| field(key, params.take(&[key])));
    let fields = [field("addr", addr), field("auth", auth)];
    Some(Value::map(fields.into_iter().chain(others), parts.whole))
}

/// The text of a value that is one.
fn text(value: &Value) -> &str {
    match &value.data {
        Data::Text(text) => text,
        _ => "",
    }
}

/// The pieces of a comma text.
fn pieces(value: &Value) -> impl Iterator<Item = &str> {
    text(value).split(',').filter(|piece| !piece.is_empty())
}

/// A comma text as a list.
fn split(value: &Value) -> Value {
    let items = pieces(value).map(|item| Value::text(item, value.place)).collect();
    Value::list(items, value.place)
}
