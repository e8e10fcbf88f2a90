//! TUN devices: what a device does, the errors of making one, and its two kinds: Linux and memory.

use std::future::Future;
use std::io::{self, IoSlice};

mod linux;
pub mod memory;

pub use linux::Tun;

/// The longest name a network device may have, in bytes (Linux: IFNAMSIZ less the closing zero).
pub const NAME_MAX: usize = 15;

/// What the device to be made is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunConfig {
    /// The device's name; `None` lets the system choose (`tun0`, `tun1`, ...).
    pub name: Option<String>,
    /// The longest packet the device carries, in bytes. [`crate::link::LinkSetup`] tells the
    /// system before the device goes up.
    pub mtu: u16,
}

/// A device that exchanges whole IP packets with the system.
///
/// One call moves one packet. `&self` everywhere: one task may receive while another sends.
/// Dropping a future of [`readable`](PacketDevice::readable) or [`writable`](PacketDevice::writable) loses
/// nothing.
pub trait PacketDevice: Send + Sync + 'static {
    /// The device's name as the system knows it.
    fn name(&self) -> &str;

    /// The longest packet the device carries, in bytes.
    fn mtu(&self) -> u16;

    /// Waits until [`try_recv`](PacketDevice::try_recv) is worth calling; it may still find nothing.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Takes the next packet from the system into `buf` and answers its length.
    ///
    /// A packet longer than `buf` is cut to it, the rest is gone: `buf` holds at least the MTU.
    /// [`io::ErrorKind::WouldBlock`] when there is none, or none that
    /// [`readable`](PacketDevice::readable) has seen since; any other error means that the device no
    /// longer works (it was deleted).
    fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize>;

    /// Waits until [`try_send`](PacketDevice::try_send) is worth calling.
    fn writable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Hands one whole packet to the system and answers its length.
    ///
    /// [`io::ErrorKind::WouldBlock`] when the system takes none now, and the packet was not
    /// taken; [`io::ErrorKind::InvalidInput`] when it is neither IPv4 nor IPv6: only this packet
    /// is lost. An accepted packet may still be dropped by the system, as on any network.
    fn try_send(&self, packet: &[u8]) -> io::Result<usize>;

    /// The same for a packet in pieces, which are joined on the way. At most [`PIECES_MAX`].
    fn try_send_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Whether the device exchanges GSO packets, and of which protocols.
    fn offload(&self) -> Offload {
        Offload::None
    }
}

/// The most pieces of one packet: what one `writev` takes (`IOV_MAX` of Linux).
pub const PIECES_MAX: usize = 1024;

/// What a device leaves to its user, and takes from it.
///
/// With anything but [`Offload::None`] every packet received or sent has [`VIRTIO_HEADER`] bytes in
/// front of it, a `virtio_net_hdr` (virtio 1.2 section 5.1.6) that says how to cut it into packets and
/// which checksum is not filled in yet; it may be as long as 65,535 bytes, whatever the MTU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// Plain packets of at most the MTU.
    None,
    /// Checksums, and GSO packets of TCP.
    Tcp,
    /// The same, and GSO packets of UDP (Linux 6.2 and later).
    TcpAndUdp,
}

/// The length of the header in front of every packet of a device with [`Offload`], in bytes.
pub const VIRTIO_HEADER: usize = 10;

/// Why a TUN device could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// The system has no TUN driver, or this container does not see it.
    #[error(
        "{path} cannot be opened ({source}): load the module with `modprobe tun`; in a \
         container, pass the device in (for example `--device {path}`)"
    )]
    NoDriver {
        /// The control device.
        path: &'static str,
        /// What the system answered.
        source: io::Error,
    },
    /// The control device is there, but closed to this user.
    #[error(
        "{path} cannot be opened ({source}): run as root, or open it to everybody as most \
         systems do (`chmod 666 {path}`); making devices needs CAP_NET_ADMIN anyway"
    )]
    NoAccess {
        /// The control device.
        path: &'static str,
        /// What the system answered.
        source: io::Error,
    },
    /// The process may not make devices.
    #[error(
        "creating TUN device {name}: not permitted; it needs the capability CAP_NET_ADMIN \
         (run as root, `setcap cap_net_admin+ep` on the program, or AmbientCapabilities= in a unit)"
    )]
    NotPermitted {
        /// The name asked for, or the pattern the system would have filled.
        name: String,
    },
    /// Another program holds the device, or another kind of device has the name.
    #[error(
        "creating TUN device {name}: the name is taken by another program or by a device that is \
         not a TUN device; choose another name, or stop the program that holds it"
    )]
    NameInUse {
        /// The name asked for.
        name: String,
    },
    /// The name cannot be a device's name.
    #[error("{name:?} cannot name a network device: {reason}")]
    BadName {
        /// The name asked for.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The system refused for a reason of its own.
    #[error("{action}: {source}")]
    System {
        /// What was being done.
        action: String,
        /// What the system answered.
        source: io::Error,
    },
}

/// Checks a device name by the rules of Linux (`dev_valid_name`), and refuses `%`, which the
/// system would take for a pattern.
fn check_name(name: &str) -> Result<(), TunError> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_MAX {
        "it is longer than 15 bytes"
    } else if name == "." || name == ".." {
        "it would be a directory"
    } else if name.bytes().any(|b| b.is_ascii_whitespace() || b.is_ascii_control()) {
        "it contains white space or control characters"
    } else if name.contains(['/', ':', '%']) {
        "it contains `/`, `:` or `%`"
    } else {
        return Ok(());
    };
    Err(TunError::BadName { name: name.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_system_would_refuse_are_refused_with_the_reason() {
        for (name, reason) in [
            ("", "empty"),
            ("0123456789abcdef", "15 bytes"),
            ("..", "directory"),
            ("a b", "white space"),
            ("a/b", "`/`"),
            ("tun%d", "`%`"),
        ] {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.contains(reason), "{name:?}: {error}");
        }
        check_name("tun0").unwrap();
        check_name("0123456789abcde").unwrap();
    }
}
