//! `rtun status`: how the rtuns of this machine go.

mod limits;
mod text;

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Args as ClapArgs;
use rtun_node::{
    NodeStatus,
    control_socket::{ControlAskError, ControlRequest, SocketLocations, ask, remove_stale},
    units::printable,
};
use serde_json::Value;

use self::text::Look;
use crate::{EXIT_FAILURE, complain};

/// Clears a terminal.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// How the running rtuns of this machine go: hosts, traffic, drops, problems
///
/// Exit status: 0, or 1 when there is no running rtun that this user may ask.
#[derive(ClapArgs)]
pub(crate) struct StatusCommand {
    /// Ask only the rtun with this control socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print everything, as one JSON array with an object for each rtun
    #[arg(long)]
    json: bool,
    /// Look again at this interval, and show rates
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = period)]
    watch: Option<Duration>,
}

/// What one rtun has answered.
struct SeenStatus {
    json: Value,
    status: NodeStatus,
    when: Instant,
}

impl StatusCommand {
    pub(crate) fn run(self) -> ExitCode {
        let places = SocketLocations::from_vars(|name| std::env::var_os(name));
        let screen = io::stdout().is_terminal();
        let colour = screen && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let mut before = Vec::new();
        loop {
            let (seen, complaints) = self.look(&places);
            let text = match self.json {
                true => as_json(&seen, self.watch.is_some()),
                false => as_text(&seen, &before, colour),
            };
            let clear = if self.watch.is_some() && screen && !self.json { CLEAR } else { "" };
            let shown = io::stdout().write_all(format!("{clear}{text}").as_bytes());
            for complaint in &complaints {
                complain(complaint);
            }
            if seen.is_empty() {
                self.complain_of_nobody(&places);
            }
            match (shown, self.watch) {
                (Ok(()), Some(period)) => thread::sleep(period),
                (Ok(()), None) if !seen.is_empty() => return ExitCode::SUCCESS,
                // A reader that has gone has seen enough.
                (Err(error), _) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return ExitCode::SUCCESS;
                }
                _ => return ExitCode::from(EXIT_FAILURE),
            }
            before = seen;
        }
    }

    /// Asks everybody; also returns what went wrong with whom.
    fn look(&self, places: &SocketLocations) -> (Vec<SeenStatus>, Vec<String>) {
        let sockets = match &self.socket {
            Some(socket) => vec![socket.clone()],
            None => places.sockets(),
        };
        let (mut seen, mut complaints) = (Vec::new(), Vec::new());
        for socket in sockets {
            let answer = ask(&socket, &ControlRequest::Status).and_then(|json| {
                let status = serde_json::from_value(json.clone())?;
                Ok(SeenStatus { json, status, when: Instant::now() })
            });
            match answer {
                Ok(answer) => seen.push(answer),
                // Its process was killed: nobody will miss it.
                Err(ControlAskError::Nobody) if self.socket.is_none() => {
                    drop(remove_stale(&socket))
                }
                Err(error) => complaints.push(format!(
                    "rtun: {}: {}",
                    socket.display(),
                    printable(&error.to_string())
                )),
            }
        }
        (seen, complaints)
    }

    fn complain_of_nobody(&self, places: &SocketLocations) {
        if self.socket.is_some() {
            return complain("rtun: no running rtun there");
        }
        let folders = places.searched();
        let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        complain(&format!(
            "rtun: no running rtun that this user may ask; looked for its control socket in $RTUN_SOCKET and {}",
            folders.join(", ")
        ));
    }
}

/// At least a tenth of a second.
pub(crate) fn period(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(period) if period >= Duration::from_millis(100) => Ok(period),
        _ => Err("at least 0.1 seconds".into()),
    }
}

/// One array; while watching one per line.
fn as_json(seen: &[SeenStatus], compact: bool) -> String {
    let all = Value::Array(seen.iter().map(|seen| seen.json.clone()).collect());
    if compact { format!("{all}\n") } else { format!("{all:#}\n") }
}

fn as_text(seen: &[SeenStatus], before: &[SeenStatus], colour: bool) -> String {
    let texts: Vec<_> = seen
        .iter()
        .map(|now| {
            let same = |then: &&SeenStatus| {
                (then.status.pid, then.status.started) == (now.status.pid, now.status.started)
            };
            let before = before.iter().find(same);
            let before = before.map(|then| (&then.status, now.when - then.when));
            Look { now: &now.status, before, colour }.text()
        })
        .collect();
    texts.join("\n")
}
