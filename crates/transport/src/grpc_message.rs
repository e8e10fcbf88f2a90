//! The messages of GOST's gRPC service, `Chunk { bytes data = 1 }`, with gRPC's prefix before each: written, and a stream
//! of them turned into their data (gRPC over HTTP/2, "Length-Prefixed-Message").

/// The longest [`GrpcHeader`]: gRPC's prefix, the field's tag, its length.
pub const HEADER_MAX: usize = PREFIX_LEN + 1 + 5;

/// A flag, then the message's length.
const PREFIX_LEN: usize = 5;

/// Field 1, with a length before it.
const DATA_TAG: u64 = 1 << 3 | 2;

/// The most bytes of a variable-length number.
const VARINT_MAX: u32 = 10;

/// How the other side breaks gRPC, protobuf or what a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// No compression is ever agreed on.
    #[error("a gRPC message is compressed, which nobody asked for")]
    Compressed,
    /// A prefix that does not begin with 0 or 1.
    #[error("a gRPC message has the unknown flag {0:#x}")]
    UnknownFlag(u8),
    /// A number of more than ten bytes.
    #[error("a gRPC message has a number of more than {VARINT_MAX} bytes")]
    NumberTooLong,
    /// A field of a wire type that there is not, or not any more (groups).
    #[error("a gRPC message has a field of the unknown wire type {0}")]
    UnknownWireType(u8),
    /// A field without a number.
    #[error("a gRPC message has a field with the number 0")]
    NoFieldNumber,
    /// The message ends within a field.
    #[error("a gRPC message ends within a field")]
    CutField,
    /// A second `data` takes the place of the first, which is passed on already.
    #[error("a gRPC message has its data twice")]
    SecondData,
}

/// How far a decoder got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeProgress {
    /// Bytes of the stream taken.
    pub consumed: usize,
    /// Bytes of data written.
    pub written: usize,
}

/// Turns a stream of messages into their data, however it is cut and whatever lengths they claim. Holds no data.
#[derive(Debug)]
pub struct GrpcDecoder {
    state: DecodeState,
    prefix: [u8; PREFIX_LEN],
    prefix_len: usize,
    /// Bytes of the message that have not come.
    message_left: u32,
    has_data: bool,
    failure: Option<ChunkError>,
}

#[derive(Debug, Clone, Copy)]
enum DecodeState {
    Prefix,
    Tag(Varint),
    /// The length of a field, which is the data or not.
    Length(Varint, GrpcField),
    /// What is left of a field.
    Bytes(u32, GrpcField),
    /// A number that nobody wants.
    Number(Varint),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum GrpcField {
    Data,
    Unknown,
}

impl Default for GrpcDecoder {
    fn default() -> Self {
        Self {
            state: DecodeState::Prefix,
            prefix: [0; PREFIX_LEN],
            prefix_len: 0,
            message_left: 0,
            has_data: false,
            failure: None,
        }
    }
}

impl GrpcDecoder {
    /// Takes the next bytes of the stream and writes what they contain of data, as much as there is room for. Takes
    /// nothing once there is a [`GrpcDecoder::failure`].
    pub fn decode(&mut self, bytes: &[u8], into: &mut [u8]) -> DecodeProgress {
        let mut progress = DecodeProgress { consumed: 0, written: 0 };
        while progress.consumed < bytes.len() && self.failure.is_none() {
            let rest = &bytes[progress.consumed..];
            let DecodeState::Bytes(left, field) = self.state else {
                progress.consumed += 1;
                match self.step(rest[0]) {
                    Ok(state) => self.state = state,
                    Err(error) => self.failure = Some(error),
                }
                continue;
            };
            let mut len = rest.len().min(left as usize);
            if field == GrpcField::Data {
                let into = &mut into[progress.written..];
                len = len.min(into.len());
                if len == 0 {
                    break;
                }
                into[..len].copy_from_slice(&rest[..len]);
                progress.written += len;
            }
            progress.consumed += len;
            self.message_left -= len as u32;
            self.state = self.after_field(left - len as u32, field);
        }
        progress
    }

    /// How the other side breaks the protocol, after all data that came before.
    pub fn failure(&self) -> Option<ChunkError> {
        self.failure
    }

    /// Whether the stream so far ends between two messages.
    pub fn is_between_messages(&self) -> bool {
        matches!(self.state, DecodeState::Prefix) && self.prefix_len == 0
    }

    /// Takes a byte that is not of a field's contents.
    fn step(&mut self, byte: u8) -> Result<DecodeState, ChunkError> {
        if matches!(self.state, DecodeState::Prefix) {
            return self.step_prefix(byte);
        }
        self.message_left -= 1;
        let state = match self.state {
            DecodeState::Tag(varint) => match varint.push(byte)? {
                Varint { value: Some(tag), .. } => self.begin_field(tag)?,
                varint => DecodeState::Tag(varint),
            },
            DecodeState::Length(varint, field) => match varint.push(byte)? {
                Varint { value: Some(length), .. } => {
                    let length = u32::try_from(length).map_err(|_| ChunkError::CutField)?;
                    return self.begin_bytes(length, field);
                }
                varint => DecodeState::Length(varint, field),
            },
            DecodeState::Number(varint) => match varint.push(byte)? {
                Varint { value: Some(_), .. } => return Ok(self.next_field()),
                varint => DecodeState::Number(varint),
            },
            DecodeState::Prefix | DecodeState::Bytes(..) => self.state,
        };
        match (state, self.message_left) {
            (DecodeState::Bytes(..), _) | (_, 1..) => Ok(state),
            (_, 0) => Err(ChunkError::CutField),
        }
    }

    fn step_prefix(&mut self, byte: u8) -> Result<DecodeState, ChunkError> {
        match (self.prefix_len, byte) {
            (0, 1) => return Err(ChunkError::Compressed),
            (0, 2..) => return Err(ChunkError::UnknownFlag(byte)),
            _ => {}
        }
        self.prefix[self.prefix_len] = byte;
        self.prefix_len += 1;
        let [_, length @ ..] = self.prefix;
        if self.prefix_len < PREFIX_LEN {
            return Ok(DecodeState::Prefix);
        }
        self.prefix_len = 0;
        self.message_left = u32::from_be_bytes(length);
        self.has_data = false;
        Ok(self.next_field())
    }

    fn begin_field(&mut self, tag: u64) -> Result<DecodeState, ChunkError> {
        if tag >> 3 == 0 {
            return Err(ChunkError::NoFieldNumber);
        }
        match tag & 7 {
            0 => Ok(DecodeState::Number(Varint::default())),
            1 => self.begin_bytes(8, GrpcField::Unknown),
            2 if tag == DATA_TAG && std::mem::replace(&mut self.has_data, true) => {
                Err(ChunkError::SecondData)
            }
            2 if tag == DATA_TAG => Ok(DecodeState::Length(Varint::default(), GrpcField::Data)),
            2 => Ok(DecodeState::Length(Varint::default(), GrpcField::Unknown)),
            5 => self.begin_bytes(4, GrpcField::Unknown),
            unknown => Err(ChunkError::UnknownWireType(unknown as u8)),
        }
    }

    fn begin_bytes(&self, length: u32, field: GrpcField) -> Result<DecodeState, ChunkError> {
        match length <= self.message_left {
            true => Ok(self.after_field(length, field)),
            false => Err(ChunkError::CutField),
        }
    }

    /// What follows when so much of a field is left.
    fn after_field(&self, left: u32, field: GrpcField) -> DecodeState {
        match left {
            0 => self.next_field(),
            left => DecodeState::Bytes(left, field),
        }
    }

    fn next_field(&self) -> DecodeState {
        match self.message_left {
            0 => DecodeState::Prefix,
            _ => DecodeState::Tag(Varint::default()),
        }
    }
}

/// A protobuf number that comes byte by byte, the lowest seven bits first.
#[derive(Debug, Clone, Copy, Default)]
struct Varint {
    sum: u64,
    bytes: u32,
    /// The number, once it is whole.
    value: Option<u64>,
}

impl Varint {
    fn push(mut self, byte: u8) -> Result<Self, ChunkError> {
        if self.bytes == VARINT_MAX {
            return Err(ChunkError::NumberTooLong);
        }
        self.sum |= u64::from(byte & 0x7f) << (7 * self.bytes);
        self.bytes += 1;
        self.value = (byte & 0x80 == 0).then_some(self.sum);
        Ok(self)
    }
}

/// What goes before a chunk's data.
#[derive(Debug, Clone, Copy)]
pub struct GrpcHeader {
    bytes: [u8; HEADER_MAX],
    len: usize,
}

impl GrpcHeader {
    /// Of a chunk with so much data; a little less than 4 GiB is the most.
    pub fn new(data_len: u32) -> Self {
        let mut header = Self { bytes: [0; HEADER_MAX], len: PREFIX_LEN };
        header.push(DATA_TAG as u8);
        let mut rest = data_len;
        while rest > 0x7f {
            header.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        header.push(rest as u8);
        let message_len = data_len + (header.len - PREFIX_LEN) as u32;
        header.bytes[1..PREFIX_LEN].copy_from_slice(&message_len.to_be_bytes());
        header
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }
}

#[cfg(test)]
mod tests;
