//! A hub and four hosts on one switch, each of them run by either program.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
    process::Command,
    sync::Once,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rtun_lab::{NetNamespace, Process};

use super::common::{SOON, World, at, reaches};

use Program::Gost;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Rtun,
    Gost,
}

/// Who is who. Hosts 2 and 3, where there are such, are the programs of hosts 0 and 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mix {
    pub(crate) hub: Program,
    pub(crate) hosts: [Program; 2],
}

/// A hub and four hosts on one switch; nothing runs in them yet.
pub(crate) struct Network {
    pub(crate) mix: Mix,
    pub(crate) gost: String,
    pub(crate) hosts: Vec<NetNamespace>,
    pub(crate) world: World,
}

pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) log: PathBuf,
}

impl Network {
    /// A new network, or none after saying why the test is skipped.
    pub(crate) fn new(mix: Mix) -> Option<Self> {
        let gost = gost()?;
        let world = World::new()?;
        let hosts = ["h1", "h2", "h3", "h4"].map(|name| world.machine(name)).into();
        Some(Self { mix, gost, hosts, world })
    }

    /// Starts the hub.
    pub(crate) fn launch_hub(&self, configuration: &str) -> Running {
        let file = self.file("hub", configuration);
        self.start(self.mix.hub, &self.world.hub, &["-C", &file])
    }

    /// Starts the hub and waits until it listens.
    pub(crate) fn start_hub(&self, configuration: &str) -> Running {
        let hub = self.launch_hub(configuration);
        let listens = || std::net::TcpStream::connect_timeout(&at("127.0.0.1", 8443), SOON);
        let start = Instant::now();
        while self.world.hub.run(listens).unwrap().is_err() {
            let said = || fs::read_to_string(&hub.log).unwrap();
            assert_eq!(hub.process.try_wait().unwrap(), None, "{}", said());
            assert!(start.elapsed() < SOON, "the hub does not listen: {}", said());
            thread::sleep(Duration::from_millis(20));
        }
        hub
    }

    pub(crate) fn start_host(&self, index: usize, arguments: &[&str]) -> Running {
        self.start(self.mix.hosts[index % 2], &self.hosts[index], arguments)
    }

    /// Starts a host with a file of the tutorial's, which names no chain in its service; rtun finds the only one by
    /// itself.
    pub(crate) fn start_host_from(&self, index: usize, file: &str) -> Running {
        let mut text = file.to_owned();
        if self.mix.hosts[index % 2] == Gost {
            text =
                text.replace("type: tun\n  listener", "type: tun\n    chain: chain-0\n  listener");
            assert_ne!(text, file);
        }
        self.start_host(index, &["-C", &self.file(&format!("host-{index}"), &text)])
    }

    pub(crate) fn start_plain_host(&self, index: usize, hub: &str) -> Running {
        let number = index + 1;
        let device = format!("tun:///host-{number}?net=192.168.123.{number}/24");
        self.start_host(index, &["-L", &device, "-F", hub])
    }

    pub(crate) fn start_plain_hosts(&self, hub: &str) -> [Running; 2] {
        [self.start_plain_host(0, hub), self.start_plain_host(1, hub)]
    }

    pub(crate) fn start(&self, program: Program, at: &NetNamespace, arguments: &[&str]) -> Running {
        let program = if program == Gost { &self.gost } else { env!("CARGO_BIN_EXE_rtun") };
        let log: PathBuf = self.file(&format!("{}-log", at.name()), "").into();
        let output = File::create(&log).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).stdout(output.try_clone().unwrap()).stderr(output);
        // Where certificates are kept that the programs make themselves: two that begin at once mix theirs in one place.
        let home = log.with_file_name(format!("home-{}", at.name()));
        fs::create_dir_all(&home).unwrap();
        command.env("HOME", home);
        Running { process: at.spawn(command).unwrap(), log }
    }

    /// Writes a file and answers its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.world.file(&format!("{name}.yaml"), text);
        path.into_os_string().into_string().unwrap()
    }

    /// Both hosts reach each other and the networks behind them.
    pub(crate) fn networks_behind(&self) {
        let [one, two] = [&self.hosts[0], &self.hosts[1]];
        one.addr_add("lo", "192.168.100.1/32").unwrap();
        two.addr_add("lo", "192.168.200.1/32").unwrap();
        for (from, to) in [
            (one, "192.168.123.2"),
            (two, "192.168.123.1"),
            (one, "192.168.200.1"),
            (two, "192.168.100.1"),
        ] {
            reaches(from, to);
        }
    }
}

impl Running {
    /// What it has logged, in lower case.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap().to_lowercase()
    }

    pub(crate) fn end(&self, signal: Signal) {
        self.process.signal(signal).unwrap();
        let status = self.process.wait(Duration::from_secs(10)).unwrap();
        let status = status.unwrap_or_else(|| panic!("{} does not end", self.log.display()));
        assert!(status.success() || signal == Signal::SIGKILL, "{}: {status}", self.log.display());
    }
}

/// The GOST program, or none after saying that tests are skipped.
pub(crate) fn gost() -> Option<String> {
    let gost = std::env::var("RTUN_GOST").ok();
    if gost.is_none() {
        static SAID: Once = Once::new();
        // Past the test harness, which shows the output of failed tests only.
        SAID.call_once(|| {
            let _ = io::stderr().write_all(b"skipped, all of them: RTUN_GOST is not set\n");
        });
    }
    gost
}
