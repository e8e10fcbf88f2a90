//! The path to a host, measured by the service that can.

use rtun_core::{HostName, NamespaceId};

use super::{Board, View};
use crate::report::{MAX_PROBE, PathQuery, PathView};

impl Board {
    /// The path to a host, measured once: from a hub that has it, or from a host service through its hub. The error says why it
    /// cannot be measured. Takes 3 s at most.
    pub async fn ping(&self, query: &PathQuery) -> Result<PathView, String> {
        let host = HostName::new(&query.host).map_err(|error| error.to_string())?;
        if query.size > MAX_PROBE {
            return Err(format!("a probe has at most {MAX_PROBE} bytes"));
        }
        let services = self.services.load_full();
        let is_meant = |name: &str| query.service.as_ref().is_none_or(|wanted| wanted == name);
        let meant: Vec<_> = services.iter().filter(|shown| is_meant(&shown.name)).collect();
        let mut hubs = Vec::new();
        let mut hosts = Vec::new();
        for shown in &meant {
            match &shown.view {
                View::Hub(hub) => {
                    let wanted = |id: &NamespaceId| query.namespace.is_none_or(|it| it == *id);
                    let found = hub.namespaces_with(&host).into_iter().filter(wanted);
                    hubs.extend(found.map(|namespace| (&shown.name, hub, namespace)));
                }
                View::Host(host) => hosts.push((&shown.name, host)),
                View::UdpServer(_)
                | View::UdpClient(_)
                | View::Relay(_)
                | View::TapServer(_)
                | View::TapClient(_) => {}
            }
        }
        match (&hubs[..], &hosts[..]) {
            ([(_, hub, namespace)], _) => Ok(hub.ping(query, *namespace).await),
            ([], [(name, service)]) => service.ping(name, &host, query).await,
            ([], []) if meant.is_empty() => Err("there is no service of that name".into()),
            ([], []) => Err(format!("no host {host} is connected")),
            ([], hosts) => {
                let names = hosts.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
                Err(format!(
                    "several services could ask: choose by --service {}",
                    names.join(" or ")
                ))
            }
            (hubs, _) => {
                let places = hubs.iter().map(|(name, _, id)| format!("{id} of {name}"));
                let places = places.collect::<Vec<_>>().join(", ");
                Err(format!(
                    "{host} is in several namespaces: choose by --namespace or --service: {places}"
                ))
            }
        }
    }
}
