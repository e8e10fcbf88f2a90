//! Where log lines go.

use std::path::PathBuf;

/// Where log lines go and which.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogSettings {
    /// The least severe level written.
    pub level: LogLevel,
    /// Their form.
    pub format: LogFormat,
    /// Their destination.
    pub output: LogOutput,
}

/// Severity of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum LogLevel {
    Trace,
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum LogFormat {
    #[default]
    Json,
    Text,
}

/// Destination of log lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum LogOutput {
    #[default]
    Stderr,
    Stdout,
    None,
    File(PathBuf),
}
