//! What can go wrong while a lab is built.

use std::io;

/// A step of building a lab that failed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The process may not make namespaces.
    #[error(
        "{action}: not permitted; run as root, or enter a user namespace first where the system \
         allows it"
    )]
    NotPermitted {
        /// What was being done.
        action: String,
    },
    /// An address, prefix or name given by the caller is not one.
    #[error("{text:?} is not {expected}")]
    BadArgument {
        /// What was given.
        text: String,
        /// What was expected there.
        expected: &'static str,
    },
    /// The system refused a setting of a device.
    #[error("in namespace {namespace}: {source}")]
    Link {
        /// The namespace's name.
        namespace: String,
        /// What was being done, and the system's answer.
        source: rtun_system::netlink::LinkError,
    },
    /// The system refused something else.
    #[error("{action}: {source}")]
    System {
        /// What was being done.
        action: String,
        /// What the system answered.
        source: io::Error,
    },
}

impl LabError {
    /// The error of `action`, by what the system answered.
    pub(crate) fn system(action: impl Into<String>, source: impl Into<io::Error>) -> LabError {
        let (action, source) = (action.into(), source.into());
        match source.kind() {
            io::ErrorKind::PermissionDenied => LabError::NotPermitted { action },
            _ => LabError::System { action, source },
        }
    }

    /// The error of `action`, by what netlink answered.
    pub(crate) fn netlink(action: impl Into<String>, error: rtnetlink::Error) -> LabError {
        let source = match &error {
            rtnetlink::Error::NetlinkError(message) => {
                io::Error::from_raw_os_error(message.code.map_or(0, |code| code.get().abs()))
            }
            _ => io::Error::other(error),
        };
        LabError::system(action, source)
    }
}
