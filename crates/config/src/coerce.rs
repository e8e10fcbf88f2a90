//! From what was written to what was wanted: GOST's coercions, with what was expected where GOST reads nothing.

use std::time::Duration;

use crate::{
    duration::{self, DurationError},
    location::Position,
    report::At,
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
        Data::Text(text) => parsed_bool(text).ok_or(SWITCH),
        _ => Err(SWITCH),
    }
}

/// By the spellings of Go's `ParseBool`.
pub(crate) fn parsed_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
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
                pieces.push(TextPiece { text, value: item.value, at: item.at });
            }
        }
    }
    pieces
}

/// One text of a list, the value it stands in, and its own place where that is known.
#[derive(Debug)]
pub(crate) struct TextPiece<'a> {
    /// The text, or what was expected in its place.
    pub(crate) text: Result<String, Expected>,
    /// The list item, which several pieces may share.
    pub(crate) value: &'a Value,
    /// Where findings about it are reported.
    pub(crate) at: At<'a>,
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
        let mut at = item.at.clone();
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
    /// A number below 0.
    Negative,
    /// A text that is none.
    Text(DurationError),
    /// Neither a text nor a number.
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
mod tests;
