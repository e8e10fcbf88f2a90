//! Where routes, rules and users come from besides the configuration: files, redis, HTTP services and plugins. And those of
//! them that are informed: observers and recorders.

mod background;
mod cause;
mod connect;
mod feed;
mod grpc;
mod http;
mod join_questions;
mod plugin;
mod recorder;
mod redis;
mod route_answers;
mod source;
mod source_error;
mod url_client;
mod zone;

pub use background::in_background;
pub use connect::{
    connect_admission_plugin, connect_auth_plugin, connect_ingress_plugin, connect_limiter_plugin,
    connect_node_plugin, connect_observer_plugin, connect_route_plugin,
};
pub use feed::{Feed, FeedLine, FeedProblem, FeedSpec, FeedState, FeedStatus, Parse, SavedRows};
pub use grpc::GrpcPlugin;
pub use http::HttpPlugin;
pub use join_questions::{
    AdmissionQuestions, AskError, AuthQuestions, IngressQuestions, LimiterQuestions, QuestionLimits,
};
pub use plugin::{
    Addressed, AdmissionPlugin, Answering, AuthPlugin, AuthQuestion, IngressPlugin, LimitQuestion,
    LimiterPlugin, NodePlugin, NodeQuestion, ObserverPlugin, PluginError, PluginRates, PluginScope,
    PluginSetupError, RoutePlugin,
    memory::MemoryPlugin,
    nodes::{NoNode, NodeCalls},
    observing::ObserverCalls,
    recording::{Record, Recorder},
    status::{LastError, PluginKind, PluginStatus},
};
pub use recorder::{RecorderCalls, RecorderStatus};
pub use route_answers::{AnswerLimits, NoWaiting, Released, RouteAnswers};
pub use source::{
    FileSource, HttpSource, LoadFuture, Loaded, MAX_TEXT, MemorySource, RedisSource, Source,
    SourceError, SourceSetupError, Stamp, StampFuture,
};
pub use zone::take_zone;
