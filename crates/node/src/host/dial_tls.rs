//! TLS of a connection that a host opens.

use std::sync::{Arc, Mutex, PoisonError};

use rtun_settings::{DialTls, TransportStack};
use rtun_tls::{Connector, TlsError};
use rtun_transport::{Stream, names::host_of, tls};
use tracing::warn;

use super::attempt::DialError;

/// A dialer's TLS. Its files are read again for each connection; while they cannot be used, those read before are used.
pub(super) struct DialerTls {
    config: DialTls,
    protocols: &'static [&'static str],
    last: Mutex<Connector>,
}

impl DialerTls {
    pub(super) fn of(stack: &TransportStack<DialTls>) -> Result<Option<Self>, TlsError> {
        let Some(config) = stack.tls() else { return Ok(None) };
        let protocols = stack.protocols();
        let last = Mutex::new(Connector::new(config, protocols)?);
        Ok(Some(Self { config: config.clone(), protocols, last }))
    }

    /// Does the TLS handshake on `stream`, which is connected to `addr`.
    pub(super) async fn connect(
        &self,
        stream: Arc<dyn Stream>,
        addr: &str,
    ) -> Result<Arc<dyn Stream>, DialError> {
        match tls::connect(&self.connector(), stream, host_of(addr)).await {
            Ok(connected) => Ok(connected.stream),
            Err(error) => Err(DialError::Tls(addr.to_owned(), error)),
        }
    }

    pub(super) fn connector(&self) -> Connector {
        // The connector of a poisoned lock is consistent: it is only replaced as a whole.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match Connector::new(&self.config, self.protocols) {
            Ok(connector) => *last = connector,
            Err(error) => {
                warn!("the files of TLS cannot be read, so those read before are used: {error}")
            }
        }
        last.clone()
    }
}
