//! rtun's runtime: services of a configuration, started, changed, reported on and stopped.

mod counters;
mod device;
mod dial;
mod feeds;
mod hooks;
mod host;
mod hub;
mod inbound;
mod json;
mod limiters;
mod link;
mod node;
mod node_sources;
mod observers;
mod operations;
mod quotas;
mod recorders;
mod report;
mod runtime;
mod udp_tunnel;

pub use counters::{Drops, Happened, Traffic};
pub use device::DeviceError;
pub use dial::SetupError;
pub use feeds::FeedError;
pub use hooks::HookError;
pub use host::HostError;
pub use hub::{HubError, JoinNeeds, JoinQuery, MissingLine, RulesError};
pub use inbound::HubListenError;
pub use node::{Node, StartError};
pub use node_sources::NodeSourceView;
pub use observers::ObserverError;
pub use operations::{
    board::{Board, QuotaState, RunningState},
    control_socket,
    explain::{
        AskedAddress, AskedEnds, AskedEndsError, ExplainReport, Explained, Explanations, Inquiry,
    },
    http,
    metrics::MetricsError,
    problems, units, watch,
};
pub use quotas::QuotaError;
pub use recorders::RecorderError;
pub use report::{
    ASKED, CertificateReport, ConnectionReport, DatagramTraffic, DescriptorReport, DeviceHealth,
    DeviceReport, FailureReport, GatewayReport, HappenedReport, HostReport, HubReport, KindReport,
    LegOutcome, LimitReport, ListenerReport, MAX_PROBE, NamespaceReport, NodeStatus, PathLeg,
    PathQuery, PathView, Queued, QuotaReport, RegisteredReport, RelayReport, RelayedClientReport,
    RelayedReport, ServiceReport, SharedReport, TapClientReport, TapPeerReport, TapServerReport,
    Tasks, Transport, TunnelClientReport, TunnelRefusal, TunnelServerReport,
};
pub use rtun_control::{
    Feed, FeedLine, FeedProblem, FeedSpec, FeedState, FeedStatus, LastError, PluginKind,
    PluginStatus, RecorderStatus, SavedRows, take_zone,
};
pub use rtun_transport::socket::has_multipath;
pub use runtime::{
    descriptors,
    duties::TaskReport,
    hook_failures::HookReport,
    node_reader::{NodeReader, ReadNode},
    surroundings::{Surroundings, Twin, TwinListener},
};
pub use udp_tunnel::{RelayError, TunnelClientError, TunnelDeviceError, TunnelServerError};
