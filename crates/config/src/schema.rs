//! Every key of GOST's configuration that has to do with routing tunnels, and the check of a document against
//! them.
//!
//! A key is supported, accepted without effect, known but not supported yet (an error by name), refused for a
//! reason or part of another use of GOST (likewise), or unknown (C26).

mod check;
mod keys;
mod metadata;
mod providers;
mod tls;
mod transport_stack;
mod types;

pub(crate) use check::check;
pub(crate) use keys::ROOT;
pub use types::{CONNECTORS, DIALERS, HANDLERS, LISTENERS, Refused, Types};

/// What a key's value must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Text,
    Bool,
    Int,
    Duration,
    /// A duration; none if it is zero or less.
    Period,
    /// A list of texts; a single one stands for itself.
    Texts,
    Object(&'static Object),
    List(&'static Object),
    /// A flat map, checked by the type beside it.
    Metadata,
    Any,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Status {
    Supported,
    /// Accepted; the text says why it changes nothing.
    NoEffect(&'static str),
    NotYet,
    /// rtun will not; the text says why.
    Refused(&'static str),
    /// Part of GOST's other uses.
    Elsewhere,
    /// In the wrong place; the text says what is right.
    Misplaced(&'static str),
    /// Left behind by a command line, meant for another place; nothing is said.
    Silent,
}

/// One key, its spellings and its fate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// The first that is present counts.
    pub(crate) names: &'static [&'static str],
    pub(crate) shape: Shape,
    pub(crate) status: Status,
}

/// The keys of one kind of object.
#[derive(Debug)]
pub(crate) struct Object {
    /// For messages: "a service".
    pub(crate) what: &'static str,
    pub(crate) keys: &'static [Key],
}

impl Object {
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.names.iter().any(|n| crate::value::same_key(n, name)))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        let offered = |key: &&Key| {
            matches!(key.status, Status::Supported | Status::NoEffect(_) | Status::NotYet)
        };
        self.keys.iter().filter(offered).flat_map(|key| key.names.iter().copied())
    }
}

/// Whether a top-level key holds a list, which several sources append to.
pub(crate) fn is_list(key: &str) -> bool {
    ROOT.key(key).is_some_and(|key| matches!(key.shape, Shape::List(_)))
}

/// Every key there is, for the documentation's test: the object's description and the key.
pub fn all_keys() -> Vec<(&'static str, &'static str)> {
    let mut keys = Vec::new();
    let mut seen: Vec<*const Object> = Vec::new();
    let mut open: Vec<&'static Object> = vec![&ROOT];
    open.extend(metadata::tables());
    while let Some(object) = open.pop() {
        if seen.contains(&std::ptr::from_ref(object)) {
            continue;
        }
        seen.push(object);
        for key in object.keys {
            if !matches!(key.status, Status::Silent) {
                keys.extend(key.names.iter().map(|name| (object.what, *name)));
            }
            if let Shape::Object(inner) | Shape::List(inner) = key.shape {
                open.push(inner);
            }
        }
    }
    keys
}
