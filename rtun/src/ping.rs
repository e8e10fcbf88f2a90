//! `rtun ping`: the path to a host, leg by leg.

mod summary;

use std::{
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Args as ClapArgs;
use rtun_core::NamespaceId;
use rtun_node::{
    LegOutcome, MAX_PROBE, PathLeg, PathQuery, PathView,
    control_socket::ControlRequest,
    units::{printable, short},
};

use self::summary::PathSummary;
use crate::{
    EXIT_FAILURE,
    asking::{AskedProcesses, ask_one, failed, is_heard, nobody},
    complain,
    routes::print_json,
    say,
};

/// The path to a host, leg by leg: round trip, loss, jitter, and the longest packet that each leg takes
///
/// On a host: from there to its hub, and from the hub to the host of that name. On a hub: from there to the host. Asks the ends
/// themselves, so no address of the host needs to be known, and nothing has to answer there but rtun.
///
/// Exit status: 0 when an answer came over the whole path, else 1.
#[derive(ClapArgs)]
pub(crate) struct PingCommand {
    #[command(flatten)]
    asked: AskedProcesses,
    /// Probe this often; 0: without end
    #[arg(short, long, value_name = "COUNT", default_value = "5")]
    count: u64,
    /// The time from one probe to the next, in seconds
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = crate::status::period)]
    interval: Duration,
    /// The length of each probe, as of an IP packet, in bytes
    #[arg(short, long, value_name = "BYTES", default_value = "64", value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_PROBE)))]
    size: u16,
    /// The namespace of the host, where a hub has several
    #[arg(long, value_name = "ID")]
    namespace: Option<NamespaceId>,
    /// The service that asks, where there are several
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Print one JSON object for each probe, then one for each leg, a line each
    #[arg(long)]
    json: bool,
    /// The host's name
    host: String,
}

impl PingCommand {
    pub(crate) fn run(self) -> ExitCode {
        let request = ControlRequest::Ping(PathQuery {
            host: self.host.clone(),
            namespace: self.namespace,
            service: self.service.clone(),
            size: self.size,
        });
        let mut begun = Instant::now();
        let (socket, mut path) = match self.first(&request) {
            Ok(found) => found,
            Err(status) => return status,
        };
        let mut summary = PathSummary::default();
        let mut number = 1;
        loop {
            summary.add(&path);
            if !self.print(number, &path) {
                return ExitCode::SUCCESS;
            }
            let is_hopeless = path.legs.iter().all(|leg| !leg.outcome.is_sent());
            if number == self.count || is_hopeless {
                break;
            }
            thread::sleep(self.interval.saturating_sub(begun.elapsed()));
            begun = Instant::now();
            number += 1;
            path = match ask_one(&socket, &request) {
                Ok(path) => path,
                Err(error) => {
                    complain(&failed(&socket, &error));
                    break;
                }
            };
        }
        let printed = match self.json {
            true => print_json(&summary.legs),
            false => say(&summary.text()),
        };
        match summary.is_reached() {
            true => printed,
            false => ExitCode::from(EXIT_FAILURE),
        }
    }

    /// The process that can ask, and what it has found out. The error is the exit status where there is none, which is said.
    fn first(&self, request: &ControlRequest) -> Result<(PathBuf, PathView), ExitCode> {
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        for (socket, answer) in self.asked.ask_each::<PathView>(request) {
            match answer {
                Ok(path) => found.push((socket, path)),
                Err(error) => errors.push((socket, error)),
            }
        }
        match found.len() {
            1 => return Ok(found.swap_remove(0)),
            0 if errors.is_empty() => return Err(nobody()),
            0 => errors.iter().for_each(|(socket, error)| complain(&failed(socket, error))),
            _ => {
                let sockets = found.iter().map(|(socket, _)| socket.display().to_string());
                let sockets = sockets.collect::<Vec<_>>().join(" or ");
                complain(&format!("rtun: several rtuns could ask: choose by --socket {sockets}"));
            }
        }
        Err(ExitCode::from(EXIT_FAILURE))
    }

    /// Whether somebody still reads what is printed.
    fn print(&self, number: u64, path: &PathView) -> bool {
        if self.json {
            let mut line = serde_json::to_value(path).unwrap_or_default();
            line["probe"] = number.into();
            return is_heard(&line.to_string());
        }
        let head = match number {
            1 => self::path(&path.legs) + "\n",
            _ => String::new(),
        };
        let legs: Vec<_> = path.legs.iter().map(leg).collect();
        is_heard(&format!("{head}{number:>4}  {}", legs.join("  +  ")))
    }
}

/// `host-1 -> hub:8443 -> host-2`
fn path(legs: &[PathLeg]) -> String {
    let places = legs.iter().take(1).map(|leg| &leg.from).chain(legs.iter().map(|leg| &leg.to));
    places.map(|place| short(place)).collect::<Vec<_>>().join(" -> ")
}

fn leg(leg: &PathLeg) -> String {
    match &leg.outcome {
        LegOutcome::Answered { round_trip } => milliseconds(*round_trip),
        LegOutcome::Lost => "lost".into(),
        LegOutcome::Unknown => "not known".into(),
        LegOutcome::NotMeasured { because } => printable(because),
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}
