//! The forms of log lines: JSON with rtun's names, JSON and text with GOST's.

use jiff::{Timestamp, tz::TimeZone};
use rtun_core::text::is_invisible;
use rtun_settings::{LogFormat, LogLevel};
use serde_json::Value;

use super::record::LogRecord;

/// What GOST says in each line of a service.
#[derive(Debug, Clone)]
pub(super) struct ServiceFields {
    /// The type of its handler.
    pub(super) handler: &'static str,
    /// The type of its listener.
    pub(super) listener: &'static str,
}

/// LineFields of the same names that a record has itself are renamed.
const TAKEN: [&str; 6] = ["time", "level", "msg", "handler", "listener", "logger"];

/// The line of `record` in `format`, its end included. `logger` is the name of the logger that writes it, if it is not that of
/// the process; `detailed`: its level is debug or trace.
pub(super) fn line(
    record: &LogRecord,
    format: LogFormat,
    service: Option<&ServiceFields>,
    logger: Option<&str>,
    detailed: bool,
) -> String {
    let line = match format {
        LogFormat::Rtun => json(&rtun_fields(record)),
        LogFormat::Json => json(&gost_fields(record, service, logger, detailed)),
        LogFormat::Text => text(&gost_fields(record, service, logger, detailed)),
    };
    escape(line, format != LogFormat::Text) + "\n"
}

type LineFields = Vec<(String, Value)>;

fn rtun_fields(record: &LogRecord) -> LineFields {
    let level = match record.level {
        LogLevel::Trace => "TRACE",
        LogLevel::Debug => "DEBUG",
        LogLevel::Info => "INFO",
        LogLevel::Warn => "WARN",
        LogLevel::Error | LogLevel::Fatal => "ERROR",
    };
    let time = record.at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let mut fields = vec![
        ("timestamp".to_owned(), time.into()),
        ("level".to_owned(), level.into()),
        ("message".to_owned(), record.message.clone().into()),
    ];
    fields.extend(record.fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    fields
}

fn gost_fields(
    record: &LogRecord,
    service: Option<&ServiceFields>,
    logger: Option<&str>,
    detailed: bool,
) -> LineFields {
    let level = match record.level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
        LogLevel::Fatal => "fatal",
    };
    let mut fields: LineFields = Vec::with_capacity(record.fields.len() + 8);
    let mut add = |name: &str, value: Value| fields.push((name.to_owned(), value));
    add("time", local_time(record.at).into());
    add("level", level.into());
    add("msg", record.message.clone().into());
    if let Some(logger) = logger {
        add("logger", logger.into());
    }
    let named = record.text("service");
    if named.is_some() && record.text("kind").is_none() {
        add("kind", kind(record.module).into());
    }
    if let Some(name) = named {
        add("service", name.into());
    }
    if let Some(ServiceFields { handler, listener }) = service {
        add("listener", (*listener).into());
        add("handler", (*handler).into());
    }
    for (name, value) in record.fields.iter().filter(|(name, _)| *name != "service") {
        match *name {
            name if TAKEN.contains(&name) => add(&format!("fields.{name}"), value.clone()),
            // GOST's are texts.
            "sid" => add("sid", value.to_string().into()),
            name => add(name, value.clone()),
        }
        if *name == "peer" {
            add("remote", value.clone());
        }
    }
    if detailed {
        add("caller", record.caller.clone().into());
    }
    fields
}

/// Which part of a service a line comes from, as GOST divides it: its listener, which is also a host's device; its handler,
/// which has the connections; or the service itself.
fn kind(module: &str) -> &'static str {
    let path = module.strip_prefix("rtun_node::").unwrap_or_default();
    match path {
        _ if path.starts_with("hub::listener") || path.starts_with("device") => "listener",
        "hub" => "service",
        _ if path.starts_with("hub::")
            || path.starts_with("host")
            || path.starts_with("udp_tunnel") =>
        {
            "handler"
        }
        _ => "service",
    }
}

/// With milliseconds and the difference to UTC, as `2026-11-28T22:51:37.351+01:00`, or `Z`.
fn local_time(at: Timestamp) -> String {
    let zoned = at.to_zoned(TimeZone::system());
    match zoned.offset().is_zero() {
        true => zoned.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        false => zoned.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string(),
    }
}

/// An object, with its names in the order given.
fn json(fields: &LineFields) -> String {
    let field = |(name, value): &(String, Value)| format!("{}:{value}", Value::from(&**name));
    format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(","))
}

/// `name=value` with blanks between; values in quotes where a reader could not tell where they end.
fn text(fields: &LineFields) -> String {
    let field = |(name, value): &(String, Value)| match value {
        Value::String(text) if needs_quotes(text) => format!("{name}={}", quoted(text)),
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}={other}"),
    };
    fields.iter().map(field).collect::<Vec<_>>().join(" ")
}

fn needs_quotes(text: &str) -> bool {
    let needs = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '=' | '"');
    text.is_empty() || text.contains(needs)
}

/// Go's quotes.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The line with everything escaped that a terminal would obey or a reader would not see.
fn escape(line: String, is_json: bool) -> String {
    if !line.chars().any(is_invisible) {
        return line;
    }
    let mut escaped = String::with_capacity(line.len() + 32);
    for c in line.chars() {
        if !is_invisible(c) {
            escaped.push(c);
        } else if is_json {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.extend(c.escape_unicode());
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIDDEN: &str = "a\u{61c}b\u{ad}c\u{180e}d\u{fff9}e\u{e0041}f\u{202e}g";

    fn record() -> LogRecord {
        LogRecord {
            at: "2026-11-28T22:51:37.351234Z".parse().unwrap(),
            level: LogLevel::Warn,
            message: "a host \"left\"".into(),
            fields: vec![
                ("service", "service-0".into()),
                ("host", HIDDEN.into()),
                ("seconds", 12.into()),
                ("level", "debug".into()),
                ("empty", "".into()),
            ],
            module: "rtun_node::hub::registry",
            caller: "hub/registry.rs:12".into(),
        }
    }

    const SERVICE: ServiceFields = ServiceFields { handler: "router", listener: "tls" };

    #[test]
    fn json_of_either_kind_means_the_same() {
        let rtun = line(&record(), LogFormat::Rtun, Some(&SERVICE), None, false);
        assert!(
            rtun.starts_with(
                r#"{"timestamp":"2026-11-28T22:51:37.351234Z","level":"WARN","message":"a host \"left\"","service":"service-0","#
            ),
            "{rtun}"
        );
        let gost = line(&record(), LogFormat::Json, Some(&SERVICE), Some("one"), true);
        let read: Value = serde_json::from_str(&gost).unwrap();
        for (name, value) in [
            ("level", "warn"),
            ("msg", "a host \"left\""),
            ("logger", "one"),
            ("kind", "handler"),
            ("service", "service-0"),
            ("listener", "tls"),
            ("handler", "router"),
            ("fields.level", "debug"),
            ("caller", "hub/registry.rs:12"),
            ("host", HIDDEN),
        ] {
            assert_eq!(read[name], value, "{gost}");
        }
        assert_eq!(read["seconds"], 12);
        let time: Timestamp = read["time"].as_str().unwrap().parse().unwrap();
        assert_eq!(time.as_millisecond(), record().at.as_millisecond());
        for line in [rtun, gost] {
            assert!(!line.trim_end().chars().any(is_invisible), "{line}");
        }
    }

    #[test]
    fn text_has_quotes_where_they_are_needed() {
        let text = line(&record(), LogFormat::Text, None, None, false);
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(time.starts_with("time=2026-11-2"), "{text}");
        assert_eq!(
            rest,
            "level=warn msg=\"a host \\\"left\\\"\" kind=handler service=service-0 \
             host=a\\u{61c}b\\u{ad}c\\u{180e}d\\u{fff9}e\\u{e0041}f\\u{202e}g seconds=12 \
             fields.level=debug empty=\"\"\n"
        );
        let mut forged = record();
        forged.message = "joined\nlevel=error msg=forged".into();
        let text = line(&forged, LogFormat::Text, None, None, false);
        assert_eq!(text.lines().count(), 1, "{text}");
    }

    #[test]
    fn lines_say_which_part_of_a_service_they_come_from() {
        for (module, expected) in [
            ("rtun_node::hub", "service"),
            ("rtun_node::hooks", "service"),
            ("rtun_node::hub::listener::certificate", "listener"),
            ("rtun_node::device", "listener"),
            ("rtun_node::host::reconnect", "handler"),
            ("rtun_node::udp_tunnel::server", "handler"),
            ("rtun_node::hub::connections", "handler"),
            ("rtun::run", "service"),
        ] {
            assert_eq!(kind(module), expected, "{module}");
        }
    }
}
