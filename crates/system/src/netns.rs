//! Work in another network namespace of the system.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
};

use nix::sched::{CloneFlags, setns};
use tokio::runtime::Handle;

/// Why nothing could be done in a network namespace.
#[derive(Debug, thiserror::Error)]
#[error("the network namespace {}: {source}{}", .path.display(), hint(.source))]
pub struct NetnsError {
    /// Which.
    pub path: PathBuf,
    /// What the system answered.
    pub source: io::Error,
}

/// Does `work` in the network namespace at `path`, a file such as `/run/netns/blue`; without one, here. Sockets and devices
/// opened meanwhile belong to it for as long as they live.
///
/// A namespace is a thread's: the work is done on a thread of its own, which the caller waits for, within the caller's tokio
/// runtime if there is one.
pub fn within<T: Send>(
    path: Option<&Path>,
    work: impl FnOnce() -> T + Send,
) -> Result<T, NetnsError> {
    let Some(path) = path else { return Ok(work()) };
    let failed = |source| NetnsError { path: path.to_owned(), source };
    let namespace = File::open(path).map_err(failed)?;
    let runtime = Handle::try_current().ok();
    let there = thread::scope(|scope| {
        let there = scope.spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            let _runtime = runtime.as_ref().map(Handle::enter);
            Ok(work())
        });
        there.join()
    });
    match there {
        Ok(done) => done.map_err(|errno: nix::Error| failed(errno.into())),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Which network namespace a file stands for: the same again only for the same namespace, while it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetnsIdentity {
    device: u64,
    inode: u64,
}

/// Which network namespace the file at `path` stands for now.
pub fn identity(path: &Path) -> Result<NetnsIdentity, NetnsError> {
    match std::fs::metadata(path) {
        Ok(file) => Ok(NetnsIdentity { device: file.dev(), inode: file.ino() }),
        Err(source) => Err(NetnsError { path: path.to_owned(), source }),
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => "; it needs the capability CAP_SYS_ADMIN",
        Some(libc::ENOENT) => "; `ip netns add` makes one",
        Some(libc::EINVAL) => "; the file is no network namespace",
        _ => "",
    }
}
