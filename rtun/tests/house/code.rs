//! A rough reader of Rust code: enough to find definitions, `use` items and paths.

use std::{collections::BTreeSet, ops::Range, sync::LazyLock};

use regex::Regex;

/// The code with comments and literals replaced by blanks. Lines and byte positions stay the same.
pub(crate) fn without_text(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    let bytes = code.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        if end > at {
            for byte in &mut out[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
            at = end;
        } else {
            // A whole word, so that its end is not read as the prefix of a string.
            let start = at;
            while at < bytes.len() && is_word(bytes[at]) {
                at += 1;
            }
            at += usize::from(at == start);
        }
    }
    String::from_utf8(out).unwrap()
}

/// The end of the comment or literal that begins at `at`; `at` if none does.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let find = |from: usize, what: &[u8]| {
        rest[from..].windows(what.len()).position(|it| it == what).map(|n| from + n + what.len())
    };
    let len = match rest {
        [b'/', b'/', ..] => Some(rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => find(2, b"*/"),
        [b'"', ..] => string_len(rest, 0),
        [b'b' | b'c', b'"', ..] => string_len(rest, 1),
        [b'r', b'"' | b'#', ..] => raw_len(rest, 1),
        [b'b' | b'c', b'r', b'"' | b'#', ..] => raw_len(rest, 2),
        [b'b', b'\'', ..] => char_len(rest, 1),
        [b'\'', ..] => char_len(rest, 0),
        _ => None,
    };
    at + len.unwrap_or(0)
}

fn string_len(rest: &[u8], quote: usize) -> Option<usize> {
    let mut at = quote + 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    Some((at + 1).min(rest.len()))
}

/// `None` for a raw identifier.
fn raw_len(rest: &[u8], from: usize) -> Option<usize> {
    let hashes = rest[from..].iter().take_while(|b| **b == b'#').count();
    if rest.get(from + hashes) != Some(&b'"') {
        return None;
    }
    let end = [&b"\""[..], &vec![b'#'; hashes]].concat();
    let body = from + hashes + 1;
    let len = rest[body..].windows(end.len()).position(|it| it == end)?;
    Some(body + len + end.len())
}

/// `None` for a lifetime.
fn char_len(rest: &[u8], quote: usize) -> Option<usize> {
    let body = &rest[quote + 1..];
    if body.first() == Some(&b'\\') {
        return Some(quote + 2 + body[1..].iter().skip(1).position(|b| *b == b'\'')? + 2);
    }
    let char_len = str::from_utf8(&body[..body.len().min(4)])
        .or_else(|error| str::from_utf8(&body[..error.valid_up_to()]))
        .ok()?
        .chars()
        .next()?
        .len_utf8();
    (body.get(char_len) == Some(&b'\'')).then_some(quote + 1 + char_len + 1)
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The line of a position, from 1.
pub(crate) fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The end of the block whose `{` is at `open`.
pub(crate) fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0_i32;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        depth += i32::from(byte == b'{') - i32::from(byte == b'}');
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// The types that a file defines, each with its line. Associated types are not types of their own.
pub(crate) fn type_names(code: &str) -> Vec<(usize, String)> {
    static TYPE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"(?m)^([ \t]*)(?:pub(?:\([^)]*\))? )?(?:unsafe )?(struct|enum|trait|type|union) (\w+)",
        )
        .unwrap()
    });
    TYPE.captures_iter(code)
        .filter(|found| found[1].is_empty() || &found[2] != "type")
        .map(|found| (line_of(code, found.get(3).unwrap().start()), found[3].to_owned()))
        .collect()
}

/// The code of `#[cfg(test)]` items replaced by blanks, and the names of the modules among them that are files.
pub(crate) fn without_tests(code: &str) -> (String, Vec<String>) {
    static ITEM: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*").unwrap());
    static MODULE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^(?:pub(?:\([^)]*\))? )?mod (\w+);").unwrap());
    let mut out = code.to_owned();
    let mut files = Vec::new();
    for found in ITEM.find_iter(code) {
        let item = &code[found.end()..];
        if let Some(module) = MODULE.captures(item) {
            files.push(module[1].to_owned());
        }
        let end = match item.find(['{', ';']) {
            Some(at) if item.as_bytes()[at] == b'{' => block_end(code, found.end() + at),
            Some(at) => found.end() + at + 1,
            None => code.len(),
        };
        let blank: String =
            code[found.start()..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(found.start()..end, &blank);
    }
    (out, files)
}

/// A path, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrittenPath {
    pub(crate) at: usize,
    pub(crate) segments: Vec<String>,
    /// The name it has in the file, for a `use` item; `*` for all names of a module.
    pub(crate) alias: Option<String>,
}

/// The leaves of all `use` items, and the ranges of these items.
pub(crate) fn uses(code: &str) -> (Vec<WrittenPath>, Vec<Range<usize>>) {
    static USE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\buse\s+([^;]+);").unwrap());
    let (mut leaves, mut ranges) = (Vec::new(), Vec::new());
    for found in USE.captures_iter(code) {
        let tree = found.get(1).unwrap();
        ranges.push(tree.range());
        let mut parser = TreeParser { code, at: tree.start(), end: tree.end() };
        parser.tree(&[], &mut leaves);
    }
    (leaves, ranges)
}

struct TreeParser<'a> {
    code: &'a str,
    at: usize,
    end: usize,
}

impl TreeParser<'_> {
    fn tree(&mut self, prefix: &[String], leaves: &mut Vec<WrittenPath>) {
        let mut segments = prefix.to_vec();
        loop {
            self.blanks();
            match self.peek() {
                Some(b'{') => {
                    self.at += 1;
                    loop {
                        self.blanks();
                        match self.peek() {
                            Some(b'}') | None => {
                                self.at += 1;
                                return;
                            }
                            Some(b',') => self.at += 1,
                            Some(_) => self.tree(&segments, leaves),
                        }
                    }
                }
                Some(b'*') => {
                    leaves.push(WrittenPath { at: self.at, segments, alias: Some("*".into()) });
                    self.at += 1;
                    return;
                }
                _ => {}
            }
            let at = self.at;
            let word = self.word();
            if word.is_empty() {
                self.at += 1;
                return;
            }
            if word != "self" || segments.is_empty() {
                segments.push(word.clone());
            }
            self.blanks();
            if self.code[self.at..self.end].starts_with("::") {
                self.at += 2;
                continue;
            }
            let mut alias = segments.last().cloned();
            if self.code[self.at..self.end].starts_with("as ") {
                self.at += 3;
                self.blanks();
                alias = Some(self.word());
            }
            leaves.push(WrittenPath { at, segments, alias });
            return;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.code.as_bytes().get(self.at).copied().filter(|_| self.at < self.end)
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn word(&mut self) -> String {
        let start = self.at;
        while self.peek().is_some_and(is_word) {
            self.at += 1;
        }
        self.code[start..self.at].to_owned()
    }
}

/// Paths of two or more words outside of `use` items.
pub(crate) fn paths(code: &str, uses: &[Range<usize>]) -> Vec<WrittenPath> {
    static PATH: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b[A-Za-z_]\w*(?:\s*::\s*[A-Za-z_]\w*)+").unwrap());
    PATH.find_iter(code)
        .filter(|found| !uses.iter().any(|range| range.contains(&found.start())))
        .filter(|found| !code[..found.start()].ends_with("::"))
        .map(|found| WrittenPath {
            at: found.start(),
            segments: found.as_str().split("::").map(|word| word.trim().to_owned()).collect(),
            alias: None,
        })
        .collect()
}

/// The modules written inside a file: the name of each and the range of its block.
pub(crate) fn inline_modules(code: &str) -> Vec<(String, Range<usize>)> {
    static MODULE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\bmod (\w+)\s*\{").unwrap());
    MODULE
        .captures_iter(code)
        .map(|found| {
            let open = found.get(0).unwrap().end() - 1;
            (found[1].to_owned(), open..block_end(code, open))
        })
        .collect()
}

/// The names of the items that the code defines.
pub(crate) fn definitions(code: &str) -> BTreeSet<String> {
    static ITEM: LazyLock<Regex> = LazyLock::new(|| {
        let kinds = "struct|enum|trait|type|union|fn|const|static|mod|macro_rules!";
        Regex::new(&format!(r"\b(?:{kinds})\s+(?:mut\s+)?(\w+)")).unwrap()
    });
    ITEM.captures_iter(code).map(|found| found[1].to_owned()).collect()
}

#[test]
fn comments_and_literals_are_found() {
    let code =
        "a /* b */ 'c' b'\\'' '\\u{1f}' 'x: &'y str; r#\"z \" \"# \"\\\"//\" // d\ne r#type \u{e4}";
    let words: Vec<_> = without_text(code).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["a", "'x:", "&'y", "str;", "e", "r#type", "\u{e4}"]);
    assert_eq!(without_text(code).len(), code.len());
}

#[test]
fn use_trees_are_read() {
    let code =
        "use crate::{a::{self, B as C}, d::*};\npub(crate) use self::e::F;\nfn x() { g::h(1) }";
    let (leaves, ranges) = uses(code);
    let shown: Vec<_> = leaves
        .iter()
        .map(|it| format!("{} as {}", it.segments.join("::"), it.alias.as_deref().unwrap()))
        .collect();
    assert_eq!(shown, ["crate::a as a", "crate::a::B as C", "crate::d as *", "self::e::F as F"]);
    assert_eq!(paths(code, &ranges)[0].segments, ["g", "h"]);
}

#[test]
fn test_items_are_left_out() {
    let code = "a\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod more {\n fn f() {}\n}\nb";
    let (left, files) = without_tests(code);
    assert_eq!(left.split_whitespace().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(files, ["tests"]);
    assert_eq!(line_of(&left, left.find('b').unwrap()), 8);
}

#[test]
fn types_are_found() {
    let code = "pub(crate) struct A;\n    enum B {}\n    type Item = A;\ntype C = A;\ntrait D {}";
    let names: Vec<_> = type_names(code).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["A", "B", "C", "D"]);
}
