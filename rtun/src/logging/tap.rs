//! Log lines for those who watch the process.

use std::sync::{Arc, OnceLock, Weak};

use rtun_node::{
    Board,
    watch::{LineLevel, LiveLogLine},
};
use rtun_settings::LogLevel;
use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::{Layer, filter::LevelFilter, layer::Context};

use super::record::LogRecord;

/// The longest message, and text of a field, in bytes; what is longer is cut.
const MAX_TEXT: usize = 1024;

/// Fields of a line; more are left out.
const MAX_FIELDS: usize = 16;

/// Passes lines on to a board, once there is one. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct LogTap(Arc<OnceLock<Weak<Board>>>);

impl LogTap {
    /// From now on lines go to this board. The first one counts.
    pub(super) fn attach(&self, board: &Arc<Board>) {
        let _ = self.0.set(Arc::downgrade(board));
    }
}

impl<S: Subscriber> Layer<S> for LogTap {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if let Some(board) = self.0.get().and_then(Weak::upgrade) {
            board.log_line(line(LogRecord::of(event)));
        }
    }
}

/// The filter for lines of this level and above.
pub(super) fn filter(level: LineLevel) -> LevelFilter {
    match level {
        LineLevel::Trace => LevelFilter::TRACE,
        LineLevel::Debug => LevelFilter::DEBUG,
        LineLevel::Info => LevelFilter::INFO,
        LineLevel::Warn => LevelFilter::WARN,
        LineLevel::Error | LineLevel::Fatal => LevelFilter::ERROR,
    }
}

fn line(record: LogRecord) -> LiveLogLine {
    let level = match record.level {
        LogLevel::Trace => LineLevel::Trace,
        LogLevel::Debug => LineLevel::Debug,
        LogLevel::Info => LineLevel::Info,
        LogLevel::Warn => LineLevel::Warn,
        LogLevel::Error => LineLevel::Error,
        LogLevel::Fatal => LineLevel::Fatal,
    };
    let fields = record.fields.into_iter().take(MAX_FIELDS).map(|(name, value)| {
        let value = match value {
            Value::String(text) => Value::String(cut(text)),
            other => other,
        };
        (name.to_owned(), value)
    });
    LiveLogLine {
        time: record.at.as_millisecond() as f64 / 1000.0,
        level,
        message: cut(record.message),
        fields: fields.collect::<Map<_, _>>(),
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
    }
    text
}
