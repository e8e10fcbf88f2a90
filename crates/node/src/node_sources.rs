//! Sources of the nodes of hops in the status: who reads the configuration follows them.

use std::{sync::Arc, time::Instant};

use rtun_control::{Feed, FeedProblem, FeedState, FeedStatus};

/// A source of nodes of a hop, and what has become of what it said.
pub struct NodeSourceView {
    /// What reads it.
    pub feed: Arc<Feed<Arc<str>>>,
    /// How many of its nodes are in force.
    pub nodes: usize,
    /// Whether they are those of an earlier run, saved on disk.
    pub from_snapshot: bool,
    /// Why what it says now cannot be used, and since when.
    pub refused: Option<(String, Instant)>,
}

impl NodeSourceView {
    /// As that of any other source; what cannot be used is a failure of the source.
    pub(crate) fn status(&self) -> FeedStatus {
        let mut status = self.feed.status();
        status.rows = self.nodes;
        status.from_snapshot = self.from_snapshot;
        match (&self.refused, status.state) {
            (Some((text, since)), FeedState::Fresh) => {
                let age = since.elapsed().as_secs_f64();
                status.problem =
                    Some(FeedProblem { text: text.clone(), age, failing_for: Some(age) });
                status.state = FeedState::Failing;
            }
            (_, FeedState::Loading) if self.from_snapshot => status.state = FeedState::Snapshot,
            _ => {}
        }
        status
    }
}
