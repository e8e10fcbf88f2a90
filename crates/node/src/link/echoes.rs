//! Echoes of a link that wait for the peer's answer.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rtun_core::EchoLimit;
use rtun_proto::extension::{Echo, EchoOutcome, EchoReply, Extension};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::Link;

/// Echoes that wait at a time; further ones are refused.
const WAITING: usize = 64;

/// The bit of a stamp that no window stamp has, nor one that only asks whether the peer is alive: echoes have it.
const ECHO_STAMP: u64 = 1 << 63;

/// How long a peer may take to answer.
pub(crate) const ECHO_PATIENCE: Duration = Duration::from_secs(1);

/// Those that wait, in no order, and how many may be sent.
#[derive(Default)]
pub(super) struct LinkEchoes(Mutex<EchoesState>);

#[derive(Default)]
struct EchoesState {
    waiting: Vec<WaitingEcho>,
    limit: EchoLimit,
}

struct WaitingEcho {
    stamp: [u8; 8],
    answer: oneshot::Sender<Arrival>,
}

/// When an answer came, and which; no reply: a pong.
type Arrival = (Instant, Option<EchoReply>);

/// What is sent to measure a leg of the path.
pub(crate) enum EchoQuestion {
    /// A ping, which every rtun end answers.
    Ping,
    /// An echo of this length.
    Echo {
        /// Empty: the peer itself is asked. Else the host of this name, through the peer.
        host: String,
        /// Of the frame's payload, in bytes.
        length: u16,
    },
}

/// What came back.
pub(crate) struct ReturnedEcho {
    pub(crate) round_trip: Duration,
    /// `None`: a pong.
    pub(crate) reply: Option<EchoReply>,
}

/// Why nothing came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoEcho {
    /// There is no answer in time.
    Lost,
    /// It was not sent: too many are, or wait.
    Busy,
}

/// A place among those that wait; dropping it gives it back.
struct EchoPlace<'a> {
    echoes: &'a LinkEchoes,
    stamp: [u8; 8],
}

impl Drop for EchoPlace<'_> {
    fn drop(&mut self) {
        self.echoes.state().waiting.retain(|waiting| waiting.stamp != self.stamp);
    }
}

impl LinkEchoes {
    fn wait(&self) -> Result<(EchoPlace<'_>, oneshot::Receiver<Arrival>), NoEcho> {
        let mut state = self.state();
        if state.waiting.len() >= WAITING || !state.limit.admits(Instant::now().into_std()) {
            return Err(NoEcho::Busy);
        }
        let (answer, answered) = oneshot::channel();
        let stamp = (fastrand::u64(..) | ECHO_STAMP).to_be_bytes();
        state.waiting.push(WaitingEcho { stamp, answer });
        Ok((EchoPlace { echoes: self, stamp }, answered))
    }

    /// An answer that nobody waits for changes nothing.
    pub(super) fn answered(&self, stamp: [u8; 8], reply: Option<EchoReply>) {
        let mut state = self.state();
        let found = state.waiting.iter().position(|waiting| waiting.stamp == stamp);
        if let Some(found) = found {
            // The task that asked may have ended.
            let _ = state.waiting.swap_remove(found).answer.send((Instant::now(), reply));
        }
    }

    /// The state of a poisoned lock is consistent: no critical section panics in the middle of a change.
    fn state(&self) -> MutexGuard<'_, EchoesState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a pong with this stamp answers a question of this file, and not a window stamp.
pub(super) fn is_of_echo(stamp: [u8; 8]) -> bool {
    u64::from_be_bytes(stamp) & ECHO_STAMP != 0
}

impl Link {
    /// Asks the peer, and waits for its answer for this long at most. Only for a peer that speaks the extension; an echo only
    /// for one that takes echoes.
    pub(crate) async fn echo(
        &self,
        question: EchoQuestion,
        within: Duration,
    ) -> Result<ReturnedEcho, NoEcho> {
        let (place, answered) = self.echoes.wait()?;
        let stamp = place.stamp;
        let sent = Instant::now();
        self.send_extension(&match question {
            EchoQuestion::Ping => Extension::Ping(stamp),
            EchoQuestion::Echo { host, length } => Extension::Echo(Echo { stamp, host, length }),
        });
        match timeout(within, answered).await {
            Ok(Ok((arrived, reply))) => {
                Ok(ReturnedEcho { round_trip: arrived.saturating_duration_since(sent), reply })
            }
            _ => Err(NoEcho::Lost),
        }
    }

    /// The longest packet that goes to the peer as a datagram now, in bytes; 0: none does.
    pub(crate) fn longest_datagram(&self) -> u16 {
        let longest = match self.uses_datagrams() {
            true => self.stream().and_then(|stream| stream.datagrams()?.max_len()),
            false => None,
        };
        longest.map_or(0, |longest| u16::try_from(longest).unwrap_or(u16::MAX))
    }

    /// Answers an echo that asks this end.
    pub(super) fn answer_echo(&self, echo: &Echo) {
        self.reply_to_echo(&EchoReply {
            stamp: echo.stamp,
            outcome: EchoOutcome::Answered,
            round_trip: Duration::ZERO,
            mtu: 0,
            datagram: self.longest_datagram(),
            length: echo.length,
        });
    }

    /// Sends a reply, if control frames leave room for it: else it is lost.
    pub(crate) fn reply_to_echo(&self, reply: &EchoReply) {
        let mut frame = Vec::new();
        if Extension::EchoReply(reply.clone()).write_frame(&mut frame).is_ok() {
            self.send_answer(&frame);
        }
    }
}
