//! Where routes, rules and users come from besides the configuration: files, redis, HTTP services and plugins.

mod answers;
mod feed;
mod http;
mod plugin;
mod snapshot;
mod source;

pub use answers::{AnswerLimits, NoWaiting, Released, RouteAnswers};
pub use feed::{Feed, FeedLine, FeedProblem, FeedSpec, FeedState, FeedStatus, Parse};
pub use http::{HttpPluginError, HttpPluginSettings, HttpRoutePlugin};
pub use plugin::{MemoryRoutePlugin, PluginError, RouteFuture, RoutePlugin};
pub use snapshot::SnapshotDir;
pub use source::{
    FileSource, HttpSource, LoadFuture, Loaded, MAX_TEXT, MemorySource, RedisSource, Source,
    SourceError, SourceSetupError, Stamp, StampFuture,
};
