//! JSON into a tree of values with places.
//!
//! serde_json decides what is JSON; the reader here only finds the places and may rely on that.

use crate::{
    location::Position,
    report::Report,
    value::{Data, MAX_DEPTH, Member, SyntaxProblem, UniqueKeys, Value, refuse},
};

/// The value in `source`, already added to the report's texts as number `text`; `None` after an error was
/// reported.
pub fn read(source: &str, text: u32, report: &Report) -> Option<Value> {
    if let Err(error) = serde_json::from_str::<serde_json::Value>(source) {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).max(1);
        let line = source.lines().nth(error.line().saturating_sub(1)).unwrap_or("");
        let bytes = &line.as_bytes()[..error.column().saturating_sub(1).min(line.len())];
        let column = number(String::from_utf8_lossy(bytes).chars().count() + 1);
        let place = Position { text, line: number(error.line()), column, width: 1 };
        let whole = error.to_string();
        let message = whole.rsplit_once(" at line ").map_or(whole.as_str(), |(message, _)| message);
        report.at(place).error(format!("not JSON: {message}"));
        return None;
    }
    let mut reader = JsonReader { rest: source, text, line: 1, column: 1 };
    reader.value(0).map_err(|problem| problem.report(report)).ok()
}

struct JsonReader<'a> {
    rest: &'a str,
    text: u32,
    line: u32,
    column: u32,
}

impl<'a> JsonReader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, SyntaxProblem> {
        self.skip_blanks();
        let mut place = self.place(1);
        if depth > MAX_DEPTH {
            return refuse(place, format!("nested more than {MAX_DEPTH} levels deep"));
        }
        let kind = match self.rest.as_bytes().first() {
            Some(b'{') => Data::Map(self.map(depth)?),
            Some(b'[') => Data::List(self.list(depth)?),
            Some(b'"') => {
                let (text, at) = self.string();
                place = at;
                Data::Text(text)
            }
            _ => {
                let end = self.rest.find(|c: char| c.is_ascii_whitespace() || ",]}".contains(c));
                let word = self.advance(end.unwrap_or(self.rest.len()));
                place.width = u32::try_from(word.len()).unwrap_or(u32::MAX);
                literal(word)
            }
        };
        Ok(Value::new(place, kind))
    }

    fn map(&mut self, depth: usize) -> Result<Vec<Member>, SyntaxProblem> {
        let mut entries = UniqueKeys::default();
        self.advance(1);
        loop {
            self.skip_blanks();
            if self.eat('}') || self.rest.is_empty() {
                return Ok(entries.list);
            }
            if self.eat(',') {
                continue;
            }
            let (key, place) = self.string();
            self.skip_blanks();
            self.eat(':');
            let value = self.value(depth + 1)?;
            entries.insert(Member { key, place, value })?;
        }
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Value>, SyntaxProblem> {
        let mut items = Vec::new();
        self.advance(1);
        loop {
            self.skip_blanks();
            if self.eat(']') || self.rest.is_empty() {
                return Ok(items);
            }
            if !self.eat(',') {
                items.push(self.value(depth + 1)?);
            }
        }
    }

    /// The string that begins here.
    fn string(&mut self) -> (String, Position) {
        let bytes = self.rest.as_bytes();
        let mut end = 1;
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        let mut place = self.place(1);
        let written = self.advance((end + 1).min(bytes.len()));
        place.width = u32::try_from(written.chars().count()).unwrap_or(u32::MAX);
        (serde_json::from_str(written).unwrap_or_default(), place)
    }

    fn skip_blanks(&mut self) {
        let blanks = self.rest.len() - self.rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        self.advance(blanks);
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.rest.starts_with(c);
        if found {
            self.advance(c.len_utf8());
        }
        found
    }

    fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        for c in taken.chars() {
            if c == '\n' {
                self.line = self.line.saturating_add(1);
                self.column = 1;
            } else {
                self.column = self.column.saturating_add(1);
            }
        }
        self.rest = rest;
        taken
    }

    fn place(&self, width: u32) -> Position {
        Position { text: self.text, line: self.line, column: self.column, width }
    }
}

fn literal(word: &str) -> Data {
    match word {
        "null" => Data::Null,
        "true" => Data::Bool(true),
        "false" => Data::Bool(false),
        _ => match word.parse() {
            Ok(number) => Data::Int(number),
            Err(_) => Data::Float(word.parse().unwrap_or(f64::NAN)),
        },
    }
}

#[cfg(test)]
mod tests;
