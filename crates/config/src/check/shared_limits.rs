//! Limiters that several services name: each service has the limit for itself.

use std::collections::BTreeMap;

use rtun_settings::{Config, Named, ServiceKind};

use crate::{
    location::quote,
    normalise::Context,
    schema::{Field, OneText, service},
};

/// Reports the second service that names a limiter with rows, and further ones.
pub(super) fn check(config: &Config, context: &Context<'_>) {
    let mut firsts: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for service in &config.services {
        let Some(at) = context.names.services.get(&service.name) else { continue };
        for (field, limiter) in limiters(&service.kind) {
            let first = *firsts.entry((field.name(), limiter)).or_insert(&service.name);
            if first != service.name {
                let [limiter, first, second] = [limiter, first, &service.name].map(quote);
                let message = format!(
                    "{limiter} limits {first} and {second} each by itself; in GOST they share one limit"
                );
                at.place_of(field)
                    .warning(message)
                    .help("give each a limiter of its own, with its part of the limit");
            }
        }
    }
}

/// The limiters with rows that a service names, each with its key. A plugin knows itself which service asks.
fn limiters(kind: &ServiceKind) -> Vec<(&'static Field<OneText>, &str)> {
    fn name<T>(limiter: &Named<T>) -> Option<&str> {
        limiter.plugin().is_none().then_some(&*limiter.name)
    }
    let (traffic, connections, requests) = match kind {
        ServiceKind::Hub(hub) => {
            let limits = &hub.rules.limits;
            let connections = limits.connections.as_ref().and_then(name);
            (&limits.traffic, connections, limits.requests.as_ref().and_then(name))
        }
        ServiceKind::Host(host) => (&host.limits.traffic, None, None),
        ServiceKind::UdpServer(server) => (&server.rules.limits.traffic, None, None),
        ServiceKind::UdpClient(client) => (&client.limits.traffic, None, None),
        ServiceKind::TapServer(server) => (&server.limits.traffic, None, None),
        ServiceKind::TapClient(client) => (&client.limits.traffic, None, None),
        ServiceKind::Relay(relay) => (&relay.rules.limits.traffic, None, None),
    };
    let traffic = traffic.as_ref().and_then(|limiter| name(&limiter.limits));
    let named = [
        (&service::LIMITER, traffic),
        (&service::CLIMITER, connections),
        (&service::RLIMITER, requests),
    ];
    named.into_iter().filter_map(|(field, name)| Some((field, name?))).collect()
}
