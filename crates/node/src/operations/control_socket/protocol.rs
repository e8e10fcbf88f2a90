//! What can be asked of a running process, what is answered, and their bounds.

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

/// From accepting to the last byte of the answer; whoever asks waits as long.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum ControlRequest {
    /// How it goes.
    Status,
    /// What becomes of a packet, and why.
    Explain(Inquiry),
}

/// What is answered, under the name of the request.
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
