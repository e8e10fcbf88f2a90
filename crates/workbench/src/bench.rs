//! `rtun-workbench bench`: real traffic through a plain relay and through the tunnel in turn, on this machine.
//!
//! Method and figures: docs/performance.md.

mod contender;
mod cpu;
mod echo;
mod emulated_path;
mod fair;
mod figure;
mod idle;
mod link;
mod lossy;
mod memory;
mod phase;
mod raw;
mod relay;
mod report;
mod scenario;
mod search;
mod sockets;
mod stalled;
mod statistics;
mod swap;
mod table;
mod target;
mod traffic;
mod transport;
mod udp_tunnel;
mod variant;
mod watched;
mod web_api;
mod world;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use clap::{Args as ClapArgs, ValueEnum};
use nix::unistd::Uid;
use rtun_lab::{LabError, UserNamespaceError, enter_user_namespace, tools::TransferError};

use crate::{
    complain,
    interruption::Interruption,
    program::{Program, ProgramError},
};
use contender::{Contender, Kind};
use figure::Figure;
use report::{BenchReport, Conditions};
use scenario::{Scenario, Sizes};
use table::TableOrigin;
use transport::BenchTransport;
use variant::TunnelVariant;
use world::{Layout, World};

pub(crate) use relay::Relay;

/// Inside and outside of the tunnel, whatever the system's default.
const CONGESTION_CONTROL: &str = "cubic";

/// Measures the tunnel against a plain relay, in network namespaces on this machine
///
/// Needs root, or a system that allows user namespaces. Touches nothing outside of the namespaces it makes. Exit
/// status: 0 when every measurement succeeded.
#[derive(ClapArgs)]
pub(crate) struct Bench {
    #[command(flatten)]
    program: Program,
    /// How often everything is measured, in turn
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// How long each measurement takes
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The tunnel's MTU in bytes
    #[arg(long, default_value_t = 1420, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1400..))]
    mtu: u16,
    /// Only these scenarios, separated by commas
    #[arg(long, value_name = "SCENARIO", value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Another program (with arguments, separated by blanks) as the tunnel's hub; it is given -C FILE
    #[arg(long, value_name = "COMMAND")]
    hub_cmd: Option<String>,
    /// Another program as the tunnel's hosts; it is given -L URL -F URL
    #[arg(long, value_name = "COMMAND")]
    host_cmd: Option<String>,
    /// A second tunnel to measure in turn, with this program as hub and hosts
    #[arg(long, value_name = "COMMAND")]
    vs: Option<String>,
    /// Measure rtun in GOST's wire format (GSO frames off) in turn, too
    #[arg(long)]
    plain: bool,
    /// What lossy and transports compare, separated by commas: names of listeners, and what hosts add (quic?datagrams=false)
    #[arg(
        long,
        value_name = "TRANSPORT",
        value_delimiter = ',',
        default_value = "tcp,tls,wss,quic"
    )]
    transports: Vec<BenchTransport>,
    /// What udp-tunnel compares, separated by commas: udp, tap, tap-plain, relay+TRANSPORT
    #[arg(
        long,
        value_name = "VARIANT",
        value_delimiter = ',',
        default_value = "udp,relay+tls,relay+wss,relay+quic,tap"
    )]
    variants: Vec<TunnelVariant>,
    /// Idle hosts that idle10000 holds
    #[arg(long, default_value_t = 10_000, value_name = "N", hide = true)]
    associations: usize,
    /// Where the hub reads the tables from that swap replaces
    #[arg(long, default_value = "inline", value_name = "SOURCE")]
    table: TableOrigin,
    /// Routes in the tables that swap replaces; a configuration holds some 200,000
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    routes: usize,
    /// Write every value to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    UserNamespace(#[from] UserNamespaceError),
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("starting {program}: {source}")]
    Start { program: String, source: io::Error },
    #[error("{contender} does not connect the hosts")]
    Late { contender: String },
    #[error("{contender} refuses its configuration: it does not have the transport")]
    Unsupported { contender: String },
    #[error("{contender} has no page to look at")]
    NoPage { contender: String },
    #[error("the link emulator failed to carry {failed} packets")]
    Emulator { failed: u64 },
    #[error(transparent)]
    Transfer(#[from] TransferError),
    #[error("more than {} % of the datagrams are lost at every rate tried", 100.0 * .limit)]
    Lossy { limit: f64 },
    #[error("no echo came back ({lost} lost)")]
    NoEcho { lost: u32 },
    #[error("the hub does not admit {host}: {source}")]
    Refused { host: String, source: io::Error },
    #[error("the hub has not replaced its table after {} s", .0.as_secs())]
    NoSwap(Duration),
    #[error("{what} names no program")]
    NoProgram { what: &'static str },
    #[error("writing {}: {source}", .path.display())]
    Json { path: PathBuf, source: io::Error },
    #[error("ended by a signal")]
    Interrupted,
}

impl BenchError {
    /// Whether the contender does not have what is measured.
    fn is_missing(&self) -> bool {
        matches!(self, Self::Unsupported { .. } | Self::NoPage { .. })
    }
}

impl Bench {
    pub(crate) fn run(self) -> ExitCode {
        let failed = |error: BenchError| {
            complain(&format!("rtun-workbench bench: {error}"));
            ExitCode::FAILURE
        };
        let report = match self.measure() {
            Ok(report) => report,
            Err(error) => return failed(error),
        };
        let printed = match io::stdout().write_all(report.text().as_bytes()) {
            // A reader that has gone is no failure of ours.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            printed => printed,
        };
        if let Some(path) = &self.json {
            let written = fs::write(path, format!("{:#}\n", report.json()));
            if let Err(source) = written {
                return failed(BenchError::Json { path: path.clone(), source });
            }
        }
        match printed {
            Err(error) => failed(error.into()),
            Ok(()) if report.has_failures() => ExitCode::FAILURE,
            Ok(()) => ExitCode::SUCCESS,
        }
    }

    fn measure(&self) -> Result<BenchReport, BenchError> {
        let contenders = self.contenders()?;
        if !Uid::effective().is_root() {
            enter_user_namespace()?;
        }
        let interruption = Interruption::listen(|| {
            complain("rtun-workbench bench: ending after this measurement");
        })?;
        let folder = tempfile::Builder::new().prefix("rtun-bench-").tempdir()?;
        let result = self.measure_in(&contenders, folder.path(), &interruption);
        if !matches!(&result, Ok(report) if !report.has_failures()) {
            let folder = folder.keep();
            complain(&format!("logs of the programs: {}", folder.display()));
        }
        result
    }

    fn measure_in(
        &self,
        contenders: &[Contender],
        folder: &Path,
        interruption: &Interruption,
    ) -> Result<BenchReport, BenchError> {
        let mut report = BenchReport::new(self.conditions(contenders));
        let mut worlds = BTreeMap::new();
        let rounds = self.rounds;
        for round in 1..=rounds {
            for scenario in self.scenarios() {
                if round > 1 && scenario.is_once() {
                    continue;
                }
                for (index, contender) in contenders.iter().enumerate() {
                    if !takes_part(contender, scenario)
                        || report.is_skipped(scenario, &contender.name)
                    {
                        continue;
                    }
                    if interruption.has_come() {
                        return Err(BenchError::Interrupted);
                    }
                    let key = (index, scenario.layout(&self.sizes()));
                    let outcome = self.measure_once(scenario, contender, folder, key, &mut worlds);
                    let name = &contender.name;
                    let shown = match &outcome {
                        Ok(figures) => shown(figures),
                        Err(error) if error.is_missing() => format!("skipped: {error}"),
                        Err(error) => error.to_string(),
                    };
                    complain(&format!(
                        "{round}/{rounds} {:<9} {name:<10} {shown}",
                        scenario.name()
                    ));
                    if let Some(world) = worlds.get(&key) {
                        report.conditions.congestion_setting = world.congestion().to_string();
                    }
                    if outcome.is_err() || scenario.is_once() {
                        // The next measurement begins with a network that works; a large one would disturb it.
                        worlds.remove(&key);
                    }
                    match outcome {
                        Err(error) if error.is_missing() => {
                            report.skip(scenario, name, error.to_string());
                        }
                        outcome => {
                            report.add(scenario, name, outcome.map_err(|error| error.to_string()));
                        }
                    }
                }
            }
        }
        Ok(report)
    }

    fn measure_once(
        &self,
        scenario: Scenario,
        contender: &Contender,
        folder: &Path,
        key: (usize, Layout),
        worlds: &mut BTreeMap<(usize, Layout), World>,
    ) -> Result<Vec<Figure>, BenchError> {
        let world = match worlds.entry(key) {
            Entry::Occupied(running) => running.into_mut(),
            Entry::Vacant(place) => place.insert(World::start(contender, key.1, folder)?),
        };
        world.wait()?;
        scenario.measure(world, &self.sizes())
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            during: Duration::from_secs(self.seconds),
            associations: self.associations,
            routes: self.routes,
            origin: self.table,
        }
    }

    fn scenarios(&self) -> Vec<Scenario> {
        let mut scenarios = match self.only.is_empty() {
            true => Scenario::value_variants().to_vec(),
            false => self.only.clone(),
        };
        scenarios.sort_unstable();
        scenarios.dedup();
        scenarios
    }

    /// The relay, the tunnel, the same without GSO frames and the second tunnel if they are asked for; and both tunnels
    /// over each transport if a scenario compares these.
    fn contenders(&self) -> Result<Vec<Contender>, BenchError> {
        let or_own = |command: &Option<String>, what| match command {
            Some(command) => words(command, what),
            None => Ok(vec![self.program.find()?.to_string_lossy().into_owned()]),
        };
        let hub = or_own(&self.hub_cmd, "--hub-cmd")?;
        let host = or_own(&self.host_cmd, "--host-cmd")?;
        let name = match (&self.hub_cmd, &self.host_cmd) {
            (None, None) => "rtun".into(),
            _ if hub == host => base_name(&hub),
            _ => format!("{}+{}", base_name(&hub), base_name(&host)),
        };
        let contender =
            |name, kind| Contender { name, kind, mtu: self.mtu, transport: None, variant: None };
        let tunnel = |hub: &[String], host: &[String], gso_frames| Kind::Tunnel {
            hub: hub.to_vec(),
            host: host.to_vec(),
            gso_frames,
        };
        let mut contenders = vec![
            contender("relay".into(), Kind::Relay),
            contender(name.clone(), tunnel(&hub, &host, true)),
        ];
        if self.plain {
            contenders.push(contender(format!("{name}-plain"), tunnel(&hub, &host, false)));
        }
        if let Some(vs) = &self.vs {
            let command = words(vs, "--vs")?;
            let mut name = base_name(&command);
            if contenders.iter().any(|contender| contender.name == name) {
                name.push_str("-2");
            }
            contenders.push(contender(name, tunnel(&command, &command, true)));
        }
        let tunnels: Vec<_> =
            contenders.iter().filter(|contender| contender.gso_frames()).cloned().collect();
        if self.scenarios().into_iter().any(Scenario::is_over_transports) {
            for (tunnel, transport) in
                tunnels.iter().flat_map(|tunnel| self.transports.iter().map(move |it| (tunnel, it)))
            {
                let name = format!("{}+{}", tunnel.name, transport.label());
                let transport = Some(transport.clone());
                contenders.push(Contender { name, transport, ..tunnel.clone() });
            }
        }
        if self.scenarios().into_iter().any(Scenario::is_over_variants) {
            for (tunnel, variant) in
                tunnels.iter().flat_map(|tunnel| self.variants.iter().map(move |it| (tunnel, it)))
            {
                let name = format!("{}+{variant}", tunnel.name);
                let variant = Some(variant.clone());
                contenders.push(Contender { name, variant, ..tunnel.clone() });
            }
        }
        Ok(contenders)
    }

    fn conditions(&self, contenders: &[Contender]) -> Conditions {
        let kernel = nix::sys::utsname::uname();
        let kernel = kernel.map(|name| name.release().to_string_lossy().into_owned());
        let command = |contender: &Contender| match &contender.kind {
            Kind::Relay => "built in".to_owned(),
            Kind::Tunnel { hub, host, .. } if hub == host => hub.join(" "),
            Kind::Tunnel { hub, host, .. } => {
                format!("hub: {}; hosts: {}", hub.join(" "), host.join(" "))
            }
        };
        Conditions {
            rounds: self.rounds.into(),
            seconds: self.seconds,
            mtu: self.mtu,
            congestion_control: CONGESTION_CONTROL,
            congestion_setting: String::new(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.unwrap_or_default(),
            contenders: contenders
                .iter()
                .map(|contender| (contender.name.clone(), command(contender)))
                .collect(),
        }
    }
}

fn takes_part(contender: &Contender, scenario: Scenario) -> bool {
    match contender.kind {
        Kind::Relay => scenario.fits_relay(),
        Kind::Tunnel { .. } if scenario == Scenario::UdpAddresses => {
            contender.variant == Some(TunnelVariant::Udp)
        }
        Kind::Tunnel { .. } => {
            contender.transport.is_some() == scenario.is_over_transports()
                && contender.variant.is_some() == scenario.is_over_variants()
        }
    }
}

fn words(command: &str, what: &'static str) -> Result<Vec<String>, BenchError> {
    let words: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() { Err(BenchError::NoProgram { what }) } else { Ok(words) }
}

fn base_name(command: &[String]) -> String {
    let name = command.first().and_then(|program| Path::new(program).file_name());
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn shown(figures: &[Figure]) -> String {
    let shown =
        figures.iter().map(|Figure { name, unit, value, .. }| format!("{name} {value:.3} {unit}"));
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct BenchLine {
        #[command(flatten)]
        bench: Bench,
    }

    fn bench(arguments: &[&str]) -> Result<Bench, clap::Error> {
        // Which program it is does not matter here, and rtun need not be built.
        let own = std::env::current_exe().unwrap();
        let rtun = ["bench", "--rtun", own.to_str().unwrap()];
        let line = BenchLine::try_parse_from([&rtun, arguments].concat())?;
        Ok(line.bench)
    }

    fn names(bench: &Bench) -> Vec<String> {
        let contenders = bench.contenders().unwrap().into_iter();
        let over_tcp = contenders
            .filter(|contender| contender.transport.is_none() && contender.variant.is_none());
        over_tcp.map(|contender| contender.name).collect()
    }

    #[test]
    fn without_arguments_everything_is_measured_five_times() {
        let bench = bench(&[]).unwrap();
        assert_eq!((bench.rounds, bench.seconds, bench.mtu), (5, 3, 1420));
        assert_eq!(bench.scenarios(), Scenario::value_variants());
        assert_eq!(names(&bench), ["relay", "rtun"]);
    }

    #[test]
    fn scenarios_are_chosen_by_name_and_measured_once_each() {
        let bench = bench(&["--only", "udp1372,tcp1,tcp1"]).unwrap();
        assert_eq!(bench.scenarios(), [Scenario::Tcp1, Scenario::Udp1372]);
    }

    #[test]
    fn other_programs_take_either_part() {
        let hub = bench(&["--hub-cmd", "/opt/gost -D", "--vs", "rtun"]).unwrap();
        assert_eq!(names(&hub)[2], "rtun");
        let kind = hub.contenders().unwrap()[1].kind.clone();
        let Kind::Tunnel { hub, host, .. } = kind else { panic!("{kind:?}") };
        assert_eq!(hub, ["/opt/gost", "-D"]);
        assert_eq!(host.len(), 1);
        let both = bench(&["--hub-cmd", "/a/gost", "--host-cmd", "/a/gost"]).unwrap();
        assert_eq!(names(&both), ["relay", "gost"]);
        let again = bench(&["--vs", "/old/rtun"]).unwrap();
        assert_eq!(names(&again), ["relay", "rtun", "rtun-2"]);
        let plain = bench(&["--plain", "--vs", "/opt/gost"]).unwrap();
        assert_eq!(names(&plain), ["relay", "rtun", "rtun-plain", "gost"]);
    }

    #[test]
    fn both_tunnels_are_compared_over_each_transport_where_that_is_measured() {
        let parts = |arguments: &[&str], scenario: Scenario| -> Vec<String> {
            let contenders = bench(arguments).unwrap().contenders().unwrap().into_iter();
            let parts = contenders.filter(|contender| takes_part(contender, scenario));
            parts.map(|contender| contender.name).collect()
        };
        let every = parts(&["--plain"], Scenario::Transports);
        assert_eq!(every, ["rtun+tcp", "rtun+tls", "rtun+wss", "rtun+quic"]);
        let few = ["--vs", "/opt/gost", "--transports", "tcp,quic?datagrams=false"];
        assert_eq!(
            parts(&few, Scenario::Lossy),
            [
                "relay",
                "rtun+tcp",
                "rtun+quic?datagrams=false",
                "gost+tcp",
                "gost+quic?datagrams=false"
            ]
        );
        assert_eq!(parts(&few, Scenario::Tcp1), ["relay", "rtun", "gost"]);
        let variants = ["--vs", "/opt/gost", "--variants", "udp,relay+wss"];
        assert_eq!(
            parts(&variants, Scenario::UdpTunnel),
            ["relay", "rtun+udp", "rtun+relay+wss", "gost+udp", "gost+relay+wss"]
        );
        assert_eq!(parts(&variants, Scenario::UdpAddresses), ["rtun+udp", "gost+udp"]);
        let other = bench(&["--only", "tcp1"]).unwrap().contenders().unwrap();
        assert_eq!(other.len(), 2, "no transports where none are compared");
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for wrong in [
            &["--rounds", "0"][..],
            &["--seconds", "0"],
            &["--mtu", "1000"],
            &["--only", "tcp2"],
            &["--transports", "tls://"],
            &["--variants", "tcp"],
            &["extra"],
        ] {
            assert!(bench(wrong).is_err(), "{wrong:?}");
        }
        let empty = bench(&["--vs", " "]).unwrap().contenders().unwrap_err();
        assert_eq!(empty.to_string(), "--vs names no program");
    }
}
