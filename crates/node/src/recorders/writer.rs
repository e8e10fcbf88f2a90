//! The task that writes what waits for one recorder.

use std::{pin::pin, sync::Arc, time::Duration};

use rtun_control::RecorderCalls;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::queue::RecordQueue;
use crate::runtime::{duties::Duty, machine::Machine};

/// A record that was not taken is sent again after this time.
const AGAIN: Duration = Duration::from_secs(1);

/// How often it is said that records are dropped.
const SAYING: Duration = Duration::from_secs(10);

/// How long the recorder is given at the end what is left.
const FAREWELL: Duration = Duration::from_secs(1);

/// A task that writes; dropping it ends the task.
pub(super) struct Writer {
    stop: CancellationToken,
    duty: Duty,
}

struct RecordWriting {
    calls: Arc<RecorderCalls>,
    queue: Arc<RecordQueue>,
    stop: CancellationToken,
}

impl Writer {
    /// Writes from now on, on the runtime that this is called on.
    pub(super) fn start(
        calls: Arc<RecorderCalls>,
        queue: Arc<RecordQueue>,
        machine: &Machine,
    ) -> Self {
        let stop = CancellationToken::new();
        let name = format!("writing to the recorder {}", calls.name());
        let writing = Arc::new(RecordWriting { calls, queue, stop: stop.clone() });
        let duty =
            machine.duties.keep(&Handle::current(), name, move || Arc::clone(&writing).run());
        Self { stop, duty }
    }

    /// Writes what is left, for a second at most, then ends.
    pub(super) async fn end(self) {
        self.stop.cancel();
        self.duty.end().await;
    }
}

impl RecordWriting {
    async fn run(self: Arc<Self>) {
        let Self { calls, queue, stop } = &*self;
        let mut said: Option<Instant> = None;
        while let Some(record) = stop.run_until_cancelled(queue.first()).await {
            let mut writing = pin!(calls.record(&record));
            let is_written = tokio::select! {
                is_written = &mut writing => is_written,
                () = stop.cancelled() => {
                    let end = Instant::now() + FAREWELL;
                    let is_written = timeout_at(end, writing).await.unwrap_or(false);
                    if is_written {
                        queue.written();
                    }
                    return self.part(is_written, end).await;
                }
            };
            if is_written {
                queue.written();
            }
            if said.is_none_or(|said| said.elapsed() >= SAYING) && self.say_dropped() {
                said = Some(Instant::now());
            }
            if !is_written && stop.run_until_cancelled(sleep(AGAIN)).await.is_none() {
                break;
            }
        }
        self.part(true, Instant::now() + FAREWELL).await;
    }

    /// Writes what is left. After a failure nothing more is tried.
    async fn part(&self, can_be_reached: bool, end: Instant) {
        while can_be_reached && let Some(record) = self.queue.first_now() {
            if !timeout_at(end, self.calls.record(&record)).await.unwrap_or(false) {
                break;
            }
            self.queue.written();
        }
        self.queue.give_up();
        self.say_dropped();
    }

    /// Says how many records were dropped; whether there were any.
    fn say_dropped(&self) -> bool {
        let records = self.queue.newly_dropped();
        if records > 0 {
            let name = self.calls.name();
            warn!(name, records, "records are lost: their recorder has not taken them");
        }
        records > 0
    }
}
