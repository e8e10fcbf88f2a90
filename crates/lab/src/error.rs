//! Errors of building a lab.

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
        /// The failed step.
        action: String,
    },
    /// The caller's text is no address, prefix or name.
    #[error("{text:?} is not {expected}")]
    BadArgument {
        /// The given text.
        text: String,
        /// The expected kind of text.
        expected: &'static str,
    },
    /// The system refused a setting of a device.
    #[error("in namespace {namespace}: {source}")]
    Link {
        /// The namespace's name.
        namespace: String,
        /// The failed step, and the system's answer.
        source: rtun_system::netlink::LinkError,
    },
    /// The system refused something else.
    #[error("{action}: {source}")]
    System {
        /// The failed step.
        action: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl LabError {
    /// The error of `action`, from the system's answer.
    pub(crate) fn system(action: impl Into<String>, source: impl Into<io::Error>) -> LabError {
        let (action, source) = (action.into(), source.into());
        match source.kind() {
            io::ErrorKind::PermissionDenied => LabError::NotPermitted { action },
            _ => LabError::System { action, source },
        }
    }

    /// The error of `action`, from netlink's answer.
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
