//! The form of TLS records and of what follows a handshake: pure, without keys (RFC 8446 section 5, RFC 5246 section 6.2).

use rustls::AlertDescription;

use super::Version;

/// Bytes before each record's body: type, version, length.
pub(crate) const HEADER_LEN: usize = 5;
/// The most bytes of content in a record.
pub(crate) const PLAINTEXT_MAX: usize = 1 << 14;
/// The longest record of any version, with its header.
pub(crate) const RECORD_MAX: usize = HEADER_LEN + PLAINTEXT_MAX + 2048;
/// The longest ticket message: all its fields at their longest (RFC 8446 section 4.6.1).
const TICKET_MAX: usize = 4 + 4 + 1 + 255 + 2 + 0xffff + 2 + 0xffff;

/// What a record carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentType {
    Alert,
    Handshake,
    ApplicationData,
}

impl ContentType {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::ApplicationData => 23,
        }
    }

    /// Nothing else may follow a handshake.
    fn of(code: u8) -> Result<Self, RecordError> {
        match code {
            21 => Ok(Self::Alert),
            22 => Ok(Self::Handshake),
            23 => Ok(Self::ApplicationData),
            code => Err(RecordError::UnexpectedType(code)),
        }
    }
}

/// Why a record, or what it carries, is refused. Each ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("a record is too long")]
    TooLong,
    #[error("a record is too short")]
    TooShort,
    #[error("a record is of the unexpected type {0}")]
    UnexpectedType(u8),
    #[error("a record is not of the version agreed upon")]
    WrongVersion,
    #[error("a record was changed on the way")]
    Forged,
    #[error("a record has no content and no type")]
    Empty,
    #[error("records carry nothing, one after the other")]
    Useless,
    #[error("a message of the unexpected type {0}")]
    UnexpectedMessage(u8),
    #[error("a message is malformed")]
    Malformed,
    #[error("a renegotiation is asked for")]
    Renegotiation,
    #[error("all records of a key are used up")]
    Exhausted,
}

impl RecordError {
    /// What the other side is told.
    pub(crate) fn alert(self) -> AlertDescription {
        match self {
            Self::TooLong => AlertDescription::RecordOverflow,
            Self::TooShort | Self::Malformed => AlertDescription::DecodeError,
            Self::UnexpectedType(_) | Self::Empty | Self::Useless | Self::UnexpectedMessage(_) => {
                AlertDescription::UnexpectedMessage
            }
            Self::WrongVersion => AlertDescription::ProtocolVersion,
            Self::Forged => AlertDescription::BadRecordMac,
            Self::Renegotiation => AlertDescription::NoRenegotiation,
            Self::Exhausted => AlertDescription::InternalError,
        }
    }
}

/// A record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The type as seen from outside; TLS 1.3 has the true one inside.
    pub(crate) content_type: ContentType,
    /// The record's length with its header.
    pub(crate) record_len: usize,
}

impl Header {
    /// Reads the header at the beginning of `bytes`; `None` while it is not whole. `overhead` bytes of each body are not content.
    pub(crate) fn read(
        bytes: &[u8],
        version: Version,
        overhead: usize,
    ) -> Result<Option<Self>, RecordError> {
        let Some(&[code, major, minor, high, low]) = bytes.first_chunk() else { return Ok(None) };
        let content_type = ContentType::of(code)?;
        let body_len = usize::from(u16::from_be_bytes([high, low]));
        let expansion = match version {
            // The version is of no meaning (section 5.1), everything looks like application data (section 5.2).
            Version::Tls13 if content_type != ContentType::ApplicationData => {
                return Err(RecordError::UnexpectedType(code));
            }
            Version::Tls13 => 256,
            Version::Tls12 if (major, minor) != (3, 3) => return Err(RecordError::WrongVersion),
            Version::Tls12 => 2048,
        };
        if body_len > PLAINTEXT_MAX + expansion {
            return Err(RecordError::TooLong);
        }
        // TLS 1.3 always has a type inside.
        if body_len < overhead + usize::from(version == Version::Tls13) {
            return Err(RecordError::TooShort);
        }
        Ok(Some(Self { content_type, record_len: HEADER_LEN + body_len }))
    }

    /// The record at the beginning of `bytes`, if it is whole.
    pub(crate) fn whole(
        bytes: &[u8],
        version: Version,
        overhead: usize,
    ) -> Result<Option<Self>, RecordError> {
        let header = Self::read(bytes, version, overhead)?;
        Ok(header.filter(|header| header.record_len <= bytes.len()))
    }

    pub(crate) fn write(content_type: ContentType, body_len: usize) -> [u8; HEADER_LEN] {
        debug_assert!(body_len <= PLAINTEXT_MAX + 2048);
        let [high, low] = (body_len as u16).to_be_bytes();
        [content_type.code(), 3, 3, high, low]
    }
}

/// The true type and the length of what a record of TLS 1.3 carries: zeros behind it are padding (RFC 8446 section 5.4).
pub(crate) fn unpad(inner: &[u8]) -> Result<(ContentType, usize), RecordError> {
    if inner.len() > PLAINTEXT_MAX + 1 {
        return Err(RecordError::TooLong);
    }
    let end = inner.iter().rposition(|&byte| byte != 0).ok_or(RecordError::Empty)?;
    Ok((ContentType::of(inner[end])?, end))
}

/// An alert's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alert {
    /// The other side has ended its direction.
    Close,
    /// Of no consequence.
    Warning,
    /// The other side gives up.
    Fatal(u8),
}

impl Alert {
    pub(crate) fn read(content: &[u8], version: Version) -> Result<Self, RecordError> {
        let &[level, code] = content else { return Err(RecordError::Malformed) };
        Ok(match (code, version) {
            (0, _) => Self::Close,
            // user_canceled says that a close follows (RFC 8446 section 6.1).
            (90, _) => Self::Warning,
            (_, Version::Tls12) if level == 1 => Self::Warning,
            (code, _) => Self::Fatal(code),
        })
    }

    /// The closing one, or a fatal one.
    pub(crate) fn write(description: AlertDescription) -> [u8; 2] {
        match description {
            AlertDescription::CloseNotify => [1, 0],
            description => [2, description.into()],
        }
    }
}

/// A message that has the keys of its direction replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyUpdate {
    /// Whether this side has to replace its own too.
    pub(crate) answer: bool,
}

impl KeyUpdate {
    /// One that asks for no answer.
    pub(crate) const MESSAGE: [u8; 5] = [24, 0, 0, 1, 0];
}

/// Reads the messages after a handshake of TLS 1.3, which may be cut anywhere. Tickets are passed over, as nothing is resumed.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    header: [u8; 4],
    header_len: usize,
    /// What is still to come of a ticket.
    ticket_rest: usize,
}

impl Messages {
    /// Whether a message has begun and not ended: nothing but its rest may follow (RFC 8446 section 5.1).
    pub(crate) fn is_within(&self) -> bool {
        self.header_len > 0 || self.ticket_rest > 0
    }

    /// Takes the content of a record, at a client or at a server. A key update is the last in its record.
    pub(crate) fn take(
        &mut self,
        mut content: &[u8],
        at_client: bool,
    ) -> Result<Option<KeyUpdate>, RecordError> {
        const TICKET: u8 = 4;
        const KEY_UPDATE: u8 = 24;
        if content.is_empty() {
            return Err(RecordError::Empty);
        }
        while !content.is_empty() {
            let passed = content.len().min(self.ticket_rest);
            self.ticket_rest -= passed;
            content = &content[passed..];
            while let Some((&byte, rest)) = content.split_first()
                && self.header_len < 4
            {
                self.header[self.header_len] = byte;
                self.header_len += 1;
                content = rest;
            }
            if self.header_len < 4 {
                break;
            }
            let [kind, high, middle, low] = self.header;
            let len = u32::from_be_bytes([0, high, middle, low]) as usize;
            match kind {
                TICKET if at_client && len <= TICKET_MAX => {
                    self.header_len = 0;
                    self.ticket_rest = len;
                }
                TICKET if at_client => return Err(RecordError::Malformed),
                KEY_UPDATE if len != 1 => return Err(RecordError::Malformed),
                KEY_UPDATE => match *content {
                    [] => break,
                    [answer @ (0 | 1)] => {
                        self.header_len = 0;
                        return Ok(Some(KeyUpdate { answer: answer == 1 }));
                    }
                    [_] => return Err(RecordError::Malformed),
                    _ => return Err(RecordError::UnexpectedMessage(KEY_UPDATE)),
                },
                kind => return Err(RecordError::UnexpectedMessage(kind)),
            }
        }
        Ok(None)
    }
}
