//! Where a session passes packets to: the current device, which may be removed and made again.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use arc_swap::{ArcSwapOption, Guard};
use rtun_system::tun::{Offload, PacketDevice, Tun};
use tokio::sync::Notify;

/// A service's device as its sessions see it. While there is none, packets are refused, and are counted as lost.
pub(crate) struct DevicePort {
    name: String,
    mtu: u16,
    offload: Offload,
    device: ArcSwapOption<Tun>,
    changed: Notify,
}

impl DevicePort {
    /// For devices like this one; empty.
    pub(crate) fn like(device: &Tun) -> Self {
        Self {
            name: device.name().to_owned(),
            mtu: device.mtu(),
            offload: device.offload(),
            device: ArcSwapOption::empty(),
            changed: Notify::new(),
        }
    }

    /// From now on this is the device.
    pub(super) fn put(&self, device: Arc<Tun>) {
        self.device.store(Some(device));
        self.changed.notify_waiters();
    }

    /// There is no device any more.
    pub(super) fn take_away(&self) {
        self.device.store(None);
    }

    fn device(&self) -> io::Result<Guard<Option<Arc<Tun>>>> {
        let device = self.device.load();
        if device.is_some() { Ok(device) } else { Err(io::ErrorKind::NotConnected.into()) }
    }

    fn with<T>(&self, act: impl FnOnce(&Tun) -> io::Result<T>) -> io::Result<T> {
        match &*self.device()? {
            Some(device) => act(device),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The device, once there is one.
    async fn wait(&self) -> Arc<Tun> {
        loop {
            let changed = self.changed.notified();
            if let Some(device) = self.device.load_full() {
                return device;
            }
            changed.await;
        }
    }
}

impl PacketDevice for DevicePort {
    /// That of the first; the system may have chosen another since.
    fn name(&self) -> &str {
        &self.name
    }

    fn mtu(&self) -> u16 {
        self.mtu
    }

    async fn readable(&self) -> io::Result<()> {
        self.wait().await.readable().await
    }

    fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.with(|device| device.try_recv(buf))
    }

    async fn writable(&self) -> io::Result<()> {
        self.wait().await.writable().await
    }

    fn try_send(&self, packet: &[u8]) -> io::Result<usize> {
        self.with(|device| device.try_send(packet))
    }

    fn try_send_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.with(|device| device.try_send_vectored(pieces))
    }

    fn offload(&self) -> Offload {
        self.offload
    }
}
