//! Writing changed configuration files: whole or not at all, with the mode and owner that they have.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::Path,
};

use rtun_api::OrderError;
use rtun_config::FileRewrite;

/// Writes all of `rewrites`. Unless `force` is set, none if one of the files does not hold any more what was read.
pub(crate) fn save(rewrites: &[FileRewrite], force: bool) -> Result<(), OrderError> {
    for FileRewrite { path, before, .. } in rewrites {
        let read = fs::read(path);
        let path = path.display();
        match read {
            Ok(now) if *now == **before || force => {}
            Ok(_) => {
                return Err(OrderError::Outdated(format!(
                    "{path} has been changed since it was read: read it with POST /config/reload, which forgets changes of the API, or overwrite it with POST /config?force=true"
                )));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && force => {}
            Err(error) => return Err(OrderError::Save(format!("cannot read {path}: {error}"))),
        }
    }
    for FileRewrite { path, after, .. } in rewrites {
        replace(path, after).map_err(|error| {
            OrderError::Save(format!("cannot write {}: {error}", path.display()))
        })?;
    }
    Ok(())
}

/// A file next to it is written first and then gets its name; a link is followed to the file itself.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut new = tempfile::Builder::new().prefix(".rtun-").tempfile_in(folder)?;
    new.write_all(text.as_bytes())?;
    let mode = match fs::metadata(&path) {
        Ok(old) => {
            let own = new.as_file().metadata()?;
            if (own.uid(), own.gid()) != (old.uid(), old.gid()) {
                fchown(new.as_file(), Some(old.uid()), Some(old.gid()))?;
            }
            old.mode() & 0o7777
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0o600,
        Err(error) => return Err(error),
    };
    new.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    new.as_file().sync_all()?;
    new.persist(&path).map_err(|error| error.error)?;
    // So that the new name outlasts a crash of the system, too.
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn rewrite(path: &Path, before: &str, after: &str) -> FileRewrite {
        FileRewrite {
            path: path.to_owned(),
            before: before.as_bytes().into(),
            after: after.into(),
            loses_comments: false,
        }
    }

    fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_file_keeps_its_mode_and_a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), "a.yaml", "old");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let link = folder.path().join("link.yaml");
        std::os::unix::fs::symlink("a.yaml", &link).unwrap();
        save(&[rewrite(&link, "old", "new")], false).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left behind");
    }

    #[test]
    fn what_has_changed_on_disk_is_not_overwritten_unless_forced() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) =
            (file(folder.path(), "1.yaml", "one"), file(folder.path(), "2.yaml", "edited"));
        let rewrites = [rewrite(&one, "one", "1"), rewrite(&other, "other", "2")];
        assert!(matches!(save(&rewrites, false), Err(OrderError::Outdated(_))));
        assert_eq!(fs::read_to_string(&one).unwrap(), "one", "none is written");
        save(&rewrites, true).unwrap();
        assert_eq!(fs::read_to_string(&one).unwrap(), "1");
        assert_eq!(fs::read_to_string(&other).unwrap(), "2");
        fs::remove_file(&one).unwrap();
        let again = [rewrite(&one, "1", "again")];
        assert!(matches!(save(&again, false), Err(OrderError::Save(_))));
        save(&again, true).unwrap();
        assert_eq!(fs::metadata(&one).unwrap().mode() & 0o777, 0o600);
    }
}
