//! rtun's runtime: services of a configuration, started, changed, reported on and stopped.

mod budget;
pub mod control_socket;
mod counters;
pub mod descriptors;
mod duties;
mod feeds;
mod host;
mod hub;
mod link;
mod machine;
mod metrics;
mod node;
mod outbox;
mod report;
mod status;
mod surroundings;
mod workers;

pub use counters::{Drops, Happened, Traffic};
pub use duties::TaskReport;
pub use feeds::FeedError;
pub use host::{HostError, SetupError};
pub use hub::{Explained, HubError, Inquiry, OpenError, RulesError};
pub use metrics::MetricsError;
pub use node::{Node, StartError};
pub use report::{
    ASKED, CertificateReport, ConnectionReport, DescriptorReport, DeviceHealth, DeviceReport,
    FailureReport, GatewayReport, HappenedReport, HostReport, HubReport, KindReport,
    ListenerReport, NamespaceReport, Queued, ServiceReport, SharedReport, Status, Tasks, Transport,
};
pub use rtun_control::{
    FeedLine, FeedProblem, FeedState, FeedStatus, LastError, PluginKind, PluginStatus, take_zone,
};
pub use status::Board;
pub use surroundings::{Door, Surroundings, Twin};
