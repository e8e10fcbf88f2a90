//! The certificate of a server that has none: made once and kept, as GOST does.

use std::{fmt, io::ErrorKind, path::PathBuf, sync::Arc, time::SystemTime};

use aws_lc_rs::rand;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SerialNumber,
};
use rtun_settings::{CertificateFiles, OwnCertificate};
use rtun_state::{DirIdentity, StateDir, StateError};
use rustls::crypto::CryptoProvider;

use super::{
    certificate::{MAX_FILE, SharedKey, pair_of},
    error::{NotKept, TlsError},
};

/// The certificate's file in its directory.
const CERTIFICATE_FILE: &str = "auto-ca-cert.pem";
/// The key's file in its directory.
const KEY_FILE: &str = "auto-ca-key.pem";

/// A certificate to be found in a directory, or made and kept there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeCertificate {
    /// Where it is kept, in `auto-ca-cert.pem` and `auto-ca-key.pem`, the directory made if need be; `None`: nowhere.
    pub directory: Option<PathBuf>,
    /// What a new one says.
    pub own: OwnCertificate,
}

/// A certificate with its key, and their texts.
pub(super) struct KeptPair {
    pub(super) key: SharedKey,
    certificate_pem: Vec<u8>,
    key_pem: Vec<u8>,
    /// The directory that holds the texts, if one does.
    kept_in: Option<DirIdentity>,
}

impl fmt::Debug for KeptPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptPair").field("kept_in", &self.kept_in).finish_non_exhaustive()
    }
}

impl MadeCertificate {
    /// As GOST makes it, in a directory: valid for 365 days, with the names `gost.run` and `GOST`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: Some(directory.into()), own: OwnCertificate::default() }
    }

    /// The files of certificate and key; `None` if it is kept nowhere.
    pub fn files(&self) -> Option<CertificateFiles> {
        let directory = self.directory.as_ref()?;
        let (certificate, key) = (directory.join(CERTIFICATE_FILE), directory.join(KEY_FILE));
        Some(CertificateFiles { certificate, key })
    }

    /// The pair kept, or a new one, with the reason it could not be kept if so.
    pub(super) fn find_or_make(
        &self,
        provider: &CryptoProvider,
    ) -> Result<(KeptPair, Option<NotKept>), TlsError> {
        let state = match &self.directory {
            Some(directory) => StateDir::open(directory).map_err(NotKept::State),
            None => Err(NotKept::Nowhere),
        };
        let state = state.and_then(|state| match find(&state, provider)? {
            Ok(found) => Ok(Ok(found)),
            Err(NoPair) => Ok(Err(state)),
        });
        match state {
            Ok(Ok(found)) => Ok((found, None)),
            Ok(Err(state)) => {
                let mut made = self.make_pair(provider)?;
                let not_kept = made.keep(&state).err().map(NotKept::State);
                Ok((made, not_kept))
            }
            Err(why) => Ok((self.make_pair(provider)?, Some(why))),
        }
    }

    /// What is kept now. Keeps `last` again if the directory has gone that held it.
    ///
    /// # Errors
    ///
    /// The reason that what is kept is not used.
    pub(super) fn find_again(
        &self,
        last: &mut KeptPair,
        provider: &CryptoProvider,
    ) -> Result<(), NotKept> {
        let (Some(directory), Some(kept_in)) = (&self.directory, last.kept_in) else {
            return Ok(());
        };
        let state = match StateDir::existing(directory) {
            // Its owner makes it again.
            Err(StateError::System { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok(());
            }
            state => state?,
        };
        match find(&state, provider)? {
            Ok(found) => *last = found,
            Err(NoPair) if state.identity() != Some(kept_in) => last.keep(&state)?,
            // Somebody wants another one at the next start.
            Err(NoPair) => {}
        }
        Ok(())
    }

    fn make_pair(&self, provider: &CryptoProvider) -> Result<KeptPair, TlsError> {
        let (made, key_pair) = self.make()?;
        let (certificate_pem, key_pem) = (made.pem().into_bytes(), key_pair.serialize_pem());
        let key_pem = key_pem.into_bytes();
        let (certificate, key) = (CERTIFICATE_FILE.as_ref(), KEY_FILE.as_ref());
        let pair = pair_of((certificate, &certificate_pem), (key, &key_pem), provider)?;
        Ok(KeptPair { key: Arc::new(pair), certificate_pem, key_pem, kept_in: None })
    }

    fn make(&self) -> Result<(rcgen::Certificate, KeyPair), TlsError> {
        let key = KeyPair::generate().map_err(TlsError::Generate)?;
        let OwnCertificate { validity, common_name, organization } = &self.own;
        let mut params =
            CertificateParams::new(vec![common_name.clone()]).map_err(TlsError::Generate)?;
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, &**organization);
        name.push(DnType::CommonName, &**common_name);
        params.distinguished_name = name;
        params.serial_number = Some(serial()?);
        let now = SystemTime::now();
        params.not_before = now.into();
        params.not_after = now.checked_add(*validity).unwrap_or(now).into();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.self_signed(&key).map_err(TlsError::Generate)?;
        Ok((certificate, key))
    }
}

/// There is no whole pair.
struct NoPair;

/// The pair in a directory, if there is one.
fn find(
    state: &StateDir,
    provider: &CryptoProvider,
) -> Result<Result<KeptPair, NoPair>, StateError> {
    let read = |name| state.read(name, MAX_FILE);
    let (Some(certificate_pem), Some(key_pem)) = (read(CERTIFICATE_FILE)?, read(KEY_FILE)?) else {
        return Ok(Err(NoPair));
    };
    let (certificate, key) = (CERTIFICATE_FILE.as_ref(), KEY_FILE.as_ref());
    Ok(match pair_of((certificate, &certificate_pem), (key, &key_pem), provider) {
        Ok(pair) => Ok(KeptPair {
            key: Arc::new(pair),
            certificate_pem,
            key_pem,
            kept_in: state.identity(),
        }),
        Err(_) => Err(NoPair),
    })
}

impl KeptPair {
    /// The key first: nobody reads a certificate without its key.
    fn keep(&mut self, state: &StateDir) -> Result<(), StateError> {
        state.write(KEY_FILE, &[&self.key_pem], 0o600)?;
        state.write(CERTIFICATE_FILE, &[&self.certificate_pem], 0o644)?;
        self.kept_in = state.identity();
        Ok(())
    }
}

/// A positive number of 127 random bits: at most 16 bytes long in DER.
pub(super) fn serial() -> Result<SerialNumber, TlsError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| TlsError::Generate(rcgen::Error::RingUnspecified))?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
