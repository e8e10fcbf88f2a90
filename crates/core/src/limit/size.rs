//! Sizes as GOST writes them: `100MB`, `1.5GiB`, `1GB512MB`.

/// Why a text is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// A number without a unit; GOST takes it for "no limit".
    #[error(
        "has no unit; write bytes per second as `100B`, `128KB`, `10MB` or `1GB`, or `0` for no limit"
    )]
    NoUnit,
    /// Not a size at all.
    #[error("is not a size; write a number and B, KB, MB, GB or TB, as in `10MB`")]
    Malformed,
    /// More than 2^63 bytes.
    #[error("is larger than 8 EiB")]
    TooLarge,
}

/// Reads a size in bytes. Units are powers of 1024, written `KB` or `KiB`, in any case. Zero and negative sizes are 0, which
/// limits read as "no limit".
///
/// # Errors
///
/// [`SizeError`] for everything that is not a size, and for a number other than 0 without a unit.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let (is_negative, text) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if text.is_empty() {
        return Err(SizeError::Malformed);
    }
    let (mut rest, mut total) = (text, 0.0_f64);
    let mut exact = Some(0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let value: f64 = number.parse().map_err(|_| SizeError::Malformed)?;
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        if unit.is_empty() {
            let is_zero = value == 0.0 && tail.is_empty() && total == 0.0;
            return if is_zero {
                Ok(0)
            } else if tail.is_empty() {
                Err(SizeError::NoUnit)
            } else {
                Err(SizeError::Malformed)
            };
        }
        let factor = unit_size(unit).ok_or(SizeError::Malformed)?;
        // Whole numbers stay exact beyond the 53 bits of a float.
        exact =
            exact.and_then(|sum| number.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(sum));
        total += value * factor as f64;
        rest = tail;
    }
    if total > i64::MAX as f64 {
        return Err(SizeError::TooLarge);
    }
    Ok(if is_negative { 0 } else { exact.unwrap_or(total as u64) })
}

fn unit_size(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_uppercase();
    let prefix = unit.strip_suffix("IB").filter(|prefix| !prefix.is_empty());
    let power = match prefix.or_else(|| unit.strip_suffix('B'))? {
        "" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        "P" => 5,
        "E" => 6,
        _ => return None,
    };
    Some(1 << (10 * power))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, size) in [
            ("100MB", 100 << 20),
            ("100MiB", 100 << 20),
            ("1kb", 1024),
            ("7B", 7),
            ("0", 0),
            ("0B", 0),
            ("-5MB", 0),
            ("+5MB", 5 << 20),
            ("1.5GB", 3 << 29),
            ("1GB512MB", 3 << 29),
            (".5KB", 512),
            ("2TB", 2 << 40),
            ("9007199254740993B", 9_007_199_254_740_993),
        ] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        use SizeError::{Malformed, NoUnit, TooLarge};
        for (text, why) in [
            ("", Malformed),
            ("-", Malformed),
            ("MB", Malformed),
            ("100", NoUnit),
            ("1GB5", NoUnit),
            ("100Mbit", Malformed),
            ("1..5MB", Malformed),
            ("1e3MB", Malformed),
            ("10 MB", Malformed),
            ("IB", Malformed),
            ("16EB", TooLarge),
            ("\u{661}MB", Malformed),
        ] {
            assert_eq!(parse_size(text), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whole_numbers_are_exact(n in 0u64..1 << 33, unit in 0usize..4) {
            let text = format!("{n}{}", ["B", "KB", "MB", "GiB"][unit]);
            let size = u128::from(n) << (10 * unit);
            let expected = u64::try_from(size).ok().filter(|size| i64::try_from(*size).is_ok());
            prop_assert_eq!(parse_size(&text).ok(), expected);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+.0-9KMBib ]{0,12}|\\PC{0,8}") {
            let _ = parse_size(&text);
        }
    }
}
