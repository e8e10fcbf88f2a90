//! TOML into a tree of values with places.

use std::ops::Range;

use ::toml::de::{DeTable, DeValue};

use crate::{
    location::Position,
    report::Report,
    value::{Data, MAX_DEPTH, MAX_VALUES, Member, SyntaxProblem, UniqueKeys, Value, refuse},
};

/// The table in `source`, already added to the report's texts as number `text`; `None` after an error was reported.
pub fn read(source: &str, text: u32, report: &Report) -> Option<Value> {
    let places = TomlPlaces::new(source, text);
    let parsed = DeTable::parse(source).map_err(|error| {
        let place = places.of(&error.span().unwrap_or_default());
        report.at(place).error(format!("not TOML: {}", error.message()));
    });
    let mut reader = TomlReader { places, values: 0 };
    let parsed = parsed.ok()?;
    let place = Position { text, line: 1, column: 1, width: 1 };
    let members = reader.table(parsed.get_ref(), 0);
    members
        .map(|members| Value::new(place, Data::Map(members)))
        .map_err(|problem| problem.report(report))
        .ok()
}

struct TomlReader<'a> {
    places: TomlPlaces<'a>,
    values: usize,
}

impl TomlReader<'_> {
    /// In the order of the text.
    fn table(&mut self, table: &DeTable<'_>, depth: usize) -> Result<Vec<Member>, SyntaxProblem> {
        let mut written: Vec<_> = table.iter().collect();
        written.sort_by_key(|(key, _)| key.span().start);
        let mut members = UniqueKeys::default();
        for (key, value) in written {
            let place = self.places.of(&key.span());
            let value = self.value(value.get_ref(), &value.span(), depth + 1)?;
            let member = Member { key: key.get_ref().to_string(), place, value };
            members.insert(member)?;
        }
        Ok(members.list)
    }

    fn value(
        &mut self,
        value: &DeValue<'_>,
        span: &Range<usize>,
        depth: usize,
    ) -> Result<Value, SyntaxProblem> {
        let place = self.places.of(span);
        self.values += 1;
        if self.values > MAX_VALUES {
            return refuse(place, format!("more than {MAX_VALUES} values"));
        }
        if depth > MAX_DEPTH {
            return refuse(place, format!("nested more than {MAX_DEPTH} levels deep"));
        }
        let data = match value {
            DeValue::String(text) => Data::Text(text.to_string()),
            DeValue::Integer(number) => {
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => Data::Int(number),
                    Err(_) => return refuse(place, "this number is too large".to_owned()),
                }
            }
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => Data::Float(number),
                Err(_) => return refuse(place, "this is no number".to_owned()),
            },
            DeValue::Boolean(value) => Data::Bool(*value),
            DeValue::Datetime(_) => {
                return refuse(place, "no key of a configuration is a date or time".to_owned());
            }
            DeValue::Array(items) => {
                let items = items.iter();
                let items = items.map(|item| self.value(item.get_ref(), &item.span(), depth + 1));
                Data::List(items.collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => Data::Map(self.table(table, depth)?),
        };
        Ok(Value::new(place, data))
    }
}

/// Finds lines and columns.
struct TomlPlaces<'a> {
    source: &'a str,
    text: u32,
    /// The byte at which each line starts.
    lines: Vec<usize>,
}

impl<'a> TomlPlaces<'a> {
    fn new(source: &'a str, text: u32) -> Self {
        let starts = source.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        Self { source, text, lines: std::iter::once(0).chain(starts).collect() }
    }

    /// Of the bytes `span`; those after the first line are not counted in the width.
    fn of(&self, span: &Range<usize>) -> Position {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let count = |from: usize, to: usize| {
            number(self.source.get(from..to).map_or(0, |text| text.chars().count()))
        };
        let line = self.lines.partition_point(|start| *start <= span.start).saturating_sub(1);
        let start = self.lines.get(line).copied().unwrap_or(0);
        let end = self.lines.get(line + 1).map_or(self.source.len(), |next| next - 1);
        Position {
            text: self.text,
            line: number(line + 1),
            column: count(start, span.start).saturating_add(1),
            width: count(span.start, span.end.min(end)).max(1),
        }
    }
}

#[cfg(test)]
mod tests;
