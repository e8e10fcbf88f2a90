//! A cursor through the values of a document: what is found about a value is reported where it was written.

use std::ops::Deref;

pub(crate) use rtun_document::value::{Data, Member, Value, same_key};

use crate::{
    location::Position,
    report::{At, Report},
};

/// A value, where it was written and which keys lead to it: what is found about it is reported there.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    /// The value.
    pub(crate) value: &'a Value,
    /// Where findings about it are reported.
    pub(crate) at: At<'a>,
    /// Where the key was written; the value's place if there is none.
    key_place: Position,
}

impl<'a> Deref for Cursor<'a> {
    type Target = At<'a>;
    fn deref(&self) -> &At<'a> {
        &self.at
    }
}

impl<'a> Cursor<'a> {
    /// The whole of a document.
    pub(crate) fn root(value: &'a Value, report: &'a Report) -> Self {
        Self { value, at: report.at(value.place), key_place: value.place }
    }

    /// The value of `key`, whatever its case, unless absent or null.
    pub(crate) fn child_named(&self, key: &str) -> Option<Cursor<'a>> {
        self.value.get(key).map(|entry| self.child(entry))
    }

    /// The value of a member of this map.
    pub(crate) fn child(&self, entry: &'a Member) -> Cursor<'a> {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.inner(&entry.value, format!("{}{dot}{}", self.path, entry.key), entry.place)
    }

    fn inner(&self, value: &'a Value, path: String, key_place: Position) -> Cursor<'a> {
        let at = At { report: self.report, place: Some(value.place), path };
        Cursor { value, at, key_place }
    }

    /// The items of a list, nulls left out; anything else but null is a list of itself, as GOST reads it.
    pub(crate) fn items(&self) -> Vec<Cursor<'a>> {
        match &self.value.data {
            Data::Null => Vec::new(),
            Data::List(items) => items
                .iter()
                .enumerate()
                .filter(|(_, value)| !matches!(value.data, Data::Null))
                .map(|(i, value)| self.inner(value, format!("{}[{i}]", self.path), value.place))
                .collect(),
            _ => vec![self.clone()],
        }
    }

    /// An empty object in the same place.
    pub(crate) fn emptied(&self) -> Cursor<'a> {
        static EMPTY: Value = Value { place: Position::NOWHERE, data: Data::Map(Vec::new()) };
        Cursor { value: &EMPTY, ..self.clone() }
    }

    /// The place of the key, for findings about the key itself.
    pub(crate) fn key(&self) -> At<'a> {
        At { place: Some(self.key_place), ..self.at.clone() }
    }
}
