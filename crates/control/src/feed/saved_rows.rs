//! The rows of a source, saved on disk as their text, so that a hub starts with its last tables while their sources are down.
//!
//! A file is one line `rtun-snapshot 1 CHECKSUM`, one line that says whose text it is, and the text. The checksum
//! (FNV-1a, 64 bits) covers all that follows. It detects damage, not malice: only the owner may write to the directory.

use std::sync::{Arc, Mutex, PoisonError};

use rtun_state::{DirIdentity, StateDir};
use tracing::warn;

use crate::source::MAX_TEXT;

/// First word of the first line and its version.
const MAGIC: &str = "rtun-snapshot 1 ";

/// How much of an object's name is part of the file's name.
const MAX_NAME: usize = 64;

/// Room for the two lines before the text.
const MAX_HEAD: usize = 16 * 1024;

/// One saved text. Files are read and written where this is called.
pub struct SavedRows {
    state: Arc<StateDir>,
    file: String,
    /// Whose text it is.
    owner: String,
    /// The directory that the text was last read from or written to.
    saved_in: Mutex<Option<DirIdentity>>,
}

impl SavedRows {
    /// The text of this object of this kind, from the source with this label.
    pub fn new(state: Arc<StateDir>, kind: &str, name: &str, label: &str) -> Self {
        let owner = format!("{kind} {name:?} {label:?}\n");
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let readable: String = name.chars().map(plain).take(MAX_NAME).collect();
        let file = format!("{kind}-{readable}-{:016x}", checksum([owner.as_bytes()]));
        Self { state, file, owner, saved_in: Mutex::default() }
    }

    /// The saved text; `None`: there is none, or it is damaged or others may write it, which a log line reports.
    pub fn read(&self) -> Option<String> {
        let path = self.state.path().join(&self.file);
        let path = path.display();
        let limit = (MAX_TEXT + MAX_HEAD) as u64;
        match self.state.read(&self.file, limit) {
            Ok(Some(bytes)) => {
                let text = self.text_of(bytes);
                match &text {
                    Some(_) => self.note_directory(),
                    None => warn!(%path, "the saved rows are not used: the file is damaged"),
                }
                text
            }
            Ok(None) => None,
            Err(error) => {
                warn!(%path, "the saved rows are not used: {error}");
                None
            }
        }
    }

    /// Saves `text` in place of the last one. A log line reports a failure.
    pub fn write(&self, text: &str) {
        let sum = checksum([self.owner.as_bytes(), text.as_bytes()]);
        let head = format!("{MAGIC}{sum:016x}\n{}", self.owner);
        match self.state.write(&self.file, &[head.as_bytes(), text.as_bytes()], 0o600) {
            Ok(()) => self.note_directory(),
            Err(error) => warn!(file = self.file, "the rows cannot be saved: {error}"),
        }
    }

    /// Whether the directory that held the text is gone.
    pub fn is_lost(&self) -> bool {
        let saved_in = *self.saved_in.lock().unwrap_or_else(PoisonError::into_inner);
        saved_in.is_some() && self.state.identity() != saved_in
    }

    fn note_directory(&self) {
        *self.saved_in.lock().unwrap_or_else(PoisonError::into_inner) = self.state.identity();
    }

    /// The text in a file, unless it is damaged.
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

/// FNV-1a over the parts, one after the other.
fn checksum<const N: usize>(parts: [&[u8]; N]) -> u64 {
    parts.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}
