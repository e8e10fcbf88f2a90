//! The task of a session: reads what nobody else reads, writes what nobody else writes, keeps it alive, and ends it.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use tokio::time::{Instant, sleep_until, timeout};

use super::{
    MuxError, Settings,
    shared::{Received, Shared},
};

/// How long the end of a session waits for the carrier to take what is left.
const LINGER: Duration = Duration::from_secs(5);

/// The shortest time between two looks at the clock, so that none of zero makes the task spin.
const SHORTEST: Duration = Duration::from_millis(1);

/// The longest time a clock is asked for; a year is never.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// Runs a session until it is over or nobody holds it.
pub(super) async fn drive(shared: Arc<Shared>) {
    run(&shared).await;
    // What cannot be ended properly is ended by being dropped.
    let _ = timeout(LINGER, poll_fn(|cx| shared.poll_end(cx))).await;
}

async fn run(shared: &Shared) {
    let keeps_alive = shared.settings.keepalive.is_some();
    let mut clock = Clock::new(&shared.settings);
    let mut timer = pin!(sleep_until(clock.next()));
    loop {
        shared.flush_by_driver();
        let reads = {
            let state = shared.state();
            if state.end().is_some() || state.is_abandoned() {
                return;
            }
            !state.is_paused()
        };
        tokio::select! {
            ready = poll_fn(|cx| shared.poll_carrier_readable(cx)), if reads => match ready {
                Ok(()) => {
                    if shared.receive() == Received::Some {
                        // Whoever reads the stream these are for may go on with the carrier itself.
                        give_way().await;
                    }
                }
                Err(error) => shared.fail(error.into()),
            },
            () = shared.driver.notified() => {}
            () = &mut timer, if keeps_alive => {
                clock.ring(shared);
                timer.as_mut().reset(clock.next());
            }
        }
    }
}

/// Lets other tasks run once.
async fn give_way() {
    let mut given = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// When to tell the other side that this one is there, and when to give it up.
struct Clock {
    interval: Duration,
    timeout: Duration,
    tell: Instant,
    expect: Instant,
}

impl Clock {
    fn new(settings: &Settings) -> Self {
        let interval = settings.keepalive.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST);
        let timeout = settings.keepalive_timeout.clamp(SHORTEST, LONGEST);
        let now = Instant::now();
        Self { interval, timeout, tell: now + interval, expect: now + timeout }
    }

    fn next(&self) -> Instant {
        self.tell.min(self.expect)
    }

    fn ring(&mut self, shared: &Shared) {
        let now = Instant::now();
        let mut state = shared.state();
        if now >= self.tell {
            state.keep_alive();
            self.tell = now + self.interval;
        }
        if state.is_paused() {
            // Nothing is heard while nothing is read.
            state.heard = now;
        }
        self.expect = state.heard + self.timeout;
        if now >= self.expect {
            state.fail(MuxError::Silent(self.timeout));
        }
    }
}
