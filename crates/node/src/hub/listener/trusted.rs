//! The proxies that are trusted to say for whom they connect.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;
use rtun_transport::forwarded::Forwarded;

use super::error::ListenerError;

/// Proxies that are trusted to name their clients.
#[derive(Clone)]
pub(super) struct TrustedProxies(pub(super) Arc<[IpNet]>);

impl TrustedProxies {
    pub(super) fn contains(&self, addr: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&addr))
    }

    /// The address of the client of a request with these forwarding headers. Trusted proxies may name it. From any other peer
    /// such headers are refused if trusted proxies are configured, and ignored if none are.
    pub(super) fn client(
        &self,
        peer: SocketAddr,
        forwarded: &Forwarded,
    ) -> Result<SocketAddr, ListenerError> {
        if self.contains(peer.ip()) {
            let client = forwarded.client_behind(|addr| self.contains(addr));
            return Ok(client.map_or(peer, |addr| SocketAddr::new(addr, 0)));
        }
        match forwarded.present && !self.0.is_empty() {
            true => Err(ListenerError::UntrustedForwarder(peer.ip())),
            false => Ok(peer),
        }
    }
}
