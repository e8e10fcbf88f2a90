//! How a tunnel is encrypted and who proves to be whom (spec: transports.md section 2).

use std::{fmt, path::PathBuf, time::Duration};

/// TLS at a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// What the listener proves itself with.
    pub certificate: ServerCertificate,
    /// Hosts have to prove themselves with a certificate that one of these authorities signed; `None`: none is asked for.
    pub client_ca: Option<PathBuf>,
    /// What it speaks.
    pub versions: TlsVersions,
    /// Of TLS 1.2; empty: all.
    pub cipher_suites: Vec<CipherSuite>,
    /// Application protocols, the preferred first; empty: those of the transport.
    pub alpn: Vec<String>,
    /// The only names that hosts may ask for, where `reject_unknown_sni` is set; empty: any.
    pub server_names: Vec<String>,
    /// Whether handshakes are refused that ask for no name, or for one that is not in `server_names`.
    pub reject_unknown_sni: bool,
    /// Whether a host may report only names that stand in its certificate as DNS names (`bindNames`); with `client_ca` only.
    pub bind_names: bool,
}

/// Where a listener's certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerCertificate {
    /// Of the listener or, where that has none, of the whole configuration.
    Files(CertificateFiles),
    /// Nobody says: `cert.pem` and `key.pem` of the working directory, else `.gost/auto-ca-cert.pem` and
    /// `.gost/auto-ca-key.pem` of the home directory, where one is made if there is none.
    Own(OwnCertificate),
}

/// A certificate chain and the key that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM, the end's own first.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// What a certificate says that rtun makes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCertificate {
    /// From the moment it is made; 365 days unless configured.
    pub validity: Duration,
    /// Common name and only DNS name; `gost.run` unless configured.
    pub common_name: String,
    /// `GOST` unless configured.
    pub organization: String,
}

impl Default for OwnCertificate {
    fn default() -> Self {
        Self {
            validity: Duration::from_secs(365 * 24 * 60 * 60),
            common_name: "gost.run".to_owned(),
            organization: "GOST".to_owned(),
        }
    }
}

/// TLS at a dialer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialTls {
    /// What of the other end's certificate is verified.
    pub verification: Verification,
    /// Unless empty its certificate has to be one of these, whatever `verification` says.
    pub fingerprints: Vec<Fingerprint>,
    /// The name that is asked for and verified; `None`: the host of the address.
    pub server_name: Option<String>,
    /// What this end proves itself with.
    pub certificate: Option<CertificateFiles>,
    /// What it speaks.
    pub versions: TlsVersions,
    /// Of TLS 1.2; empty: all.
    pub cipher_suites: Vec<CipherSuite>,
    /// Application protocols, the preferred first; empty: those of the transport.
    pub alpn: Vec<String>,
}

impl DialTls {
    /// Whether it can be told from anybody else who the other end is.
    pub const fn is_authenticated(&self) -> bool {
        !matches!(self.verification, Verification::Off) || !self.fingerprints.is_empty()
    }
}

/// How a certificate is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// Its chain and its name (`secure: true`).
    Full {
        /// Authorities in the place of the system's.
        ca: Option<PathBuf>,
    },
    /// Its chain, not its name (`caFile` without `secure`).
    Chain {
        /// The authorities.
        ca: PathBuf,
    },
    /// Not at all.
    Off,
}

/// SHA-256 of a certificate in DER; printed as `AB:CD:...`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            let colon = if i == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The versions of TLS that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersions {
    /// 1.3 alone.
    #[default]
    Tls13,
    /// 1.3, and 1.2 with whoever has no other (`minVersion: VersionTLS12`).
    Tls12And13,
    /// 1.2 alone (`maxVersion: VersionTLS12`).
    Tls12,
}

/// Cipher suites of TLS 1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CipherSuite {
    EcdheEcdsaAes128GcmSha256,
    EcdheEcdsaAes256GcmSha384,
    EcdheEcdsaChacha20Poly1305Sha256,
    EcdheRsaAes128GcmSha256,
    EcdheRsaAes256GcmSha384,
    EcdheRsaChacha20Poly1305Sha256,
}
