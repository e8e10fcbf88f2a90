//! Keeps a hub's rules up to date with its configuration and its sources.

use std::{
    sync::{Arc, Mutex as Short, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use rtun_control::in_background;
use rtun_settings::HubRules;
use tokio::{
    sync::{Mutex, Notify, watch},
    time::{Instant, interval_at, sleep},
};
use tracing::{info, warn};

use super::{
    registry::Registry,
    rules::{ResolvedNames, Rules, RulesError},
};
use crate::feeds::Feeds;

/// After a source has changed, others often change at once: this long is waited, then one compilation covers all.
const GATHER: Duration = Duration::from_millis(50);

/// How often the names in admissions are resolved again.
const RESOLVE_AGAIN: Duration = Duration::from_secs(60);

/// What a hub's rules are compiled from.
pub(super) struct Upkeep {
    /// Held while compiling, so that changes of configuration and sources are applied one after the other.
    made_of: Mutex<Ingredients>,
    /// The configuration has changed, and with it the feeds to follow.
    reconfigured: Notify,
    trouble: Short<Option<String>>,
}

#[derive(Clone)]
struct Ingredients {
    config: Arc<HubRules>,
    feeds: Feeds,
    names: ResolvedNames,
}

impl Upkeep {
    /// The first rules.
    pub(super) async fn begin(
        config: &HubRules,
        feeds: Feeds,
    ) -> Result<(Self, Rules), RulesError> {
        let names = ResolvedNames::default().resolve(config, &feeds, true).await;
        let ingredients = Ingredients { config: Arc::new(config.clone()), feeds, names };
        let rules = ingredients.compile(None).await?;
        let upkeep = Self {
            made_of: Mutex::new(ingredients),
            reconfigured: Notify::new(),
            trouble: Short::default(),
        };
        Ok((upkeep, rules))
    }

    /// Applies another configuration.
    pub(super) async fn apply(
        &self,
        registry: &Registry,
        config: &HubRules,
        feeds: Feeds,
    ) -> Result<(), RulesError> {
        let mut made_of = self.made_of.lock().await;
        let names = made_of.names.resolve(config, &feeds, true).await;
        let next = Ingredients { config: Arc::new(config.clone()), feeds, names };
        registry.apply(next.compile(Some(registry.rules())).await?);
        *made_of = next;
        *self.trouble() = None;
        self.reconfigured.notify_one();
        Ok(())
    }

    /// Applies what sources read, without end.
    pub(super) async fn run(&self, service: &str, registry: &Registry) {
        let mut resolve_again = interval_at(Instant::now() + RESOLVE_AGAIN, RESOLVE_AGAIN);
        loop {
            let changes = self.made_of.lock().await.feeds.changes();
            let mut changes: FuturesUnordered<_> = changes.into_iter().map(changed).collect();
            // Changes before the receivers existed are found by comparing with what the rules were compiled from.
            self.catch_up(service, registry, false).await;
            loop {
                let again = tokio::select! {
                    () = self.reconfigured.notified() => break,
                    Some(receiver) = changes.next() => {
                        changes.extend(receiver.map(changed));
                        sleep(GATHER).await;
                        false
                    }
                    _ = resolve_again.tick() => true,
                };
                self.catch_up(service, registry, again).await;
            }
        }
    }

    /// Why the rules are not those of the sources, if they are not.
    pub(super) fn why_behind(&self) -> Option<String> {
        self.trouble().clone()
    }

    async fn catch_up(&self, service: &str, registry: &Registry, resolve_again: bool) {
        let mut made_of = self.made_of.lock().await;
        let Ingredients { config, feeds, names } = &*made_of;
        let names = names.resolve(config, feeds, resolve_again).await;
        let before = registry.rules();
        if names == made_of.names && before.is_of(&made_of.feeds) {
            return;
        }
        made_of.names = names;
        match made_of.compile(Some(before)).await {
            Ok(rules) => {
                registry.apply(rules);
                *self.trouble() = None;
                info!(service, "rules replaced: a source has changed");
            }
            Err(error) => {
                warn!(service, "the rules stay as they were: {error}");
                *self.trouble() = Some(error.to_string());
            }
        }
    }

    /// The text of a poisoned lock is consistent: it is only replaced as a whole.
    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ingredients {
    /// Compiles in the background: large tables take long, and hosts join and leave meanwhile.
    async fn compile(&self, before: Option<Arc<Rules>>) -> Result<Rules, RulesError> {
        let Self { config, feeds, names } = self.clone();
        in_background(move || Rules::compile(&config, &feeds, &names, before.as_deref())).await
    }
}

/// The receiver when its feed has other rows; `None` when the feed is gone.
async fn changed(mut receiver: watch::Receiver<u64>) -> Option<watch::Receiver<u64>> {
    receiver.changed().await.ok()?;
    Some(receiver)
}
