//! The `log` object, the `loggers`, and which of them a service uses.

use std::time::Duration;

use super::{
    choice::{all, find, one_of_or_default},
    names::DocumentNames,
};
use crate::{
    location::quote,
    schema::{log, logger, root, rotation, service},
    value::Cursor,
};
use rtun_settings::{
    LogFormat, LogLevel, LogOutput, LogSettings, LoggerSettings, RotationSettings,
};

const LEVELS: [(&str, LogLevel); 6] = [
    ("trace", LogLevel::Trace),
    ("debug", LogLevel::Debug),
    ("info", LogLevel::Info),
    ("warn", LogLevel::Warn),
    ("error", LogLevel::Error),
    ("fatal", LogLevel::Fatal),
];

const FORMATS: [(&str, LogFormat); 3] =
    [("json", LogFormat::Json), ("text", LogFormat::Text), ("rtun", LogFormat::Rtun)];

const MIB: u64 = 1024 * 1024;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Destinations there may be in all, each with a thread and a queue.
const MAX_LOGGERS: usize = 64;

/// The log of the process.
pub(super) fn read(root: &Cursor<'_>) -> LogSettings {
    settings(&root.object(&root::LOG))
}

fn settings(at: &Cursor<'_>) -> LogSettings {
    let output = match at.or_default(&log::OUTPUT).as_str() {
        "stderr" => LogOutput::Stderr,
        "stdout" => LogOutput::Stdout,
        "none" | "null" => LogOutput::None,
        path => LogOutput::File(path.into()),
    };
    let rotation = at.get(&log::ROTATION);
    if let Some(rotation) = rotation.as_ref().filter(|_| !matches!(output, LogOutput::File(_))) {
        rotation.key().info("`rotation` has no effect here: the log is no file");
    }
    LogSettings {
        level: one_of_or_default(at, &log::LEVEL, &LEVELS),
        format: format(at),
        rotation: rotation.filter(|_| matches!(output, LogOutput::File(_))).map(|at| rotate(&at)),
        output,
    }
}

/// GOST takes `json` where it does not know a form.
fn format(at: &Cursor<'_>) -> LogFormat {
    let Some(written) = at.read(&log::FORMAT) else { return LogFormat::default() };
    find(&written, &FORMATS).unwrap_or_else(|| {
        let message = format!("{} is not known, `json` is taken", quote(&written));
        let help = format!("write one of {}", all(&FORMATS));
        at.place_of(&log::FORMAT).warning(message).help(help);
        LogFormat::Json
    })
}

/// When a file is put aside, and what becomes of it.
pub(super) fn rotate(at: &Cursor<'_>) -> RotationSettings {
    let positive = |number: i64| u64::try_from(number).ok().filter(|number| *number > 0);
    let max_size = positive(at.or_default(&rotation::MAX_SIZE));
    let max_size = max_size.or_else(|| positive(rotation::MAX_SIZE.default())).unwrap_or(1);
    let days = positive(at.or_default(&rotation::MAX_AGE));
    let days = days.map(|days| u32::try_from(days).unwrap_or(u32::MAX));
    let backups = positive(at.or_default(&rotation::MAX_BACKUPS));
    RotationSettings {
        max_size: max_size.saturating_mul(MIB),
        max_age: days.map(|days| DAY.saturating_mul(days)),
        max_backups: backups.map(|number| usize::try_from(number).unwrap_or(usize::MAX)),
        local_time: at.or_default(&rotation::LOCAL_TIME),
        compress: at.or_default(&rotation::COMPRESS),
    }
}

/// All loggers. A file that several logs write is put aside by one rule.
pub(super) fn loggers(of_process: &LogSettings, names: &DocumentNames<'_>) -> Vec<LoggerSettings> {
    let mut loggers: Vec<LoggerSettings> = Vec::new();
    for (name, at) in &names.loggers.list {
        if loggers.len() == MAX_LOGGERS {
            at.error(format!("there are more than {MAX_LOGGERS} loggers"))
                .help("let services share loggers");
            break;
        }
        let log = settings(&at.object(&logger::LOG));
        let others = loggers.iter().map(|other| &other.log);
        let differs = |other: &LogSettings| {
            matches!(log.output, LogOutput::File(_))
                && other.output == log.output
                && other.rotation != log.rotation
        };
        if others.chain([of_process]).any(differs) {
            at.error("another log writes the same file with another `rotation`")
                .help("give both the same `rotation`, or one of them a file of its own");
        }
        loggers.push(LoggerSettings { name: name.clone(), log });
    }
    loggers
}

/// The names of the loggers of the service at `at`, each once.
pub(super) fn loggers_of(at: &Cursor<'_>, names: &DocumentNames<'_>) -> Vec<String> {
    let one = at.filled(&service::LOGGER);
    let one = one.and_then(|setting| Some((setting.read()?, setting.cursor().at)));
    let more = at.read(&service::LOGGERS).unwrap_or_default();
    let mut found: Vec<String> = Vec::new();
    for (name, at) in one.into_iter().chain(more) {
        if let Some((name, _)) = names.loggers.find(&name, &at)
            && !found.contains(name)
        {
            found.push(name.clone());
        }
    }
    found
}
