//! The `log` object.

use crate::{
    findings::{Report, quote},
    suggest,
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

pub(super) fn read(at: Option<Cursor<'_>>, report: &mut Report) -> LogSettings {
    let mut log = LogSettings::default();
    let Some(at) = at else { return log };
    if let Some(at) = at.get("level")
        && let Some(level) = known(&at, &LEVELS, "info", report)
    {
        log.level = level;
    }
    if let Some(at) = at.get("format")
        && let Some(format) =
            known(&at, &[("json", LogFormat::Json), ("text", LogFormat::Text)], "json", report)
    {
        log.format = format;
    }
    if let Some(output) = report.some_text(at.get("output").as_ref()) {
        log.output = match output.as_str() {
            "stderr" => LogOutput::Stderr,
            "stdout" => LogOutput::Stdout,
            "none" | "null" => LogOutput::None,
            path => LogOutput::File(path.into()),
        };
    }
    log
}

/// The value of the name at `at`, whatever its case. GOST starts with `usual` where it does not know the name.
fn known<T: Copy>(
    at: &Cursor<'_>,
    names: &[(&str, T)],
    usual: &str,
    report: &mut Report,
) -> Option<T> {
    let written = report.some_text(Some(at))?;
    let found = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(&written));
    if found.is_none() {
        let all: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        let message = format!("{} is not known, `{usual}` is taken", quote(&written));
        report.warning(at, message).help(format!("write one of {}", all.join(", ")));
    }
    found.map(|(_, value)| *value)
}

/// The value of the name at `at`, whatever its case.
pub(super) fn one_of<T: Copy>(
    at: &Cursor<'_>,
    names: &[(&str, T)],
    report: &mut Report,
) -> Option<T> {
    let written = report.some_text(Some(at))?;
    let found = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(&written));
    if found.is_none() {
        let all: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        let help = suggest::did_you_mean(&written, all.iter().copied());
        report
            .error(at, format!("expected one of {}, found {}", all.join(", "), quote(&written)))
            .maybe_help(help);
    }
    found.map(|(_, value)| *value)
}
