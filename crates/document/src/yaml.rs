//! YAML into a tree of values with places: YAML 1.2 with the scalars, anchors and merge keys of the library
//! GOST reads with.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use crate::{
    location::{Position, quote},
    report::Report,
    value::{Data, MAX_DEPTH, MAX_VALUES, Member, SyntaxProblem, UniqueKeys, Value, refuse},
};

/// The one document in `source`, already added to the report's texts as number `text`; `None` after an error
/// was reported.
pub fn read(source: &str, text: u32, report: &Report) -> Option<Value> {
    let mut builder = YamlBuilder {
        parser: Parser::new_from_str(source),
        text,
        anchors: HashMap::new(),
        values: 0,
    };
    builder.document(report).map_err(|problem| problem.report(report)).ok()
}

struct YamlBuilder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    text: u32,
    /// Finished values by anchor, with how many values they hold.
    anchors: HashMap<usize, (Value, usize)>,
    values: usize,
}

impl<'a> YamlBuilder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Position), SyntaxProblem> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, self.place(span))),
            Some(Err(error)) => {
                let at = Span::empty(*error.marker());
                let place = self.place(at);
                Err(SyntaxProblem {
                    place,
                    message: format!("not YAML: {}", error.info()),
                    help: help_for(error.info()),
                })
            }
            None => Ok((Event::StreamEnd, self.place(Span::default()))),
        }
    }

    fn place(&self, span: Span) -> Position {
        let width = if span.start.line() == span.end.line() { span.len() } else { 1 };
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Position {
            text: self.text,
            line: number(span.start.line()).max(1),
            column: number(span.start.col()).saturating_add(1),
            width: number(width).max(1),
        }
    }

    /// The first one, as GOST reads it.
    fn document(&mut self, report: &Report) -> Result<Value, SyntaxProblem> {
        let mut root = None;
        loop {
            let (event, place) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(_) if root.is_some() => {
                    let message =
                        "a second document begins here: only the first is read, as GOST does";
                    let help =
                        "put it into a file of its own and name both, as in -C FIRST -C SECOND";
                    report.at(place).warning(message).help(help);
                    break;
                }
                Event::DocumentStart(_) => {}
                event => root = Some(self.value(event, place, 0)?),
            }
        }
        Ok(root.unwrap_or(Value::new(Position::start(self.text), Data::Null)))
    }

    fn value(
        &mut self,
        event: Event<'a>,
        place: Position,
        depth: usize,
    ) -> Result<Value, SyntaxProblem> {
        if depth > MAX_DEPTH {
            return refuse(place, format!("nested more than {MAX_DEPTH} levels deep"));
        }
        let before = self.values;
        // Aliases copy texts: a long one counts as several values.
        let length = if let Event::Scalar(text, ..) = &event { text.len() } else { 0 };
        self.count(1 + length / 64, place)?;
        let (anchor, kind) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, scalar(&text, style, tag.as_deref(), place)?)
            }
            Event::SequenceStart(anchor, tag) => {
                allow_tag(tag.as_deref(), "seq", place)?;
                (anchor, Data::List(self.list(depth)?))
            }
            Event::MappingStart(anchor, tag) => {
                allow_tag(tag.as_deref(), "map", place)?;
                (anchor, Data::Map(self.map(depth)?))
            }
            Event::Alias(anchor) => return self.alias(anchor, place),
            _ => return refuse(place, "not YAML: a value is missing here"),
        };
        let value = Value::new(place, kind);
        if anchor > 0 {
            self.anchors.insert(anchor, (value.clone(), self.values - before));
        }
        Ok(value)
    }

    fn count(&mut self, values: usize, place: Position) -> Result<(), SyntaxProblem> {
        self.values += values;
        if self.values > MAX_VALUES {
            return refuse(
                place,
                format!("more than {MAX_VALUES} values, aliases counted where they are used"),
            );
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, place: Position) -> Result<Value, SyntaxProblem> {
        match self.anchors.get(&anchor) {
            Some((value, size)) => {
                let (value, size) = (value.clone(), *size);
                self.count(size, place)?;
                Ok(value)
            }
            None => refuse(place, "this alias refers to a value it is part of"),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Value>, SyntaxProblem> {
        let mut items = Vec::new();
        loop {
            let (event, place) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(items);
            }
            items.push(self.value(event, place, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<Member>, SyntaxProblem> {
        let mut entries = UniqueKeys::default();
        let mut merged = Vec::new();
        loop {
            let (event, place) = self.next()?;
            let (key, is_merge) = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, style, ..) => {
                    let merge = text == "<<" && style == ScalarStyle::Plain;
                    (text.into_owned(), merge)
                }
                _ => return refuse(place, "a key must be a plain text"),
            };
            let (event, at) = self.next()?;
            let value = self.value(event, at, depth + 1)?;
            if is_merge {
                merged.push(value);
            } else {
                entries.insert(Member { key, place, value })?;
            }
        }
        for value in merged {
            merge(&mut entries, value)?;
        }
        Ok(entries.list)
    }
}

/// Adds the entries of a `<<` value that the map does not have itself; earlier ones win.
fn merge(entries: &mut UniqueKeys, value: Value) -> Result<(), SyntaxProblem> {
    let place = value.place;
    match value.data {
        Data::Map(list) => {
            for entry in list {
                if !entries.has(&entry.key) {
                    entries.insert(entry)?;
                }
            }
            Ok(())
        }
        Data::List(values) if values.iter().all(|v| matches!(v.data, Data::Map(_))) => {
            values.into_iter().try_for_each(|value| merge(entries, value))
        }
        _ => refuse(place, "`<<` takes a map or a list of maps"),
    }
}

fn allow_tag(tag: Option<&Tag>, own: &str, place: Position) -> Result<(), SyntaxProblem> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == own) => unknown_tag(tag, place),
        _ => Ok(()),
    }
}

fn unknown_tag<T>(tag: &Tag, place: Position) -> Result<T, SyntaxProblem> {
    let tag = quote(&tag.to_string());
    refuse(place, format!("the tag {tag} has no meaning in a configuration"))
}

fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    place: Position,
) -> Result<Data, SyntaxProblem> {
    let plain = match style {
        ScalarStyle::Plain => resolve(text),
        _ => Data::Text(text.to_owned()),
    };
    let Some(tag) = tag else { return Ok(plain) };
    // A lone `!`: not to be resolved.
    if format!("{}{}", tag.handle, tag.suffix) == "!" {
        return Ok(Data::Text(text.to_owned()));
    }
    if !tag.is_yaml_core_schema() {
        return unknown_tag(tag, place);
    }
    match (tag.suffix.as_str(), resolve(text)) {
        ("str", _) => Ok(Data::Text(text.to_owned())),
        ("int", kind @ Data::Int(_))
        | ("bool", kind @ Data::Bool(_))
        | ("float", kind @ Data::Float(_))
        | ("null", kind @ Data::Null) => Ok(kind),
        ("float", Data::Int(number)) => Ok(Data::Float(number as f64)),
        ("int" | "bool" | "float" | "null", _) => {
            refuse(place, format!("{} is no `!!{}`", quote(text), tag.suffix))
        }
        _ => unknown_tag(tag, place),
    }
}

/// What a plain scalar is (yaml.v3's rules: YAML 1.2's core schema, underscores in numbers, `0b`, and a
/// leading 0 for octal).
pub fn resolve(text: &str) -> Data {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Data::Null,
        "true" | "True" | "TRUE" => return Data::Bool(true),
        "false" | "False" | "FALSE" => return Data::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Data::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Data::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Data::Float(f64::NAN),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Data::Text(text.to_owned());
    }
    let digits = text.replace('_', "");
    if let Some(number) = integer(&digits) {
        return Data::Int(number);
    }
    match digits.parse() {
        Ok(number) if is_float(&digits) => Data::Float(number),
        _ => Data::Text(text.to_owned()),
    }
}

fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        Some("0o" | "0O") => (8, &digits[2..]),
        Some("0b" | "0B") => (2, &digits[2..]),
        Some(_) if digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

/// Only digits, one point, one exponent: `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`.
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    (!whole.is_empty() || !fraction.is_empty())
        && !exponent.is_empty()
        && [whole, fraction, exponent].into_iter().all(all_digits)
}

fn help_for(info: &str) -> Option<String> {
    let info = info.to_lowercase();
    if info.contains("tab") {
        Some("indent with blanks, not tabs".to_owned())
    } else if info.contains("anchor") {
        Some("an alias `*name` needs an anchor `&name` before it".to_owned())
    } else if info.contains("mapping values") || info.contains("simple key") {
        Some("check the indentation, and put a text that contains `: ` in quotes".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
