//! Messages of a hub: before it closes a connection, why it closes one, and notices for people.

use std::time::Duration;

use super::{ExtensionError, limits::MAX_NOTICE_TEXT, milliseconds, read_text, write_text};
use crate::reader::ByteReader;

/// The hub will close the connection soon; the host should have another one before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GoAway {
    /// How long the hub waits. Whole milliseconds on the wire.
    pub within: Duration,
}

impl GoAway {
    pub(super) fn read(mut reader: ByteReader<'_>) -> Result<Self, ExtensionError> {
        let within = reader.u32().ok_or(ExtensionError::Short { kind: "go away" })?;
        Ok(Self { within: Duration::from_millis(within.into()) })
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&milliseconds(self.within));
    }
}

/// Why the hub ends an association.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// The host may no longer join this namespace.
    Revoked,
    /// A newer connection of the same name replaced it.
    Replaced,
    /// A code without a name. With the code of a named reason it is encoded as that reason.
    Other(u8),
}

impl RefusalReason {
    /// The code on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::Revoked => 1,
            Self::Replaced => 2,
            Self::Other(code) => code,
        }
    }
}

impl From<u8> for RefusalReason {
    fn from(code: u8) -> Self {
        match code {
            1 => Self::Revoked,
            2 => Self::Replaced,
            other => Self::Other(other),
        }
    }
}

/// The hub ends the association, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalNotice {
    /// For programs.
    pub reason: RefusalReason,
    /// For people: at most [`MAX_NOTICE_TEXT`] bytes without control characters; may be empty.
    pub text: String,
}

impl RefusalNotice {
    pub(super) fn read(mut reader: ByteReader<'_>) -> Result<Self, ExtensionError> {
        let kind = "refusal";
        let mut fields = || Some((reader.u8()?, reader.string()?));
        let (reason, text) = fields().ok_or(ExtensionError::Short { kind })?;
        let text =
            read_text(text, MAX_NOTICE_TEXT, is_shown).ok_or(ExtensionError::Text { kind })?;
        Ok(Self { reason: reason.into(), text })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.reason.code());
        write_text(&self.text, MAX_NOTICE_TEXT, is_shown, out);
    }
}

/// A message for the host's operator; the association continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// For people: at most [`MAX_NOTICE_TEXT`] bytes without control characters; may be empty.
    pub text: String,
}

impl Notice {
    pub(super) fn read(mut reader: ByteReader<'_>) -> Result<Self, ExtensionError> {
        let kind = "notice";
        let text = reader.string().ok_or(ExtensionError::Short { kind })?;
        let text =
            read_text(text, MAX_NOTICE_TEXT, is_shown).ok_or(ExtensionError::Text { kind })?;
        Ok(Self { text })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_text(&self.text, MAX_NOTICE_TEXT, is_shown, out);
    }
}

fn is_shown(c: char) -> bool {
    !c.is_control()
}
