//! `rtun logs`: what running rtuns log, also at levels that their logs leave out.

use std::process::ExitCode;

use clap::{Args as ClapArgs, ValueEnum};
use rtun_node::{
    control_socket::{ControlRequest, FollowAnswer, FollowRequest},
    units::printable,
    watch::{LineLevel, LiveLogLine},
};
use serde_json::Value;

use crate::{
    asking::{AskedProcesses, is_heard},
    when::clock,
};

/// What the running rtuns of this machine log from now on, until this is ended
///
/// Lines of any level can be seen, whatever the configured level; their logs stay as they are. A terminal that is too slow
/// misses lines, and how many is said.
///
/// Exit status: 0 when the rtun has ended, or 1 when there is none that this user may ask.
#[derive(ClapArgs)]
pub(crate) struct Logs {
    #[command(flatten)]
    asked: AskedProcesses,
    /// Follow the log; there is no other way
    #[arg(short, long)]
    follow: bool,
    /// The least level
    #[arg(long, value_enum, default_value = "info")]
    level: Level,
    /// Only lines about this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl Logs {
    pub(crate) fn run(self) -> ExitCode {
        let level = match self.level {
            Level::Trace => LineLevel::Trace,
            Level::Debug => LineLevel::Debug,
            Level::Info => LineLevel::Info,
            Level::Warn => LineLevel::Warn,
            Level::Error => LineLevel::Error,
        };
        let request = ControlRequest::Follow(FollowRequest::Log { level });
        self.asked.follow(&request, |_, answer| {
            let service = &answer["log"]["fields"]["service"];
            if self.service.as_ref().is_some_and(|name| service != name && !service.is_null()) {
                return true;
            }
            let line = match self.json {
                true => answer.to_string(),
                false => text(answer),
            };
            is_heard(&line)
        })
    }
}

fn text(answer: Value) -> String {
    match serde_json::from_value(answer) {
        Ok(FollowAnswer::Log(line)) => logged(&line),
        Ok(FollowAnswer::Missed(lines)) => format!("... {lines} lines were missed"),
        Ok(FollowAnswer::Error(error)) => printable(&error),
        Ok(FollowAnswer::Event(_) | FollowAnswer::Drop(_)) => String::new(),
        Err(error) => format!("rtun: {error}"),
    }
}

/// `12:00:01.250 INFO  host left  host=host-1 seconds=12`
fn logged(line: &LiveLogLine) -> String {
    let level = line.level.as_str().to_uppercase();
    let fields = line.fields.iter().map(|(name, value)| match value {
        Value::String(text) => format!(" {name}={}", printable(text)),
        other => format!(" {name}={other}"),
    });
    let fields: String = fields.collect();
    format!("{} {level:<5} {} {fields}", clock(line.time), printable(&line.message))
}
