//! Waiting for a stream: the memory of a busy one is given back once it is quiet, one that stays silent is given up, and
//! one that always has more does not keep others waiting.

use std::{
    future::{pending, poll_fn},
    io,
    task::Poll,
    time::Duration,
};

use rtun_net::transport::Stream;
use rtun_proto::frame::{FrameBuffer, LEN_PREFIX, length_prefix};
use tokio::time::{Instant, timeout, timeout_at};

/// A stream that has been quiet this long no longer needs a large buffer. Giving it back at every pause would make the
/// next burst begin with small reads.
const QUIET: Duration = Duration::from_secs(1);

/// Of two rtun ends the host asks whether the hub is still there after this much silence, and again.
pub(crate) const HOST_ASKS_EVERY: Duration = Duration::from_secs(2);

/// The hub asks later, so that of two quiet ends only the host does: a host that is sent to all the time has no silence
/// to break and may have nothing to send.
pub(crate) const HUB_ASKS_EVERY: Duration = Duration::from_secs(4);

/// Either of two rtun ends gives the other up after this much silence.
const DEAD_AFTER: Duration = Duration::from_secs(6);

/// Reads of one stream, or rounds of one device, before the thread's other tasks get their turn: at most 1 MiB.
const READS_PER_TURN: u32 = 4;

/// Gives others their turn. A stream that always has more to read never waits, and what never waits is never
/// interrupted: without this it would have its thread for itself.
#[derive(Default)]
pub(crate) struct Turns {
    reads: u32,
}

impl Turns {
    /// To be awaited after every read.
    pub(crate) async fn after_read(&mut self) {
        self.reads += 1;
        if self.reads == READS_PER_TURN {
            self.reads = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// Bytes of datagrams that are taken at once, and one more datagram.
const DATAGRAMS: usize = 64 * 1024;

/// Datagrams that come beside a stream, as frames.
#[derive(Default)]
pub(crate) struct Beside {
    frames: Vec<u8>,
}

impl Beside {
    /// Waits for datagrams and takes those there are, each as a frame, back to back. Never ready where there are none.
    /// Loses nothing when dropped.
    pub(crate) async fn recv(&mut self, stream: &dyn Stream) -> io::Result<&[u8]> {
        let Some(datagrams) = stream.datagrams() else { return pending().await };
        let frames = &mut self.frames;
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
        .await?;
        Ok(&self.frames)
    }
}

/// What silence means.
pub(crate) enum Silence<'a> {
    /// Nothing: the peer is not known to break it.
    Normal,
    /// This end asks after so long, and again, by calling this.
    Broken(Duration, &'a (dyn Fn() + Sync)),
}

/// Waits until the stream is worth reading; shrinks `buffer`, and calls `quiet`, if that takes long.
/// [`io::ErrorKind::TimedOut`] without a code of the system: nothing came for longer than `silence` allows.
pub(crate) async fn readable(
    stream: &dyn Stream,
    buffer: &mut FrameBuffer,
    silence: Silence<'_>,
    quiet: impl FnOnce(),
) -> io::Result<()> {
    if let Ok(ready) = timeout(QUIET, stream.readable()).await {
        return ready;
    }
    buffer.shrink();
    quiet();
    let begin = Instant::now() - QUIET;
    let dead = begin + DEAD_AFTER;
    let Silence::Broken(every, ask) = silence else { return stream.readable().await };
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
