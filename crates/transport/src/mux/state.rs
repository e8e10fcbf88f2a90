//! What a session knows of its streams: bytes that were received, windows, frames that are due. No I/O here.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, Read},
    task::{Poll, Waker},
};

use rtun_proto::mux::{
    Command, Event, FIRST_CLIENT_ID, FIRST_SERVER_ID, INITIAL_WINDOW, header, update_frame,
};
use rtun_settings::{MuxSettings, MuxVersion};
use tokio::time::Instant;

use super::{BACKLOG, MAX_STREAMS, MuxError};

/// The window of a stream, at least 1. GOST reads it as a signed number.
fn window(settings: &MuxSettings) -> u32 {
    let bytes = settings.stream_buffer.min(settings.receive_buffer);
    let most = i32::MAX.unsigned_abs();
    u32::try_from(bytes).unwrap_or(most).clamp(1, most)
}

/// Streams refused whose refusal is not written yet. No more is read while there are as many, so that a peer that opens
/// streams without end and reads nothing costs no memory.
const MAX_REFUSED: usize = 1024;

/// What an empty receive buffer may keep.
const KEPT: usize = 16 * 1024;

/// Which end of the session this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MuxRole {
    /// Opens streams.
    Client,
    /// Accepts them.
    Server,
}

/// The state of a session.
pub(super) struct MuxState {
    version: MuxVersion,
    role: MuxRole,
    /// Bytes that may be unread in all streams before no more is read from the stream below.
    receive_buffer: usize,
    /// The window announced to senders (version 2).
    window: u32,
    streams: HashMap<u32, StreamSlot>,
    next_id: Option<u32>,
    /// Bytes received and not read, in all streams.
    unread: usize,
    /// Streams with frames to be sent; each stands there once.
    due: VecDeque<u32>,
    refused: Vec<u32>,
    nop_due: bool,
    accepted: VecDeque<u32>,
    acceptor: Option<Waker>,
    /// The session's own handle and those of its streams.
    handles: usize,
    /// The handle of the session is there.
    has_session: bool,
    end: Option<MuxError>,
    /// The acceptor knows the end.
    end_told: bool,
    /// The session is to end in order, as soon as no stream is held but by the task that waits for that.
    ending: bool,
    /// The last stream waits for that.
    last_is_closed: bool,
    /// Who waits for the end.
    closer: Option<Waker>,
    /// Reading stopped for want of room.
    paused: bool,
    /// The driver waits for the stream below to take frames that are due.
    pub(super) driver_waits: bool,
    /// When bytes last arrived.
    pub(super) heard: Instant,
}

/// One stream.
struct StreamSlot {
    received: VecDeque<u8>,
    /// The other side has ended it.
    ended: bool,
    /// Nobody holds it any more.
    dropped: bool,
    syn_due: bool,
    update_due: bool,
    fin: Fin,
    /// It stands in `due`.
    listed: bool,
    /// Bytes read of it, modulo 2³².
    consumed: u32,
    /// Bytes read since the other side was last informed.
    untold: u32,
    /// Bytes sent, modulo 2³², and how many of them the other side has read.
    sent: u32,
    sent_consumed: u32,
    /// The other side's window.
    window: u32,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The writer waits for bytes to be handed on, and not for room.
    flushing: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fin {
    Open,
    Due,
    Sent,
}

/// What a stream may write.
pub(super) enum Room {
    /// This number of bytes, possibly none.
    Bytes(usize),
    /// Nothing any more: it was ended by either side.
    Closed,
}

impl MuxState {
    pub(super) fn new(role: MuxRole, settings: &MuxSettings) -> Self {
        Self {
            version: settings.version,
            role,
            receive_buffer: settings.receive_buffer.max(1),
            window: window(settings),
            streams: HashMap::new(),
            next_id: Some(match role {
                MuxRole::Client => FIRST_CLIENT_ID,
                MuxRole::Server => FIRST_SERVER_ID,
            }),
            unread: 0,
            due: VecDeque::new(),
            refused: Vec::new(),
            nop_due: false,
            accepted: VecDeque::new(),
            acceptor: None,
            handles: 1,
            has_session: true,
            end: None,
            end_told: false,
            ending: false,
            last_is_closed: false,
            closer: None,
            paused: false,
            driver_waits: false,
            heard: Instant::now(),
        }
    }

    pub(super) fn end(&self) -> Option<&MuxError> {
        self.end.as_ref()
    }

    /// Ends the session for a reason, the first of which counts.
    pub(super) fn fail(&mut self, error: MuxError) {
        if self.end.is_none() {
            self.end = Some(error);
        }
        wake(&mut self.acceptor);
        wake(&mut self.closer);
        for slot in self.streams.values_mut() {
            wake(&mut slot.reader);
            wake(&mut slot.writer);
        }
    }

    /// Whether nobody holds the session or a stream of it any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.handles == 0
    }

    /// Has the session end in order once nobody holds it, or only a last stream that is closed.
    pub(super) fn end_in_order(&mut self) {
        self.ending = true;
    }

    /// Whether it is to end so.
    pub(super) fn waits_for_order(&self) -> bool {
        self.ending && !self.last_is_closed
    }

    /// Whether it is time for that.
    pub(super) fn ends_in_order(&self) -> bool {
        self.ending && (self.is_abandoned() || self.last_is_closed)
    }

    /// A stream is closed: whether the session ends with it, as it belongs to its streams and this is the last.
    pub(super) fn close_last(&mut self) -> bool {
        let is_last = !self.has_session && self.handles == 1;
        self.ending |= is_last;
        self.last_is_closed |= is_last;
        is_last
    }

    /// Whether the session has ended; if not `waker` is woken then.
    pub(super) fn poll_over(&mut self, waker: &Waker) -> bool {
        let over = self.end.is_some();
        if !over {
            remember(&mut self.closer, waker);
        }
        over
    }

    /// Streams that are open, those included that wait to be accepted.
    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    fn has_room(&self) -> bool {
        self.unread < self.receive_buffer && self.refused.len() < MAX_REFUSED
    }

    /// Whether there is room for what may arrive. If not, reading stops until [`Self::may_resume`].
    pub(super) fn may_receive(&mut self) -> bool {
        self.paused |= !self.has_room();
        self.has_room()
    }

    /// Whether reading stopped and may go on, of which the driver has to be informed. Asked after all that makes room.
    pub(super) fn may_resume(&mut self) -> bool {
        let resumes = self.paused && self.has_room();
        self.paused &= !resumes;
        resumes
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Opens a stream.
    pub(super) fn open(&mut self) -> Result<u32, MuxError> {
        if let Some(end) = &self.end {
            return Err(end.clone());
        }
        if self.streams.len() >= MAX_STREAMS {
            return Err(MuxError::TooManyStreams);
        }
        let id = self.next_id.ok_or(MuxError::OutOfIds)?;
        self.next_id = id.checked_add(2);
        let mut slot = StreamSlot::new();
        slot.syn_due = true;
        self.streams.insert(id, slot);
        self.list(id);
        self.handles += 1;
        Ok(id)
    }

    /// The next stream the other side has opened; none after the end, which is an error once if it was one.
    pub(super) fn poll_accept(&mut self, waker: &Waker) -> Poll<Result<Option<u32>, MuxError>> {
        if let Some(id) = self.accepted.pop_front() {
            self.handles += 1;
            return Poll::Ready(Ok(Some(id)));
        }
        match &self.end {
            Some(MuxError::Ended) => Poll::Ready(Ok(None)),
            Some(_) if self.end_told => Poll::Ready(Ok(None)),
            Some(error) => {
                self.end_told = true;
                Poll::Ready(Err(error.clone()))
            }
            None => {
                self.acceptor = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// The session's handle is of no use any more: nothing more is opened or accepted.
    pub(super) fn release_session(&mut self) {
        if !std::mem::replace(&mut self.has_session, false) {
            return;
        }
        self.handles -= 1;
        for id in std::mem::take(&mut self.accepted) {
            self.close(id);
        }
    }

    /// A stream's handle is gone.
    pub(super) fn release(&mut self, id: u32) {
        self.handles -= 1;
        self.close(id);
    }

    /// Ends a stream that nobody will read.
    fn close(&mut self, id: u32) {
        let Some(slot) = self.streams.get_mut(&id) else { return };
        slot.dropped = true;
        (slot.reader, slot.writer) = (None, None);
        self.unread -= slot.received.len();
        slot.received = VecDeque::new();
        if slot.fin == Fin::Sent {
            self.streams.remove(&id);
        } else {
            self.shut(id);
        }
    }

    /// Ends the own direction of a stream.
    pub(super) fn shut(&mut self, id: u32) {
        let slot = self.slot(id);
        if slot.fin == Fin::Open {
            slot.fin = Fin::Due;
            self.list(id);
        }
    }

    /// Whether the end of the own direction has been handed on.
    pub(super) fn is_shut(&self, id: u32) -> bool {
        self.streams.get(&id).is_none_or(|slot| slot.fin == Fin::Sent)
    }

    /// Says in time that this end is there.
    pub(super) fn keep_alive(&mut self) {
        self.nop_due = true;
    }

    /// Moves the frames that are due to `out`: at most three of each stream, and one of each refused. Whether any were.
    pub(super) fn take_due(&mut self, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        let version = self.version;
        if std::mem::take(&mut self.nop_due) {
            out.extend(header(version, Command::Nop, 0, 0));
        }
        for id in self.refused.drain(..) {
            out.extend(header(version, Command::Fin, 0, id));
        }
        for id in self.due.drain(..) {
            let Some(slot) = self.streams.get_mut(&id) else { continue };
            slot.listed = false;
            if std::mem::take(&mut slot.syn_due) {
                out.extend(header(version, Command::Syn, 0, id));
            }
            if std::mem::take(&mut slot.update_due) && !slot.dropped && !slot.ended {
                out.extend(update_frame(id, slot.consumed, self.window));
            }
            if slot.fin == Fin::Due {
                out.extend(header(version, Command::Fin, 0, id));
                slot.fin = Fin::Sent;
                if slot.dropped {
                    self.streams.remove(&id);
                }
            }
        }
        out.len() > before
    }

    pub(super) fn has_due(&self) -> bool {
        self.nop_due || !self.refused.is_empty() || !self.due.is_empty()
    }

    /// Reads what was received of a stream; 0 when nothing is there yet or any more.
    pub(super) fn read(&mut self, id: u32, into: &mut [u8]) -> usize {
        let slot = self.slot(id);
        let mut read = 0;
        while read < into.len() && !slot.received.is_empty() {
            read += slot.received.read(&mut into[read..]).expect("memory can be read");
        }
        if slot.received.is_empty() && slot.received.capacity() > KEPT {
            slot.received = VecDeque::new();
        }
        self.unread -= read;
        self.consume(id, read);
        read
    }

    /// What a reader with nothing to read gets.
    pub(super) fn nothing_to_read(&mut self, id: u32) -> io::Result<usize> {
        if self.slot(id).ended {
            return Ok(0);
        }
        Err(self.end.as_ref().map_or(io::ErrorKind::WouldBlock.into(), MuxError::to_io))
    }

    /// Whether a read gives bytes, the end or an error; if not `waker` is woken then.
    pub(super) fn poll_readable(&mut self, id: u32, waker: &Waker) -> bool {
        let over = self.end.is_some();
        let slot = self.slot(id);
        let ready = over || slot.ended || !slot.received.is_empty();
        if !ready {
            remember(&mut slot.reader, waker);
        }
        ready
    }

    /// What a stream may write now.
    pub(super) fn room(&mut self, id: u32) -> Room {
        let version = self.version;
        let slot = self.slot(id);
        if slot.ended || slot.fin != Fin::Open {
            return Room::Closed;
        }
        match version {
            MuxVersion::One => Room::Bytes(usize::MAX),
            MuxVersion::Two => {
                let on_the_way = slot.sent.wrapping_sub(slot.sent_consumed);
                Room::Bytes(slot.window.saturating_sub(on_the_way) as usize)
            }
        }
    }

    /// A stream's writer waits.
    pub(super) fn wait_to_write(&mut self, id: u32, waker: &Waker) {
        remember(&mut self.slot(id).writer, waker);
    }

    /// Whether a stream's writer waits for bytes to be handed on.
    pub(super) fn flushing(&mut self, id: u32) -> &mut bool {
        &mut self.slot(id).flushing
    }

    /// A stream has sent bytes.
    pub(super) fn sent(&mut self, id: u32, payload: usize) {
        let slot = self.slot(id);
        slot.sent = slot.sent.wrapping_add(wrapped(payload));
    }

    /// Bytes counted as sent were not.
    pub(super) fn unsent(&mut self, id: u32, payload: usize) {
        let slot = self.slot(id);
        slot.sent = slot.sent.wrapping_sub(wrapped(payload));
    }

    /// The stream below takes more: wakes those who wait for it. Whether the driver does.
    pub(super) fn carrier_is_writable(&mut self) -> bool {
        for slot in self.streams.values_mut() {
            wake(&mut slot.writer);
        }
        std::mem::take(&mut self.driver_waits)
    }

    /// What the other side did. Bytes of `sink`'s stream go to it as far as it has room; they are taken off its front.
    pub(super) fn apply(
        &mut self,
        event: Event<'_>,
        sink: &mut Option<(u32, &mut [u8])>,
    ) -> Result<(), MuxError> {
        match event {
            Event::Nop => {}
            Event::Syn(id) => self.opened(id),
            Event::Fin(id) => {
                if let Some(slot) = self.streams.get_mut(&id) {
                    slot.ended = true;
                    wake(&mut slot.reader);
                    wake(&mut slot.writer);
                }
            }
            Event::Psh(id, payload) => self.received(id, payload, sink)?,
            Event::Upd { id, consumed, window } => self.updated(id, consumed, window)?,
        }
        Ok(())
    }

    fn opened(&mut self, id: u32) {
        if self.streams.contains_key(&id) {
            return;
        }
        let full = self.streams.len() >= MAX_STREAMS || self.accepted.len() >= BACKLOG;
        if full || !self.has_session || self.role == MuxRole::Client {
            self.refused.push(id);
            return;
        }
        self.streams.insert(id, StreamSlot::new());
        self.accepted.push_back(id);
        wake(&mut self.acceptor);
    }

    fn received(
        &mut self,
        id: u32,
        mut payload: &[u8],
        sink: &mut Option<(u32, &mut [u8])>,
    ) -> Result<(), MuxError> {
        let Some(slot) = self.streams.get_mut(&id).filter(|slot| !slot.dropped && !slot.ended)
        else {
            return Ok(());
        };
        let mut direct = 0;
        if let Some((_, into)) = sink.as_mut().filter(|(sink, _)| *sink == id)
            && slot.received.is_empty()
        {
            direct = payload.len().min(into.len());
            let (now, later) = std::mem::take(into).split_at_mut(direct);
            now.copy_from_slice(&payload[..direct]);
            *into = later;
            payload = &payload[direct..];
        }
        let bound = INITIAL_WINDOW.max(self.window) as usize;
        if self.version == MuxVersion::Two && slot.received.len() + payload.len() > bound {
            return Err(MuxError::WindowExceeded(id));
        }
        slot.received.extend(payload);
        wake(&mut slot.reader);
        self.unread += payload.len();
        self.consume(id, direct);
        Ok(())
    }

    fn updated(&mut self, id: u32, consumed: u32, window: u32) -> Result<(), MuxError> {
        let Some(slot) = self.streams.get_mut(&id) else { return Ok(()) };
        let before = slot.sent.wrapping_sub(slot.sent_consumed);
        let now = slot.sent.wrapping_sub(consumed);
        if now > u32::MAX / 2 {
            return Err(MuxError::ConsumedUnsent(id));
        }
        // An update that was overtaken by a later one tells nothing.
        if now <= before {
            slot.sent_consumed = consumed;
            slot.window = window;
            wake(&mut slot.writer);
        }
        Ok(())
    }

    /// Counts bytes that were read, and tells the other side at the first and after each half window.
    fn consume(&mut self, id: u32, bytes: usize) {
        if self.version == MuxVersion::One || bytes == 0 {
            return;
        }
        let half = self.window / 2;
        let slot = self.slot(id);
        let first = slot.consumed == 0;
        slot.consumed = slot.consumed.wrapping_add(wrapped(bytes));
        slot.untold = slot.untold.saturating_add(wrapped(bytes));
        if first || slot.untold >= half {
            slot.untold = 0;
            slot.update_due = true;
            self.list(id);
        }
    }

    fn list(&mut self, id: u32) {
        let slot = self.slot(id);
        if !std::mem::replace(&mut slot.listed, true) {
            self.due.push_back(id);
        }
    }

    fn slot(&mut self, id: u32) -> &mut StreamSlot {
        self.streams.get_mut(&id).expect("a stream is known until its handle is gone")
    }
}

impl StreamSlot {
    fn new() -> Self {
        Self {
            received: VecDeque::new(),
            ended: false,
            dropped: false,
            syn_due: false,
            update_due: false,
            fin: Fin::Open,
            listed: false,
            consumed: 0,
            untold: 0,
            sent: 0,
            sent_consumed: 0,
            window: INITIAL_WINDOW,
            reader: None,
            writer: None,
            flushing: false,
        }
    }
}

fn wake(waker: &mut Option<Waker>) {
    waker.take().into_iter().for_each(Waker::wake);
}

fn remember(slot: &mut Option<Waker>, waker: &Waker) {
    if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
        *slot = Some(waker.clone());
    }
}

/// A count of bytes modulo 2³².
fn wrapped(bytes: usize) -> u32 {
    (bytes & u32::MAX as usize) as u32
}
