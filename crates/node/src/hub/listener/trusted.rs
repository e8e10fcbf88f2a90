//! The proxies that are trusted to say for whom they connect.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;
use rtun_transport::forwarded::Forwarded;

use super::error::ListenerError;

/// Who may say for whom it connects.
#[derive(Clone)]
pub(super) struct TrustedProxies(pub(super) Arc<[IpNet]>);

impl TrustedProxies {
    pub(super) fn contains(&self, addr: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&addr))
    }

    /// Where a client comes from whose request has these forwarding headers: believed from trusted proxies, refused from
    /// others where there are any, and else not looked at.
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
