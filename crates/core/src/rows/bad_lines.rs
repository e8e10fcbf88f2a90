//! The lines of a text that cannot be read, and why.

use std::fmt;

use super::MAX_LINE;
use crate::{HostNameError, MatcherError, NamespaceIdError, PatternError, limit::SizeError};

/// How many bad lines are kept; more are only counted.
const MAX_KEPT: usize = 10;

/// How many bytes of a bad line are kept for the message about it.
pub(super) const MAX_EXCERPT: usize = 64;

/// The longest user name and password: the wire has one byte for each length.
pub(super) const MAX_CREDENTIAL: usize = 255;

/// The lines of a text that are not used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BadLines {
    /// How many there are.
    pub count: usize,
    /// The first 10.
    pub first: Vec<BadLine>,
}

/// A line that is not used. Its text says what would be right, and shows no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// From 1.
    pub line: u32,
    /// The word that is wrong, at most 64 bytes of it; `None` if it could be a secret.
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
    /// A route with one word.
    #[error("has no gateway; write a prefix and a host name, as in `192.168.100.0/24 host-1`")]
    NoGateway,
    /// A route whose first word is no destination.
    #[error("is neither an address nor a prefix; write for example 192.168.100.0/24")]
    Prefix,
    /// A route whose second word is no host name.
    #[error("is no gateway: {0}")]
    Gateway(HostNameError),
    /// An ingress rule with one word.
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
    /// A user with one word.
    #[error("the user has no password and would never be admitted; write `user password`")]
    NoPassword,
    /// A user name or password that cannot be sent.
    #[error("the user name or password has {0} bytes, at most {MAX_CREDENTIAL} are possible")]
    Credential(usize),
    /// A line of a limiter.
    #[error("{0}")]
    Limit(LimitLineError),
    /// A line of a hosts table whose first word is no address.
    #[error("is no address; write an address and its names, as in `192.0.2.1 hub.example`")]
    Address,
    /// A line of a hosts table with one word.
    #[error("has no name; write an address and its names, as in `192.0.2.1 hub.example`")]
    NoName,
    /// A text that is to be a list of the nodes of a hop.
    #[error("is no list of nodes, in JSON or YAML")]
    NoNodes,
    /// Not what an admission can match.
    #[error("{0}")]
    Matcher(MatcherError),
}

/// What is wrong with a line of a limiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitLineError {
    /// The first word is not a scope.
    #[error("is not what a limit can be about; write `$`, `$$`, an address or a prefix")]
    Scope,
    /// A scope with `@` that names no host and no namespace.
    #[error("is no host or namespace; write `host@UUID`, `host@*` or `*@UUID`")]
    HostScope,
    /// A line of one word.
    #[error("has no limit; write for example `$ 10MB`, or `$ 100` for connections and requests")]
    NoLimit,
    /// A rate of a traffic limiter.
    #[error("{0}")]
    Size(SizeError),
    /// A line with more words than `key in out burst`.
    #[error("is one word too many; write `key in out burst`")]
    TooManyWords,
    /// A number of connections.
    #[error("is not a number of connections; write for example 100, or 0 for no limit")]
    Connections,
    /// A number of requests.
    #[error("is not a number of requests a second; write for example 10 or 0.5, or 0 for no limit")]
    Requests,
}

impl From<LimitLineError> for LineError {
    fn from(error: LimitLineError) -> Self {
        Self::Limit(error)
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.word {
            Some(word) => write!(f, "{word:?} {}", self.why),
            None => write!(f, "{}", self.why),
        }
    }
}

/// What is wrong with a line, before it has a number.
pub(crate) struct Flaw<'a> {
    word: Option<&'a str>,
    why: LineError,
}

impl<'a> Flaw<'a> {
    /// This word is wrong; messages show it.
    pub(crate) fn new(word: &'a str, why: LineError) -> Self {
        Self { word: Some(word), why }
    }

    /// No word may be shown.
    pub(super) fn silent(why: LineError) -> Self {
        Self { word: None, why }
    }
}

impl BadLines {
    pub(super) fn add(&mut self, line: u32, flaw: Flaw<'_>) {
        self.count += 1;
        if self.first.len() < MAX_KEPT {
            let word = flaw.word.map(|word| excerpt(word).into());
            self.first.push(BadLine { line, word, why: flaw.why });
        }
    }
}

fn excerpt(word: &str) -> &str {
    let cut = (0..=MAX_EXCERPT.min(word.len())).rev().find(|n| word.is_char_boundary(*n));
    &word[..cut.unwrap_or(0)]
}
