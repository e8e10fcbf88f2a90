//! Several processes of one command line, which `--` separates: they live and end together.

use std::{
    env, io,
    process::{ExitCode, ExitStatus},
    time::Duration,
};

use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::timeout,
};

use crate::{EXIT_FAILURE, EXIT_USAGE, complain};
use rtun_config::cli;

/// GOST's name of the variable that numbers the processes, from 0.
const NUMBER: &str = "_GOST_ID";

/// How long processes may take to end when they are asked to.
const ENDING: Duration = Duration::from_secs(20);

/// Has the system end this process with the one that started it as one of several.
pub(crate) fn end_with_parent() {
    if env::var_os(NUMBER).is_some() {
        // Without it the parent still passes on every signal that it gets.
        let _ = prctl::set_pdeathsig(Signal::SIGTERM);
    }
}

/// Runs this program once for each of `parts`, until all have ended or one has failed; then the others are ended. The exit status is
/// that of the first that failed.
pub(crate) fn run(parts: &[&[String]]) -> ExitCode {
    for (number, part) in parts.iter().enumerate() {
        let wrong = match cli::parse(part.iter()) {
            Ok(_) if part.is_empty() => "there are no flags next to a `--`".to_owned(),
            Ok(_) => continue,
            Err(error) => error.to_string(),
        };
        complain(&format!("rtun: process {number}: {wrong}"));
        return ExitCode::from(EXIT_USAGE);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(live(parts))) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            complain(&format!("rtun: cannot run several processes: {error}"));
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

async fn live(parts: &[&[String]]) -> io::Result<u8> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut user_1 = signal(SignalKind::user_defined1())?;
    let mut processes = ChildProcesses::start(parts)?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => processes.signal(Signal::SIGINT),
            _ = terminate.recv() => processes.signal(Signal::SIGTERM),
            _ = hang_up.recv() => processes.signal(Signal::SIGHUP),
            _ = user_1.recv() => processes.signal(Signal::SIGUSR1),
            ended = processes.next() => match ended {
                None => return Ok(0),
                Some(0) => {}
                Some(status) => {
                    processes.end().await;
                    return Ok(status);
                }
            },
        }
    }
}

/// The processes that have not ended; dropping them kills them.
struct ChildProcesses {
    ids: Vec<Pid>,
    waiting: JoinSet<(Option<Pid>, io::Result<ExitStatus>)>,
}

impl ChildProcesses {
    fn start(parts: &[&[String]]) -> io::Result<Self> {
        let program = env::current_exe()?;
        let mut processes = Self { ids: Vec::new(), waiting: JoinSet::new() };
        for (number, part) in parts.iter().enumerate() {
            let mut command = Command::new(&program);
            command.args(*part).env(NUMBER, number.to_string()).kill_on_drop(true);
            let mut child: Child = command.spawn()?;
            let id = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
            processes.ids.extend(id);
            processes.waiting.spawn(async move { (id, child.wait().await) });
        }
        Ok(processes)
    }

    fn signal(&self, signal: Signal) {
        for id in &self.ids {
            // One that has just ended needs none.
            let _ = kill(*id, signal);
        }
    }

    /// The exit status of the next that ends; `None` if none is left.
    async fn next(&mut self) -> Option<u8> {
        use std::os::unix::process::ExitStatusExt;

        let Ok((id, status)) = self.waiting.join_next().await? else { return Some(EXIT_FAILURE) };
        self.ids.retain(|other| Some(*other) != id);
        let Ok(status) = status else { return Some(EXIT_FAILURE) };
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        Some(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(EXIT_FAILURE))
    }

    /// Ends those that are left.
    async fn end(&mut self) {
        self.signal(Signal::SIGTERM);
        let all = async { while self.next().await.is_some() {} };
        // Those that do not end by then are killed when they are dropped.
        let _ = timeout(ENDING, all).await;
    }
}
