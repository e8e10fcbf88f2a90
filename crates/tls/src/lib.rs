//! TLS without sockets: certificates and their files, who is trusted, what a handshake is made with, and records.
//!
//! rustls performs the handshakes; the records after them are sealed and opened here, in [`record`] and [`cipher`], because its
//! interface copies each byte twice more. Both are driven over a stream by `rtun-transport`. Nothing is ever resumed and no early data is sent or taken: each connection proves
//! anew who is at its ends.

use std::sync::Arc;

use rustls::{
    SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    version::{TLS12, TLS13},
};

mod authority;
mod certificate;
pub mod cipher;
mod client;
mod error;
mod generate;
mod inspect;
mod kernel;
mod pem;
pub mod record;
mod server;
mod verify;

pub use self::{
    authority::{Authority, Issued},
    certificate::{CertificateInfo, Fingerprint, dns_names},
    client::{ClientSettings, Connector, Verification},
    error::{CertificateProblem, Fault, TlsError, hint},
    generate::{Generate, NotKept},
    inspect::Inspected,
    kernel::Kernel,
    server::{Acceptor, Certificate, ServerSettings},
    verify::HandshakeDiagnostics,
};

/// Records that are sealed under one key before it is replaced (RFC 8446 section 5.5 allows 2^24.5 of full size). TLS 1.2 cannot
/// replace keys: there a connection ends after 256 GiB.
pub const RECORDS_PER_KEY: u64 = 1 << 23;

/// A version of TLS. Older ones are not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// TLS 1.2 (RFC 5246), with AEAD ciphers only.
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// The protocol's own choices, alike at both ends.
#[derive(Debug, Clone)]
pub struct Protocol {
    /// The lowest version allowed.
    pub min: Version,
    /// The highest version allowed.
    pub max: Version,
    /// Names of the cipher suites allowed, as Go and IANA write them (`TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`,
    /// `TLS_AES_128_GCM_SHA256`), in any case; names that are not known or not supported have no effect. They narrow the choice
    /// of the version they belong to; a version none of whose suites is named keeps all of its own.
    pub cipher_suites: Vec<String>,
    /// Application protocols (ALPN, RFC 7301), the preferred one first.
    pub alpn: Vec<String>,
    /// Records sealed under one key; see [`RECORDS_PER_KEY`].
    pub records_per_key: u64,
}

impl Default for Protocol {
    /// TLS 1.3 alone, all its suites, no application protocol.
    fn default() -> Self {
        Self {
            min: Version::Tls13,
            max: Version::Tls13,
            cipher_suites: Vec::new(),
            alpn: Vec::new(),
            records_per_key: RECORDS_PER_KEY,
        }
    }
}

impl Protocol {
    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
        let known = [(Version::Tls13, &TLS13), (Version::Tls12, &TLS12)];
        let versions: Vec<_> = known
            .into_iter()
            .filter(|(version, _)| (self.min..=self.max).contains(version))
            .map(|(_, version)| version)
            .collect();
        if versions.is_empty() {
            return Err(TlsError::NoVersion);
        }
        Ok(versions)
    }

    /// The cipher suites allowed, the fastest first: AES with 128 bits where the processor has instructions for it.
    fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.sort_by_key(|suite| {
            let name = suite_name(suite.suite());
            match (name.contains("AES_128"), name.contains("CHACHA20")) {
                (true, _) => 1,
                (false, false) => 2,
                (false, true) if has_aes() => 3,
                (false, true) => 0,
            }
        });
        let wanted: Vec<String> =
            self.cipher_suites.iter().map(|name| name.to_ascii_uppercase()).collect();
        for tls13 in [true, false] {
            let is_wanted = |suite: &rustls::SupportedCipherSuite| {
                suite.tls13().is_some() == tls13 && wanted.contains(&suite_name(suite.suite()))
            };
            if provider.cipher_suites.iter().any(is_wanted) {
                provider
                    .cipher_suites
                    .retain(|suite| suite.tls13().is_some() != tls13 || is_wanted(suite));
            }
        }
        Arc::new(provider)
    }

    fn alpn(&self) -> Vec<Vec<u8>> {
        self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect()
    }
}

/// As IANA writes it, where rustls writes `TLS13_` for the suites of TLS 1.3.
fn suite_name(suite: rustls::CipherSuite) -> String {
    format!("{suite:?}").replace("TLS13_", "TLS_")
}

#[cfg(target_arch = "x86_64")]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}
