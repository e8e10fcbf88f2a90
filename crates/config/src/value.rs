//! A tree of values that remember where they were written.

use std::sync::Arc;

use rtun_core::redact;

use crate::findings::{At, Location};

/// Deepest nesting of a document that is read.
pub(crate) const MAX_DEPTH: usize = 32;
/// Most keys of one map.
pub(crate) const MAX_KEYS: usize = 1024;
/// Most values in one source, aliases expanded; a long text counts as several.
pub(crate) const MAX_VALUES: usize = 1_000_000;

/// Where something was written: a text of [`Texts`], line and column from 1, width in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) text: u32,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) width: u32,
}

/// The texts a configuration was read from, for showing places.
#[derive(Debug, Default, Clone)]
pub(crate) struct Texts(Vec<SourceText>);

#[derive(Debug, Clone)]
struct SourceText {
    name: Arc<str>,
    text: Arc<str>,
    /// Byte offset at which each line starts.
    lines: Vec<usize>,
}

impl Texts {
    /// Adds a text and gives its number.
    pub(crate) fn add(&mut self, name: &str, text: &str) -> u32 {
        let starts = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        self.0.push(SourceText { name: name.into(), text: text.into(), lines });
        u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX)
    }

    pub(crate) fn locate(&self, place: Place) -> Location {
        let source = self.0.get(place.text as usize);
        let (text, text_column) = source.map_or_else(
            || (String::new(), 1),
            |source| excerpt(source.line(place.line), place.column, place.width),
        );
        Location {
            file: source.map_or_else(|| "?".into(), |s| s.name.clone()),
            line: place.line,
            column: place.column,
            width: place.width.max(1),
            text,
            text_column,
        }
    }

    /// The name of the text that `place` is in, and its line.
    pub(crate) fn file_and_line(&self, place: Place) -> (Arc<str>, u32) {
        let file = self.0.get(place.text as usize).map_or_else(|| "?".into(), |s| s.name.clone());
        (file, place.line)
    }

    /// `file:line:column` of `place`.
    pub(crate) fn show(&self, place: Place) -> String {
        let name = self.0.get(place.text as usize).map_or("?", |source| &*source.name);
        format!("{name}:{}:{}", place.line, place.column)
    }

    /// What is written at `place`, unless its line is very long.
    pub(crate) fn written(&self, place: Place) -> Option<String> {
        let line = self.0.get(place.text as usize)?.line(place.line);
        if line.len() > LONG_LINE {
            return None;
        }
        Some(line.chars().skip(place.column as usize - 1).take(place.width as usize).collect())
    }

    /// The rank of the text named `file`, for sorting findings.
    pub(crate) fn position_of(&self, file: &str) -> usize {
        self.0.iter().position(|s| &*s.name == file).unwrap_or(usize::MAX)
    }
}

/// Characters shown before and behind a place.
const CONTEXT: usize = 50;
/// Characters before a place among which the key of a secret is looked for.
const REDACTED: usize = 4096;
/// Bytes of a line that is not looked at for its spelling: that would be done again for every value in it.
const LONG_LINE: usize = 16 << 10;

/// The part of `line` around a place, without secrets, and the column it begins with.
fn excerpt(line: &str, column: u32, width: u32) -> (String, u32) {
    let before = (column as usize).saturating_sub(1);
    let width = (width as usize).clamp(1, CONTEXT);
    let first = before.saturating_sub(REDACTED);
    let taken: String = line.chars().skip(first).take(before - first + width + CONTEXT).collect();
    let redacted = redact::line(&taken);
    let start = if before > CONTEXT + 10 { before - CONTEXT } else { first };
    let shown = redacted.chars().skip(start - first).collect();
    (shown, u32::try_from(start + 1).unwrap_or(u32::MAX))
}

impl SourceText {
    fn line(&self, number: u32) -> &str {
        let index = (number as usize).saturating_sub(1);
        let Some(start) = self.lines.get(index) else { return "" };
        let end = self.lines.get(index + 1).map_or(self.text.len(), |next| next - 1);
        self.text[*start..end].trim_end_matches('\r')
    }
}

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Map(Vec<Entry>),
}

/// A key with its value; keys of one map differ even when case is ignored.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) value: Value,
}

impl Value {
    pub(crate) fn new(place: Place, kind: Kind) -> Self {
        Self { place, kind }
    }

    /// The value of `key`, whatever its case; nulls count as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries()
            .iter()
            .find(|e| same_key(&e.key, key))
            .filter(|e| !matches!(e.value.kind, Kind::Null))
    }

    /// The entries of a map; none for anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Null, or what stands for "not set": an empty text, list or map, false, zero.
    pub(crate) fn is_unset(&self) -> bool {
        match &self.kind {
            Kind::Null | Kind::Bool(false) | Kind::Int(0) => true,
            Kind::Bool(true) | Kind::Int(_) => false,
            Kind::Float(number) => *number == 0.0,
            Kind::Text(text) => text.is_empty(),
            Kind::List(items) => items.is_empty(),
            Kind::Map(entries) => entries.is_empty(),
        }
    }

    /// For messages: what kind of value this is, and its content where that is short.
    pub(crate) fn describe(&self) -> String {
        match &self.kind {
            Kind::Null => "nothing".to_owned(),
            Kind::Bool(value) => format!("`{value}`"),
            Kind::Int(number) => format!("`{number}`"),
            Kind::Float(number) => format!("`{number}`"),
            Kind::Text(text) if text.is_empty() => "an empty text".to_owned(),
            Kind::Text(text) => crate::findings::quote(text),
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a map of keys".to_owned(),
        }
    }

    /// Equal content, wherever it was written.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Null, Kind::Null) => true,
            (Kind::Bool(a), Kind::Bool(b)) => a == b,
            (Kind::Int(a), Kind::Int(b)) => a == b,
            (Kind::Float(a), Kind::Float(b)) => a.to_bits() == b.to_bits(),
            (Kind::Text(a), Kind::Text(b)) => a == b,
            (Kind::List(a), Kind::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
            }
            (Kind::Map(a), Kind::Map(b)) => {
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
    pub(crate) key_place: Place,
}

impl<'a> Cursor<'a> {
    pub(crate) fn root(value: &'a Value) -> Self {
        Self { value, path: String::new(), key_place: value.place }
    }

    /// The value of `key` unless absent or null.
    pub(crate) fn get(&self, key: &str) -> Option<Cursor<'a>> {
        self.value.get(key).map(|entry| self.child(entry))
    }

    /// The value of `key` unless absent, empty, false or 0.
    pub(crate) fn filled(&self, key: &str) -> Option<Cursor<'a>> {
        self.get(key).filter(|at| !at.value.is_unset())
    }

    /// Like [`Cursor::get`] for the first of `keys` that is present.
    pub(crate) fn first(&self, keys: &[&str]) -> Option<Cursor<'a>> {
        keys.iter().find_map(|key| self.get(key))
    }

    pub(crate) fn child(&self, entry: &'a Entry) -> Cursor<'a> {
        let dot = if self.path.is_empty() { "" } else { "." };
        Cursor {
            value: &entry.value,
            path: format!("{}{dot}{}", self.path, entry.key),
            key_place: entry.place,
        }
    }

    /// The items of a list; anything else but null is a list of itself, as GOST reads it.
    pub(crate) fn items(&self) -> Vec<Cursor<'a>> {
        match &self.value.kind {
            Kind::Null => Vec::new(),
            Kind::List(items) => items
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
