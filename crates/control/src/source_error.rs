//! Why a source, or another server of the configuration, gives nothing.

use std::time::Duration;

use rtun_core::text::NotText;

/// The longest text that is read, in bytes, where nothing less is enough. More is a failure.
pub const MAX_TEXT: usize = 128 * 1024 * 1024;

/// Why a reading gave no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It cannot be opened, reached or read, or the connection broke in the middle.
    #[error("cannot be read: {0}")]
    Unreachable(String),
    /// It was not read whole in time.
    #[error("was not read within {}", Seconds(*.0))]
    Timeout(Duration),
    /// More than this many bytes.
    #[error("is larger than {} MiB", .0 >> 20)]
    TooLarge(usize),
    /// Not text.
    #[error("{0} (line {line})", line = .0.line)]
    NotText(NotText),
    /// HTTP: a status other than 200; redirects are not followed.
    #[error("answered with status {0} instead of 200")]
    Status(u16),
    /// HTTP: compressed, which was not asked for.
    #[error("is sent with content encoding {0:?}; only `identity` is read")]
    Encoding(String),
    /// redis: the server's error text.
    #[error("is refused by redis: {0}")]
    Refused(String),
    /// redis: not an answer of a redis server.
    #[error("does not speak the redis protocol: {0}")]
    Nonsense(&'static str),
}

/// A source cannot be used as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceSetupError {
    /// Not an http or https URL with a host.
    #[error("{0:?} is not an http:// or https:// URL")]
    Url(String),
    /// redis: the server's name for TLS is none.
    #[error("{0:?} cannot be the name in a certificate; set `tls.serverName`")]
    ServerName(String),
    /// The system refused, most likely its trust store.
    #[error("cannot set up the connection: {0}")]
    System(String),
}

struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} s", self.0.as_secs_f64())
    }
}
