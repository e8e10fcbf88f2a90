//! A configuration as the Web API shows it: GOST's types, secrets as stars, services and quotas with their status.

use serde_json::Value as Json;

use crate::{
    cli::OutputFormat,
    coerce::{self, BareUnit},
    edit::{self, name_of, objects},
    emit,
    load::Document,
    location::Position,
    schema::{Object, Shape, root},
    value::{Data, Member, Value, same_key},
};

/// What is shown besides its configuration of the object of a group, `services` or `quotas`, and a name; `None`: it does not run.
/// The `stats` of a service are shown only where its metadata has `enableStats`.
pub type StatusOf<'a> = &'a dyn Fn(&str, &str) -> Option<Json>;

/// The groups whose objects have a status.
const WITH_STATUS: [&str; 2] = ["services", "quotas"];

impl Document {
    /// All of it, without lists of nothing.
    pub fn show(&self, format: OutputFormat, status: StatusOf<'_>) -> String {
        let mut document = edit::starred(&self.0);
        if let Data::Map(entries) = &mut document.data {
            let is_empty = |value: &Value| matches!(&value.data, Data::List(it) if it.is_empty());
            entries.retain(|entry| !is_empty(&entry.value));
        }
        if format == OutputFormat::Json {
            document = typed(&document, &root::OBJECT);
        }
        if let Data::Map(entries) = &mut document.data {
            for group in WITH_STATUS {
                let list = entries.iter_mut().find(|entry| same_key(&entry.key, group));
                if let Some(Data::List(items)) = list.map(|entry| &mut entry.value.data) {
                    items.iter_mut().for_each(|object| add_status(object, group, status));
                }
            }
        }
        emit::emit(&document, format)
    }

    /// The number of objects of a list, and the list as JSON; `null` for none, as GOST writes it.
    pub fn show_list(&self, group: &str, status: StatusOf<'_>) -> (usize, String) {
        let shown: Vec<Value> = self.objects(group).map(|it| shown(it, group, status)).collect();
        let count = shown.len();
        let list = match count {
            0 => Value::new(Position::NOWHERE, Data::Null),
            _ => Value::list(shown, Position::NOWHERE),
        };
        (count, emit::emit_list(&list, table(group)))
    }

    /// The object of this name as JSON.
    pub fn show_object(&self, group: &str, name: &str, status: StatusOf<'_>) -> Option<String> {
        let object = self.objects(group).find(|object| name_of(object) == Some(name))?;
        Some(emit::emit_list(&shown(object, group, status), table(group)))
    }

    fn objects<'a>(&'a self, group: &str) -> impl Iterator<Item = &'a Value> {
        objects(&self.0, group).into_iter().filter(|it| !matches!(it.data, Data::Null))
    }
}

fn table(group: &str) -> Option<&'static Object> {
    match root::OBJECT.key(group)?.shape {
        Shape::ObjectList(table) => Some(table),
        _ => None,
    }
}

fn shown(object: &Value, group: &str, status: StatusOf<'_>) -> Value {
    let mut shown = edit::starred(object);
    if let Some(table) = table(group) {
        shown = typed(&shown, table);
    }
    if WITH_STATUS.contains(&group) {
        add_status(&mut shown, group, status);
    }
    shown
}

fn add_status(object: &mut Value, group: &str, status: StatusOf<'_>) {
    let Some(mut status) = name_of(object).and_then(|name| status(group, name)) else { return };
    if let Json::Object(status) = &mut status
        && !has_stats(object)
    {
        status.remove("stats");
    }
    object.set("status", from_json(&status));
}

/// Whether the metadata of a service has its counts shown.
fn has_stats(service: &Value) -> bool {
    let metadata = service.get("metadata").map(|entry| &entry.value);
    let flag = metadata.and_then(|it| it.get("enableStats"));
    flag.is_some_and(|entry| coerce::boolean(&entry.value).unwrap_or_default())
}

/// With the types that GOST's JSON has: durations in nanoseconds, lists also of one, numbers and switches that are texts.
fn typed(value: &Value, table: &'static Object) -> Value {
    let data = match &value.data {
        Data::List(items) => Data::List(items.iter().map(|item| typed(item, table)).collect()),
        Data::Map(entries) => Data::Map(entries.iter().map(|entry| member(entry, table)).collect()),
        other => other.clone(),
    };
    Value::new(value.place, data)
}

fn member(entry: &Member, table: &'static Object) -> Member {
    let value = &entry.value;
    let new = |data| Value::new(value.place, data);
    let is_null = matches!(value.data, Data::Null);
    let value = match table.key(&entry.key).map(|key| key.shape) {
        _ if is_null => value.clone(),
        Some(Shape::In(inner)) => typed(value, inner),
        Some(Shape::ObjectList(inner)) => match &value.data {
            Data::List(_) => typed(value, inner),
            _ => Value::list(vec![typed(value, inner)], value.place),
        },
        Some(Shape::Texts) if !matches!(value.data, Data::List(_)) => {
            Value::list(vec![value.clone()], value.place)
        }
        Some(Shape::Timespan | Shape::Period) => {
            let span = coerce::span(value, BareUnit::Nanoseconds).ok();
            let nanos = span.and_then(|(span, _)| i64::try_from(span.as_nanos()).ok());
            nanos.map_or_else(|| value.clone(), |nanos| new(Data::Int(nanos)))
        }
        Some(Shape::Int) => {
            coerce::integer(value).map_or_else(|_| value.clone(), |number| new(Data::Int(number)))
        }
        Some(Shape::Flag) => {
            coerce::boolean(value).map_or_else(|_| value.clone(), |flag| new(Data::Bool(flag)))
        }
        _ => value.clone(),
    };
    Member { key: entry.key.clone(), place: entry.place, value }
}

fn from_json(json: &Json) -> Value {
    let data = match json {
        Json::Null => Data::Null,
        Json::Bool(flag) => Data::Bool(*flag),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Data::Int(number),
            None => Data::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => Data::Text(text.clone()),
        Json::Array(items) => Data::List(items.iter().map(from_json).collect()),
        Json::Object(map) => Data::Map(
            map.iter()
                .map(|(key, value)| Member {
                    key: key.clone(),
                    place: Position::NOWHERE,
                    value: from_json(value),
                })
                .collect(),
        ),
    };
    Value::new(Position::NOWHERE, data)
}
