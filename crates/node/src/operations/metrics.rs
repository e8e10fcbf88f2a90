//! Metrics over HTTP: one page of counts, in OpenMetrics text, on a listener of its own.

mod page;
mod process;
mod series;
mod server;

pub use self::server::MetricsError;
pub(crate) use self::server::MetricsServer;
