//! The server's side: accepting, with a certificate that can be changed while connections run.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, UnbufferedServerConnection},
    sign::CertifiedKey,
    version::TLS13,
};

use super::{
    Protocol,
    certificate::{CertificateInfo, Fingerprint, SharedKey, read_pair},
    error::TlsError,
    generate::{Generate, Kept, NotKept},
    verify::{ClientCheck, ClientVerifier, HandshakeDiagnostics},
};

/// Where the server's certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// In PEM files.
    Files {
        /// The certificate, then its chain.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// Made by rtun, or found where one was kept.
    Generated(Generate),
}

/// How to accept.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The certificate to show.
    pub certificate: Certificate,
    /// Authorities in PEM form; clients have to show a certificate signed by one of them, or one of the file.
    pub client_ca: Option<PathBuf>,
    /// Whether clients have to ask for a name, one of [`Self::server_names`] unless there are none.
    pub reject_unknown_sni: bool,
    /// Names that are served, in any case.
    pub server_names: Vec<String>,
    /// Versions, suites, application protocols.
    pub protocol: Protocol,
}

impl ServerSettings {
    /// That certificate for every client and name.
    pub fn new(certificate: Certificate) -> Self {
        Self {
            certificate,
            client_ca: None,
            reject_unknown_sni: false,
            server_names: Vec::new(),
            protocol: Protocol::default(),
        }
    }
}

/// Accepts connections with one set of settings.
#[derive(Debug, Clone)]
pub struct Acceptor {
    settings: Arc<ServerSettings>,
    provider: Arc<CryptoProvider>,
    current: Arc<ArcSwap<Current>>,
    /// What is shown, if it was made.
    made: Option<Arc<Mutex<Kept>>>,
    clients: Option<Arc<ArcSwap<ClientCheck>>>,
}

/// The certificate that is shown.
#[derive(Debug)]
struct Current {
    key: SharedKey,
    info: CertificateInfo,
}

impl Acceptor {
    /// Reads the files, or makes the certificate. With the reason a new one could not be kept, if so: the next start makes
    /// another one.
    ///
    /// # Errors
    ///
    /// Any of [`Fault::Own`](super::Fault::Own).
    pub fn new(settings: &ServerSettings) -> Result<(Self, Option<NotKept>), TlsError> {
        let provider = settings.protocol.provider();
        let (key, made, not_kept) = match &settings.certificate {
            Certificate::Files { certificate, key } => {
                (Arc::new(read_pair(certificate, key, &provider)?), None, None)
            }
            Certificate::Generated(generate) => {
                let (made, not_kept) = generate.find_or_make(&provider)?;
                (Arc::clone(&made.key), Some(Arc::new(Mutex::new(made))), not_kept)
            }
        };
        let clients = match &settings.client_ca {
            Some(path) => {
                Some(Arc::new(ArcSwap::from_pointee(ClientCheck::read(path, &provider)?)))
            }
            None => None,
        };
        let acceptor = Self {
            settings: Arc::new(settings.clone()),
            provider,
            current: Arc::new(ArcSwap::from_pointee(Current::new(key))),
            made,
            clients,
        };
        // What cannot be used is told now and not to the first client.
        acceptor.config(&Arc::default())?;
        Ok((acceptor, not_kept))
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
        self.settings.protocol.records_per_key.max(1)
    }

    /// Reads the files again. New handshakes go by what they hold now, running connections stay as they are. Whether anything
    /// has changed.
    ///
    /// # Errors
    ///
    /// Any of [`Fault::Own`](super::Fault::Own), as when a pair is half written; then all stays as it was.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let old = self.current.load();
        let key = match (&self.settings.certificate, &self.made) {
            (Certificate::Files { certificate, key }, _) => {
                Arc::new(read_pair(certificate, key, &self.provider)?)
            }
            (Certificate::Generated(generate), Some(made)) => {
                let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
                generate.find_again(&mut made, &self.provider).map_err(TlsError::NotKept)?;
                Arc::clone(&made.key)
            }
            (Certificate::Generated(_), None) => Arc::clone(&old.key),
        };
        let new_clients = match (&self.settings.client_ca, &self.clients) {
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

    /// The same settings for QUIC, which does its own records: TLS 1.3, the application protocols given. It follows reloads.
    ///
    /// # Errors
    ///
    /// [`TlsError::Settings`] if no suite of TLS 1.3 is allowed.
    pub fn quic_config(&self, alpn: &[&str]) -> Result<ServerConfig, TlsError> {
        let mut config = self.config_for(&[&TLS13], &Arc::default())?;
        config.enable_secret_extraction = false;
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(config)
    }

    fn config(&self, diagnostics: &Arc<HandshakeDiagnostics>) -> Result<ServerConfig, TlsError> {
        self.config_for(&self.settings.protocol.versions()?, diagnostics)
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
        let mut config = builder.with_cert_resolver(Arc::new(Resolver {
            acceptor: self.clone(),
            diagnostics: Arc::clone(diagnostics),
        }));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        config.alpn_protocols = self.settings.protocol.alpn();
        config.enable_secret_extraction = true;
        Ok(config)
    }

    fn serves(&self, name: Option<&str>) -> bool {
        let names = &self.settings.server_names;
        match name {
            _ if !self.settings.reject_unknown_sni => true,
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
struct Resolver {
    acceptor: Acceptor,
    diagnostics: Arc<HandshakeDiagnostics>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        let serves = self.acceptor.serves(name);
        self.diagnostics.see_name(name, serves);
        serves.then(|| Arc::clone(&self.acceptor.current.load().key))
    }
}
