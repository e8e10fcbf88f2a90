//! Frames between two rtun ends that are no IP packets: hello, GSO frames, pings, notices.
//!
//! An extension frame is an ordinary frame ([`crate::frame`]) whose first byte, its type, has a high nibble other than 4
//! or 6; GOST drops those. Integers are big-endian, except in the virtio-net header:
//!
//! ```text
//! 01 hello        version 1 | capabilities 4 | mtu 2 | instance 16 | length 1, software
//! 02 hello reply  version 1 | accepted 4 | max frame 2 | reconnect window 4, ms | namespace 16
//!                 | count 1, then that number of (family 1: 4 or 6 | prefix length 1 | address 4 or 16)
//! 03 GSO frame  virtio-net header 10 | packet
//! 04 ping         stamp 8
//! 05 pong         stamp 8
//! 06 go away      within 4, ms
//! 07 refusal      reason 1 | length 1, text
//! 08 notice       length 1, text
//! 09 echo         stamp 8 | length 1, host
//! 0a echo reply   stamp 8 | outcome 1 | round trip 4, us | mtu 2 | datagram 2
//! ```
//!
//! Bytes after these fields of a hello, a hello reply, a go away, a refusal, a notice and both echo frames are ignored, so
//! that a later version can add fields. Who may send which frame, and when, is in `docs/wire.md` section 7.

mod echo;
mod error;
mod gso_frame;
mod hello;
mod limits;
mod notice;

use std::time::Duration;

pub use echo::{Echo, EchoOutcome, EchoReply};
pub use error::{ExtensionEncodeError, ExtensionError};
pub use gso_frame::{
    GSO_FRAME_PREFIX, decode_gso_frame, gso_frame_prefix, ip_packet, ip_packet_mut, packets,
};
pub use hello::{Capabilities, Hello, HelloReply};
pub use limits::{
    ECHO_REPLY_FIELDS, GSO_FRAME_HEADER, MAX_ADDRESSES, MAX_ECHO, MAX_ECHO_HOST, MAX_GSO_PACKET,
    MAX_NOTICE_TEXT, MAX_SOFTWARE,
};
pub use notice::{GoAway, Notice, RefusalNotice, RefusalReason};

use crate::{
    frame::{LEN_PREFIX, length_prefix},
    offload::GsoPacket,
    reader::ByteReader,
};

/// The version of the extension: in a hub's response
/// ([`TunnelId::rtun_version`](crate::relay::TunnelId::rtun_version)) and in both hellos.
pub const VERSION: u8 = crate::relay::EXTENSION_VERSION;

/// The first byte of an extension frame.
mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const HELLO_REPLY: u8 = 2;
    pub(super) const GSO_FRAME: u8 = 3;
    pub(super) const PING: u8 = 4;
    pub(super) const PONG: u8 = 5;
    pub(super) const GO_AWAY: u8 = 6;
    pub(super) const REFUSAL: u8 = 7;
    pub(super) const NOTICE: u8 = 8;
    pub(super) const ECHO: u8 = 9;
    pub(super) const ECHO_REPLY: u8 = 10;
}

/// Whether a frame's payload is an extension frame: the high nibble of its first byte is neither 4 nor 6. An empty one
/// is not.
#[inline]
pub fn is_extension(payload: &[u8]) -> bool {
    payload.first().is_some_and(|kind| !matches!(kind >> 4, 4 | 6))
}

/// Whether a frame's payload has the type of a GSO frame.
#[inline]
pub fn is_gso_frame(payload: &[u8]) -> bool {
    payload.first() == Some(&kind::GSO_FRAME)
}

/// Whether a frame's payload has the type of an echo or of its reply, which go where packets go.
#[inline]
pub fn is_echo(payload: &[u8]) -> bool {
    matches!(payload.first(), Some(&(kind::ECHO | kind::ECHO_REPLY)))
}

/// An extension frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extension<'a> {
    /// The host's capabilities and its device; its first frame.
    Hello(Hello),
    /// The hub's answer to it; the hub's first extension frame.
    HelloReply(HelloReply),
    /// A packet that is still to be segmented.
    GsoFrame(GsoPacket<'a>),
    /// Asks for a pong with the same bytes. Only the sender knows their meaning.
    Ping([u8; 8]),
    /// The answer to a ping.
    Pong([u8; 8]),
    /// The hub will close the connection soon.
    GoAway(GoAway),
    /// The hub closes the connection, with the reason.
    Refusal(RefusalNotice),
    /// The hub has a message for the host's operator.
    Notice(Notice),
    /// Measures a leg of the path.
    Echo(Echo),
    /// What came of it.
    EchoReply(EchoReply),
    /// A type this version does not know, to be skipped and counted.
    Unknown(u8),
}

impl Extension<'_> {
    /// Reads the payload of an extension frame.
    ///
    /// An error concerns this frame only: it is dropped and counted, and the stream continues.
    pub fn decode(payload: &[u8]) -> Result<Extension<'_>, ExtensionError> {
        if !is_extension(payload) {
            return Err(ExtensionError::Type);
        }
        let (kind, body) = payload.split_first().ok_or(ExtensionError::Type)?;
        let reader = ByteReader(body);
        Ok(match *kind {
            kind::HELLO => Extension::Hello(Hello::read(reader)?),
            kind::HELLO_REPLY => Extension::HelloReply(HelloReply::read(reader)?),
            kind::GSO_FRAME => Extension::GsoFrame(decode_gso_frame(payload)?),
            kind::PING => Extension::Ping(stamp("ping", body)?),
            kind::PONG => Extension::Pong(stamp("pong", body)?),
            kind::GO_AWAY => Extension::GoAway(GoAway::read(reader)?),
            kind::REFUSAL => Extension::Refusal(RefusalNotice::read(reader)?),
            kind::NOTICE => Extension::Notice(Notice::read(reader)?),
            kind::ECHO => Extension::Echo(Echo::read(reader)?),
            kind::ECHO_REPLY => Extension::EchoReply(EchoReply::read(reader)?),
            unknown => Extension::Unknown(unknown),
        })
    }

    /// Appends the whole frame to `out`, its length included. On an error nothing is appended.
    ///
    /// A written frame can always be read: text is cut at its limit, characters that may not be sent become `?`, and
    /// durations are whole milliseconds, at most `u32::MAX` (49 days).
    pub fn write_frame(&self, out: &mut Vec<u8>) -> Result<(), ExtensionEncodeError> {
        let start = out.len();
        let result = self.append(out);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn append(&self, out: &mut Vec<u8>) -> Result<(), ExtensionEncodeError> {
        let start = out.len();
        out.extend_from_slice(&[0; LEN_PREFIX]);
        out.push(self.kind());
        match self {
            Extension::Hello(hello) => hello.write(out),
            Extension::HelloReply(reply) => reply.write(out)?,
            Extension::GsoFrame(packet) => {
                let prefix = gso_frame_prefix(packet).ok_or(ExtensionEncodeError::GsoFrame)?;
                out.extend_from_slice(&prefix[LEN_PREFIX + 1..]);
                out.extend_from_slice(packet.bytes());
            }
            Extension::Ping(stamp) | Extension::Pong(stamp) => out.extend_from_slice(stamp),
            Extension::GoAway(go_away) => go_away.write(out),
            Extension::Refusal(refusal) => refusal.write(out),
            Extension::Notice(notice) => notice.write(out),
            Extension::Echo(echo) => echo.write(out),
            Extension::EchoReply(reply) => reply.write(out),
            Extension::Unknown(unknown) => return Err(ExtensionEncodeError::Unknown(*unknown)),
        }
        let len = out.len() - start - LEN_PREFIX;
        let prefix = length_prefix(len)
            .expect("the length of a GSO packet was checked, and other frames are short");
        out[start..start + LEN_PREFIX].copy_from_slice(&prefix);
        Ok(())
    }

    /// The first byte of the payload.
    fn kind(&self) -> u8 {
        match self {
            Extension::Hello(_) => kind::HELLO,
            Extension::HelloReply(_) => kind::HELLO_REPLY,
            Extension::GsoFrame(_) => kind::GSO_FRAME,
            Extension::Ping(_) => kind::PING,
            Extension::Pong(_) => kind::PONG,
            Extension::GoAway(_) => kind::GO_AWAY,
            Extension::Refusal(_) => kind::REFUSAL,
            Extension::Notice(_) => kind::NOTICE,
            Extension::Echo(_) => kind::ECHO,
            Extension::EchoReply(_) => kind::ECHO_REPLY,
            Extension::Unknown(kind) => *kind,
        }
    }
}

/// The length of a whole ping or pong frame in bytes.
pub const PING_FRAME: usize = LEN_PREFIX + 9;

/// A whole ping frame.
pub fn ping_frame(stamp: [u8; 8]) -> [u8; PING_FRAME] {
    stamp_frame(kind::PING, stamp)
}

/// The whole pong frame that answers a ping with this stamp.
pub fn pong_frame(stamp: [u8; 8]) -> [u8; PING_FRAME] {
    stamp_frame(kind::PONG, stamp)
}

fn stamp_frame(kind: u8, stamp: [u8; 8]) -> [u8; PING_FRAME] {
    let mut frame = [0, 9, kind, 0, 0, 0, 0, 0, 0, 0, 0];
    frame[LEN_PREFIX + 1..].copy_from_slice(&stamp);
    frame
}

/// The eight bytes that are all of a ping or a pong.
fn stamp(kind: &'static str, body: &[u8]) -> Result<[u8; 8], ExtensionError> {
    body.try_into().map_err(|_| ExtensionError::Length { kind })
}

/// A duration on the wire, in whole milliseconds.
fn milliseconds(duration: Duration) -> [u8; 4] {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).to_be_bytes()
}

/// Appends the length of the text in one byte, then the characters of `text` that fit in `max` bytes. Characters that are
/// not `allowed` become `?`.
fn write_text(text: &str, max: u8, allowed: impl Fn(char) -> bool, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(0);
    let mut buffer = [0; 4];
    for c in text.chars() {
        let bytes = (if allowed(c) { c } else { '?' }).encode_utf8(&mut buffer).as_bytes();
        if out.len() - start - 1 + bytes.len() > usize::from(max) {
            break;
        }
        out.extend_from_slice(bytes);
    }
    out[start] = u8::try_from(out.len() - start - 1).expect("at most `max`");
}

/// The text of at most `max` bytes in `bytes`, if all its characters are allowed.
fn read_text(bytes: &[u8], max: u8, allowed: impl Fn(char) -> bool) -> Option<String> {
    let text = str::from_utf8(bytes).ok()?;
    (text.len() <= usize::from(max) && text.chars().all(allowed)).then(|| text.to_owned())
}
