//! Positions in the texts that a configuration was read from, and how they are shown without secrets.

use std::{fmt, path::Path, sync::Arc};

use rtun_core::{redact, text::is_invisible};

/// Where something was written: a text of [`SourceTexts`], line and column from 1, width in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// The number of the text.
    pub text: u32,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// In characters.
    pub width: u32,
}

impl Position {
    /// Of what stands in no text.
    pub const NOWHERE: Self = Self::start(u32::MAX);

    /// The beginning of `text`.
    pub const fn start(text: u32) -> Self {
        Self { text, line: 1, column: 1, width: 1 }
    }
}

/// The texts a configuration was read from, for showing places.
#[derive(Debug, Default, Clone)]
pub struct SourceTexts(Vec<SourceText>);

#[derive(Debug, Clone)]
struct SourceText {
    name: Arc<str>,
    text: Arc<str>,
    /// Byte offset at which each line starts.
    lines: Arc<[usize]>,
}

impl SourceTexts {
    /// Adds a text and gives its number.
    pub fn add(&mut self, name: &str, text: &str) -> u32 {
        let starts = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        self.0.push(SourceText { name: name.into(), text: text.into(), lines });
        u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX)
    }

    /// Keeps only those with these numbers; gives the number of each from then on.
    pub fn keep(&mut self, used: &[u32]) -> Vec<u32> {
        let mut numbers = Vec::with_capacity(self.0.len());
        let mut kept = Vec::new();
        for (number, text) in self.0.drain(..).enumerate() {
            numbers.push(u32::try_from(kept.len()).unwrap_or(u32::MAX));
            if used.iter().any(|used| *used as usize == number) {
                kept.push(text);
            }
        }
        self.0 = kept;
        numbers
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    fn source(&self, place: Position) -> Option<&SourceText> {
        self.0.get(place.text as usize)
    }

    /// The name of the text that `place` is in.
    pub fn file(&self, place: Position) -> Arc<str> {
        self.source(place).map_or_else(|| "?".into(), |source| source.name.clone())
    }

    /// The place as a person finds it.
    pub fn locate(&self, place: Position) -> Location {
        let Position { line, column, width, .. } = place;
        let excerpt = self.source(place).map(|source| excerpt(source.line(line), column, width));
        let (text, text_column) = excerpt.unwrap_or((String::new(), 1));
        Location { file: self.file(place), line, column, width: width.max(1), text, text_column }
    }

    /// What is written at `place`, unless its line is very long.
    pub fn written(&self, place: Position) -> Option<String> {
        let line = self.source(place)?.line(place.line);
        if line.len() > LONG_LINE {
            return None;
        }
        Some(line.chars().skip(place.column as usize - 1).take(place.width as usize).collect())
    }

    /// The rank of the text named `file`, for sorting findings.
    pub fn position_of(&self, file: &str) -> usize {
        self.0.iter().position(|s| &*s.name == file).unwrap_or(usize::MAX)
    }
}

/// Characters shown before and after a place.
const CONTEXT: usize = 50;
/// Characters before a place among which the key of a secret is looked for.
const REDACTED: usize = 4096;
/// Bytes of a line whose spelling is not checked: that would be done again for every value in it.
const LONG_LINE: usize = 16 << 10;

/// The part of `line` around a place, without secrets, and the column it begins with.
fn excerpt(line: &str, column: u32, width: u32) -> (String, u32) {
    let before = (column as usize).saturating_sub(1);
    let width = (width as usize).clamp(1, CONTEXT);
    let first = before.saturating_sub(REDACTED);
    let taken: String = line.chars().skip(first).take(before - first + width + CONTEXT).collect();
    let redacted = redact::line(&taken);
    let start = if before > CONTEXT + 10 { before - CONTEXT } else { first };
    let shown = redacted.chars().skip(start - first).collect();
    (shown, u32::try_from(start + 1).unwrap_or(u32::MAX))
}

impl SourceText {
    fn line(&self, number: u32) -> &str {
        let index = (number as usize).saturating_sub(1);
        let Some(start) = self.lines.get(index) else { return "" };
        let end = self.lines.get(index + 1).map_or(self.text.len(), |next| next - 1);
        self.text[*start..end].trim_end_matches('\r')
    }
}

/// A place as a person finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// A file's path, a URL, `stdin`, or the flag or variable that was given.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// In characters; at least 1.
    pub width: u32,
    /// The line around the place, with passwords and tokens starred out; empty where there is none.
    pub text: String,
    /// The column `text` begins with.
    pub text_column: u32,
}

impl Location {
    /// A line of a file that is no part of the configuration's own text.
    pub fn of_line(file: &Path, line: u32) -> Self {
        let file = file.display().to_string().into();
        Self { file, line, column: 1, width: 1, text: String::new(), text_column: 1 }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// `text` between backquotes, cut to 80 characters, user info starred out, with control and invisible
/// characters escaped, so that no configuration can write to the terminal through a message.
pub fn quote(text: &str) -> String {
    let mut quoted = String::from("`");
    for (i, c) in redact::user_info(text).chars().enumerate() {
        if i == 80 {
            quoted.push_str("...");
            break;
        }
        push_visible(&mut quoted, c);
    }
    quoted.push('`');
    quoted
}

fn push_visible(to: &mut String, c: char) {
    if is_invisible(c) { to.extend(c.escape_unicode()) } else { to.push(c) }
}
