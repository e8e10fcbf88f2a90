//! GOST's UDP tunnel: IP packets as datagrams between a server and its clients, and the two messages besides them.
//!
//! A datagram is one raw IP packet or one message. Nothing is numbered, encrypted or protected.
//!
//! ```text
//! +-----------+----------------------+------------------+-----
//! |  "GOST"   |  passphrase (16)     |  address (16)    | ...     register: client to server, one address or more
//! +-----------+----------------------+------------------+-----
//! +-----------+------------------+
//! |  "GOST"   |  address (16)    |                               reply: server to client, the client's outer address
//! +-----------+------------------+
//! ```
//!
//! A passphrase is padded with NULs; an IPv4 address is IPv4-mapped (RFC 4291 section 2.5.5.2). A register is also the
//! keepalive. `GOST` read as an IPv4 header is one of 28 bytes in a packet of 21,332: no packet that begins so is ever sent or
//! delivered, so a message and a packet cannot be mistaken for each other.
//!
//! On a stream, as through a relay, each datagram stands after its length ([`crate::frame`]), or after its length and an
//! address ([`addressed`]).

pub mod addressed;

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use crate::packet::{Packet, PacketError};

/// What every message begins with.
pub const MAGIC: [u8; 4] = *b"GOST";

/// The length of a passphrase, in bytes.
pub const PASSPHRASE: usize = 16;

/// The length of an address in a message, in bytes.
pub const ADDRESS: usize = 16;

/// The length of a reply, in bytes.
pub const REPLY: usize = MAGIC.len() + ADDRESS;

/// Where the addresses of a register begin.
const ADDRESSES: usize = MAGIC.len() + PASSPHRASE;

/// The longest datagram there is over IPv4, in bytes (65,535 less the headers of IPv4 and UDP).
pub const MAX_DATAGRAM: usize = 65_507;

/// What a client shows to be admitted: as many bytes as go over the wire, never printed.
///
/// Comparing two does not take constant time: never compare that of an unauthenticated peer this way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Passphrase([u8; PASSPHRASE]);

/// A text that cannot be a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    /// More bytes than go over the wire.
    #[error(
        "a passphrase of this tunnel has at most 16 bytes, not {0}: no more goes over the wire"
    )]
    TooLong(usize),
    /// The padding could not be distinguished from the text.
    #[error("a passphrase of this tunnel has no NUL in it")]
    Nul,
}

impl Passphrase {
    /// No passphrase.
    pub const NONE: Self = Self([0; PASSPHRASE]);

    /// That of `text`, which may be empty.
    pub fn new(text: &str) -> Result<Self, PassphraseError> {
        if text.len() > PASSPHRASE {
            return Err(PassphraseError::TooLong(text.len()));
        }
        if text.contains('\0') {
            return Err(PassphraseError::Nul);
        }
        let mut bytes = [0; PASSPHRASE];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self(bytes))
    }
}

impl Passphrase {
    /// Its bytes without the NULs at their end.
    pub fn as_bytes(&self) -> &[u8] {
        without_padding(&self.0)
    }
}

fn without_padding(bytes: &[u8; PASSPHRASE]) -> &[u8] {
    let len = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &bytes[..len]
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A client's message: who it is, and which addresses it has. Borrowed from its datagram.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Register<'a> {
    passphrase: &'a [u8; PASSPHRASE],
    addresses: &'a [[u8; ADDRESS]],
}

impl fmt::Debug for Register<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.addresses().take(16).collect();
        f.debug_struct("Register").field("addresses", &addresses).finish_non_exhaustive()
    }
}

impl<'a> Register<'a> {
    /// The passphrase as it was sent.
    pub fn presented(&self) -> Passphrase {
        Passphrase(*self.passphrase)
    }

    /// The passphrase without the NULs at its end; it may have others, and be empty.
    pub fn passphrase(&self) -> &'a [u8] {
        without_padding(self.passphrase)
    }

    /// The addresses in order, an IPv4-mapped one as IPv4; at least one, at most 4,092.
    pub fn addresses(&self) -> impl ExactSizeIterator<Item = IpAddr> + 'a {
        self.addresses.iter().map(|bytes| from_wire(*bytes))
    }
}

/// Why a datagram is neither a packet nor a message. The sender is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DatagramError {
    /// No byte at all.
    #[error("an empty datagram")]
    Empty,
    /// It begins as a message does, and has no length that a message has.
    #[error("a message of {0} bytes, which none has")]
    MessageLength(usize),
    /// It is no IP packet.
    #[error(transparent)]
    Packet(#[from] PacketError),
}

/// What a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromClient<'a> {
    /// A register.
    Register(Register<'a>),
    /// A packet.
    Packet(Packet<'a>),
}

impl<'a> FromClient<'a> {
    /// What this datagram of a client is.
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DatagramError> {
        if !bytes.starts_with(&MAGIC) {
            return packet(bytes).map(Self::Packet);
        }
        let length = DatagramError::MessageLength(bytes.len());
        let (head, addresses) = bytes.split_first_chunk::<ADDRESSES>().ok_or(length)?;
        let (addresses, rest) = addresses.as_chunks();
        if addresses.is_empty() || !rest.is_empty() {
            return Err(length);
        }
        let passphrase = head.last_chunk().ok_or(length)?;
        Ok(Self::Register(Register { passphrase, addresses }))
    }
}

/// What a server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromServer<'a> {
    /// The answer to a register: from which address it came, as the server sees it; IPv4 where mapped.
    Reply(IpAddr),
    /// A packet.
    Packet(Packet<'a>),
}

impl<'a> FromServer<'a> {
    /// What this datagram of a server is.
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DatagramError> {
        if !bytes.starts_with(&MAGIC) {
            return packet(bytes).map(Self::Packet);
        }
        let length = DatagramError::MessageLength(bytes.len());
        let whole: &[u8; REPLY] = bytes.try_into().map_err(|_| length)?;
        let address = whole.last_chunk().ok_or(length)?;
        Ok(Self::Reply(from_wire(*address)))
    }
}

/// Whether a packet that begins so could be taken for a message, so that it may be neither sent nor delivered.
#[inline]
pub fn looks_like_message(packet: &[u8]) -> bool {
    packet.starts_with(&MAGIC)
}

/// A register for these addresses, of which there must be one at least.
pub fn encode_register(passphrase: Passphrase, addresses: &[IpAddr]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ADDRESSES + addresses.len() * ADDRESS);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&passphrase.0);
    for address in addresses {
        bytes.extend_from_slice(&to_wire(*address));
    }
    bytes
}

/// The reply to a register that came from `outer`.
pub fn encode_reply(outer: IpAddr) -> [u8; REPLY] {
    let mut bytes = [0; REPLY];
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    bytes[MAGIC.len()..].copy_from_slice(&to_wire(outer));
    bytes
}

#[inline]
fn packet(bytes: &[u8]) -> Result<Packet<'_>, DatagramError> {
    if bytes.is_empty() {
        return Err(DatagramError::Empty);
    }
    Ok(Packet::parse(bytes)?)
}

fn to_wire(address: IpAddr) -> [u8; ADDRESS] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn from_wire(bytes: [u8; ADDRESS]) -> IpAddr {
    IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_what_goes_over_the_wire() {
        assert_eq!(Passphrase::new("").unwrap(), Passphrase::NONE);
        assert_eq!(Passphrase::new("0123456789abcdef").unwrap().0, *b"0123456789abcdef");
        assert_eq!(Passphrase::new("0123456789abcdefg"), Err(PassphraseError::TooLong(17)));
        assert_eq!(Passphrase::new("a\0"), Err(PassphraseError::Nul));
        assert_eq!(format!("{:?}", Passphrase::new("secret").unwrap()), "***");
    }

    #[test]
    fn a_register_is_read_back_and_its_lengths_are_the_only_ones() {
        let addresses: [IpAddr; 2] = ["192.168.123.2", "fd99::2"].map(|text| text.parse().unwrap());
        let bytes = encode_register(Passphrase::new("pass").unwrap(), &addresses);
        let Ok(FromClient::Register(register)) = FromClient::decode(&bytes) else { panic!() };
        assert_eq!(register.passphrase(), b"pass");
        assert_eq!(register.addresses().collect::<Vec<_>>(), addresses);
        assert!(!format!("{register:?}").contains("pass\""));
        for len in (MAGIC.len()..bytes.len()).filter(|len| *len != 36) {
            let error = Err(DatagramError::MessageLength(len));
            assert_eq!(FromClient::decode(&bytes[..len]), error);
        }
    }

    #[test]
    fn a_reply_is_read_back_and_only_of_its_length() {
        let outer: IpAddr = "10.77.0.2".parse().unwrap();
        let mut bytes = encode_reply(outer).to_vec();
        assert_eq!(FromServer::decode(&bytes), Ok(FromServer::Reply(outer)));
        assert_eq!(FromServer::decode(&bytes[..19]), Err(DatagramError::MessageLength(19)));
        bytes.push(0);
        assert_eq!(FromServer::decode(&bytes), Err(DatagramError::MessageLength(21)));
        assert_eq!(FromServer::decode(&[]), Err(DatagramError::Empty));
        assert_eq!(FromServer::decode(&[0xc8; 40]), Err(PacketError::Version.into()));
        assert_eq!(FromServer::decode(b"GOS"), Err(PacketError::Truncated.into()));
    }
}
