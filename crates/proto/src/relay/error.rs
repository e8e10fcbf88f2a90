//! Why a relay message cannot be read or written.

use super::MAX_REQUEST;

/// Why received bytes are not a relay message. The peer is at fault; the stream is unusable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The first byte is not [`super::VERSION`]; most often the peer speaks another protocol.
    #[error(
        "the peer speaks version {0} of the relay protocol, or another protocol; only 1 is known"
    )]
    Version(u8),
    /// The header announces more than [`MAX_REQUEST`] bytes.
    #[error("the peer announced a message of {len} bytes; at most {MAX_REQUEST} are accepted")]
    TooLong {
        /// The announced length with the header, in bytes.
        len: usize,
    },
    /// A feature's header or body reaches past the end of the feature list.
    #[error("the peer sent a feature that is longer than its list")]
    FeatureLength,
    /// The body of a feature is shorter than its content.
    #[error("the peer sent a {feature} feature that is cut short")]
    FeatureShort {
        /// The feature's name.
        feature: &'static str,
    },
    /// An address feature holds neither an IPv4 address, nor an IPv6 address, nor a name.
    #[error("the peer sent an address of the unknown type {0:#04x}")]
    AddressType(u8),
    /// An address feature holds a name that is not UTF-8 text. No host can have such a name.
    #[error("the peer sent a host name that is not UTF-8 text")]
    NameNotText,
}

/// Why a relay message cannot be written. The caller's values are at fault; nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A user, a password or a name has more than 255 bytes: its length is one byte on the wire.
    #[error("the {field} has {len} bytes; the protocol carries at most 255")]
    FieldTooLong {
        /// Which one.
        field: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// The features need more than [`MAX_REQUEST`] bytes together.
    #[error("the message would have {len} bytes; at most {MAX_REQUEST} are sent")]
    TooLong {
        /// The length with the header, in bytes.
        len: usize,
    },
    /// A command that does not fit in four bits.
    #[error("a command is at most 0x0f, not {0:#04x}")]
    Command(u8),
    /// Flags outside the high four bits.
    #[error("flags are multiples of 0x10, not {0:#04x}")]
    Flags(u8),
}
