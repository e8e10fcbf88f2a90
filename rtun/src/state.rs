//! Where rtun keeps what its sources have said, the certificates it has made and where hubs were, and that it stays there.

use std::{
    env,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::unistd::Uid;
use rtun_settings::{Config, HubNode, ListenerSettings, ProxyHop, ServerCertificate, ServiceKind};
use rtun_state::StateDir;
use tracing::warn;

/// The directory for it by this process's environment.
pub(crate) fn place() -> Option<PathBuf> {
    rtun_state::default_path(|name| env::var_os(name), Uid::effective().is_root())
}

/// The directory of a running process; each clone is of the same.
#[derive(Clone, Default)]
pub(crate) struct ProcessState(Arc<Mutex<KeptIn>>);

#[derive(Default)]
struct KeptIn {
    directory: Option<Arc<StateDir>>,
    /// Whether nodes of hops are to be kept.
    keeps_nodes: bool,
    /// What was complained of last.
    complaint: Option<String>,
}

impl ProcessState {
    /// The directory for what sources of nodes of hops say, before there is a log: what is wrong with it is said by
    /// [`ProcessState::directory`].
    pub(crate) fn for_nodes(&self) -> Option<Arc<StateDir>> {
        let mut kept = self.kept();
        kept.keeps_nodes = true;
        if kept.directory.is_none() {
            kept.directory = place().and_then(|place| StateDir::open(place).ok()).map(Arc::new);
        }
        kept.directory.clone()
    }

    /// The directory, made if there is anything to keep in it. Without one rtun runs all the same, and says so.
    pub(crate) fn directory(&self, config: &Config) -> Option<Arc<StateDir>> {
        let mut kept = self.kept();
        let api = config.api.as_ref().and_then(|api| api.tls.as_ref());
        let is_needed = kept.keeps_nodes
            || config.services.iter().any(|it| keeps_something(&it.kind))
            || api.is_some_and(|tls| matches!(tls.certificate, ServerCertificate::Own(_)));
        if kept.directory.is_none() && is_needed {
            let opened = match place() {
                Some(place) => StateDir::open(place).map_err(|error| error.to_string()),
                None => Err("neither RTUN_STATE_DIR nor HOME is set".into()),
            };
            match opened {
                Ok(directory) => kept.directory = Some(Arc::new(directory)),
                Err(why) => kept.complain(why),
            }
        }
        kept.directory.clone()
    }

    /// Makes the directory again if it has gone; whether it had.
    pub(crate) fn look_after(&self) -> bool {
        let mut kept = self.kept();
        let Some(directory) = &kept.directory else { return false };
        match directory.make() {
            Ok(had_gone) => {
                if had_gone {
                    let path = directory.path().display();
                    warn!(%path, "the state directory had gone and is made again");
                }
                kept.complaint = None;
                had_gone
            }
            Err(error) => {
                kept.complain(error.to_string());
                false
            }
        }
    }

    /// What a poisoned lock guards is whole: each change is one assignment.
    fn kept(&self) -> MutexGuard<'_, KeptIn> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeptIn {
    /// Once for the same reason.
    fn complain(&mut self, why: String) {
        if self.complaint.as_ref() != Some(&why) {
            warn!(
                "nothing is kept for the next start, neither rows, certificates nor addresses of hubs: {why}"
            );
            self.complaint = Some(why);
        }
    }
}

/// Whether a service has quotas, sources, a certificate that rtun makes, or names to look up.
fn keeps_something(kind: &ServiceKind) -> bool {
    let reads_names = kind.lookups().iter().any(|name| name.sources().next().is_some());
    if reads_names || kind.volumes().iter().any(|quota| quota.file.is_none()) {
        return true;
    }
    let hub = match kind {
        ServiceKind::Hub(hub) => hub,
        ServiceKind::UdpServer(_) => return false,
        ServiceKind::Relay(relay) => return relay.listeners().any(makes_certificate),
        // The number of a machine that the system gives none.
        ServiceKind::TapServer(_) | ServiceKind::TapClient(_) => return true,
        ServiceKind::UdpClient(client) => {
            return match &client.relay {
                Some(relay) => chain_has_name(&relay.relays, &relay.proxies),
                None => client.servers.iter().any(|addr| has_name(addr)),
            };
        }
        ServiceKind::Host(host) => {
            let mut limiters = host.limits.traffic.iter().map(|limiter| &limiter.limits);
            return limiters.any(|limits| !limits.sources().is_empty())
                || host.hop_plugins().next().is_some()
                || host.chains().any(|(hubs, proxies)| chain_has_name(hubs, proxies));
        }
    };
    hub.rules.sources().next().is_some() || hub.listeners().any(makes_certificate)
}

/// Whether the listener has a certificate that rtun makes.
fn makes_certificate(listener: &ListenerSettings) -> bool {
    let tls = listener.stack.tls();
    tls.is_some_and(|tls| matches!(tls.certificate, ServerCertificate::Own(_)))
}

/// Whether a hub or relay, or a proxy before it, has a name.
fn chain_has_name(hubs: &[HubNode], proxies: &[ProxyHop]) -> bool {
    let endpoints = hubs.iter().flat_map(|hub| &hub.endpoints).map(|endpoint| &endpoint.addr);
    let proxies = proxies.iter().flat_map(|hop| &hop.nodes).map(|node| &node.addr);
    endpoints.chain(proxies).any(|addr| has_name(addr))
}

/// Whether the host of `host:port` is looked up.
fn has_name(addr: &str) -> bool {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host).trim_matches(['[', ']']);
    let address = host.split('%').next().unwrap_or(host);
    !matches!(host, "" | "localhost") && address.parse::<IpAddr>().is_err()
}
