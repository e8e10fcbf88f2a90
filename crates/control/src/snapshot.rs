//! Good texts kept on disk, so that a hub starts with its last tables while their sources are down.
//!
//! A file is one line `rtun-snapshot 1 CHECKSUM`, one line that tells whose text it is, and the text. The checksum
//! (FNV-1a, 64 bits) is of all that follows; it finds damage, not malice: the directory is its owner's alone.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tracing::warn;

use crate::source::MAX_TEXT;

/// First word of the first line and its version.
const MAGIC: &str = "rtun-snapshot 1 ";

/// How much of an object's name is part of the file's name.
const MAX_NAME: usize = 64;

/// Room for the two lines before the text.
const MAX_HEAD: usize = 16 * 1024;

/// A directory of texts.
#[derive(Debug)]
pub struct SnapshotDir {
    path: PathBuf,
}

impl SnapshotDir {
    /// The directory at `path`, made for its owner alone (mode 0700) if it is not there.
    pub fn new(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The place of one text.
pub(crate) struct Snapshot {
    path: PathBuf,
    /// Whose text it is.
    owner: String,
}

impl Snapshot {
    pub(crate) fn new(directory: Arc<SnapshotDir>, kind: &str, name: &str, label: &str) -> Self {
        let owner = format!("{kind} {name:?} {label:?}\n");
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let readable: String = name.chars().map(plain).take(MAX_NAME).collect();
        let path =
            directory.path.join(format!("{kind}-{readable}-{:016x}", checksum([owner.as_bytes()])));
        Self { path, owner }
    }

    /// The text that was kept; `None`: none, or one that is damaged, of which a log line tells.
    pub(crate) fn read(&self) -> Option<String> {
        let path = self.path.display();
        match self.try_read() {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                warn!(%path, "the snapshot is not used: {error}");
                None
            }
        }
    }

    /// Keeps `text` instead of what was kept before. A log line tells when that fails.
    pub(crate) fn write(&self, text: &str) {
        if let Err(error) = self.try_write(text) {
            warn!(path = %self.path.display(), "the snapshot cannot be written: {error}");
        }
    }

    fn try_read(&self) -> io::Result<String> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it is damaged");
        let mut bytes = Vec::new();
        let limit = (MAX_TEXT + MAX_HEAD) as u64;
        File::open(&self.path)?.take(limit).read_to_end(&mut bytes)?;
        let mut text = String::from_utf8(bytes).map_err(|_| damaged())?;
        let (head, rest) = text.split_once('\n').ok_or_else(damaged)?;
        let sum = head.strip_prefix(MAGIC).ok_or_else(damaged)?;
        if sum != format!("{:016x}", checksum([rest.as_bytes()])) || !rest.starts_with(&self.owner)
        {
            return Err(damaged());
        }
        let start = head.len() + 1 + self.owner.len();
        text.drain(..start);
        Ok(text)
    }

    fn try_write(&self, text: &str) -> io::Result<()> {
        /// Two feeds of one object may overlap for a moment when the configuration is changed.
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let write = WRITES.fetch_add(1, Ordering::Relaxed);
        let new = self.path.with_extension(format!("{}-{write}.new", std::process::id()));
        let sum = checksum([self.owner.as_bytes(), text.as_bytes()]);
        let written = (|| {
            let mut options = File::options();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(format!("{MAGIC}{sum:016x}\n{}", self.owner).as_bytes())?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.path)
        })();
        if written.is_err() {
            // What is left of it is of no use to anybody.
            let _ = fs::remove_file(&new);
        }
        written
    }
}

/// FNV-1a over the parts, one behind the other.
fn checksum<const N: usize>(parts: [&[u8]; N]) -> u64 {
    parts.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}
