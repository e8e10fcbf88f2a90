//! `rtun explain`: where a packet goes and why, or why it goes nowhere.

mod text;

use std::{fmt, net::IpAddr, process::ExitCode};

use clap::Args as ClapArgs;
use rtun_config::{
    Environment, Outcome,
    cli::Args,
    findings::{Profile, Severity},
    load,
    source::Source,
};
use rtun_core::{
    Answers, HostName, Known, NamespaceId, PluginId,
    explain::{Explanation, Presence, Question, Scene, explain},
};
use serde::{Deserialize, Serialize};

use crate::{
    EXIT_CONFIG, EXIT_FAILURE, EXIT_USAGE, complain, offline, offline::Hub, reader::SystemReader,
    run::use_one_crypto_provider, say,
};

/// Tell where a packet goes and why, or why it goes nowhere
///
/// By configuration files and the files of rows they name; redis, http sources and plugins are not asked.
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
    /// Files, http(s) URLs, - or {...}, merged left to right; none: the default files
    #[arg(short = 'C', value_name = "FILE")]
    files: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// All that is said.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    /// The exit status.
    status: u8,
    /// One for each hub.
    hubs: Vec<HubReport>,
}

/// What becomes of the packet at one hub.
#[derive(Debug, Serialize, Deserialize)]
struct HubReport {
    service: String,
    #[serde(flatten)]
    explanation: Explanation,
    /// What was not asked and might change it.
    not_asked: Vec<String>,
}

/// A question that has no answer.
#[derive(Debug)]
enum Unclear {
    NoHub,
    NoSuchHub { name: String, hubs: Vec<String> },
    WhichNamespace { service: String, namespaces: Vec<NamespaceId> },
}

impl Explain {
    pub(crate) fn run(self) -> ExitCode {
        if self.source.is_ipv4() != self.destination.is_ipv4() {
            complain("rtun: source and destination must both be IPv4, or both IPv6");
            return ExitCode::from(EXIT_USAGE);
        }
        use_one_crypto_provider();
        let args = Args {
            sources: self.files.iter().map(|file| Source::parse(file)).collect(),
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
        match self.explain(&offline::hubs(&config)) {
            Ok(hubs) => self.print(hubs),
            Err(unclear) => {
                complain(&format!("rtun: {unclear}"));
                ExitCode::from(EXIT_USAGE)
            }
        }
    }

    fn explain(&self, hubs: &[Hub<'_>]) -> Result<Vec<HubReport>, Unclear> {
        let all = || hubs.iter().map(|hub| hub.service.to_owned()).collect();
        let named = |hub: &&Hub<'_>| self.service.as_ref().is_none_or(|name| name == hub.service);
        let chosen: Vec<_> = hubs.iter().filter(named).collect();
        match &self.service {
            _ if hubs.is_empty() => return Err(Unclear::NoHub),
            Some(name) if chosen.is_empty() => {
                return Err(Unclear::NoSuchHub { name: name.clone(), hubs: all() });
            }
            _ => {}
        }
        chosen.into_iter().map(|hub| self.explain_at(hub)).collect()
    }

    fn explain_at(&self, hub: &Hub<'_>) -> Result<HubReport, Unclear> {
        let namespaces: Vec<_> = hub.named_namespaces().into_iter().collect();
        let namespace = match (self.namespace, &*namespaces) {
            (Some(namespace), _) => namespace,
            (None, []) => NamespaceId::DEFAULT,
            (None, [namespace]) => *namespace,
            (None, _) => {
                return Err(Unclear::WhichNamespace {
                    service: hub.service.to_owned(),
                    namespaces,
                });
            }
        };
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
        let mut not_asked = sources_not_read(&explanation);
        not_asked.extend(hub.access_not_asked.iter().cloned());
        Ok(HubReport { service: hub.service.to_owned(), explanation, not_asked })
    }

    fn print(&self, hubs: Vec<HubReport>) -> ExitCode {
        let delivered = hubs.iter().all(|hub| hub.explanation.conclusion.is_delivered());
        let status = if delivered { 0 } else { EXIT_FAILURE };
        let text = if self.json {
            match serde_json::to_string_pretty(&Report { status, hubs }) {
                Ok(json) => json + "\n",
                Err(error) => {
                    complain(&format!("rtun: {error}"));
                    return ExitCode::from(EXIT_FAILURE);
                }
            }
        } else {
            text::text(&hubs)
        };
        say(&text);
        ExitCode::from(status)
    }
}

/// Of the routers that were asked, the sources that might have had a better row.
fn sources_not_read(explanation: &Explanation) -> Vec<String> {
    let Explanation { routers, source, destination, .. } = explanation;
    let last = [source, destination].map(|located| {
        let answering = located.router.as_ref().or(located.asks.as_ref());
        answering.and_then(|name| routers.iter().position(|router| router.name == *name))
    });
    let [Some(a), Some(b)] = last.map(|last| last.or(routers.len().checked_sub(1))) else {
        return Vec::new();
    };
    let asked = routers.iter().take(a.max(b) + 1);
    let sources = asked.flat_map(|router| {
        router.not_read.iter().map(|source| format!("router {}: {source}", router.name))
    });
    sources.collect()
}

/// Offline no plugin is asked.
struct NobodyAsked;

impl Answers for NobodyAsked {
    fn known(&self, _: PluginId, _: NamespaceId, _: IpAddr) -> Known {
        Known::Unasked
    }
}

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHub => {
                f.write_str("the configuration has no hub: no service with handler `router`")
            }
            Self::NoSuchHub { name, hubs } => {
                write!(f, "there is no hub {name:?}; hubs: {}", hubs.join(", "))
            }
            Self::WhichNamespace { service, namespaces } => {
                write!(f, "hub {service:?} has several namespaces: choose one with --namespace")?;
                namespaces.iter().try_for_each(|id| write!(f, "\n  {id}"))
            }
        }
    }
}
