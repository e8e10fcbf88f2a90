//! What all services of a process share.

use std::sync::Arc;

use rtun_state::StateDir;

use crate::runtime::{descriptors::Descriptors, duties::Duties, surroundings::Surroundings};

/// Shared by all services of a process.
#[derive(Default, Clone)]
pub(crate) struct Machine {
    /// The directory for what the next start needs, if there is one.
    pub(crate) state: Option<Arc<StateDir>>,
    pub(crate) surroundings: Surroundings,
    pub(crate) descriptors: Arc<Descriptors>,
    /// The supervised tasks.
    pub(crate) duties: Arc<Duties>,
}
