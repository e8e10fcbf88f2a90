//! From what was written to what was wanted: GOST's coercions, with what was expected where GOST reads nothing.

use std::time::Duration;

use crate::{
    duration::{self, DurationError},
    location::{At, Position},
    value::{Cursor, Data, Value},
};

/// The unit of a duration that is written as a bare number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BareUnit {
    /// In a `metadata` map or a query parameter.
    Seconds,
    /// Anywhere else.
    Nanoseconds,
}

/// What would be right, to be put after "expected".
pub(crate) type Expected = &'static str;

const WHOLE: Expected = "a whole number such as `1420`";
const SWITCH: Expected = "`true` or `false`";
const TEXT: Expected = "a text";
/// What a duration looks like.
pub(crate) const SPAN: Expected = "a duration such as `500ms`, `10s` or `1m30s`";

/// True or false: a boolean, the spellings of Go's `ParseBool`, or a number, of which only 0 is false.
pub(crate) fn boolean(value: &Value) -> Result<bool, Expected> {
    match &value.data {
        Data::Bool(value) => Ok(*value),
        Data::Int(number) => Ok(*number != 0),
        Data::Text(text) => match text.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            _ => Err(SWITCH),
        },
        _ => Err(SWITCH),
    }
}

/// A whole number: written as one, as a float without fraction, as decimal text, or a boolean as 1 or 0.
pub(crate) fn integer(value: &Value) -> Result<i64, Expected> {
    match &value.data {
        Data::Bool(value) => Ok(i64::from(*value)),
        Data::Int(number) => Ok(*number),
        // Exact: beyond 2^53 not every whole number is a float.
        Data::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => Ok(*number as i64),
        Data::Text(text) => text.parse().map_err(|_| WHOLE),
        _ => Err(WHOLE),
    }
}

/// A text: itself, or a number or boolean as text.
pub(crate) fn text(value: &Value) -> Result<String, Expected> {
    match &value.data {
        Data::Text(text) => Ok(text.clone()),
        Data::Int(number) => Ok(number.to_string()),
        Data::Bool(value) => Ok(value.to_string()),
        Data::Float(number) => Ok(number.to_string()),
        _ => Err(TEXT),
    }
}

/// A list of texts: a list of scalars, or, where `commas` is set, a text with commas; a single text otherwise
/// is a list of one.
pub(crate) fn texts<'a>(cursor: &Cursor<'a>, commas: bool) -> Vec<TextPiece<'a>> {
    let mut pieces = Vec::new();
    for item in cursor.items() {
        match &item.value.data {
            Data::Text(text) if commas => pieces.extend(split(text, &item)),
            _ => {
                let text = self::text(item.value);
                pieces.push(TextPiece { text, value: item.value, at: (&item).into() });
            }
        }
    }
    pieces
}

/// One text of a list, the value it stands in, and its own place where that is known.
#[derive(Debug)]
pub(crate) struct TextPiece<'a> {
    pub(crate) text: Result<String, Expected>,
    pub(crate) value: &'a Value,
    pub(crate) at: At,
}

/// The pieces between commas, blanks around them cut off, empty ones left out.
fn split<'a>(text: &str, item: &Cursor<'a>) -> Vec<TextPiece<'a>> {
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
            at.place = Some(Position {
                column: start.saturating_add(number(offset + blanks)),
                width: number(trimmed.chars().count()),
                ..place
            });
        }
        if !trimmed.is_empty() {
            pieces.push(TextPiece { text: Ok(trimmed.to_owned()), value: item.value, at });
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
pub(crate) fn span(value: &Value, unit: BareUnit) -> Result<(Duration, bool), NotSpan> {
    let bare = |number: i64| {
        let number = u64::try_from(number).map_err(|_| NotSpan::Negative)?;
        let span = match unit {
            BareUnit::Seconds => Duration::from_secs(number),
            BareUnit::Nanoseconds => Duration::from_nanos(number),
        };
        Ok((span, number != 0))
    };
    match &value.data {
        Data::Int(number) => bare(*number),
        Data::Float(_) => integer(value).map_err(|_| NotSpan::Kind).and_then(bare),
        Data::Text(text) => match duration::parse(text) {
            Ok(nanos) => {
                let nanos = u64::try_from(nanos).map_err(|_| NotSpan::Negative)?;
                Ok((Duration::from_nanos(nanos), false))
            }
            Err(error) => match text.parse() {
                Ok(number) if unit == BareUnit::Seconds => bare(number),
                _ => Err(NotSpan::Text(error)),
            },
        },
        _ => Err(NotSpan::Kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(kind: Data) -> Value {
        Value::new(Position { text: 0, line: 1, column: 1, width: 1 }, kind)
    }

    fn written(text: &str) -> Value {
        value(Data::Text(text.to_owned()))
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
        assert_eq!(boolean(&value(Data::Int(2))), Ok(true));
        assert_eq!(boolean(&value(Data::Int(0))), Ok(false));
        assert_eq!(boolean(&value(Data::Bool(true))), Ok(true));
        for kind in [Data::Float(1.5), Data::List(vec![]), Data::Map(vec![])] {
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
        assert_eq!(integer(&value(Data::Int(-3))), Ok(-3));
        assert_eq!(integer(&value(Data::Bool(true))), Ok(1));
        assert_eq!(integer(&value(Data::Bool(false))), Ok(0));
        assert_eq!(integer(&value(Data::Float(1300.0))), Ok(1300), "JSON numbers work");
        for kind in [Data::Float(1.5), Data::Float(f64::NAN), Data::List(vec![]), Data::Map(vec![])]
        {
            assert_eq!(integer(&value(kind)), Err(WHOLE));
        }
    }

    #[test]
    fn texts_of_scalars() {
        for (kind, read) in [
            (Data::Text("a".into()), "a"),
            (Data::Int(12), "12"),
            (Data::Bool(true), "true"),
            (Data::Float(1.5), "1.5"),
            (Data::Float(1000.0), "1000"),
        ] {
            assert_eq!(text(&value(kind)).as_deref(), Ok(read));
        }
        assert_eq!(text(&value(Data::List(vec![]))), Err(TEXT));
        assert_eq!(text(&value(Data::Map(vec![]))), Err(TEXT));
    }

    #[test]
    fn lists_of_texts() {
        let read = |value: &Value, commas| {
            texts(&Cursor::root(value), commas).into_iter().map(|p| p.text).collect::<Vec<_>>()
        };
        let list =
            value(Data::List(vec![written("a,b"), value(Data::Int(1)), value(Data::List(vec![]))]));
        assert_eq!(read(&list, false), [Ok("a,b".into()), Ok("1".into()), Err(TEXT)]);
        assert_eq!(read(&list, true), [Ok("a".into()), Ok("b".into()), Ok("1".into()), Err(TEXT)]);
        assert_eq!(read(&written(" a, ,b "), true), [Ok("a".into()), Ok("b".into())]);
        assert_eq!(read(&written("a,b"), false), [Ok("a,b".into())]);
        assert_eq!(read(&value(Data::Null), true), []);
    }

    #[test]
    fn durations_in_metadata() {
        let read = |value: &Value| span(value, BareUnit::Seconds);
        assert_eq!(read(&written("1m30s")), Ok((Duration::from_secs(90), false)));
        assert_eq!(read(&written("500ms")), Ok((Duration::from_millis(500), false)));
        assert_eq!(read(&written("10")), Ok((Duration::from_secs(10), true)));
        assert_eq!(read(&value(Data::Int(10))), Ok((Duration::from_secs(10), true)));
        assert_eq!(read(&value(Data::Float(10.0))), Ok((Duration::from_secs(10), true)));
        assert_eq!(read(&value(Data::Int(0))), Ok((Duration::ZERO, false)));
        assert_eq!(read(&written("0")), Ok((Duration::ZERO, false)));
        assert_eq!(read(&written("")), Err(NotSpan::Text(DurationError::Invalid)));
        assert_eq!(read(&written("soon")), Err(NotSpan::Text(DurationError::Invalid)));
        assert_eq!(read(&written("-1s")), Err(NotSpan::Negative));
        assert_eq!(read(&value(Data::Int(-1))), Err(NotSpan::Negative));
        for kind in [Data::Bool(true), Data::Float(1.5), Data::List(vec![]), Data::Map(vec![])] {
            assert_eq!(read(&value(kind)), Err(NotSpan::Kind));
        }
    }

    #[test]
    fn durations_in_fields() {
        let read = |value: &Value| span(value, BareUnit::Nanoseconds);
        assert_eq!(read(&written("10s")), Ok((Duration::from_secs(10), false)));
        assert_eq!(read(&value(Data::Int(10))), Ok((Duration::from_nanos(10), true)));
        assert_eq!(read(&value(Data::Int(0))), Ok((Duration::ZERO, false)));
        assert_eq!(read(&written("10")), Err(NotSpan::Text(DurationError::MissingUnit)));
        assert_eq!(read(&written("")), Err(NotSpan::Text(DurationError::Invalid)));
    }
}
