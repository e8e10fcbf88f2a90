//! A UDP echo server.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{LabError, NetNamespace};

/// How soon the server notices that it should end.
const POLL: Duration = Duration::from_millis(20);

/// A running echo server; it ends when dropped.
#[derive(Debug)]
pub struct UdpEcho {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpEcho {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and a drop cannot pass it on.
            let _ = thread.join();
        }
    }
}

/// Sends every datagram that arrives at `address` (port 0: any free one) in `namespace` back to
/// its sender.
pub fn udp_echo(namespace: &NetNamespace, address: SocketAddr) -> Result<UdpEcho, LabError> {
    let failed = |error| LabError::system(format!("UDP echo server on {address}"), error);
    let bind = || -> io::Result<_> {
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(POLL))?;
        let address = socket.local_addr()?;
        Ok((socket, address))
    };
    // The socket belongs to the namespace wherever the thread using it runs.
    let (socket, address) = namespace.run(bind)?.map_err(failed)?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let thread = std::thread::Builder::new()
        .name("udp echo".into())
        .spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    // A datagram that cannot be returned is lost, as on any network.
                    let _ = socket.send_to(&buffer[..length], from);
                }
            }
        })
        .map_err(failed)?;
    Ok(UdpEcho { address, stop, thread: Some(thread) })
}
