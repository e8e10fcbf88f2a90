//! The TUN device's twin in memory: two bounded queues of packets, for tests without privileges.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::PacketDevice;

/// Makes a device and the system's side of it. Each direction holds `capacity` packets (at least
/// one): [`System::send`] drops what does not fit, as the kernel's own queue in front of a TUN
/// device does, and [`PacketDevice::try_send`] answers [`io::ErrorKind::WouldBlock`].
pub fn device(name: &str, mtu: u16, capacity: usize) -> (MemoryTun, System) {
    let shared = Arc::new(TunTwinShared {
        to_device: Queue::default(),
        to_system: Queue::default(),
        capacity: capacity.max(1),
    });
    let tun = MemoryTun { name: name.to_owned(), mtu, shared: shared.clone() };
    (tun, System { mtu, shared })
}

/// The device's end. Like a real device it fails once the other end is gone.
#[derive(Debug)]
pub struct MemoryTun {
    name: String,
    mtu: u16,
    shared: Arc<TunTwinShared>,
}

/// The system's end: what the kernel would do.
#[derive(Debug)]
pub struct System {
    mtu: u16,
    shared: Arc<TunTwinShared>,
}

impl PacketDevice for MemoryTun {
    fn name(&self) -> &str {
        &self.name
    }

    fn mtu(&self) -> u16 {
        self.mtu
    }

    async fn readable(&self) -> io::Result<()> {
        self.shared.to_device.wait(|state| state.closed || !state.packets.is_empty()).await;
        Ok(())
    }

    fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.shared.to_device.lock();
        if state.closed {
            return Err(gone());
        }
        let packet = state.packets.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        let length = packet.len().min(buf.len());
        buf[..length].copy_from_slice(&packet[..length]);
        Ok(length)
    }

    async fn writable(&self) -> io::Result<()> {
        let capacity = self.shared.capacity;
        self.shared.to_system.wait(|state| state.closed || state.packets.len() < capacity).await;
        Ok(())
    }

    fn try_send(&self, packet: &[u8]) -> io::Result<usize> {
        if !matches!(packet.first().map(|byte| byte >> 4), Some(4 | 6)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut state = self.shared.to_system.lock();
        if state.closed {
            return Err(gone());
        }
        if state.packets.len() >= self.shared.capacity {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.packets.push_back(packet.to_vec());
        drop(state);
        self.shared.to_system.changed.notify_waiters();
        Ok(packet.len())
    }

    fn try_send_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_send(&pieces.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<_>>())
    }
}

impl Drop for MemoryTun {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl System {
    /// Routes a packet into the device; answers whether it fitted (the queue, and the MTU).
    pub fn send(&self, packet: &[u8]) -> bool {
        let mut state = self.shared.to_device.lock();
        if state.closed
            || packet.len() > usize::from(self.mtu)
            || state.packets.len() >= self.shared.capacity
        {
            return false;
        }
        state.packets.push_back(packet.to_vec());
        drop(state);
        self.shared.to_device.changed.notify_waiters();
        true
    }

    /// Waits for the next packet the device hands to the system; `None` once the device is gone
    /// and everything it sent was taken.
    pub async fn recv(&self) -> Option<Vec<u8>> {
        let queue = &self.shared.to_system;
        loop {
            queue.wait(|state| state.closed || !state.packets.is_empty()).await;
            if let Some(packet) = self.try_recv() {
                return Some(packet);
            }
            if queue.lock().closed {
                return None;
            }
        }
    }

    /// The next packet that the device has handed to the system already, if there is one.
    pub fn try_recv(&self) -> Option<Vec<u8>> {
        let packet = self.shared.to_system.lock().packets.pop_front()?;
        self.shared.to_system.changed.notify_waiters();
        Some(packet)
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.shared.close();
    }
}

#[derive(Debug)]
struct TunTwinShared {
    to_device: Queue,
    to_system: Queue,
    capacity: usize,
}

impl TunTwinShared {
    fn close(&self) {
        for queue in [&self.to_device, &self.to_system] {
            queue.lock().closed = true;
            queue.changed.notify_waiters();
        }
    }
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<TunTwinState>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct TunTwinState {
    packets: VecDeque<Vec<u8>>,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, TunTwinState> {
        // Nothing panics while it holds the lock, so the state is whole even then.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait(&self, ready: impl Fn(&TunTwinState) -> bool) {
        loop {
            // Registered before the look, so that a change between look and wait is not missed.
            let changed = self.changed.notified();
            if ready(&self.lock()) {
                return;
            }
            changed.await;
        }
    }
}

/// What a real device answers once it was deleted (EBADFD).
fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the device is gone")
}
