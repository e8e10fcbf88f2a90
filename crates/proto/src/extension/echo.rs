//! Echoes: frames that go where packets go, and come back, so that a leg of the path can be measured.

use std::time::Duration;

use super::{
    ExtensionError,
    limits::{MAX_ECHO, MAX_ECHO_HOST},
    read_text, write_text,
};
use crate::reader::ByteReader;

/// Asks for an [`EchoReply`] with the same stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo {
    /// Any eight bytes.
    pub stamp: [u8; 8],
    /// Empty: the receiver answers at once. Else a hub asks the host of this name, in the namespace of the sender, and
    /// answers with what came of it. At most [`MAX_ECHO_HOST`] bytes without control characters.
    pub host: String,
    /// The length of the frame's payload in bytes, at most [`MAX_ECHO`]; a shorter one than the fields need becomes theirs.
    pub length: u16,
}

/// What came of an [`Echo`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EchoOutcome {
    /// It came back.
    Answered,
    /// The host did not answer in time.
    Lost,
    /// No host of that name is connected in the sender's namespace.
    NotConnected,
    /// The host of that name does not speak the extension.
    Silent,
    /// The hub is asked too often, or the host is.
    Busy,
    /// A code without a name. With the code of a named outcome it is encoded as that outcome.
    Other(u8),
}

impl EchoOutcome {
    /// The code on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::Answered => 0,
            Self::Lost => 1,
            Self::NotConnected => 2,
            Self::Silent => 3,
            Self::Busy => 4,
            Self::Other(code) => code,
        }
    }
}

impl From<u8> for EchoOutcome {
    fn from(code: u8) -> Self {
        match code {
            0 => Self::Answered,
            1 => Self::Lost,
            2 => Self::NotConnected,
            3 => Self::Silent,
            4 => Self::Busy,
            other => Self::Other(other),
        }
    }
}

/// The answer to an [`Echo`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EchoReply {
    /// That of the echo.
    pub stamp: [u8; 8],
    /// What came of it.
    pub outcome: EchoOutcome,
    /// How long the host that was named took to answer the hub. Whole microseconds on the wire; zero where none was named.
    pub round_trip: Duration,
    /// The longest packet that may go to the host that was named, in bytes; 0: not known, or none was named.
    pub mtu: u16,
    /// The longest packet that goes there as a datagram, and where none was named to the sender of the echo; 0: none does.
    pub datagram: u16,
    /// As [`Echo::length`].
    pub length: u16,
}

impl Echo {
    pub(super) fn read(mut reader: ByteReader<'_>) -> Result<Self, ExtensionError> {
        let kind = "echo";
        let length = length(&reader, kind)?;
        let mut fields = || Some((reader.array()?, reader.string()?));
        let (stamp, host) = fields().ok_or(ExtensionError::Short { kind })?;
        let host = read_text(host, MAX_ECHO_HOST, |c| !c.is_control())
            .ok_or(ExtensionError::Text { kind })?;
        Ok(Self { stamp, host, length })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.stamp);
        write_text(&self.host, MAX_ECHO_HOST, |c| !c.is_control(), out);
        pad(start, self.length, out);
    }
}

impl EchoReply {
    pub(super) fn read(mut reader: ByteReader<'_>) -> Result<Self, ExtensionError> {
        let kind = "echo reply";
        let length = length(&reader, kind)?;
        let mut fields = || {
            Some(Self {
                stamp: reader.array()?,
                outcome: reader.u8()?.into(),
                round_trip: Duration::from_micros(reader.u32()?.into()),
                mtu: u16::from_be_bytes(reader.array()?),
                datagram: u16::from_be_bytes(reader.array()?),
                length,
            })
        };
        fields().ok_or(ExtensionError::Short { kind })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let Self { stamp, outcome, round_trip, mtu, datagram, length } = self;
        let start = out.len();
        out.extend_from_slice(stamp);
        out.push(outcome.code());
        let microseconds = u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX);
        out.extend_from_slice(&microseconds.to_be_bytes());
        out.extend_from_slice(&mtu.to_be_bytes());
        out.extend_from_slice(&datagram.to_be_bytes());
        pad(start, *length, out);
    }
}

/// The length of the payload of which `reader` has all but the type.
fn length(reader: &ByteReader<'_>, kind: &'static str) -> Result<u16, ExtensionError> {
    let length = u16::try_from(1 + reader.0.len()).ok().filter(|length| *length <= MAX_ECHO);
    length.ok_or(ExtensionError::Length { kind })
}

/// Appends zeros until the payload, of which the type stands before `start`, has this length.
fn pad(start: usize, length: u16, out: &mut Vec<u8>) {
    let end = start - 1 + usize::from(length.min(MAX_ECHO));
    if out.len() < end {
        out.resize(end, 0);
    }
}
