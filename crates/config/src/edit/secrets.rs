//! Secrets in answers are stars, and stars in a body are the secret that stands there.

use rtun_core::redact;

use crate::{
    location::Position,
    value::{Data, Value, same_key},
};

/// What stands in the place of a secret.
const STARS: &str = "***";

/// Maps whose values may be secrets, whatever their keys.
const HEADERS: [&str; 3] = ["header", "headers", "httpHeaders"];

/// What tells one object of a list from the others.
const IDENTITIES: [&str; 5] = ["name", "username", "addr", "hostname", "dst"];

/// What becomes of the text at a key.
#[derive(Clone, Copy, PartialEq)]
enum SecretKind {
    /// It is a secret.
    Secret,
    /// It is one of headers.
    Headers,
    /// A URL in it may name a user.
    Plain,
}

impl SecretKind {
    /// Of the value of `key` in a map of this kind whose own key is `parent`.
    fn of(self, key: &str, parent: &str) -> Self {
        let key = key.rsplit('.').next().unwrap_or(key);
        let is_header = HEADERS.iter().any(|name| same_key(key, name));
        match self {
            Self::Secret => Self::Secret,
            Self::Headers if redact::is_plain_header(key) => Self::Plain,
            Self::Headers => Self::Secret,
            Self::Plain if is_header => Self::Headers,
            // There it is the name of a key of the server's.
            Self::Plain if same_key(parent, "redis") && same_key(key, "key") => Self::Plain,
            Self::Plain if redact::is_secret(key) => Self::Secret,
            Self::Plain => Self::Plain,
        }
    }
}

/// `value` with stars in the place of each secret.
pub(crate) fn starred(value: &Value) -> Value {
    let mut value = value.clone();
    star(&mut value, SecretKind::Plain, "");
    value
}

fn star(value: &mut Value, kind: SecretKind, key: &str) {
    match &mut value.data {
        Data::List(items) => items.iter_mut().for_each(|item| star(item, kind, key)),
        Data::Map(entries) => {
            for entry in entries {
                star(&mut entry.value, kind.of(&entry.key, key), &entry.key);
            }
        }
        Data::Text(text) if kind == SecretKind::Plain => {
            if let Some(hidden) = without_user(text) {
                *text = hidden;
            }
        }
        Data::Text(text) if text.is_empty() => {}
        Data::Null => {}
        data if kind != SecretKind::Plain => *data = Data::Text(STARS.to_owned()),
        _ => {}
    }
}

/// The URL in `text` with stars in the place of its user info, if it has some.
fn without_user(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#', ' ']).unwrap_or(rest.len());
    let at = rest[..end].rfind('@')?;
    Some(format!("{scheme}://{STARS}{}", &rest[at..]))
}

/// Puts the secrets of `before` where `value` has stars for them. The places of stars that stand for nothing.
pub(super) fn restore(value: &mut Value, before: Option<&Value>) -> Vec<Position> {
    let mut wrong = Vec::new();
    restore_at(value, before, SecretKind::Plain, "", &mut wrong);
    wrong
}

fn restore_at(
    value: &mut Value,
    before: Option<&Value>,
    kind: SecretKind,
    key: &str,
    wrong: &mut Vec<Position>,
) {
    let place = value.place;
    match &mut value.data {
        Data::List(items) => {
            let old = match before.map(|before| &before.data) {
                Some(Data::List(old)) => old.iter().collect(),
                _ => before.into_iter().collect::<Vec<_>>(),
            };
            for item in items {
                let old = counterpart(item, &old, kind, key);
                restore_at(item, old, kind, key, wrong);
            }
        }
        Data::Map(entries) => {
            let old = match before.map(|before| &before.data) {
                Some(Data::List(old)) => old.first(),
                _ => before,
            };
            for entry in entries {
                let old = old.and_then(|old| old.get(&entry.key)).map(|member| &member.value);
                restore_at(&mut entry.value, old, kind.of(&entry.key, key), &entry.key, wrong);
            }
        }
        Data::Text(text) => {
            let is_starred = match kind {
                SecretKind::Plain => without_user(text).is_some_and(|hidden| hidden == *text),
                SecretKind::Secret | SecretKind::Headers => text == STARS,
            };
            if !is_starred {
                return;
            }
            let mut shown = before.cloned();
            if let Some(shown) = &mut shown {
                star(shown, kind, key);
            }
            let is_same =
                shown.is_some_and(|shown| matches!(&shown.data, Data::Text(it) if it == text));
            match before.filter(|_| is_same) {
                Some(before) => value.data = before.data.clone(),
                None => wrong.push(place),
            }
        }
        _ => {}
    }
}

/// The one of `old` that `item` is a new form of.
fn counterpart<'a>(
    item: &Value,
    old: &[&'a Value],
    kind: SecretKind,
    key: &str,
) -> Option<&'a Value> {
    let identity = IDENTITIES.iter().find_map(|name| Some((name, item.get(name)?)));
    match identity {
        Some((name, identity)) => old
            .iter()
            .copied()
            .find(|old| old.get(name).is_some_and(|other| other.value.same(&identity.value))),
        // Without a name it is the one that looks like it, if that is only one.
        None => {
            let mut alike = old.iter().copied().filter(|old| {
                let mut shown = (*old).clone();
                star(&mut shown, kind, key);
                shown.same(item)
            });
            alike.next().filter(|_| alike.next().is_none())
        }
    }
}
