//! Where lines come from: a file, a redis key or a URL, read whole; and a source in memory for tests.

mod file;
mod http;
mod memory;
mod redis;

use std::{future::Future, pin::Pin, sync::Arc};

use rtun_core::text::decode;

pub use self::{file::FileSource, http::HttpSource, memory::MemorySource, redis::RedisSource};
pub use crate::source_error::{MAX_TEXT, SourceError, SourceSetupError};

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

/// The source that a configuration describes, of which at most this many bytes are read. Nothing is opened or connected yet.
pub(crate) fn source(
    source: &rtun_settings::SourceSettings,
    max_bytes: usize,
) -> Result<Box<dyn Source>, SourceSetupError> {
    use rtun_settings::SourceSettings;
    Ok(match source {
        SourceSettings::File(path) => Box::new(FileSource::new(path).at_most(max_bytes)),
        SourceSettings::Redis(redis) => Box::new(RedisSource::new(redis)?.at_most(max_bytes)),
        SourceSettings::Http(http) => Box::new(HttpSource::new(http)?.at_most(max_bytes)),
    })
}

/// A text from its bytes, in any of the encodings that [`decode`] knows.
fn text(bytes: Vec<u8>, max_bytes: usize) -> Result<Loaded, SourceError> {
    if bytes.len() > max_bytes {
        return Err(SourceError::TooLarge(max_bytes));
    }
    decode(bytes).map(Loaded::Text).map_err(SourceError::NotText)
}
