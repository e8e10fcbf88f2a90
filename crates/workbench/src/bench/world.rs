//! The network of a benchmark: a hub in the middle, hosts around it, and the programs that connect them.
//!
//! ```text
//!   host-1 10.0.1.2 --- 10.0.1.1 hub 10.0.2.1 --- 10.0.2.2 host-2
//!    tunnel 10.64.0.1                         tunnel 10.64.0.2
//! ```

use std::{
    fmt::Write as _,
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rtun_lab::{
    Lab, NetNamespace, Process, Wan,
    tools::{self, CongestionSetting, LoadFlow},
};

use super::{
    BenchError, CONGESTION_CONTROL,
    contender::{Contender, Kind},
    cpu,
    emulated_path::EmulatedPath,
    sockets,
    table::{self, Table, TableOrigin},
    transport::BenchTransport,
};

/// How long a network may take until packets pass.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long one echo may take meanwhile.
const PING: Duration = Duration::from_millis(200);

/// Where every host's traffic generator listens.
const PORT: u16 = 6000;

/// The hub's port for hosts.
const HUB_PORT: u16 = 8443;

/// Where the hub's Web API is, on its machine.
pub(super) const API: &str = "127.0.0.1:18080";

/// The address of a UDP or Ethernet tunnel's server.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 64, 255, 254);

/// The twin's number.
const TWIN: usize = 17;

/// How a program ends that refuses its configuration: `EX_CONFIG` of sysexits.h.
const REFUSED: i32 = 78;

/// The relay's port for host 0; the others' follow.
const RELAY_PORTS: u16 = 7000;

/// What a scenario needs of its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Layout {
    /// The machines around the hub, each with its route.
    pub(super) machines: usize,
    /// On how many of them, the first ones, the contender's host runs.
    pub(super) hosts: usize,
    /// What the hub's end of the cable to the second carries, in Mbit/s, if it is limited.
    pub(super) access_link: Option<u32>,
    /// What is between the first and the hub instead of a cable.
    pub(super) path: Option<EmulatedPath>,
    /// Routes in the hub's table besides those of the machines.
    pub(super) routes: usize,
    /// Where the hub reads these from.
    pub(super) origin: TableOrigin,
    /// Whether the tunnel's network has twice as many addresses.
    pub(super) wide: bool,
    /// Whether the hub has its Web API.
    pub(super) api: bool,
}

impl Layout {
    /// This many machines, a host on each, all on plain cables.
    pub(super) fn hosts(hosts: usize) -> Self {
        Self {
            machines: hosts,
            hosts,
            access_link: None,
            path: None,
            routes: 0,
            origin: TableOrigin::Inline,
            wide: false,
            api: false,
        }
    }
}

/// A running network of one contender.
pub(super) struct World {
    relay: bool,
    layout: Layout,
    /// The hub's configuration.
    file: PathBuf,
    table: Table,
    contender: Contender,
    loaded_in: Duration,
    hub: NetNamespace,
    hosts: Vec<NetNamespace>,
    hub_process: Process,
    host_processes: Vec<Process>,
    congestion: CongestionSetting,
    wan: Option<Wan>,
    _lab: Lab,
}

impl World {
    /// Builds the network, starts the programs and waits until all pairs of hosts (0 and 1, 2 and 3, ...) reach
    /// each other. Configuration and logs go to `folder`.
    pub(super) fn start(
        contender: &Contender,
        layout: Layout,
        folder: &Path,
    ) -> Result<Self, BenchError> {
        let lab = Lab::new()?;
        let hub = lab.namespace("hub")?;
        let mut machines = Vec::new();
        let mut congestion = CongestionSetting::Sysctl;
        let mut wan = None;
        for index in 0..layout.machines {
            let machine = lab.namespace(&format!("host-{}", index + 1))?;
            let cable = format!("host-{}", index + 1);
            match layout.path.filter(|_| index == 0) {
                Some(path) => {
                    wan = Some(lab.wan(&hub, &cable, &machine, "eth0", &path.config())?);
                }
                None => lab.veth(&hub, &cable, &machine, "eth0")?,
            }
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
        if let Some(mbit) = layout.access_link {
            tools::slow_link(&hub, "host-2", mbit)?;
        }
        let start = |machine: &NetNamespace, command: Command| {
            start(machine, command, folder, &contender.name)
        };
        let mut host_processes = Vec::new();
        let Layout { machines: count, hosts, routes, origin, .. } = layout;
        let table = Table::start(origin, &hub, folder)?;
        let file = folder.join(format!("{}-{count}-{routes}-hub.yaml", contender.name));
        let mut loaded_in = Duration::ZERO;
        let hub_process = match &contender.kind {
            Kind::Relay => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("bench-relay");
                command.args(
                    (0..count)
                        .map(|index| format!("{}={}:{PORT}", relay_port(index), outer(index, 2))),
                );
                start(&hub, command)?
            }
            Kind::Tunnel { hub: hub_command, host: host_command, .. } => {
                let mut command = program(hub_command);
                if let Some(variant) = &contender.variant {
                    command.args(variant.server(
                        SERVER,
                        tunnel_length(layout),
                        contender.mtu,
                        HUB_PORT,
                    ));
                } else {
                    table.replace(table_routes(layout, 0))?;
                    std::fs::write(&file, hub_configuration(layout, &table, contender, 0))?;
                    command.arg("-C").arg(&file);
                }
                let begin = Instant::now();
                let hub_process = start(&hub, command)?;
                wait_for_port(&hub, &hub_process, HUB_PORT, contender)?;
                loaded_in = begin.elapsed();
                for (index, machine) in machines.iter().enumerate().take(hosts) {
                    let mut command = program(host_command);
                    match &contender.variant {
                        None => command.args(host_arguments(index, contender)),
                        Some(variant) => {
                            let server = format!("{}:{HUB_PORT}", outer(index, 1));
                            command.args(variant.client(inner(index), contender.mtu, &server))
                        }
                    };
                    host_processes.push(start(machine, command)?);
                }
                if layout.path == Some(EmulatedPath::Shared) {
                    let mut command = program(host_command);
                    command.args(twin_arguments(contender));
                    host_processes.push(start(&machines[0], command)?);
                    machines[1].addr_add("lo", &format!("{}/32", twin(1)))?;
                }
                hub_process
            }
        };
        let relay = contender.kind == Kind::Relay;
        let world = Self {
            relay,
            layout,
            file,
            table,
            contender: contender.clone(),
            loaded_in,
            hub,
            hosts: machines,
            hub_process,
            host_processes,
            congestion,
            wan,
            _lab: lab,
        };
        world.wait()?;
        Ok(world)
    }

    /// Waits until every pair of hosts is connected.
    pub(super) fn wait(&self) -> Result<(), BenchError> {
        let Self { contender, hub, hub_process, .. } = self;
        if self.relay {
            return wait_for_port(hub, hub_process, relay_port(0), contender);
        }
        let start = Instant::now();
        for (index, host) in self.hosts.iter().enumerate().take(self.layout.hosts) {
            while self.ping(host, index ^ 1, PING).is_none() {
                for process in std::iter::once(hub_process).chain(&self.host_processes) {
                    still_runs(process, contender)?;
                }
                if start.elapsed() > PATIENCE {
                    return Err(late(contender));
                }
            }
        }
        while self.layout.path == Some(EmulatedPath::Shared)
            && tools::ping(&self.hosts[0], twin(1).into(), 56, false, PING).is_err()
        {
            if start.elapsed() > PATIENCE {
                return Err(late(contender));
            }
        }
        Ok(())
    }

    /// A TCP stream between two hosts.
    pub(super) fn flow(&self, from: usize, to: usize, reverse: bool) -> LoadFlow<'_> {
        let [client, server] = self.ends(from, to);
        let (connect, listen) = self.addresses(from, to);
        LoadFlow { client, server, connect, listen, reverse }
    }

    /// A TCP stream from the first host to the server's device, if the contender has one.
    pub(super) fn server_flow(&self) -> Option<LoadFlow<'_>> {
        self.contender.variant.as_ref()?;
        let (connect, listen) = ((SERVER, PORT).into(), (Ipv4Addr::UNSPECIFIED, PORT).into());
        Some(LoadFlow {
            client: &self.hosts[0],
            server: &self.hub,
            connect,
            listen,
            reverse: false,
        })
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

    /// Whether the first host reaches the address that the table of this generation adds.
    pub(super) fn reaches(&self, generation: u8, within: Duration) -> bool {
        tools::ping(&self.hosts[0], marker(generation).into(), 56, false, within).is_ok()
    }

    /// Gives the second host the address that the table of this generation adds, and has the hub replace its table by
    /// that one, of as many other routes as before. Returns the time of the signal.
    pub(super) fn replace_table(&self, generation: u8) -> Result<Instant, BenchError> {
        self.hosts[1].addr_add("lo", &format!("{}/32", marker(generation)))?;
        let Self { layout, table, contender, .. } = self;
        let configuration = hub_configuration(*layout, table, contender, generation);
        std::fs::write(&self.file, configuration)?;
        table.replace(table_routes(*layout, generation))?;
        let start = Instant::now();
        self.hub_process.signal(Signal::SIGHUP)?;
        Ok(start)
    }

    /// How long the hub took from its start until it listened.
    pub(super) fn loaded_in(&self) -> Duration {
        self.loaded_in
    }

    /// The machine around the hub with this index, and where it reaches the hub.
    pub(super) fn machine(&self, index: usize) -> (&NetNamespace, SocketAddr) {
        (&self.hosts[index], (outer(index, 1), HUB_PORT).into())
    }

    /// Where traffic for the machine with this index goes through the tunnel.
    pub(super) fn inner_address(&self, index: usize) -> SocketAddr {
        (inner(index), PORT).into()
    }

    /// The name of what connects the hosts.
    pub(super) fn contender(&self) -> &str {
        &self.contender.name
    }

    /// The hub's machine.
    pub(super) fn hub(&self) -> &NetNamespace {
        &self.hub
    }

    /// Where traffic for the second machine goes through the twin's tunnel.
    pub(super) fn twin_address(&self) -> SocketAddr {
        (twin(1), PORT).into()
    }

    /// The hub's program.
    pub(super) fn hub_id(&self) -> u32 {
        self.hub_process.id()
    }

    /// CPU seconds used so far: the hub's program, then every host's.
    pub(super) fn cpu(&self) -> io::Result<Vec<f64>> {
        let processes = std::iter::once(&self.hub_process).chain(&self.host_processes);
        processes.map(|process| cpu::seconds(process.id())).collect()
    }

    /// Whether it is the yardstick's.
    pub(super) fn is_relay(&self) -> bool {
        self.relay
    }

    /// The emulated path between the first host and the hub, if there is one.
    pub(super) fn wan(&self) -> Option<&Wan> {
        self.wan.as_ref()
    }

    /// How the programs' own connections got their congestion control.
    pub(super) fn congestion(&self) -> CongestionSetting {
        self.congestion
    }

    fn ends(&self, from: usize, to: usize) -> [&NetNamespace; 2] {
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

    fn ping(&self, from: &NetNamespace, to: usize, within: Duration) -> Option<Duration> {
        tools::ping(from, IpAddr::from(inner(to)), 56, false, within).ok()
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

/// The address of the twin's tunnel (index 0), and that of the second host for it: half of the hosts' network.
fn twin(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 64, 128, number(index))
}

/// What only the table of this generation has a route for.
fn marker(generation: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 64, 200, generation)
}

/// The length of the prefix of a UDP or Ethernet tunnel's network.
fn tunnel_length(layout: Layout) -> u8 {
    if layout.wide { 15 } else { 16 }
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

/// The hub's file. Tables of different generations share the machines' routes only.
fn hub_configuration(
    layout: Layout,
    table: &Table,
    contender: &Contender,
    generation: u8,
) -> String {
    let mut text = format!(
        "services:\n- name: hub\n  addr: :{HUB_PORT}\n  handler:\n    type: router\n    metadata:\n      router: bench\n"
    );
    if !contender.gso_frames() {
        text.push_str("      superFrames: false\n");
    }
    let transport = contender.transport.as_ref().map_or("tcp", BenchTransport::listener);
    let _ = write!(text, "  listener:\n    type: {transport}\nrouters:\n- name: bench\n");
    text.push_str(&table.keys());
    text.push_str("  routes:\n");
    if layout.api {
        text.insert_str(0, &format!("api: {{addr: {API}}}\n"));
    }
    let mut route = |(net, length, name): (Ipv4Addr, u32, usize)| {
        let _ = writeln!(text, "  - {{dst: {net}/{length}, gateway: host-{name}}}");
    };
    for index in 0..layout.machines {
        route((inner(index), 32, index + 1));
    }
    if layout.path == Some(EmulatedPath::Shared) {
        route((twin(0), 32, TWIN));
        route((twin(1), 32, 2));
    }
    if matches!(table, Table::Inline) {
        table_routes(layout, generation).for_each(route);
    }
    text
}

/// The large table of this generation, its marker included; generation 0 has none.
fn table_routes(layout: Layout, generation: u8) -> impl Iterator<Item = (Ipv4Addr, u32, usize)> {
    let marker = (generation > 0).then(|| (marker(generation), 32, 2));
    marker.into_iter().chain(table::routes(layout.routes, generation))
}

fn host_arguments(index: usize, contender: &Contender) -> [String; 4] {
    arguments(index, index + 1, inner(index), 16, contender)
}

fn twin_arguments(contender: &Contender) -> [String; 4] {
    arguments(0, TWIN, twin(0), 17, contender)
}

fn arguments(
    machine: usize,
    name: usize,
    address: Ipv4Addr,
    length: u8,
    contender: &Contender,
) -> [String; 4] {
    let hub = format!("{}:{HUB_PORT}", outer(machine, 1));
    let node = match &contender.transport {
        Some(transport) => transport.node(&hub),
        None => format!("router://{hub}"),
    };
    let plain = if contender.gso_frames() { "" } else { "&superFrames=false" };
    [
        "-L".into(),
        format!("tun:///host-{name}?net={address}/{length}&mtu={}{plain}", contender.mtu),
        "-F".into(),
        node,
    ]
}

fn start(
    machine: &NetNamespace,
    mut command: Command,
    folder: &Path,
    contender: &str,
) -> Result<Process, BenchError> {
    let log = File::options()
        .append(true)
        .create(true)
        .open(folder.join(format!("{contender}-{}.log", machine.name())))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // Nothing of a benchmark stays on the machine; GOST keeps its certificate at home.
    command.env("RTUN_STATE_DIR", folder.join("state")).env("HOME", folder);
    let program = command.get_program().to_string_lossy().into_owned();
    machine.spawn(command).map_err(|source| BenchError::Start { program, source })
}

/// Waits until a program listens on this port of the hub, TCP or UDP.
fn wait_for_port(
    hub: &NetNamespace,
    process: &Process,
    port: u16,
    contender: &Contender,
) -> Result<(), BenchError> {
    let start = Instant::now();
    while !hub.run(|| sockets::listens(port))?? {
        still_runs(process, contender)?;
        if start.elapsed() > PATIENCE {
            return Err(late(contender));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn late(contender: &Contender) -> BenchError {
    BenchError::Late { contender: contender.name.clone() }
}

/// Fails if a program has ended; one that refuses its configuration cannot do what it asks for.
fn still_runs(process: &Process, contender: &Contender) -> Result<(), BenchError> {
    match process.try_wait()?.map(|status| status.code()) {
        None => Ok(()),
        Some(Some(REFUSED)) => Err(BenchError::Unsupported { contender: contender.name.clone() }),
        Some(_) => Err(late(contender)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn contender(gso_frames: bool, transport: Option<BenchTransport>) -> Contender {
        let kind = Kind::Tunnel { hub: vec![], host: vec![], gso_frames };
        Contender { name: "rtun".into(), kind, mtu: 1400, transport, variant: None }
    }

    #[test]
    fn every_host_has_its_route_and_its_command_line() {
        let rtun = contender(true, None);
        let text = hub_configuration(Layout::hosts(2), &Table::Inline, &rtun, 0);
        assert!(text.contains("- {dst: 10.64.0.1/32, gateway: host-1}\n"), "{text}");
        assert!(text.contains("- {dst: 10.64.0.2/32, gateway: host-2}\n"), "{text}");
        assert!(!text.contains("superFrames"), "{text}");
        assert_eq!(
            host_arguments(1, &rtun),
            ["-L", "tun:///host-2?net=10.64.0.2/16&mtu=1400", "-F", "router://10.0.2.1:8443"]
        );
        let no_super = contender(false, None);
        let plain = hub_configuration(Layout::hosts(2), &Table::Inline, &no_super, 0);
        assert!(plain.contains("    metadata:\n      router: bench\n      superFrames: false\n"));
        assert!(host_arguments(1, &no_super)[1].ends_with("&mtu=1400&superFrames=false"));
    }

    #[test]
    fn a_transport_is_the_hubs_listener_and_part_of_the_hosts_urls() {
        let quic = contender(true, Some("quic?datagrams=false".parse().unwrap()));
        let text = hub_configuration(Layout::hosts(2), &Table::Inline, &quic, 0);
        assert!(text.contains("  listener:\n    type: quic\n"), "{text}");
        let node = "router+quic://10.0.1.1:8443?datagrams=false";
        assert_eq!(host_arguments(0, &quic)[3], node);
    }

    #[test]
    fn large_tables_have_distinct_routes_and_differ() {
        let layout = Layout { routes: 1000, ..Layout::hosts(2) };
        let routes = |generation| {
            let rtun = contender(true, None);
            let text = hub_configuration(layout, &Table::Inline, &rtun, generation);
            let routes: BTreeSet<String> = text
                .lines()
                .filter(|line| line.contains("dst"))
                .map(|line| line.trim().to_owned())
                .collect();
            routes
        };
        assert_eq!(routes(0).len(), 1002);
        assert_eq!(routes(1).len(), 1003);
        assert_eq!(routes(1).intersection(&routes(2)).count(), 2, "the machines' own");
    }
}
