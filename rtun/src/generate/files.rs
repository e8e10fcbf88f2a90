//! A folder of certificates and keys, written so that nobody reads half a file or another's key.

use std::{
    fs::{self, DirBuilder, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A folder that only the own user, or root, can write into.
pub(crate) struct Folder(PathBuf);

/// The folder or a file in it cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("cannot make or use the directory {}: {source}", path.display())]
    Unusable { path: PathBuf, source: io::Error },
    #[error(
        "others can change what is in the directory {0}: chmod go-w {0}, or use another",
        path.display()
    )]
    Shared { path: PathBuf },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl Folder {
    /// Makes it, with mode 0700, if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        let unusable = |source| FolderError::Unusable { path: path.into(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let mode = fs::metadata(path).map_err(unusable)?.mode();
        match mode & 0o022 {
            0 => Ok(Self(path.into())),
            _ => Err(FolderError::Shared { path: path.into() }),
        }
    }

    /// Writes a file of this folder as a whole: secret ones with mode 0600, others with 0644. One that is there already is
    /// replaced only if that is asked for, and an error otherwise.
    pub(crate) fn write(
        &self,
        path: &Path,
        text: &str,
        secret: bool,
        replace: bool,
    ) -> Result<(), FolderError> {
        let write = || -> io::Result<()> {
            let mode = if secret { 0o600 } else { 0o644 };
            // Made with mode 0600: nobody else can read it before it is complete.
            let mut draft = tempfile::NamedTempFile::new_in(&self.0)?;
            draft.write_all(text.as_bytes())?;
            draft.as_file().set_permissions(Permissions::from_mode(mode))?;
            draft.as_file().sync_all()?;
            match replace {
                true => draft.persist(path)?,
                false => draft.persist_noclobber(path)?,
            };
            Ok(())
        };
        write().map_err(|source| FolderError::Write { path: path.into(), source })
    }
}
