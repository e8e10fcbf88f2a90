//! A WebSocket as a [`Stream`].

use std::{
    fmt,
    io::{self, IoSlice},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker, ready},
    time::Duration,
};

use futures_util::task::AtomicWaker;

use super::{
    frame::{Control, HEADER_MAX, Opcode, ProtocolError, WsDecoder, WsEnd, WsHeader, mask},
    keepalive::{Due, Keepalive},
};
use crate::{Stream, WRITE_MAX, poll_end};

/// The most bytes that one write takes and sends as one message; as many may be held while the stream below takes none. With a
/// client's header, of two bytes, a length of two and a key, it is what TLS takes in full records.
pub const MESSAGE_MAX: usize = WRITE_MAX - (2 + 2 + 4);

/// The most pieces of one write that are taken.
const PIECES_MAX: usize = 64;

/// No particular reason to close (RFC 6455 section 7.4.1).
const CLOSE_NORMAL: u16 = 1000;
/// The other side is going away.
const CLOSE_AWAY: u16 = 1001;
/// The other side breaks the protocol.
const CLOSE_PROTOCOL_ERROR: u16 = 1002;

/// One end of a WebSocket. Holds no buffer while idle.
pub(super) struct WebSocket {
    below: Arc<dyn Stream>,
    /// Locked before `outgoing` where both are needed.
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
    waiting: Arc<WsWaiters>,
    /// Wakes all of `waiting`.
    waker: Waker,
}

struct Incoming {
    decoder: WsDecoder,
    /// What came after the upgrade, at most a head's length; read before the stream below.
    rest: Vec<u8>,
    keepalive: Option<Keepalive>,
    is_given_up: bool,
}

#[derive(Default)]
struct Outgoing {
    /// A client's.
    keys: Option<MaskKeys>,
    /// Frames taken and not handed on, from `handed_on` on; at most one message and one control frame.
    held: Vec<u8>,
    handed_on: usize,
    /// Control frames that wait after what is held.
    pong: Option<Control>,
    ping: bool,
    close: Option<u16>,
    /// Nothing goes after a close.
    is_closing: bool,
    /// Whether there are control frames that the reader has caused and nobody has handed on.
    is_owing: bool,
}

/// Who waits for the stream below to take more: the writer, and the reader while it owes an answer.
#[derive(Default)]
struct WsWaiters {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Wake for WsWaiters {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.reader.wake();
        self.writer.wake();
    }
}

/// Masking keys that nobody can foresee (RFC 6455 section 10.3), made many at a time.
pub(super) struct MaskKeys {
    made: [u8; 128],
    left: usize,
}

impl MaskKeys {
    pub(super) fn new() -> Self {
        Self { made: [0; 128], left: 0 }
    }

    fn next(&mut self) -> [u8; 4] {
        if self.left == 0 {
            self.made = random();
            self.left = self.made.len();
        }
        self.left -= 4;
        let made = &self.made[self.left..];
        [made[0], made[1], made[2], made[3]]
    }
}

/// Random bytes fit for cryptography.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("AWS-LC ends the process itself without randomness");
    bytes
}

impl WebSocket {
    /// On `below`, past the upgrade, with what has come after it.
    pub(super) fn new(below: Arc<dyn Stream>, decoder: WsDecoder, rest: Vec<u8>) -> Self {
        let waiting = Arc::<WsWaiters>::default();
        Self {
            below,
            incoming: Mutex::new(Incoming { decoder, rest, keepalive: None, is_given_up: false }),
            outgoing: Mutex::default(),
            waker: Arc::clone(&waiting).into(),
            waiting,
        }
    }

    /// Masks what is sent, as a client has to.
    pub(super) fn masking(mut self, keys: MaskKeys) -> Self {
        self.outgoing.get_mut().unwrap_or_else(PoisonError::into_inner).keys = Some(keys);
        self
    }

    /// Asks the other side that often whether it is there.
    pub(super) fn asking_every(mut self, every: Option<Duration>) -> Self {
        let incoming = self.incoming.get_mut().unwrap_or_else(PoisonError::into_inner);
        incoming.keepalive = every.map(Keepalive::new);
        self
    }

    /// A poisoned lock guards whole frames: nothing in between panics.
    fn incoming(&self) -> MutexGuard<'_, Incoming> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what the frames just read ask for, as far as it goes at once; the rest is owed.
    fn answer(&self, decoder: &mut WsDecoder) {
        let ping = decoder.take_ping();
        if ping.is_none() && decoder.end().is_none() {
            return;
        }
        let mut outgoing = self.outgoing();
        if ping.is_some() && !outgoing.is_closing {
            outgoing.pong = ping;
        }
        match decoder.end() {
            Some(WsEnd::Closed(_)) => outgoing.close(CLOSE_NORMAL),
            Some(WsEnd::Failed(_)) => outgoing.close(CLOSE_PROTOCOL_ERROR),
            None => {}
        }
        outgoing.is_owing = true;
        // The next read or write meets the failure itself.
        let _ = outgoing.hand_on(&*self.below);
    }

    /// Hands on what the reader owes; wakes it when it can go on.
    fn poll_owed(&self, cx: &mut Context<'_>) {
        loop {
            let mut outgoing = self.outgoing();
            if !outgoing.is_owing {
                return;
            }
            let is_done = match outgoing.hand_on(&*self.below) {
                Ok(is_done) => is_done && !self.below.has_buffered(),
                // The reader meets the failure itself.
                Err(_) => true,
            };
            outgoing.is_owing = !is_done;
            drop(outgoing);
            if is_done {
                return;
            }
            self.waiting.reader.register(cx.waker());
            match self.below.poll_writable(&mut Context::from_waker(&self.waker)) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) | Poll::Pending => return,
            }
        }
    }

    /// Waits until the stream below has taken all that is held.
    fn poll_hand_on(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing().hand_on(&*self.below)? {
            ready!(self.below.poll_writable(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_keepalive(&self, incoming: &mut Incoming, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(keepalive) = &mut incoming.keepalive {
            match ready!(keepalive.poll_due(cx)) {
                Due::Ping => {
                    let mut outgoing = self.outgoing();
                    outgoing.ping = !outgoing.is_closing;
                    outgoing.is_owing = true;
                }
                Due::GiveUp => {
                    incoming.is_given_up = true;
                    return Poll::Ready(());
                }
            }
        }
        Poll::Pending
    }
}

impl Incoming {
    /// What reading comes to when there is nothing more to take, if that is decided.
    fn outcome(&self) -> Option<io::Result<usize>> {
        if self.is_given_up {
            let silent = "the other side answers no WebSocket ping";
            return Some(Err(io::Error::new(io::ErrorKind::TimedOut, silent)));
        }
        Some(match self.decoder.end()? {
            WsEnd::Failed(error) => Err(failure(*error)),
            end => match end.code() {
                None | Some(CLOSE_NORMAL | CLOSE_AWAY) => Ok(0),
                Some(code) => Err(io::Error::other(format!(
                    "the other side closes the WebSocket with code {code}: \"{}\"",
                    end.reason().escape_ascii()
                ))),
            },
        })
    }
}

impl Outgoing {
    fn has_buffered(&self) -> bool {
        !self.held.is_empty() || self.pong.is_some() || self.ping || self.close.is_some()
    }

    fn close(&mut self, code: u16) {
        if !self.is_closing {
            self.is_closing = true;
            self.close = Some(code);
            (self.pong, self.ping) = (None, false);
        }
    }

    /// Hands on what is held and the control frames after it; whether all of it went.
    fn hand_on(&mut self, below: &dyn Stream) -> io::Result<bool> {
        loop {
            while self.handed_on < self.held.len() {
                match below.try_write(&self.held[self.handed_on..]) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => self.handed_on += written,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            // An idle stream keeps no buffer.
            (self.held, self.handed_on) = (Vec::new(), 0);
            if let Some(pong) = self.pong.take() {
                self.hold(Opcode::Pong, pong.bytes());
            } else if std::mem::take(&mut self.ping) {
                self.hold(Opcode::Ping, &[]);
            } else if let Some(code) = self.close.take() {
                self.hold(Opcode::Close, &code.to_be_bytes());
            } else {
                return Ok(true);
            }
        }
    }

    /// Holds a control frame.
    fn hold(&mut self, opcode: Opcode, payload: &[u8]) {
        let payload = [IoSlice::new(payload)];
        self.held = match &mut self.keys {
            Some(keys) => masked(opcode, &payload, keys.next()),
            None => [WsHeader::new(opcode, payload[0].len(), None).bytes(), &payload[0]].concat(),
        };
    }

    /// Takes a message of `len` bytes, as the only one that is held.
    fn take(&mut self, below: &dyn Stream, pieces: &[IoSlice<'_>], len: usize) -> io::Result<()> {
        match &mut self.keys {
            Some(keys) => {
                let frame = masked(Opcode::Binary, pieces, keys.next());
                let written = below.try_write(&frame)?;
                if written < frame.len() {
                    (self.held, self.handed_on) = (frame, written);
                }
            }
            None => {
                let header = WsHeader::new(Opcode::Binary, len, None);
                let mut slices = [IoSlice::new(&[]); 1 + PIECES_MAX];
                slices[0] = IoSlice::new(header.bytes());
                slices[1..=pieces.len()].copy_from_slice(pieces);
                let slices = &slices[..=pieces.len()];
                let mut skipped = below.try_write_vectored(slices)?;
                for slice in slices {
                    let skip = skipped.min(slice.len());
                    skipped -= skip;
                    self.held.extend_from_slice(&slice[skip..]);
                }
            }
        }
        Ok(())
    }
}

impl Stream for WebSocket {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut incoming = self.incoming();
        if !incoming.rest.is_empty() || incoming.outcome().is_some() {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(result) = self.below.poll_readable(cx) {
            return Poll::Ready(result);
        }
        if self.poll_keepalive(&mut incoming, cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.poll_owed(cx);
        Poll::Pending
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let mut incoming = self.incoming();
        if let Some(outcome) = incoming.outcome() {
            return outcome;
        }
        let read = match incoming.rest.len() {
            0 => self.below.try_read(into)?,
            rest => {
                let len = rest.min(into.len());
                into[..len].copy_from_slice(&incoming.rest[..len]);
                incoming.rest.drain(..len);
                if len == rest {
                    incoming.rest = Vec::new();
                }
                len
            }
        };
        if read == 0 {
            return match incoming.decoder.is_between_messages() {
                true => Ok(0),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        if let Some(keepalive) = &mut incoming.keepalive {
            keepalive.heard();
        }
        let kept = incoming.decoder.decode(&mut into[..read]);
        self.answer(&mut incoming.decoder);
        match (kept, incoming.outcome()) {
            (0, Some(outcome)) => outcome,
            // There was no more than headers and control frames.
            (0, None) => Err(io::ErrorKind::WouldBlock.into()),
            (kept, _) => Ok(kept),
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.waiting.writer.register(cx.waker());
        let cx = &mut Context::from_waker(&self.waker);
        ready!(self.poll_hand_on(cx))?;
        self.below.poll_writable(cx)
    }

    fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut outgoing = self.outgoing();
        if outgoing.is_closing {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !outgoing.hand_on(&*self.below)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut taken = [IoSlice::new(&[]); PIECES_MAX];
        let mut len = 0;
        let mut count = 0;
        for (slot, piece) in taken.iter_mut().zip(pieces) {
            *slot = IoSlice::new(&piece[..piece.len().min(MESSAGE_MAX - len)]);
            len += slot.len();
            count += 1;
        }
        if len > 0 {
            outgoing.take(&*self.below, &taken[..count], len)?;
        }
        Ok(len)
    }

    fn write_max(&self) -> usize {
        MESSAGE_MAX
    }

    fn has_buffered(&self) -> bool {
        self.outgoing().has_buffered() || self.below.has_buffered()
    }

    /// Sends a close frame, then ends the stream below.
    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.waiting.writer.register(cx.waker());
        let mut below = Context::from_waker(&self.waker);
        self.outgoing().close(CLOSE_NORMAL);
        ready!(self.poll_hand_on(&mut below))?;
        while self.below.has_buffered() {
            ready!(self.below.poll_writable(&mut below))?;
        }
        self.below.poll_shutdown(cx)
    }

    fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_end(&*self.below, cx)
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebSocket")
    }
}

/// A frame with its payload masked.
fn masked(opcode: Opcode, pieces: &[IoSlice<'_>], key: [u8; 4]) -> Vec<u8> {
    let len = pieces.iter().map(|piece| piece.len()).sum();
    let header = WsHeader::new(opcode, len, Some(key));
    let mut frame = Vec::with_capacity(HEADER_MAX + len);
    frame.extend_from_slice(header.bytes());
    pieces.iter().for_each(|piece| frame.extend_from_slice(piece));
    mask(&mut frame[header.bytes().len()..], key);
    frame
}

fn failure(error: ProtocolError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
