//! Why an extension frame cannot be read or written.

use super::limits::{MAX_ADDRESSES, MAX_GSO_PACKET};
use crate::offload::OffloadError;

/// Why received bytes are not an extension frame. The sender is at fault; the frame is dropped, the stream continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ExtensionError {
    /// Nothing, an IP packet, or an extension frame of another type than the one to be read.
    #[error("a frame of another type")]
    Type,
    /// The frame ends inside its fields.
    #[error("a {kind} frame that is cut short")]
    Short {
        /// The frame's name.
        kind: &'static str,
    },
    /// A frame with a fixed length has another one.
    #[error("a {kind} frame of a wrong length")]
    Length {
        /// The frame's name.
        kind: &'static str,
    },
    /// Text that is too long, or has characters that may not be sent.
    #[error("a {kind} frame with text that may not be sent")]
    Text {
        /// The frame's name.
        kind: &'static str,
    },
    /// More than [`MAX_ADDRESSES`].
    #[error("a hello reply with {0} addresses; at most {MAX_ADDRESSES} are sent")]
    Addresses(u8),
    /// An address of an unknown family, or with a prefix longer than itself.
    #[error("a hello reply with an impossible address")]
    Address,
    /// A GSO frame whose virtio-net header does not belong to its packet.
    #[error(transparent)]
    Offload(#[from] OffloadError),
    /// A GSO frame with more than [`MAX_GSO_PACKET`] bytes of packet, which no frame holds.
    #[error("a GSO frame with a packet of {0} bytes; at most {MAX_GSO_PACKET} are sent")]
    TooLong(usize),
    /// A GSO frame without a packet to segment, or with another virtio-net header than rtun writes for its packet.
    #[error("a GSO frame whose virtio-net header is not canonical")]
    NotCanonical,
    /// A GSO frame whose checksum field has not the sum of its pseudo-header. Every segment would have a wrong checksum.
    #[error("a GSO frame without the sum of its pseudo-header")]
    PseudoHeader,
}

/// Why an extension frame cannot be written. The caller is at fault; nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ExtensionEncodeError {
    /// A type this version has no layout for.
    #[error("a frame of the unknown type {0:#04x} is never sent")]
    Unknown(u8),
    /// More than [`MAX_ADDRESSES`].
    #[error("a hello reply with {0} addresses; at most {MAX_ADDRESSES} are sent")]
    Addresses(usize),
    /// A prefix longer than its address.
    #[error("a prefix length of {0} is longer than its address")]
    Prefix(u8),
    /// A packet that [`super::gso_frame_prefix`] refuses.
    #[error("a packet that cannot be a GSO frame")]
    GsoFrame,
}
