//! Certificates made for a test, and TLS settings with them.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
    version::TLS13,
};

/// The name that servers' certificates are for.
pub(crate) const NAME: &str = "hub.test";

/// An authority.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

/// A certificate with its key.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), root }
    }

    pub(crate) fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Identity { certificate, key: PrivateKeyDer::Pkcs8(key.serialize_der().into()) }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        Arc::new(roots)
    }

    /// A server with a certificate for [`NAME`].
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let Identity { certificate, key } = self.issue(NAME);
        let config = ServerConfig::builder_with_protocol_versions(&[&TLS13])
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Arc::new(config)
    }

    /// The same, for clients with a certificate of this authority.
    pub(crate) fn mutual_server(&self) -> Arc<ServerConfig> {
        let Identity { certificate, key } = self.issue(NAME);
        let verifier = WebPkiClientVerifier::builder(self.roots()).build().unwrap();
        let config = ServerConfig::builder_with_protocol_versions(&[&TLS13])
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Arc::new(config)
    }

    /// A client that trusts this authority.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_protocol_versions(&[&TLS13])
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        Arc::new(config)
    }

    /// The same, with a certificate of its own.
    pub(crate) fn client_with(&self, identity: Identity) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_protocol_versions(&[&TLS13])
            .with_root_certificates(self.roots())
            .with_client_auth_cert(vec![identity.certificate], identity.key)
            .unwrap();
        Arc::new(config)
    }
}
