//! The task of a session: reads what nobody else reads, writes what nobody else writes, keeps it alive, and ends it.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use rtun_settings::MuxSettings;
use tokio::time::{Instant, sleep_until};

use super::{
    MuxError,
    shared::{MuxShared, ReadOutcome},
};

/// The shortest time between two looks at the clock, so that none of zero makes the task spin.
const SHORTEST: Duration = Duration::from_millis(1);

/// The longest time a clock is asked for; a year is never.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// A session that is driven; ends it when dropped.
struct Driven(Arc<MuxShared>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Runs a session until it is over or is to end in order, and ends it.
pub(super) async fn drive(shared: Arc<MuxShared>) {
    let Driven(shared) = &Driven(shared);
    run(shared).await;
    if shared.state().end().is_some() {
        return shared.say_farewell();
    }
    tokio::select! {
        _ = poll_fn(|cx| shared.poll_end(cx)) => {}
        // A task that waits for the end limits its wait itself.
        () = shared.is_over() => {}
    }
}

async fn run(shared: &MuxShared) {
    let keeps_alive = shared.settings.keepalive.is_some();
    let mut clock = Clock::new(&shared.settings);
    let mut timer = pin!(sleep_until(clock.next()));
    loop {
        shared.flush_by_driver();
        let reads = {
            let state = shared.state();
            if state.end().is_some() || state.ends_in_order() {
                return;
            }
            !state.is_paused()
        };
        tokio::select! {
            ready = poll_fn(|cx| shared.poll_carrier_readable(cx)), if reads => match ready {
                Ok(()) => {
                    if shared.receive() == ReadOutcome::Some {
                        // The task that reads the stream these are for may go on with the stream below itself.
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
    fn new(settings: &MuxSettings) -> Self {
        let interval = settings.keepalive.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST);
        let timeout = settings.keepalive_timeout.clamp(SHORTEST, LONGEST);
        let now = Instant::now();
        Self { interval, timeout, tell: now + interval, expect: now + timeout }
    }

    fn next(&self) -> Instant {
        self.tell.min(self.expect)
    }

    fn ring(&mut self, shared: &MuxShared) {
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
