//! Durations as Go's `time.ParseDuration` reads them.

use proptest::prelude::*;

use rtun_document::duration::{DurationError, parse};

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

#[test]
fn go_examples() {
    for (text, nanos) in [
        ("0", 0),
        ("-0", 0),
        ("5s", 5_000_000_000),
        ("1m30s", 90_000_000_000),
        ("500ms", 500_000_000),
        ("-1.5h", -5_400_000_000_000),
        ("+.5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("1h15m30.918273645s", 4_530_918_273_645),
        ("2us3µs4μs5ns", 9_005),
        ("0.3333333333333333333h", 1_200_000_000_000 - 1),
        ("9223372036854775807ns", i64::MAX),
        ("-9223372036854775808ns", i64::MIN),
    ] {
        assert_eq!(parse(text), Ok(nanos), "{text}");
    }
}

#[test]
fn everything_else_is_refused() {
    use DurationError::*;
    for (text, error) in [
        ("", Invalid),
        ("-", Invalid),
        (".s", Invalid),
        ("s", Invalid),
        ("1d", Invalid),
        ("1S", Invalid),
        ("1 s", Invalid),
        (" 1s", Invalid),
        ("--1s", Invalid),
        ("1s-1s", Invalid),
        ("10", MissingUnit),
        ("1m30", MissingUnit),
        ("00", MissingUnit),
        ("9223372036854775808ns", TooLong),
        ("-9223372036854775809ns", TooLong),
        ("2562048h", TooLong),
        ("99999999999999999999s", TooLong),
    ] {
        assert_eq!(parse(text), Err(error), "{text}");
    }
}

proptest! {
    #[test]
    fn sums_of_whole_units_are_exact(
        negative: bool,
        parts in prop::collection::vec((0u32..1_000_000, 0usize..UNITS.len()), 1..5),
    ) {
        let text: String = parts.iter().map(|(n, u)| format!("{n}{}", UNITS[*u].0)).collect();
        let sum: i128 = parts.iter().map(|(n, u)| i128::from(*n) * i128::from(UNITS[*u].1)).sum();
        let (text, sum) = if negative { (format!("-{text}"), -sum) } else { (text, sum) };
        let expected = i64::try_from(sum).map_err(|_| DurationError::TooLong);
        prop_assert_eq!(parse(&text), expected);
    }

    #[test]
    fn no_text_panics(text in "[-+0-9.a-zµ ]{0,30}") {
        let _ = parse(&text);
    }
}
