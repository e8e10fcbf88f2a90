//! What a handshake may agree on: versions, cipher suites and application protocols.

use std::sync::Arc;

use rtun_settings::{CipherSuite, TlsVersions};
use rustls::{
    CipherSuite as Suite, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    version::{TLS12, TLS13},
};

/// Records that are sealed under one key before it is replaced (RFC 8446 section 5.5 allows 2^24.5 of full size). TLS 1.2 cannot
/// replace keys: there a connection ends after 256 GiB.
pub const RECORDS_PER_KEY: u64 = 1 << 23;

/// The version of TLS that a connection has agreed on. Older ones are not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), with AEAD ciphers only.
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// What one side of a handshake offers or accepts.
#[derive(Debug, Clone)]
pub(crate) struct Protocol {
    versions: TlsVersions,
    cipher_suites: Vec<Suite>,
    /// ALPN (RFC 7301), the preferred one first.
    pub(crate) alpn: Vec<Vec<u8>>,
}

impl Protocol {
    /// As configured, with the application protocols `usual` where none are.
    pub(crate) fn new(
        versions: TlsVersions,
        cipher_suites: &[CipherSuite],
        alpn: &[String],
        usual: &[&str],
    ) -> Self {
        let usual = || usual.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self {
            versions,
            cipher_suites: cipher_suites.iter().copied().map(suite).collect(),
            alpn: match alpn {
                [] => usual(),
                names => names.iter().map(|name| name.as_bytes().to_vec()).collect(),
            },
        }
    }

    /// The preferred one first.
    pub(crate) fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        match self.versions {
            TlsVersions::Tls13 => vec![&TLS13],
            TlsVersions::Tls12And13 => vec![&TLS13, &TLS12],
            TlsVersions::Tls12 => vec![&TLS12],
        }
    }

    /// The cipher suites allowed, the fastest first: AES with 128 bits where the processor has instructions for it. A version
    /// none of whose suites is configured keeps all of its own.
    pub(crate) fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.sort_by_key(|suite| {
            let name = format!("{:?}", suite.suite());
            match (name.contains("AES_128"), name.contains("CHACHA20")) {
                (true, _) => 1,
                (false, false) => 2,
                (false, true) if has_aes() => 3,
                (false, true) => 0,
            }
        });
        for tls13 in [true, false] {
            let is_wanted = |suite: &rustls::SupportedCipherSuite| {
                suite.tls13().is_some() == tls13 && self.cipher_suites.contains(&suite.suite())
            };
            if provider.cipher_suites.iter().any(is_wanted) {
                provider
                    .cipher_suites
                    .retain(|suite| suite.tls13().is_some() != tls13 || is_wanted(suite));
            }
        }
        Arc::new(provider)
    }
}

fn suite(configured: CipherSuite) -> Suite {
    match configured {
        CipherSuite::EcdheEcdsaAes128GcmSha256 => Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdheEcdsaAes256GcmSha384 => Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdheEcdsaChacha20Poly1305Sha256 => {
            Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        CipherSuite::EcdheRsaAes128GcmSha256 => Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdheRsaAes256GcmSha384 => Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdheRsaChacha20Poly1305Sha256 => {
            Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        }
        CipherSuite::Aes128GcmSha256 => Suite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::Aes256GcmSha384 => Suite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::Chacha20Poly1305Sha256 => Suite::TLS13_CHACHA20_POLY1305_SHA256,
    }
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
