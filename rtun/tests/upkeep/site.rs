//! A folder with everything that an rtun has on its machine, and the rtun that runs there.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// For what should happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A folder with everything that an rtun has on its machine.
pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) port: u16,
}

/// A running rtun, which ends with it.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) log: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Site {
    pub(crate) fn new() -> Self {
        // Free when it was asked for; another test's own is its own.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { folder: tempfile::tempdir().unwrap(), port }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// A hub with one route, and more keys at its end.
    pub(crate) fn hub(&self, listener: &str, more: &str) -> String {
        let port = self.port;
        format!(
            "
services:
- name: service-0
  addr: 127.0.0.1:{port}
  handler: {{type: router, metadata: {{router: router-0}}}}
  listener: {listener}
routers:
- name: router-0
  routes: [{{dst: 192.168.123.1, gateway: host-1}}]
{more}"
        )
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rtun"));
        command.args(arguments).current_dir(&self.folder).env_clear().stdin(Stdio::null());
        command.env("RTUN_STATE_DIR", self.path("state"));
        command.env("RUNTIME_DIRECTORY", self.path("run"));
        command
    }

    pub(crate) fn output(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
    }

    /// Starts it with this configuration, its errors in a file.
    pub(crate) fn start(&self, config: &str) -> Running {
        let file = self.file("rtun.yaml", config);
        self.spawn(self.command(&["-C", file.to_str().unwrap()]))
    }

    pub(crate) fn spawn(&self, mut command: Command) -> Running {
        let (log, path) =
            tempfile::Builder::new().tempfile_in(&self.folder).unwrap().keep().unwrap();
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Running { child, log: path }
    }

    /// Starts it and waits until it listens.
    pub(crate) fn hub_with(&self, listener: &str, more: &str) -> Running {
        let mut hub = self.start(&self.hub(listener, more));
        hub.wait_for("hub listens");
        hub
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }
}

impl Running {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits until its errors hold a text.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let start = Instant::now();
        loop {
            let log = fs::read_to_string(&self.log).unwrap();
            if let Some(line) = log.lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < SOON, "no {text:?}: {ended:?}\n{log}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < SOON, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
