//! Programs started in a lab; they end with it.

use std::io;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often a program that should end is checked.
const POLL: Duration = Duration::from_millis(5);

/// A program running in a namespace. Dropping this does not end it; dropping the lab does.
#[derive(Debug, Clone)]
pub struct Process {
    id: u32,
    child: Arc<Mutex<Child>>,
}

impl Process {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its standard input, once, if it was piped.
    pub fn stdin(&self) -> Option<ChildStdin> {
        self.lock().stdin.take()
    }

    /// Its standard output, once, if it was piped.
    pub fn stdout(&self) -> Option<ChildStdout> {
        self.lock().stdout.take()
    }

    /// Its standard error, once, if it was piped.
    pub fn stderr(&self) -> Option<ChildStderr> {
        self.lock().stderr.take()
    }

    /// How it ended, or `None` while it runs.
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        self.lock().try_wait()
    }

    /// Waits for its end, at most `within`; `None` when it still runs then.
    pub fn wait(&self, within: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + within;
        loop {
            // Locked only for one check: the lab must be able to kill a program during a wait.
            let status = self.try_wait()?;
            if status.is_some() || Instant::now() >= deadline {
                return Ok(status);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Sends it a signal; fails with [`io::ErrorKind::NotFound`] when it has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let mut child = self.lock();
        // Not reaped while we have the lock, so the id is still this program's.
        if child.try_wait()?.is_some() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the program has ended"));
        }
        Ok(kill(Pid::from_raw(child.id().cast_signed()), signal)?)
    }

    /// Kills it (SIGKILL) and waits for its end. It is no error if it has ended already.
    pub fn kill(&self) -> io::Result<ExitStatus> {
        let mut child = self.lock();
        child.kill()?;
        child.wait()
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The programs of a lab, and whether more may start.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    state: Mutex<ProcessList>,
}

#[derive(Debug, Default)]
struct ProcessList {
    started: Vec<Process>,
    ended: bool,
}

impl Processes {
    /// Starts `command` from the calling thread, in its namespaces.
    pub(crate) fn start(&self, command: &mut Command) -> io::Result<Process> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.ended {
            return Err(io::Error::other("the lab was dropped"));
        }
        let child = command.spawn()?;
        let process = Process { id: child.id(), child: Arc::new(Mutex::new(child)) };
        // Ended programs need not be killed. Otherwise a long lab would collect them.
        state.started.retain(|process| matches!(process.try_wait(), Ok(None)));
        state.started.push(process.clone());
        Ok(process)
    }

    /// Kills the programs that still run, and starts no more.
    pub(crate) fn end_all(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended = true;
        for process in state.started.drain(..) {
            // It fails only if the program has ended already.
            let _ = process.kill();
        }
    }
}
