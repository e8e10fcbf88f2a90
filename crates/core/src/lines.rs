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
    /// A line of a limiter.
    #[error("{0}")]
    Limit(crate::limit::LimitLineError),
    /// Not what an admission can match.
    #[error("{0}")]
    Matcher(MatcherError),
}

/// The text has more lines to be read than the table may have rows; nothing of it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("has more than the {limit} rows that are allowed")]
pub struct TooManyRows {
    /// Lines allowed that are neither blank nor comments, good or bad.
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
pub(crate) struct Flaw<'a> {
    word: Option<&'a str>,
    why: LineError,
}

impl<'a> Flaw<'a> {
    pub(crate) fn new(word: &'a str, why: LineError) -> Self {
        Self { word: Some(word), why }
    }

    fn silent(why: LineError) -> Self {
        Self { word: None, why }
    }
}

/// Reads `text` line by line: `content` leaves of a trimmed line what counts, `row` reads that unless it is empty.
///
/// Lines are counted before anything is kept, so that a text of too many costs no memory.
pub(crate) fn parse<'a, T>(
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
pub(crate) fn before_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim_end_matches(BLANKS)
}

pub(crate) fn words(line: &str) -> impl Iterator<Item = &str> {
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

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Instant};

    use ipnet::IpNet;
    use proptest::prelude::*;

    use super::*;

    const MANY: usize = 1_000_000;
    const ID: &str = "e87f56dd-fd57-4921-9ab8-a0847662daae";

    fn bad<T>(parsed: &Parsed<T>) -> Vec<String> {
        parsed.bad.first.iter().map(|bad| format!("{}: {bad}", bad.line)).collect()
    }

    #[test]
    fn routes_are_read_as_gost_reads_them() {
        let text = "# prefix\tgateway\r\n\
                    10.0.0.0/8 host-1\r\n\
                    \n\
                    \t 10.1.0.0/16\t\thost-2 more words\t# and a comment\n\
                    192.168.100.77/24 host-1#no blank before it\n\
                    10.2.0.1 host-3\n\
                    ::ffff:10.3.0.0/112 host-1\n\
                    2001:DB8::/32 fd00::1\n\
                    0.0.0.0/0 host-4";
        let parsed = parse_routes(text, MANY).unwrap();
        let rows: Vec<_> = parsed
            .rows
            .iter()
            .map(|row| format!("{}: {} {}", row.line, row.value.prefix, row.value.gateway))
            .collect();
        assert_eq!(
            rows,
            [
                "2: 10.0.0.0/8 host-1",
                "4: 10.1.0.0/16 host-2",
                "5: 192.168.100.0/24 host-1",
                "6: 10.2.0.1/32 host-3",
                "7: 10.3.0.0/16 host-1",
                "8: 2001:db8::/32 fd00::1",
                "9: 0.0.0.0/0 host-4",
            ]
        );
        assert_eq!(parsed.bad, BadLines::default());
    }

    #[test]
    fn bad_lines_say_what_would_be_right() {
        let long = "x".repeat(MAX_LINE + 1);
        let text = format!(
            "10.0.0.0/8\n10.0.0.0/33 a\nname host\n10.0.0.0/8 a\u{7}b\n#{long}\n{long}\n10.0.0.0/8 a"
        );
        let parsed = parse_routes(&text, MANY).unwrap();
        assert_eq!(parsed.rows.len(), 1);
        assert_eq!(
            bad(&parsed),
            [
                "1: \"10.0.0.0/8\" has no gateway; write a prefix and a host name, as in `192.168.100.0/24 host-1`",
                "2: \"10.0.0.0/33\" is neither an address nor a prefix; write for example 192.168.100.0/24",
                "3: \"name\" is neither an address nor a prefix; write for example 192.168.100.0/24",
                "4: \"a\\u{7}b\" is no gateway: a host name has no blanks or control characters, this one has '\\u{7}'",
                "6: the line has more than 4096 bytes",
            ]
        );

        let text = format!(
            "host-1\nhost-1 7\n* {ID}\na\u{7} {ID}\nhost-1 00000000000000000000000000000000\n*.x.org {ID}"
        );
        let parsed = parse_rules(&text, MANY).unwrap();
        assert_eq!((parsed.rows[0].line, &*parsed.rows[0].value.pattern), (6, ".x.org"));
        assert_eq!(
            bad(&parsed),
            [
                "1: \"host-1\" has no endpoint; write a host name and the UUID of the namespace it may join",
                "2: \"7\" is not a UUID: expected 32 hexadecimal digits, as in e87f56dd-fd57-4921-9ab8-a0847662daae",
                "3: \"*\" matches no host; write a name, or *.domain for the domain and every name below it",
                "4: \"a\\u{7}\" is no host name: a host name has no blanks or control characters, this one has '\\u{7}'",
                "5: \"00000000000000000000000000000000\" is the zero UUID, which is no endpoint; name a namespace",
            ]
        );

        let parsed = parse_matchers("10.0.0.0/8 # all\n10.0.0.256\na b\n", MANY).unwrap();
        assert_eq!(parsed.rows.len(), 1);
        let text = "is neither an address nor a prefix nor a name; write for example 192.0.2.7, 10.1.0.0/16 or \
                    gate.example.org";
        assert_eq!(
            bad(&parsed),
            [format!("2: \"10.0.0.256\" {text}"), format!("3: \"a b\" {text}")]
        );
    }

    #[test]
    fn passwords_are_what_is_behind_the_first_blank_and_never_told() {
        let long = "p".repeat(256);
        let text =
            format!("# users\nalice  s3#cret word \nbob\t#hash\n \t#comment\ncarol\ndave {long}\n");
        let parsed = parse_users(&text, MANY).unwrap();
        let rows: Vec<_> = parsed
            .rows
            .iter()
            .map(|row| (row.line, &*row.value.name, row.value.password.expose()))
            .collect();
        assert_eq!(rows, [(2, "alice", "s3#cret word"), (3, "bob", "#hash")]);
        assert_eq!(
            bad(&parsed),
            [
                "5: the user has no password and would never be admitted; write `user password`",
                "6: the user name or password has 256 bytes, at most 255 are possible",
            ]
        );
    }

    #[test]
    fn what_is_told_of_bad_lines_is_bounded() {
        let text = format!("é{}\n", "é".repeat(MAX_LINE / 4)).repeat(1000);
        let parsed = parse_routes(&text, MANY).unwrap();
        assert_eq!((parsed.bad.count, parsed.bad.first.len()), (1000, 10));
        assert!(parsed.bad.first.iter().all(|bad| bad.word.as_ref().unwrap().len() <= EXCERPT));
    }

    #[test]
    fn too_many_rows_are_refused_before_anything_is_kept() {
        let text = "# a comment\n10.0.0.0/8 a\n\nnonsense\n";
        assert!(parse_routes(text, 2).is_ok());
        assert_eq!(parse_routes(text, 1), Err(TooManyRows { limit: 1 }));
        // Looking for one line too many is quick compared to reading lines, whatever else the machine does.
        let text = "10.0.0.1 a\n".repeat(500_000);
        let time = |limit| {
            let start = Instant::now();
            let refused = parse_routes(&text, limit).is_err();
            (start.elapsed(), refused)
        };
        let (reading, refused) = time(MANY);
        assert!(!refused);
        let quickest = (0..3).map(|_| time(499_999)).min().unwrap();
        assert!(quickest.1 && quickest.0 < reading, "{quickest:?}, and {reading:?} to read all");
    }

    #[test]
    fn equal_gateways_share_their_memory() {
        let parsed = parse_routes("10.0.0.0/8 a\n11.0.0.0/8 b\n12.0.0.0/8 a\n", MANY).unwrap();
        let name = |n: usize| parsed.rows[n].value.gateway.as_str().as_ptr();
        assert_eq!(name(0), name(2));
        assert_ne!(name(0), name(1));
    }

    /// The grammar as the specification tells it, one step after the other.
    fn slow_words(line: &str) -> Vec<String> {
        let mut line = line.replace('\t', " ").trim().to_owned();
        if let Some(comment) = line.find('#') {
            line.truncate(comment);
        }
        line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    fn slow_routes(text: &str) -> (Vec<(u32, IpNet, String)>, Vec<u32>) {
        let (mut rows, mut bad) = (Vec::new(), Vec::new());
        for (n, line) in text.split('\n').enumerate() {
            let words = slow_words(line);
            let Some(first) = words.first() else { continue };
            let prefix = match first.split_once('/') {
                Some((addr, len)) => {
                    let strict = len.bytes().all(|b| b.is_ascii_digit());
                    let len = len.parse::<u8>().ok().filter(|_| strict);
                    addr.parse().ok().zip(len).and_then(|(addr, len)| IpNet::new(addr, len).ok())
                }
                None => first.parse::<IpAddr>().ok().map(IpNet::from),
            };
            let gateway = words.get(1).and_then(|word| HostName::new(word).ok());
            match (prefix, gateway) {
                (Some(prefix), Some(gateway)) => {
                    rows.push((n as u32 + 1, unmapped(prefix).trunc(), gateway.to_string()));
                }
                _ => bad.push(n as u32 + 1),
            }
        }
        (rows, bad)
    }

    fn slow_users(text: &str) -> (Vec<(u32, String, String)>, Vec<u32>) {
        let (mut rows, mut bad) = (Vec::new(), Vec::new());
        for (n, line) in (1..).zip(text.split('\n')) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.find([' ', '\t']) {
                Some(at) => rows.push((n, line[..at].to_owned(), line[at..].trim().to_owned())),
                None => bad.push(n),
            }
        }
        (rows, bad)
    }

    /// Lines made of what matters to the grammar.
    fn lines(words: &'static str) -> impl Strategy<Value = String> {
        let line = format!("([ \\t]{{0,2}}({words}|#|\\r|x)){{0,4}}[ \\t]?");
        let line = prop::string::string_regex(&line).unwrap();
        prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #[test]
        fn routes_agree_with_reading_step_by_step(
            text in lines("10\\.0\\.0\\.1|10\\.[0-9]\\.0\\.0/[0-9]{1,2}|::ffff:10\\.1\\.2\\.3/1[0-9]{2}|fd00::[0-9]/64|host-[0-9]")
        ) {
            let parsed = parse_routes(&text, MANY).unwrap();
            let rows: Vec<_> = parsed.rows.iter()
                .map(|row| (row.line, row.value.prefix, row.value.gateway.to_string())).collect();
            let (expected, bad) = slow_routes(&text);
            prop_assert_eq!(rows, expected);
            prop_assert_eq!(parsed.bad.count, bad.len());
            let first: Vec<_> = parsed.bad.first.iter().map(|bad| bad.line).collect();
            prop_assert_eq!(&first, &bad[..bad.len().min(10)]);
        }

        #[test]
        fn users_agree_with_reading_step_by_step(text in lines("alice|b#b|\u{e9}")) {
            let parsed = parse_users(&text, MANY).unwrap();
            let rows: Vec<_> = parsed.rows.iter()
                .map(|row| (row.line, row.value.name.clone(), row.value.password.expose().to_owned()))
                .collect();
            let (expected, bad) = slow_users(&text);
            prop_assert_eq!(rows, expected);
            prop_assert_eq!(parsed.bad.count, bad.len());
        }

        #[test]
        fn rules_keep_what_is_listed(hosts in prop::collection::vec("[a-z]{1,8}(\\.[a-z]{1,8}){0,2}", 0..20)) {
            let text: String = hosts.iter().map(|host| format!("\t*.{host}  {ID} # {host}\n")).collect();
            let parsed = parse_rules(&text, hosts.len()).unwrap();
            let patterns: Vec<_> = parsed.rows.iter().map(|row| row.value.pattern[1..].to_owned()).collect();
            prop_assert_eq!(patterns, hosts);
            prop_assert_eq!(parsed.bad.count, 0);
        }

        #[test]
        fn no_text_is_too_strange(text in "\\PC*(\n\\PC*){0,9}", limit in 0_usize..20) {
            let counts = |result: Result<(usize, usize), TooManyRows>| match result {
                Ok((rows, bad)) => assert!(rows + bad <= limit),
                Err(refused) => assert_eq!(refused.limit, limit),
            };
            counts(parse_routes(&text, limit).map(|p| (p.rows.len(), p.bad.count)));
            counts(parse_rules(&text, limit).map(|p| (p.rows.len(), p.bad.count)));
            counts(parse_users(&text, limit).map(|p| (p.rows.len(), p.bad.count)));
            counts(parse_matchers(&text, limit).map(|p| (p.rows.len(), p.bad.count)));
        }
    }
}
