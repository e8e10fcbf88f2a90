//! Tables and lists as text: one row on each line, as in files, redis keys and HTTP responses.

mod bad_lines;
mod hosts;
mod ingress;
mod limits;
mod matchers;
mod routes;
mod users;

use self::bad_lines::Flaw;
pub use self::{
    bad_lines::{BadLine, BadLines, LimitLineError, LineError},
    hosts::parse_hosts,
    ingress::parse_rules,
    limits::{parse_connection_limits, parse_request_limits, parse_traffic_limits},
    matchers::parse_matchers,
    routes::parse_routes,
    users::parse_users,
};

/// The longest line in bytes, without its end. A longer line is a bad line.
pub const MAX_LINE: usize = 4096;

/// A row of a table or list, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<T> {
    /// The content.
    pub value: T,
    /// The line in its source, from 1.
    pub line: u32,
}

/// The content of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed<T> {
    /// The good lines, in order. Blank lines and comments are no rows.
    pub rows: Vec<Row<T>>,
    /// The other lines.
    pub bad: BadLines,
}

/// The text has more lines than the table may have rows; none of them is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("has more than the {limit} rows that are allowed")]
pub struct TooManyRows {
    /// The number of lines allowed, good or bad. Blank lines and comments are not counted.
    pub limit: usize,
}

const BLANKS: [char; 2] = [' ', '\t'];

/// Reads `text` line by line: `content` returns the part of a trimmed line that counts, `row` reads it unless it is empty.
///
/// Lines are counted before anything is stored, so that a text with too many lines costs no memory.
fn parse<'a, T>(
    text: &'a str,
    max_rows: usize,
    content: impl Fn(&'a str) -> &'a str,
    mut row: impl FnMut(&'a str) -> Result<T, Flaw<'a>>,
) -> Result<Parsed<T>, TooManyRows> {
    let contents = || text.split('\n').map(|line| content(line.trim()));
    let filled = contents().filter(|line| !line.is_empty());
    let lines = filled.take(max_rows.saturating_add(1)).count();
    if lines > max_rows {
        return Err(TooManyRows { limit: max_rows });
    }
    let mut rows = Vec::with_capacity(lines);
    let mut bad = BadLines::default();
    for (number, (whole, content)) in (1..).zip(text.split('\n').zip(contents())) {
        if content.is_empty() {
            continue;
        }
        let too_long = whole.strip_suffix('\r').unwrap_or(whole).len() > MAX_LINE;
        let result = if too_long { Err(Flaw::silent(LineError::TooLong)) } else { row(content) };
        match result {
            Ok(value) => rows.push(Row { value, line: number }),
            Err(flaw) => bad.add(number, flaw),
        }
    }
    Ok(Parsed { rows, bad })
}

/// The line before its first `#`.
fn before_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim_end_matches(BLANKS)
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(BLANKS).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests;
