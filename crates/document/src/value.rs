//! A tree of values that remember where they were written.

use std::collections::HashMap;

use crate::{
    location::{Position, quote},
    report::Report,
};

/// Deepest nesting of a document that is read.
pub const MAX_DEPTH: usize = 32;
/// Most keys of one map.
pub const MAX_KEYS: usize = 1024;
/// Most values in one source, aliases expanded; a long text counts as several.
pub const MAX_VALUES: usize = 1_000_000;

/// A value and where it was written.
#[derive(Debug, Clone)]
pub struct Value {
    /// Where it was written.
    pub place: Position,
    /// What it is.
    pub data: Data,
}

/// What a value is.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each is its name")]
pub enum Data {
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
pub struct Member {
    /// As written.
    pub key: String,
    /// Where the key was written.
    pub place: Position,
    /// Its value.
    pub value: Value,
}

impl Value {
    /// `data`, written at `place`.
    pub fn new(place: Position, data: Data) -> Self {
        Self { place, data }
    }

    /// A text, written at `place`.
    pub fn text(text: &str, place: Position) -> Self {
        Self::new(place, Data::Text(text.to_owned()))
    }

    /// A list, written at `place`.
    pub fn list(items: Vec<Value>, place: Position) -> Self {
        Self::new(place, Data::List(items))
    }

    /// A map of those `fields` that are there.
    pub fn map(fields: impl IntoIterator<Item = Option<Member>>, place: Position) -> Self {
        Self::new(place, Data::Map(fields.into_iter().flatten().collect()))
    }

    /// A map of `fields`, unless there are none.
    pub fn filled(fields: Vec<Member>, place: Position) -> Option<Self> {
        (!fields.is_empty()).then(|| Self::new(place, Data::Map(fields)))
    }

    /// The value of `key`, whatever its case; nulls count as absent.
    pub fn get(&self, key: &str) -> Option<&Member> {
        self.entries()
            .iter()
            .find(|e| same_key(&e.key, key))
            .filter(|e| !matches!(e.value.data, Data::Null))
    }

    /// Sets `key`, whatever its case, in a map or null.
    pub fn set(&mut self, key: &str, value: Value) {
        let mut entries = match &mut self.data {
            Data::Map(entries) => std::mem::take(entries),
            Data::Null => Vec::new(),
            _ => return,
        };
        entries.retain(|e| !same_key(&e.key, key));
        entries.push(Member { key: key.to_owned(), place: value.place, value });
        self.data = Data::Map(entries);
    }

    /// The items of a list; anything else is a list of itself.
    pub fn into_items(self) -> Vec<Value> {
        match self.data {
            Data::List(items) => items,
            _ => vec![self],
        }
    }

    /// The entries of a map; none for anything else.
    pub fn entries(&self) -> &[Member] {
        match &self.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Null, or what stands for "not set": an empty text, list or map, false, zero.
    pub fn is_unset(&self) -> bool {
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
    pub fn describe(&self) -> String {
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
    pub fn same(&self, other: &Self) -> bool {
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
pub fn same_key(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || !a.is_ascii() && a.to_lowercase() == b.to_lowercase()
}

/// What a text holds that is no document; reading it stops there.
pub(crate) struct SyntaxProblem {
    pub(crate) place: Position,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

pub(crate) fn refuse<T>(place: Position, message: impl Into<String>) -> Result<T, SyntaxProblem> {
    Err(SyntaxProblem { place, message: message.into(), help: None })
}

impl SyntaxProblem {
    pub(crate) fn report(self, report: &Report) {
        report.at(self.place).error(self.message).maybe_help(self.help);
    }
}

/// The entries of a map with an index by lower-case key.
#[derive(Default)]
pub(crate) struct UniqueKeys {
    pub(crate) list: Vec<Member>,
    index: HashMap<String, usize>,
}

impl UniqueKeys {
    pub(crate) fn has(&self, key: &str) -> bool {
        self.index.contains_key(&key.to_lowercase())
    }

    /// Adds an entry unless its key is there already or the map is full.
    pub(crate) fn insert(&mut self, entry: Member) -> Result<(), SyntaxProblem> {
        if self.list.len() >= MAX_KEYS {
            return refuse(entry.place, format!("this map has more than {MAX_KEYS} keys"));
        }
        let lower = entry.key.to_lowercase();
        if let Some(first) = self.index.get(&lower).and_then(|i| self.list.get(*i)) {
            debug_assert!(same_key(&first.key, &entry.key));
            let message = format!(
                "{} is given twice: first in line {}, column {}",
                quote(&entry.key),
                first.place.line,
                first.place.column
            );
            return refuse(entry.place, message);
        }
        self.index.insert(lower, self.list.len());
        self.list.push(entry);
        Ok(())
    }
}
