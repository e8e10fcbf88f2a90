//! One command of a hook: started in a process group of its own, waited for, and killed with its group when it takes too long.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use rtun_settings::{Hook, HookCommand};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Lines of output that are logged of one command; more are counted.
const MAX_LINES: usize = 100;

/// Bytes that are logged of one line; the rest is cut off.
const MAX_LINE: usize = 1024;

/// A command that has to end has this long to do so by itself.
const GRACE: Duration = Duration::from_secs(1);

/// After a command has ended, what it has started in the background may still write for this long before nobody reads it.
const LATE_OUTPUT: Duration = Duration::from_millis(200);

/// Why a command of a hook has failed. The texts continue "hook `command`".
#[derive(Debug, thiserror::Error)]
pub(super) enum HookFailure {
    #[error("cannot be started: {0}")]
    Start(#[source] io::Error),
    #[error("cannot be waited for: {0}")]
    Wait(#[source] io::Error),
    #[error("failed: {}", describe(*.0))]
    Status(ExitStatus),
    #[error(
        "took longer than {0:?} and was killed; a command that needs longer may have it by `hookTimeout`, \
         one that stays has to go to the background"
    )]
    TooLong(Duration),
    #[error("was killed: rtun stops")]
    Stopping,
}

/// A command to run.
pub(super) struct HookProcess<'a> {
    pub(super) service: &'a str,
    pub(super) hook: Hook,
    pub(super) command: &'a HookCommand,
    /// Set in addition to the environment of rtun.
    pub(super) environment: Vec<(&'static str, &'a str)>,
    pub(super) time_limit: Duration,
}

/// The processes of a command; those that are left are killed when this is dropped.
pub(crate) struct ProcessGroup(Option<Pid>);

impl HookProcess<'_> {
    /// Runs it to its end, or until `stopping`.
    pub(super) async fn run(
        &self,
        stopping: Option<&CancellationToken>,
    ) -> Result<(), HookFailure> {
        if stopping.is_some_and(CancellationToken::is_cancelled) {
            return Err(HookFailure::Stopping);
        }
        let HookCommand { program, arguments, .. } = self.command;
        let mut command = Command::new(program);
        command.args(arguments).envs(self.environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(HookFailure::Start)?;
        let mut group = ProcessGroup::of(&child);
        let lines = AtomicUsize::new(0);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let output = join(
            self.log_lines("stdout", stdout, &lines),
            self.log_lines("stderr", stderr, &lines),
        );
        let ended = async {
            let stopped = async {
                match stopping {
                    Some(stopping) => stopping.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            let failure = tokio::select! {
                status = child.wait() => {
                    let status = status.map_err(HookFailure::Wait)?;
                    group.leave();
                    return status.success().then_some(()).ok_or(HookFailure::Status(status));
                }
                () = sleep(self.time_limit) => HookFailure::TooLong(self.time_limit),
                () = stopped => HookFailure::Stopping,
            };
            group.signal(Signal::SIGTERM);
            let _ = timeout(GRACE, child.wait()).await;
            group.signal(Signal::SIGKILL);
            child.wait().await.map_err(HookFailure::Wait)?;
            group.leave();
            Err(failure)
        };
        let result = read_until(ended, output).await;
        let left_out = lines.into_inner().saturating_sub(MAX_LINES);
        if left_out > 0 {
            let (service, hook) = (self.service, self.hook.as_str());
            warn!(
                service,
                hook,
                command = self.command.text,
                lines = left_out,
                "lines of a hook's output are left out"
            );
        }
        result
    }

    /// Logs what comes, line by line, until the end.
    async fn log_lines(
        &self,
        stream: &'static str,
        from: Option<impl AsyncRead + Unpin>,
        lines: &AtomicUsize,
    ) {
        let Some(from) = from else { return };
        read_lines(from, |line| {
            if lines.fetch_add(1, Ordering::Relaxed) < MAX_LINES {
                info!(
                    service = self.service,
                    hook = self.hook.as_str(),
                    command = self.command.text,
                    stream,
                    output = %line,
                    "hook output"
                );
            }
        })
        .await;
    }
}

impl ProcessGroup {
    /// That of a process which leads its own.
    pub(crate) fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.map(Pid::from_raw))
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // There may be none of them left.
            let _ = killpg(group, signal);
        }
    }

    /// Its leader has been waited for: the number may come to mean others.
    pub(crate) fn leave(&mut self) {
        self.0 = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// Reads `output` while a command runs, and for a moment after its end.
async fn read_until<T>(ended: impl Future<Output = T>, output: impl Future) -> T {
    tokio::pin!(ended, output);
    tokio::select! {
        result = &mut ended => {
            let _ = timeout(LATE_OUTPUT, output).await;
            result
        }
        _ = &mut output => ended.await,
    }
}

/// Hands on each line, at most [`MAX_LINE`] bytes of it, without its end.
async fn read_lines(from: impl AsyncRead + Unpin, mut each: impl FnMut(&str)) {
    let mut from = BufReader::new(from);
    let (mut line, mut is_begun) = (Vec::new(), false);
    while let Ok(bytes) = from.fill_buf().await {
        if bytes.is_empty() {
            break;
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let content = &bytes[..end.unwrap_or(bytes.len())];
        let room = MAX_LINE.saturating_sub(line.len());
        line.extend_from_slice(&content[..content.len().min(room)]);
        is_begun = true;
        let taken = end.map_or(bytes.len(), |end| end + 1);
        from.consume(taken);
        if end.is_some() {
            each(&String::from_utf8_lossy(&line));
            line.clear();
            is_begun = false;
        }
    }
    if is_begun {
        each(&String::from_utf8_lossy(&line));
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => format!("it was ended by {signal}"),
            Err(_) => format!("it was ended by signal {signal}"),
        },
        (None, None) => status.to_string(),
    }
}
