//! `-L` and `-F` URLs, turned into the same document a file would give.

mod node;
mod objects;
mod parts;
mod service;

use objects::Objects;
pub(crate) use parts::listen_url;
use parts::{UrlPiece, entry};

use crate::{
    findings::Report,
    location::Position,
    value::{Data, Member, Value},
};

/// The name of the chain that all `-F` together make.
const CHAIN: &str = "chain-0";

/// The document that these `-L` and `-F` arguments stand for; what is wrong is reported and left out.
pub(crate) fn document(services: &[String], nodes: &[String], report: &mut Report) -> Value {
    let mut objects = Objects::default();
    let mut hops = Vec::new();
    for (i, url) in nodes.iter().enumerate() {
        let flag = flag_name("-F", i, nodes.len());
        hops.extend(node::hop(&flag, url, i, &mut objects, report));
    }
    let chain = hops.first().map(|hop| hop.place);
    if let Some(place) = chain {
        let name = text(CHAIN, place);
        let hops = Value::new(place, Data::List(hops));
        objects.push("chains", vec![entry("name", name), entry("hops", hops)], place);
    }
    let mut count = 0;
    for (i, url) in services.iter().enumerate().filter(|(_, url)| !url.trim().is_empty()) {
        let flag = flag_name("-L", i, services.len());
        for service in service::services(&flag, url, report) {
            service.build(count, chain.is_some(), &mut objects);
            count += 1;
        }
    }
    objects.document()
}

/// How messages name the `index`th of `count` arguments.
fn flag_name(flag: &str, index: usize, count: usize) -> String {
    if count == 1 { flag.to_owned() } else { format!("{flag}#{}", index + 1) }
}

fn text(text: &str, place: Position) -> Value {
    UrlPiece { text: text.to_owned(), place }.value()
}

fn map(entries: Vec<Member>, place: Position) -> Value {
    Value::new(place, Data::Map(entries))
}
