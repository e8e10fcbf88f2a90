//! Good texts kept on disk, so that a hub starts with its last tables while their sources are down.
//!
//! A file is one line `rtun-snapshot 1 CHECKSUM`, one line that tells whose text it is, and the text. The checksum
//! (FNV-1a, 64 bits) is of all that follows; it finds damage, not malice: the directory is its owner's alone.

use std::sync::{Arc, Mutex, PoisonError};

use rtun_state::{Identity, StateDir};
use tracing::warn;

use crate::source::MAX_TEXT;

/// First word of the first line and its version.
const MAGIC: &str = "rtun-snapshot 1 ";

/// How much of an object's name is part of the file's name.
const MAX_NAME: usize = 64;

/// Room for the two lines before the text.
const MAX_HEAD: usize = 16 * 1024;

/// The place of one text.
pub(crate) struct Snapshot {
    state: Arc<StateDir>,
    file: String,
    /// Whose text it is.
    owner: String,
    /// The directory that the text was last found or put in.
    kept_in: Mutex<Option<Identity>>,
}

impl Snapshot {
    pub(crate) fn new(state: Arc<StateDir>, kind: &str, name: &str, label: &str) -> Self {
        let owner = format!("{kind} {name:?} {label:?}\n");
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let readable: String = name.chars().map(plain).take(MAX_NAME).collect();
        let file = format!("{kind}-{readable}-{:016x}", checksum([owner.as_bytes()]));
        Self { state, file, owner, kept_in: Mutex::default() }
    }

    /// The text that was kept; `None`: none, or one that is damaged or not this user's alone, of which a log line tells.
    pub(crate) fn read(&self) -> Option<String> {
        let path = self.state.path().join(&self.file);
        let path = path.display();
        let limit = (MAX_TEXT + MAX_HEAD) as u64;
        match self.state.read(&self.file, limit) {
            Ok(Some(bytes)) => {
                let text = self.text_of(bytes);
                match &text {
                    Some(_) => self.is_kept(),
                    None => warn!(%path, "the snapshot is not used: it is damaged"),
                }
                text
            }
            Ok(None) => None,
            Err(error) => {
                warn!(%path, "the snapshot is not used: {error}");
                None
            }
        }
    }

    /// Keeps `text` instead of what was kept before. A log line tells when that fails.
    pub(crate) fn write(&self, text: &str) {
        let sum = checksum([self.owner.as_bytes(), text.as_bytes()]);
        let head = format!("{MAGIC}{sum:016x}\n{}", self.owner);
        match self.state.write(&self.file, &[head.as_bytes(), text.as_bytes()], 0o600) {
            Ok(()) => self.is_kept(),
            Err(error) => warn!(file = self.file, "the snapshot cannot be written: {error}"),
        }
    }

    /// Whether the directory has gone in which the text was.
    pub(crate) fn is_lost(&self) -> bool {
        let kept_in = *self.kept_in.lock().unwrap_or_else(PoisonError::into_inner);
        kept_in.is_some() && self.state.identity() != kept_in
    }

    fn is_kept(&self) {
        *self.kept_in.lock().unwrap_or_else(PoisonError::into_inner) = self.state.identity();
    }

    /// What is in a file, unless it is damaged.
    fn text_of(&self, bytes: Vec<u8>) -> Option<String> {
        let mut text = String::from_utf8(bytes).ok()?;
        let (head, rest) = text.split_once('\n')?;
        let sum = head.strip_prefix(MAGIC)?;
        let whole = sum == format!("{:016x}", checksum([rest.as_bytes()]));
        if !whole || !rest.starts_with(&self.owner) {
            return None;
        }
        let start = head.len() + 1 + self.owner.len();
        text.drain(..start);
        Some(text)
    }
}

/// FNV-1a over the parts, one behind the other.
fn checksum<const N: usize>(parts: [&[u8]; N]) -> u64 {
    parts.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}
