//! Where routes, rules and users come from besides the configuration: files, redis, HTTP services and plugins.

mod answers;
mod background;
mod breaker;
mod cause;
mod feed;
mod grpc;
mod http;
mod plugin;
mod questions;
mod shares;
mod snapshot;
mod source;
mod turns;
mod zone;

pub use answers::{AnswerLimits, NoWaiting, Released, RouteAnswers};
pub use background::in_background;
pub use feed::{Feed, FeedLine, FeedProblem, FeedSpec, FeedState, FeedStatus, Parse};
pub use grpc::GrpcPlugin;
pub use http::HttpPlugin;
pub use plugin::{
    Addressed, AdmissionPlugin, Answering, AuthPlugin, AuthQuestion, IngressPlugin, PluginError,
    PluginSetupError, RoutePlugin, connect_admission_plugin, connect_auth_plugin,
    connect_ingress_plugin, connect_route_plugin,
    memory::MemoryPlugin,
    status::{LastError, PluginKind, PluginStatus},
};
pub use questions::{
    AdmissionQuestions, AskError, AuthQuestions, IngressQuestions, QuestionLimits,
};
pub use source::{
    FileSource, HttpSource, LoadFuture, Loaded, MAX_TEXT, MemorySource, RedisSource, Source,
    SourceError, SourceSetupError, Stamp, StampFuture,
};
pub use zone::take_zone;
