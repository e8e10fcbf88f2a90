//! Where routes come from besides the configuration: plugins, and what is known of their answers.

mod answers;
mod http;
mod plugin;

pub use answers::{AnswerLimits, NoWaiting, Released, RouteAnswers};
pub use http::{HttpPluginError, HttpPluginSettings, HttpRoutePlugin};
pub use plugin::{MemoryRoutePlugin, PluginError, RouteFuture, RoutePlugin};
