//! What rtun keeps from one start to the next: files in a directory that only its owner may write, and
//! [files that grow and are put aside](rotation).
//!
//! Nothing in a [`StateDir`] follows a symbolic link, waits for the other end of a pipe, or uses what another user has made or may
//! write: each of these is refused with its reason. The directory is opened anew each time, so that a removed one is
//! noticed and made again.

mod default_path;
pub mod rotation;

use std::{
    fs::{DirBuilder, File},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat, renameat},
    sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, lstat},
    unistd::{Uid, UnlinkatFlags, unlinkat},
};

pub use self::default_path::default_path;

/// A directory for files, which its owner alone may write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    path: PathBuf,
}

/// Identifies a directory. A new one at the same path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirIdentity {
    device: u64,
    inode: u64,
    /// The system reuses inode numbers.
    made: Option<SystemTime>,
}

/// Why a directory or file is not used, or cannot be.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It is not what it should be, or not this user's alone.
    #[error("{} {what}", path.display())]
    Refused {
        /// Of the directory or file.
        path: PathBuf,
        /// What is wrong with it, and what would be right.
        what: String,
    },
    /// The system refuses.
    #[error("{}: {source}", path.display())]
    System {
        /// Of the directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl StateDir {
    /// The directory at `path`, made for its owner alone (mode 0700) if it is not there.
    ///
    /// # Errors
    ///
    /// [`StateError`] if it cannot be made, is no directory, or not this user's alone.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StateError> {
        let directory = Self { path: path.into() };
        directory.make()?;
        Ok(directory)
    }

    /// The directory at `path`, which is there already.
    ///
    /// # Errors
    ///
    /// As [`StateDir::open`].
    pub fn existing(path: impl Into<PathBuf>) -> Result<Self, StateError> {
        let directory = Self { path: path.into() };
        directory.enter().map_err(|error| directory.failed(error))?;
        Ok(directory)
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Identifies the directory that is there now; `None`: none, or one that is refused.
    pub fn identity(&self) -> Option<DirIdentity> {
        let found = File::from(self.enter().ok()?).metadata().ok()?;
        Some(DirIdentity { device: found.dev(), inode: found.ino(), made: found.created().ok() })
    }

    /// Makes the directory if it is not there. Returns whether it was made.
    ///
    /// # Errors
    ///
    /// As [`StateDir::open`].
    pub fn make(&self) -> Result<bool, StateError> {
        match self.enter() {
            Ok(_) => return Ok(false),
            Err(Trouble::System(Errno::ENOENT)) => {}
            Err(error) => return Err(self.failed(error)),
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(|source| StateError::System { path: self.path.clone(), source })?;
        self.enter().map_err(|error| self.failed(error))?;
        Ok(true)
    }

    /// The whole content of a file; `None` if there is none. More than `limit` bytes are an error.
    ///
    /// # Errors
    ///
    /// [`StateError`] if it cannot be read or is not used.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, StateError> {
        let read = || {
            let file = self.file(name)?;
            let mut content = Vec::new();
            File::from(file).take(limit.saturating_add(1)).read_to_end(&mut content)?;
            match content.len() as u64 > limit {
                true => Err(Trouble::Refused(format!("has more than {limit} bytes"))),
                false => Ok(content),
            }
        };
        match read() {
            Ok(content) => Ok(Some(content)),
            Err(Trouble::System(Errno::ENOENT)) => Ok(None),
            Err(error) => Err(error.at(self.path.join(name))),
        }
    }

    /// Writes a file, readable by others only if its mode says so. It is replaced whole, or not at all.
    ///
    /// # Errors
    ///
    /// [`StateError`] if it cannot be written, or the file that is there is refused.
    pub fn write(&self, name: &str, content: &[&[u8]], mode: u32) -> Result<(), StateError> {
        /// Two writers of one file at the same time have different drafts.
        static WRITES: AtomicU64 = AtomicU64::new(0);
        // A file that is refused is not replaced either.
        match self.file(name) {
            Ok(_) | Err(Trouble::System(Errno::ENOENT)) => {}
            Err(error) => return Err(error.at(self.path.join(name))),
        }
        let write = WRITES.fetch_add(1, Ordering::Relaxed);
        let draft = format!("{name}.{}-{write}.new", std::process::id());
        let put = || -> Result<(), Trouble> {
            let directory = self.enter()?;
            let flags = OFlag::O_WRONLY
                | OFlag::O_CREAT
                | OFlag::O_EXCL
                | OFlag::O_NOFOLLOW
                | OFlag::O_CLOEXEC;
            let file = openat(&directory, &*draft, flags, Mode::from_bits_truncate(0o600))?;
            let written = (|| {
                let mut file = File::from(file);
                for piece in content {
                    file.write_all(piece)?;
                }
                fchmod(&file, Mode::from_bits_truncate(mode))?;
                file.sync_all()?;
                Ok(renameat(&directory, &*draft, &directory, name)?)
            })();
            if written.is_err() {
                // The draft is of no use.
                let _ = unlinkat(&directory, &*draft, UnlinkatFlags::NoRemoveDir);
            }
            written
        };
        put().map_err(|error| error.at(self.path.join(name)))
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    ///
    /// [`StateError::System`] if it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), StateError> {
        let removed = self
            .enter()
            .and_then(|directory| Ok(unlinkat(directory, name, UnlinkatFlags::NoRemoveDir)?));
        match removed {
            Ok(()) | Err(Trouble::System(Errno::ENOENT)) => Ok(()),
            Err(error) => Err(error.at(self.path.join(name))),
        }
    }

    /// Opens a file, if it is one and this user's alone.
    fn file(&self, name: &str) -> Result<OwnedFd, Trouble> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file =
            openat(self.enter()?, name, flags, Mode::empty()).map_err(|error| match error {
                Errno::ELOOP => Trouble::Refused(LINK.into()),
                error => error.into(),
            })?;
        is_own(&file, SFlag::S_IFREG)?;
        Ok(file)
    }

    /// Opens the directory, if it is one and this user's alone.
    fn enter(&self) -> Result<OwnedFd, Trouble> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let directory = open(&self.path, flags, Mode::empty()).map_err(|error| {
            // The system gives one error for both a link and a file that is no directory.
            match lstat(&self.path) {
                Ok(found) if kind(&found) == SFlag::S_IFLNK => Trouble::Refused(LINK.into()),
                Ok(found) if kind(&found) != SFlag::S_IFDIR => {
                    Trouble::Refused("is no directory".into())
                }
                _ => error.into(),
            }
        })?;
        is_own(&directory, SFlag::S_IFDIR)?;
        Ok(directory)
    }

    fn failed(&self, error: Trouble) -> StateError {
        error.at(self.path.clone())
    }
}

const LINK: &str = "is a symbolic link, which is not followed; name its target";

/// Refuses a file of another kind, of another user, or that others may write.
fn is_own(file: impl AsFd, wanted: SFlag) -> Result<(), Trouble> {
    let found = fstat(file)?;
    let refuse = |what: String| Err(Trouble::Refused(what));
    let own = Uid::effective().as_raw();
    let mode = found.st_mode & 0o7777;
    match kind(&found) {
        kind if kind != wanted => refuse(match kind {
            SFlag::S_IFIFO => "is a pipe (FIFO), no regular file".into(),
            SFlag::S_IFSOCK => "is a socket, no regular file".into(),
            SFlag::S_IFDIR => "is a directory, no regular file".into(),
            _ => "is no regular file".into(),
        }),
        _ if found.st_uid != own => {
            refuse(format!("belongs to user {}, not to user {own}, who runs rtun", found.st_uid))
        }
        _ if mode & 0o022 != 0 => {
            refuse(format!("may be written by others (mode {mode:04o}): chmod go-w"))
        }
        _ => Ok(()),
    }
}

fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits())
}

enum Trouble {
    Refused(String),
    System(Errno),
    Io(io::Error),
}

impl Trouble {
    fn at(self, path: PathBuf) -> StateError {
        match self {
            Self::Refused(what) => StateError::Refused { path, what },
            Self::System(error) => StateError::System { path, source: error.into() },
            Self::Io(source) => StateError::System { path, source },
        }
    }
}

impl From<Errno> for Trouble {
    fn from(error: Errno) -> Self {
        Self::System(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt, chown, symlink},
    };

    use nix::unistd::mkfifo;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/state");
        (folder, path)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn refused<T>(result: Result<T, StateError>, reason: &str) {
        let error = result.err().unwrap();
        assert!(matches!(error, StateError::Refused { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }

    #[test]
    fn what_is_written_is_there_the_next_time_and_private() {
        let (_folder, path) = folder();
        let state = StateDir::open(&path).unwrap();
        assert_eq!(state.read("x", 10).unwrap(), None);
        state.write("x", &[b"ab", b"c"], 0o600).unwrap();
        state.write("public", &[b""], 0o644).unwrap();
        assert_eq!((mode(&path), mode(&path.join("x"))), (0o700, 0o600));
        assert_eq!(mode(&path.join("public")), 0o644);
        let state = StateDir::open(&path).unwrap();
        assert_eq!(state.read("x", 3).unwrap().unwrap(), b"abc");
        refused(state.read("x", 2), "more than 2 bytes");
        state.write("x", &[b"new"], 0o600).unwrap();
        assert_eq!(state.read("x", 3).unwrap().unwrap(), b"new");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 2, "no drafts stay");
        state.remove("x").unwrap();
        state.remove("x").unwrap();
        assert_eq!(state.read("x", 3).unwrap(), None);
    }

    #[test]
    fn a_directory_that_others_may_write_is_not_used() {
        let (_folder, path) = folder();
        let state = StateDir::open(&path).unwrap();
        state.write("x", &[b"ours"], 0o600).unwrap();
        for lax in [0o720, 0o702, 0o1777] {
            set_mode(&path, lax);
            refused(StateDir::open(&path), "chmod go-w");
            refused(state.read("x", 10), "chmod go-w");
            refused(state.write("x", &[b""], 0o600), "chmod go-w");
        }
        set_mode(&path, 0o755);
        assert_eq!(state.read("x", 10).unwrap().unwrap(), b"ours");
        if Uid::effective().is_root() {
            chown(&path, Some(12_345), None).unwrap();
            refused(StateDir::open(&path), "belongs to user 12345");
        }
    }

    #[test]
    fn what_is_no_directory_is_not_used() {
        let (folder, path) = folder();
        let real = folder.path().join("real");
        fs::create_dir(&real).unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        symlink(&real, &path).unwrap();
        refused(StateDir::open(&path), "symbolic link");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        refused(StateDir::open(&path), "no directory");
        fs::remove_file(&path).unwrap();
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        refused(StateDir::open(&path), "no directory");
    }

    #[test]
    fn a_file_that_is_not_ours_alone_is_neither_read_nor_replaced() {
        let (_folder, path) = folder();
        let state = StateDir::open(&path).unwrap();
        let file = path.join("x");
        let check = |reason: &str| {
            refused(state.read("x", 10), reason);
            refused(state.write("x", &[b"new"], 0o600), reason);
            fs::remove_file(&file).unwrap();
        };
        symlink("/etc/hostname", &file).unwrap();
        check("symbolic link");
        symlink(path.join("nothing"), &file).unwrap();
        check("symbolic link");
        mkfifo(&file, Mode::S_IRWXU).unwrap();
        check("FIFO");
        fs::write(&file, "theirs").unwrap();
        set_mode(&file, 0o660);
        check("mode 0660");
        if Uid::effective().is_root() {
            fs::write(&file, "theirs").unwrap();
            chown(&file, Some(12_345), None).unwrap();
            check("belongs to user 12345");
        }
        state.write("x", &[b"new"], 0o600).unwrap();
    }

    #[test]
    fn a_directory_that_was_removed_and_made_again_differs() {
        let (_folder, path) = folder();
        let state = StateDir::open(&path).unwrap();
        let before = state.identity().unwrap();
        assert_eq!(state.identity(), Some(before));
        fs::remove_dir_all(&path).unwrap();
        assert_eq!(state.identity(), None);
        assert!(state.make().unwrap());
        assert!(!state.make().unwrap());
        assert_ne!(state.identity(), Some(before));
    }
}
