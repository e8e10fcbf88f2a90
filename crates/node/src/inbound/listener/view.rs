//! A hub's listeners as reports see them.

use std::{net::SocketAddr, sync::Arc};

use rtun_tls::Acceptor;
use tokio::sync::Notify;

use super::certificate;
use crate::report::{CertificateReport, ListenerReport, Transport};

/// One listener. Keeps nothing open.
#[derive(Clone)]
pub(crate) struct ListenerView {
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
    /// The path that hosts have to name, if it is not the transport's usual one.
    pub(crate) path: Option<String>,
    /// With TLS: the acceptor, which knows the current certificate, and what makes it read its files at once.
    pub(crate) tls: Option<(Acceptor, Arc<Notify>)>,
}

impl ListenerView {
    pub(crate) fn report(&self) -> ListenerReport {
        let certificate = self.tls.as_ref().map(|(acceptor, _)| {
            let shown = acceptor.certificate();
            CertificateReport {
                expires_in: certificate::seconds_left(&shown),
                subject: shown.subject,
                names: shown.names,
                fingerprint: shown.sha256.to_string(),
            }
        });
        let (address, transport, path) = (self.address, self.transport, self.path.clone());
        ListenerReport { address, transport, path, certificate }
    }

    /// Reads the files of its certificate now.
    pub(crate) fn reload_certificate(&self) {
        if let Some((_, reread)) = &self.tls {
            reread.notify_one();
        }
    }
}
