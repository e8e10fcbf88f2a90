//! A running service, whatever its kind.

use std::{net::SocketAddr, sync::Arc};

use rtun_settings::{HostSettings, ServiceKind, TapClientSettings, UdpClientSettings};

use crate::{
    feeds::Feeds,
    hooks::HookFacts,
    host::{HostError, HostService, differ_in_hubs_only},
    hub::{HubError, HubService, RulesError},
    limiters::ServiceMeters,
    observers::Observed,
    operations::board::View,
    recorders::ServiceRecorders,
    runtime::machine::Machine,
    udp_tunnel::{
        RelayError, RelayService, TapClientService, TapServerService, TunnelClientError,
        TunnelServerError, UdpClientService, UdpServerService, differ_in_rules_only,
        differ_in_tap_rules_only, listen_alike,
    },
};

/// A service that runs.
pub(super) enum RunningService {
    Hub(HubService),
    Host(HostService),
    UdpServer(UdpServerService),
    UdpClient(UdpClientService),
    Relay(RelayService),
    TapServer(TapServerService),
    TapClient(TapClientService),
}

/// Why a service cannot be started or changed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A hub cannot be started.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A hub's new rules cannot be used.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A host cannot be started.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The server of a UDP or Ethernet tunnel cannot be started.
    #[error(transparent)]
    TunnelServer(#[from] TunnelServerError),
    /// The client of a UDP or Ethernet tunnel cannot be started.
    #[error(transparent)]
    TunnelClient(#[from] TunnelClientError),
    /// A relay cannot be started.
    #[error(transparent)]
    Relay(#[from] RelayError),
}

impl RunningService {
    /// Goes by `wanted` in the place of `before`, and says what is new; `None`: it can only start again.
    pub(super) async fn change(
        &self,
        before: &ServiceKind,
        wanted: &ServiceKind,
        feeds: &Feeds,
        meters: ServiceMeters,
        machine: &Machine,
    ) -> Result<Option<&'static str>, ServiceError> {
        Ok(Some(match (self, before, wanted) {
            (Self::Hub(hub), ServiceKind::Hub(old), ServiceKind::Hub(new))
                if old.listeners().eq(new.listeners()) =>
            {
                hub.apply(new, feeds.of(&new.rules), meters).await?;
                "rules replaced"
            }
            (Self::Host(host), ServiceKind::Host(old), ServiceKind::Host(new))
                if HostSettings { limits: new.limits.clone(), ..old.clone() } == *new =>
            {
                host.limit(&new.limits, meters)?;
                "limits replaced"
            }
            (Self::Host(host), ServiceKind::Host(old), ServiceKind::Host(new))
                if differ_in_hubs_only(old, new) =>
            {
                let next = host.next_hubs(new, feeds, machine)?;
                host.limit(&new.limits, meters)?;
                host.steer(next).await;
                "hubs replaced"
            }
            (Self::UdpServer(server), ServiceKind::UdpServer(old), ServiceKind::UdpServer(new))
                if differ_in_rules_only(old, new) =>
            {
                server.apply(new, feeds.of_users(wanted.authers()), meters).await;
                "rules replaced"
            }
            (Self::Relay(relay), ServiceKind::Relay(old), ServiceKind::Relay(new))
                if listen_alike(old, new) =>
            {
                relay.apply(new, feeds.of_users(wanted.authers()), meters).await;
                "rules replaced"
            }
            (Self::TapServer(server), ServiceKind::TapServer(old), ServiceKind::TapServer(new))
                if differ_in_tap_rules_only(old, new) =>
            {
                server.apply(new, meters);
                "rules replaced"
            }
            (Self::UdpClient(client), ServiceKind::UdpClient(old), ServiceKind::UdpClient(new))
                if UdpClientSettings { limits: new.limits.clone(), ..old.clone() } == *new =>
            {
                client.limit(&new.limits, meters);
                "limits replaced"
            }
            (Self::TapClient(client), ServiceKind::TapClient(old), ServiceKind::TapClient(new))
                if TapClientSettings { limits: new.limits.clone(), ..old.clone() } == *new =>
            {
                client.limit(&new.limits, meters);
                "limits replaced"
            }
            _ => return Ok(None),
        }))
    }

    /// From now on these learn of its connections.
    pub(super) fn observe(&self, observed: Option<Arc<Observed>>, recorders: ServiceRecorders) {
        match self {
            Self::Hub(hub) => {
                hub.observe(observed);
                hub.record(recorders);
            }
            Self::Relay(relay) => relay.record(recorders),
            Self::Host(_)
            | Self::UdpServer(_)
            | Self::UdpClient(_)
            | Self::TapServer(_)
            | Self::TapClient(_) => {}
        }
    }

    /// Reads its certificates, or looks at its device, now.
    pub(super) fn look_again(&self) {
        match self {
            Self::Hub(hub) => hub.reload_certificates(),
            Self::Host(host) => host.look_at_device(),
            Self::UdpServer(server) => server.look_at_device(),
            Self::UdpClient(client) => client.look_at_device(),
            Self::Relay(relay) => relay.reload_certificates(),
            Self::TapServer(server) => server.look_at_device(),
            Self::TapClient(client) => client.look_at_device(),
        }
    }

    /// Saves what is not from a source, if it is not saved. Not to be called where tasks run.
    pub(super) fn save_again(&self) {
        if let Self::Host(host) = self {
            host.save_nodes();
        }
    }

    /// Logs what passed and what was lost.
    pub(super) fn log_report(&self) {
        match self {
            Self::Hub(hub) => hub.log_report(),
            Self::Host(host) => host.log_report(),
            Self::UdpServer(server) => server.log_report(),
            Self::UdpClient(client) => client.log_report(),
            Self::Relay(relay) => relay.log_report(),
            Self::TapServer(server) => server.log_report(),
            Self::TapClient(client) => client.log_report(),
        }
    }

    /// The address of its first listener, if it has one.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Hub(hub) => Some(hub.local_addr()),
            Self::UdpServer(server) => Some(server.local_addr()),
            Self::TapServer(server) => Some(server.local_addr()),
            Self::Relay(relay) => Some(relay.local_addr()),
            Self::Host(_) | Self::UdpClient(_) | Self::TapClient(_) => None,
        }
    }

    /// The service as reports see it.
    pub(super) fn view(&self) -> View {
        match self {
            Self::Hub(hub) => View::Hub(hub.view()),
            Self::Host(host) => View::Host(host.view()),
            Self::UdpServer(server) => View::UdpServer(server.view()),
            Self::UdpClient(client) => View::UdpClient(client.view()),
            Self::Relay(relay) => View::Relay(relay.view()),
            Self::TapServer(server) => View::TapServer(server.view()),
            Self::TapClient(client) => View::TapClient(client.view()),
        }
    }

    /// What its hooks are informed of.
    pub(super) fn hook_facts(&self) -> HookFacts {
        match self {
            Self::Hub(hub) => hub.hook_facts(),
            Self::Host(host) => host.hook_facts(),
            Self::UdpServer(server) => server.hook_facts(),
            Self::UdpClient(client) => client.hook_facts(),
            Self::Relay(relay) => relay.hook_facts(),
            Self::TapServer(server) => server.hook_facts(),
            Self::TapClient(client) => client.hook_facts(),
        }
    }

    /// Ends it, with all that it has set up.
    pub(super) async fn stop(self) {
        match self {
            Self::Hub(hub) => hub.stop().await,
            Self::Host(host) => host.stop().await,
            Self::UdpServer(server) => server.stop().await,
            Self::UdpClient(client) => client.stop().await,
            Self::Relay(relay) => relay.stop().await,
            Self::TapServer(server) => server.stop().await,
            Self::TapClient(client) => client.stop().await,
        }
    }
}
