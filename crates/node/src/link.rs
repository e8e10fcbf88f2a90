//! A connection between a host and its hub after the host was admitted, at either end: reading, writing, and its end.
//!
//! [`Link::run`] serves a link until something ends it; what is read goes to a [`Receiver`]. No task that it starts outlives
//! the call, and a link that is dropped is closed.

mod echoes;
mod end;
mod inbound;
mod message;
mod outbox;
mod reading;
mod shaped_queue;

use std::{
    io,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rtun_core::limit::ShaperSet;
use rtun_proto::{
    extension::{Extension, pong_frame},
    frame::FrameBuffer,
    frame_content::FrameContent,
};
use rtun_transport::Stream;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::error;

pub(crate) use self::{
    echoes::{ECHO_PATIENCE, EchoQuestion, NoEcho, ReturnedEcho},
    end::EndReason,
    message::{MessageError, read_message},
    reading::ReadTurns,
    shaped_queue::ShapedQueue,
};
use self::{
    echoes::{LinkEchoes, is_of_echo},
    end::LinkEnd,
    inbound::Inbound,
    outbox::Outbox,
    reading::{Arrived, LinkReader, Unfinished},
};
use crate::{counters::Counters, runtime::budget::Budget};

/// How long closing a transport in order may take.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

/// One end of a connection. Any number of tasks may send; one task runs it.
pub(crate) struct Link {
    outbox: Outbox,
    echoes: LinkEchoes,
    input: LinkInput,
    budget: Arc<Budget>,
    /// Counts what is sent to the peer, and what is lost before that.
    sent: Arc<Counters>,
    end: OnceLock<LinkEnd>,
    ended: CancellationToken,
}

/// The limits of what a link receives.
struct LinkInput {
    /// Until the link takes them.
    next: Mutex<Option<ShaperSet>>,
    /// Whether there are some to take.
    is_next: AtomicBool,
    /// Counts what is lost to them; from the beginning of [`Link::run`] on that of then.
    counters: Mutex<Arc<Counters>>,
}

/// Takes the frames that a link receives.
pub(crate) trait Receiver {
    /// Takes the whole frames at the beginning of `bytes`; returns how many bytes they were.
    fn take(&mut self, bytes: &[u8]) -> usize;

    /// The link is quiet: memory that only a busy link needs may be released.
    fn rest(&mut self) {}

    /// The silence after which the peer is asked whether it is there; `None` while it is not known to answer.
    fn asks_after(&self) -> Option<Duration>;
}

impl Link {
    /// Holds back what is sent until [`Link::open`]. Queued frames count against `budget`.
    pub(crate) fn new(stream: Arc<dyn Stream>, budget: &Arc<Budget>, sent: Arc<Counters>) -> Self {
        Self::carrying(FrameContent::Packets, stream, budget, sent)
    }

    /// The same for frames of this kind.
    pub(crate) fn carrying(
        content: FrameContent,
        stream: Arc<dyn Stream>,
        budget: &Arc<Budget>,
        sent: Arc<Counters>,
    ) -> Self {
        Self {
            outbox: Outbox::new(stream, content, budget),
            echoes: LinkEchoes::default(),
            input: LinkInput::new(Arc::clone(&sent)),
            budget: Arc::clone(budget),
            sent,
            end: OnceLock::new(),
            ended: CancellationToken::new(),
        }
    }

    /// Lets frames through, those held back first.
    pub(crate) fn open(&self) {
        self.outbox.open();
    }

    /// What is received, and from now on what is sent, keeps to these limits. What is received and lost to them, or to quotas,
    /// counts in `received`. To be called before [`Link::run`].
    pub(crate) fn limit(&self, input: ShaperSet, output: ShaperSet, received: &Arc<Counters>) {
        *lock(&self.input.counters) = Arc::clone(received);
        self.change_limits(input, output);
    }

    /// From now on it keeps to these limits.
    pub(crate) fn change_limits(&self, input: ShaperSet, output: ShaperSet) {
        self.input.change(input);
        self.outbox.limit(output);
    }

    /// Its stream, until it is closed.
    pub(crate) fn stream(&self) -> Option<Arc<dyn Stream>> {
        self.outbox.stream()
    }

    /// Sends the whole frames of packets at these positions of `bytes`; never waits for the peer. `sender` is any number that
    /// identifies who sent them: each sender has a fair share of the queue.
    pub(crate) fn send(&self, sender: u64, bytes: &[u8], places: &[Range<usize>]) {
        if let Err(error) = self.outbox.send(sender, bytes, places, &self.sent) {
            self.broke(EndReason::from_write(&error), error);
        }
    }

    /// Sends a frame of the extension, before queued packets. Only for a peer that speaks the extension.
    pub(crate) fn send_extension(&self, frame: &Extension<'_>) {
        let mut bytes = Vec::new();
        frame
            .write_frame(&mut bytes)
            .expect("frames that this program makes are within the limits");
        self.send_frame(&bytes);
    }

    /// Sends a frame with a packet that this program has made, before queued packets; false: it is not sent.
    pub(crate) fn send_answer(&self, frame: &[u8]) -> bool {
        self.outbox.send_answer(frame).unwrap_or_else(|error| {
            self.broke(EndReason::from_write(&error), error);
            false
        })
    }

    /// Like [`Link::send_extension`], for a frame that is encoded already.
    fn send_frame(&self, frame: &[u8]) {
        if let Err(error) = self.outbox.send_control(frame) {
            self.broke(EndReason::from_write(&error), error);
        }
    }

    /// Handles the frames that both ends handle alike; returns any other.
    pub(crate) fn take<'a>(&self, frame: Extension<'a>) -> Option<Extension<'a>> {
        match frame {
            Extension::Ping(stamp) => self.send_frame(&pong_frame(stamp)),
            Extension::Pong(stamp) if is_of_echo(stamp) => self.echoes.answered(stamp, None),
            Extension::Pong(stamp) => self.outbox.answered(stamp),
            Extension::Echo(echo) if echo.host.is_empty() => self.answer_echo(&echo),
            Extension::EchoReply(reply) => self.echoes.answered(reply.stamp, Some(reply)),
            other => return Some(other),
        }
        None
    }

    /// The peer speaks the extension. From now on packets go as datagrams where they fit, if both ends want that and the
    /// transport has datagrams. Else window stamps in the stream measure how much is in flight.
    pub(crate) fn greeted(&self, datagrams: bool) {
        match datagrams && self.has_datagrams() {
            true => self.outbox.begin_datagrams(),
            false => self.outbox.begin_stamps(),
        }
    }

    /// Whether its transport has datagrams.
    pub(crate) fn has_datagrams(&self) -> bool {
        self.outbox.has_datagrams()
    }

    /// Whether packets go as datagrams where they fit.
    pub(crate) fn uses_datagrams(&self) -> bool {
        self.outbox.uses_datagrams()
    }

    /// Packets and bytes that are queued for the peer.
    pub(crate) fn queued(&self) -> (u64, usize) {
        self.outbox.queued()
    }

    /// The round trip to the peer, if it has answered window stamps lately.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.outbox.round_trip()
    }

    /// Ends the link; the first reason counts.
    pub(crate) fn end(&self, reason: EndReason) {
        self.end_with(LinkEnd { reason, error: None });
    }

    fn broke(&self, reason: EndReason, error: io::Error) {
        self.end_with(LinkEnd { reason, error: Some(error) });
    }

    fn end_with(&self, end: LinkEnd) {
        if self.end.set(end).is_ok() {
            self.ended.cancel();
        }
    }

    /// Why the link has ended or is about to end; `None` while it is open.
    pub(crate) fn end_reason(&self) -> Option<EndReason> {
        self.end.get().map(|end| end.reason)
    }

    /// The error of the system or of the transport that ended it.
    pub(crate) fn end_error(&self) -> Option<&io::Error> {
        self.end.get()?.error.as_ref()
    }

    /// Hands what arrives to `receiver`, and writes queued frames to the peer, until the link ends. `buffer` holds what has
    /// arrived already. No task of it remains, whatever ends it.
    pub(crate) async fn run(
        self: &Arc<Self>,
        receiver: &mut impl Receiver,
        buffer: FrameBuffer,
    ) -> EndReason {
        if let Some(stream) = self.stream() {
            let (writer, its_stream) = (Arc::clone(self), Arc::clone(&stream));
            let writing = async move { writer.outbox.drain(&*its_stream, &writer.sent).await };
            let mut writer = AbortOnDropHandle::new(tokio::spawn(writing));
            tokio::select! {
                () = self.ended.cancelled() => {}
                ended = self.read(&*stream, receiver, buffer) => self.end_with(ended),
                broken = &mut writer => match broken {
                    Ok(error) => self.broke(EndReason::from_write(&error), error),
                    Err(panic) => {
                        error!("the task that writes to a connection has failed, so the connection ends: {panic}");
                        self.end(EndReason::Internal);
                    }
                },
            }
        }
        self.end_reason().unwrap_or(EndReason::Internal)
    }

    async fn read(
        &self,
        stream: &dyn Stream,
        receiver: &mut impl Receiver,
        mut buffer: FrameBuffer,
    ) -> LinkEnd {
        let received = Arc::clone(&lock(&self.input.counters));
        let content = self.outbox.content();
        let shapers = self.input.take().unwrap_or_default();
        let mut inbound = Inbound::new(shapers, content, &self.budget, received);
        let consumed = inbound.take(buffer.filled(), receiver);
        buffer.consume(consumed);
        let mut reader = LinkReader::default();
        let mut turns = ReadTurns::default();
        let mut unfinished = Unfinished::default();
        let ask = || self.send_extension(&Extension::Ping([0; 8]));
        loop {
            let arrived = tokio::select! {
                arrived = reader.next(stream, &mut buffer, receiver, &ask) => arrived,
                () = inbound.ready() => {
                    self.renew(&mut inbound);
                    inbound.release(receiver);
                    turns.after_read().await;
                    continue;
                }
            };
            self.renew(&mut inbound);
            match arrived {
                Ok(Arrived::Stream) => {
                    let consumed = inbound.take(buffer.filled(), receiver);
                    buffer.consume(consumed);
                    let asks = receiver.asks_after().is_some();
                    if unfinished.lasts_too_long(consumed > 0) && asks {
                        return LinkEnd {
                            reason: EndReason::PingTimeout,
                            error: Some(io::ErrorKind::TimedOut.into()),
                        };
                    }
                }
                Ok(Arrived::Datagrams(frames)) => {
                    inbound.take(frames, receiver);
                }
                Ok(Arrived::End) => return LinkEnd { reason: EndReason::PeerClosed, error: None },
                Err(error) => {
                    return LinkEnd { reason: EndReason::from_read(&error), error: Some(error) };
                }
            }
            turns.after_read().await;
        }
    }

    /// What is received keeps to other limits, if there are other ones.
    fn renew(&self, inbound: &mut Inbound) {
        if let Some(shapers) = self.input.take() {
            inbound.limit(shapers);
        }
    }

    /// From now on every frame is dropped and counted, also the queued ones, and the stream is released.
    pub(crate) fn close(&self) {
        self.outbox.close(&self.sent);
    }

    /// Closes the link; the future then closes the stream in order, if the peer can still receive that. Await it when nothing
    /// else needs the link; it takes at most [`FAREWELL`].
    pub(crate) fn farewell(&self) -> impl Future<Output = ()> + Send + 'static {
        let stream = self.stream().filter(|_| self.end_reason().is_some_and(EndReason::is_orderly));
        self.close();
        async move {
            if let Some(stream) = stream {
                // If the peer does not answer in time, the connection is closed abruptly.
                let _ = stream.close(FAREWELL).await;
            }
        }
    }
}

impl LinkInput {
    fn new(counters: Arc<Counters>) -> Self {
        let (next, is_next) = (Mutex::default(), AtomicBool::new(false));
        Self { next, is_next, counters: Mutex::new(counters) }
    }

    fn change(&self, shapers: ShaperSet) {
        let mut next = lock(&self.next);
        *next = Some(shapers);
        self.is_next.store(true, Ordering::Relaxed);
    }

    /// One relaxed load, unless the limits have changed.
    fn take(&self) -> Option<ShaperSet> {
        if !self.is_next.load(Ordering::Relaxed) {
            return None;
        }
        let mut next = lock(&self.next);
        self.is_next.store(false, Ordering::Relaxed);
        next.take()
    }
}

/// What a poisoned lock guards is whole: it is only replaced.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}
