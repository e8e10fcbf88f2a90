//! What a hub says for people: before it closes a connection, and of what it has noticed.

use std::time::Duration;

use super::{ExtensionError, milliseconds, read_text, write_text};
use crate::reader::Reader;

/// The most bytes of [`RefusalNotice::text`] and [`Notice::text`] on the wire.
pub const MAX_NOTICE_TEXT: u8 = 200;

/// The hub is about to close the connection; the host should have another by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GoAway {
    /// How long the hub still waits. On the wire in whole milliseconds.
    pub within: Duration,
}

impl GoAway {
    pub(super) fn read(mut reader: Reader<'_>) -> Result<Self, ExtensionError> {
        let within = reader.u32().ok_or(ExtensionError::Short { kind: "go away" })?;
        Ok(Self { within: Duration::from_millis(within.into()) })
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&milliseconds(self.within));
    }
}

/// Why the hub ends an association that stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// The host may no longer join this namespace.
    Revoked,
    /// A newer connection of the same name took its place.
    Replaced,
    /// A code without a name. A value that has a name is that name on the wire.
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

/// The hub ends the association, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalNotice {
    /// For programs.
    pub reason: RefusalReason,
    /// For people: at most [`MAX_NOTICE_TEXT`] bytes without control characters; may be empty.
    pub text: String,
}

impl RefusalNotice {
    pub(super) fn read(mut reader: Reader<'_>) -> Result<Self, ExtensionError> {
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

/// The hub has noticed something that the host should know; the association goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// For people: at most [`MAX_NOTICE_TEXT`] bytes without control characters; may be empty.
    pub text: String,
}

impl Notice {
    pub(super) fn read(mut reader: Reader<'_>) -> Result<Self, ExtensionError> {
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
