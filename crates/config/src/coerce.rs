//! From what was written to what was wanted: GOST's coercions, with an error where GOST reads nothing.
//!
//! Metadata and fields differ (spec: config.md section 5): a bare number is seconds in metadata and
//! nanoseconds in a field.

use std::time::Duration;

use rtun_core::redact;

use crate::{
    duration::{self, DurationError},
    findings::{At, Code, Report},
    value::{Cursor, Kind, Value},
};

/// Where a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a `metadata` map or a query parameter.
    Metadata,
    /// Anywhere else.
    Field,
}

/// What would be right, to be put behind "expected".
pub(crate) type Wanted = &'static str;

const WHOLE: Wanted = "a whole number such as `1420`";
const SWITCH: Wanted = "`true` or `false`";
const SPAN: Wanted = "a duration such as `500ms`, `10s` or `1m30s`";
const TEXT: Wanted = "a text";

/// True or false: a boolean, the spellings of Go's `ParseBool`, or a number, of which only 0 is false.
pub(crate) fn boolean(value: &Value) -> Result<bool, Wanted> {
    match &value.kind {
        Kind::Bool(value) => Ok(*value),
        Kind::Int(number) => Ok(*number != 0),
        Kind::Text(text) => match text.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            _ => Err(SWITCH),
        },
        _ => Err(SWITCH),
    }
}

/// A whole number: written as one, as a float without fraction, as decimal text, or a boolean as 1 or 0.
pub(crate) fn integer(value: &Value) -> Result<i64, Wanted> {
    match &value.kind {
        Kind::Bool(value) => Ok(i64::from(*value)),
        Kind::Int(number) => Ok(*number),
        // Exact: beyond 2^53 not every whole number is a float.
        Kind::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => Ok(*number as i64),
        Kind::Text(text) => text.parse().map_err(|_| WHOLE),
        _ => Err(WHOLE),
    }
}

/// A text: itself, or a number or boolean as text.
pub(crate) fn text(value: &Value) -> Result<String, Wanted> {
    match &value.kind {
        Kind::Text(text) => Ok(text.clone()),
        Kind::Int(number) => Ok(number.to_string()),
        Kind::Bool(value) => Ok(value.to_string()),
        Kind::Float(number) => Ok(number.to_string()),
        _ => Err(TEXT),
    }
}

/// A list of texts: a list of scalars, or, where `commas` is set, a text with commas; a single text otherwise
/// is a list of one.
pub(crate) fn texts<'a>(cursor: &Cursor<'a>, commas: bool) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    for item in cursor.items() {
        match &item.value.kind {
            Kind::Text(text) if commas => pieces.extend(split(text, &item)),
            _ => {
                let text = self::text(item.value);
                pieces.push(Piece { text, value: item.value, at: (&item).into() });
            }
        }
    }
    pieces
}

/// One text of a list, the value it stands in, and its own place where that is known.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) text: Result<String, Wanted>,
    pub(crate) value: &'a Value,
    pub(crate) at: At,
}

/// The pieces between commas, blanks around them cut off, empty ones left out.
fn split<'a>(text: &str, item: &Cursor<'a>) -> Vec<Piece<'a>> {
    let place = item.value.place;
    // Where the text stands as it is, or in quotes without escapes, the pieces have places of their own.
    let start = match (place.width as usize).checked_sub(text.chars().count()) {
        Some(0) => Some(place.column),
        Some(2) => Some(place.column + 1),
        _ => None,
    };
    let mut pieces = Vec::new();
    let mut offset = 0;
    for piece in text.split(',') {
        let trimmed = piece.trim();
        let blanks = piece.chars().take_while(|c| c.is_whitespace()).count();
        let mut at = At::from(item);
        if let Some(start) = start {
            let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            at.place = Some(crate::value::Place {
                column: start.saturating_add(number(offset + blanks)),
                width: number(trimmed.chars().count()),
                ..place
            });
        }
        if !trimmed.is_empty() {
            pieces.push(Piece { text: Ok(trimmed.to_owned()), value: item.value, at });
        }
        offset += piece.chars().count() + 1;
    }
    pieces
}

/// Why something is no duration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotSpan {
    Negative,
    Text(DurationError),
    Kind,
}

/// A duration and whether it was a bare number.
pub(crate) fn span(value: &Value, place: Place) -> Result<(Duration, bool), NotSpan> {
    let bare = |number: i64| {
        let number = u64::try_from(number).map_err(|_| NotSpan::Negative)?;
        let span = match place {
            Place::Metadata => Duration::from_secs(number),
            Place::Field => Duration::from_nanos(number),
        };
        Ok((span, number != 0))
    };
    match &value.kind {
        Kind::Int(number) => bare(*number),
        Kind::Float(_) => integer(value).map_err(|_| NotSpan::Kind).and_then(bare),
        Kind::Text(text) => match duration::parse(text) {
            Ok(nanos) => {
                let nanos = u64::try_from(nanos).map_err(|_| NotSpan::Negative)?;
                Ok((Duration::from_nanos(nanos), false))
            }
            Err(error) => match text.parse() {
                Ok(number) if place == Place::Metadata => bare(number),
                _ => Err(NotSpan::Text(error)),
            },
        },
        _ => Err(NotSpan::Kind),
    }
}

impl Report {
    /// The text at `cursor`; says what is wrong otherwise.
    pub(crate) fn text(&mut self, cursor: &Cursor<'_>) -> Option<String> {
        let read = text(cursor.value);
        self.check_spelling(cursor);
        self.taken(cursor, cursor.value, read)
    }

    /// The text at `cursor` if it is not empty.
    pub(crate) fn some_text(&mut self, cursor: Option<&Cursor<'_>>) -> Option<String> {
        self.text(cursor?).filter(|text| !text.is_empty())
    }

    pub(crate) fn boolean(&mut self, cursor: &Cursor<'_>) -> Option<bool> {
        let read = boolean(cursor.value);
        self.taken(cursor, cursor.value, read)
    }

    pub(crate) fn integer(&mut self, cursor: &Cursor<'_>) -> Option<i64> {
        let read = integer(cursor.value);
        self.taken(cursor, cursor.value, read)
    }

    /// The texts at `cursor`; see [`texts`].
    pub(crate) fn texts(&mut self, cursor: &Cursor<'_>, commas: bool) -> Vec<(String, At)> {
        let mut read = Vec::new();
        for piece in texts(cursor, commas) {
            if let Some(text) = self.taken(&piece.at, piece.value, piece.text) {
                read.push((text, piece.at));
            }
        }
        read
    }

    /// The duration at `cursor`; a bare number is C29.
    pub(crate) fn span(&mut self, cursor: &Cursor<'_>, place: Place) -> Option<Duration> {
        match span(cursor.value, place) {
            Ok((span, false)) => Some(span),
            Ok((span, true)) => {
                self.bare_number(cursor, place);
                Some(span)
            }
            Err(reason) => {
                let found = cursor.value.describe();
                match reason {
                    NotSpan::Negative => {
                        self.error(cursor, format!("{found} is a negative duration"))
                    }
                    NotSpan::Text(error) => self.error(cursor, format!("{found} is {error}")),
                    NotSpan::Kind => self.error(cursor, format!("expected {SPAN}, found {found}")),
                };
                None
            }
        }
    }

    /// The duration in the field at `cursor`, `None` where it is zero or less.
    pub(crate) fn period(&mut self, cursor: &Cursor<'_>) -> Option<Duration> {
        match span(cursor.value, Place::Field) {
            Err(NotSpan::Negative) => None,
            _ => self.span(cursor, Place::Field).filter(|span| !span.is_zero()),
        }
    }

    fn bare_number(&mut self, cursor: &Cursor<'_>, place: Place) {
        let number = text(cursor.value).unwrap_or_default();
        let unit = match place {
            Place::Metadata => "seconds",
            Place::Field => "nanoseconds",
        };
        self.coded(
            Code::C29,
            cursor,
            format!("`{number}` has no unit and is read as {number} {unit}, as GOST does here"),
        )
        .help(format!("write `{number}s` if seconds are meant"));
    }

    fn taken<T>(&mut self, at: impl Into<At>, value: &Value, read: Result<T, Wanted>) -> Option<T> {
        read.map_err(|wanted| {
            let found = value.describe();
            self.error(at, format!("expected {wanted}, found {found}"));
        })
        .ok()
    }

    /// Says so where a number or boolean is used as a text and reads differently from what was written
    /// (`0123` is 83).
    fn check_spelling(&mut self, cursor: &Cursor<'_>) {
        if matches!(cursor.value.kind, Kind::Int(_) | Kind::Float(_) | Kind::Bool(_))
            && let (Ok(read), Some(written)) =
                (text(cursor.value), self.texts.written(cursor.value.place))
            && read != written
        {
            let (message, help) =
                match redact::is_secret(cursor.path.rsplit('.').next().unwrap_or("")) {
                    true => (
                        "this is a number and is not read as it is written".to_owned(),
                        "put it in quotes".to_owned(),
                    ),
                    false => (
                        format!("`{written}` is a number and is read as `{read}`"),
                        format!("write '{written}' if the text is meant"),
                    ),
                };
            self.warning(cursor, message).help(help);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Place as At;

    fn value(kind: Kind) -> Value {
        Value::new(At { text: 0, line: 1, column: 1, width: 1 }, kind)
    }

    fn written(text: &str) -> Value {
        value(Kind::Text(text.to_owned()))
    }

    #[test]
    fn booleans() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(boolean(&written(text)), Ok(true), "{text}");
        }
        for text in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(boolean(&written(text)), Ok(false), "{text}");
        }
        for text in ["", "yes", "on", "tRUE", "2"] {
            assert_eq!(boolean(&written(text)), Err(SWITCH), "{text}");
        }
        assert_eq!(boolean(&value(Kind::Int(2))), Ok(true));
        assert_eq!(boolean(&value(Kind::Int(0))), Ok(false));
        assert_eq!(boolean(&value(Kind::Bool(true))), Ok(true));
        for kind in [Kind::Float(1.5), Kind::List(vec![]), Kind::Map(vec![])] {
            assert_eq!(boolean(&value(kind)), Err(SWITCH));
        }
    }

    #[test]
    fn whole_numbers() {
        for (text, number) in [("1420", 1420), ("-1", -1), ("+7", 7), ("007", 7)] {
            assert_eq!(integer(&written(text)), Ok(number), "{text}");
        }
        for text in ["", "0x10", "1_000", "1.0", " 1", "a"] {
            assert_eq!(integer(&written(text)), Err(WHOLE), "{text}");
        }
        assert_eq!(integer(&value(Kind::Int(-3))), Ok(-3));
        assert_eq!(integer(&value(Kind::Bool(true))), Ok(1));
        assert_eq!(integer(&value(Kind::Bool(false))), Ok(0));
        assert_eq!(integer(&value(Kind::Float(1300.0))), Ok(1300), "JSON numbers work");
        for kind in [Kind::Float(1.5), Kind::Float(f64::NAN), Kind::List(vec![]), Kind::Map(vec![])]
        {
            assert_eq!(integer(&value(kind)), Err(WHOLE));
        }
    }

    #[test]
    fn texts_of_scalars() {
        for (kind, read) in [
            (Kind::Text("a".into()), "a"),
            (Kind::Int(12), "12"),
            (Kind::Bool(true), "true"),
            (Kind::Float(1.5), "1.5"),
            (Kind::Float(1000.0), "1000"),
        ] {
            assert_eq!(text(&value(kind)).as_deref(), Ok(read));
        }
        assert_eq!(text(&value(Kind::List(vec![]))), Err(TEXT));
        assert_eq!(text(&value(Kind::Map(vec![]))), Err(TEXT));
    }

    #[test]
    fn lists_of_texts() {
        let read = |value: &Value, commas| {
            texts(&Cursor::root(value), commas).into_iter().map(|p| p.text).collect::<Vec<_>>()
        };
        let list =
            value(Kind::List(vec![written("a,b"), value(Kind::Int(1)), value(Kind::List(vec![]))]));
        assert_eq!(read(&list, false), [Ok("a,b".into()), Ok("1".into()), Err(TEXT)]);
        assert_eq!(read(&list, true), [Ok("a".into()), Ok("b".into()), Ok("1".into()), Err(TEXT)]);
        assert_eq!(read(&written(" a, ,b "), true), [Ok("a".into()), Ok("b".into())]);
        assert_eq!(read(&written("a,b"), false), [Ok("a,b".into())]);
        assert_eq!(read(&value(Kind::Null), true), []);
    }

    #[test]
    fn durations_in_metadata() {
        let read = |value: &Value| span(value, Place::Metadata);
        assert_eq!(read(&written("1m30s")), Ok((Duration::from_secs(90), false)));
        assert_eq!(read(&written("500ms")), Ok((Duration::from_millis(500), false)));
        assert_eq!(read(&written("10")), Ok((Duration::from_secs(10), true)));
        assert_eq!(read(&value(Kind::Int(10))), Ok((Duration::from_secs(10), true)));
        assert_eq!(read(&value(Kind::Float(10.0))), Ok((Duration::from_secs(10), true)));
        assert_eq!(read(&value(Kind::Int(0))), Ok((Duration::ZERO, false)));
        assert_eq!(read(&written("0")), Ok((Duration::ZERO, false)));
        assert_eq!(read(&written("")), Err(NotSpan::Text(DurationError::Invalid)));
        assert_eq!(read(&written("soon")), Err(NotSpan::Text(DurationError::Invalid)));
        assert_eq!(read(&written("-1s")), Err(NotSpan::Negative));
        assert_eq!(read(&value(Kind::Int(-1))), Err(NotSpan::Negative));
        for kind in [Kind::Bool(true), Kind::Float(1.5), Kind::List(vec![]), Kind::Map(vec![])] {
            assert_eq!(read(&value(kind)), Err(NotSpan::Kind));
        }
    }

    #[test]
    fn durations_in_fields() {
        let read = |value: &Value| span(value, Place::Field);
        assert_eq!(read(&written("10s")), Ok((Duration::from_secs(10), false)));
        assert_eq!(read(&value(Kind::Int(10))), Ok((Duration::from_nanos(10), true)));
        assert_eq!(read(&value(Kind::Int(0))), Ok((Duration::ZERO, false)));
        assert_eq!(read(&written("10")), Err(NotSpan::Text(DurationError::MissingUnit)));
        assert_eq!(read(&written("")), Err(NotSpan::Text(DurationError::Invalid)));
    }
}
