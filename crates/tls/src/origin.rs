//! Where the certificate of a listener comes from: files, or one that rtun makes.

use std::{
    env,
    path::{Path, PathBuf},
};

use rtun_settings::{CertificateFiles, OwnCertificate, ServerCertificate};

use super::generate::MadeCertificate;

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateOrigin {
    /// From PEM files, the certificate before those that signed it.
    Files(CertificateFiles),
    /// Made by rtun, or found where one was kept.
    Made(MadeCertificate),
}

impl CertificateOrigin {
    /// Where the certificate comes from that is `configured`. One that nobody names is looked for where GOST does: `cert.pem` and
    /// `key.pem` of the working directory, then `auto-ca-cert.pem` and `auto-ca-key.pem` in `.gost` of the home directory. Else it
    /// is kept in the directory `state`, where it is made; `None`: nowhere.
    pub fn of(configured: &ServerCertificate, state: Option<&Path>) -> Self {
        match configured {
            ServerCertificate::Files(files) => Self::Files(files.clone()),
            ServerCertificate::Own(own) => Self::of_own(own, state),
        }
    }

    fn of_own(own: &OwnCertificate, state: Option<&Path>) -> Self {
        let files = CertificateFiles { certificate: "cert.pem".into(), key: "key.pem".into() };
        if files.certificate.exists() && files.key.exists() {
            return Self::Files(files);
        }
        let made = |directory| MadeCertificate { directory, own: own.clone() };
        let home = env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
        let gosts = made(Some(home.join(".gost")));
        let is_there = gosts.files().is_some_and(|CertificateFiles { certificate, key }| {
            // Something else than a regular file is refused where it is opened.
            [certificate, key].iter().all(|path| path.symlink_metadata().is_ok())
        });
        Self::Made(if is_there { gosts } else { made(state.map(Path::to_owned)) })
    }

    /// The files of the certificate and its key, which need not be there yet; `None` if it is kept nowhere.
    pub fn files(&self) -> Option<CertificateFiles> {
        match self {
            Self::Files(files) => Some(files.clone()),
            Self::Made(made) => made.files(),
        }
    }
}
