//! TUN and TAP devices of Linux: `/dev/net/tun`, one packet or Ethernet frame per read and per write.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use rtun_proto::ethernet::MacAddress;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{NAME_MAX, Offload, PacketDevice, TunConfig, TunError, VIRTIO_HEADER, check_name};

const CONTROL: &str = "/dev/net/tun";

/// The name by which the system is asked to choose one.
const ANY_NAME: &str = "tun%d";

/// The same for a TAP device.
const ANY_TAP_NAME: &str = "tap%d";

/// A TUN device, or a TAP device, whose packets are Ethernet frames. It disappears from the system, with its addresses and the routes through it, when
/// this value is dropped - unless an administrator prepared it as a persistent device, in which
/// case it stays.
#[derive(Debug)]
pub struct Tun {
    file: AsyncFd<File>,
    name: String,
    index: u32,
    mtu: u16,
    offload: Offload,
}

impl Tun {
    /// Makes a device that exchanges plain packets, or attaches to one prepared for this user under the same name. It is
    /// down and without addresses: [`crate::link::LinkSetup`] does the rest.
    ///
    /// Belongs to the network namespace of the calling thread. Must be called within a tokio
    /// runtime.
    pub fn create(config: &TunConfig) -> Result<Tun, TunError> {
        let wanted = wanted_name(config, ANY_NAME)?;
        let file = open_control()?;
        let name =
            attach(&file, wanted, libc::IFF_TUN).map_err(|source| attach_error(wanted, source))?;
        Self::watch(file, name, config.mtu, Offload::None)
    }

    /// The same for a TAP device: what it exchanges are Ethernet frames, each of at most the MTU and its header, from and to a
    /// network card whose hardware address is `address`.
    pub fn create_ethernet(config: &TunConfig, address: MacAddress) -> Result<Tun, TunError> {
        let wanted = wanted_name(config, ANY_TAP_NAME)?;
        let file = open_control()?;
        let name =
            attach(&file, wanted, libc::IFF_TAP).map_err(|source| attach_error(wanted, source))?;
        set_address(&file, &name, address)?;
        Self::watch(file, name, config.mtu, Offload::None)
    }

    /// Like [`create`](Self::create), with as much [`Offload`] as the kernel has; [`PacketDevice::offload`] tells how much.
    pub fn create_offloading(config: &TunConfig) -> Result<Tun, TunError> {
        match attach_offloading(wanted_name(config, ANY_NAME)?, libc::IFF_TUN)? {
            Some((file, name, offload)) => Self::watch(file, name, config.mtu, offload),
            None => Self::create(config),
        }
    }

    /// Like [`create_ethernet`](Self::create_ethernet), with as much [`Offload`] as the kernel has.
    pub fn create_ethernet_offloading(
        config: &TunConfig,
        address: MacAddress,
    ) -> Result<Tun, TunError> {
        match attach_offloading(wanted_name(config, ANY_TAP_NAME)?, libc::IFF_TAP)? {
            Some((file, name, offload)) => {
                set_address(&file, &name, address)?;
                Self::watch(file, name, config.mtu, offload)
            }
            None => Self::create_ethernet(config, address),
        }
    }

    fn watch(file: File, name: String, mtu: u16, offload: Offload) -> Result<Tun, TunError> {
        let index =
            nix::net::if_::if_nametoindex(name.as_str()).map_err(|errno| TunError::System {
                action: format!("looking up the index of {name}"),
                source: errno.into(),
            })?;
        // SAFETY: the descriptor stays open and the same until `AsyncFd` has let go of it: the
        // `File` owns it, moves in here and is only lent again.
        let file = unsafe { AsyncFd::register(file) }.map_err(|error| TunError::System {
            action: format!("watching {name} for packets"),
            source: error.into(),
        })?;
        Ok(Tun { file, name, index, mtu, offload })
    }

    /// The device's index in its network namespace.
    pub fn index(&self) -> u32 {
        self.index
    }
}

/// For waiting and moving packets without tokio; reads and writes never block.
impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.get_ref().as_fd()
    }
}

impl PacketDevice for Tun {
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

    fn try_send_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.file.try_io(Interest::WRITABLE, |mut file| file.write_vectored(pieces))
    }

    fn offload(&self) -> Offload {
        self.offload
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

fn wanted_name<'a>(config: &'a TunConfig, any: &'a str) -> Result<&'a str, TunError> {
    match &config.name {
        Some(name) => check_name(name).map(|()| name.as_str()),
        None => Ok(any),
    }
}

/// Binds the opened control device to the interface `wanted`, of the kind that `flags` say, and answers its final name.
fn attach(file: &File, wanted: &str, flags: libc::c_int) -> io::Result<String> {
    debug_assert!(wanted.len() <= NAME_MAX);
    // SAFETY: `ifreq` is plain old data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().take(NAME_MAX).zip(wanted.bytes()) {
        *slot = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_NO_PI | flags) as libc::c_short;
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

/// Makes the device `wanted` with as much offload as the kernel has; none where it has none.
fn attach_offloading(
    wanted: &str,
    kind: libc::c_int,
) -> Result<Option<(File, String, Offload)>, TunError> {
    let file = open_control()?;
    // The device, if it was made, goes with its descriptor.
    match attach(&file, wanted, kind | libc::IFF_VNET_HDR) {
        Ok(name) => match offload(&file) {
            Offload::None => Ok(None),
            offload => Ok(Some((file, name, offload))),
        },
        Err(source) if source.raw_os_error() == Some(libc::EINVAL) => Ok(None),
        Err(source) => Err(attach_error(wanted, source)),
    }
}

/// Gives the device of this descriptor, called `name`, a hardware address.
fn set_address(file: &File, name: &str, address: MacAddress) -> Result<(), TunError> {
    // SAFETY: `ifreq` is plain old data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let mut hardware = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: [0; 14] };
    for (slot, byte) in hardware.sa_data.iter_mut().zip(address.octets()) {
        *slot = byte.cast_signed();
    }
    request.ifr_ifru.ifru_hwaddr = hardware;
    // SAFETY: SIOCSIFHWADDR reads one `ifreq`; the pointer is to one that lives across the call, and the descriptor, which says
    // whose address it is, is open because `file` is borrowed.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::SIOCSIFHWADDR, &raw const request) } < 0 {
        return Err(TunError::System {
            action: format!("giving {name} the hardware address {address}"),
            source: io::Error::last_os_error(),
        });
    }
    Ok(())
}

/// Has the kernel leave to us what it leaves to network cards, as much as it can.
fn offload(file: &File) -> Offload {
    let size: libc::c_int = VIRTIO_HEADER as libc::c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one `int`; the pointer is to one that lives across the call, and the descriptor is
    // open because `file` is borrowed.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const size) } < 0 {
        return Offload::None;
    }
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
    let set = |features: libc::c_uint| {
        // SAFETY: TUNSETOFFLOAD takes its argument by value; the descriptor is open because `file` is borrowed.
        unsafe {
            libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(features)) >= 0
        }
    };
    if set(tcp | libc::TUN_F_USO4 | libc::TUN_F_USO6) {
        Offload::TcpAndUdp
    } else if set(tcp) {
        Offload::Tcp
    } else {
        Offload::None
    }
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
