//! From the body of a request to an object of the configuration: durations, secrets that stay, what is refused.

use std::time::Duration;

use super::secrets;
use crate::{
    duration,
    location::quote,
    report::Report,
    schema::{Object, Shape, node, probe, recorder, root, service_metadata},
    value::{Cursor, Data, Member, Value, same_key},
};

/// The object that `value` is and its name; `before` is the name and the object that it replaces. `None` after an error was
/// reported.
pub(super) fn read(
    mut value: Value,
    group: &'static str,
    before: Option<(&str, &Value)>,
    report: &Report,
) -> Option<(Value, String)> {
    if !matches!(value.data, Data::Map(_)) {
        let message = format!("an object is a map of keys, this is {}", value.describe());
        return report.at(value.place).refuse(message, r#"write for example {"name": "..."}"#);
    }
    let name = match before {
        Some((name, _)) => name.to_owned(),
        None => match value.get("name").map(|member| &member.value.data) {
            Some(Data::Text(name)) if !name.trim().is_empty() => name.trim().to_owned(),
            _ => {
                return report.at(value.place).refuse("the object has no name", r#"add "name""#);
            }
        },
    };
    if name.chars().any(rtun_core::text::is_invisible) {
        let message = "the name has characters that nobody can see";
        return report.at(value.place).refuse(message, "write letters, digits, `-`, `_` and `.`");
    }
    let place = value.get("name").map_or(value.place, |member| member.value.place);
    if let Data::Map(entries) = &mut value.data {
        let value = Value::text(&name, place);
        match entries.iter_mut().find(|entry| same_key(&entry.key, "name")) {
            Some(entry) => entry.value = value,
            None => entries.insert(0, Member { key: "name".to_owned(), place, value }),
        }
        // It is read-only, and comes back with what was read.
        entries.retain(|entry| group != "services" || !same_key(&entry.key, "status"));
    }
    if let Some(Shape::ObjectList(table)) = root::OBJECT.key(group).map(|key| key.shape) {
        durations_as_text(&mut value, table);
    }
    let before = before.map(|(_, object)| object);
    for place in secrets::restore(&mut value, before) {
        let message = "stars stand for a secret that stays as it is, and there is none here";
        report.at(place).error(message).help("write the secret itself");
    }
    hooks(&value, before, report);
    probe_commands(&value, before, report);
    if group == root::RECORDERS.name() {
        record_file(&value, before, report);
    }
    Some((value, name))
}

/// Durations that are numbers of nanoseconds, as GOST's API writes them, become texts.
fn durations_as_text(value: &mut Value, table: &'static Object) {
    match &mut value.data {
        Data::List(items) => items.iter_mut().for_each(|item| durations_as_text(item, table)),
        Data::Map(entries) => {
            for entry in entries {
                let Some(key) = table.key(&entry.key) else { continue };
                match (key.shape, &entry.value.data) {
                    (Shape::In(inner) | Shape::ObjectList(inner), _) => {
                        durations_as_text(&mut entry.value, inner);
                    }
                    (Shape::Timespan | Shape::Period, Data::Int(nanos)) if *nanos > 0 => {
                        let span = Duration::from_nanos(nanos.unsigned_abs());
                        entry.value.data = Data::Text(duration::text(span));
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// Refuses commands that were not there before.
fn hooks(value: &Value, before: Option<&Value>, report: &Report) {
    let hooks = [
        service_metadata::PRE_UP.name(),
        service_metadata::POST_UP.name(),
        service_metadata::PRE_DOWN.name(),
        service_metadata::POST_DOWN.name(),
    ];
    let root = Cursor::root(value, report);
    let Some(metadata) = root.child_named("metadata") else { return };
    let old = before.and_then(|object| object.get("metadata"));
    for hook in hooks {
        let Some(at) = metadata.child_named(hook) else { continue };
        let is_old = old
            .and_then(|metadata| metadata.value.get(hook))
            .is_some_and(|old| old.value.same(at.value));
        if !is_old {
            refuse_command(&at, hook);
        }
    }
}

fn refuse_command(at: &Cursor<'_>, key: &str) {
    let message = format!("{} is refused: no commands are taken over the Web API", quote(key));
    at.key().error(message).help("write it into the configuration's file");
}

/// Refuses a file of records that was not there before: by it, and by what stands between records, anything could be written
/// into any file of the system.
fn record_file(value: &Value, before: Option<&Value>, report: &Report) {
    let key = recorder::FILE.name();
    let Some(at) = Cursor::root(value, report).child_named(key) else { return };
    let old = before.and_then(|object| object.get(key));
    if !old.is_some_and(|old| old.value.same(at.value)) {
        let message =
            format!("{} is refused: no files to write are taken over the Web API", quote(key));
        at.key().error(message).help("write it into the configuration's file");
    }
}

/// Refuses commands of probes, however deep they stand, that were not there before.
fn probe_commands(value: &Value, before: Option<&Value>, report: &Report) {
    let known = before.map(commands).unwrap_or_default();
    for member in commands(value) {
        if !known.iter().any(|old| old.value.same(&member.value)) {
            refuse_command(&Cursor::root(value, report).child(member), probe::COMMAND.name());
        }
    }
}

/// The commands of all probes in `value`.
fn commands(value: &Value) -> Vec<&Member> {
    match &value.data {
        Data::List(items) => items.iter().flat_map(commands).collect(),
        Data::Map(entries) => {
            let inner = entries.iter().flat_map(|entry| {
                let is_probe = same_key(&entry.key, node::PROBE.name());
                let own = is_probe.then(|| entry.value.get(probe::COMMAND.name())).flatten();
                own.into_iter().chain(commands(&entry.value))
            });
            inner.collect()
        }
        _ => Vec::new(),
    }
}
