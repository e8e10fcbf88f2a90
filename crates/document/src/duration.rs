//! Durations as Go writes them: `1m30s`, `500ms`, `-1.5h`, `0`.

/// Nanoseconds in one of each unit.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000), // U+00B5, micro sign
    ("μs", 1_000), // U+03BC, Greek letter mu
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A text that is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not the grammar.
    #[error("not a duration such as `500ms`, `10s` or `1m30s`")]
    Invalid,
    /// A number without a unit.
    #[error("a duration without a unit; write for example `10s`")]
    MissingUnit,
    /// More than 64 bits of nanoseconds, about 292 years.
    #[error("a duration too long to count in nanoseconds")]
    TooLong,
}

/// Nanoseconds of `text` by the grammar of Go's `time.ParseDuration`:
/// an optional sign, then `0` alone or one or more of a decimal number with a unit.
pub fn parse(text: &str) -> Result<i64, DurationError> {
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(DurationError::Invalid);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (part, after) = one_part(rest)?;
        total = total.checked_add(part).ok_or(DurationError::TooLong)?;
        rest = after;
    }
    // The most negative number has no positive counterpart, but is a duration.
    match (negative, i64::try_from(total)) {
        (false, Ok(nanos)) => Ok(nanos),
        (true, Ok(nanos)) => Ok(-nanos),
        (true, Err(_)) if total == i64::MIN.unsigned_abs() => Ok(i64::MIN),
        _ => Err(DurationError::TooLong),
    }
}

/// `span` as [`parse`] reads it: whole numbers of the largest unit that has them, such as `90s`, `1500ms`.
pub fn text(span: std::time::Duration) -> String {
    let nanos = span.as_nanos();
    let units = [("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000)];
    let smaller = [("ms", 1_000_000), ("us", 1_000), ("ns", 1)];
    let mut units = units.into_iter().chain(smaller);
    let unit = units.find(|(_, unit)| nanos >= *unit && nanos.is_multiple_of(*unit));
    unit.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", nanos / unit))
}

/// One number with its unit, in nanoseconds, and what follows.
fn one_part(text: &str) -> Result<(u64, &str), DurationError> {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => split_digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(DurationError::Invalid);
    }
    let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    if unit.is_empty() {
        return Err(DurationError::MissingUnit);
    }
    let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(DurationError::Invalid)?;
    let whole: u64 = match whole {
        "" => 0,
        digits => digits.parse().map_err(|_| DurationError::TooLong)?,
    };
    let whole = whole.checked_mul(*nanos).ok_or(DurationError::TooLong)?;
    let total = whole.checked_add(scaled(fraction, *nanos)).ok_or(DurationError::TooLong)?;
    if total > i64::MIN.unsigned_abs() { Err(DurationError::TooLong) } else { Ok((total, rest)) }
}

/// `0.fraction` of `unit` nanoseconds, rounded down; digits past the 18th change less than a nanosecond.
fn scaled(fraction: &str, unit: u64) -> u64 {
    let digits = &fraction[..fraction.len().min(18)];
    let numerator: u128 = digits.parse().unwrap_or(0);
    let scaled = numerator * u128::from(unit) / 10u128.pow(digits.len() as u32);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}
