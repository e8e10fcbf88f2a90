//! Certificates apart from any service: for whoever makes them or looks them over.

use std::path::{Path, PathBuf};

use rtun_settings::{ServerCertificate, ServerTls};
use rtun_tls::Certificate;
pub use rtun_tls::{Authority, CertificateInfo, Fingerprint, Inspected, Issued, TlsError};

use crate::encryption;

/// Where a listener's certificate and its key are, or will be kept once they have been made, with `state` for what is
/// kept from one start to the next; `None`: nowhere.
pub fn files_of(tls: &ServerTls, state: Option<&Path>) -> Option<(PathBuf, PathBuf)> {
    match &tls.certificate {
        ServerCertificate::Files(files) => Some((files.certificate.clone(), files.key.clone())),
        ServerCertificate::Own(own) => match encryption::own_certificate(own, state) {
            Certificate::Files { certificate, key } => Some((certificate, key)),
            Certificate::Generated(generate) => generate.paths(),
        },
    }
}
