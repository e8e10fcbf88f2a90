//! Requests to a running process, its answers, and their bounds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use rtun_core::NamespaceId;

use crate::{
    counters::DropSample,
    json,
    operations::{
        explain::{Explained, Inquiry},
        watch::{
            DropsView, HostQuery, HostView, ListPage, NamespaceQuery, NamespaceView, Overview,
            RouteQuery, RouteView, SeriesView, TrafficView,
        },
    },
    report::{NodeStatus, PathQuery, PathView},
    runtime::{
        events::NodeEvent,
        live_log::{LineLevel, LiveLogLine},
    },
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
    /// The process at a glance.
    Overview,
    /// Hosts, a part of the list.
    Hosts(HostQuery),
    /// Namespaces, a part of the list.
    Namespaces(NamespaceQuery),
    /// Routes, a part of the list.
    Routes(RouteQuery),
    /// Who talks to whom.
    Traffic {
        /// In this namespace; `None`: in all.
        #[serde(default, with = "json::maybe_text")]
        namespace: Option<NamespaceId>,
    },
    /// The last hour.
    Series {
        /// These series; none: all.
        #[serde(default)]
        names: Vec<String>,
        /// Only points after this, in seconds of Unix time.
        #[serde(default)]
        since: Option<u64>,
    },
    /// What is lost and why.
    Drops,
    /// The path to a host, measured once.
    Ping(PathQuery),
    /// What happens from now on, a line each.
    Follow(FollowRequest),
}

/// What is followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum FollowRequest {
    /// Events.
    Events {
        /// Those after this number too, as far as they are kept.
        #[serde(default)]
        after: Option<u64>,
    },
    /// Log lines of this level and above.
    Log {
        /// The least level.
        level: LineLevel,
    },
    /// Lost packets. They are sampled as long as somebody follows them.
    Drops,
}

/// A line of the answer to [`ControlRequest::Follow`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FollowAnswer {
    /// An event.
    Event(NodeEvent),
    /// A log line.
    Log(LiveLogLine),
    /// A lost packet.
    Drop(DropSample),
    /// This many are left out.
    Missed(u64),
    /// Why there is no answer.
    Error(String),
}

/// An answer, under the name of its request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlAnswer {
    /// To [`ControlRequest::Status`].
    Status(Box<NodeStatus>),
    /// To [`ControlRequest::Explain`].
    Explain(Explained),
    /// To [`ControlRequest::Overview`].
    Overview(Overview),
    /// To [`ControlRequest::Hosts`].
    Hosts(ListPage<HostView>),
    /// To [`ControlRequest::Namespaces`].
    Namespaces(ListPage<NamespaceView>),
    /// To [`ControlRequest::Routes`].
    Routes(ListPage<RouteView>),
    /// To [`ControlRequest::Traffic`].
    Traffic(TrafficView),
    /// To [`ControlRequest::Series`].
    Series(SeriesView),
    /// To [`ControlRequest::Drops`].
    Drops(DropsView),
    /// To [`ControlRequest::Ping`].
    Ping(PathView),
    /// Why there is no other answer.
    Error(String),
}
