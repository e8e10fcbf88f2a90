//! How plugins are reached: which addresses are tried, and how their certificates are checked.

use std::{io, net::IpAddr, net::SocketAddr, sync::Arc};

use rtun_config::model::ClientTls;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use rustls_platform_verifier::Verifier;

use crate::{PluginSetupError, plugin::excerpt};

/// The addresses of a host, without those that no plugin is asked at.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((host, port)).await?;
    let addrs: Vec<_> = found.filter(|addr| check(addr.ip()).is_ok()).collect();
    if addrs.is_empty() {
        let text = format!("{host} has no address that a plugin may have");
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    Ok(addrs)
}

/// Refuses addresses at which clouds serve credentials to machines: a name that somebody else controls must not make a
/// hub ask there.
pub(crate) fn check(addr: IpAddr) -> Result<(), PluginSetupError> {
    let metadata =
        [IpAddr::from([100, 100, 100, 200]), IpAddr::from([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254])];
    let addr = addr.to_canonical();
    let link_local = match addr {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if link_local || metadata.contains(&addr) {
        return Err(PluginSetupError::LinkLocal(addr));
    }
    Ok(())
}

/// What an error comes from in the end: what wraps it says little more than that there was one.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    excerpt(&innermost.to_string())
}

/// A TLS client that verifies as `tls` says: with the system's roots, or not at all.
pub(crate) fn tls_config(
    tls: Option<&ClientTls>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, PluginSetupError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let failure = |error: rustls::Error| PluginSetupError::Client(error.to_string());
    let verifier: Arc<dyn ServerCertVerifier> = if tls.is_some_and(|tls| tls.verify) {
        Arc::new(Verifier::new(Arc::clone(&provider)).map_err(failure)?)
    } else {
        Arc::new(Unverified(Arc::clone(&provider)))
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failure)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// Takes any certificate: GOST's meaning of a `tls` without `secure` (spec: tables.md section 4).
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_not_asked_where_machines_get_credentials() {
        for refused in [
            "169.254.169.254",
            "fe80::1",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "100.100.100.200",
        ] {
            assert!(check(refused.parse().unwrap()).is_err(), "{refused}");
        }
        for usual in ["127.0.0.1", "10.0.0.1", "::1", "fd00::1", "192.0.2.1"] {
            assert!(check(usual.parse().unwrap()).is_ok(), "{usual}");
        }
    }
}
