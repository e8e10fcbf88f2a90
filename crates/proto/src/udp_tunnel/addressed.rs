//! Datagrams on a stream, each after its length and an address (RFC 1928 section 7, carried over TCP).
//!
//! ```text
//! +---------------+--------+--------+----------------+--------+-----------+
//! |  length N     |  0xff  |  atyp  |  address       |  port  |  N bytes  |
//! +---------------+--------+--------+----------------+--------+-----------+
//! ```
//!
//! `N` counts the datagram alone. `atyp` is 1 (IPv4), 4 (IPv6) or 3 (a name after its length of one byte).

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
};

use crate::reader::ByteReader;

/// In the place of a fragment number: the datagram is on a stream.
const ON_STREAM: u8 = 0xff;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// The most bytes before a datagram: its address a name of 255 bytes.
pub const MAX_HEADER: usize = 2 + 1 + 1 + 1 + 255 + 2;

/// The most bytes before a datagram whose address is an IP address.
pub const MAX_IP_HEADER: usize = 2 + 1 + 1 + 16 + 2;

/// A whole datagram of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressedDatagram<'a> {
    /// From where or to where; none where it is a name.
    pub address: Option<SocketAddr>,
    /// The datagram; may be empty.
    pub payload: &'a [u8],
    /// Where the datagram stands in the bytes walked.
    pub at: Range<usize>,
}

/// Bytes that no datagram's header begins with; the stream makes no sense from there on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressedError {
    /// Something other than 0xff in the third byte.
    #[error("a datagram on a stream has 0xff in the place of a fragment number, not {0:#04x}")]
    Fragment(u8),
    /// An unknown type of address.
    #[error("a datagram's address is of the unknown type {0}")]
    AddressType(u8),
}

/// The datagram at the beginning of `bytes[from..]`, and where the next one begins; none when it is not whole yet.
pub fn decode(
    bytes: &[u8],
    from: usize,
) -> Result<Option<(AddressedDatagram<'_>, usize)>, AddressedError> {
    let mut reader = ByteReader(bytes.get(from..).unwrap_or_default());
    let Some((length, fragment)) = reader.u16().zip(reader.u8()) else { return Ok(None) };
    if fragment != ON_STREAM {
        return Err(AddressedError::Fragment(fragment));
    }
    let address = match reader.u8() {
        Some(IPV4) => reader.array::<4>().map(|bytes| Some(IpAddr::from(bytes))),
        Some(IPV6) => reader.array::<16>().map(|bytes| Some(IpAddr::from(bytes))),
        Some(NAME) => reader.string().map(|_| None),
        Some(other) => return Err(AddressedError::AddressType(other)),
        None => return Ok(None),
    };
    let Some((address, port)) = address.zip(reader.u16()) else { return Ok(None) };
    let Some(payload) = reader.bytes(usize::from(length)) else { return Ok(None) };
    let end = bytes.len() - reader.0.len();
    let address = address.map(|ip| SocketAddr::new(ip, port));
    Ok(Some((AddressedDatagram { address, payload, at: end - payload.len()..end }, end)))
}

/// Appends the header for a datagram of `len` bytes, at most 65,535, which has to follow; none where it is longer or empty.
pub fn write_header(address: SocketAddr, len: usize, out: &mut Vec<u8>) -> Option<()> {
    let len = u16::try_from(len).ok().filter(|len| *len > 0)?;
    out.extend_from_slice(&len.to_be_bytes());
    out.push(ON_STREAM);
    match address.ip() {
        IpAddr::V4(ip) => {
            out.push(IPV4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(IPV6);
            out.extend_from_slice(&ip.octets());
        }
    }
    out.extend_from_slice(&address.port().to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_are_read_back_wherever_the_stream_is_cut() {
        let (one, other): (SocketAddr, SocketAddr) =
            ("127.0.0.1:8421".parse().unwrap(), "[fd00::1]:1".parse().unwrap());
        let mut bytes = Vec::new();
        write_header(one, 3, &mut bytes).unwrap();
        bytes.extend_from_slice(b"abc");
        let first = bytes.len();
        write_header(other, 1, &mut bytes).unwrap();
        bytes.push(7);
        for len in 0..bytes.len() {
            let decoded = decode(&bytes[..len], 0).unwrap();
            assert_eq!(decoded.is_some(), len >= first, "{len}");
        }
        let (datagram, next) = decode(&bytes, 0).unwrap().unwrap();
        assert_eq!((datagram.address, datagram.payload, next), (Some(one), &b"abc"[..], first));
        let (datagram, next) = decode(&bytes, next).unwrap().unwrap();
        assert_eq!((datagram.address, datagram.payload), (Some(other), &[7][..]));
        assert_eq!((next, &bytes[datagram.at]), (bytes.len(), &[7][..]));
        assert_eq!(write_header(one, 0, &mut bytes), None);
        assert_eq!(write_header(one, 65_536, &mut bytes), None);
    }

    #[test]
    fn names_are_passed_over_and_nonsense_is_an_error() {
        let named = [0, 1, 0xff, 3, 2, b'a', b'b', 0, 80, 9];
        let (datagram, next) = decode(&named, 0).unwrap().unwrap();
        assert_eq!((datagram.address, datagram.payload, next), (None, &[9][..], named.len()));
        assert_eq!(decode(&[0, 1, 0], 0), Err(AddressedError::Fragment(0)));
        assert_eq!(decode(&[0, 1, 0xff, 9], 0), Err(AddressedError::AddressType(9)));
    }
}
