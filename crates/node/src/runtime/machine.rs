//! What all services of a process share.

use std::sync::Arc;

use rtun_state::StateDir;

use tokio_util::sync::CancellationToken;

use crate::{
    counters::DropSamples,
    runtime::{
        descriptors::Descriptors, duties::Duties, events::EventLog, hook_failures::HookFailures,
        live_log::LiveLog, node_reader::NodeReader, surroundings::Surroundings,
    },
};

/// Shared by all services of a process.
#[derive(Default, Clone)]
pub(crate) struct Machine {
    /// The directory for what the next start needs, if there is one.
    pub(crate) state: Option<Arc<StateDir>>,
    pub(crate) surroundings: Surroundings,
    /// Reads the nodes that plugins of hops name.
    pub(crate) node_reader: NodeReader,
    pub(crate) descriptors: Arc<Descriptors>,
    /// The supervised tasks.
    pub(crate) duties: Arc<Duties>,
    /// The hooks that have failed.
    pub(crate) hooks: Arc<HookFailures>,
    /// What has happened lately.
    pub(crate) events: Arc<EventLog>,
    /// Log lines for those who follow them.
    pub(crate) live_log: Arc<LiveLog>,
    /// Samples of lost packets.
    pub(crate) drop_samples: Arc<DropSamples>,
    /// Cancelled once the process is to stop: commands for a service that starts are then killed.
    pub(crate) stopping: CancellationToken,
}
