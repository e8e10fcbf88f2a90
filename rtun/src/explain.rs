//! `rtun explain`: where a packet or frame goes and why, or why it goes nowhere.

mod text;
mod tunnel;
mod tunnel_text;

use std::{net::IpAddr, path::PathBuf, process::ExitCode};

use clap::Args as ClapArgs;
use rtun_config::{
    Environment, Outcome,
    cli::Args,
    findings::{Profile, Severity},
    load,
    source::ConfigSource,
};
use rtun_core::{
    Answers, HostName, NamespaceId, PluginId, PluginRoute,
    explain::{
        AddressKind, HubExplanation, Presence, Question, Scene, Unclear, choose_namespace,
        choose_services, explain,
    },
};
use rtun_node::{
    AskedAddress, AskedEnds, ExplainReport, Explained, Explanations, Inquiry,
    control_socket::{ControlAskError, ControlRequest, SocketLocations},
};
use rtun_settings::Config;

use self::tunnel::OfflineServer;
use crate::{
    EXIT_CONFIG, EXIT_FAILURE, EXIT_USAGE, asking::ask_one, complain, offline, offline::Hub,
    reader::SystemReader, run::use_one_crypto_provider, say,
};

/// Tell where a packet goes and why, or why it goes nowhere
///
/// Asks the hubs and the servers of UDP and Ethernet tunnels that run on this machine; with -C goes by configuration files and
/// the files of rows that these name, asking neither redis nor http sources nor plugins.
///
/// Exit status: 0 delivered, 1 not delivered or not decided, 64 wrong arguments, 78 configuration refused.
#[derive(ClapArgs)]
pub(crate) struct Explain {
    /// Source address of the packet, or hardware address of a frame
    #[arg(value_name = "SRC")]
    source: AskedAddress,
    /// Destination address, of the same kind
    #[arg(value_name = "DST")]
    destination: AskedAddress,
    /// The namespace's UUID; needed where there are several
    #[arg(long, value_name = "ID")]
    namespace: Option<NamespaceId>,
    /// The host that sends it; of a UDP tunnel a client, by an address or IP:PORT, or `device`; otherwise the one that SRC is
    /// behind
    #[arg(long, value_name = "HOST")]
    from: Option<HostName>,
    /// The service name of the hub or server; otherwise every one
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// TTL or hop limit of the packet
    #[arg(long, value_name = "HOPS", default_value_t = 64)]
    ttl: u8,
    /// The VLAN of the frame; 0: it has no tag
    #[arg(long, value_name = "ID", default_value_t = 0)]
    vlan: u16,
    /// Files, http(s) URLs, - or {...}, merged left to right; none: ask the running hubs
    #[arg(short = 'C', value_name = "FILE")]
    files: Vec<String>,
    /// Ask only the rtun with this control socket
    #[arg(long, value_name = "PATH", conflicts_with = "files")]
    socket: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(crate) fn run(self) -> ExitCode {
        let ends = match AskedEnds::of(self.source, self.destination) {
            Ok(ends) => ends,
            Err(error) => {
                complain(&format!("rtun: {error}"));
                return ExitCode::from(EXIT_USAGE);
            }
        };
        use_one_crypto_provider();
        if self.files.is_empty() {
            match self.ask_running() {
                Ok(found) if !found.is_empty() => return self.print(true, found),
                Ok(_) if self.socket.is_none() => {
                    complain("rtun: no running hub that this user may ask; by the default files:");
                }
                Ok(_) => {
                    complain("rtun: no running hub there");
                    return ExitCode::from(EXIT_FAILURE);
                }
                Err(status) => return status,
            }
        }
        let args = Args {
            sources: self.files.iter().map(|file| ConfigSource::parse(file)).collect(),
            ..Args::default()
        };
        let environment = Environment::from_vars(|name| std::env::var(name).ok());
        let Outcome { config, findings, .. } =
            load(&args, &environment, &mut SystemReader::default(), Profile::Compat);
        let Some(config) = config else {
            for finding in findings.iter().filter(|f| f.severity == Severity::Error) {
                complain(&finding.to_string());
            }
            return ExitCode::from(EXIT_CONFIG);
        };
        match self.by_files(&config, ends) {
            Ok(found) => self.print(false, found),
            Err(status) => status,
        }
    }

    /// What hubs and servers of a configuration do, or the exit status where it is not clear what was meant.
    fn by_files(&self, config: &Config, ends: AskedEnds) -> Result<Explanations, ExitCode> {
        let hubs = offline::hubs(config).into_iter().map(|hub| OfflineService::Hub(Box::new(hub)));
        let services: Vec<_> = hubs.chain(tunnel::servers(config)).collect();
        let (kind, service) = (ends.kind(), self.service.as_deref());
        let chosen =
            choose_services(&services, OfflineService::name, OfflineService::kind, kind, service);
        let chosen = chosen.map_err(|unclear| usage(&unclear))?;
        let AskedEnds::Packet(source, destination) = ends else {
            complain("rtun: where frames go is learnt by a running server: ask without -C");
            return Err(ExitCode::from(EXIT_USAGE));
        };
        let has_hubs = chosen.iter().any(|service| matches!(service, OfflineService::Hub(_)));
        let mut found = Explanations::default();
        for service in chosen {
            match service {
                OfflineService::Hub(hub) => {
                    let explained = self.explain_at(hub, source, destination);
                    found.hubs.push(explained.map_err(|unclear| usage(&unclear))?);
                }
                // A namespace is a hub's.
                OfflineService::Server(_) if has_hubs && self.namespace.is_some() => {}
                OfflineService::Server(server) => {
                    match server.explain(self.from.as_ref(), source, destination) {
                        Ok(explained) => found.tunnels.push(explained),
                        // A host of the hub's is meant.
                        Err(_) if has_hubs => {}
                        Err(error) => {
                            complain(&format!("rtun: {error}"));
                            return Err(ExitCode::from(EXIT_USAGE));
                        }
                    }
                }
                OfflineService::Switch(_) => {}
            }
        }
        Ok(found)
    }

    /// What runs on this machine says, or the exit status where it is not clear what was meant.
    fn ask_running(&self) -> Result<Explanations, ExitCode> {
        let sockets = match &self.socket {
            Some(socket) => vec![socket.clone()],
            None => SocketLocations::from_vars(|name| std::env::var_os(name)).sockets(),
        };
        let request = ControlRequest::Explain(Inquiry {
            source: self.source,
            destination: self.destination,
            from: self.from.as_ref().map(ToString::to_string),
            namespace: self.namespace.as_ref().map(ToString::to_string),
            service: self.service.clone(),
            ttl: self.ttl,
            vlan: self.vlan,
        });
        let (mut all, mut unclear) = (Explanations::default(), None);
        for socket in sockets {
            match ask_one(&socket, &request) {
                Ok(Explained::Found(found)) => all.append(found),
                // It is a host, or its hub has another name or goes by other addresses: another one may be meant.
                Ok(Explained::Unclear(Unclear::NoHub)) => {}
                Ok(Explained::Unclear(
                    other @ (Unclear::NoSuchHub { .. }
                    | Unclear::GoesByHardware { .. }
                    | Unclear::GoesByIp { .. }),
                )) => unclear = Some(other),
                Ok(Explained::Unclear(other)) => return Err(usage(&other)),
                Err(ControlAskError::Nobody) if self.socket.is_none() => {}
                Err(error) => complain(&format!("rtun: {}: {error}", socket.display())),
            }
        }
        match unclear.filter(|_| all.is_empty()) {
            Some(unclear) => Err(usage(&unclear)),
            None => Ok(all),
        }
    }

    fn explain_at(
        &self,
        hub: &Hub<'_>,
        source: IpAddr,
        destination: IpAddr,
    ) -> Result<HubExplanation, Unclear> {
        let namespace = choose_namespace(hub.service, self.namespace, hub.named_namespaces())?;
        let question = Question { sender: self.from.clone(), source, destination, hops: self.ttl };
        let scene = Scene {
            routing: &hub.routing(namespace),
            listings: hub.listings(namespace),
            answers: &NobodyAsked,
            takes_hops: hub.rules.ttl,
            presence: &|host| match hub.admits(host, namespace) {
                Ok(()) => Presence::Unknown,
                Err(barred) => Presence::Impossible { because: barred.to_string() },
            },
        };
        let explanation = explain(scene, &question);
        let mut not_asked = explanation.sources_not_read();
        not_asked.extend(hub.access_not_asked.iter().cloned());
        // Only a running hub knows which limits apply to a connection.
        let (service, limits) = (hub.service.to_owned(), Vec::new());
        Ok(HubExplanation { service, explanation, not_asked, limits })
    }

    fn print(&self, live: bool, found: Explanations) -> ExitCode {
        let text = text::text(&found);
        let report = ExplainReport::new(live, found);
        let text = if self.json {
            match serde_json::to_string_pretty(&report) {
                Ok(json) => json + "\n",
                Err(error) => {
                    complain(&format!("rtun: {error}"));
                    return ExitCode::from(EXIT_FAILURE);
                }
            }
        } else {
            text
        };
        say(&text);
        ExitCode::from(report.status)
    }
}

/// What is asked in a configuration.
enum OfflineService<'a> {
    Hub(Box<Hub<'a>>),
    Server(OfflineServer<'a>),
    /// The server of an Ethernet tunnel, by its name.
    Switch(&'a str),
}

impl OfflineService<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Hub(hub) => hub.service,
            Self::Server(server) => server.service,
            Self::Switch(name) => name,
        }
    }

    fn kind(&self) -> AddressKind {
        match self {
            Self::Hub(_) | Self::Server(_) => AddressKind::Ip,
            Self::Switch(_) => AddressKind::Hardware,
        }
    }
}

/// Offline no plugin is asked, and nobody knows who is connected.
struct NobodyAsked;

impl Answers for NobodyAsked {
    fn known(&self, _: PluginId, _: NamespaceId, _: IpAddr) -> PluginRoute {
        PluginRoute::Unasked
    }

    fn is_connected(&self, _: &HostName) -> bool {
        true
    }
}

fn usage(unclear: &Unclear) -> ExitCode {
    complain(&format!("rtun: {unclear}"));
    ExitCode::from(EXIT_USAGE)
}
