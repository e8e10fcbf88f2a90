//! Looking certificates of files over, without using them.

use std::path::Path;

use rtun_settings::CertificateFiles;
use rustls::{
    client::verify_server_name,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
    server::ParsedCertificate,
};

use super::{
    certificate::{CertificateInfo, is_authority, malformed, read_certificates, read_pair},
    error::TlsError,
};

/// A certificate from a file.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// What is in it.
    pub info: CertificateInfo,
    der: CertificateDer<'static>,
}

impl Inspected {
    /// The first certificate of a file, whose key is the other's; both are PEM.
    ///
    /// # Errors
    ///
    /// [`TlsError::Read`], [`TlsError::Unusable`] and [`TlsError::KeyMismatch`].
    pub fn pair(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = CertificateFiles { certificate: certificate.into(), key: key.into() };
        let pair = read_pair(&files, &aws_lc_rs::default_provider())?;
        let der = pair.cert[0].clone();
        let info =
            CertificateInfo::of(&der).expect("a pair is only taken with a well-formed certificate");
        Ok(Self { info, der })
    }

    /// All well-formed certificates of a PEM file.
    ///
    /// # Errors
    ///
    /// [`TlsError::Read`], and [`TlsError::Unusable`] if there is none.
    pub fn all(path: &Path) -> Result<Vec<Self>, TlsError> {
        let found: Vec<_> = read_certificates(path)?
            .into_iter()
            .filter_map(|der| Some(Self { info: CertificateInfo::of(&der)?, der }))
            .collect();
        match found.is_empty() {
            true => Err(malformed(path)),
            false => Ok(found),
        }
    }

    /// Whether a client that asks for this name or address takes it for the server's.
    pub fn is_for(&self, name: &str) -> bool {
        let Ok(name) = ServerName::try_from(name) else { return false };
        ParsedCertificate::try_from(&self.der)
            .is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
    }

    /// Whether it is an authority's own.
    pub fn is_authority(&self) -> bool {
        is_authority(&self.der)
    }

    pub(super) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }
}
