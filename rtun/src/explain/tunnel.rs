//! What the server of a UDP tunnel would do, by its configuration: all clients that may be there are taken as registered.

use std::{net::IpAddr, time::Instant};

use rtun_core::{
    HostName,
    explain::{
        Listed, NetworkRows, Origin, TunnelExplanation, TunnelQuestion, TunnelScene,
        TunnelSenderError, assume_clients, explain_tunnel,
    },
    udp_tunnel::{
        AddressRules, ClientLimits, ClientTable, GatewayRoute, GatewayRoutes, TunnelRouting,
    },
};
use rtun_settings::{Config, ServiceKind, UdpServerSettings};

use super::OfflineService;

/// The server of a UDP tunnel as its configuration describes it.
pub(super) struct OfflineServer<'a> {
    pub(super) service: &'a str,
    settings: &'a UdpServerSettings,
}

/// Every server of a UDP or Ethernet tunnel, in the order of the configuration.
pub(super) fn servers(config: &Config) -> impl Iterator<Item = OfflineService<'_>> {
    config.services.iter().filter_map(|service| match &service.kind {
        ServiceKind::UdpServer(settings) => {
            Some(OfflineService::Server(OfflineServer { service: &service.name, settings }))
        }
        ServiceKind::TapServer(_) => Some(OfflineService::Switch(&service.name)),
        _ => None,
    })
}

impl OfflineServer<'_> {
    /// What it does with a packet of the client `from`.
    pub(super) fn explain(
        &self,
        from: Option<&HostName>,
        source: IpAddr,
        destination: IpAddr,
    ) -> Result<TunnelExplanation, TunnelSenderError> {
        let rules = &self.settings.rules;
        let sender = from.map(|from| from.as_str().parse()).transpose()?;
        let question = TunnelQuestion { sender, source, destination };
        let networks = rules.client_networks();
        let mut routing =
            TunnelRouting {
                rules: AddressRules::new(&self.settings.device.addresses, &rules.allowed),
                routes: GatewayRoutes::new(networks.map(|row| GatewayRoute {
                    prefix: row.value.prefix,
                    gateway: row.value.gateway,
                })),
                point_to_point: rules.point_to_point,
                clients: ClientTable::new(ClientLimits::default()),
            };
        let now = Instant::now();
        let has_user = |address| rules.has_user(address);
        assume_clients(&mut routing, &question, has_user, now);
        let routes = rules.client_routes();
        let listed = routes.iter().map(|row| Listed {
            route: &row.value,
            origin: Origin::Inline,
            source: &row.file,
            line: row.line,
        });
        let rows = NetworkRows::containing(source, destination, listed);
        let scene = TunnelScene {
            service: self.service,
            routing: &routing,
            has_user: &has_user,
            is_live: false,
            now,
        };
        Ok(explain_tunnel(&scene, rows, &question))
    }
}
