//! The PROXY protocol, versions 1 and 2: the header with which a proxy gives a server the client's address (HAProxy's
//! `proxy-protocol.txt`, sections 2.1 and 2.2).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use crate::{reader::ByteReader, relay::Decoded};

/// The longest header of version 1, its line end included.
const MAX_V1: usize = 107;

/// The shortest header of version 1: `PROXY UNKNOWN` and its line end.
const SHORTEST_V1: usize = 15;

const SIGNATURE_V1: &[u8] = b"PROXY ";
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The fixed part of a header of version 2.
const FIXED_V2: usize = SIGNATURE_V2.len() + 4;

/// The longest header of version 2 that is read, its additional fields included, in bytes.
pub const MAX_V2: usize = 4096;

/// The version of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    One,
    /// Binary.
    Two,
}

/// The ends of the connection that a proxy forwards. Both have the same family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client of the proxy.
    pub source: SocketAddr,
    /// The address it connected to.
    pub destination: SocketAddr,
}

/// Why bytes are no header. The peer is at fault, or is not a proxy configured to send one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// They do not begin as a header does.
    #[error("no PROXY header: the connection begins with something else")]
    Missing,
    /// The line of version 1 is too long or malformed.
    #[error("the PROXY header of version 1 is malformed")]
    Line,
    /// The header of version 2 has a command other than LOCAL and PROXY or another version.
    #[error("the PROXY header has the version and command {0:#04x}")]
    Command(u8),
    /// The header of version 2 is too short for its addresses.
    #[error("the PROXY header of version 2 is too short for its addresses")]
    TooShort,
    /// The header of version 2 is longer than [`MAX_V2`].
    #[error("the PROXY header of version 2 is longer than {MAX_V2} bytes")]
    TooLong,
}

/// The header for a connection between these addresses, or for a connection of the proxy itself.
///
/// If the families differ, the IPv4 address is mapped to an IPv6 one.
pub fn encode(version: Version, addresses: Option<Addresses>) -> Vec<u8> {
    let Some(Addresses { source, destination }) = addresses else {
        return match version {
            Version::One => b"PROXY UNKNOWN\r\n".to_vec(),
            Version::Two => [SIGNATURE_V2, &[0x20, 0, 0, 0]].concat(),
        };
    };
    let ports = (source.port(), destination.port());
    match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => match version {
            Version::One => line("TCP4", &source, &destination, ports),
            Version::Two => binary(0x11, &source.octets(), &destination.octets(), ports),
        },
        (source, destination) => {
            let [source, destination] = [source, destination].map(as_v6);
            match version {
                Version::One => line("TCP6", &source, &destination, ports),
                Version::Two => binary(0x21, &source.octets(), &destination.octets(), ports),
            }
        }
    }
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn line(
    family: &str,
    source: &dyn std::fmt::Display,
    destination: &dyn std::fmt::Display,
    (from, to): (u16, u16),
) -> Vec<u8> {
    format!("PROXY {family} {source} {destination} {from} {to}\r\n").into_bytes()
}

fn binary(family: u8, source: &[u8], destination: &[u8], (from, to): (u16, u16)) -> Vec<u8> {
    let length = u16::try_from(source.len() + destination.len() + 4).expect("two addresses");
    let head = [0x21, family].into_iter().chain(length.to_be_bytes());
    let ports = [from.to_be_bytes(), to.to_be_bytes()];
    let head: Vec<u8> = SIGNATURE_V2.iter().copied().chain(head).collect();
    [&head, source, destination, ports.as_flattened()].concat()
}

/// Reads the header at the beginning of `bytes`, of either version. It has no addresses if the connection is the proxy's own
/// or of another family. At most [`MAX_V2`] bytes are asked for.
pub fn decode(bytes: &[u8]) -> Result<Decoded<Option<Addresses>>, HeaderError> {
    let begins = |signature: &[u8]| {
        let len = signature.len().min(bytes.len());
        bytes[..len] == signature[..len]
    };
    match bytes.first() {
        // One byte only: bytes that are no header may be no more.
        None => Ok(Decoded::Incomplete { needed: 1 }),
        Some(_) if begins(SIGNATURE_V1) => decode_v1(bytes),
        Some(_) if begins(SIGNATURE_V2) => decode_v2(bytes),
        Some(_) => Err(HeaderError::Missing),
    }
}

fn decode_v1(bytes: &[u8]) -> Result<Decoded<Option<Addresses>>, HeaderError> {
    let Some(end) = bytes.iter().take(MAX_V1).position(|byte| *byte == b'\n') else {
        if bytes.len() >= MAX_V1 {
            return Err(HeaderError::Line);
        }
        let missing = if bytes.ends_with(b"\r") { 1 } else { 2 };
        let needed = (bytes.len() + missing).clamp(SHORTEST_V1, MAX_V1);
        return Ok(Decoded::Incomplete { needed });
    };
    let line = bytes[SIGNATURE_V1.len()..end].strip_suffix(b"\r").ok_or(HeaderError::Line)?;
    let line = str::from_utf8(line).map_err(|_| HeaderError::Line)?;
    let words: Vec<_> = line.split(' ').collect();
    let value = match words[..] {
        ["UNKNOWN", ..] => None,
        ["TCP4", source, destination, from, to] => {
            v1_addresses::<Ipv4Addr>([source, destination], [from, to])
        }
        ["TCP6", source, destination, from, to] => {
            v1_addresses::<Ipv6Addr>([source, destination], [from, to])
        }
        _ => return Err(HeaderError::Line),
    };
    if value.is_none() && words[0] != "UNKNOWN" {
        return Err(HeaderError::Line);
    }
    Ok(Decoded::Complete { value, len: end + 1 })
}

fn v1_addresses<A: FromStr + Into<IpAddr>>(
    addresses: [&str; 2],
    ports: [&str; 2],
) -> Option<Addresses> {
    let address = |at: usize| -> Option<SocketAddr> {
        let port: u16 = ports[at].parse().ok()?;
        // No sign and no leading zero.
        let address: A = addresses[at].parse().ok().filter(|_| port.to_string() == ports[at])?;
        Some((address.into(), port).into())
    };
    Some(Addresses { source: address(0)?, destination: address(1)? })
}

fn decode_v2(bytes: &[u8]) -> Result<Decoded<Option<Addresses>>, HeaderError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_V2>() else {
        return Ok(Decoded::Incomplete { needed: FIXED_V2 });
    };
    let [.., command, family, high, low] = *fixed;
    if !matches!(command, 0x20 | 0x21) {
        return Err(HeaderError::Command(command));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    let len = FIXED_V2 + length;
    if len > MAX_V2 {
        return Err(HeaderError::TooLong);
    }
    let Some(body) = rest.get(..length) else {
        return Ok(Decoded::Incomplete { needed: len });
    };
    let value = match (command, family) {
        (0x21, 0x11 | 0x12) => Some(v2_addresses::<4>(body)?),
        (0x21, 0x21 | 0x22) => Some(v2_addresses::<16>(body)?),
        _ => None,
    };
    Ok(Decoded::Complete { value, len })
}

/// Two addresses and two ports; the bytes after them are skipped.
fn v2_addresses<const N: usize>(body: &[u8]) -> Result<Addresses, HeaderError>
where
    IpAddr: From<[u8; N]>,
{
    let mut reader = ByteReader(body);
    let mut read = || {
        let [source, destination] = [reader.array::<N>()?, reader.array::<N>()?].map(IpAddr::from);
        let [from, to] = [reader.u16()?, reader.u16()?];
        Some(Addresses { source: (source, from).into(), destination: (destination, to).into() })
    };
    read().ok_or(HeaderError::TooShort)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(source: &str, destination: &str) -> Addresses {
        Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    fn decoded(bytes: &[u8]) -> Result<(Option<Addresses>, usize), HeaderError> {
        match decode(bytes)? {
            Decoded::Complete { value, len } => Ok((value, len)),
            Decoded::Incomplete { needed } => panic!("{needed} needed of {}", bytes.len()),
        }
    }

    #[test]
    fn the_examples_of_the_specification_are_read() {
        let line = b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\nGET";
        let all = addresses("255.255.255.255:65535", "255.255.255.255:65535");
        assert_eq!(decoded(line), Ok((Some(all), line.len() - 3)));
        let f = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let line = format!("PROXY TCP6 {f} {f} 65535 65535\r\n");
        let all = addresses(&format!("[{f}]:65535"), &format!("[{f}]:65535"));
        assert_eq!(decoded(line.as_bytes()), Ok((Some(all), line.len())));
        assert_eq!(decoded(b"PROXY UNKNOWN\r\n\r\n"), Ok((None, SHORTEST_V1)));
        let line = format!("PROXY UNKNOWN {f} {f} 65535 65535\r\n");
        assert_eq!(line.len(), MAX_V1);
        assert_eq!(decoded(line.as_bytes()), Ok((None, MAX_V1)));
    }

    #[test]
    fn headers_are_encoded_as_specified() {
        let v4 = Some(addresses("192.0.2.1:258", "[::ffff:198.51.100.2]:443"));
        assert_eq!(encode(Version::One, v4), b"PROXY TCP4 192.0.2.1 198.51.100.2 258 443\r\n");
        let head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
        let body = [192, 0, 2, 1, 198, 51, 100, 2, 1, 2, 1, 187];
        assert_eq!(encode(Version::Two, v4), [&head[..], &body].concat());
        let mixed = Some(addresses("192.0.2.1:1", "[2001:db8::1]:2"));
        let line = b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 2\r\n";
        assert_eq!(encode(Version::One, mixed), line);
        assert_eq!(encode(Version::Two, mixed).len(), FIXED_V2 + 36);
        assert_eq!(encode(Version::Two, None), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    }

    #[test]
    fn additional_fields_and_other_families_are_skipped() {
        let v4 = addresses("192.0.2.1:258", "198.51.100.2:443");
        let mut header = encode(Version::Two, Some(v4));
        header.extend_from_slice(b"\x04\0\x02hi");
        header[15] += 5;
        let len = header.len();
        header.extend_from_slice(b"more");
        assert_eq!(decoded(&header), Ok((Some(v4), len)));
        header[13] = 0x31;
        assert_eq!(decoded(&header), Ok((None, len)));
        (header[12], header[13]) = (0x20, 0x11);
        assert_eq!(decoded(&header), Ok((None, len)));
    }

    #[test]
    fn each_error_is_reported() {
        for bytes in [&b"\x01"[..], b"GET", b"PROXZ", b"PROXYX", b"\r\nx", b"\r\n\r\n\0\r\nQUIx"] {
            assert_eq!(decode(bytes), Err(HeaderError::Missing), "{bytes:?}");
        }
        for line in [
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
            "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
            "PROXY TCP4 192.0.2.1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 ::1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 \u{e4} 192.0.2.2 1 2\r\n",
        ] {
            assert_eq!(decode(line.as_bytes()), Err(HeaderError::Line), "{line:?}");
        }
        let endless = [b"PROXY UNKNOWN ".to_vec(), vec![b'a'; 200]].concat();
        assert_eq!(decode(&endless), Err(HeaderError::Line));
        let head = |command, length: u16| {
            [SIGNATURE_V2, &[command, 0x11], &length.to_be_bytes(), &[0; 11]].concat()
        };
        assert_eq!(decode(&head(0x11, 12)), Err(HeaderError::Command(0x11)));
        assert_eq!(decode(&head(0x22, 12)), Err(HeaderError::Command(0x22)));
        assert_eq!(decode(&head(0x21, 11)), Err(HeaderError::TooShort));
        assert_eq!(decode(&head(0x21, 4081)), Err(HeaderError::TooLong));
    }
}
