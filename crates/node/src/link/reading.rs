//! Waiting for a stream: the memory of a busy one is given back once it is quiet, one that stays silent is given up, and
//! one that always has more does not keep others waiting.

use std::{future::poll_fn, io, task::Poll, time::Duration};

use rtun_proto::frame::{FrameBuffer, LEN_PREFIX, length_prefix};
use rtun_transport::{Datagrams, Stream};
use tokio::time::{Instant, timeout, timeout_at};

use super::Receiver;

/// A stream that has been quiet this long no longer needs a large buffer. Giving it back at every pause would make the
/// next burst begin with small reads.
const QUIET: Duration = Duration::from_secs(1);

/// Either of two rtun ends gives the other up after this much silence.
const DEAD_AFTER: Duration = Duration::from_secs(6);

/// Reads of one stream, or rounds of one device, before the thread's other tasks get their turn: at most 1 MiB.
const READS_PER_TURN: u32 = 4;

/// Gives others their turn. A stream that always has more to read never waits, and what never waits is never
/// interrupted: without this it would have its thread for itself.
#[derive(Default)]
pub(crate) struct ReadTurns {
    reads: u32,
}

impl ReadTurns {
    /// To be awaited after every read.
    pub(crate) async fn after_read(&mut self) {
        self.reads += 1;
        if self.reads == READS_PER_TURN {
            self.reads = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// For how long bytes arrive that make no whole frame. They are no sign of life: where a stream's bytes are not those that
/// were sent, and nothing below finds that out, what is taken for a length may be any.
#[derive(Default)]
pub(super) struct Unfinished {
    since: Option<Instant>,
}

impl Unfinished {
    /// To be called after every read, with whether it made a frame whole. Whether a peer that is there would have.
    pub(super) fn lasts_too_long(&mut self, whole: bool) -> bool {
        if whole {
            self.since = None;
            return false;
        }
        self.since.get_or_insert_with(Instant::now).elapsed() > DEAD_AFTER
    }
}

/// Bytes of datagrams that are taken at once, and one more datagram.
const DATAGRAMS: usize = 64 * 1024;

/// Reads a connection: its stream, and its datagrams where it has any.
#[derive(Default)]
pub(super) struct LinkReader {
    /// Datagrams as frames.
    frames: Vec<u8>,
}

/// What has been read.
pub(super) enum Arrived<'a> {
    /// Bytes of the stream, now in the buffer.
    Stream,
    /// Datagrams, each as a frame, back to back.
    Datagrams(&'a [u8]),
    /// The peer has ended its direction.
    End,
}

impl LinkReader {
    /// Waits for something to read and reads it. `ask` asks the peer for a sign of life. Neither the stream nor the
    /// datagrams can keep the other waiting. Loses nothing when dropped.
    pub(super) async fn next(
        &mut self,
        stream: &dyn Stream,
        buffer: &mut FrameBuffer,
        receiver: &mut impl Receiver,
        ask: &(dyn Fn() + Sync),
    ) -> io::Result<Arrived<'_>> {
        loop {
            match stream.datagrams() {
                None => readable(stream, buffer, receiver, ask).await?,
                Some(datagrams) => tokio::select! {
                    ready = readable(stream, buffer, receiver, ask) => ready?,
                    received = receive(datagrams, &mut self.frames) => {
                        return received.map(|()| Arrived::Datagrams(&self.frames));
                    }
                },
            }
            match stream.try_read(buffer.space()) {
                Ok(0) => return Ok(Arrived::End),
                Ok(n) => {
                    buffer.advance(n);
                    return Ok(Arrived::Stream);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Waits for datagrams and takes those there are, each as a frame, back to back.
async fn receive(datagrams: &dyn Datagrams, frames: &mut Vec<u8>) -> io::Result<()> {
    if frames.len() < frames.capacity() / 4 {
        frames.shrink_to(frames.len() * 2);
    }
    frames.clear();
    poll_fn(|cx| {
        while frames.len() < DATAGRAMS {
            let start = frames.len();
            frames.extend_from_slice(&[0; LEN_PREFIX]);
            match datagrams.poll_recv(cx, frames) {
                Poll::Ready(Ok(length)) => {
                    let prefix = length_prefix(length).map_err(io::Error::other)?;
                    frames[start..start + LEN_PREFIX].copy_from_slice(&prefix);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    frames.truncate(start);
                    break;
                }
            }
        }
        if frames.is_empty() { Poll::Pending } else { Poll::Ready(Ok(())) }
    })
    .await
}

/// Waits until the stream is worth reading; shrinks `buffer`, and lets `receiver` rest, if that takes long.
/// [`io::ErrorKind::TimedOut`] without a code of the system: a peer that was asked for a sign of life gave none.
async fn readable(
    stream: &dyn Stream,
    buffer: &mut FrameBuffer,
    receiver: &mut impl Receiver,
    ask: &(dyn Fn() + Sync),
) -> io::Result<()> {
    if let Ok(ready) = timeout(QUIET, stream.readable()).await {
        return ready;
    }
    buffer.shrink();
    receiver.rest();
    let begin = Instant::now() - QUIET;
    let dead = begin + DEAD_AFTER;
    let Some(every) = receiver.asks_after() else { return stream.readable().await };
    let mut next = begin + every;
    loop {
        let until = next.min(dead);
        if let Ok(ready) = timeout_at(until, stream.readable()).await {
            return ready;
        }
        if until == dead {
            return Err(io::ErrorKind::TimedOut.into());
        }
        ask();
        next += every;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_never_becomes_whole_is_no_sign_of_life() {
        let mut unfinished = Unfinished::default();
        for _ in 0..10 {
            assert!(!unfinished.lasts_too_long(false));
            tokio::time::advance(DEAD_AFTER / 2).await;
            assert!(!unfinished.lasts_too_long(true), "one that is slow is");
        }
        assert!(!unfinished.lasts_too_long(false));
        tokio::time::advance(DEAD_AFTER).await;
        assert!(!unfinished.lasts_too_long(false));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(unfinished.lasts_too_long(false));
    }
}
