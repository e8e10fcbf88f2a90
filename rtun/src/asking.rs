//! Which running rtuns a command asks, and what it does with their answers.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc,
    thread,
};

use clap::Args as ClapArgs;
use rtun_node::{
    control_socket::{ControlAskError, ControlRequest, SocketLocations, ask, follow, remove_stale},
    units::printable,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{EXIT_FAILURE, complain};

/// Answers of followed processes that wait to be printed; their readers wait when there are more.
const WAITING: usize = 64;

/// Whom to ask.
#[derive(ClapArgs, Clone)]
pub(crate) struct AskedProcesses {
    /// Ask only the rtun with this control socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Ask only the rtun with this process id
    #[arg(long, value_name = "PID", conflicts_with = "socket")]
    pid: Option<u32>,
}

impl AskedProcesses {
    /// The control sockets of those to be asked.
    pub(crate) fn sockets(&self) -> Vec<PathBuf> {
        match (&self.socket, self.pid) {
            (Some(socket), _) => vec![socket.clone()],
            (None, pid) => {
                let name = pid.map(|pid| format!("{pid}.sock"));
                let all = SocketLocations::from_vars(|name| std::env::var_os(name)).sockets();
                let is_asked = |path: &Path| name.as_ref().is_none_or(|name| path.ends_with(name));
                all.into_iter().filter(|path| is_asked(path)).collect()
            }
        }
    }

    /// Asks everybody. The error is the exit status where nobody answers, which is said.
    pub(crate) fn ask<T: DeserializeOwned>(
        &self,
        request: &ControlRequest,
    ) -> Result<Vec<T>, ExitCode> {
        let mut all = Vec::new();
        let mut said = false;
        for (socket, answer) in self.ask_each(request) {
            match answer {
                Ok(answer) => all.push(answer),
                Err(error) => {
                    said = true;
                    complain(&failed(&socket, &error));
                }
            }
        }
        match all.is_empty() {
            true if said => Err(ExitCode::from(EXIT_FAILURE)),
            true => Err(nobody()),
            false => Ok(all),
        }
    }

    /// The answer of each that there is.
    pub(crate) fn ask_each<T: DeserializeOwned>(
        &self,
        request: &ControlRequest,
    ) -> Vec<(PathBuf, Result<T, ControlAskError>)> {
        let mut all = Vec::new();
        for socket in self.sockets() {
            match ask_one(&socket, request) {
                // Its process was killed: nobody will miss it.
                Err(ControlAskError::Nobody) if self.socket.is_none() => {
                    drop(remove_stale(&socket));
                }
                answer => all.push((socket, answer)),
            }
        }
        all
    }

    /// Calls `take` with each line that those asked send, until it returns false or all have ended.
    pub(crate) fn follow(
        &self,
        request: &ControlRequest,
        mut take: impl FnMut(&Path, Value) -> bool,
    ) -> ExitCode {
        let (lines, received) = mpsc::sync_channel(WAITING);
        let mut followed = 0;
        for socket in self.sockets() {
            match follow(&socket, request) {
                Ok(answers) => {
                    followed += 1;
                    let lines = lines.clone();
                    thread::spawn(move || {
                        for answer in answers {
                            let ends = answer.is_err();
                            if lines.send((socket.clone(), answer)).is_err() || ends {
                                break;
                            }
                        }
                    });
                }
                Err(ControlAskError::Nobody) if self.socket.is_none() => {}
                Err(error) => complain(&failed(&socket, &error)),
            }
        }
        drop(lines);
        if followed == 0 {
            return nobody();
        }
        for (socket, answer) in received {
            match answer {
                Ok(answer) => {
                    if !take(&socket, answer) {
                        break;
                    }
                }
                Err(error) => {
                    complain(&failed(&socket, &error));
                    return ExitCode::from(EXIT_FAILURE);
                }
            }
        }
        ExitCode::SUCCESS
    }
}

/// Asks the process with this control socket.
pub(crate) fn ask_one<T: DeserializeOwned>(
    socket: &Path,
    request: &ControlRequest,
) -> Result<T, ControlAskError> {
    Ok(serde_json::from_value(ask(socket, request)?)?)
}

/// Writes a line to the standard output; false: nobody reads it any more.
pub(crate) fn is_heard(line: &str) -> bool {
    io::stdout().write_all(format!("{line}\n").as_bytes()).is_ok()
}

/// Says that nobody answers.
pub(crate) fn nobody() -> ExitCode {
    complain("rtun: no running rtun there that this user may ask");
    ExitCode::from(EXIT_FAILURE)
}

/// What is said of a process that does not answer.
pub(crate) fn failed(socket: &Path, error: &ControlAskError) -> String {
    format!("rtun: {}: {}", socket.display(), printable(&error.to_string()))
}
