//! What rtun's entries in the system have in common: whose they are, and why the system refuses one.

use std::io;

/// The number under which rtun's routes, rules and addresses are known to the system: the
/// `protocol` of `ip route`, `ip rule` and `ip address`. Nobody else is known to use it.
pub const PROTOCOL: u8 = 114;

/// A step of setting up a device that the system refused.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {source}{}", hint(.source))]
pub struct LinkError {
    /// What was being done, with its object: `adding 10.0.0.1/24 to tun0`.
    pub action: String,
    /// What the system answered.
    pub source: io::Error,
}

impl LinkError {
    /// Whether the system refused because IPv6 is switched off.
    pub fn is_ipv6_off(&self) -> bool {
        let errors = [libc::EACCES, libc::EOPNOTSUPP, libc::EAFNOSUPPORT];
        self.source.raw_os_error().is_some_and(|errno| errors.contains(&errno))
    }

    /// Whether there is no such device any more.
    pub fn is_device_gone(&self) -> bool {
        self.source.raw_os_error() == Some(libc::ENODEV)
    }

    pub(crate) fn new(action: String, error: rtnetlink::Error) -> LinkError {
        let source = match errno(&error) {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::other(error),
        };
        LinkError { action, source }
    }
}

/// The system's error number in a netlink answer.
pub(crate) fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.code.map(|code| code.get().abs()),
        _ => None,
    }
}

/// What to do about an answer of the system whose own words do not say it.
fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => "; it needs the capability CAP_NET_ADMIN",
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => {
            "; the gateway is not in any network this system is connected to"
        }
        Some(libc::ENETDOWN) => "; the device is down",
        Some(libc::EOPNOTSUPP | libc::EACCES) => "; is IPv6 switched off on this system?",
        _ => "",
    }
}
