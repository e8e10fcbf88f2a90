//! Certificates: what is in them, their fingerprints, and reading them from files.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest;
use rtun_settings::{CertificateFiles, Fingerprint};
use rustls::{
    Error, InconsistentKeys, crypto::CryptoProvider, pki_types::CertificateDer, sign::CertifiedKey,
};
use x509_parser::prelude::{
    ASN1Time, FromDer, GeneralName, ParsedExtension, X509Certificate, X509Version,
};

use super::{date::date, error::TlsError, pem};

/// What there is to say about a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Who it is, as `O=GOST, CN=gost.run`.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The DNS names and addresses it is for.
    pub names: Vec<String>,
    /// When its time begins.
    pub not_before: SystemTime,
    /// When its time ends.
    pub not_after: SystemTime,
    /// The SHA-256 of its DER form.
    pub sha256: Fingerprint,
}

/// The SHA-256 of a certificate.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
    Fingerprint(bytes)
}

impl CertificateInfo {
    /// Reads a certificate; `None` if it is malformed.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        Some(Self {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            names: names(&parsed, true),
            not_before: system_time(parsed.validity().not_before),
            not_after: system_time(parsed.validity().not_after),
            sha256: fingerprint(certificate),
        })
    }

    /// When its time ends, as `2027-03-01 12:30:00 UTC`.
    pub fn until(&self) -> String {
        date(self.not_after)
    }
}

/// The DNS names a certificate is for; none if it is malformed.
pub fn dns_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    X509Certificate::from_der(certificate)
        .map(|(_, parsed)| names(&parsed, false))
        .unwrap_or_default()
}

/// Whether a certificate is made for a use of TLS: it names that use, or any, or none in particular.
pub(crate) fn allows(certificate: &CertificateDer<'_>, use_of: Use) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    match parsed.extended_key_usage() {
        Ok(None) => true,
        Ok(Some(usage)) => {
            let usage = usage.value;
            usage.any
                || match use_of {
                    Use::Server => usage.server_auth,
                    Use::Client => usage.client_auth,
                }
        }
        Err(_) => false,
    }
}

/// Whether it is an authority's own.
pub(crate) fn is_authority(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, parsed)| parsed.is_ca())
}

/// A side of TLS that a certificate can be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Server,
    Client,
}

fn names(certificate: &X509Certificate<'_>, addresses: bool) -> Vec<String> {
    let mut names = Vec::new();
    for extension in certificate.extensions() {
        let ParsedExtension::SubjectAlternativeName(alternatives) = extension.parsed_extension()
        else {
            continue;
        };
        for name in &alternatives.general_names {
            match name {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) if addresses => names.extend(address(bytes)),
                _ => {}
            }
        }
    }
    names
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(bytes).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string())
}

fn system_time(time: ASN1Time) -> SystemTime {
    let seconds = Duration::from_secs(time.timestamp().unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    match time.timestamp() < 0 {
        true => epoch.checked_sub(seconds),
        false => epoch.checked_add(seconds),
    }
    .unwrap_or(epoch)
}

/// The most bytes of a file that are read.
pub(crate) const MAX_FILE: u64 = 1 << 20;

/// Reads the certificates of a PEM file: at least one, in its order.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    pem::certificates(path, &read(path)?)
}

/// Reads a certificate with its chain and its key, and makes sure that they belong together.
pub(crate) fn read_pair(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let CertificateFiles { certificate, key } = files;
    pair_of((certificate, &read(certificate)?), (key, &read(key)?), provider)
}

/// The same of two files' texts.
pub(crate) fn pair_of(
    (certificate, chain): (&Path, &[u8]),
    (key, private): (&Path, &[u8]),
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = pem::certificates(certificate, chain)?;
    let private = pem::private_key(key, private)?;
    let Ok((_, first)) = X509Certificate::from_der(&chain[0]) else {
        return Err(malformed(certificate));
    };
    if first.version() != X509Version::V3 {
        let version = first.version().0.saturating_add(1);
        return Err(pem::unusable(
            certificate,
            format!("is a certificate of X.509 version {version}; TLS takes version 3 only"),
            "have it issued with extensions, as `openssl x509 -req` does with `-extfile FILE` and a line \
             `subjectAltName=DNS:NAME` in that file, or make one with `rtun gen cert`",
        ));
    }
    let pair = |chain| CertifiedKey::from_der(chain, private.clone_key(), provider);
    pair(chain.clone()).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let owner = chain.iter().position(|other| pair(vec![other.clone()]).is_ok());
            match owner {
                Some(n) => pem::unusable(
                    certificate,
                    format!(
                        "the key in {} belongs to its certificate {} of {} ({})",
                        key.display(),
                        n + 1,
                        chain.len(),
                        CertificateInfo::of(&chain[n]).map(|info| info.subject).unwrap_or_default()
                    ),
                    "put that one first, then the one that has signed it, and so on",
                ),
                None => TlsError::KeyMismatch { certificate: certificate.into(), key: key.into() },
            }
        }
        Error::InvalidCertificate(error) => pem::unusable(
            certificate,
            format!("is a certificate that TLS does not take: {error}"),
            format!("`openssl x509 -in {} -noout -text` shows it", certificate.display()),
        ),
        error => pem::unusable(
            key,
            format!("is a key that TLS does not take: {error}"),
            "ECDSA with P-256, P-384 or P-521, RSA from 2048 bits, and Ed25519 are taken: \
             `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` makes one",
        ),
    })
}

/// A file whose certificate cannot be read.
pub(super) fn malformed(path: &Path) -> TlsError {
    let mend = format!("`openssl x509 -in {} -noout -text` tells more", path.display());
    pem::unusable(path, "holds a malformed certificate", mend)
}

/// A certificate and its key as both sides of TLS show them.
pub(crate) type SharedKey = Arc<CertifiedKey>;

/// Reads a file, which is no pipe whose other end may be silent.
fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let read = || {
        let mut options = File::options();
        let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut text = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut text)?;
        if text.len() as u64 > MAX_FILE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(text)
    };
    read().map_err(|source| TlsError::Read { path: path.into(), source })
}
