//! WebSocket frames (RFC 6455 section 5): headers written, and a stream of frames turned into its messages' bytes in place.

/// The longest header: two bytes, a length of eight, a masking key.
pub const HEADER_MAX: usize = 14;

/// The longest payload of a control frame.
pub const CONTROL_MAX: usize = 125;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// Further bytes of a message.
    Continuation,
    /// The beginning of a message of text.
    Text,
    /// The beginning of a message of bytes.
    Binary,
    /// The last frame of its sender.
    Close,
    /// Asks for a pong with the same payload.
    Ping,
    /// Answers a ping.
    Pong,
}

impl Opcode {
    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn is_control(self) -> bool {
        self.bits() >= 8
    }
}

/// How the other side breaks RFC 6455.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Bits that only a negotiated extension gives a meaning; none is ever negotiated.
    #[error("a WebSocket frame has reserved bits set")]
    ReservedBits,
    /// An opcode without a meaning.
    #[error("a WebSocket frame has the unknown opcode {0:#x}")]
    UnknownOpcode(u8),
    /// A client has to mask.
    #[error("a WebSocket client's frame is not masked")]
    NotMasked,
    /// A server must not mask.
    #[error("a WebSocket server's frame is masked")]
    Masked,
    /// A control frame with more than [`CONTROL_MAX`] bytes.
    #[error("a WebSocket control frame is longer than {CONTROL_MAX} bytes")]
    ControlTooLong,
    /// A control frame in fragments.
    #[error("a WebSocket control frame is fragmented")]
    ControlFragmented,
    /// A length with its highest bit set.
    #[error("a WebSocket frame's length is above 2^63")]
    LengthTooLarge,
    /// A continuation of nothing.
    #[error("a WebSocket continuation continues no message")]
    NothingToContinue,
    /// A message inside another.
    #[error("a WebSocket message begins inside another")]
    MessageInMessage,
    /// A close frame with half a code.
    #[error("a WebSocket close frame has one byte, half a code")]
    HalfCloseCode,
}

/// The payload of a control frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    bytes: [u8; CONTROL_MAX],
    len: u8,
}

impl Control {
    const EMPTY: Self = Self { bytes: [0; CONTROL_MAX], len: 0 };

    /// The payload's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Adds bytes; the frame's length has been checked, so that there is room.
    fn extend(&mut self, bytes: &[u8]) {
        let end = usize::from(self.len) + bytes.len();
        self.bytes[usize::from(self.len)..end].copy_from_slice(bytes);
        self.len = end as u8;
    }
}

/// Why no more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WsEnd {
    /// The other side said so.
    Closed(Control),
    /// The other side breaks the protocol.
    Failed(ProtocolError),
}

impl WsEnd {
    /// The code of a close frame that has one (RFC 6455 section 7.4).
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Closed(control) => {
                control.bytes().first_chunk().map(|code| u16::from_be_bytes(*code))
            }
            Self::Failed(_) => None,
        }
    }

    /// What a close frame says besides.
    pub fn reason(&self) -> &[u8] {
        match self {
            Self::Closed(control) => control.bytes().get(2..).unwrap_or_default(),
            Self::Failed(_) => &[],
        }
    }
}

/// Turns a stream of frames into the bytes of its messages, however it is cut. Holds no payload but that of one control
/// frame, whatever lengths the frames claim.
#[derive(Debug)]
pub struct WsDecoder {
    /// Whether the other side is a client, which masks.
    masked: bool,
    header: [u8; HEADER_MAX],
    header_len: usize,
    opcode: Opcode,
    is_last: bool,
    /// Payload of the frame that has not come.
    remaining: u64,
    /// Turned so that its first byte masks the next payload byte.
    key: [u8; 4],
    in_message: bool,
    control: Control,
    ping: Option<Control>,
    end: Option<WsEnd>,
}

impl WsDecoder {
    /// For the frames of a client.
    pub fn of_client() -> Self {
        Self::new(true)
    }

    /// For the frames of a server.
    pub fn of_server() -> Self {
        Self::new(false)
    }

    fn new(masked: bool) -> Self {
        Self {
            masked,
            header: [0; HEADER_MAX],
            header_len: 0,
            opcode: Opcode::Binary,
            is_last: true,
            remaining: 0,
            key: [0; 4],
            in_message: false,
            control: Control::EMPTY,
            ping: None,
            end: None,
        }
    }

    /// Takes the next bytes of the stream. Moves what they contain of messages to their beginning, unmasked; how much that
    /// is. Takes nothing once there is an [`WsDecoder::end`].
    pub fn decode(&mut self, bytes: &mut [u8]) -> usize {
        let mut from = 0;
        let mut kept = 0;
        while from < bytes.len() && self.end.is_none() {
            if self.remaining == 0 {
                from += self.take_header(&bytes[from..]);
                continue;
            }
            let rest = bytes.len() - from;
            let len = usize::try_from(self.remaining).map_or(rest, |remaining| remaining.min(rest));
            if self.opcode.is_control() {
                mask(&mut bytes[from..from + len], self.key);
                self.control.extend(&bytes[from..from + len]);
            } else {
                if from != kept {
                    bytes.copy_within(from..from + len, kept);
                }
                if self.masked {
                    mask(&mut bytes[kept..kept + len], self.key);
                }
                kept += len;
            }
            self.key.rotate_left(len % 4);
            from += len;
            self.remaining -= len as u64;
            if self.remaining == 0 {
                self.finish_frame();
            }
        }
        kept
    }

    /// The last ping that has come since this was asked; only that has to be answered (RFC 6455 section 5.5.3).
    pub fn take_ping(&mut self) -> Option<Control> {
        self.ping.take()
    }

    /// Why no more comes, after all bytes that came.
    pub fn end(&self) -> Option<&WsEnd> {
        self.end.as_ref()
    }

    /// Whether the stream so far ends between two messages.
    pub fn is_between_messages(&self) -> bool {
        self.header_len == 0 && self.remaining == 0 && !self.in_message
    }

    /// Takes what is there of a header; how much.
    fn take_header(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        loop {
            let needed = match self.header_len {
                0 | 1 => 2,
                _ => header_len(self.header[1]),
            };
            let missing = (needed - self.header_len).min(bytes.len() - taken);
            self.header[self.header_len..][..missing].copy_from_slice(&bytes[taken..][..missing]);
            self.header_len += missing;
            taken += missing;
            if self.header_len < needed {
                return taken;
            }
            if needed == 2
                && let Err(error) = self.check_header()
            {
                self.end = Some(WsEnd::Failed(error));
                return taken;
            }
            if self.header_len == header_len(self.header[1]) {
                self.begin_frame();
                return taken;
            }
        }
    }

    /// Checks the first two bytes.
    fn check_header(&mut self) -> Result<(), ProtocolError> {
        let [first, second] = [self.header[0], self.header[1]];
        self.is_last = first & 0x80 != 0;
        let bits = first & 0x0f;
        self.opcode = Opcode::of(bits).ok_or(ProtocolError::UnknownOpcode(bits))?;
        if first & 0x70 != 0 {
            return Err(ProtocolError::ReservedBits);
        }
        match (second & 0x80 != 0, self.masked) {
            (false, true) => return Err(ProtocolError::NotMasked),
            (true, false) => return Err(ProtocolError::Masked),
            _ => {}
        }
        match self.opcode {
            Opcode::Continuation if !self.in_message => Err(ProtocolError::NothingToContinue),
            Opcode::Text | Opcode::Binary if self.in_message => {
                Err(ProtocolError::MessageInMessage)
            }
            opcode if opcode.is_control() && !self.is_last => Err(ProtocolError::ControlFragmented),
            opcode if opcode.is_control() && second & 0x7f > CONTROL_MAX as u8 => {
                Err(ProtocolError::ControlTooLong)
            }
            _ => Ok(()),
        }
    }

    /// The header has come whole.
    fn begin_frame(&mut self) {
        let rest = &self.header[2..self.header_len];
        let (length, key) = rest.split_at(rest.len() - if self.masked { 4 } else { 0 });
        self.remaining = match length.len() {
            0 => u64::from(self.header[1] & 0x7f),
            _ => length.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        self.key = key.try_into().unwrap_or_default();
        self.header_len = 0;
        self.control = Control::EMPTY;
        if self.remaining >> 63 != 0 {
            self.end = Some(WsEnd::Failed(ProtocolError::LengthTooLarge));
        } else if self.remaining == 0 {
            self.finish_frame();
        }
    }

    /// The payload has come whole.
    fn finish_frame(&mut self) {
        match self.opcode {
            Opcode::Continuation | Opcode::Text | Opcode::Binary => self.in_message = !self.is_last,
            Opcode::Ping => self.ping = Some(self.control),
            Opcode::Pong => {}
            Opcode::Close if self.control.len == 1 => {
                self.end = Some(WsEnd::Failed(ProtocolError::HalfCloseCode));
            }
            Opcode::Close => self.end = Some(WsEnd::Closed(self.control)),
        }
    }
}

/// A header's bytes.
#[derive(Debug, Clone, Copy)]
pub struct WsHeader {
    bytes: [u8; HEADER_MAX],
    len: usize,
}

impl WsHeader {
    /// Of a frame that is a whole message, or a control frame, with `len` bytes of payload, masked with `key` if there is one.
    pub fn new(opcode: Opcode, len: usize, key: Option<[u8; 4]>) -> Self {
        let mut header = Self { bytes: [0; HEADER_MAX], len: 0 };
        let masked = if key.is_some() { 0x80 } else { 0 };
        header.push(&[0x80 | opcode.bits()]);
        match len {
            0..=125 => header.push(&[masked | len as u8]),
            126..=0xffff => {
                header.push(&[masked | 126]);
                header.push(&(len as u16).to_be_bytes());
            }
            _ => {
                header.push(&[masked | 127]);
                header.push(&(len as u64).to_be_bytes());
            }
        }
        if let Some(key) = key {
            header.push(&key);
        }
        header
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

/// Masks bytes, or unmasks them (RFC 6455 section 5.3).
pub fn mask(bytes: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// The length of a header whose second byte this is.
fn header_len(second: u8) -> usize {
    let length = match second & 0x7f {
        127 => 8,
        126 => 2,
        _ => 0,
    };
    2 + length + if second & 0x80 != 0 { 4 } else { 0 }
}

#[cfg(test)]
mod tests;
