//! The form of TLS records and of what follows a handshake: pure, without keys (RFC 8446 section 5, RFC 5246 section 6.2).

use rustls::AlertDescription;

use super::protocol::TlsVersion;

/// Bytes before each record's body: type, version, length.
pub const HEADER_LEN: usize = 5;
/// The most bytes of content in a record.
pub const PLAINTEXT_MAX: usize = 1 << 14;
/// The longest record of any version, with its header.
pub const RECORD_MAX: usize = HEADER_LEN + PLAINTEXT_MAX + 2048;
/// The longest ticket message: all its fields at their longest (RFC 8446 section 4.6.1).
const TICKET_MAX: usize = 4 + 4 + 1 + 255 + 2 + 0xffff + 2 + 0xffff;
/// The longest request for another handshake that is passed over: a hello with all that a client may say.
const HELLO_MAX: usize = 0x1_0000;

/// What a record carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// The end of a direction, or of both.
    Alert,
    /// A message of a handshake or after it.
    Handshake,
    /// Bytes of the connection's users.
    ApplicationData,
}

impl ContentType {
    /// Its number on the wire.
    pub const fn code(self) -> u8 {
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
pub enum RecordError {
    /// It has more content than any may have.
    #[error("a record is too long")]
    TooLong,
    /// It has less than a record needs.
    #[error("a record is too short")]
    TooShort,
    /// It is of a type that may not come here.
    #[error("a record is of the unexpected type {0}")]
    UnexpectedType(u8),
    /// TLS 1.2: its header has another version.
    #[error("a record is not of the version agreed upon")]
    WrongVersion,
    /// Its tag is not that of its bytes and its place.
    #[error("a record was changed in transit")]
    Forged,
    /// It has neither content nor a type.
    #[error("a record has no content and no type")]
    Empty,
    /// Too many in a row carry nothing.
    #[error("records carry nothing, one after the other")]
    Useless,
    /// It carries a message that may not come here.
    #[error("a message of the unexpected type {0}")]
    UnexpectedMessage(u8),
    /// A message in it contradicts itself.
    #[error("a message is malformed")]
    Malformed,
    /// The numbers or the blocks of a key are used up.
    #[error("all records of a key are used up")]
    Exhausted,
}

impl RecordError {
    /// The alert that is sent.
    pub fn alert(self) -> AlertDescription {
        match self {
            Self::TooLong => AlertDescription::RecordOverflow,
            Self::TooShort | Self::Malformed => AlertDescription::DecodeError,
            Self::UnexpectedType(_) | Self::Empty | Self::Useless | Self::UnexpectedMessage(_) => {
                AlertDescription::UnexpectedMessage
            }
            Self::WrongVersion => AlertDescription::ProtocolVersion,
            Self::Forged => AlertDescription::BadRecordMac,
            Self::Exhausted => AlertDescription::InternalError,
        }
    }
}

/// A record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// The type as seen from outside; TLS 1.3 has the true one inside.
    pub content_type: ContentType,
    /// The record's length with its header.
    pub record_len: usize,
}

impl RecordHeader {
    /// Reads the header at the beginning of `bytes`; `None` while it is not whole. `overhead` bytes of each body are not content.
    pub fn read(
        bytes: &[u8],
        version: TlsVersion,
        overhead: usize,
    ) -> Result<Option<Self>, RecordError> {
        let Some(&[code, major, minor, high, low]) = bytes.first_chunk() else { return Ok(None) };
        let content_type = ContentType::of(code)?;
        let body_len = usize::from(u16::from_be_bytes([high, low]));
        let expansion = match version {
            // The version is of no meaning (section 5.1), everything looks like application data (section 5.2).
            TlsVersion::Tls13 if content_type != ContentType::ApplicationData => {
                return Err(RecordError::UnexpectedType(code));
            }
            TlsVersion::Tls13 => 256,
            TlsVersion::Tls12 if (major, minor) != (3, 3) => return Err(RecordError::WrongVersion),
            TlsVersion::Tls12 => 2048,
        };
        if body_len > PLAINTEXT_MAX + expansion {
            return Err(RecordError::TooLong);
        }
        // TLS 1.3 always has a type inside.
        if body_len < overhead + usize::from(version == TlsVersion::Tls13) {
            return Err(RecordError::TooShort);
        }
        Ok(Some(Self { content_type, record_len: HEADER_LEN + body_len }))
    }

    /// The record at the beginning of `bytes`, if it is whole.
    pub fn whole(
        bytes: &[u8],
        version: TlsVersion,
        overhead: usize,
    ) -> Result<Option<Self>, RecordError> {
        let header = Self::read(bytes, version, overhead)?;
        Ok(header.filter(|header| header.record_len <= bytes.len()))
    }

    /// The header of a record whose body has this many bytes, at most what [`RECORD_MAX`] leaves.
    pub fn write(content_type: ContentType, body_len: usize) -> [u8; HEADER_LEN] {
        debug_assert!(body_len <= PLAINTEXT_MAX + 2048);
        let [high, low] = (body_len as u16).to_be_bytes();
        [content_type.code(), 3, 3, high, low]
    }
}

/// The true type and the length of what a record of TLS 1.3 carries: zeros after it are padding (RFC 8446 section 5.4).
pub fn unpad(inner: &[u8]) -> Result<(ContentType, usize), RecordError> {
    if inner.len() > PLAINTEXT_MAX + 1 {
        return Err(RecordError::TooLong);
    }
    let end = inner.iter().rposition(|&byte| byte != 0).ok_or(RecordError::Empty)?;
    Ok((ContentType::of(inner[end])?, end))
}

/// An alert's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alert {
    /// The other side has ended its direction.
    Close,
    /// Of no consequence.
    Warning,
    /// The other side gives up.
    Fatal(u8),
}

impl Alert {
    /// Reads the content of a record.
    pub fn read(content: &[u8], version: TlsVersion) -> Result<Self, RecordError> {
        let &[level, code] = content else { return Err(RecordError::Malformed) };
        Ok(match (code, version) {
            (0, _) => Self::Close,
            // user_canceled says that a close follows (RFC 8446 section 6.1).
            (90, _) => Self::Warning,
            (_, TlsVersion::Tls12) if level == 1 => Self::Warning,
            (code, _) => Self::Fatal(code),
        })
    }

    /// The closing one, the one that is a warning by its nature, or a fatal one.
    pub fn write(description: AlertDescription) -> [u8; 2] {
        let level = match description {
            AlertDescription::CloseNotify | AlertDescription::NoRenegotiation => 1,
            _ => 2,
        };
        [level, description.into()]
    }
}

/// A message that has the keys of its direction replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUpdate {
    /// Whether this side has to replace its own too.
    pub answer: bool,
}

impl KeyUpdate {
    /// One that asks for no answer.
    pub const MESSAGE: [u8; 5] = [24, 0, 0, 1, 0];
}

/// Reads the messages after a handshake, which may be cut anywhere. Tickets are passed over, as nothing is resumed, and so
/// are requests for another handshake.
#[derive(Debug, Default)]
pub struct Messages {
    header: [u8; 4],
    header_len: usize,
    /// What is still to come of a message that is passed over.
    rest: usize,
}

impl Messages {
    /// Whether a message has begun and not ended: nothing but its rest may follow (RFC 8446 section 5.1).
    pub fn is_within(&self) -> bool {
        self.header_len > 0 || self.rest > 0
    }

    /// Takes the content of a record of TLS 1.2, at a client or at a server: whether another handshake is asked for, which
    /// there is not (RFC 5246 section 7.2.2).
    pub fn take_tls12(&mut self, mut content: &[u8], at_client: bool) -> Result<bool, RecordError> {
        const HELLO_REQUEST: u8 = 0;
        const CLIENT_HELLO: u8 = 1;
        if content.is_empty() {
            return Err(RecordError::Empty);
        }
        let mut asked = false;
        while !content.is_empty() {
            content = self.begin(content);
            if self.header_len < 4 {
                break;
            }
            let (kind, len) = self.message();
            match kind {
                HELLO_REQUEST if at_client && len == 0 => {}
                CLIENT_HELLO if !at_client && len <= HELLO_MAX => {}
                HELLO_REQUEST if at_client => return Err(RecordError::Malformed),
                CLIENT_HELLO if !at_client => return Err(RecordError::Malformed),
                kind => return Err(RecordError::UnexpectedMessage(kind)),
            }
            asked = true;
            self.pass_over(len);
        }
        Ok(asked)
    }

    /// Passes over what is left of a message and takes the header of the next, as far as that is there; what follows it.
    fn begin<'a>(&mut self, content: &'a [u8]) -> &'a [u8] {
        let passed = content.len().min(self.rest);
        self.rest -= passed;
        let content = &content[passed..];
        let len = content.len().min(4 - self.header_len);
        self.header[self.header_len..self.header_len + len].copy_from_slice(&content[..len]);
        self.header_len += len;
        &content[len..]
    }

    /// Type and length of the message whose header is there.
    fn message(&self) -> (u8, usize) {
        let [kind, high, middle, low] = self.header;
        (kind, u32::from_be_bytes([0, high, middle, low]) as usize)
    }

    fn pass_over(&mut self, len: usize) {
        self.header_len = 0;
        self.rest = len;
    }

    /// Takes the content of a record, at a client or at a server. A key update is the last in its record.
    pub fn take(
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
            content = self.begin(content);
            if self.header_len < 4 {
                break;
            }
            let (kind, len) = self.message();
            match kind {
                TICKET if at_client && len <= TICKET_MAX => self.pass_over(len),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAG: usize = 16;

    fn header(code: u8, len: usize) -> [u8; 5] {
        [code, 3, 3, (len >> 8) as u8, len as u8]
    }

    #[test]
    fn headers_have_their_limits() {
        let read = |bytes: &[u8], version| RecordHeader::read(bytes, version, TAG);
        for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
            assert_eq!(read(&header(23, 100)[..4], version), Ok(None));
            let found = read(&header(23, 100), version).unwrap().unwrap();
            assert_eq!(found.record_len, 105);
            assert_eq!(found.content_type, ContentType::ApplicationData);
            for code in [0, 20, 24, 255] {
                let error = Err(RecordError::UnexpectedType(code));
                assert_eq!(read(&header(code, 100), version), error);
            }
            assert_eq!(read(&header(23, TAG - 1), version), Err(RecordError::TooShort));
            assert!(read(&header(23, TAG + 1), version).is_ok());
        }
        // An empty content needs no byte in TLS 1.2, and a type in TLS 1.3.
        assert!(read(&header(23, TAG), TlsVersion::Tls12).is_ok());
        assert_eq!(read(&header(23, TAG), TlsVersion::Tls13), Err(RecordError::TooShort));
        assert!(read(&header(23, 16_384 + 256), TlsVersion::Tls13).is_ok());
        let too_long = Err(RecordError::TooLong);
        assert_eq!(read(&header(23, 16_384 + 257), TlsVersion::Tls13), too_long);
        assert!(read(&header(23, 16_384 + 2048), TlsVersion::Tls12).is_ok());
        assert_eq!(read(&header(23, 16_384 + 2049), TlsVersion::Tls12), too_long);
        // Only TLS 1.2 shows what is inside.
        assert!(read(&header(21, 100), TlsVersion::Tls12).is_ok());
        let error = Err(RecordError::UnexpectedType(21));
        assert_eq!(read(&header(21, 100), TlsVersion::Tls13), error);
        let old = [23, 3, 1, 0, 100];
        assert_eq!(read(&old, TlsVersion::Tls12), Err(RecordError::WrongVersion));
        assert!(read(&old, TlsVersion::Tls13).is_ok());
    }

    #[test]
    fn padding_is_not_content() {
        assert_eq!(unpad(&[1, 0, 2, 23]), Ok((ContentType::ApplicationData, 3)));
        assert_eq!(unpad(&[1, 0, 2, 23, 0, 0]), Ok((ContentType::ApplicationData, 3)));
        assert_eq!(unpad(&[22]), Ok((ContentType::Handshake, 0)));
        assert_eq!(unpad(&[0, 0]), Err(RecordError::Empty));
        assert_eq!(unpad(&[]), Err(RecordError::Empty));
        assert_eq!(unpad(&[1, 20]), Err(RecordError::UnexpectedType(20)));
        let mut full = vec![1; PLAINTEXT_MAX];
        full.push(23);
        assert_eq!(unpad(&full), Ok((ContentType::ApplicationData, PLAINTEXT_MAX)));
        full.push(0);
        assert_eq!(unpad(&full), Err(RecordError::TooLong));
    }

    #[test]
    fn alerts_mean_what_they_say() {
        let read = |bytes: &[u8]| Alert::read(bytes, TlsVersion::Tls13);
        assert_eq!(read(&[1, 0]), Ok(Alert::Close));
        assert_eq!(read(&[2, 0]), Ok(Alert::Close));
        assert_eq!(read(&[1, 90]), Ok(Alert::Warning));
        // A level is of no meaning in TLS 1.3 (RFC 8446 section 6).
        assert_eq!(read(&[1, 40]), Ok(Alert::Fatal(40)));
        assert_eq!(Alert::read(&[1, 41], TlsVersion::Tls12), Ok(Alert::Warning));
        assert_eq!(Alert::read(&[2, 40], TlsVersion::Tls12), Ok(Alert::Fatal(40)));
        for bytes in [&[][..], &[1], &[1, 0, 0]] {
            assert_eq!(read(bytes), Err(RecordError::Malformed));
        }
    }

    #[test]
    fn messages_are_only_what_may_follow() {
        let take = |bytes: &[u8], at_client| Messages::default().take(bytes, at_client);
        assert_eq!(take(&[24, 0, 0, 1, 1], false), Ok(Some(KeyUpdate { answer: true })));
        assert_eq!(take(&KeyUpdate::MESSAGE, true), Ok(Some(KeyUpdate { answer: false })));
        assert_eq!(take(&[24, 0, 0, 1, 2], true), Err(RecordError::Malformed));
        assert_eq!(take(&[24, 0, 0, 2, 0, 0], true), Err(RecordError::Malformed));
        // Nothing follows it under the old key.
        let error = Err(RecordError::UnexpectedMessage(24));
        assert_eq!(take(&[24, 0, 0, 1, 0, 24], true), error);
        assert!(!take(&[4, 0, 0, 2, 9, 9, 24, 0, 0, 1, 0], true).unwrap().unwrap().answer);
        assert_eq!(take(&[4, 0, 0, 1, 9], false), Err(RecordError::UnexpectedMessage(4)));
        assert_eq!(take(&[4, 2, 1, 11, 0], true), Err(RecordError::Malformed));
        assert_eq!(take(&[13, 0, 0, 0], true), Err(RecordError::UnexpectedMessage(13)));
        assert_eq!(take(&[], true), Err(RecordError::Empty));
    }

    #[test]
    fn another_handshake_is_asked_for_by_whom_it_may_be() {
        let take = |bytes: &[u8], at_client| Messages::default().take_tls12(bytes, at_client);
        assert_eq!(take(&[0, 0, 0, 0], true), Ok(true));
        assert_eq!(take(&[1, 0, 0, 2, 3, 3], false), Ok(true));
        assert_eq!(take(&[0, 0, 0, 0, 0, 0, 0, 0], true), Ok(true));
        assert_eq!(take(&[0, 0, 0, 1, 0], true), Err(RecordError::Malformed));
        assert_eq!(take(&[1, 1, 0, 1], false), Err(RecordError::Malformed));
        assert_eq!(take(&[1, 0, 0, 0], true), Err(RecordError::UnexpectedMessage(1)));
        assert_eq!(take(&[0, 0, 0, 0], false), Err(RecordError::UnexpectedMessage(0)));
        assert_eq!(take(&[], false), Err(RecordError::Empty));
        // Cut anywhere it is one.
        let hello = [&[1, 0, 0, 5][..], &[9; 5]].concat();
        for cut in 1..hello.len() {
            let mut messages = Messages::default();
            let first = messages.take_tls12(&hello[..cut], false).unwrap();
            assert!(messages.is_within(), "{cut}");
            let second = messages.take_tls12(&hello[cut..], false).unwrap();
            assert!(first != second && !messages.is_within(), "{cut}");
        }
    }

    /// The slow and obvious way: all tickets whole, one after the other.
    fn tickets(lengths: &[usize]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &len in lengths {
            bytes.extend([4, 0, (len >> 8) as u8, len as u8]);
            bytes.extend(vec![7; len]);
        }
        bytes
    }

    proptest! {
        /// Wherever messages are cut into records, the key update after them is found, and nowhere before.
        #[test]
        fn messages_may_be_cut_anywhere(
            lengths in prop::collection::vec(0_usize..600, 0..4),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            answer: bool,
        ) {
            let mut bytes = tickets(&lengths);
            bytes.extend([24, 0, 0, 1, u8::from(answer)]);
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            cuts.dedup();
            let mut messages = Messages::default();
            for cut in cuts.windows(2) {
                let found = messages.take(&bytes[cut[0]..cut[1]], true);
                let last = cut[1] == bytes.len();
                prop_assert_eq!(found, Ok(last.then_some(KeyUpdate { answer })));
                prop_assert!(!(last && messages.is_within()));
            }
        }

        #[test]
        fn anything_is_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..80), tls12: bool) {
            let version = if tls12 { TlsVersion::Tls12 } else { TlsVersion::Tls13 };
            let _ = Alert::read(&bytes, version);
            let _ = Messages::default().take(&bytes, true);
            if let Ok((_, len)) = unpad(&bytes) {
                prop_assert!(bytes[len] != 0 && bytes[len + 1..].iter().all(|&byte| byte == 0));
            }
            if let Ok(Some(header)) = RecordHeader::whole(&bytes, version, TAG) {
                prop_assert!(header.record_len <= bytes.len());
            }
        }
    }
}
