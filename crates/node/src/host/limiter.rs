//! The limits of a host: its limiter's rows as they change, or the plugin that is asked instead.

use std::{future, sync::Arc};

use rtun_control::{
    LimitQuestion, LimiterQuestions, PluginRates, PluginScope, PluginStatus, QuestionLimits,
    connect_limiter_plugin,
};
use rtun_core::limit::{ScopedLimits, ShaperPair, ShaperSet, TrafficLimit, TrafficRate};
use rtun_settings::{HostSettings, LimiterSettings};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::HostError;
use crate::{
    counters::{Counters, NamedMeter, QuotaGroup},
    feeds::{Feeds, any_change},
    link::Link,
    report::LimitReport,
};

/// What limits a host's traffic, in both directions. In is what comes from its device, out what goes to it.
pub(crate) struct HostLimiter {
    pair: Arc<ShaperPair>,
    pub(super) quotas: Arc<QuotaGroup>,
    source: watch::Sender<LimitSource>,
}

/// Where the limits are from.
#[derive(Clone, Default)]
struct LimitSource {
    settings: Option<LimiterSettings>,
    feeds: Feeds,
    plugin: Option<Arc<LimiterQuestions>>,
}

impl HostLimiter {
    /// The limits of a host.
    pub(crate) fn of(
        host: &HostSettings,
        feeds: Feeds,
        meters: Vec<NamedMeter>,
    ) -> Result<Self, HostError> {
        let pair = Arc::new(ShaperPair::new(None, now()));
        let limiter = Self { pair, quotas: Arc::default(), source: watch::Sender::default() };
        limiter.apply(host.limits.traffic.as_ref(), feeds, meters)?;
        Ok(limiter)
    }

    /// Changes the limits, also of a session that there is.
    pub(super) fn apply(
        &self,
        settings: Option<&LimiterSettings>,
        feeds: Feeds,
        meters: Vec<NamedMeter>,
    ) -> Result<(), HostError> {
        let mut next = LimitSource { settings: settings.cloned(), feeds, plugin: None };
        if let Some((limiter, plugin)) = settings.and_then(|it| Some((it, it.limits.plugin()?))) {
            let before = self.source.borrow();
            next.plugin = match before.settings.as_ref() == settings {
                true => before.plugin.clone(),
                false => {
                    let limits =
                        QuestionLimits { deadline: plugin.timeout, ..QuestionLimits::default() };
                    let name = limiter.limits.name.clone();
                    let connected = connect_limiter_plugin(plugin)
                        .map_err(|source| HostError::Limiter { name: name.clone(), source })?;
                    let questions = LimiterQuestions::new(name, connected, limiter.refresh, limits);
                    Some(Arc::new(questions))
                }
            };
        }
        self.source.send_replace(next.clone());
        next.put_in_force(&self.pair);
        self.quotas.set(meters);
        Ok(())
    }

    /// Has a session keep to the limits.
    pub(super) fn limit(&self, link: &Link, received: &Arc<Counters>) {
        // What comes from the hub goes out to the device.
        let pair = || [Arc::clone(&self.pair)];
        link.limit(ShaperSet::output(pair()), ShaperSet::input(pair()), received);
    }

    /// The limit in force.
    pub(super) fn report(&self) -> Option<LimitReport> {
        LimitReport::of("limiter", "service", self.pair.limit())
    }

    /// The state of the plugin, if there is one.
    pub(super) fn plugin(&self) -> Option<PluginStatus> {
        Some(self.source.borrow().plugin.as_ref()?.status())
    }

    /// Follows the rows as they change, and asks the plugin again and again. Where no answer comes the last one stays.
    pub(super) async fn follow(&self, service: &str) {
        let mut source = self.source.subscribe();
        loop {
            let current = source.borrow_and_update().clone();
            let changes = current.feeds.changes();
            current.put_in_force(&self.pair);
            let asking = async {
                let Some(plugin) = &current.plugin else { return future::pending().await };
                loop {
                    let scope = PluginScope::Service;
                    let question = LimitQuestion { service: service.to_owned(), scope };
                    // What went wrong is in the plugin's status.
                    if let Ok(PluginRates { input, output }) = plugin.ask(question).await {
                        let (input, output) =
                            (input.map(TrafficRate::new), output.map(TrafficRate::new));
                        self.pair.set(Some(TrafficLimit { input, output }), now());
                    }
                    sleep(plugin.refresh()).await;
                }
            };
            tokio::select! {
                changed = source.changed() => if changed.is_err() { return },
                () = any_change(changes) => {}
                () = asking => {}
            }
        }
    }
}

impl LimitSource {
    fn put_in_force(&self, pair: &ShaperPair) {
        let limit = self.settings.as_ref().and_then(|settings| {
            let rows = self.feeds.traffic_limits(&settings.limits);
            ScopedLimits::new(rows).service()
        });
        if self.plugin.is_none() {
            pair.set(limit, now());
        }
    }
}

/// On the clock that tests can pause.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
