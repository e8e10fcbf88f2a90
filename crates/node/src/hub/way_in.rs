//! A hub's ways in as somebody sees them who only asks.

use std::net::SocketAddr;

use rtun_net::tls::Acceptor;

use crate::{
    encryption,
    report::{CertificateReport, ListenerReport, Transport},
};

/// One way in. Keeps nothing open.
#[derive(Clone)]
pub(super) struct WayIn {
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
    /// Knows the certificate of the moment, if it is encrypted.
    pub(super) acceptor: Option<Acceptor>,
}

impl WayIn {
    pub(super) fn report(&self) -> ListenerReport {
        let certificate = self.acceptor.as_ref().map(|acceptor| {
            let shown = acceptor.certificate();
            CertificateReport {
                expires_in: encryption::seconds_left(&shown),
                subject: shown.subject,
                names: shown.names,
                fingerprint: shown.sha256.to_string(),
            }
        });
        ListenerReport { address: self.address, transport: self.transport, certificate }
    }
}
