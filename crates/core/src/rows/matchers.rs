//! Matchers of an admission: one on each line.

use super::{
    Parsed, TooManyRows,
    bad_lines::{Flaw, LineError},
    before_comment, parse,
};
use crate::Matcher;

/// Reads what an admission matches: an address, prefix or name on each line; `#` begins a comment anywhere.
pub fn parse_matchers(text: &str, max_rows: usize) -> Result<Parsed<Matcher>, TooManyRows> {
    parse(text, max_rows, before_comment, |line| {
        Matcher::parse(line).map_err(|error| Flaw::new(line, LineError::Matcher(error)))
    })
}
