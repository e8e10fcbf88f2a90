//! A TUN device of Linux: `/dev/net/tun`, one packet per read and per write.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Device, NAME_MAX, TunConfig, TunError, check_name};

const CONTROL: &str = "/dev/net/tun";

/// The name by which the system is asked to choose one.
const ANY_NAME: &str = "tun%d";

/// A TUN device. It disappears from the system, with its addresses and the routes through it, when
/// this value is dropped - unless an administrator prepared it as a persistent device, in which
/// case it stays.
#[derive(Debug)]
pub struct Tun {
    file: AsyncFd<File>,
    name: String,
    index: u32,
    mtu: u16,
}

impl Tun {
    /// Makes the device, or attaches to one prepared for this user under the same name. It is
    /// down and without addresses: [`crate::link::LinkSetup`] does the rest.
    ///
    /// Belongs to the network namespace of the calling thread. Must be called within a tokio
    /// runtime.
    pub fn create(config: &TunConfig) -> Result<Tun, TunError> {
        if let Some(name) = &config.name {
            check_name(name)?;
        }
        let wanted = config.name.as_deref().unwrap_or(ANY_NAME);
        let file = open_control()?;
        let name = attach(&file, wanted).map_err(|source| attach_error(wanted, source))?;
        let index =
            nix::net::if_::if_nametoindex(name.as_str()).map_err(|errno| TunError::System {
                action: format!("looking up the index of {name}"),
                source: errno.into(),
            })?;
        // SAFETY: the descriptor stays open and the same until `AsyncFd` has let go of it: the
        // `File` owns it, moves in here and is never handed out again.
        let file = unsafe { AsyncFd::register(file) }.map_err(|error| TunError::System {
            action: format!("watching {name} for packets"),
            source: error.into(),
        })?;
        Ok(Tun { file, name, index, mtu: config.mtu })
    }

    /// The device's index in its network namespace.
    pub fn index(&self) -> u32 {
        self.index
    }
}

impl Device for Tun {
    fn name(&self) -> &str {
        &self.name
    }

    fn mtu(&self) -> u16 {
        self.mtu
    }

    async fn readable(&self) -> io::Result<()> {
        // A deleted device reports an error and nothing else.
        self.file.ready(Interest::READABLE | Interest::ERROR).await.map(drop)
    }

    fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut receive = |interest| self.file.try_io(interest, |mut file| file.read(buf));
        match receive(Interest::READABLE) {
            // One interest at a time: `try_io` takes a combined one for never ready.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => receive(Interest::ERROR),
            result => result,
        }
    }

    async fn writable(&self) -> io::Result<()> {
        self.file.writable().await.map(drop)
    }

    fn try_send(&self, packet: &[u8]) -> io::Result<usize> {
        self.file.try_io(Interest::WRITABLE, |mut file| file.write(packet))
    }
}

fn open_control() -> Result<File, TunError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(CONTROL)
        .map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => TunError::NoAccess { path: CONTROL, source },
            _ => TunError::NoDriver { path: CONTROL, source },
        })
}

/// Binds the opened control device to the interface `wanted` and answers its final name.
fn attach(file: &File, wanted: &str) -> io::Result<String> {
    debug_assert!(wanted.len() <= NAME_MAX);
    // SAFETY: `ifreq` is plain old data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().take(NAME_MAX).zip(wanted.bytes()) {
        *slot = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`; the pointer is to one that lives across the
    // call, and the descriptor is open because `file` is borrowed.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel closes the name with a zero within the array, and the last byte was zero
    // before the call and is never written by it.
    let name = unsafe { CStr::from_ptr(request.ifr_name.as_ptr()) };
    Ok(name.to_string_lossy().into_owned())
}

fn attach_error(wanted: &str, source: io::Error) -> TunError {
    let name = wanted.to_owned();
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => TunError::NotPermitted { name },
        // EBUSY: attached elsewhere. EINVAL: the name belongs to a device of another kind.
        Some(libc::EBUSY | libc::EINVAL) => TunError::NameInUse { name },
        _ => TunError::System { action: format!("creating TUN device {name}"), source },
    }
}
