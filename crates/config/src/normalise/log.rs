//! The `log` object.

use super::choice::one_of_or_default;
use crate::{
    schema::{log, root},
    value::Cursor,
};
use rtun_settings::{LogFormat, LogLevel, LogOutput, LogSettings};

const LEVELS: [(&str, LogLevel); 6] = [
    ("trace", LogLevel::Trace),
    ("debug", LogLevel::Debug),
    ("info", LogLevel::Info),
    ("warn", LogLevel::Warn),
    ("error", LogLevel::Error),
    // GOST's name for lines after which it exits.
    ("fatal", LogLevel::Error),
];

const FORMATS: [(&str, LogFormat); 2] = [("json", LogFormat::Json), ("text", LogFormat::Text)];

pub(super) fn read(root: &Cursor<'_>) -> LogSettings {
    let at = root.object(&root::LOG);
    let output = match at.or_default(&log::OUTPUT).as_str() {
        "stderr" => LogOutput::Stderr,
        "stdout" => LogOutput::Stdout,
        "none" | "null" => LogOutput::None,
        path => LogOutput::File(path.into()),
    };
    LogSettings {
        level: one_of_or_default(&at, &log::LEVEL, &LEVELS),
        format: one_of_or_default(&at, &log::FORMAT, &FORMATS),
        output,
    }
}
