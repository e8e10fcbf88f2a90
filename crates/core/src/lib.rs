//! rtun's decisions, free of I/O, clocks and randomness: who may join, where a packet goes, what a queue keeps.

mod address_list;
mod admission;
mod answer_limit;
mod association;
mod client;
mod credentials;
mod drop;
pub mod explain;
mod guesses;
mod host;
mod hub;
mod ingress;
pub mod limit;
mod lines;
mod matcher;
mod namespace;
mod queue;
pub mod reach;
pub mod redact;
mod route;
mod row;
mod segments;
mod selector;
pub mod similar;
mod table;
pub mod text;
mod window;

pub use address_list::AddressList;
pub use admission::{
    AccessRules, Admitted, Decision, Identity, JoinRequest, Placement, Question, Refusal, Users,
    Word,
};
pub use answer_limit::AnswerLimit;
pub use association::{Claims, MAX_CLAIMS, Sharing};
pub use client::{Backoff, Setback};
pub use credentials::{Credentials, Proof, Proven, Secret, User};
pub use drop::DropReason;
pub use guesses::{FREE_GUESSES, Guesses};
pub use host::{HostName, HostNameError};
pub use hub::{Answers, Known, NoAnswers, PluginId, Router, Routing, SourceCheck, Verdict};
pub use ingress::{Ingress, IngressRule, PatternError};
pub use lines::{
    BadLine, BadLines, LineError, MAX_LINE, Parsed, TooManyRows, parse_matchers, parse_routes,
    parse_rules, parse_users,
};
pub use matcher::{Matcher, MatcherError};
pub use namespace::{NamespaceId, NamespaceIdError};
pub use queue::{FlowQueue, Lost, MAX_CONTROL, QueueLimits, Sent};
pub use route::{Route, host_prefix, parse_prefix, unmapped};
pub use row::Row;
pub use segments::{Counts, LossWatch, Segments, Silence};
pub use selector::{NodeWeight, Selection, Selector, Strategy};
pub use table::{MAX_GATEWAYS, RoutingTable, Shared};
pub use window::Window;
