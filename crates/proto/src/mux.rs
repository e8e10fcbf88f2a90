//! smux frames: several streams on one connection, versions 1 and 2.
//!
//! ```text
//! +-----------+-----------+------------------------+------------------------------+-----------------+
//! | version 1 | command 1 | length 2, little-endian | stream id 4, little-endian  | payload, length |
//! +-----------+-----------+------------------------+------------------------------+-----------------+
//!
//! 0 SYN  opens a stream
//! 1 FIN  ends a stream
//! 2 PSH  bytes of a stream
//! 3 NOP  the sender is alive
//! 4 UPD  consumed 4 | window 4, little-endian; version 2 only
//! ```
//!
//! Both ends of a session speak the same version. In version 2 a sender has at most `window` bytes of a stream in
//! flight or unread, [`INITIAL_WINDOW`] until the first UPD. An UPD has the number of bytes of the stream read since it was
//! opened, modulo 2³², and the window from there on.

/// The bytes of a frame before its payload.
pub const HEADER: usize = 8;

/// The bytes of a whole UPD frame.
pub const UPDATE_FRAME: usize = HEADER + 8;

/// The window of a stream in bytes until the first UPD (version 2).
pub const INITIAL_WINDOW: u32 = 262_144;

/// The id of the first stream that the client of a session opens; each further id is 2 higher.
pub const FIRST_CLIENT_ID: u32 = 3;

/// The id of the first stream that the server of a session opens; each further id is 2 higher.
pub const FIRST_SERVER_ID: u32 = 2;

/// The version of a session. Both ends must be configured alike; nothing is negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Streams share one receive buffer: when it is full, a stream that is not read blocks the others.
    One = 1,
    /// Each stream also has a window of its own.
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
    /// The sender is alive.
    Nop = 3,
    /// Extends the window of a stream.
    Upd = 4,
}

/// Why the bytes are no frames of this session. The peer is at fault, or configured for the other version.
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
    /// A payload of another length than the command's fixed one.
    #[error("a payload of {length} bytes with the command {command:?}")]
    Length {
        /// The frame's command.
        command: Command,
        /// The frame's length.
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

/// A received frame, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A stream was opened.
    Syn(u32),
    /// A stream was ended.
    Fin(u32),
    /// The next bytes of a stream: all of a frame, or the part that has arrived. Never empty.
    Psh(u32, &'a [u8]),
    /// The peer is alive.
    Nop,
    /// The window of a stream is extended.
    Upd {
        /// The stream.
        id: u32,
        /// The bytes read so far, modulo 2³².
        consumed: u32,
        /// The bytes that may follow these.
        window: u32,
    },
}

/// Reads frames from a stream, with reads that end anywhere. Buffers at most a header; payload is returned as it arrives.
#[derive(Debug)]
pub struct Decoder {
    version: Version,
    head: [u8; UPDATE_FRAME],
    /// The number of bytes in `head`.
    filled: usize,
    /// The stream of the current payload, and its missing bytes.
    payload: (u32, usize),
}

impl Decoder {
    /// A decoder at the beginning of a session.
    pub fn new(version: Version) -> Self {
        Self { version, head: [0; UPDATE_FRAME], filled: 0, payload: (0, 0) }
    }

    /// Removes the next event from the front of `bytes`. `None`: all bytes are used, and more are needed.
    ///
    /// After an error the beginning of the next frame is unknown, and the session has to end.
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

    /// The event of a whole header, if it is complete without payload.
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
