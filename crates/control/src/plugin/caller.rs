//! One plugin as it is called: each call has a deadline, and repeated failures pause the calls.

use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::warn;

use super::{
    PluginError,
    breaker::Breaker,
    status::{PluginKind, PluginStatus},
};

/// Calls one plugin, counts the outcomes, and writes a log line when the plugin starts to fail.
pub(crate) struct PluginCaller {
    kind: PluginKind,
    /// As configured.
    name: String,
    /// Without secrets.
    address: String,
    limits: CallLimits,
    breaker: Mutex<Breaker>,
}

/// Bounds of the calls to one plugin.
pub(crate) struct CallLimits {
    /// For one call.
    pub(crate) deadline: Duration,
    /// After this many failures in a row no call is made for [`CallLimits::pause`].
    pub(crate) failures: u32,
    /// See [`CallLimits::failures`].
    pub(crate) pause: Duration,
    /// Whether a refusal by status counts as a failure too ([`PluginError::is_outage`]).
    pub(crate) refusals_count: bool,
}

/// Why a call gave no answer.
pub(crate) enum CallError {
    /// The plugin is paused: the call was not made.
    Paused,
    /// The call was made.
    Failed(PluginError),
}

impl PluginCaller {
    pub(crate) fn new(kind: PluginKind, name: String, address: String, limits: CallLimits) -> Self {
        let breaker = Mutex::new(Breaker::new(limits.failures, limits.pause));
        Self { kind, name, address, limits, breaker }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether a call that is queued now is likely to be refused.
    pub(crate) fn is_paused(&self) -> bool {
        self.breaker().is_paused(Instant::now())
    }

    /// Makes one call, unless the plugin is paused. `destination` is for the log line only.
    pub(crate) async fn call<A>(
        &self,
        destination: Option<IpAddr>,
        call: impl Future<Output = Result<A, PluginError>>,
    ) -> Result<A, CallError> {
        if !self.breaker().may_ask(Instant::now()) {
            return Err(CallError::Paused);
        }
        let answer = tokio::time::timeout(self.limits.deadline, call).await;
        match answer.unwrap_or(Err(PluginError::Timeout)) {
            Ok(answer) => {
                self.breaker().succeeded(Instant::now());
                Ok(answer)
            }
            Err(error) => {
                self.failed(destination, &error);
                Err(CallError::Failed(error))
            }
        }
    }

    /// The state of the plugin, with the counts of its user.
    pub(crate) fn status(&self, waiting: usize, cached: usize) -> PluginStatus {
        self.breaker().status(self.kind, &self.name, &self.address, waiting, cached)
    }

    fn failed(&self, destination: Option<IpAddr>, error: &PluginError) {
        let now = Instant::now();
        let mut breaker = self.breaker();
        let worth_a_line = if self.limits.refusals_count || error.is_outage() {
            breaker.failed(error, now)
        } else {
            breaker.declined(error, now)
        };
        let failures_in_a_row = breaker.failures_in_a_row();
        drop(breaker);
        if worth_a_line {
            let destination = destination.map(tracing::field::display);
            let what = if self.kind == PluginKind::Recorder { "recorder" } else { "plugin" };
            warn!(kind = ?self.kind, name = self.name, destination, failures_in_a_row, "{what}: {error}");
        }
    }

    /// A poisoned lock still guards whole values: every critical section is a few assignments.
    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
