//! The client's side: connecting, and being sure of who answers.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
};

use rustls::{
    ClientConfig, SignatureScheme,
    client::{ResolvesClientCert, Resumption, UnbufferedClientConnection},
    crypto::CryptoProvider,
    pki_types::ServerName,
    sign::CertifiedKey,
    version::TLS13,
};
use rustls_platform_verifier::Verifier;

use super::{
    Protocol,
    certificate::{CertificateInfo, Fingerprint, SharedKey, read_pair},
    error::TlsError,
    verify::{HandshakeDiagnostics, Roots, ServerCheck, ServerVerifier, Trust},
};

/// How a server has to show who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// By a certificate for its name, signed by an authority of the file, or of the system's if none is given.
    Full {
        /// Certificates in PEM form: authorities, or the server's own.
        ca_file: Option<PathBuf>,
    },
    /// By a certificate signed by an authority of the file, for whatever name.
    ChainOnly {
        /// Certificates in PEM form: authorities, or the server's own.
        ca_file: PathBuf,
    },
    /// Not at all; with a pinned certificate, by that alone.
    Off,
}

/// How to connect.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// How the server has to show who it is.
    pub verification: Verification,
    /// Unless empty only these certificates are taken, besides the verification.
    pub fingerprints: Vec<Fingerprint>,
    /// The name asked for and verified; the host of the address if none.
    pub server_name: Option<String>,
    /// The own certificate and its key, as PEM files.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Versions, suites, application protocols.
    pub protocol: Protocol,
}

impl Default for ClientSettings {
    /// Full verification by the system's authorities.
    fn default() -> Self {
        Self {
            verification: Verification::Full { ca_file: None },
            fingerprints: Vec::new(),
            server_name: None,
            identity: None,
            protocol: Protocol::default(),
        }
    }
}

/// Connects with one set of settings. Files are read once, when it is made.
#[derive(Debug, Clone)]
pub struct Connector {
    base: ClientConfig,
    check: Arc<ServerCheck>,
    checks_name: bool,
    server_name: Option<String>,
    identity: Option<SharedKey>,
    provider: Arc<CryptoProvider>,
    records_per_key: u64,
}

impl Connector {
    /// Reads the files and, if they are asked for, the system's authorities.
    ///
    /// # Errors
    ///
    /// Any of [`Fault::Own`](super::Fault::Own).
    pub fn new(settings: &ClientSettings) -> Result<Self, TlsError> {
        let provider = settings.protocol.provider();
        let trust = match &settings.verification {
            Verification::Full { ca_file: None } => {
                Trust::System(Verifier::new(Arc::clone(&provider)).map_err(TlsError::SystemRoots)?)
            }
            Verification::Full { ca_file: Some(path) } => {
                Trust::File { roots: Roots::read(path)?, check_name: true }
            }
            Verification::ChainOnly { ca_file } => {
                Trust::File { roots: Roots::read(ca_file)?, check_name: false }
            }
            Verification::Off => Trust::Anybody,
        };
        let check = Arc::new(ServerCheck {
            trust,
            pins: settings.fingerprints.clone(),
            algorithms: provider.signature_verification_algorithms,
        });
        let identity = match &settings.identity {
            Some((certificate, key)) => Some(Arc::new(read_pair(certificate, key, &provider)?)),
            None => None,
        };
        let verifier = ServerVerifier { check: Arc::clone(&check), diagnostics: Arc::default() };
        let mut base = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&settings.protocol.versions()?)
            .map_err(TlsError::Settings)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(Identity(identity.clone())));
        base.resumption = Resumption::disabled();
        base.alpn_protocols = settings.protocol.alpn();
        base.enable_secret_extraction = true;
        Ok(Self {
            base,
            check,
            checks_name: matches!(settings.verification, Verification::Full { .. }),
            server_name: settings.server_name.clone(),
            identity,
            provider,
            records_per_key: settings.protocol.records_per_key.max(1),
        })
    }

    /// A connection whose handshake is still to be performed, with whom at `host`; and what it learns of the server.
    ///
    /// # Errors
    ///
    /// Any of [`Fault::Own`](super::Fault::Own).
    pub fn connection(
        &self,
        host: &str,
    ) -> Result<(UnbufferedClientConnection, Arc<HandshakeDiagnostics>), TlsError> {
        let name = self.name_for(host)?;
        let diagnostics = Arc::new(HandshakeDiagnostics::default());
        let mut config = self.base.clone();
        config.dangerous().set_certificate_verifier(self.verifier(&diagnostics));
        let connection =
            UnbufferedClientConnection::new(Arc::new(config), name).map_err(TlsError::Settings)?;
        Ok((connection, diagnostics))
    }

    /// Records that are sealed under one key, at least 1.
    pub fn records_per_key(&self) -> u64 {
        self.records_per_key
    }

    /// The same settings for QUIC, which does its own records: TLS 1.3, the application protocols given. The configuration is
    /// for one connection, whose refusal the diagnostics tells.
    ///
    /// # Errors
    ///
    /// [`TlsError::Settings`] if no suite of TLS 1.3 is allowed.
    pub fn quic_config(
        &self,
        alpn: &[&str],
    ) -> Result<(ClientConfig, Arc<HandshakeDiagnostics>), TlsError> {
        let diagnostics = Arc::new(HandshakeDiagnostics::default());
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Settings)?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(&diagnostics))
            .with_client_cert_resolver(Arc::new(Identity(self.identity.clone())));
        config.resumption = Resumption::disabled();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok((config, diagnostics))
    }

    /// The name to ask for, and to verify if names are, at a server that was reached as `host`.
    ///
    /// # Errors
    ///
    /// [`TlsError::BadServerName`] if names are verified and it is none.
    pub fn name_for(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.server_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(host);
        let plain = name.trim_start_matches('[').trim_end_matches(']');
        // A zone says by which device an address is reached, not whose it is.
        let plain = plain.split('%').next().unwrap_or(plain).trim_end_matches('.');
        match ServerName::try_from(plain.to_owned()) {
            Ok(name) => Ok(name),
            Err(_) if self.checks_name => Err(TlsError::BadServerName(name.to_owned())),
            // An address is not sent, so that no name is.
            Err(_) => Ok(ServerName::from(IpAddr::from(Ipv4Addr::UNSPECIFIED))),
        }
    }

    /// The own certificate, if there is one.
    pub fn identity(&self) -> Option<CertificateInfo> {
        CertificateInfo::of(self.identity.as_ref()?.cert.first()?)
    }

    fn verifier(&self, diagnostics: &Arc<HandshakeDiagnostics>) -> Arc<ServerVerifier> {
        Arc::new(ServerVerifier {
            check: Arc::clone(&self.check),
            diagnostics: Arc::clone(diagnostics),
        })
    }
}

/// Shows the own certificate to whoever asks for one.
#[derive(Debug)]
struct Identity(Option<SharedKey>);

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}
