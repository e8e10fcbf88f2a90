//! A lab without root: a user namespace in which this process has the rights of root.

use std::io;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, getegid, geteuid};

/// Why no user namespace could be entered, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum UserNamespaceError {
    /// The process has started threads; the kernel allows it only before that.
    #[error("a user namespace can only be entered while the process has a single thread")]
    SeveralThreads,
    /// The system forbids it.
    #[error("this system does not let unprivileged users make user namespaces: {reason}; {remedy}")]
    SwitchedOff {
        /// The setting that forbids it.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// The system refused for a reason that no known setting explains.
    #[error("{action}: {source}; run as root instead")]
    System {
        /// The failed step.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// Makes this process root of a user namespace and a mount namespace of its own, in which a lab
/// can be built without privileges on the machine. It cannot be undone.
///
/// Must be called before the process starts a thread (a tokio runtime starts some).
pub fn enter_user_namespace() -> Result<(), UserNamespaceError> {
    let (user, group) = (geteuid(), getegid());
    if let Err(errno) = unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS) {
        return Err(match errno {
            Errno::EINVAL => UserNamespaceError::SeveralThreads,
            _ => explain("creating a user namespace", errno.into()),
        });
    }
    map_to_root(user, group)
        .map_err(|source| explain("becoming root of the user namespace", source))?;
    // Some systems allow the namespace without its capabilities; detect that now.
    std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET))
        .join()
        .unwrap_or(Err(Errno::ECHILD))
        .map_err(|errno| {
            explain("creating a network namespace in the user namespace", errno.into())
        })
}

fn map_to_root(user: Uid, group: Gid) -> io::Result<()> {
    // An unprivileged process may map its group only after giving up setgroups
    // (user_namespaces(7)).
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// Finds the setting that caused a refusal.
fn explain(action: &'static str, source: io::Error) -> UserNamespaceError {
    /// Setting, the value that forbids, the value that allows.
    const SETTINGS: [(&str, &str, &str); 3] = [
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("user.max_user_namespaces", "0", "15000"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ];
    for (setting, forbids, allows) in SETTINGS {
        let path = format!("/proc/sys/{}", setting.replace('.', "/"));
        if std::fs::read_to_string(path).is_ok_and(|value| value.trim() == forbids) {
            return UserNamespaceError::SwitchedOff {
                reason: format!("{setting} is {forbids}"),
                remedy: format!("`sysctl -w {setting}={allows}` allows it, or run as root"),
            };
        }
    }
    if source.raw_os_error() == Some(Errno::EPERM as i32) {
        return UserNamespaceError::SwitchedOff {
            reason: format!("{action} was not permitted"),
            remedy: "in a container this is decided by its security profile (seccomp); \
                     allow it there, or run as root"
                .to_owned(),
        };
    }
    UserNamespaceError::System { action, source }
}
