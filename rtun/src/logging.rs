//! Log lines: their level, form and destination as configured, which a reload may change.

mod limit;
mod output;

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rtun_settings::{LogFormat, LogLevel, LogOutput, LogSettings};
use tracing::{Event, Subscriber, error, info, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer as _, Registry,
    filter::FilterExt as _,
    fmt::{
        FmtContext, FormatEvent, FormatFields, Layer,
        format::{Format, Full, Json, Writer},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt as _,
};

use self::{limit::Limit, output::Output};

/// The log of this process.
pub(crate) struct Logging {
    log: LogSettings,
    level: reload::Handle<LevelFilter, Registry>,
    is_json: Arc<AtomicBool>,
    output: Output,
    limit: Limit,
}

impl Logging {
    /// Starts logging for the rest of the process.
    pub(crate) fn start(log: &LogSettings) -> io::Result<Self> {
        let is_json = Arc::new(AtomicBool::new(log.format == LogFormat::Json));
        let output = Output::open(&log.output, Arc::clone(&is_json))?;
        let (level, handle) = reload::Layer::new(level(log));
        let limit = Limit::default();
        let lines = Layer::default()
            .event_format(Form {
                json: Format::default()
                    .json()
                    .flatten_event(true)
                    .with_target(false)
                    // Only libraries have spans, whose fields are not kept as JSON.
                    .with_current_span(false)
                    .with_span_list(false),
                text: Format::default().with_target(false).with_ansi(false),
                is_json: Arc::clone(&is_json),
            })
            .with_ansi(false)
            .with_writer(output.clone())
            .with_filter(level.and(limit.clone()));
        tracing_subscriber::registry().with(lines).init();
        Ok(Self { log: log.clone(), level: handle, is_json, output, limit })
    }

    /// Opens the log's file again, as those expect who have moved it away.
    pub(crate) fn reopen(&self) {
        if let Err(error) = self.output.reopen() {
            error!("the log's file cannot be opened again, the old one is written on: {error}");
        }
    }

    /// Goes over to what is configured now. An output that cannot be opened leaves the old one; all else changes.
    pub(crate) fn apply(&mut self, log: &LogSettings) {
        if *log == self.log {
            return;
        }
        let mut log = log.clone();
        if log.output != self.log.output
            && let Err(error) = self.output.go_to(&log.output)
        {
            error!(key = "log.output", "the log stays where it was: {error}");
            log.output = self.log.output.clone();
        }
        self.is_json.store(log.format == LogFormat::Json, Ordering::Relaxed);
        // Fails only where the subscriber is gone, and that lasts as long as the process.
        let _ = self.level.reload(level(&log));
        self.log = log;
        info!(
            level = ?self.log.level, format = ?self.log.format, output = ?self.log.output,
            "the log has changed as configured"
        );
    }

    /// To be called every second: says how many lines were left out, and makes a file again that has gone.
    pub(crate) fn look_after(&self) {
        self.output.look_after();
        self.limit.tell();
    }
}

fn level(log: &LogSettings) -> LevelFilter {
    if log.output == LogOutput::None {
        return LevelFilter::OFF;
    }
    match log.level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    }
}

/// Lines in the current form.
struct Form {
    json: Format<Json>,
    text: Format<Full>,
    is_json: Arc<AtomicBool>,
}

impl<S, N> FormatEvent<S, N> for Form
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self.is_json.load(Ordering::Relaxed) {
            true => self.json.format_event(context, to, event),
            false => self.text.format_event(context, to, event),
        }
    }
}
