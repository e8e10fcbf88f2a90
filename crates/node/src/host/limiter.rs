//! The limits of a host: those of the limiter that it names, or the plugin that is asked instead.

use std::{
    future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rtun_control::{
    LimitQuestion, LimiterQuestions, PluginRates, PluginScope, PluginStatus, QuestionLimits,
    connect_limiter_plugin,
};
use rtun_core::limit::{ShaperPair, ShaperSet, TrafficLimit, TrafficRate};
use rtun_settings::{HostSettings, LimiterSettings};
use tokio::{sync::watch, time::sleep};

use super::HostError;
use crate::{
    counters::{Counters, QuotaGroup},
    limiters::{ServiceMeters, ServiceTraffic},
    link::Link,
    report::LimitReport,
};

/// What limits a host's traffic, in both directions. In is what comes from its device, out what goes to it.
pub(crate) struct HostLimiter {
    traffic: ServiceTraffic,
    /// Those in force. Held while a link is given them.
    pair: Mutex<Arc<ShaperPair>>,
    pub(super) quotas: Arc<QuotaGroup>,
    asked: watch::Sender<AskedPlugin>,
}

/// The plugin that says the limits, if there is one.
#[derive(Clone, Default)]
struct AskedPlugin {
    settings: Option<LimiterSettings>,
    plugin: Option<Arc<LimiterQuestions>>,
}

impl HostLimiter {
    /// The limits of a host.
    pub(crate) fn of(host: &HostSettings, meters: ServiceMeters) -> Result<Self, HostError> {
        let traffic = ServiceTraffic::default();
        let pair = Mutex::new(traffic.device());
        let (quotas, asked) = (Arc::default(), watch::Sender::default());
        let limiter = Self { traffic, pair, quotas, asked };
        limiter.apply(host.limits.traffic.as_ref(), meters)?;
        Ok(limiter)
    }

    /// Changes the limits; whether links that there are have to be [given](Self::limit) them.
    pub(super) fn apply(
        &self,
        settings: Option<&LimiterSettings>,
        meters: ServiceMeters,
    ) -> Result<bool, HostError> {
        let mut next = AskedPlugin { settings: settings.cloned(), plugin: None };
        if let Some((limiter, plugin)) = settings.and_then(|it| Some((it, it.limits.plugin()?))) {
            let before = self.asked.borrow();
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
        let changes = self.traffic.apply(settings, meters.limiters.traffic, &[]);
        *self.pair() = self.traffic.device();
        self.asked.send_replace(next);
        self.quotas.set(meters.quotas);
        Ok(changes)
    }

    /// Has a link keep to the limits in force.
    pub(super) fn limit(&self, link: &Link, received: &Arc<Counters>) {
        let pair = self.pair();
        // What comes from the hub goes out to the device.
        let pairs = || [Arc::clone(&pair)];
        link.limit(ShaperSet::output(pairs()), ShaperSet::input(pairs()), received);
    }

    /// The limit in force.
    pub(super) fn report(&self) -> Option<LimitReport> {
        LimitReport::of("limiter", "service", self.pair().limit())
    }

    /// The state of the plugin, if there is one.
    pub(super) fn plugin(&self) -> Option<PluginStatus> {
        Some(self.asked.borrow().plugin.as_ref()?.status())
    }

    /// Asks the plugin again and again, if there is one. Where no answer comes the last one stays.
    pub(super) async fn follow(&self, service: &str) {
        let mut asked = self.asked.subscribe();
        loop {
            let current = asked.borrow_and_update().clone();
            let asking = async {
                let Some(plugin) = &current.plugin else { return future::pending().await };
                loop {
                    let scope = PluginScope::Service;
                    let question = LimitQuestion { service: service.to_owned(), scope };
                    // What went wrong is in the plugin's status.
                    if let Ok(PluginRates { input, output }) = plugin.ask(question).await {
                        let (input, output) =
                            (input.map(TrafficRate::new), output.map(TrafficRate::new));
                        let limit = TrafficLimit { input, output };
                        self.traffic.answer(&self.traffic.device(), limit);
                    }
                    sleep(plugin.refresh()).await;
                }
            };
            tokio::select! {
                changed = asked.changed() => if changed.is_err() { return },
                () = asking => {}
            }
        }
    }

    /// What a poisoned lock guards is whole: it is only replaced.
    fn pair(&self) -> MutexGuard<'_, Arc<ShaperPair>> {
        self.pair.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
