//! A hub's listeners as reports see them.

use std::{net::SocketAddr, sync::Arc};

use rtun_tls::Acceptor;
use tokio::sync::Notify;

use super::certificate;
use crate::report::{CertificateReport, ListenerReport, Transport};

/// One listener. Keeps nothing open.
#[derive(Clone)]
pub(in crate::hub) struct ListenerView {
    pub(in crate::hub) address: SocketAddr,
    pub(in crate::hub) transport: Transport,
    /// With TLS: the acceptor, which knows the current certificate, and what makes it read its files at once.
    pub(in crate::hub) tls: Option<(Acceptor, Arc<Notify>)>,
}

impl ListenerView {
    pub(in crate::hub) fn report(&self) -> ListenerReport {
        let certificate = self.tls.as_ref().map(|(acceptor, _)| {
            let shown = acceptor.certificate();
            CertificateReport {
                expires_in: certificate::seconds_left(&shown),
                subject: shown.subject,
                names: shown.names,
                fingerprint: shown.sha256.to_string(),
            }
        });
        ListenerReport { address: self.address, transport: self.transport, certificate }
    }

    /// Reads the files of its certificate now.
    pub(in crate::hub) fn reload_certificate(&self) {
        if let Some((_, reread)) = &self.tls {
            reread.notify_one();
        }
    }
}
