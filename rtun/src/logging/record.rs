//! One log line before it has a form: when, how severe, what, and its fields in order.

use std::fmt::Debug;

use jiff::Timestamp;
use rtun_settings::LogLevel;
use serde_json::Value;
use tracing::{
    Event, Level,
    field::{Field, Visit},
};

/// The target of what ends the process.
pub(crate) const FATAL: &str = "rtun::fatal";

/// A log line.
pub(super) struct LogRecord {
    pub(super) at: Timestamp,
    pub(super) level: LogLevel,
    pub(super) message: String,
    /// All others, in the order of the program.
    pub(super) fields: Vec<(&'static str, Value)>,
    /// The module of the program.
    pub(super) module: &'static str,
    /// The file and line of the program, shortened to the last folder.
    pub(super) caller: String,
}

impl LogRecord {
    /// What `event` says, now.
    pub(super) fn of(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut record = Self {
            at: Timestamp::now(),
            level: level_of(event),
            message: String::new(),
            fields: Vec::new(),
            module: metadata.module_path().unwrap_or_default(),
            caller: caller(metadata.file().unwrap_or_default(), metadata.line().unwrap_or(0)),
        };
        event.record(&mut record);
        record
    }

    /// The text of a field.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| *field == name)?.1.as_str()
    }

    fn add(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => {
                self.message = match value {
                    Value::String(text) => text,
                    other => other.to_string(),
                }
            }
            // What the `log` crate says of itself.
            name if name.starts_with("log.") => {}
            name => self.fields.push((name.strip_prefix("r#").unwrap_or(name), value)),
        }
    }
}

/// How severe an event is.
pub(super) fn level_of(event: &Event<'_>) -> LogLevel {
    let metadata = event.metadata();
    match *metadata.level() {
        Level::ERROR if metadata.target() == FATAL => LogLevel::Fatal,
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => LogLevel::Trace,
    }
}

/// The service that an event is about.
#[derive(Default)]
pub(super) struct ServiceName(pub(super) Option<String>);

impl ServiceName {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut name = Self::default();
        event.record(&mut name);
        name
    }
}

impl Visit for ServiceName {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "service" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "service" {
            self.0 = Some(format!("{value:?}"));
        }
    }
}

impl Visit for LogRecord {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, format!("{value:?}").into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
}

/// `folder/file.rs:12`.
fn caller(file: &str, line: u32) -> String {
    let mut parts = file.rsplit('/');
    let (name, folder) = (parts.next().unwrap_or_default(), parts.next());
    match folder {
        Some(folder) => format!("{folder}/{name}:{line}"),
        None => format!("{name}:{line}"),
    }
}
