//! The client's side: connecting, and being sure of who answers.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use rtun_settings::{DialTls, Verification};
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
    certificate::{CertificateInfo, SharedKey, read_pair},
    error::TlsError,
    protocol::{Protocol, RECORDS_PER_KEY},
    verify::{HandshakeDiagnostics, Roots, ServerCheck, ServerVerifier, Trust},
};

/// Connects with one set of settings. Files are read once, when it is made.
#[derive(Debug, Clone)]
pub struct Connector {
    base: ClientConfig,
    check: Arc<ServerCheck>,
    checks_name: bool,
    server_name: Option<String>,
    own: Option<SharedKey>,
    provider: Arc<CryptoProvider>,
    records_per_key: u64,
}

impl Connector {
    /// Reads the files and, if they are asked for, the system's authorities. The application protocols `usual` are offered where
    /// none are configured.
    ///
    /// # Errors
    ///
    /// Any of [`Fault::Own`](super::Fault::Own).
    pub fn new(tls: &DialTls, usual: &[&str]) -> Result<Self, TlsError> {
        let protocol = Protocol::new(tls.versions, &tls.cipher_suites, &tls.alpn, usual);
        let provider = protocol.provider();
        let trust = match &tls.verification {
            Verification::Full { ca: None } => {
                Trust::System(Verifier::new(Arc::clone(&provider)).map_err(TlsError::SystemRoots)?)
            }
            Verification::Full { ca: Some(path) } => {
                Trust::File { roots: Roots::read(path)?, check_name: true }
            }
            Verification::Chain { ca } => {
                Trust::File { roots: Roots::read(ca)?, check_name: false }
            }
            Verification::Off => Trust::Anybody,
        };
        let check = Arc::new(ServerCheck {
            trust,
            pins: tls.fingerprints.clone(),
            algorithms: provider.signature_verification_algorithms,
        });
        let own = match &tls.certificate {
            Some(files) => Some(Arc::new(read_pair(files, &provider)?)),
            None => None,
        };
        let verifier = ServerVerifier { check: Arc::clone(&check), diagnostics: Arc::default() };
        let mut base = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&protocol.versions())
            .map_err(TlsError::Settings)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(OwnResolver(own.clone())));
        base.resumption = Resumption::disabled();
        base.alpn_protocols = protocol.alpn;
        base.enable_secret_extraction = true;
        Ok(Self {
            base,
            check,
            checks_name: matches!(tls.verification, Verification::Full { .. }),
            server_name: tls.server_name.clone(),
            own,
            provider,
            records_per_key: RECORDS_PER_KEY,
        })
    }

    /// The same, with keys that are replaced after `records` records, at least 1, in the place of [`RECORDS_PER_KEY`].
    pub fn replacing_keys_after(self, records: u64) -> Self {
        Self { records_per_key: records.max(1), ..self }
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

    /// The same settings for a library that does its own records. The configuration is for one connection.
    pub fn library_config(&self) -> ClientConfig {
        let mut config = self.base.clone();
        config.dangerous().set_certificate_verifier(self.verifier(&Arc::default()));
        config
    }

    /// The same settings for QUIC, which does its own records: TLS 1.3. The configuration is for one connection, and the
    /// diagnostics say why that was refused.
    ///
    /// # Errors
    ///
    /// [`TlsError::Settings`] if no suite of TLS 1.3 is allowed.
    pub fn quic_config(&self) -> Result<(ClientConfig, Arc<HandshakeDiagnostics>), TlsError> {
        let diagnostics = Arc::new(HandshakeDiagnostics::default());
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Settings)?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(&diagnostics))
            .with_client_cert_resolver(Arc::new(OwnResolver(self.own.clone())));
        config.resumption = Resumption::disabled();
        config.alpn_protocols.clone_from(&self.base.alpn_protocols);
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
        CertificateInfo::of(self.own.as_ref()?.cert.first()?)
    }

    fn verifier(&self, diagnostics: &Arc<HandshakeDiagnostics>) -> Arc<ServerVerifier> {
        Arc::new(ServerVerifier {
            check: Arc::clone(&self.check),
            diagnostics: Arc::clone(diagnostics),
        })
    }
}

/// Shows the own certificate to servers that ask for one.
#[derive(Debug)]
struct OwnResolver(Option<SharedKey>);

impl ResolvesClientCert for OwnResolver {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}
