//! `rtun-workbench demo`: a hub, two hosts and a network behind each, on this machine, with the tutorial's files.
//!
//! ```text
//!   lan-1 192.168.100.2 -- host-1 192.168.123.1 ---+
//!                                                  +--- hub 10.0.0.1:8443, "server_ip"
//!   lan-2 192.168.200.2 -- host-2 192.168.123.2 ---+
//! ```

use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use clap::Args as ClapArgs;
use nix::{sys::signal::Signal, unistd::Uid};
use rtun_lab::{
    Lab, LabError, NetNamespace, Process, UserNamespaceError, enter_user_namespace, tools,
};

use crate::{
    complain,
    interruption::Interruption,
    program::{Program, ProgramError},
};

const SERVER: &str = include_str!("demo/server-routes.yaml");
const HOST_1: &str = include_str!("demo/host-1.yaml");
const HOST_2: &str = include_str!("demo/host-2.yaml");

const HUB_ADDRESS: &str = "10.0.0.1";
const HOST_2_INSIDE: &str = "192.168.123.2";
const LAN_1_MACHINE: &str = "192.168.100.2";
const LAN_2_MACHINE: &str = "192.168.200.2";

/// How long something that should happen at once may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long throughput is measured.
const MEASURE: Duration = Duration::from_secs(3);

/// A hub and two hosts on this machine, with the tutorial's files
///
/// Needs root, or a system that allows user namespaces. Touches nothing outside of the namespaces it makes.
#[derive(ClapArgs)]
pub(crate) struct Demo {
    #[command(flatten)]
    program: Program,
    /// End after the measurements instead of staying up until Ctrl-C
    #[arg(long)]
    once: bool,
}

#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("starting {}: {source}", .program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error(transparent)]
    UserNamespace(#[from] UserNamespaceError),
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error("{0}")]
    NoTun(String),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{what} did not happen within {} s; the logs are in {}", PATIENCE.as_secs(), .logs.display())]
    Late { what: &'static str, logs: PathBuf },
    #[error("ended by a signal")]
    Interrupted,
    #[error("measuring throughput: {0}")]
    Throughput(#[from] tools::TransferError),
}

impl Demo {
    pub(crate) fn run(self) -> ExitCode {
        match self.show() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&format!("rtun-workbench demo: {error}"));
                ExitCode::FAILURE
            }
        }
    }

    fn show(&self) -> Result<(), DemoError> {
        let program = self.program.find()?;
        let rootless = !Uid::effective().is_root();
        if rootless {
            enter_user_namespace()?;
        }
        rtun_lab::tun_available().map_err(DemoError::NoTun)?;
        let folder = tempfile::Builder::new().prefix("rtun-demo-").tempdir()?;
        let result = self.show_in(&program, folder.path(), rootless);
        if result.as_ref().is_err_and(|error| !matches!(error, DemoError::Interrupted)) {
            // The logs tell why.
            let _ = folder.keep();
        }
        result
    }

    fn show_in(&self, program: &Path, folder: &Path, rootless: bool) -> Result<(), DemoError> {
        let network = DemoNetwork::build(program, folder, Interruption::listen(|| {})?)?;
        let mut out = io::stdout();
        writeln!(out, "A hub and two hosts are starting, each in a network namespace of its own.")?;
        writeln!(out, "Configuration (the tutorial's own) and logs: {}\n", folder.display())?;

        let joined = network.wait_for_ping(&network.host_1, HOST_2_INSIDE)?;
        writeln!(
            out,
            "host-1 reaches host-2 ({HOST_2_INSIDE}) after {:.1} s",
            joined.as_secs_f32()
        )?;
        network.wait_for_ping(&network.lan_1, LAN_2_MACHINE)?;
        let trip = network.median_ping(&network.lan_1, LAN_2_MACHINE)?;
        writeln!(
            out,
            "a machine behind host-1 reaches one behind host-2 ({LAN_2_MACHINE}): {:.2} ms there and back",
            trip.as_secs_f64() * 1000.0
        )?;
        let to = SocketAddr::new(address(HOST_2_INSIDE), 5001);
        let rate = tools::tcp_throughput(&network.host_1, &network.host_2, to, MEASURE);
        network.still_wanted()?;
        let rate = rate?;
        writeln!(
            out,
            "one TCP stream from host-1 to host-2: {:.2} Gbit/s ({})\n",
            rate.gbit_per_s(),
            rate.congestion_control
        )?;
        if self.once {
            return Ok(());
        }
        write!(out, "{}", network.what_to_try(rootless, folder))?;
        if io::stdin().is_terminal() {
            writeln!(out, "\nCtrl-C ends it all.")?;
        }
        network.interruption.wait();
        for process in [&network.host_1_process, &network.host_2_process, &network.hub_process] {
            // Ctrl-C in a terminal reaches them too, so they may have ended by themselves.
            let _ = process.signal(Signal::SIGTERM);
            process.wait(PATIENCE)?;
        }
        Ok(())
    }
}

struct DemoNetwork {
    interruption: Interruption,
    host_1: NetNamespace,
    host_2: NetNamespace,
    lan_1: NetNamespace,
    hub_process: Process,
    host_1_process: Process,
    host_2_process: Process,
    logs: PathBuf,
    _lan_2: NetNamespace,
    _switch: rtun_lab::Switch,
    _lab: Lab,
}

impl DemoNetwork {
    fn build(program: &Path, folder: &Path, interruption: Interruption) -> Result<Self, DemoError> {
        let lab = Lab::new()?;
        let [hub, host_1, host_2, lan_1, lan_2] =
            ["hub", "host-1", "host-2", "lan-1", "lan-2"].map(|name| lab.namespace(name));
        let (hub, host_1, host_2, lan_1, lan_2) = (hub?, host_1?, host_2?, lan_1?, lan_2?);
        let switch = lab.switch()?;
        switch.attach(&hub, "eth0", &["10.0.0.1/24"])?;
        switch.attach(&host_1, "eth0", &["10.0.0.2/24"])?;
        switch.attach(&host_2, "eth0", &["10.0.0.3/24"])?;
        for (host, lan, third) in [(&host_1, &lan_1, 100), (&host_2, &lan_2, 200)] {
            lab.veth(host, "lan", lan, "eth0")?;
            host.addr_add("lan", &format!("192.168.{third}.1/24"))?;
            lan.addr_add("eth0", &format!("192.168.{third}.2/24"))?;
            lan.route_add("0.0.0.0/0", &format!("192.168.{third}.1"))?;
            host.forward_packets()?;
            host.hosts([("server_ip", HUB_ADDRESS)]);
        }
        let start = |namespace: &NetNamespace, name: &str, text: &str| {
            start(program, namespace, folder, name, text)
        };
        Ok(Self {
            interruption,
            hub_process: start(&hub, "server-routes", SERVER)?,
            host_1_process: start(&host_1, "host-1", HOST_1)?,
            host_2_process: start(&host_2, "host-2", HOST_2)?,
            host_1,
            host_2,
            lan_1,
            logs: folder.to_owned(),
            _lan_2: lan_2,
            _switch: switch,
            _lab: lab,
        })
    }

    /// Pings until an answer comes; returns how long that took.
    fn wait_for_ping(&self, from: &NetNamespace, to: &str) -> Result<Duration, DemoError> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            self.still_wanted()?;
            if tools::ping(from, address(to), 56, false, Duration::from_millis(200)).is_ok() {
                return Ok(start.elapsed());
            }
        }
        Err(DemoError::Late { what: "an answer to a ping", logs: self.logs.clone() })
    }

    fn median_ping(&self, from: &NetNamespace, to: &str) -> Result<Duration, DemoError> {
        let mut times = Vec::new();
        for _ in 0..15 {
            self.still_wanted()?;
            times.extend(tools::ping(from, address(to), 56, false, Duration::from_secs(1)));
        }
        times.sort();
        let median = times.get(times.len() / 2).copied();
        median.ok_or(DemoError::Late { what: "an answer to a ping", logs: self.logs.clone() })
    }

    /// Fails once a signal has come, which in a terminal has ended the hub and the hosts, too.
    fn still_wanted(&self) -> Result<(), DemoError> {
        if self.interruption.has_come() { Err(DemoError::Interrupted) } else { Ok(()) }
    }

    fn what_to_try(&self, rootless: bool, folder: &Path) -> String {
        let enter =
            if rootless { "nsenter --preserve-credentials -U -n -t" } else { "nsenter -n -t" };
        let (hub, host_1, host_2) =
            (self.hub_process.id(), self.host_1_process.id(), self.host_2_process.id());
        let folder = folder.display();
        format!(
            "What to try, in another terminal:\n\
             \x20 {enter} {host_1} ping {HOST_2_INSIDE}        # host-1 to host-2\n\
             \x20 {enter} {host_2} ping {LAN_1_MACHINE}        # host-2 to the network behind host-1\n\
             \x20 {enter} {host_1} ip route                   # what the tunnel set up\n\
             \x20 kill -USR1 {hub}; tail {folder}/server-routes.log  # what passed, what was lost, and why\n\
             \x20 $EDITOR {folder}/server-routes.yaml; kill -HUP {hub}  # other routes, nobody disconnected\n"
        )
    }
}

fn start(
    program: &Path,
    namespace: &NetNamespace,
    folder: &Path,
    name: &str,
    text: &str,
) -> Result<Process, DemoError> {
    let config = folder.join(format!("{name}.yaml"));
    std::fs::write(&config, text)?;
    let log = File::create(folder.join(format!("{name}.log")))?;
    let mut command = Command::new(program);
    command.arg("-C").arg(config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    namespace
        .spawn(command)
        .map_err(|source| DemoError::Start { program: program.to_owned(), source })
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("the demo's addresses are constants of this file")
}
