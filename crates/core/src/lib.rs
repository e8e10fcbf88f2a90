//! rtun's decisions, without I/O, clocks and randomness: who may join, where a packet goes, which packets wait.
//!
//! | Subject | Modules |
//! |---|---|
//! | names | `host_name`, `namespace` |
//! | who may join | `admission`, `credentials`, `ingress`, `address_list`, `matcher`, `guesses` |
//! | where a packet goes | `route`, `table`, `routing`, `host_connections`, `drop_reason` |
//! | explanations | [`explain`], [`reach`], [`similar`] |
//! | what waits, and for how long | `queue`, `window`, `answer_limit` |
//! | a host's choices about its hub | `selector`, `hosts_table`, `backoff`, `segments` |
//! | limits | [`limit`] |
//! | text | `rows`, [`text`], [`redact`] |

mod address_list;
mod admission;
mod answer_limit;
mod backoff;
mod credentials;
mod drop_reason;
mod echo_limit;
pub mod explain;
mod guesses;
mod host_connections;
mod host_name;
mod hosts_table;
mod ingress;
pub mod limit;
mod matcher;
mod namespace;
pub mod observer;
mod queue;
pub mod reach;
pub mod redact;
mod route;
mod routing;
mod rows;
mod segments;
mod selector;
pub mod similar;
mod table;
pub mod text;
pub mod udp_tunnel;
mod window;

pub use address_list::AddressList;
pub use admission::{
    AccessRules, Admitted, Decision, Identity, JoinRequest, Placement, PluginAnswer, Question,
    Refusal, Users,
};
pub use answer_limit::AnswerLimit;
pub use backoff::{Backoff, Setback};
pub use credentials::{Credentials, Proof, Proven, Secret, User};
pub use drop_reason::DropReason;
pub use echo_limit::EchoLimit;
pub use guesses::{FREE_GUESSES, Guesses};
pub use host_connections::{HostConnections, MAX_HOST_CONNECTIONS, Sharing};
pub use host_name::{HostName, HostNameError};
pub use hosts_table::{HostsLine, HostsTable};
pub use ingress::{Ingress, IngressRule, PatternError};
pub use matcher::{Matcher, MatcherError};
pub use namespace::{NamespaceId, NamespaceIdError};
pub use queue::{FlowQueue, Lost, MAX_CONTROL, QueueLimits, Sent};
pub use route::{Route, host_prefix, parse_prefix, prefix_is_for_many, unmapped};
pub use routing::{
    Answers, NoAnswers, PluginId, PluginRoute, Router, Routing, SourceCheck, Verdict,
};
pub use rows::{
    BadLine, BadLines, LimitLineError, LineError, MAX_LINE, Parsed, Row, TooManyRows,
    parse_connection_limits, parse_hosts, parse_matchers, parse_request_limits, parse_routes,
    parse_rules, parse_traffic_limits, parse_users,
};
pub use segments::{LossWatch, Segments, Silence, TcpCounts};
pub use selector::{NodeRank, Selection, Selector, Strategy};
pub use table::{MAX_COPIES, MAX_GATEWAYS, RoutingTable, SharedPrefixes};
pub use window::Window;
