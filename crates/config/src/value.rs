//! A tree of values that remember where they were written.

use crate::location::{At, Position, quote};

/// Deepest nesting of a document that is read.
pub(crate) const MAX_DEPTH: usize = 32;
/// Most keys of one map.
pub(crate) const MAX_KEYS: usize = 1024;
/// Most values in one source, aliases expanded; a long text counts as several.
pub(crate) const MAX_VALUES: usize = 1_000_000;

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) place: Position,
    pub(crate) data: Data,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(crate) enum Data {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Map(Vec<Member>),
}

/// A key with its value; keys of one map differ even when case is ignored.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) key: String,
    pub(crate) place: Position,
    pub(crate) value: Value,
}

impl Value {
    pub(crate) fn new(place: Position, data: Data) -> Self {
        Self { place, data }
    }

    /// The value of `key`, whatever its case; nulls count as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&Member> {
        self.entries()
            .iter()
            .find(|e| same_key(&e.key, key))
            .filter(|e| !matches!(e.value.data, Data::Null))
    }

    /// The entries of a map; none for anything else.
    pub(crate) fn entries(&self) -> &[Member] {
        match &self.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Null, or what stands for "not set": an empty text, list or map, false, zero.
    pub(crate) fn is_unset(&self) -> bool {
        match &self.data {
            Data::Null | Data::Bool(false) | Data::Int(0) => true,
            Data::Bool(true) | Data::Int(_) => false,
            Data::Float(number) => *number == 0.0,
            Data::Text(text) => text.is_empty(),
            Data::List(items) => items.is_empty(),
            Data::Map(entries) => entries.is_empty(),
        }
    }

    /// For messages: what kind of value this is, and its content where that is short.
    pub(crate) fn describe(&self) -> String {
        match &self.data {
            Data::Null => "nothing".to_owned(),
            Data::Bool(value) => format!("`{value}`"),
            Data::Int(number) => format!("`{number}`"),
            Data::Float(number) => format!("`{number}`"),
            Data::Text(text) if text.is_empty() => "an empty text".to_owned(),
            Data::Text(text) => quote(text),
            Data::List(_) => "a list".to_owned(),
            Data::Map(_) => "a map of keys".to_owned(),
        }
    }

    /// Equal content, wherever it was written.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (&self.data, &other.data) {
            (Data::Null, Data::Null) => true,
            (Data::Bool(a), Data::Bool(b)) => a == b,
            (Data::Int(a), Data::Int(b)) => a == b,
            (Data::Float(a), Data::Float(b)) => a.to_bits() == b.to_bits(),
            (Data::Text(a), Data::Text(b)) => a == b,
            (Data::List(a), Data::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
            }
            (Data::Map(a), Data::Map(b)) => {
                a.len() == b.len()
                    && a.iter().zip(b).all(|(a, b)| a.key == b.key && a.value.same(&b.value))
            }
            _ => false,
        }
    }
}

/// Keys are compared without regard to case, as GOST does.
pub(crate) fn same_key(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || !a.is_ascii() && a.to_lowercase() == b.to_lowercase()
}

/// A value together with the key that leads to it.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    pub(crate) value: &'a Value,
    pub(crate) path: String,
    /// Where the key was written; the value's place if there is none.
    pub(crate) key_place: Position,
}

impl<'a> Cursor<'a> {
    pub(crate) fn root(value: &'a Value) -> Self {
        Self { value, path: String::new(), key_place: value.place }
    }

    /// The value of `key`, whatever its case, unless absent or null.
    pub(crate) fn child_named(&self, key: &str) -> Option<Cursor<'a>> {
        self.value.get(key).map(|entry| self.child(entry))
    }

    pub(crate) fn child(&self, entry: &'a Member) -> Cursor<'a> {
        let dot = if self.path.is_empty() { "" } else { "." };
        Cursor {
            value: &entry.value,
            path: format!("{}{dot}{}", self.path, entry.key),
            key_place: entry.place,
        }
    }

    /// The items of a list; anything else but null is a list of itself, as GOST reads it.
    pub(crate) fn items(&self) -> Vec<Cursor<'a>> {
        match &self.value.data {
            Data::Null => Vec::new(),
            Data::List(items) => items
                .iter()
                .enumerate()
                .map(|(i, value)| Cursor {
                    value,
                    path: format!("{}[{i}]", self.path),
                    key_place: value.place,
                })
                .collect(),
            _ => vec![self.clone()],
        }
    }

    /// The place of the key, for findings about the key itself.
    pub(crate) fn key(&self) -> At {
        At { place: Some(self.key_place), path: self.path.clone() }
    }
}

/// The place of the value.
impl From<&Cursor<'_>> for At {
    fn from(cursor: &Cursor<'_>) -> Self {
        Self { place: Some(cursor.value.place), path: cursor.path.clone() }
    }
}
