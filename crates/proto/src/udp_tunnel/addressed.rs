//! Datagrams on a stream, each after its length and an address (RFC 1928 section 7, carried over TCP), from and into frames.
//!
//! ```text
//! +---------------+--------+--------+----------------+--------+-----------+
//! |  length N     |  0xff  |  atyp  |  address       |  port  |  N bytes  |
//! +---------------+--------+--------+----------------+--------+-----------+
//! ```
//!
//! `N` counts the datagram alone. `atyp` is 1 (IPv4), 4 (IPv6) or 3 (a name after its length of one byte). Without what stands
//! between the length and the datagram it is a frame ([`crate::frame`]).

use std::net::{IpAddr, SocketAddr};

use crate::{
    frame::LEN_PREFIX,
    reader::ByteReader,
    relay::{Addr, AddrFeature},
};

/// In the place of a fragment number: the datagram is on a stream.
const ON_STREAM: u8 = 0xff;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// The most bytes before a datagram: its address a name of 255 bytes.
pub const MAX_HEADER: usize = 2 + 1 + 1 + 1 + 255 + 2;

/// What stands before a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressedHeader {
    /// From where or to where. A name that is no UTF-8 text has replacement characters.
    pub address: AddrFeature,
    /// The length of the datagram, in bytes; may be 0.
    pub datagram: usize,
    /// Its own length, in bytes.
    pub len: usize,
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

/// The header at the beginning of `bytes`; none when it is not whole yet.
pub fn decode_header(bytes: &[u8]) -> Result<Option<AddressedHeader>, AddressedError> {
    let mut reader = ByteReader(bytes);
    let Some((datagram, fragment)) = reader.u16().zip(reader.u8()) else { return Ok(None) };
    if fragment != ON_STREAM {
        return Err(AddressedError::Fragment(fragment));
    }
    let addr = match reader.u8() {
        Some(IPV4) => reader.array::<4>().map(|bytes| Addr::Ip(bytes.into())),
        Some(IPV6) => reader.array::<16>().map(|bytes| Addr::Ip(bytes.into())),
        Some(NAME) => {
            reader.string().map(|name| Addr::Name(String::from_utf8_lossy(name).into_owned()))
        }
        Some(other) => return Err(AddressedError::AddressType(other)),
        None => None,
    };
    let Some((addr, port)) = addr.zip(reader.u16()) else { return Ok(None) };
    let (address, len) = (AddrFeature { addr, port }, bytes.len() - reader.0.len());
    Ok(Some(AddressedHeader { address, datagram: datagram.into(), len }))
}

/// Turns a stream of datagrams with addresses into frames, however it is cut.
#[derive(Debug, Default)]
pub struct AddressedDecoder {
    /// The beginning of a header that is not whole.
    head: Vec<u8>,
    /// What follows the length in the header of the last datagram that was taken.
    taken: Vec<u8>,
    /// Bytes of the datagram that have still to come, and whether they are part of a frame.
    left: usize,
    is_taken: bool,
}

impl AddressedDecoder {
    /// Whether the stream may end here.
    pub fn is_between_datagrams(&self) -> bool {
        self.head.is_empty() && self.left == 0
    }

    /// Appends the frames of what has come to `frames`; the last one may be incomplete. `takes` tells for an address, and the
    /// length of its datagram, whether that becomes a frame; it is not asked again where the address is the same as before.
    ///
    /// # Errors
    ///
    /// The stream makes no sense from there on, and this decoder is of no use any more.
    pub fn decode(
        &mut self,
        mut bytes: &[u8],
        frames: &mut Vec<u8>,
        mut takes: impl FnMut(&AddrFeature, usize) -> bool,
    ) -> Result<(), AddressedError> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (part, rest) = bytes.split_at(self.left.min(bytes.len()));
                if self.is_taken {
                    frames.extend_from_slice(part);
                }
                self.left -= part.len();
                bytes = rest;
                continue;
            }
            let before = self.head.len();
            let more = bytes.len().min(MAX_HEADER - before);
            let (header, used) = if before == 0 {
                (decode_header(&bytes[..more])?, 0)
            } else {
                self.head.extend_from_slice(&bytes[..more]);
                (decode_header(&self.head)?, before)
            };
            let Some(AddressedHeader { address, datagram, len }) = header else {
                if before == 0 {
                    self.head.extend_from_slice(bytes);
                }
                return Ok(());
            };
            let head = if used == 0 { &bytes[..len] } else { &self.head[..len] };
            let (prefix, rest) = head.split_at(LEN_PREFIX);
            self.is_taken = self.taken == rest || takes(&address, datagram);
            if self.is_taken {
                frames.extend_from_slice(prefix);
                self.taken.clear();
                self.taken.extend_from_slice(rest);
            }
            self.head.clear();
            self.left = datagram;
            bytes = &bytes[len - used..];
        }
        Ok(())
    }
}

/// Turns frames into datagrams with an address, however they are cut.
#[derive(Debug)]
pub struct AddressedEncoder {
    /// What follows the length in each header.
    address: Vec<u8>,
    /// The first byte of a length whose second one has still to come.
    length: Option<u8>,
    /// Bytes of the frame that have still to come.
    left: usize,
}

impl AddressedEncoder {
    /// One for datagrams from or to `address`.
    pub fn new(address: SocketAddr) -> Self {
        let mut after_length = vec![ON_STREAM];
        match address.ip() {
            IpAddr::V4(ip) => {
                after_length.push(IPV4);
                after_length.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                after_length.push(IPV6);
                after_length.extend_from_slice(&ip.octets());
            }
        }
        after_length.extend_from_slice(&address.port().to_be_bytes());
        Self { address: after_length, length: None, left: 0 }
    }

    /// Appends the datagrams of these frames to `out`. An empty frame is left out: some take an empty datagram for the end.
    pub fn encode(&mut self, mut frames: &[u8], out: &mut Vec<u8>) {
        while let Some((&first, rest)) = frames.split_first() {
            if self.left > 0 {
                let (part, rest) = frames.split_at(self.left.min(frames.len()));
                out.extend_from_slice(part);
                self.left -= part.len();
                frames = rest;
                continue;
            }
            frames = rest;
            let Some(high) = self.length.take() else {
                self.length = Some(first);
                continue;
            };
            let length = [high, first];
            self.left = u16::from_be_bytes(length).into();
            if self.left > 0 {
                out.extend_from_slice(&length);
                out.extend_from_slice(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::write_frame;

    fn encoded(address: &str, datagram: &[u8]) -> Vec<u8> {
        let (mut frame, mut out) = (Vec::new(), Vec::new());
        write_frame(datagram, &mut frame).unwrap();
        AddressedEncoder::new(address.parse().unwrap()).encode(&frame, &mut out);
        out
    }

    #[test]
    fn a_stream_becomes_frames_and_frames_a_stream_wherever_they_are_cut() {
        let (mut frames, mut whole) = (Vec::new(), Vec::new());
        write_frame(b"abc", &mut frames).unwrap();
        frames.extend_from_slice(&[0, 0]);
        write_frame(&[7; 300], &mut frames).unwrap();
        AddressedEncoder::new(([127, 0, 0, 1], 8421).into()).encode(&frames, &mut whole);
        assert_eq!(whole[..13], *b"\x00\x03\xff\x01\x7f\x00\x00\x01\x20\xe5abc");
        frames.drain(5..7);
        for size in 1..whole.len() {
            let mut encoder = AddressedEncoder::new(([127, 0, 0, 1], 8421).into());
            let (mut again, mut read) = (Vec::new(), Vec::new());
            frames.chunks(size).for_each(|part| encoder.encode(part, &mut again));
            assert_eq!(again, whole);
            let (mut decoder, mut asked) = (AddressedDecoder::default(), 0);
            for part in whole.chunks(size) {
                let takes = |_: &AddrFeature, _| {
                    asked += 1;
                    true
                };
                decoder.decode(part, &mut read, takes).unwrap();
            }
            assert_eq!((&read, asked), (&frames, 1), "an address is looked at once");
            assert!(decoder.is_between_datagrams());
        }
    }

    #[test]
    fn datagrams_of_others_are_left_out() {
        let named = [0, 1, 0xff, 3, 2, b'a', b'b', 0, 80, 9].to_vec();
        let whole = [
            encoded("10.0.0.1:1", b"one"),
            named,
            encoded("[fd00::1]:2", b"other"),
            encoded("10.0.0.1:1", b"two"),
        ]
        .concat();
        for size in 1..whole.len() {
            let (mut decoder, mut frames) = (AddressedDecoder::default(), Vec::new());
            let mut others = Vec::new();
            for part in whole.chunks(size) {
                let takes = |address: &AddrFeature, len| {
                    let is_taken = address.port == 1;
                    if !is_taken {
                        others.push((address.host_text(), len));
                    }
                    is_taken
                };
                decoder.decode(part, &mut frames, takes).unwrap();
            }
            assert_eq!(frames, b"\x00\x03one\x00\x03two");
            assert_eq!(others, [("ab".to_owned(), 1), ("fd00::1".to_owned(), 5)]);
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        let decode = |bytes: &[u8]| {
            AddressedDecoder::default().decode(bytes, &mut Vec::new(), |_, _| true).unwrap_err()
        };
        assert_eq!(decode(&[0, 1, 0]), AddressedError::Fragment(0));
        assert_eq!(decode(&[0, 1, 0xff, 9]), AddressedError::AddressType(9));
    }
}
