//! The hello of a host and the reply of the hub.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use super::{
    ExtensionEncodeError, ExtensionError,
    limits::{MAX_ADDRESSES, MAX_SOFTWARE},
    milliseconds, read_text, write_text,
};
use crate::reader::ByteReader;

const FAMILY_IPV4: u8 = 4;
const FAMILY_IPV6: u8 = 6;

/// The capabilities of an end, one bit each. Bits without a name are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Capabilities(u32);

impl Capabilities {
    /// Only the other frames of this version.
    pub const NONE: Self = Self(0);
    /// Accepts GSO frames.
    pub const GSO_FRAMES: Self = Self(1);
    /// Accepts packets as datagrams, outside of the stream.
    pub const DATAGRAMS: Self = Self(2);
    /// Accepts notices.
    pub const NOTICES: Self = Self(4);
    /// Answers echoes.
    pub const ECHOES: Self = Self(8);

    /// The union of both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in this set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The intersection of both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The bits on the wire.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The set with these bits, unknown ones included.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// A host's capabilities and its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The version of the extension the host speaks, [`super::VERSION`] or another.
    pub version: u8,
    /// The capabilities that it offers.
    pub capabilities: Capabilities,
    /// The MTU of its TUN device, in bytes.
    pub mtu: u16,
    /// Random for each run of the program, so that a hub can distinguish a host that reconnects from another host with the
    /// same name.
    pub instance: [u8; 16],
    /// Name and version of the program, at most [`MAX_SOFTWARE`] bytes of printable ASCII.
    pub software: String,
}

impl Hello {
    pub(super) fn read(mut reader: ByteReader<'_>) -> Result<Self, ExtensionError> {
        let kind = "hello";
        let (mut hello, software) =
            Self::fields(&mut reader).ok_or(ExtensionError::Short { kind })?;
        hello.software = read_text(software, MAX_SOFTWARE, is_printable_ascii)
            .ok_or(ExtensionError::Text { kind })?;
        Ok(hello)
    }

    /// The fields without `software`, and its unchecked bytes.
    fn fields<'a>(reader: &mut ByteReader<'a>) -> Option<(Self, &'a [u8])> {
        let hello = Self {
            version: reader.u8()?,
            capabilities: Capabilities(reader.u32()?),
            mtu: reader.u16()?,
            instance: reader.array()?,
            software: String::new(),
        };
        Some((hello, reader.string()?))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let Self { version, capabilities, mtu, instance, software } = self;
        out.push(*version);
        out.extend_from_slice(&capabilities.0.to_be_bytes());
        out.extend_from_slice(&mtu.to_be_bytes());
        out.extend_from_slice(instance);
        write_text(software, MAX_SOFTWARE, is_printable_ascii, out);
    }
}

fn is_printable_ascii(c: char) -> bool {
    matches!(c, ' '..='~')
}

/// A hub's answer to a [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelloReply {
    /// The version that both ends speak from now on: at most that of the hello.
    pub version: u8,
    /// The offered capabilities that the host may use.
    pub accepted: Capabilities,
    /// The longest payload of a frame that the hub accepts, in bytes.
    pub max_frame: u16,
    /// The time over which the host spreads its reconnect attempts after the connection is lost. Whole milliseconds on the
    /// wire.
    pub reconnect_window: Duration,
    /// The namespace the host is in.
    pub namespace: [u8; 16],
    /// The known addresses of the host, each with the length of its prefix: at most [`MAX_ADDRESSES`].
    pub addresses: Vec<(IpAddr, u8)>,
}

impl HelloReply {
    pub(super) fn read(mut reader: ByteReader<'_>) -> Result<Self, ExtensionError> {
        let short = || ExtensionError::Short { kind: "hello reply" };
        let (mut reply, count) = Self::fields(&mut reader).ok_or_else(short)?;
        if usize::from(count) > MAX_ADDRESSES {
            return Err(ExtensionError::Addresses(count));
        }
        for _ in 0..count {
            let family = reader.u8().ok_or_else(short)?;
            let prefix = reader.u8().ok_or_else(short)?;
            let address = match family {
                FAMILY_IPV4 => Ipv4Addr::from(reader.array::<4>().ok_or_else(short)?).into(),
                FAMILY_IPV6 => Ipv6Addr::from(reader.array::<16>().ok_or_else(short)?).into(),
                _ => return Err(ExtensionError::Address),
            };
            if prefix > longest_prefix(&address) {
                return Err(ExtensionError::Address);
            }
            reply.addresses.push((address, prefix));
        }
        Ok(reply)
    }

    /// The fields without the addresses, and their number.
    fn fields(reader: &mut ByteReader<'_>) -> Option<(Self, u8)> {
        let reply = Self {
            version: reader.u8()?,
            accepted: Capabilities(reader.u32()?),
            max_frame: reader.u16()?,
            reconnect_window: Duration::from_millis(reader.u32()?.into()),
            namespace: reader.array()?,
            addresses: Vec::new(),
        };
        Some((reply, reader.u8()?))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), ExtensionEncodeError> {
        let Self { version, accepted, max_frame, reconnect_window, namespace, addresses } = self;
        let count = match u8::try_from(addresses.len()) {
            Ok(count) if addresses.len() <= MAX_ADDRESSES => count,
            _ => return Err(ExtensionEncodeError::Addresses(addresses.len())),
        };
        out.push(*version);
        out.extend_from_slice(&accepted.0.to_be_bytes());
        out.extend_from_slice(&max_frame.to_be_bytes());
        out.extend_from_slice(&milliseconds(*reconnect_window));
        out.extend_from_slice(namespace);
        out.push(count);
        for (address, prefix) in addresses {
            if *prefix > longest_prefix(address) {
                return Err(ExtensionEncodeError::Prefix(*prefix));
            }
            match address {
                IpAddr::V4(v4) => {
                    out.extend_from_slice(&[FAMILY_IPV4, *prefix]);
                    out.extend_from_slice(&v4.octets());
                }
                IpAddr::V6(v6) => {
                    out.extend_from_slice(&[FAMILY_IPV6, *prefix]);
                    out.extend_from_slice(&v6.octets());
                }
            }
        }
        Ok(())
    }
}

fn longest_prefix(address: &IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}
