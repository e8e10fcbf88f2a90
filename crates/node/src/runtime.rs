//! What the services of a process run on: threads that move packets, tasks that are kept running, limits of the machine.

pub(crate) mod budget;
pub mod descriptors;
pub(crate) mod duties;
pub(crate) mod events;
pub(crate) mod hook_failures;
pub(crate) mod live_log;
pub(crate) mod machine;
pub(crate) mod node_reader;
pub(crate) mod surroundings;
pub(crate) mod workers;
