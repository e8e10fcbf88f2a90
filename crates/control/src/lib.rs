//! Where routes and permissions come from besides the configuration: plugins, and what is known of their answers.

mod answers;
mod breaker;
mod grpc;
mod http;
mod plugin;
mod questions;

pub use answers::{AnswerLimits, NoWaiting, Released, RouteAnswers};
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
