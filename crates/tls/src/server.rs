//! The server's side: accepting, with a certificate that can be changed while connections run.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use arc_swap::ArcSwap;
use rtun_settings::{Fingerprint, ServerTls};
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, UnbufferedServerConnection},
    sign::CertifiedKey,
    version::TLS13,
};

use super::{
    certificate::{CertificateInfo, SharedKey, read_pair},
    error::{NotKept, TlsError},
    generate::KeptPair,
    origin::CertificateOrigin,
    protocol::{Protocol, RECORDS_PER_KEY},
    verify::{ClientCheck, ClientVerifier, HandshakeDiagnostics},
};

/// Accepts connections with one set of settings.
#[derive(Debug, Clone)]
pub struct Acceptor {
    tls: Arc<ServerTls>,
    origin: Arc<CertificateOrigin>,
    protocol: Arc<Protocol>,
    records_per_key: u64,
    provider: Arc<CryptoProvider>,
    current: Arc<ArcSwap<Current>>,
    /// What is shown, if it was made.
    made: Option<Arc<Mutex<KeptPair>>>,
    clients: Option<Arc<ArcSwap<ClientCheck>>>,
}

/// The certificate that is shown.
#[derive(Debug)]
struct Current {
    key: SharedKey,
    info: CertificateInfo,
}

impl Acceptor {
    /// Reads the certificate at `origin`, or makes it. With the reason a new one could not be kept, if so: the next start makes
    /// another one. The application protocols `usual` are accepted where none are configured.
    ///
    /// # Errors
    ///
    /// Any of [`Fault::Own`](super::Fault::Own).
    pub fn new(
        tls: &ServerTls,
        origin: CertificateOrigin,
        usual: &[&str],
    ) -> Result<(Self, Option<NotKept>), TlsError> {
        let protocol = Protocol::new(tls.versions, &tls.cipher_suites, &tls.alpn, usual);
        let provider = protocol.provider();
        let (key, made, not_kept) = match &origin {
            CertificateOrigin::Files(files) => (Arc::new(read_pair(files, &provider)?), None, None),
            CertificateOrigin::Made(certificate) => {
                let (made, not_kept) = certificate.find_or_make(&provider)?;
                (Arc::clone(&made.key), Some(Arc::new(Mutex::new(made))), not_kept)
            }
        };
        let clients = match &tls.client_ca {
            Some(path) => {
                Some(Arc::new(ArcSwap::from_pointee(ClientCheck::read(path, &provider)?)))
            }
            None => None,
        };
        let acceptor = Self {
            tls: Arc::new(tls.clone()),
            origin: Arc::new(origin),
            protocol: Arc::new(protocol),
            records_per_key: RECORDS_PER_KEY,
            provider,
            current: Arc::new(ArcSwap::from_pointee(Current::new(key))),
            made,
            clients,
        };
        // What cannot be used fails now and not with the first client.
        acceptor.config(&Arc::default())?;
        Ok((acceptor, not_kept))
    }

    /// The same, with keys that are replaced after `records` records, at least 1, in the place of [`RECORDS_PER_KEY`].
    pub fn replacing_keys_after(self, records: u64) -> Self {
        Self { records_per_key: records.max(1), ..self }
    }

    /// A connection whose handshake is still to be performed; and what it learns of the client.
    ///
    /// # Errors
    ///
    /// [`TlsError::Settings`] if rustls takes no such settings.
    pub fn connection(
        &self,
    ) -> Result<(UnbufferedServerConnection, Arc<HandshakeDiagnostics>), TlsError> {
        let diagnostics = Arc::new(HandshakeDiagnostics::default());
        let config = Arc::new(self.config(&diagnostics)?);
        let connection = UnbufferedServerConnection::new(config).map_err(TlsError::Settings)?;
        Ok((connection, diagnostics))
    }

    /// Records that are sealed under one key, at least 1.
    pub fn records_per_key(&self) -> u64 {
        self.records_per_key
    }

    /// Reads the files again. New handshakes go by what they hold now, running connections stay as they are. Whether anything
    /// has changed.
    ///
    /// # Errors
    ///
    /// Any of [`Fault::Own`](super::Fault::Own), as when a pair is half written; then all stays as it was.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let old = self.current.load();
        let key = match (&*self.origin, &self.made) {
            (CertificateOrigin::Files(files), _) => Arc::new(read_pair(files, &self.provider)?),
            (CertificateOrigin::Made(certificate), Some(made)) => {
                let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
                certificate.find_again(&mut made, &self.provider).map_err(TlsError::NotKept)?;
                Arc::clone(&made.key)
            }
            (CertificateOrigin::Made(_), None) => Arc::clone(&old.key),
        };
        let new_clients = match (&self.tls.client_ca, &self.clients) {
            (Some(path), Some(clients)) => {
                let new = ClientCheck::read(path, &self.provider)?;
                (!clients.load().is_same(&new)).then_some((clients, new))
            }
            _ => None,
        };
        let new_key = (old.key.cert != key.cert).then_some(key);
        let changed = new_key.is_some() || new_clients.is_some();
        if let Some(key) = new_key {
            self.current.store(Arc::new(Current::new(key)));
        }
        if let Some((clients, new)) = new_clients {
            clients.store(Arc::new(new));
        }
        Ok(changed)
    }

    /// The certificate that is shown now.
    pub fn certificate(&self) -> CertificateInfo {
        self.current.load().info.clone()
    }

    /// The SHA-256 of the certificate that is shown now: what clients pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.current.load().info.sha256
    }

    /// Until when the certificate that is shown now is valid.
    pub fn not_after(&self) -> SystemTime {
        self.current.load().info.not_after
    }

    /// The same settings for QUIC, which does its own records: TLS 1.3. It follows reloads.
    ///
    /// # Errors
    ///
    /// [`TlsError::Settings`] if no suite of TLS 1.3 is allowed.
    pub fn quic_config(&self) -> Result<ServerConfig, TlsError> {
        let mut config = self.config_for(&[&TLS13], &Arc::default())?;
        config.enable_secret_extraction = false;
        Ok(config)
    }

    /// The same settings for what lets rustls do the records. It follows reloads.
    ///
    /// # Errors
    ///
    /// [`TlsError::Settings`] if rustls takes no such settings.
    pub fn stream_config(&self) -> Result<ServerConfig, TlsError> {
        let mut config = self.config(&Arc::default())?;
        config.enable_secret_extraction = false;
        Ok(config)
    }

    fn config(&self, diagnostics: &Arc<HandshakeDiagnostics>) -> Result<ServerConfig, TlsError> {
        self.config_for(&self.protocol.versions(), diagnostics)
    }

    fn config_for(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        diagnostics: &Arc<HandshakeDiagnostics>,
    ) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)
            .map_err(TlsError::Settings)?;
        let builder = match &self.clients {
            Some(check) => builder.with_client_cert_verifier(Arc::new(ClientVerifier {
                check: Arc::clone(check),
                diagnostics: Arc::clone(diagnostics),
            })),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(HelloResolver {
            acceptor: self.clone(),
            diagnostics: Arc::clone(diagnostics),
        }));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        config.alpn_protocols = self.protocol.alpn.clone();
        config.enable_secret_extraction = true;
        Ok(config)
    }

    fn serves(&self, name: Option<&str>) -> bool {
        let names = &self.tls.server_names;
        match name {
            _ if !self.tls.reject_unknown_sni => true,
            Some(name) => {
                names.is_empty() || names.iter().any(|known| known.eq_ignore_ascii_case(name))
            }
            None => false,
        }
    }
}

impl Current {
    fn new(key: SharedKey) -> Self {
        let info = CertificateInfo::of(&key.cert[0])
            .expect("a pair is only taken with a well-formed certificate");
        Self { key, info }
    }
}

/// Shows the current certificate to those who ask for a name that is served.
#[derive(Debug)]
struct HelloResolver {
    acceptor: Acceptor,
    diagnostics: Arc<HandshakeDiagnostics>,
}

impl ResolvesServerCert for HelloResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        let serves = self.acceptor.serves(name);
        self.diagnostics.see_name(name, serves);
        serves.then(|| Arc::clone(&self.acceptor.current.load().key))
    }
}
