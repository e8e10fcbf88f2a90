//! TLS towards services that are no hub, such as plugins and sources of rows.

use std::sync::Arc;

use rtun_settings::TlsVersions;
use rustls::ClientConfig;
use rustls_platform_verifier::Verifier;

use super::{
    protocol::Protocol,
    verify::{ServerCheck, ServerVerifier, Trust},
};

/// A client of TLS 1.2 and 1.3 without a certificate of its own. It verifies the server by the system's authorities, or takes any
/// server: what a `tls` without `secure` means in GOST.
///
/// # Errors
///
/// The system's authorities cannot be used.
pub fn service_client(verify: bool) -> Result<ClientConfig, rustls::Error> {
    let protocol = Protocol::new(TlsVersions::Tls12And13, &[], &[], &[]);
    let provider = protocol.provider();
    let trust = match verify {
        true => Trust::System(Verifier::new(Arc::clone(&provider))?),
        false => Trust::Anybody,
    };
    let algorithms = provider.signature_verification_algorithms;
    let check = Arc::new(ServerCheck { trust, pins: Vec::new(), algorithms });
    let verifier = ServerVerifier { check, diagnostics: Arc::default() };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&protocol.versions())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}
