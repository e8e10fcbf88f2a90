//! Reading a stream: a quiet one gives its memory back, one that stays silent is given up, and one that always has more to
//! read does not delay other tasks.

use std::{future::poll_fn, io, task::Poll, time::Duration};

use rtun_proto::frame::{FrameBuffer, LEN_PREFIX, length_prefix};
use rtun_transport::{Datagrams, Stream};
use tokio::time::{Instant, timeout, timeout_at};

use super::Receiver;

/// A stream that has been quiet for this long gives its large buffer back. Giving it back at every pause would make each
/// burst begin with small reads.
const QUIET: Duration = Duration::from_secs(1);

/// Between two rtun ends, a peer that is silent for this long is given up.
const DEAD_AFTER: Duration = Duration::from_secs(6);

/// Reads of one stream, or rounds of one device, before other tasks of the thread run: at most 1 MiB.
const READS_PER_TURN: u32 = 4;

/// Lets other tasks of the thread run. A stream that always has more to read never waits, and the runtime switches tasks only
/// where one waits.
#[derive(Default)]
pub(crate) struct ReadTurns {
    reads: u32,
}

impl ReadTurns {
    /// Await this after every read.
    pub(crate) async fn after_read(&mut self) {
        self.reads += 1;
        if self.reads == READS_PER_TURN {
            self.reads = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// For how long bytes have arrived that complete no frame. Such bytes are no sign of life: if the stream is corrupted and the
/// layers below do not notice, any bytes may be taken for a length.
#[derive(Default)]
pub(super) struct Unfinished {
    since: Option<Instant>,
}

impl Unfinished {
    /// Call this after every read, with whether it completed a frame. True: a peer that works would have completed one.
    pub(super) fn lasts_too_long(&mut self, whole: bool) -> bool {
        if whole {
            self.since = None;
            return false;
        }
        self.since.get_or_insert_with(Instant::now).elapsed() > DEAD_AFTER
    }
}

/// Datagrams are taken at once until they are this many bytes.
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
    /// datagrams can delay the other. Cancel safe.
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

/// Waits for datagrams and takes those that have arrived, each as a frame, back to back.
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

/// Waits until the stream is readable; if that takes long, shrinks `buffer` and lets `receiver` rest.
/// [`io::ErrorKind::TimedOut`] without a system error code: the peer was asked for a sign of life and gave none.
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
