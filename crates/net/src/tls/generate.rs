//! The certificate of a server that has none: made once and kept, as GOST does (spec: transports.md section 2).

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use aws_lc_rs::rand;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SerialNumber,
};
use rustls::{crypto::CryptoProvider, pki_types::PrivateKeyDer, sign::CertifiedKey};

use super::{
    certificate::{SharedKey, read_pair},
    error::TlsError,
};

/// The certificate's file in its directory.
pub(super) const CERTIFICATE_FILE: &str = "auto-ca-cert.pem";
/// The key's file in its directory.
pub(super) const KEY_FILE: &str = "auto-ca-key.pem";

/// A certificate to be found in a directory, or made and kept there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generate {
    /// Where it is kept, in `auto-ca-cert.pem` and `auto-ca-key.pem`; GOST's is `~/.gost`.
    pub directory: PathBuf,
    /// How long a new one is valid.
    pub validity: Duration,
    /// The common name and only DNS name of a new one.
    pub common_name: String,
    /// The organization of a new one.
    pub organization: String,
}

impl Generate {
    /// GOST's own in a directory: 365 days, `gost.run`, `GOST`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            validity: Duration::from_secs(365 * 24 * 60 * 60),
            common_name: "gost.run".into(),
            organization: "GOST".into(),
        }
    }

    pub(super) fn paths(&self) -> (PathBuf, PathBuf) {
        (self.directory.join(CERTIFICATE_FILE), self.directory.join(KEY_FILE))
    }

    /// The pair kept, or a new one, with the reason it could not be kept if so.
    pub(super) fn find_or_make(
        &self,
        provider: &CryptoProvider,
    ) -> Result<(SharedKey, Option<io::Error>), TlsError> {
        let (certificate, key) = self.paths();
        if let Ok(found) = read_pair(&certificate, &key, provider) {
            return Ok((found.into(), None));
        }
        let (made, key_pair) = self.make()?;
        let kept = self.keep(&made.pem(), &key_pair.serialize_pem());
        let private = PrivateKeyDer::try_from(key_pair.serialize_der())
            .expect("rcgen writes keys in PKCS #8, which is known");
        let pair = CertifiedKey::from_der(vec![made.der().clone()], private, provider)
            .map_err(TlsError::Settings)?;
        Ok((pair.into(), kept.err()))
    }

    fn make(&self) -> Result<(rcgen::Certificate, KeyPair), TlsError> {
        let key = KeyPair::generate().map_err(TlsError::Generate)?;
        let mut params =
            CertificateParams::new(vec![self.common_name.clone()]).map_err(TlsError::Generate)?;
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, &*self.organization);
        name.push(DnType::CommonName, &*self.common_name);
        params.distinguished_name = name;
        params.serial_number = Some(serial()?);
        let now = SystemTime::now();
        params.not_before = now.into();
        params.not_after = now.checked_add(self.validity).unwrap_or(now).into();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.self_signed(&key).map_err(TlsError::Generate)?;
        Ok((certificate, key))
    }

    /// Both files appear whole or not at all, the key first: nobody reads a certificate without its key.
    fn keep(&self, certificate: &str, key: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let (certificate_path, key_path) = self.paths();
        write_whole(&key_path, key, 0o600)?;
        write_whole(&certificate_path, certificate, 0o644)
    }
}

/// A positive number of 127 random bits: at most 16 bytes long in DER.
fn serial() -> Result<SerialNumber, TlsError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| TlsError::Generate(rcgen::Error::RingUnspecified))?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn write_whole(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // The reason that counts is the first.
        let _ = fs::remove_file(&draft);
    }
    written
}
