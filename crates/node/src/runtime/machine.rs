//! What the services of a process share of the machine they run on.

use std::sync::Arc;

use rtun_state::StateDir;

use crate::runtime::{descriptors::Descriptors, duties::Duties, surroundings::Surroundings};

/// A process's part of its machine.
#[derive(Default, Clone)]
pub(crate) struct Machine {
    /// Where is kept what the next start needs, if anywhere.
    pub(crate) state: Option<Arc<StateDir>>,
    pub(crate) surroundings: Surroundings,
    pub(crate) descriptors: Arc<Descriptors>,
    /// The tasks that have to run.
    pub(crate) duties: Arc<Duties>,
}
