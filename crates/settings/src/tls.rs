//! How a tunnel is encrypted, and how its ends prove who they are.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

/// TLS at a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// What the listener proves itself with.
    pub certificate: ServerCertificate,
    /// Hosts have to prove themselves with a certificate that one of these authorities signed; `None`: none is asked for.
    pub client_ca: Option<PathBuf>,
    /// What it speaks.
    pub versions: TlsVersions,
    /// Those of a version that none is named of are all spoken.
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

impl ServerTls {
    /// That certificate for every client and name, the defaults else.
    pub const fn new(certificate: ServerCertificate) -> Self {
        Self {
            certificate,
            client_ca: None,
            versions: TlsVersions::Tls13,
            cipher_suites: Vec::new(),
            alpn: Vec::new(),
            server_names: Vec::new(),
            reject_unknown_sni: false,
            bind_names: false,
        }
    }
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
    /// Those of a version that none is named of are all spoken.
    pub cipher_suites: Vec<CipherSuite>,
    /// Application protocols, the preferred first; empty: those of the transport.
    pub alpn: Vec<String>,
}

impl Default for DialTls {
    /// Full verification by the system's authorities.
    fn default() -> Self {
        Self {
            verification: Verification::Full { ca: None },
            fingerprints: Vec::new(),
            server_name: None,
            certificate: None,
            versions: TlsVersions::default(),
            cipher_suites: Vec::new(),
            alpn: Vec::new(),
        }
    }
}

impl DialTls {
    /// Whether the other end has to prove who it is.
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

/// SHA-256 of a certificate in DER; printed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    /// Takes 64 digits of either case, with or without colons between the bytes, and `sha256:` or openssl's `sha256 Fingerprint=`
    /// before them.
    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let text = text.trim();
        let digits = match text.split_at_checked("sha256".len()) {
            Some((label, rest)) if label.eq_ignore_ascii_case("sha256") => {
                let rest = rest.strip_prefix(" Fingerprint").unwrap_or(rest);
                rest.strip_prefix([':', '=']).ok_or(NoFingerprint)?
            }
            _ => text,
        };
        if digits.contains(':') && digits.split(':').any(|byte| byte.len() != 2) {
            return Err(NoFingerprint);
        }
        let values = digits.chars().filter(|&c| c != ':').map(|c| c.to_digit(16));
        let values: Vec<u32> = values.collect::<Option<_>>().ok_or(NoFingerprint)?;
        let bytes: Vec<u8> =
            values.chunks(2).map(|pair| (pair[0] * 16 + pair.get(1).unwrap_or(&0)) as u8).collect();
        match <[u8; 32]>::try_from(bytes) {
            Ok(bytes) if values.len() == 64 => Ok(Self(bytes)),
            _ => Err(NoFingerprint),
        }
    }
}

/// A text that is no [`Fingerprint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoFingerprint;

impl fmt::Display for NoFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fingerprint is the SHA-256 of a certificate: 64 hexadecimal digits")
    }
}

impl std::error::Error for NoFingerprint {}

/// The versions of TLS that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersions {
    /// 1.3 alone.
    #[default]
    Tls13,
    /// 1.3, and 1.2 with ends that speak no other (`minVersion: VersionTLS12`).
    Tls12And13,
    /// 1.2 alone (`maxVersion: VersionTLS12`).
    Tls12,
}

/// Cipher suites. Those of TLS 1.3 cannot be configured, as in Go: all of them are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CipherSuite {
    EcdheEcdsaAes128GcmSha256,
    EcdheEcdsaAes256GcmSha384,
    EcdheEcdsaChacha20Poly1305Sha256,
    EcdheRsaAes128GcmSha256,
    EcdheRsaAes256GcmSha384,
    EcdheRsaChacha20Poly1305Sha256,
    /// Of TLS 1.3.
    Aes128GcmSha256,
    /// Of TLS 1.3.
    Aes256GcmSha384,
    /// Of TLS 1.3.
    Chacha20Poly1305Sha256,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_tools_write_them() {
        let fingerprint = Fingerprint(std::array::from_fn(|i| i as u8 * 7 + 3));
        let plain = fingerprint.to_string();
        let bytes: Vec<String> = fingerprint.0.iter().map(|byte| format!("{byte:02X}")).collect();
        let colons = bytes.join(":");
        for text in [
            plain.clone(),
            plain.to_uppercase(),
            colons.clone(),
            format!("sha256:{plain}"),
            format!("SHA256:{colons}"),
            format!("sha256 Fingerprint={colons}"),
            format!(" {plain}\n"),
        ] {
            assert_eq!(text.parse(), Ok(fingerprint), "{text}");
        }
        for text in [
            "",
            "sha256:",
            &colons[1..],
            &plain[1..],
            &plain[2..],
            &format!("{plain}0"),
            &format!("{plain}00"),
            &format!("{colons}:"),
            &format!("sha256{plain}"),
            &plain.replacen('0', "x", 1),
            &plain.replacen("03", "0:3", 1),
            &plain.replacen("03", "ö", 1),
        ] {
            assert_eq!(text.parse::<Fingerprint>(), Err(NoFingerprint), "{text}");
        }
    }
}
