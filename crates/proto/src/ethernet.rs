//! Ethernet frames as a TAP device exchanges them: a checked view, and hardware addresses.
//!
//! ```text
//! +----------------+----------------+-------------------+-----------+---------
//! |  destination   |  source        |  VLAN tag, 0 to 2 |  type     | payload
//! +----------------+----------------+-------------------+-----------+---------
//!        6                6               4 each             2
//! ```

use std::{fmt, num::ParseIntError, str::FromStr};

/// The length of a header without VLAN tags, in bytes.
pub const HEADER: usize = 14;

/// The length of a VLAN tag, in bytes (IEEE 802.1Q).
pub const VLAN_TAG: usize = 4;

/// More tags than this are left to the reader of the payload (IEEE 802.1ad has two).
const MAX_TAGS: usize = 2;

/// Ethernet types (IANA "IEEE 802 Numbers").
pub mod ether_type {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// A VLAN tag.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// The outer one of two VLAN tags.
    pub const SERVICE_VLAN: u16 = 0x88a8;
    /// Loopback (Ethernet version 2.0 section 8, the configuration testing protocol).
    pub const LOOPBACK: u16 = 0x9000;
}

/// The length of a keepalive, in bytes: the shortest frame of Ethernet, less its check sum.
pub const KEEPALIVE: usize = 60;

/// The frame by which `station` says that it is there, as network cards and switches do: a loopback frame to itself, which
/// nobody else takes, and which a switch that has learnt where `station` is does not hand to others.
pub fn keepalive(station: MacAddress) -> [u8; KEEPALIVE] {
    let mut frame = [0; KEEPALIVE];
    frame[..6].copy_from_slice(&station.0);
    frame[6..12].copy_from_slice(&station.0);
    frame[12..HEADER].copy_from_slice(&ether_type::LOOPBACK.to_be_bytes());
    // Nothing is skipped, and the function is a reply: nobody has to do anything.
    frame[HEADER..HEADER + 4].copy_from_slice(&[0, 0, 1, 0]);
    frame
}

/// Whether a frame is somebody's [`keepalive`].
#[inline]
pub fn is_keepalive(frame: &EthernetFrame<'_>) -> bool {
    frame.ether_type == ether_type::LOOPBACK
        && frame.vlan.is_none()
        && frame.source() == frame.destination()
}

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// All stations.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The address of these bytes.
    pub const fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Whether it names a group of stations; the broadcast address does.
    #[inline]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether one station may have it: no group, and not all zero.
    #[inline]
    pub fn is_station(self) -> bool {
        !self.is_group() && self.0 != [0; 6]
    }

    /// A locally administered address of one station that depends on nothing but `seed`.
    pub fn local(seed: u64) -> Self {
        let [_, _, bytes @ ..] = seed.to_be_bytes();
        let [first, rest @ ..] = bytes;
        let [b, c, d, e, f] = rest;
        Self([first & !0x01 | 0x02, b, c, d, e, f])
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a hardware address is six pairs of hexadecimal digits, as 02:00:5e:10:00:01")]
pub struct MacAddressError;

impl From<ParseIntError> for MacAddressError {
    fn from(_: ParseIntError) -> Self {
        Self
    }
}

impl FromStr for MacAddress {
    type Err = MacAddressError;

    fn from_str(text: &str) -> Result<Self, MacAddressError> {
        let mut parts = text.split([':', '-']);
        let mut bytes = [0; 6];
        for byte in &mut bytes {
            let part = parts.next().ok_or(MacAddressError)?;
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(MacAddressError);
            }
            *byte = u8::from_str_radix(part, 16)?;
        }
        if parts.next().is_some() { Err(MacAddressError) } else { Ok(Self(bytes)) }
    }
}

/// Bytes that end inside an Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{0} bytes are no Ethernet frame: the header is cut")]
pub struct ShortFrame(pub usize);

/// An Ethernet frame whose header, VLAN tags included, is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EthernetFrame<'a> {
    bytes: &'a [u8],
    vlan: Option<u16>,
    ether_type: u16,
    payload: usize,
}

impl<'a> EthernetFrame<'a> {
    /// Checks the frame's header; the payload may be anything, and empty.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ShortFrame> {
        let short = ShortFrame(bytes.len());
        let word = |at: usize| -> Result<u16, ShortFrame> {
            let word = bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or(short)?;
            Ok(u16::from_be_bytes(*word))
        };
        let (mut at, mut vlan) = (HEADER - 2, None);
        let mut ether_type = word(at)?;
        for _ in 0..MAX_TAGS {
            if !matches!(ether_type, ether_type::VLAN | ether_type::SERVICE_VLAN) {
                break;
            }
            // The outer tag tells the network; the lower 12 bits are its number.
            vlan = vlan.or(Some(word(at + 2)? & 0x0fff));
            at += VLAN_TAG;
            ether_type = word(at)?;
        }
        Ok(Self { bytes, vlan, ether_type, payload: at + 2 })
    }

    /// The whole frame.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// To whom it goes.
    #[inline]
    pub fn destination(&self) -> MacAddress {
        self.address(0)
    }

    /// Whom it comes from.
    #[inline]
    pub fn source(&self) -> MacAddress {
        self.address(6)
    }

    /// The number of the outer VLAN, 0 to 4,095; none without a tag.
    #[inline]
    pub fn vlan(&self) -> Option<u16> {
        self.vlan
    }

    /// What the payload is, behind the tags.
    #[inline]
    pub fn ether_type(&self) -> u16 {
        self.ether_type
    }

    /// What stands after the header.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.payload..]
    }

    #[inline]
    fn address(&self, at: usize) -> MacAddress {
        MacAddress(*self.bytes[at..].first_chunk().expect("a parsed frame has its header"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_length_is_too_short_to_ask() {
        let mut bytes = vec![0xff; 6];
        bytes.extend([2, 0, 0, 0, 0, 1, 0x81, 0x00, 0x20, 0x05, 0x81, 0x00, 0, 6, 0x08, 0x06, 9]);
        for len in 0..bytes.len() {
            assert_eq!(EthernetFrame::parse(&bytes[..len]).is_ok(), len >= 22, "{len}");
        }
        let frame = EthernetFrame::parse(&bytes).unwrap();
        assert_eq!(frame.destination(), MacAddress::BROADCAST);
        assert_eq!(frame.source().to_string(), "02:00:00:00:00:01");
        assert_eq!((frame.vlan(), frame.ether_type()), (Some(5), ether_type::ARP));
        assert_eq!(frame.payload(), [9]);
    }

    #[test]
    fn a_plain_header_is_fourteen_bytes() {
        let mut bytes = [0; 14];
        bytes[12..].copy_from_slice(&ether_type::IPV6.to_be_bytes());
        assert_eq!(EthernetFrame::parse(&bytes[..13]), Err(ShortFrame(13)));
        let frame = EthernetFrame::parse(&bytes).unwrap();
        assert_eq!((frame.vlan(), frame.payload()), (None, &[][..]));
        assert!(!frame.source().is_station(), "all zero");
    }

    #[test]
    fn a_keepalive_is_from_a_station_to_itself() {
        let bytes = keepalive(MacAddress::local(7));
        let frame = EthernetFrame::parse(&bytes).unwrap();
        assert!(is_keepalive(&frame));
        assert_eq!((frame.source(), frame.payload().len()), (MacAddress::local(7), 46));
        for (at, value) in [(0, 4), (11, 1), (12, 8)] {
            let mut other = bytes;
            other[at] = value;
            assert!(!is_keepalive(&EthernetFrame::parse(&other).unwrap()));
        }
    }

    #[test]
    fn addresses_are_read_and_told_apart() {
        let address: MacAddress = "02:00:5e:10:00:0a".parse().unwrap();
        assert_eq!(address, "02-00-5E-10-00-0A".parse().unwrap());
        assert!(address.is_station() && !address.is_group());
        assert!(MacAddress::new([1, 0, 0x5e, 0, 0, 1]).is_group());
        assert!(MacAddress::BROADCAST.is_group());
        for text in
            ["", "02:00:5e:10:00", "02:00:5e:10:00:0a:01", "2:0:5e:10:0:a", "02:00:5e:10:00:+a"]
        {
            assert_eq!(text.parse::<MacAddress>(), Err(MacAddressError), "{text}");
        }
        for seed in [0, 7, u64::MAX] {
            let local = MacAddress::local(seed);
            assert!(local.is_station() && local.octets()[0] & 2 != 0);
        }
    }
}
