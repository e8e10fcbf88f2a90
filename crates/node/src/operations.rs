//! How a running process is watched and asked: the status board, the control socket, metrics.

pub(crate) mod board;
pub mod control_socket;
pub(crate) mod explain;
pub mod http;
pub(crate) mod metrics;
pub mod problems;
pub mod units;
pub mod watch;
