//! The task that informs one observer about one service, or about the hosts of one hub.

use std::{pin::pin, sync::Arc, time::Duration};

use rtun_control::ObserverCalls;
use rtun_settings::Observing;
use tokio::{
    runtime::Handle,
    time::{Instant, MissedTickBehavior, interval, interval_at, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Observed;
use crate::runtime::{duties::Duty, machine::Machine};

/// How often it is looked whether the service fails.
const LOOK: Duration = Duration::from_secs(1);

/// What was not taken is sent again after this time, or with the next report.
const AGAIN: Duration = Duration::from_secs(5);

/// How long the observer is informed at the end of what is left.
const FAREWELL: Duration = Duration::from_secs(1);

/// A task that reports; dropping it ends the task.
pub(super) struct Reporter {
    stop: CancellationToken,
    duty: Duty,
}

struct Reporting {
    observed: Arc<Observed>,
    calls: Arc<ObserverCalls>,
    period: Duration,
    /// Whether counts are reported.
    stats: bool,
    stop: CancellationToken,
}

impl Reporter {
    /// Reports from now on, on the runtime that this is called on.
    pub(super) fn start(
        observing: &Observing,
        observed: Arc<Observed>,
        calls: &Arc<ObserverCalls>,
        machine: &Machine,
    ) -> Self {
        let stop = CancellationToken::new();
        let name =
            format!("{}: informing the observer {}", observed.service(), observing.observer.name);
        let reporting = Arc::new(Reporting {
            observed,
            calls: Arc::clone(calls),
            period: observing.period,
            stats: observing.stats,
            stop: stop.clone(),
        });
        let duty =
            machine.duties.keep(&Handle::current(), name, move || Arc::clone(&reporting).run());
        Self { stop, duty }
    }

    /// Informs the observer of what is left, for a second at most, then ends.
    pub(super) async fn end(self) {
        self.stop.cancel();
        self.duty.end().await;
    }
}

impl Reporting {
    async fn run(self: Arc<Self>) {
        let Self { observed, period, stop, .. } = &*self;
        let mut reports = interval_at(Instant::now() + *period, *period);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut again = None;
        loop {
            let retry = async {
                match again {
                    Some(when) => sleep_until(when).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = observed.news.notified() => {}
                () = retry => {}
                _ = looks.tick() => {
                    observed.look();
                    continue;
                }
                _ = reports.tick() => self.begin_report(),
            }
            let mut sending = pin!(self.send());
            let all_sent = tokio::select! {
                all_sent = &mut sending => all_sent,
                () = stop.cancelled() => {
                    let end = Instant::now() + FAREWELL;
                    let sent = timeout_at(end, sending).await.unwrap_or(false);
                    return self.part(sent, end).await;
                }
            };
            again = (!all_sent).then(|| Instant::now() + AGAIN.min(*period));
        }
        self.part(true, Instant::now() + FAREWELL).await;
    }

    /// Sends what is left. After a failure nothing more is tried.
    async fn part(&self, can_be_reached: bool, end: Instant) {
        self.begin_report();
        let sent = can_be_reached && timeout_at(end, self.send()).await.unwrap_or(false);
        if !sent && !self.observed.due().is_empty() {
            warn!(
                service = self.observed.service(),
                "the observer has not taken the last events before the end"
            );
        }
    }

    fn begin_report(&self) {
        if self.stats {
            self.observed.read_counts();
            self.observed.ledger().begin();
        }
    }

    /// Sends all that is due; whether all of it was taken.
    async fn send(&self) -> bool {
        loop {
            let events = self.observed.due();
            if events.is_empty() {
                return true;
            }
            if !self.calls.observe(&events).await {
                return false;
            }
            self.observed.taken();
        }
    }
}
