//! An authority of one's own: made once, it signs the certificates of a hub and its hosts.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use super::{
    certificate::CertificateInfo, date::date, error::TlsError, generate::serial,
    inspect::Inspected, pem::unusable,
};

/// Certificates count from this long before they are made: clocks differ.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// What helps where an authority cannot sign.
const ANOTHER: &str = "make another authority: `rtun gen cert` makes one in an empty directory";

/// Signs certificates. Keys are ECDSA on P-256.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    info: CertificateInfo,
}

/// A certificate that was made just now, and its key.
pub struct Issued {
    /// In PEM form.
    pub certificate: String,
    /// PKCS #8 in PEM form; a secret.
    pub key: String,
    /// What is in the certificate.
    pub info: CertificateInfo,
}

impl Authority {
    /// A new one under this common name, with its own certificate, which signs nothing but certificates of ends.
    ///
    /// # Errors
    ///
    /// [`TlsError::Generate`].
    pub fn make(name: &str, validity: Duration) -> Result<(Self, Issued), TlsError> {
        let mut params = params(name, Vec::new(), until(validity))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(TlsError::Generate)?;
        let certificate = params.self_signed(&key).map_err(TlsError::Generate)?;
        let issued = issued(&certificate, &key);
        let authority = Self { issuer: Issuer::new(params, key), info: issued.info.clone() };
        Ok((authority, issued))
    }

    /// The one of these PEM files.
    ///
    /// # Errors
    ///
    /// [`TlsError::Read`], [`TlsError::KeyMismatch`], and [`TlsError::Unusable`] also if the certificate is none of an authority
    /// or has run out.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let found = Inspected::pair(certificate, key)?;
        if !found.is_authority() {
            let reason = "holds no certificate of an authority";
            return Err(unusable(certificate, reason, ANOTHER));
        }
        if found.info.not_after <= SystemTime::now() {
            let reason = format!("the authority was valid until {}", date(found.info.not_after));
            return Err(unusable(certificate, reason, ANOTHER));
        }
        let text = std::fs::read_to_string(key)
            .map_err(|source| TlsError::Read { path: key.into(), source })?;
        let pair = KeyPair::from_pem(&text).map_err(|error| {
            unusable(key, format!("is a key that cannot sign here: {error}"), ANOTHER)
        })?;
        let issuer = Issuer::from_ca_cert_der(found.der(), pair)
            .map_err(|error| unusable(certificate, format!("cannot sign: {error}"), ANOTHER))?;
        Ok(Self { issuer, info: found.info })
    }

    /// What is in its own certificate.
    pub fn info(&self) -> &CertificateInfo {
        &self.info
    }

    /// A certificate for a server with these DNS names and addresses, the first of which is its common name too. It ends when the
    /// authority does at the latest.
    ///
    /// # Errors
    ///
    /// [`TlsError::Generate`], if a name is not ASCII for one.
    pub fn server(&self, names: &[String], validity: Duration) -> Result<Issued, TlsError> {
        self.issue(names, validity, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// The same for a client with one DNS name.
    ///
    /// # Errors
    ///
    /// As [`Authority::server`].
    pub fn client(&self, name: &str, validity: Duration) -> Result<Issued, TlsError> {
        self.issue(&[name.to_owned()], validity, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(
        &self,
        names: &[String],
        validity: Duration,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Issued, TlsError> {
        let first = names.first().map_or("", String::as_str);
        let until = until(validity).min(self.info.not_after);
        let mut params = params(first, names.to_vec(), until)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(TlsError::Generate)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(TlsError::Generate)?;
        Ok(issued(&certificate, &key))
    }
}

fn until(validity: Duration) -> SystemTime {
    let now = SystemTime::now();
    now.checked_add(validity).unwrap_or(now)
}

fn params(
    name: &str,
    names: Vec<String>,
    until: SystemTime,
) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::new(names).map_err(TlsError::Generate)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(serial()?);
    let now = SystemTime::now();
    params.not_before = now.checked_sub(BACKDATED).unwrap_or(now).into();
    params.not_after = until.into();
    Ok(params)
}

fn issued(certificate: &rcgen::Certificate, key: &KeyPair) -> Issued {
    Issued {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
        info: CertificateInfo::of(certificate.der())
            .expect("what rcgen writes is a well-formed certificate"),
    }
}
