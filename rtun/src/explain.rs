//! `rtun explain`: where a packet goes and why, or why it goes nowhere.

mod text;

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
        HubExplanation, Presence, Question, Scene, Unclear, choose_hubs, choose_namespace, explain,
    },
};
use rtun_node::{
    ExplainReport, Explained, Inquiry,
    control_socket::{ControlAskError, ControlRequest, SocketLocations, ask},
};

use crate::{
    EXIT_CONFIG, EXIT_FAILURE, EXIT_USAGE, complain, offline, offline::Hub, reader::SystemReader,
    run::use_one_crypto_provider, say,
};

/// Tell where a packet goes and why, or why it goes nowhere
///
/// Asks the hubs that run on this machine; with -C goes by configuration files and the files of rows that these name,
/// asking neither redis nor http sources nor plugins.
///
/// Exit status: 0 delivered, 1 not delivered or not decided, 64 wrong arguments, 78 configuration refused.
#[derive(ClapArgs)]
pub(crate) struct Explain {
    /// Source address of the packet
    #[arg(value_name = "SRC")]
    source: IpAddr,
    /// Destination address of the packet
    #[arg(value_name = "DST")]
    destination: IpAddr,
    /// The namespace's UUID; needed where there are several
    #[arg(long, value_name = "ID")]
    namespace: Option<NamespaceId>,
    /// The host that sends it; otherwise the one that SRC is behind
    #[arg(long, value_name = "HOST")]
    from: Option<HostName>,
    /// The hub's service name; otherwise every hub
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// TTL or hop limit of the packet
    #[arg(long, value_name = "HOPS", default_value_t = 64)]
    ttl: u8,
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
        if self.source.is_ipv4() != self.destination.is_ipv4() {
            complain("rtun: source and destination must both be IPv4, or both IPv6");
            return ExitCode::from(EXIT_USAGE);
        }
        use_one_crypto_provider();
        if self.files.is_empty() {
            match self.ask_running() {
                Ok(hubs) if !hubs.is_empty() => return self.print(true, hubs),
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
        let hubs = offline::hubs(&config);
        let chosen = choose_hubs(&hubs, |hub| hub.service, self.service.as_deref());
        match chosen.and_then(|hubs| hubs.iter().map(|hub| self.explain_at(hub)).collect()) {
            Ok(hubs) => self.print(false, hubs),
            Err(unclear) => usage(&unclear),
        }
    }

    /// What the hubs say that run on this machine, or the exit status where it is not clear what was meant.
    fn ask_running(&self) -> Result<Vec<HubExplanation>, ExitCode> {
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
        });
        let (mut all, mut unclear) = (Vec::new(), None);
        for socket in sockets {
            let answer = ask(&socket, &request)
                .and_then(|json| Ok(serde_json::from_value::<Explained>(json)?));
            match answer {
                Ok(Explained::Hubs(hubs)) => all.extend(hubs),
                // It is a host, or its hub has another name: another one may be meant.
                Ok(Explained::Unclear(Unclear::NoHub)) => {}
                Ok(Explained::Unclear(other @ Unclear::NoSuchHub { .. })) => unclear = Some(other),
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

    fn explain_at(&self, hub: &Hub<'_>) -> Result<HubExplanation, Unclear> {
        let namespace = choose_namespace(hub.service, self.namespace, hub.named_namespaces())?;
        let question = Question {
            sender: self.from.clone(),
            source: self.source,
            destination: self.destination,
            hops: self.ttl,
        };
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

    fn print(&self, live: bool, hubs: Vec<HubExplanation>) -> ExitCode {
        let text = text::text(&hubs);
        let report = ExplainReport::new(live, hubs);
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
