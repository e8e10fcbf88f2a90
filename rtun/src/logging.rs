//! Log lines: their level, form and destination, as configured.

use std::{fs::OpenOptions, io, sync::Mutex};

use rtun_config::model::{Log, LogFormat, LogLevel, LogOutput};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Starts logging for the rest of the process.
pub(crate) fn start(log: &Log) -> io::Result<()> {
    let writer = match &log.output {
        LogOutput::None => return Ok(()),
        LogOutput::Stderr => BoxMakeWriter::new(io::stderr),
        LogOutput::Stdout => BoxMakeWriter::new(io::stdout),
        LogOutput::File(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            BoxMakeWriter::new(Mutex::new(file))
        }
    };
    let lines = tracing_subscriber::fmt()
        .with_max_level(level(log.level))
        .with_writer(writer)
        .with_target(false)
        .with_ansi(false);
    match log.format {
        LogFormat::Json => lines.json().flatten_event(true).init(),
        LogFormat::Text => lines.init(),
    }
    Ok(())
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    }
}
