//! Whether a text that was read is taken or refused.

use rtun_core::{Parsed, TooManyRows};

use crate::source::SourceError;

/// Why a reading changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotTaken {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("is empty; an empty table on purpose has a comment")]
    Empty,
    #[error(transparent)]
    TooManyRows(#[from] TooManyRows),
    #[error("has no good line; line {line}: {why}")]
    NothingGood { line: u32, why: String },
    #[error("could not be read because of a defect of this program: {0}")]
    Defect(String),
    #[error("has {rows} rows instead of {before}: waiting to read it again")]
    Shrunk { rows: usize, before: usize },
}

/// Whether the parsed text can be a table at all.
pub(super) fn plausible<T>(parsed: &Parsed<T>) -> Result<(), NotTaken> {
    match parsed.bad.first.first() {
        Some(bad) if parsed.rows.is_empty() => {
            Err(NotTaken::NothingGood { line: bad.line, why: bad.to_string() })
        }
        _ => Ok(()),
    }
}

/// Whether more than half of the rows are gone, so that the text has to be read twice.
pub(super) fn shrinks(before: usize, rows: usize) -> bool {
    before >= 2 && rows < before.div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_than_half_is_a_shrink() {
        for (before, rows, expected) in [
            (0, 0, false),
            (1, 0, false),
            (2, 1, false),
            (2, 0, true),
            (3, 1, true),
            (3, 2, false),
            (10, 5, false),
            (10, 4, true),
        ] {
            assert_eq!(shrinks(before, rows), expected, "{before} -> {rows}");
        }
    }
}
