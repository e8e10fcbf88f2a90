//! `rtun convert`: the network of a UDP tunnel as a routing tunnel, in files that are ready to use.

mod files;
mod members;
mod network;

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args as ClapArgs, ValueEnum};
use rtun_config::{
    Environment,
    cli::{self, ArgsError},
    findings::{Finding, Profile, Severity},
    load,
    source::ConfigSource,
};
use rtun_settings::Config;

use self::{files::ConfigFile, network::ConvertError};
use crate::{
    EXIT_CONFIG, EXIT_FAILURE, EXIT_USAGE, complain,
    generate::{Folder, FolderError, GenerateError, hub_name, server_certificate},
    reader::SystemReader,
    run::use_one_crypto_provider,
    say,
};

/// The hub's port unless `--hub` has one.
const PORT: u16 = 8443;

/// Print hub and host files of the same network as a routing tunnel
///
/// Takes what the server and the clients of a UDP tunnel are started with: files, each of one machine, and -C, -L and -F of one
/// machine, of more with `--` between them. The more of the clients are named, the more is known of the network.
///
/// Exit status: 0 converted, 78 the configuration is refused or has no UDP tunnel.
#[derive(ClapArgs)]
pub(crate) struct Convert {
    /// Configurations of the server and of clients
    #[arg(value_name = "FILE")]
    files: Vec<String>,
    /// Write the files into this directory, with certificates for the hub, instead of printing them
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Where hosts reach the hub; otherwise where the clients reach the server, at port 8443
    #[arg(long, value_name = "NAME[:PORT]", value_parser = hub_place)]
    hub: Option<HubPlace>,
    /// What carries the packets
    #[arg(long, value_enum, default_value_t = ConvertTransport::Tls)]
    transport: ConvertTransport,
    /// Replace files and certificates that exist already
    #[arg(long, requires = "dir")]
    force: bool,
}

/// What carries the packets of the routing tunnel; each is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ConvertTransport {
    Tls,
    Wss,
    Quic,
}

impl ConvertTransport {
    /// As a configuration says it.
    fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Wss => "wss",
            Self::Quic => "quic",
        }
    }
}

/// Where hosts reach a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HubPlace {
    /// A DNS name or an address, without brackets.
    name: String,
    port: u16,
}

/// Nothing has been printed, or not all files are written.
#[derive(Debug, thiserror::Error)]
enum ConvertFailure {
    #[error(transparent)]
    Arguments(#[from] ArgsError),
    #[error(
        "name the files of the server and its clients, or what they are started with: rtun convert -L \"tun://:8421?net=192.168.123.1/24\""
    )]
    NothingNamed,
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Refused(Vec<Finding>),
    #[error(transparent)]
    Network(#[from] ConvertError),
    #[error("{} would be refused: {}", file.display(), findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Result { file: PathBuf, findings: Vec<Finding> },
    #[error("{} is there already; replace it with --force, or use another directory", .0.display())]
    Exists(PathBuf),
    #[error(transparent)]
    Certificates(#[from] GenerateError),
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl ConvertFailure {
    fn status(&self) -> u8 {
        match self {
            Self::Arguments(_) | Self::NothingNamed => EXIT_USAGE,
            Self::Refused(_) | Self::Network(_) | Self::Result { .. } => EXIT_CONFIG,
            Self::Exists(_) | Self::Certificates(_) | Self::Folder(_) => EXIT_FAILURE,
        }
    }
}

impl Convert {
    /// Converts what its own arguments name, and what `flags`, each those of one machine, start.
    pub(crate) fn run(self, flags: &[Vec<String>]) -> ExitCode {
        use_one_crypto_provider();
        match self.convert(flags) {
            Ok(text) => say(&text),
            Err(error) => {
                let text = error.to_string();
                complain(&format!("rtun convert: {text}"));
                ExitCode::from(error.status())
            }
        }
    }

    fn convert(&self, flags: &[Vec<String>]) -> Result<String, ConvertFailure> {
        let configs = self.read(flags)?;
        let hub = self.hub.as_ref().map(|hub| &*hub.name);
        let network = network::of(&configs, hub)?;
        let folder = self.dir.as_deref().unwrap_or(Path::new(""));
        let port = self.hub.as_ref().map_or(PORT, |hub| hub.port);
        let files = files::of(&network, folder, self.transport, port)?;
        match &self.dir {
            None => Ok(printed(&files, &network)),
            Some(dir) => self.write(dir, &files, &network),
        }
    }

    /// The configuration of each machine.
    fn read(&self, flags: &[Vec<String>]) -> Result<Vec<Config>, ConvertFailure> {
        let files = self.files.iter().map(|file| cli::Args {
            sources: vec![ConfigSource::parse(file)],
            ..cli::Args::default()
        });
        let mut machines: Vec<_> = files.collect();
        for flags in flags.iter().filter(|flags| !flags.is_empty()) {
            machines.push(cli::parse(flags.iter())?);
        }
        if machines.iter().all(|args| args.sources.is_empty() && args.services.is_empty()) {
            return Err(ConvertFailure::NothingNamed);
        }
        let mut reader = SystemReader::default();
        let read = machines.into_iter().map(|mut args| {
            // What else a machine runs is none of a tunnel's business.
            args.only_tunnels = true;
            let outcome = load(&args, &Environment::default(), &mut reader, Profile::Compat);
            outcome.config.ok_or_else(|| ConvertFailure::Refused(errors(outcome.findings)))
        });
        read.collect()
    }

    fn write(
        &self,
        dir: &Path,
        files: &[ConfigFile],
        network: &network::ConvertedNetwork,
    ) -> Result<String, ConvertFailure> {
        let exists = |file: &&ConfigFile| file.path.symlink_metadata().is_ok();
        if let Some(file) = files.iter().find(exists).filter(|_| !self.force) {
            return Err(ConvertFailure::Exists(file.path.clone()));
        }
        let mut text = server_certificate(dir, &network.hub_names, self.force)?;
        let folder = Folder::open(dir)?;
        for file in files {
            folder.write(&file.path, &file.text, true, self.force)?;
            let _ = writeln!(text, "made {}: {}", file.path.display(), file.purpose);
        }
        for note in &network.notes {
            let _ = write!(text, "\n- {note}");
        }
        Ok(text + "\n")
    }
}

fn errors(findings: Vec<Finding>) -> Vec<Finding> {
    findings.into_iter().filter(|finding| finding.severity == Severity::Error).collect()
}

/// All files in a row, each after its name, and the notes as comments after them.
fn printed(files: &[ConfigFile], network: &network::ConvertedNetwork) -> String {
    let mut text = String::new();
    for ConfigFile { path, purpose, text: file } in files {
        let _ = write!(text, "# {}: {purpose}\n{file}\n", path.display());
    }
    let names = network.hub_names.join(",");
    let _ = writeln!(
        text,
        "# - certificates for the hub: rtun gen cert --dir . --hub {names}; `--dir DIR` writes files and certificates"
    );
    for note in &network.notes {
        let _ = writeln!(text, "# - {note}");
    }
    text
}

fn hub_place(text: &str) -> Result<HubPlace, String> {
    if let Ok(name) = hub_name(text) {
        return Ok(HubPlace { name, port: PORT });
    }
    let (name, port) = members::host_and_port(text).ok_or("write NAME or NAME:PORT")?;
    let port =
        port.parse().ok().filter(|port| *port != 0).ok_or("the port is no number of 1 to 65535")?;
    Ok(HubPlace { name: hub_name(name)?, port })
}
