//! The locations of control sockets on this machine.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

use super::client::{ControlAskError, connect, hang_up};

/// The directory for root.
const ROOTS: &str = "/run/rtun";

/// The directories of users that are logged in; each contains one directory per program.
const USERS: &str = "/run/user";

/// Where a process creates its socket, and where others look for it.
#[derive(Debug, Clone)]
pub struct SocketLocations {
    /// `$RTUN_SOCKET`: exactly this path.
    exact: Option<PathBuf>,
    /// Directories in which each process has a socket named after its id; the first usable one is used.
    folders: Vec<PathBuf>,
}

impl SocketLocations {
    /// The locations by these environment variables: `$RTUN_SOCKET`, else `$RUNTIME_DIRECTORY` (which systemd sets), else
    /// `/run/rtun` for root, else `$XDG_RUNTIME_DIR/rtun`.
    pub fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // systemd separates several paths by colons.
        let runtime = path("RUNTIME_DIRECTORY")
            .and_then(|folders| folders.to_str()?.split(':').next().map(PathBuf::from));
        let roots = geteuid().is_root().then(|| PathBuf::from(ROOTS));
        let users = path("XDG_RUNTIME_DIR").map(|folder| folder.join("rtun"));
        let folders = runtime.into_iter().chain(roots).chain(users).collect();
        Self { exact: path("RTUN_SOCKET"), folders }
    }

    /// The paths where this process may create its socket, best first.
    pub(super) fn own(&self) -> Vec<PathBuf> {
        match &self.exact {
            Some(path) => vec![path.clone()],
            None => {
                let name = format!("{}.sock", std::process::id());
                self.folders.iter().map(|folder| folder.join(&name)).collect()
            }
        }
    }

    /// Creates the directory of this process's socket and removes abandoned sockets from it. A directory in which other users
    /// may write is an error: they could replace the socket.
    pub(super) fn prepare(&self, path: &Path) -> io::Result<()> {
        let Some(folder) = path.parent().filter(|_| self.exact.is_none()) else { return Ok(()) };
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let found = fs::metadata(folder)?;
        if found.uid() != geteuid().as_raw() || found.mode() & 0o022 != 0 {
            return Err(io::Error::other(
                "other users may write in this directory: use one of which they have no write permission",
            ));
        }
        for socket in sockets_in(folder) {
            // A socket in use stays.
            let _ = remove_stale(&socket);
        }
        Ok(())
    }

    /// All sockets that are found, abandoned ones included.
    pub fn sockets(&self) -> Vec<PathBuf> {
        let exact = self.exact.iter().filter(|path| path.exists()).cloned();
        let mut found: Vec<_> = exact.collect();
        for folder in self.searched() {
            found.extend(sockets_in(&folder));
            for inner in entries(&folder).into_iter().filter(|inner| inner.is_dir()) {
                found.extend(sockets_in(&inner));
            }
        }
        let mut seen = Vec::new();
        found.retain(|path| {
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            let new = !seen.contains(&real);
            seen.push(real);
            new
        });
        found
    }

    /// The directories that are searched, as are the directories in them.
    pub fn searched(&self) -> Vec<PathBuf> {
        let mut folders = self.folders.clone();
        folders.push(PathBuf::from(ROOTS));
        if geteuid().is_root() {
            folders.extend(entries(Path::new(USERS)).into_iter().map(|user| user.join("rtun")));
        }
        folders.sort();
        folders.dedup();
        folders
    }
}

/// Removes a socket of this user on which no process listens. Any other file at its path stays, and is an error.
pub fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() || found.uid() != geteuid().as_raw() {
        return Err(io::Error::other(
            "another kind of file, or a file of another user, is at this path",
        ));
    }
    match connect(path) {
        Err(ControlAskError::Nobody) => fs::remove_file(path),
        Ok(socket) => {
            hang_up(&socket);
            Err(io::Error::other("another process listens there: it is in use"))
        }
        Err(error) => Err(io::Error::other(error)),
    }
}

/// The sockets in a directory that are named as processes name theirs, sorted.
fn sockets_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = entries(folder);
    found.retain(|path| {
        path.extension().is_some_and(|extension| extension == "sock")
            && fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
    });
    found.sort();
    found
}

/// The entries of a directory; none if it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn places(vars: &[(&str, &str)]) -> SocketLocations {
        let vars: Vec<_> = vars.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        SocketLocations::from_vars(|name| {
            vars.iter().find(|(key, _)| key == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_environment_says_where() {
        let name = format!("{}.sock", std::process::id());
        let exact = places(&[("RTUN_SOCKET", "/a/b"), ("RUNTIME_DIRECTORY", "/run/x")]);
        assert_eq!(exact.own(), [PathBuf::from("/a/b")]);
        let unit = places(&[("RUNTIME_DIRECTORY", "/run/x:/run/y"), ("XDG_RUNTIME_DIR", "/xdg")]);
        assert_eq!(unit.own().first(), Some(&Path::new("/run/x").join(&name)));
        assert_eq!(unit.own().last(), Some(&Path::new("/xdg/rtun").join(&name)));
        assert_eq!(places(&[]).own().is_empty(), !geteuid().is_root());
    }

    #[test]
    fn a_folder_is_ours_alone_or_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("rtun");
        let path = made.join("1.sock");
        let places = places(&[("XDG_RUNTIME_DIR", folder.path().to_str().unwrap())]);
        places.prepare(&path).unwrap();
        assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
        fs::set_permissions(&made, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(places.prepare(&path).is_err());
    }
}
