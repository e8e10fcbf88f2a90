//! What the system knows of a connection over TCP (`TCP_INFO`).

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Counts of one connection. Those that an older system does not keep are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpInfo {
    /// Bytes that the other side has acknowledged.
    pub acknowledged: u64,
    /// Bytes sent and not acknowledged yet.
    pub in_flight: u64,
    /// How often the oldest of them has been sent again since the other side last acknowledged anything.
    pub repeated: u8,
    /// Segments sent again since the beginning.
    pub retransmitted: u32,
    /// Bytes received in order.
    pub received: u64,
    /// Segments received since the beginning, of any kind and with nothing new too.
    pub segments_received: u32,
    /// Segments received since the beginning for which one before was missing.
    pub out_of_order: u32,
    /// The most bytes of a segment that is sent.
    pub segment_max: u32,
}

/// Bytes of the kernel's `struct tcp_info` that are looked at (Linux 5.5). Its fields never move: newer ones are added
/// at the end.
const LENGTH: usize = 228;

impl TcpInfo {
    /// How it goes now with the connection of `socket`.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let mut info = [0; LENGTH];
        let mut length = LENGTH as libc::socklen_t;
        // SAFETY: the descriptor is borrowed, and so open; the kernel writes at most `length` bytes to `info`, which has
        // as many.
        #[allow(unsafe_code, reason = "no crate in use has this option")]
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &mut length,
            )
        };
        match result {
            0 => Ok(Self::read(&info)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn read(info: &[u8; LENGTH]) -> Self {
        let bytes = |at: usize| info.get(at..at + 8).and_then(|field| field.try_into().ok());
        let u64_at = |at| bytes(at).map_or(0, u64::from_ne_bytes);
        let short = |at: usize| info.get(at..at + 4).and_then(|field| field.try_into().ok());
        let u32_at = |at| short(at).map_or(0, u32::from_ne_bytes);
        let acknowledged = u64_at(120);
        let (sent, repeated_bytes) = (u64_at(200), u64_at(208));
        Self {
            acknowledged,
            // The handshake's SYN counts as acknowledged and not as sent.
            in_flight: sent.saturating_sub(repeated_bytes).saturating_sub(acknowledged),
            repeated: info[2],
            retransmitted: u32_at(100),
            received: u64_at(128),
            segments_received: u32_at(140),
            out_of_order: u32_at(224),
            segment_max: u32_at(16),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn counts_follow_the_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let before = TcpInfo::of(&near).unwrap();
        near.write_all(&[1; 3000]).unwrap();
        far.read_exact(&mut [0; 3000]).unwrap();
        far.write_all(&[1; 500]).unwrap();
        near.read_exact(&mut [0; 500]).unwrap();
        let after = TcpInfo::of(&near).unwrap();
        assert_eq!(after.acknowledged - before.acknowledged, 3000, "{after:?}");
        assert_eq!(after.received - before.received, 500, "{after:?}");
        assert_eq!((after.in_flight, after.repeated, after.out_of_order), (0, 0, 0), "{after:?}");
        assert!(after.segments_received > before.segments_received && after.segment_max > 500);
    }
}
