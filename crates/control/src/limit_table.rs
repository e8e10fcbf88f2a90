//! The rows of one limiter: those of the configuration, and those of its sources as they change.

use std::sync::Arc;

use rtun_core::limit::{LimitRow, ScopedLimits};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};

use crate::feed::Feed;

/// The limits of one limiter, kept up to date by a task that ends when this is dropped.
///
/// Of two rows for the same scope the later one counts: the rows of the configuration come first, then those of each source
/// in order, as in GOST (inline, file, redis, http).
pub struct LimitTable<L> {
    shared: Arc<LimitTableShared<L>>,
    task: AbortHandle,
}

struct LimitTableShared<L> {
    inline: Vec<LimitRow<L>>,
    feeds: Vec<Arc<Feed<LimitRow<L>>>>,
    limits: watch::Sender<Arc<ScopedLimits<L>>>,
}

impl<L: Copy + PartialEq + Send + Sync + 'static> LimitTable<L> {
    /// Begins to follow the feeds, on the runtime that this is called on.
    pub fn start(inline: Vec<LimitRow<L>>, feeds: Vec<Arc<Feed<LimitRow<L>>>>) -> Self {
        let limits = watch::Sender::new(Arc::default());
        let shared = Arc::new(LimitTableShared { inline, feeds, limits });
        shared.update();
        let task = tokio::spawn(follow(Arc::clone(&shared))).abort_handle();
        Self { shared, task }
    }

    /// Returns when each source has been tried once, and [`LimitTable::limits`] holds what it gave.
    pub async fn ready(&self) {
        for feed in &self.shared.feeds {
            feed.ready().await;
        }
        self.shared.update();
    }

    /// The limits in force; a new value follows each change.
    pub fn limits(&self) -> watch::Receiver<Arc<ScopedLimits<L>>> {
        self.shared.limits.subscribe()
    }

    /// The sources, for their states.
    pub fn feeds(&self) -> &[Arc<Feed<LimitRow<L>>>] {
        &self.shared.feeds
    }
}

impl<L> Drop for LimitTable<L> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow<L: Copy + PartialEq + Send + Sync + 'static>(shared: Arc<LimitTableShared<L>>) {
    let mut changes = JoinSet::new();
    for feed in &shared.feeds {
        changes.spawn(next_change(feed.changes()));
    }
    loop {
        shared.update();
        match changes.join_next().await {
            Some(Ok(Some(changed))) => {
                changes.spawn(next_change(changed));
            }
            Some(_) => {}
            None => return,
        }
    }
}

async fn next_change(mut changes: watch::Receiver<u64>) -> Option<watch::Receiver<u64>> {
    changes.changed().await.ok().map(|()| changes)
}

impl<L: Copy + PartialEq + Send + Sync + 'static> LimitTableShared<L> {
    /// Puts the rows that there are now in force.
    fn update(&self) {
        self.limits.send_if_modified(|current| {
            let rows: Vec<_> = self.feeds.iter().map(|feed| feed.rows()).collect();
            let fed = rows.iter().flat_map(|rows| rows.iter()).map(|row| row.value.clone());
            let limits = ScopedLimits::new(self.inline.iter().cloned().chain(fed));
            let is_new = **current != limits;
            if is_new {
                *current = Arc::new(limits);
            }
            is_new
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rtun_core::{limit::LimitScope, parse_connection_limits};
    use rtun_settings::SourceSettings;

    use super::*;
    use crate::{
        feed::FeedSpec,
        source::{MemorySource, SourceError},
    };

    #[tokio::test(start_paused = true)]
    async fn later_sources_override_earlier_ones_and_changes_are_followed() {
        let source = SourceSettings::File(Path::new("unused").into());
        let spec =
            FeedSpec { kind: "climiter", name: "c", source: &source, reload: None, max_rows: 100 };
        let sources = ["$ 5\n10.0.0.0/8 7", "$ 9"].map(|text| MemorySource::new(text, true));
        let feeds = sources
            .each_ref()
            .map(|source| Feed::of(Box::new(source.clone()), &spec, parse_connection_limits, None));
        let row = |scope, limit| LimitRow { scope, limit };
        let inline = vec![row(LimitScope::Service, 1), row(LimitScope::Each, 2)];
        let table = LimitTable::start(inline, feeds.to_vec());
        table.ready().await;
        let mut limits = table.limits();
        let now = |limits: &mut watch::Receiver<Arc<ScopedLimits<u32>>>| {
            let limits = limits.borrow_and_update();
            (limits.service(), limits.each(), limits.network([10, 0, 0, 1].into()))
        };
        assert_eq!(now(&mut limits), (Some(9), Some(2), Some(7)));

        sources[0].set("$ 6\n10.0.0.0/8 8");
        limits.changed().await.unwrap();
        assert_eq!(now(&mut limits), (Some(9), Some(2), Some(8)));

        sources[1].set("10.0.0.1 3");
        limits.changed().await.unwrap();
        assert_eq!(now(&mut limits), (Some(6), Some(2), Some(3)));

        sources[1].fail(SourceError::Unreachable("gone".into()));
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        assert!(!limits.has_changed().unwrap(), "the last good rows stay");
        assert_eq!(table.feeds()[1].status().rows, 1);
    }
}
