//! smux frames: several streams on one, versions 1 and 2 (spec: transports.md section 6).
//!
//! ```text
//! +-----------+-----------+------------------------+------------------------------+-----------------+
//! | version 1 | command 1 | length 2, little-endian | stream id 4, little-endian  | payload, length |
//! +-----------+-----------+------------------------+------------------------------+-----------------+
//!
//! 0 SYN  opens a stream
//! 1 FIN  ends a stream
//! 2 PSH  bytes of a stream
//! 3 NOP  says that the sender is there
//! 4 UPD  consumed 4 | window 4, little-endian; version 2 only
//! ```
//!
//! Both ends of a session speak the same version. In version 2 a sender has at most `window` bytes of a stream on the way
//! or unread, [`INITIAL_WINDOW`] until it is told; an UPD tells how many bytes of the stream were read since it was
//! opened, modulo 2³², and the window from there on.

/// The bytes of a frame before its payload.
pub const HEADER: usize = 8;

/// The bytes of a whole UPD frame.
pub const UPDATE_FRAME: usize = HEADER + 8;

/// The window of a stream in bytes until the first UPD (version 2).
pub const INITIAL_WINDOW: u32 = 262_144;

/// The stream that the client of a session opens first; each further one is 2 higher.
pub const FIRST_CLIENT_ID: u32 = 3;

/// The stream that the server of a session opens first; each further one is 2 higher.
pub const FIRST_SERVER_ID: u32 = 2;

/// The version of a session; both ends are configured alike, nothing is negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Streams share one receive buffer: one that is not read holds up the others once it is full.
    One = 1,
    /// Each stream has a window of its own besides.
    Two = 2,
}

/// What a frame does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Opens a stream.
    Syn = 0,
    /// Ends a stream.
    Fin = 1,
    /// Carries bytes of a stream.
    Psh = 2,
    /// Says that the sender is there.
    Nop = 3,
    /// Gives the sender of a stream room.
    Upd = 4,
}

/// Why the bytes are no frames of this session. The other side is at fault, or set to the other version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame of another version, or no frame at all.
    #[error("a frame of version {got} in a session of version {}", *.expected as u8)]
    Version {
        /// The session's.
        expected: Version,
        /// The frame's.
        got: u8,
    },
    /// A command that the session's version does not have.
    #[error("unknown command {0}")]
    Command(u8),
    /// A command whose payload has one length only, with another.
    #[error("a payload of {length} bytes with the command {command:?}")]
    Length {
        /// The frame's command.
        command: Command,
        /// The length it says.
        length: u16,
    },
}

/// The first bytes of a frame with `length` bytes of payload.
#[inline]
pub fn header(version: Version, command: Command, length: u16, id: u32) -> [u8; HEADER] {
    let [l0, l1] = length.to_le_bytes();
    let [i0, i1, i2, i3] = id.to_le_bytes();
    [version as u8, command as u8, l0, l1, i0, i1, i2, i3]
}

/// A whole UPD frame of version 2: `consumed` bytes of the stream were read so far, and `window` may follow them.
pub fn update_frame(id: u32, consumed: u32, window: u32) -> [u8; UPDATE_FRAME] {
    let mut frame = [0; UPDATE_FRAME];
    frame[..HEADER].copy_from_slice(&header(Version::Two, Command::Upd, 8, id));
    frame[HEADER..HEADER + 4].copy_from_slice(&consumed.to_le_bytes());
    frame[HEADER + 4..].copy_from_slice(&window.to_le_bytes());
    frame
}

/// What arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A stream was opened.
    Syn(u32),
    /// A stream was ended.
    Fin(u32),
    /// The next bytes of a stream: of a frame, or of as much of it as was there. Never empty.
    Psh(u32, &'a [u8]),
    /// The other side is there.
    Nop,
    /// The sender of a stream has room.
    Upd {
        /// The stream.
        id: u32,
        /// Bytes read of it so far, modulo 2³².
        consumed: u32,
        /// Bytes that may follow these.
        window: u32,
    },
}

/// Reads frames from a stream of bytes that is cut anywhere. Keeps at most a header; payload is handed on as it comes.
#[derive(Debug)]
pub struct Decoder {
    version: Version,
    head: [u8; UPDATE_FRAME],
    /// How many bytes of `head` are there.
    filled: usize,
    /// The stream whose payload is being read, and what is still to come of it.
    payload: (u32, usize),
}

impl Decoder {
    /// A decoder at the beginning of a session.
    pub fn new(version: Version) -> Self {
        Self { version, head: [0; UPDATE_FRAME], filled: 0, payload: (0, 0) }
    }

    /// Takes the next event off the front of `bytes`; `None` takes all of them and needs more.
    ///
    /// An error concerns all that follows: where the next frame begins is unknown, and the session has to end.
    #[inline]
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Event<'a>>, FrameError> {
        loop {
            let (id, left) = self.payload;
            if left > 0 {
                let (payload, rest) = bytes.split_at(left.min(bytes.len()));
                *bytes = rest;
                self.payload.1 -= payload.len();
                return Ok((!payload.is_empty()).then_some(Event::Psh(id, payload)));
            }
            let needed = if self.filled < HEADER { HEADER } else { UPDATE_FRAME };
            let (head, rest) = bytes.split_at((needed - self.filled).min(bytes.len()));
            self.head[self.filled..self.filled + head.len()].copy_from_slice(head);
            self.filled += head.len();
            *bytes = rest;
            if self.filled < needed {
                return Ok(None);
            }
            if let Some(event) = self.whole_head()? {
                return Ok(Some(event));
            }
        }
    }

    /// What a whole header says, if it says something by itself.
    fn whole_head(&mut self) -> Result<Option<Event<'static>>, FrameError> {
        let [version, command, l0, l1, i0, i1, i2, i3, body @ ..] = self.head;
        let length = u16::from_le_bytes([l0, l1]);
        let id = u32::from_le_bytes([i0, i1, i2, i3]);
        if version != self.version as u8 {
            return Err(FrameError::Version { expected: self.version, got: version });
        }
        let command = match (command, self.version) {
            (0, _) => Command::Syn,
            (1, _) => Command::Fin,
            (2, _) => Command::Psh,
            (3, _) => Command::Nop,
            (4, Version::Two) => Command::Upd,
            (unknown, _) => return Err(FrameError::Command(unknown)),
        };
        let event = match (command, length) {
            (Command::Syn, 0) => Event::Syn(id),
            (Command::Fin, 0) => Event::Fin(id),
            (Command::Nop, 0) => Event::Nop,
            (Command::Psh, _) => {
                self.payload = (id, usize::from(length));
                self.filled = 0;
                return Ok(None);
            }
            (Command::Upd, 8) if self.filled < UPDATE_FRAME => return Ok(None),
            (Command::Upd, 8) => {
                let [c0, c1, c2, c3, w0, w1, w2, w3] = body;
                let consumed = u32::from_le_bytes([c0, c1, c2, c3]);
                Event::Upd { id, consumed, window: u32::from_le_bytes([w0, w1, w2, w3]) }
            }
            (command, length) => return Err(FrameError::Length { command, length }),
        };
        self.filled = 0;
        Ok(Some(event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(version: Version, mut bytes: &[u8]) -> Result<Vec<Event<'_>>, FrameError> {
        let mut decoder = Decoder::new(version);
        let mut events = Vec::new();
        while let Some(event) = decoder.next(&mut bytes)? {
            events.push(event);
        }
        assert!(bytes.is_empty());
        Ok(events)
    }

    #[test]
    fn frames_are_read_in_their_order() {
        let mut bytes = header(Version::Two, Command::Syn, 0, 3).to_vec();
        bytes.extend(header(Version::Two, Command::Psh, 2, 3));
        bytes.extend(b"hi");
        bytes.extend(header(Version::Two, Command::Psh, 0, 3));
        bytes.extend(update_frame(3, 0x0102_0304, u32::MAX));
        bytes.extend(header(Version::Two, Command::Nop, 0, 0));
        bytes.extend(header(Version::Two, Command::Fin, 0, 0x0102_0304));
        let expected = [
            Event::Syn(3),
            Event::Psh(3, b"hi"),
            Event::Upd { id: 3, consumed: 0x0102_0304, window: u32::MAX },
            Event::Nop,
            Event::Fin(0x0102_0304),
        ];
        assert_eq!(events(Version::Two, &bytes).unwrap(), expected);
    }

    #[test]
    fn what_is_no_frame_of_the_session_is_named() {
        let upd = header(Version::One, Command::Upd, 8, 3);
        assert_eq!(events(Version::One, &upd), Err(FrameError::Command(4)));
        let other = header(Version::One, Command::Nop, 0, 0);
        let expected = FrameError::Version { expected: Version::Two, got: 1 };
        assert_eq!(events(Version::Two, &other), Err(expected));
        assert_eq!(expected.to_string(), "a frame of version 1 in a session of version 2");
        for (command, length) in [
            (Command::Syn, 1),
            (Command::Fin, 65_535),
            (Command::Nop, 8),
            (Command::Upd, 0),
            (Command::Upd, 9),
        ] {
            let head = header(Version::Two, command, length, 3);
            let expected = FrameError::Length { command, length };
            assert_eq!(events(Version::Two, &head), Err(expected));
        }
    }
}
