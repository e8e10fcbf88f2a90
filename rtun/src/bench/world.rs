//! The network of a benchmark: a hub in the middle, hosts around it, and the programs that connect them.
//!
//! ```text
//!   host-1 10.0.1.2 --- 10.0.1.1 hub 10.0.2.1 --- 10.0.2.2 host-2
//!    tunnel 10.64.0.1                         tunnel 10.64.0.2
//! ```

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rtun_lab::{
    Lab, Namespace, Process,
    tools::{self, CongestionSetting, Flow},
};

use super::{BenchError, CONGESTION_CONTROL, cpu};

/// How long a network may take until packets pass.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where every host's traffic generator listens.
const PORT: u16 = 6000;

/// The relay's port for host 0; the others' follow.
const RELAY_PORTS: u16 = 7000;

/// What connects the hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// The plain relay.
    Relay,
    /// A tunnel: the commands of hub and hosts, before the arguments that say what to be.
    Tunnel { hub: Vec<String>, host: Vec<String> },
}

/// One of those compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contender {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The tunnel's MTU in bytes.
    pub(super) mtu: u16,
}

/// A running network of one contender.
pub(super) struct World {
    relay: bool,
    hub: Namespace,
    hosts: Vec<Namespace>,
    hub_process: Process,
    host_processes: Vec<Process>,
    congestion: CongestionSetting,
    _lab: Lab,
}

impl World {
    /// Builds a network of `hosts` hosts, starts the programs and waits until all pairs (0 and 1, 2 and 3, ...) reach
    /// each other. Configuration and logs go to `folder`.
    pub(super) fn start(
        contender: &Contender,
        hosts: usize,
        folder: &Path,
    ) -> Result<Self, BenchError> {
        let lab = Lab::new()?;
        let hub = lab.namespace("hub")?;
        let mut machines = Vec::new();
        let mut congestion = CongestionSetting::Sysctl;
        for index in 0..hosts {
            let machine = lab.namespace(&format!("host-{}", index + 1))?;
            let cable = format!("host-{}", index + 1);
            lab.veth(&hub, &cable, &machine, "eth0")?;
            for (end, device, address) in
                [(&hub, &*cable, outer(index, 1)), (&machine, "eth0", outer(index, 2))]
            {
                let address = format!("{address}/24");
                end.addr_add(device, &address)?;
                let set = tools::congestion_control(end, device, &address, CONGESTION_CONTROL)?;
                congestion = congestion.max(set);
            }
            machines.push(machine);
        }
        let start = |machine: &Namespace, command: Command| {
            start(machine, command, folder, &contender.name)
        };
        let mut host_processes = Vec::new();
        let hub_process = match &contender.kind {
            Kind::Relay => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("bench-relay");
                command.args(
                    (0..hosts)
                        .map(|index| format!("{}={}:{PORT}", relay_port(index), outer(index, 2))),
                );
                start(&hub, command)?
            }
            Kind::Tunnel { hub: hub_command, host: host_command } => {
                let file = folder.join(format!("{}-hub.yaml", contender.name));
                std::fs::write(&file, hub_configuration(hosts))?;
                let mut command = program(hub_command);
                command.arg("-C").arg(file);
                let hub_process = start(&hub, command)?;
                wait_for_port(&hub, 8443, contender)?;
                for (index, machine) in machines.iter().enumerate() {
                    let mut command = program(host_command);
                    command.args(host_arguments(index, contender.mtu));
                    host_processes.push(start(machine, command)?);
                }
                hub_process
            }
        };
        let relay = contender.kind == Kind::Relay;
        let world = Self {
            relay,
            hub,
            hosts: machines,
            hub_process,
            host_processes,
            congestion,
            _lab: lab,
        };
        world.wait(contender)?;
        Ok(world)
    }

    /// Waits until every pair of hosts is connected.
    pub(super) fn wait(&self, contender: &Contender) -> Result<(), BenchError> {
        if self.relay {
            return wait_for_port(&self.hub, relay_port(0), contender);
        }
        let start = Instant::now();
        for (index, host) in self.hosts.iter().enumerate() {
            while self.ping(host, index ^ 1, Duration::from_millis(200)).is_none() {
                if start.elapsed() > PATIENCE || self.has_ended()? {
                    return Err(BenchError::Late { contender: contender.name.clone() });
                }
            }
        }
        Ok(())
    }

    /// A TCP stream between two hosts.
    pub(super) fn flow(&self, from: usize, to: usize, reverse: bool) -> Flow<'_> {
        let [client, server] = self.ends(from, to);
        let (connect, listen) = self.addresses(from, to);
        Flow { client, server, connect, listen, reverse }
    }

    /// Datagrams between two hosts.
    pub(super) fn datagrams(
        &self,
        payload: usize,
        rate: f64,
        during: Duration,
    ) -> tools::UdpLoad<'_> {
        let [client, server] = self.ends(0, 1);
        let (connect, listen) = self.addresses(0, 1);
        tools::UdpLoad { client, server, connect, listen, payload, rate, during }
    }

    /// Time there and back from the first host to the second, through the tunnel.
    pub(super) fn ping_once(&self, within: Duration) -> Option<Duration> {
        self.ping(&self.hosts[0], 1, within)
    }

    /// CPU seconds used so far: the hub's program, then every host's.
    pub(super) fn cpu(&self) -> io::Result<Vec<f64>> {
        let processes = std::iter::once(&self.hub_process).chain(&self.host_processes);
        processes.map(|process| cpu::seconds(process.id())).collect()
    }

    /// How the programs' own connections got their congestion control.
    pub(super) fn congestion(&self) -> CongestionSetting {
        self.congestion
    }

    fn ends(&self, from: usize, to: usize) -> [&Namespace; 2] {
        [&self.hosts[from], &self.hosts[to]]
    }

    /// What `from` connects to in order to reach `to`, and what `to` listens on.
    fn addresses(&self, from: usize, to: usize) -> (SocketAddr, SocketAddr) {
        let connect = match self.relay {
            true => (outer(from, 1), relay_port(to)),
            false => (inner(to), PORT),
        };
        (connect.into(), (Ipv4Addr::UNSPECIFIED, PORT).into())
    }

    fn ping(&self, from: &Namespace, to: usize, within: Duration) -> Option<Duration> {
        tools::ping(from, IpAddr::from(inner(to)), 56, false, within).ok()
    }

    fn has_ended(&self) -> io::Result<bool> {
        for process in std::iter::once(&self.hub_process).chain(&self.host_processes) {
            if process.try_wait()?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The address of the cable to host `index`: end 1 is the hub's, end 2 the host's.
fn outer(index: usize, end: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, number(index), end)
}

/// The address of host `index` in the tunnel.
fn inner(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 64, 0, number(index))
}

fn number(index: usize) -> u8 {
    u8::try_from(index + 1).expect("no scenario has more than 16 hosts")
}

fn relay_port(index: usize) -> u16 {
    RELAY_PORTS + u16::from(number(index))
}

fn program(command: &[String]) -> Command {
    let (program, arguments) = command.split_first().expect("a command has a program");
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn hub_configuration(hosts: usize) -> String {
    let mut text = String::from(
        "services:\n- name: hub\n  addr: :8443\n  handler:\n    type: router\n    metadata:\n      router: bench\n  \
         listener:\n    type: tcp\nrouters:\n- name: bench\n  routes:\n",
    );
    for index in 0..hosts {
        let (net, name) = (inner(index), index + 1);
        text.push_str(&format!("  - dst: {net}/32\n    gateway: host-{name}\n"));
    }
    text
}

fn host_arguments(index: usize, mtu: u16) -> [String; 4] {
    let name = index + 1;
    [
        "-L".into(),
        format!("tun:///host-{name}?net={}/16&mtu={mtu}", inner(index)),
        "-F".into(),
        format!("router://{}:8443", outer(index, 1)),
    ]
}

fn start(
    machine: &Namespace,
    mut command: Command,
    folder: &Path,
    contender: &str,
) -> Result<Process, BenchError> {
    let log = File::options()
        .append(true)
        .create(true)
        .open(folder.join(format!("{contender}-{}.log", machine.name())))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let program = command.get_program().to_string_lossy().into_owned();
    machine.spawn(command).map_err(|source| BenchError::Start { program, source })
}

/// Waits until a program listens on this port of the hub.
fn wait_for_port(hub: &Namespace, port: u16, contender: &Contender) -> Result<(), BenchError> {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let start = Instant::now();
    while hub.run(|| TcpStream::connect_timeout(&at, PATIENCE))?.is_err() {
        if start.elapsed() > PATIENCE {
            return Err(BenchError::Late { contender: contender.name.clone() });
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_its_route_and_its_command_line() {
        let text = hub_configuration(2);
        assert!(text.contains("- dst: 10.64.0.1/32\n    gateway: host-1\n"), "{text}");
        assert!(text.contains("- dst: 10.64.0.2/32\n    gateway: host-2\n"), "{text}");
        assert_eq!(
            host_arguments(1, 1400),
            ["-L", "tun:///host-2?net=10.64.0.2/16&mtu=1400", "-F", "router://10.0.2.1:8443"]
        );
    }
}
