//! Tables and lists as text: one row a line, as files, redis keys and HTTP services hold them.

use std::{collections::HashMap, fmt};

use crate::{
    HostName, HostNameError, IngressRule, Matcher, MatcherError, NamespaceId, NamespaceIdError,
    PatternError, Route, Row, Secret, User, parse_prefix, unmapped,
};

/// Longest line in bytes, its end not counted; a longer one is a bad line.
pub const MAX_LINE: usize = 4096;

/// How many bad lines are told one by one.
const TOLD: usize = 10;

/// How many bytes of a bad line are repeated when it is told of.
const EXCERPT: usize = 64;

/// Longest user name and password: the wire has one byte for each length.
const MAX_CREDENTIAL: usize = 255;

/// What a text holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed<T> {
    /// The good lines, in order. Blank lines and comments are none.
    pub rows: Vec<Row<T>>,
    /// The others.
    pub bad: BadLines,
}

/// The lines of a text that are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BadLines {
    /// How many there are.
    pub count: usize,
    /// The first 10.
    pub first: Vec<BadLine>,
}

/// A line that is left out. Its text tells what would be right, and no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// From 1.
    pub line: u32,
    /// The word that is wrong, at most 64 bytes of it; `None` where it could be a secret.
    pub word: Option<Box<str>>,
    /// What is wrong with it.
    pub why: LineError,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// More than [`MAX_LINE`] bytes.
    #[error("the line has more than {MAX_LINE} bytes")]
    TooLong,
    /// A route of one word.
    #[error("has no gateway; write a prefix and a host name, as in `192.168.100.0/24 host-1`")]
    NoGateway,
    /// A route whose first word is no destination.
    #[error("is neither an address nor a prefix; write for example 192.168.100.0/24")]
    Prefix,
    /// A route whose second word is no host name.
    #[error("is no gateway: {0}")]
    Gateway(HostNameError),
    /// An ingress rule of one word.
    #[error("has no endpoint; write a host name and the UUID of the namespace it may join")]
    NoEndpoint,
    /// An ingress rule whose second word is no UUID.
    #[error("is {0}")]
    Endpoint(NamespaceIdError),
    /// An ingress rule for the namespace of hosts without a `router.id`.
    #[error("is the zero UUID, which is no endpoint; name a namespace")]
    ZeroEndpoint,
    /// An ingress rule whose first word is no pattern.
    #[error("{0}")]
    Pattern(PatternError),
    /// A user of one word.
    #[error("the user has no password and would never be admitted; write `user password`")]
    NoPassword,
    /// A user name or password that cannot be sent.
    #[error("the user name or password has {0} bytes, at most {MAX_CREDENTIAL} are possible")]
    Credential(usize),
    /// Not what an admission can match.
    #[error("{0}")]
    Matcher(MatcherError),
}

/// The text has more lines to be read than the table may have rows; nothing of it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("has {lines} lines, at most {limit} are allowed")]
pub struct TooManyRows {
    /// Lines that are neither blank nor comments, good or bad.
    pub lines: usize,
    /// What is allowed.
    pub limit: usize,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.word {
            Some(word) => write!(f, "{word:?} {}", self.why),
            None => write!(f, "{}", self.why),
        }
    }
}

/// Reads a routing table: lines of a prefix or address and a gateway, `#` begins a comment anywhere, more words are
/// ignored (spec: tables.md section 1). Equal gateways share their memory.
pub fn parse_routes(text: &str, max_rows: usize) -> Result<Parsed<Route>, TooManyRows> {
    let mut gateways = Gateways::default();
    parse(text, max_rows, before_comment, |line| {
        let mut words = words(line);
        let prefix = words.next().unwrap_or_default();
        let net = parse_prefix(prefix).ok_or(Flaw::new(prefix, LineError::Prefix))?;
        let gateway = words.next().ok_or(Flaw::new(prefix, LineError::NoGateway))?;
        let name = gateways
            .intern(gateway)
            .map_err(|error| Flaw::new(gateway, LineError::Gateway(error)))?;
        Ok(Route::new(unmapped(net), name))
    })
}

/// Reads the rules of an ingress: lines of a host name, or `*.domain`, and a namespace's UUID; otherwise as
/// [`parse_routes`] (spec: tables.md section 2).
pub fn parse_rules(text: &str, max_rows: usize) -> Result<Parsed<IngressRule>, TooManyRows> {
    parse(text, max_rows, before_comment, |line| {
        let mut words = words(line);
        let host = words.next().unwrap_or_default();
        let endpoint = words.next().ok_or(Flaw::new(host, LineError::NoEndpoint))?;
        let namespace: NamespaceId =
            endpoint.parse().map_err(|error| Flaw::new(endpoint, LineError::Endpoint(error)))?;
        if namespace.is_default() {
            return Err(Flaw::new(endpoint, LineError::ZeroEndpoint));
        }
        let pattern = IngressRule::pattern(host)
            .map_err(|error| Flaw::new(host, LineError::Pattern(error)))?;
        Ok(IngressRule { pattern: pattern.to_owned(), namespace })
    })
}

/// Reads users: lines of a name and, behind the first blank, a password, in which `#` is a character like any other; a
/// line that begins with `#` is a comment (spec: tables.md section 3). The users may report any host name.
pub fn parse_users(text: &str, max_rows: usize) -> Result<Parsed<User>, TooManyRows> {
    let content = |line| if str::starts_with(line, '#') { "" } else { line };
    parse(text, max_rows, content, |line| {
        let (name, password) =
            line.split_once(BLANKS).ok_or(Flaw::silent(LineError::NoPassword))?;
        let password = password.trim();
        if let Some(long) = [name, password].iter().find(|text| text.len() > MAX_CREDENTIAL) {
            return Err(Flaw::silent(LineError::Credential(long.len())));
        }
        Ok(User { name: name.to_owned(), password: Secret::new(password), hosts: None })
    })
}

/// Reads what an admission matches: an address, prefix or name on each line, `#` begins a comment anywhere (spec:
/// tables.md section 3).
pub fn parse_matchers(text: &str, max_rows: usize) -> Result<Parsed<Matcher>, TooManyRows> {
    parse(text, max_rows, before_comment, |line| {
        Matcher::parse(line).map_err(|error| Flaw::new(line, LineError::Matcher(error)))
    })
}

const BLANKS: [char; 2] = [' ', '\t'];

/// A bad line before it is known whether it is told of.
struct Flaw<'a> {
    word: Option<&'a str>,
    why: LineError,
}

impl<'a> Flaw<'a> {
    fn new(word: &'a str, why: LineError) -> Self {
        Self { word: Some(word), why }
    }

    fn silent(why: LineError) -> Self {
        Self { word: None, why }
    }
}

/// Reads `text` line by line: `content` leaves of a trimmed line what counts, `row` reads that unless it is empty.
///
/// Lines are counted before anything is kept, so that a text of too many costs no memory.
fn parse<'a, T>(
    text: &'a str,
    max_rows: usize,
    content: impl Fn(&'a str) -> &'a str,
    mut row: impl FnMut(&'a str) -> Result<T, Flaw<'a>>,
) -> Result<Parsed<T>, TooManyRows> {
    let contents = || text.split('\n').map(|line| content(line.trim()));
    let lines = contents().filter(|line| !line.is_empty()).count();
    if lines > max_rows {
        return Err(TooManyRows { lines, limit: max_rows });
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

impl BadLines {
    fn add(&mut self, line: u32, flaw: Flaw<'_>) {
        self.count += 1;
        if self.first.len() < TOLD {
            let word = flaw.word.map(|word| excerpt(word).into());
            self.first.push(BadLine { line, word, why: flaw.why });
        }
    }
}

fn excerpt(word: &str) -> &str {
    let cut = (0..=EXCERPT.min(word.len())).rev().find(|n| word.is_char_boundary(*n));
    &word[..cut.unwrap_or(0)]
}

/// What stands before the first `#`.
fn before_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim_end()
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(BLANKS).filter(|word| !word.is_empty())
}

/// Names, each made once.
#[derive(Default)]
struct Gateways<'a> {
    known: HashMap<&'a str, HostName>,
    /// Neighbouring rows tend to have the same gateway.
    last: Option<HostName>,
}

impl<'a> Gateways<'a> {
    fn intern(&mut self, text: &'a str) -> Result<HostName, HostNameError> {
        if let Some(last) = self.last.as_ref().filter(|last| last.as_str() == text) {
            return Ok(last.clone());
        }
        let name = match self.known.get(text) {
            Some(name) => name.clone(),
            None => {
                let name = HostName::new(text)?;
                self.known.insert(text, name.clone());
                name
            }
        };
        self.last = Some(name.clone());
        Ok(name)
    }
}
