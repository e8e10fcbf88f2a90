//! `rtun drops`: what running rtuns lose and why, live.

use std::process::ExitCode;

use clap::Args as ClapArgs;
use rtun_node::{
    control_socket::{ControlRequest, FollowAnswer, FollowRequest},
    units::{count, printable},
    watch::{DropReasonView, DropSample, DropsView},
};
use serde_json::Value;

use crate::{
    EXIT_FAILURE,
    asking::{AskedProcesses, is_heard},
    say,
    table::table,
    when::clock,
};

/// What the running rtuns of this machine lose and why: the counts, then each packet as it is lost
///
/// Packets are looked at only while this runs. Of each reason a process keeps the last 64; how many more there were is said.
///
/// Exit status: 0, or 1 when there is no running rtun that this user may ask.
#[derive(ClapArgs)]
pub(crate) struct DropsCommand {
    #[command(flatten)]
    asked: AskedProcesses,
    /// Print the counts only
    #[arg(long)]
    once: bool,
    /// Print one JSON object a line: the counts, then each packet
    #[arg(long)]
    json: bool,
}

impl DropsCommand {
    pub(crate) fn run(self) -> ExitCode {
        let counts = match self.asked.ask::<DropsView>(&ControlRequest::Drops) {
            Ok(counts) => counts,
            Err(status) => return status,
        };
        for counts in &counts {
            let text = match self.json {
                true => json(counts) + "\n",
                false => reasons(&counts.reasons),
            };
            if say(&text) != ExitCode::SUCCESS {
                return ExitCode::from(EXIT_FAILURE);
            }
        }
        if self.once {
            return ExitCode::SUCCESS;
        }
        self.asked.follow(&ControlRequest::Follow(FollowRequest::Drops), |_, answer| {
            let line = match self.json {
                true => answer.to_string(),
                false => line(answer),
            };
            is_heard(&line)
        })
    }
}

fn json(counts: &DropsView) -> String {
    serde_json::to_string(counts).unwrap_or_else(|error| Value::from(error.to_string()).to_string())
}

fn reasons(reasons: &[DropReasonView]) -> String {
    if reasons.is_empty() {
        return "nothing is lost\n".into();
    }
    let head = ["SERVICE", "REASON", "PACKETS", "LAST", "MEANS"].map(str::to_owned).to_vec();
    let rows = reasons.iter().map(|it| {
        let last = clock(it.last as f64);
        vec![
            printable(&it.service),
            it.reason.clone(),
            count(it.packets as f64),
            last,
            it.help.clone(),
        ]
    });
    table("", "llrll", std::iter::once(head).chain(rows).collect())
}

fn line(answer: Value) -> String {
    match serde_json::from_value(answer) {
        Ok(FollowAnswer::Drop(sample)) => sampled(&sample),
        Ok(FollowAnswer::Missed(packets)) => format!("... and {packets} more"),
        Ok(FollowAnswer::Error(error)) => printable(&error),
        Ok(FollowAnswer::Event(_) | FollowAnswer::Log(_)) => String::new(),
        Err(error) => format!("rtun: {error}"),
    }
}

/// `12:00:01.250 no_route: 10.0.0.1 -> 10.9.0.1 udp, 100 bytes, of host-1 in service-0`
fn sampled(sample: &DropSample) -> String {
    let DropSample { time, reason, service, host, source, destination, protocol, length, .. } =
        sample;
    let addresses = match (source, destination) {
        (Some(source), Some(destination)) => format!("{source} -> {destination}"),
        _ => "no IP packet".to_owned(),
    };
    let protocol = protocol.as_ref().map_or(String::new(), |protocol| format!(" {protocol}"));
    let host = host.as_ref().map_or(String::new(), |host| format!(" of {}", printable(host)));
    format!(
        "{} {reason}: {addresses}{protocol}, {length} bytes,{host} at {}",
        clock(*time),
        printable(service)
    )
}
