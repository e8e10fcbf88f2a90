//! Where log lines go.

use std::{path::PathBuf, time::Duration};

/// Where log lines go and which.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogSettings {
    /// The least severe level written.
    pub level: LogLevel,
    /// Their form.
    pub format: LogFormat,
    /// Their destination.
    pub output: LogOutput,
    /// When a file is put aside and another begun; `None`: never. Without effect on other destinations.
    pub rotation: Option<RotationSettings>,
}

/// A named log, for the services that name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggerSettings {
    /// Unique.
    pub name: String,
    /// Where its lines go and which.
    pub log: LogSettings,
}

/// Severity of log lines, the least severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[allow(missing_docs)]
pub enum LogLevel {
    Trace,
    Debug,
    #[default]
    Info,
    Warn,
    Error,
    /// What ends the process.
    Fatal,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum LogFormat {
    /// JSON with rtun's names: `timestamp`, `level` in capitals, `message`.
    #[default]
    Rtun,
    /// JSON with GOST's names: `time`, `level`, `msg`, `kind`, `service`, `handler`, `listener`.
    Json,
    /// `name=value`, with GOST's names.
    Text,
}

/// Destination of log lines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
#[allow(missing_docs)]
pub enum LogOutput {
    #[default]
    Stderr,
    Stdout,
    None,
    File(PathBuf),
}

/// How a log's file is replaced as it grows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationSettings {
    /// A file that would grow past this many bytes is put aside first (`maxSize`, which counts MiB).
    pub max_size: u64,
    /// Files put aside longer ago than this are removed (`maxAge`, which counts days); `None`: never.
    pub max_age: Option<Duration>,
    /// Files put aside that are kept, the newest (`maxBackups`); `None`: all.
    pub max_backups: Option<usize>,
    /// Whether the times in their names are local ones; otherwise UTC.
    pub local_time: bool,
    /// Whether they are compressed with gzip.
    pub compress: bool,
}
