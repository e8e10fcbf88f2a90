//! Where lines come from: a file, a redis key or a URL, read whole; and a source in memory for tests.

mod file;
mod http;
mod memory;
mod redis;
mod resp;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use rtun_core::text::{NotText, decode};

pub use self::{file::FileSource, http::HttpSource, memory::MemorySource, redis::RedisSource};

/// The longest text that is read, in bytes. More is a failure.
pub const MAX_TEXT: usize = 128 * 1024 * 1024;

/// A text that can be read again and again.
pub trait Source: Send + Sync + 'static {
    /// Reads the whole text. Each source has a time limit of its own, past which it gives [`SourceError::Timeout`].
    fn load(&self) -> LoadFuture<'_>;

    /// Checks whether the text may have changed, for sources where that is cheap; `None`: only a reading can show it.
    fn stamp(&self) -> Option<StampFuture<'_>> {
        None
    }

    /// Path, URL or address and key, for people; without secrets.
    fn label(&self) -> Arc<str>;
}

/// A reading under way.
pub type LoadFuture<'a> = Pin<Box<dyn Future<Output = Result<Loaded, SourceError>> + Send + 'a>>;

/// A check under way; `None`: nothing is there.
pub type StampFuture<'a> = Pin<Box<dyn Future<Output = Option<Stamp>> + Send + 'a>>;

/// What a reading found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// Certainly what the last successful reading found.
    Unchanged,
    /// The whole text.
    Text(String),
}

/// Differs whenever a text may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Which file it is: device and inode.
    pub file: (u64, u64),
    /// Length in bytes.
    pub len: u64,
    /// When its content and its properties were last changed, in seconds and nanoseconds.
    pub times: [(i64, i64); 2],
}

/// Why a reading gave no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It cannot be opened, reached or read, or the connection broke in the middle.
    #[error("cannot be read: {0}")]
    Unreachable(String),
    /// It was not read whole in time.
    #[error("was not read within {}", Seconds(*.0))]
    Timeout(Duration),
    /// More than [`MAX_TEXT`].
    #[error("is larger than {} MiB", MAX_TEXT >> 20)]
    TooLarge,
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

/// The source that a configuration describes. Nothing is opened or connected yet.
pub(crate) fn source(
    source: &rtun_settings::SourceSettings,
) -> Result<Box<dyn Source>, SourceSetupError> {
    use rtun_settings::SourceSettings;
    Ok(match source {
        SourceSettings::File(path) => Box::new(FileSource::new(path)),
        SourceSettings::Redis(redis) => Box::new(RedisSource::new(redis)?),
        SourceSettings::Http(http) => Box::new(HttpSource::new(http)?),
    })
}

/// A text from its bytes, in any of the encodings that [`decode`] knows.
fn text(bytes: Vec<u8>) -> Result<Loaded, SourceError> {
    if bytes.len() > MAX_TEXT {
        return Err(SourceError::TooLarge);
    }
    decode(bytes).map(Loaded::Text).map_err(SourceError::NotText)
}

struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} s", self.0.as_secs_f64())
    }
}
