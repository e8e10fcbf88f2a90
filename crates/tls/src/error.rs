//! Why there is no TLS connection, and whose fault it is.

use std::{io, path::PathBuf, time::SystemTime};

use rtun_settings::Fingerprint;
use rtun_state::StateError;
use rustls::{AlertDescription, PeerIncompatible};

use super::date::date;

/// Where what is wrong has to be put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// In the own configuration or its files.
    Own,
    /// At the other side, or at somebody in between.
    Peer,
    /// In the network between.
    Network,
}

/// Why there is no TLS connection, or no settings for one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A file does not hold what it is for, or something unusable.
    #[error("{}: {reason}; {mend}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What would be right, or the command that makes it so.
        mend: String,
    },
    /// The key is not that of the certificate.
    #[error(
        "the key in {} does not belong to the certificate in {}",
        .key.display(), .certificate.display()
    )]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// No authority of the system's can be used.
    #[error("the system's certificate authorities cannot be used: {0}; name a CA file")]
    SystemRoots(rustls::Error),
    /// Certificates cannot be checked against this name.
    #[error("{0:?} is neither a host name nor an address; set the server's name")]
    BadServerName(String),
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}")]
    Generate(rcgen::Error),
    /// What was made is no longer kept, or not used.
    #[error("the certificate that was made: {0}")]
    NotKept(NotKept),
    /// The settings do not go together.
    #[error("these TLS settings cannot be used: {0}")]
    Settings(rustls::Error),

    /// The other side's certificate is refused.
    #[error("the other side's certificate (SHA-256 {fingerprint}) is refused: {problem}")]
    Certificate {
        /// Why.
        problem: CertificateProblem,
        /// Which certificate it was.
        fingerprint: Fingerprint,
    },
    /// The client has to show a certificate and shows none.
    #[error("the client shows no certificate")]
    NoClientCertificate,
    /// The client asks for a name that is not served, or for none.
    #[error("the client asks for {}, which is not served", name(.0.as_deref()))]
    UnknownServerName(Option<String>),
    /// The other side speaks something else.
    #[error("the other side does not speak TLS; it begins with {:?}", String::from_utf8_lossy(.0))]
    NotTls(Vec<u8>),
    /// Nothing is common to both sides.
    #[error("both sides have nothing in common: {0:?}")]
    Incompatible(PeerIncompatible),
    /// The other side gives up.
    #[error("the other side refuses with the alert {0:?}{hint}", hint = hint(.0))]
    Alert(AlertDescription),
    /// The other side breaks the protocol, or its messages were changed in transit.
    #[error("the other side does not keep to TLS: {0}")]
    Misbehaved(rustls::Error),

    /// The stream ends before the handshake has.
    #[error("the connection ends during the TLS handshake")]
    Ended,
    /// The stream below fails.
    #[error("the connection fails during the TLS handshake: {0}")]
    Io(io::Error),
}

/// Why a certificate is made anew at the next start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotKept {
    /// There is no directory for it.
    #[error("nothing says where: set RTUN_STATE_DIR or HOME")]
    Nowhere,
    /// The directory or a file in it is not used, or cannot be.
    #[error(transparent)]
    State(#[from] StateError),
}

impl TlsError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Read { .. }
            | Self::Unusable { .. }
            | Self::KeyMismatch { .. }
            | Self::SystemRoots(_)
            | Self::BadServerName(_)
            | Self::Generate(_)
            | Self::NotKept(_)
            | Self::Settings(_) => Fault::Own,
            Self::Certificate { .. }
            | Self::NoClientCertificate
            | Self::UnknownServerName(_)
            | Self::NotTls(_)
            | Self::Incompatible(_)
            | Self::Alert(_)
            | Self::Misbehaved(_) => Fault::Peer,
            Self::Ended | Self::Io(_) => Fault::Network,
        }
    }

    /// What a failed handshake of rustls says.
    pub fn from_handshake(error: rustls::Error) -> Self {
        match error {
            rustls::Error::AlertReceived(alert) => Self::Alert(alert),
            rustls::Error::NoCertificatesPresented => Self::NoClientCertificate,
            rustls::Error::PeerIncompatible(what) => Self::Incompatible(what),
            error => Self::Misbehaved(error),
        }
    }
}

fn hex(fingerprints: &[Fingerprint]) -> String {
    let texts: Vec<String> = fingerprints.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// Why a certificate is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// It is none of the pinned ones.
    #[error("pinned: {}", hex(.pinned))]
    NotPinned {
        /// Those that are.
        pinned: Vec<Fingerprint>,
    },
    /// Nobody trusted has signed it.
    #[error("{}", if *.self_signed {
        format!("it is signed by itself ({issuer}) and not among the trusted")
    } else {
        format!("it is signed by {issuer}, who is not trusted")
    })]
    UnknownIssuer {
        /// Who signed it.
        issuer: String,
        /// Whether that is itself.
        self_signed: bool,
    },
    /// Whom it names as its signer has not signed it.
    #[error("it claims to be signed by {issuer}, whose key says no")]
    BadSignature {
        /// Who should have signed it.
        issuer: String,
    },
    /// It is for other names.
    #[error("it is for {}, not for {wanted}", list(.names))]
    WrongName {
        /// Who was to be reached.
        wanted: String,
        /// The names in it.
        names: Vec<String>,
    },
    /// Its time is over.
    #[error("it was valid until {}", date(*.not_after))]
    Expired {
        /// Until when it was valid.
        not_after: SystemTime,
    },
    /// Its time has not come, or the own clock is wrong.
    #[error("it is not valid before {}", date(*.not_before))]
    NotYetValid {
        /// From when on it is valid.
        not_before: SystemTime,
    },
    /// It is for another use than this side of TLS.
    #[error("it is not for this side of TLS (extended key usage)")]
    WrongPurpose,
    /// It is an authority's own, and not itself among the trusted.
    #[error("it is an authority's own, which has to be in the CA file itself or pinned")]
    Authority,
    /// Something else.
    #[error("{0}")]
    Other(String),
}

fn name(name: Option<&str>) -> String {
    name.map_or_else(|| "no name".into(), |name| format!("{name:?}"))
}

fn list(names: &[String]) -> String {
    match names {
        [] => "no name".into(),
        names => names.join(", "),
    }
}

/// What an alert usually means to the one who reads it.
pub fn hint(alert: &AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError => ": it does not trust the own certificate",
        AlertDescription::CertificateExpired => ": the own certificate has expired",
        AlertDescription::CertificateRequired => ": it wants a client certificate",
        AlertDescription::ProtocolVersion => ": it speaks no TLS version that is allowed here",
        AlertDescription::UnrecognisedName | AlertDescription::AccessDenied => {
            ": it does not serve this name"
        }
        AlertDescription::NoApplicationProtocol => ": it speaks none of the protocols offered",
        _ => "",
    }
}
