//! Requests to a running process, its answers, and their bounds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    hub::{Explained, Inquiry},
    report::NodeStatus,
};

/// The longest request, in bytes.
pub(super) const MAX_REQUEST: u64 = 64 * 1024;

/// The longest answer, in bytes: enough for 100,000 hosts.
pub(super) const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// Limit from accepting to the last byte of the answer. Clients wait as long.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// A request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum ControlRequest {
    /// The state of the process and its services.
    Status,
    /// What happens to a packet, and why.
    Explain(Inquiry),
}

/// An answer, under the name of its request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlAnswer {
    /// To [`ControlRequest::Status`].
    Status(Box<NodeStatus>),
    /// To [`ControlRequest::Explain`].
    Explain(Explained),
    /// Why there is no other answer.
    Error(String),
}
