//! A connection between a host and its hub once the host is admitted, from either end: reading, writing, and how it ends.
//!
//! [`Link::run`] carries a link until something ends it; what is read goes to a [`Receiver`]. Nothing that is started here
//! outlives that call, and a link that is dropped is closed.

mod end;
mod inbound;
mod message;
mod outbox;
mod reading;

use std::{
    io, mem,
    ops::Range,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use rtun_core::limit::ShaperSet;
use rtun_proto::{
    extension::{Extension, pong_frame},
    frame::FrameBuffer,
};
use rtun_transport::Stream;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::error;

pub(crate) use self::{
    end::EndReason,
    message::{MessageError, read_message},
    reading::ReadTurns,
};
use self::{
    end::LinkEnd,
    inbound::Inbound,
    outbox::Outbox,
    reading::{Arrived, LinkReader, Unfinished},
};
use crate::{counters::Counters, runtime::budget::Budget};

/// How long a link that ends in order may take for what its transport has to say.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

/// One end of a connection. Any number of tasks may send; one task runs it.
pub(crate) struct Link {
    outbox: Outbox,
    /// The limits of what is received, until [`Link::run`] takes them.
    input: Mutex<ShaperSet>,
    budget: Arc<Budget>,
    /// What goes to the peer, or is lost on the way, is counted here.
    sent: Arc<Counters>,
    end: OnceLock<LinkEnd>,
    ended: CancellationToken,
}

/// What a link's frames are for.
pub(crate) trait Receiver {
    /// Takes the whole frames at the beginning of `bytes`; returns how many bytes they were.
    fn take(&mut self, bytes: &[u8]) -> usize;

    /// The link is quiet: what only a busy one needs may go.
    fn rest(&mut self) {}

    /// The silence after which the peer is asked whether it is there; `None` while it is not known to answer.
    fn asks_after(&self) -> Option<Duration>;
}

impl Link {
    /// Holds back what is sent until [`Link::open`]. What waits counts against `budget`.
    pub(crate) fn new(stream: Arc<dyn Stream>, budget: &Arc<Budget>, sent: Arc<Counters>) -> Self {
        Self {
            outbox: Outbox::new(stream, budget),
            input: Mutex::default(),
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

    /// What is received, and from now on what is sent, keeps to these limits. To be called before [`Link::run`].
    pub(crate) fn limit(&self, input: ShaperSet, output: ShaperSet) {
        *self.input.lock().unwrap_or_else(PoisonError::into_inner) = input;
        self.outbox.limit(output);
    }

    /// Its stream, until it is closed.
    pub(crate) fn stream(&self) -> Option<Arc<dyn Stream>> {
        self.outbox.stream()
    }

    /// Hands over the whole frames of packets at these places of `bytes`; never waits for the peer. `sender`: any number
    /// that tells who sent them from others, for each to have a share of what waits.
    pub(crate) fn send(&self, sender: u64, bytes: &[u8], places: &[Range<usize>]) {
        if let Err(error) = self.outbox.send(sender, bytes, places, &self.sent) {
            self.broke(EndReason::from_write(&error), error);
        }
    }

    /// Sends a frame of the extension, before the packets that wait. Only to a peer that speaks it.
    pub(crate) fn send_extension(&self, frame: &Extension<'_>) {
        let mut bytes = Vec::new();
        frame.write_frame(&mut bytes).expect("frames of this program keep to the limits");
        self.send_frame(&bytes);
    }

    /// Sends a frame with a packet that is made here, before the packets that wait; false where it is not sent.
    pub(crate) fn send_answer(&self, frame: &[u8]) -> bool {
        self.outbox.send_answer(frame).unwrap_or_else(|error| {
            self.broke(EndReason::from_write(&error), error);
            false
        })
    }

    /// The same as [`Link::send_extension`], encoded already.
    fn send_frame(&self, frame: &[u8]) {
        if let Err(error) = self.outbox.send_control(frame) {
            self.broke(EndReason::from_write(&error), error);
        }
    }

    /// Takes what both ends take alike; hands anything else back.
    pub(crate) fn take<'a>(&self, frame: Extension<'a>) -> Option<Extension<'a>> {
        match frame {
            Extension::Ping(stamp) => self.send_frame(&pong_frame(stamp)),
            Extension::Pong(stamp) => self.outbox.answered(stamp),
            other => return Some(other),
        }
        None
    }

    /// The peer speaks the extension. From now on packets go as datagrams where they fit, if both want that and the
    /// transport has any; else the stream is marked to learn how much is on its way.
    pub(crate) fn greeted(&self, datagrams: bool) {
        match datagrams && self.has_datagrams() {
            true => self.outbox.begin_datagrams(),
            false => self.outbox.begin_marks(),
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

    /// Packets and bytes that wait for the peer.
    pub(crate) fn queued(&self) -> (u64, usize) {
        self.outbox.queued()
    }

    /// Ends it; the first reason counts.
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

    /// Why it has ended or has to end; `None` while it lives.
    pub(crate) fn end_reason(&self) -> Option<EndReason> {
        self.end.get().map(|end| end.reason)
    }

    /// What the system or a layer said when it ended.
    pub(crate) fn end_error(&self) -> Option<&io::Error> {
        self.end.get()?.error.as_ref()
    }

    /// Moves what arrives to `receiver`, and what waits to the peer, until the link ends. `buffer` holds what has arrived
    /// already. Whatever ends this, nothing of it runs on.
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
                        error!("the task that writes to a connection has failed: {panic}");
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
        let shapers = mem::take(&mut *self.input.lock().unwrap_or_else(PoisonError::into_inner));
        let mut inbound = Inbound::new(shapers, &self.budget, Arc::clone(&self.sent));
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
                    inbound.release(receiver);
                    turns.after_read().await;
                    continue;
                }
            };
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

    /// From now on every frame is dropped and counted, those that wait included, and the stream is let go.
    pub(crate) fn close(&self) {
        self.outbox.close(&self.sent);
    }

    /// Closes it, and what ends the stream as its transport's standard says, where somebody can still hear that. To be
    /// awaited once nothing else needs the link; takes at most a second.
    pub(crate) fn farewell(&self) -> impl Future<Output = ()> + Send + 'static {
        let stream = self.stream().filter(|_| self.end_reason().is_some_and(EndReason::is_orderly));
        self.close();
        async move {
            if let Some(stream) = stream {
                // A peer that does not let it end in order gets an abrupt end.
                let _ = stream.close(FAREWELL).await;
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}
