//! One change of a configuration, as the Web API asks for it: a pure function from parts and a change to other parts.

mod body;
mod secrets;

pub(crate) use secrets::starred;

use std::fmt;

use crate::{
    findings::{Finding, Profile},
    json,
    location::Position,
    parts::{ConfigPart, ConfigParts, PartOrigin},
    report::Report,
    schema::{self, root},
    source, suggest,
    value::{Data, Value},
};

/// The lists of objects that GOST's Web API knows.
pub const GROUPS: [&str; 18] = [
    "services",
    "chains",
    "hops",
    "authers",
    "admissions",
    "bypasses",
    "resolvers",
    "hosts",
    "ingresses",
    "routers",
    "observers",
    "recorders",
    "sds",
    "limiters",
    "quotas",
    "climiters",
    "rlimiters",
    "caches",
];

/// A change of one object.
#[derive(Debug, Clone, Copy)]
pub struct ObjectChange<'a> {
    /// The list it is in, such as `services`.
    pub group: &'a str,
    /// What becomes of it.
    pub action: ChangeAction<'a>,
    /// How findings call the body, as `PUT /config/services/hub`.
    pub title: &'a str,
}

/// What becomes of an object.
#[derive(Debug, Clone, Copy)]
pub enum ChangeAction<'a> {
    /// One more, of this JSON.
    Create(&'a str),
    /// The one of this name becomes this JSON; the name stays.
    Replace(&'a str, &'a str),
    /// The one of this name goes.
    Delete(&'a str),
}

/// Why a change cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// rtun has no such list.
    #[error("{0}")]
    Group(String),
    /// The body says something wrong, or is no JSON.
    #[error("{}", first(.0))]
    Body(Vec<Finding>),
    /// There is an object of that name.
    #[error("{what} {name} already exists")]
    Exists {
        /// As "service".
        what: String,
        /// Its name.
        name: String,
    },
    /// There is no object of that name.
    #[error("{what} {name} not found{}", help(.suggestion))]
    NotFound {
        /// As "service".
        what: String,
        /// The name that was asked for.
        name: String,
        /// A name that may be meant.
        suggestion: Option<String>,
    },
}

fn first(findings: &[Finding]) -> String {
    findings.first().map(ToString::to_string).unwrap_or_default()
}

fn help(suggestion: &Option<String>) -> impl fmt::Display {
    suggestion.as_ref().map(|text| format!(": {text}")).unwrap_or_default()
}

/// Whether rtun has the list `group`, one of [`GROUPS`].
///
/// # Errors
///
/// [`EditError::Group`] with the reason.
pub fn known_group(group: &str) -> Result<&'static str, EditError> {
    let Some(known) = GROUPS.iter().find(|known| **known == group) else {
        let help = suggest::did_you_mean(group, GROUPS).map(|it| format!(": {it}"));
        let help = help.unwrap_or_default();
        return Err(EditError::Group(format!("there is no list `{}`{help}", group.escape_debug())));
    };
    match root::OBJECT.key(known) {
        Some(key) if schema::is_taken(key) => Ok(known),
        _ => Err(EditError::Group(format!(
            "rtun does not use `{known}`: a routing tunnel has no need of them"
        ))),
    }
}

impl ConfigParts {
    /// The parts after `change`. Whether they are a configuration that can run is for [`load_parts`](crate::load_parts) to say.
    ///
    /// # Errors
    ///
    /// Any of [`EditError`]; nothing has changed then.
    pub fn edit(&self, change: &ObjectChange<'_>) -> Result<Self, EditError> {
        let group = known_group(change.group)?;
        let what = || singular(group);
        let mut next = self.clone();
        match change.action {
            ChangeAction::Create(body) => {
                let (body, name) = next.body(change, group, body, None)?;
                if self.find(group, &name).is_some() {
                    return Err(EditError::Exists { what: what(), name });
                }
                next.add(group, body);
            }
            ChangeAction::Replace(name, body) => {
                let (part, index) =
                    self.find(group, name).ok_or_else(|| self.not_found(group, name))?;
                let old = objects(&self.parts[part].value, group).swap_remove(index);
                let (body, _) = next.body(change, group, body, Some((name, old)))?;
                next.parts[part].set(group, index, Some(body));
            }
            ChangeAction::Delete(name) => {
                let (part, index) =
                    self.find(group, name).ok_or_else(|| self.not_found(group, name))?;
                next.parts[part].set(group, index, None);
            }
        }
        next.forget_texts();
        Ok(next)
    }

    /// Whether there is an object of this name in a list.
    pub fn has(&self, group: &str, name: &str) -> bool {
        self.find(group, name).is_some()
    }

    /// Whether an object was made, changed or deleted since these parts were read or saved.
    pub fn is_edited(&self) -> bool {
        self.parts.iter().any(|part| part.is_edited)
    }

    /// The object that `text` is, with its name.
    fn body(
        &mut self,
        change: &ObjectChange<'_>,
        group: &'static str,
        text: &str,
        before: Option<(&str, &Value)>,
    ) -> Result<(Value, String), EditError> {
        let report = Report::of_texts(Profile::Compat, self.texts.clone());
        let number = report.add_text(change.title, text);
        let body = json::read(text, number, &report)
            .and_then(|value| body::read(value, group, before, &report));
        self.texts = report.texts();
        match body {
            Some(body) if !report.failed() => Ok(body),
            _ => Err(EditError::Body(report.finish())),
        }
    }

    /// The part that has the object, and its place in the list there.
    fn find(&self, group: &str, name: &str) -> Option<(usize, usize)> {
        self.parts.iter().enumerate().find_map(|(number, part)| {
            let named = |object: &&Value| name_of(object) == Some(name);
            Some((number, objects(&part.value, group).iter().position(named)?))
        })
    }

    fn not_found(&self, group: &str, name: &str) -> EditError {
        let all = self.parts.iter().flat_map(|part| objects(&part.value, group));
        let names: Vec<&str> = all.filter_map(name_of).collect();
        let suggestion = suggest::did_you_mean(name, names);
        EditError::NotFound { what: singular(group), name: name.to_owned(), suggestion }
    }

    /// To the last file, or else to a part of its own.
    fn add(&mut self, group: &'static str, object: Value) {
        let last = self.parts.iter().rposition(|part| part.path().is_some());
        let made = || {
            matches!(&self.parts.last()?.origin, PartOrigin::Elsewhere(name) if name == MADE)
                .then(|| self.parts.len() - 1)
        };
        let number = last.or_else(made).unwrap_or_else(|| {
            self.parts.push(ConfigPart {
                origin: PartOrigin::Elsewhere(MADE.to_owned()),
                value: Value::map([], Position::NOWHERE),
                is_edited: true,
            });
            self.parts.len() - 1
        });
        let part = &mut self.parts[number];
        let mut list = Value::map([], object.place);
        list.set(group, Value::list(vec![object], Position::NOWHERE));
        source::merge(&mut part.value, list);
        part.is_edited = true;
    }

    /// Forgets the texts that nothing refers to any more, so that many changes take no more memory than one.
    pub(crate) fn forget_texts(&mut self) {
        let mut used = Vec::new();
        for part in &self.parts {
            texts_of(&part.value, &mut used);
        }
        let numbers = self.texts.keep(&used);
        for part in &mut self.parts {
            renumber(&mut part.value, &numbers);
        }
    }
}

/// How messages call what was made over the Web API where there is no file to write it to.
const MADE: &str = "the Web API";

impl ConfigPart {
    /// Replaces or removes an object of a list.
    fn set(&mut self, group: &str, index: usize, object: Option<Value>) {
        let Some(member) = self.value.get(group) else { return };
        let (key, place) = (member.key.clone(), member.value.place);
        let mut items = member.value.clone().into_items();
        match object {
            Some(object) => items[index] = object,
            None => drop(items.remove(index)),
        }
        let entries = match &mut self.value.data {
            Data::Map(entries) => entries,
            _ => return,
        };
        if let Some(entry) = entries.iter_mut().find(|entry| entry.key == key) {
            entry.value = Value::list(items, place);
        }
        self.is_edited = true;
    }
}

/// The objects of a list; nulls count, so that places stay.
pub(crate) fn objects<'a>(document: &'a Value, group: &str) -> Vec<&'a Value> {
    match document.get(group).map(|member| &member.value) {
        Some(Value { data: Data::List(items), .. }) => items.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    }
}

/// The name of an object, if it has one.
pub(crate) fn name_of(object: &Value) -> Option<&str> {
    match &object.get("name")?.value.data {
        Data::Text(name) => Some(name),
        _ => None,
    }
}

/// What messages call one object of a list.
fn singular(group: &str) -> String {
    match group {
        "ingresses" => "ingress".to_owned(),
        "hosts" => "hosts".to_owned(),
        _ => group.trim_end_matches('s').to_owned(),
    }
}

fn texts_of(value: &Value, used: &mut Vec<u32>) {
    if !used.contains(&value.place.text) {
        used.push(value.place.text);
    }
    match &value.data {
        Data::List(items) => items.iter().for_each(|item| texts_of(item, used)),
        Data::Map(entries) => entries.iter().for_each(|entry| {
            if !used.contains(&entry.place.text) {
                used.push(entry.place.text);
            }
            texts_of(&entry.value, used);
        }),
        _ => {}
    }
}

fn renumber(value: &mut Value, numbers: &[u32]) {
    let renumbered = |place: Position| {
        let text = numbers.get(place.text as usize).copied().unwrap_or(place.text);
        Position { text, ..place }
    };
    value.place = renumbered(value.place);
    match &mut value.data {
        Data::List(items) => items.iter_mut().for_each(|item| renumber(item, numbers)),
        Data::Map(entries) => entries.iter_mut().for_each(|entry| {
            entry.place = renumbered(entry.place);
            renumber(&mut entry.value, numbers);
        }),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
