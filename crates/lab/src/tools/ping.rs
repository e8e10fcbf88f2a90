//! One ICMP echo and its answer, IPv4 and IPv6.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{LabError, NetNamespace};

/// Why no echo came back.
#[derive(Debug, thiserror::Error)]
pub enum PingError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The system did not send it: no route, or too long for the device without fragments.
    #[error("sending: {0}")]
    Send(io::Error),
    /// A router answered with an ICMP error.
    #[error("{from} answered with ICMP type {kind} code {code}")]
    Refused {
        /// Who answered.
        from: IpAddr,
        /// The ICMP type (RFC 792, RFC 4443).
        kind: u8,
        /// The ICMP code.
        code: u8,
    },
    /// No answer arrived in time.
    #[error("no answer")]
    TimedOut,
    /// The answer has other bytes than were sent.
    #[error("the answer carries other bytes than were sent")]
    Altered,
}

const HEADER: usize = 8;

/// Sends one echo request with `payload_len` bytes after the ICMP header from `namespace` to `to` and
/// returns the time until its echo. Every byte of the echo is compared.
///
/// With `dont_fragment` the request is sent whole or not at all, and no router may fragment it. Without,
/// the system sends it whole if it fits and in fragments if not.
pub fn ping(
    namespace: &NetNamespace,
    to: IpAddr,
    payload_len: usize,
    dont_fragment: bool,
    within: Duration,
) -> Result<Duration, PingError> {
    namespace.run(|| echo(to, payload_len, dont_fragment, within))?
}

fn echo(
    to: IpAddr,
    payload_len: usize,
    dont_fragment: bool,
    within: Duration,
) -> Result<Duration, PingError> {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let request = request(to, number, payload_len);
    let socket = open(to, dont_fragment).map_err(PingError::Send)?;
    let sent_at = Instant::now();
    let packet = match to {
        IpAddr::V4(_) if dont_fragment => with_header(to, &request),
        _ => request.clone(),
    };
    socket.send_to(&packet, SocketAddr::new(to, 0)).map_err(PingError::Send)?;
    let mut buffer = vec![0; 65_536];
    loop {
        let left = within.saturating_sub(sent_at.elapsed());
        if left.is_zero() {
            return Err(PingError::TimedOut);
        }
        socket.set_read_timeout(Some(left)).map_err(PingError::Send)?;
        let (length, from) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if would_block(&error) => continue,
            Err(error) => return Err(PingError::Send(error)),
        };
        let took = sent_at.elapsed();
        match judge(to.is_ipv4(), &buffer[..length], &request) {
            EchoAnswer::Echo => return Ok(took),
            EchoAnswer::Altered => return Err(PingError::Altered),
            EchoAnswer::Error { kind, code } => {
                return Err(PingError::Refused { from: from.ip(), kind, code });
            }
            EchoAnswer::Unrelated => {}
        }
    }
}

/// A raw ICMP socket with the methods of a UDP socket: both exchange datagrams with addresses.
fn open(to: IpAddr, dont_fragment: bool) -> io::Result<UdpSocket> {
    let (domain, protocol) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    if dont_fragment {
        match to {
            IpAddr::V4(_) => socket.set_header_included_v4(true)?,
            IpAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6DontFrag, &true)?,
        }
    }
    Ok(UdpSocket::from(OwnedFd::from(socket)))
}

/// An echo request: type, code, checksum, identifier, sequence (RFC 792, RFC 4443 section 4.1).
fn request(to: IpAddr, number: u16, payload_len: usize) -> Vec<u8> {
    let kind = if to.is_ipv4() { 8 } else { 128 };
    let mut message = vec![kind, 0, 0, 0];
    message.extend((std::process::id() as u16).to_be_bytes());
    message.extend(number.to_be_bytes());
    message.extend((0..payload_len).map(|i| (i % 251) as u8));
    if to.is_ipv4() {
        // For ICMPv6 the kernel fills it in (RFC 3542 section 3.1).
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// `message` behind an IPv4 header that forbids fragments; zero fields are filled by the kernel
/// (raw(7), IP_HDRINCL).
fn with_header(to: IpAddr, message: &[u8]) -> Vec<u8> {
    const DONT_FRAGMENT: u8 = 0x40;
    const TTL: u8 = 64;
    const ICMP: u8 = 1;
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, DONT_FRAGMENT, 0, TTL, ICMP, 0, 0, 0, 0, 0, 0];
    if let IpAddr::V4(to) = to {
        packet.extend(to.octets());
    }
    packet.extend(message);
    packet
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[derive(Debug, PartialEq, Eq)]
enum EchoAnswer {
    Echo,
    Altered,
    Error { kind: u8, code: u8 },
    Unrelated,
}

/// What a received datagram is to `request`. IPv4 raw sockets deliver the IP header too.
fn judge(ipv4: bool, datagram: &[u8], request: &[u8]) -> EchoAnswer {
    let message = match ipv4 {
        true => behind_ipv4_header(datagram),
        false => Some(datagram),
    };
    let Some((head, payload)) = message.and_then(|message| message.split_at_checked(HEADER)) else {
        return EchoAnswer::Unrelated;
    };
    let (kind, code) = (head[0], head[1]);
    let echo = if ipv4 { 0 } else { 129 };
    if kind == echo && head[4..] == request[4..HEADER] {
        return if payload == &request[HEADER..] { EchoAnswer::Echo } else { EchoAnswer::Altered };
    }
    // Errors quote the start of the packet they are about: at least its header and 8 bytes.
    let (is_error, quoted) = match ipv4 {
        true => (matches!(kind, 3 | 11 | 12), behind_ipv4_header(payload)),
        false => (matches!(kind, 1..=4), payload.get(40..)),
    };
    match quoted {
        Some(quoted) if is_error && quoted.get(4..HEADER) == Some(&request[4..HEADER]) => {
            EchoAnswer::Error { kind, code }
        }
        _ => EchoAnswer::Unrelated,
    }
}

fn behind_ipv4_header(packet: &[u8]) -> Option<&[u8]> {
    let length = usize::from(packet.first()? & 0x0f) * 4;
    packet.get(length..)
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(payload: &[u8]) -> Vec<u8> {
        let mut packet = with_header("10.0.0.9".parse().unwrap(), &[]);
        packet.extend(payload);
        packet
    }

    #[test]
    fn answers_are_told_from_strangers() {
        let to = "10.0.0.9".parse().unwrap();
        let sent = request(to, 7, 3);
        let mut answer = sent.clone();
        answer[0] = 0;
        assert_eq!(judge(true, &ipv4(&answer), &sent), EchoAnswer::Echo);
        answer[10] ^= 1;
        assert_eq!(judge(true, &ipv4(&answer), &sent), EchoAnswer::Altered);
        answer[7] ^= 1;
        assert_eq!(judge(true, &ipv4(&answer), &sent), EchoAnswer::Unrelated);
        let mut error = vec![3, 4, 0, 0, 0, 0, 0, 0];
        error.extend(ipv4(&sent[..8]));
        assert_eq!(judge(true, &ipv4(&error), &sent), EchoAnswer::Error { kind: 3, code: 4 });
        assert_eq!(judge(true, &[], &sent), EchoAnswer::Unrelated);
        assert_eq!(checksum(&sent), 0, "a message with its checksum sums to zero");
    }
}
