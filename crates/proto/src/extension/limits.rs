//! Bounds of the fields of extension frames.

use crate::{frame::MAX_FRAME, offload::VIRTIO_HEADER};

/// The most bytes of [`Hello::software`](super::Hello::software) on the wire.
pub const MAX_SOFTWARE: u8 = 64;

/// The most addresses of a [`HelloReply`](super::HelloReply).
pub const MAX_ADDRESSES: usize = 16;

/// The most bytes of [`RefusalNotice::text`](super::RefusalNotice::text) and [`Notice::text`](super::Notice::text) on the
/// wire.
pub const MAX_NOTICE_TEXT: u8 = 200;

/// The bytes of a GSO frame's payload before its packet: type and virtio-net header.
pub const GSO_FRAME_HEADER: usize = 1 + VIRTIO_HEADER;

/// The longest packet that fits in a GSO frame, in bytes.
pub const MAX_GSO_PACKET: usize = MAX_FRAME - GSO_FRAME_HEADER;

/// The longest payload of an [`Echo`](super::Echo) or an [`EchoReply`](super::EchoReply), in bytes: as long as packets of most
/// devices are.
pub const MAX_ECHO: u16 = 2048;

/// The most bytes of [`Echo::host`](super::Echo::host) on the wire.
pub const MAX_ECHO_HOST: u8 = 255;

/// The bytes of an echo reply's payload without padding.
pub const ECHO_REPLY_FIELDS: u16 = 18;
