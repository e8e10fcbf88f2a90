//! Checking certificates: by the system's authorities, a file's, or a pin. What webpki refuses on principle though Go, and so
//! GOST, takes it is let through where it is safe: an authority's own certificate shown by the one it names.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rtun_settings::Fingerprint;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_platform_verifier::Verifier;

use super::{
    certificate::{self, CertificateInfo, Use, fingerprint, is_authority},
    error::{CertificateProblem, TlsError},
    pem,
};

/// What a handshake has seen of the other side, to be looked at when it has failed.
#[derive(Debug, Default)]
pub struct HandshakeDiagnostics(Mutex<HandshakeSeen>);

#[derive(Debug, Default)]
struct HandshakeSeen {
    server_name: Option<String>,
    name_refused: bool,
    refusal: Option<(CertificateProblem, Fingerprint)>,
}

impl HandshakeDiagnostics {
    /// Why this side has refused the other, if it has: what rustls's own error is not detailed enough for.
    pub fn refusal(&self) -> Option<TlsError> {
        let seen = self.seen();
        if seen.name_refused {
            return Some(TlsError::UnknownServerName(seen.server_name.clone()));
        }
        let (problem, fingerprint) = seen.refusal.clone()?;
        Some(TlsError::Certificate { problem, fingerprint })
    }

    /// The name the client has asked for.
    pub fn server_name(&self) -> Option<String> {
        self.seen().server_name.clone()
    }

    pub(super) fn see_name(&self, name: Option<&str>, served: bool) {
        let mut seen = self.seen();
        seen.server_name = name.map(str::to_owned);
        seen.name_refused = !served;
    }

    fn see_refusal(&self, certificate: &CertificateDer<'_>, error: &Error, wanted: Option<String>) {
        let problem = problem(certificate, error, wanted);
        self.seen().refusal = Some((problem, fingerprint(certificate)));
    }

    /// A poisoned lock still guards whole values.
    fn seen(&self) -> std::sync::MutexGuard<'_, HandshakeSeen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The authorities of a file, and its certificates as they are: a peer that shows one of these is trusted whether or not it is made
/// for an authority, as GOST does.
#[derive(Debug)]
pub(super) struct Roots {
    pub(super) anchors: Arc<RootCertStore>,
    pub(super) exact: Vec<CertificateDer<'static>>,
}

impl Roots {
    pub(super) fn read(path: &Path) -> Result<Self, TlsError> {
        let exact = certificate::read_certificates(path)?;
        let mut anchors = RootCertStore::empty();
        let (usable, _) = anchors.add_parsable_certificates(exact.iter().cloned());
        if usable == 0 {
            let reason = "holds no usable certificate of an authority";
            let mend =
                format!("`openssl x509 -in {} -noout -text` says what it is", path.display());
            return Err(pem::unusable(path, reason, mend));
        }
        Ok(Self { anchors: Arc::new(anchors), exact })
    }

    /// Checks a certificate that is itself among the trusted; `None` if it is not.
    fn check_exact(
        &self,
        certificate: &CertificateDer<'_>,
        use_of: Use,
        now: UnixTime,
    ) -> Option<Result<(), CertificateError>> {
        if !self.exact.contains(certificate) {
            return None;
        }
        Some(check_alone(certificate, use_of, now))
    }
}

/// What can be said about a certificate without looking at who signed it.
fn check_alone(
    certificate: &CertificateDer<'_>,
    use_of: Use,
    now: UnixTime,
) -> Result<(), CertificateError> {
    let Some(info) = CertificateInfo::of(certificate) else {
        return Err(CertificateError::BadEncoding);
    };
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
    if at > info.not_after {
        return Err(CertificateError::Expired);
    }
    if at < info.not_before {
        return Err(CertificateError::NotValidYet);
    }
    match certificate::allows(certificate, use_of) {
        true => Ok(()),
        false => Err(CertificateError::InvalidPurpose),
    }
}

/// Whose word is taken for a server's certificate.
#[derive(Debug)]
pub(super) enum Trust {
    System(Verifier),
    File { roots: Roots, check_name: bool },
    Anybody,
}

/// How a server's certificate is checked.
#[derive(Debug)]
pub(super) struct ServerCheck {
    pub(super) trust: Trust,
    /// Unless empty the certificate has to be one of these, too.
    pub(super) pins: Vec<Fingerprint>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCheck {
    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        if !self.pins.is_empty() && !self.pins.contains(&fingerprint(certificate)) {
            let problem = CertificateProblem::NotPinned { pinned: self.pins.clone() };
            return Err(CertificateError::Other(OtherError(Arc::new(problem))).into());
        }
        match &self.trust {
            Trust::Anybody => Ok(()),
            Trust::System(verifier) => {
                verifier.verify_server_cert(certificate, intermediates, name, ocsp, now).map(|_| ())
            }
            Trust::File { roots, check_name } => {
                let parsed = ParsedCertificate::try_from(certificate)?;
                match roots.check_exact(certificate, Use::Server, now) {
                    Some(result) => result?,
                    None => verify_server_cert_signed_by_trust_anchor(
                        &parsed,
                        &roots.anchors,
                        intermediates,
                        now,
                        self.algorithms.all,
                    )?,
                }
                match check_name {
                    true => verify_server_name(&parsed, name),
                    false => Ok(()),
                }
            }
        }
    }
}

/// A [`ServerCheck`] for one connection.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    pub(super) check: Arc<ServerCheck>,
    pub(super) diagnostics: Arc<HandshakeDiagnostics>,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.check.check(end_entity, intermediates, server_name, ocsp_response, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(error) => {
                let wanted = server_name.to_str().into_owned();
                self.diagnostics.see_refusal(end_entity, &error, Some(wanted));
                Err(error)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.check.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.check.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.check.algorithms.supported_schemes()
    }
}

/// How a client's certificate is checked: it has to show one that an authority of a file has signed, or one of that file.
#[derive(Debug)]
pub(super) struct ClientCheck {
    roots: Roots,
    by_authority: Arc<dyn ClientCertVerifier>,
}

impl ClientCheck {
    pub(super) fn read(path: &Path, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let roots = Roots::read(path)?;
        let by_authority = WebPkiClientVerifier::builder_with_provider(
            Arc::clone(&roots.anchors),
            Arc::clone(provider),
        )
        .build()
        .map_err(|error| {
            let reason = format!("cannot be used to check clients: {error}");
            pem::unusable(path, reason, "name a file with the authority of the hosts' certificates")
        })?;
        Ok(Self { roots, by_authority })
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.roots.exact == other.roots.exact
    }
}

/// The current [`ClientCheck`], for one connection, or for many that share diagnostics nobody reads.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    pub(super) check: Arc<ArcSwap<ClientCheck>>,
    pub(super) diagnostics: Arc<HandshakeDiagnostics>,
}

impl ClientCertVerifier for ClientVerifier {
    /// Names none: a client shows the one certificate it has.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let check = self.check.load();
        let result = match check.roots.check_exact(end_entity, Use::Client, now) {
            Some(result) => result.map_err(Error::from),
            None => {
                check.by_authority.verify_client_cert(end_entity, intermediates, now).map(|_| ())
            }
        };
        match result {
            Ok(()) => Ok(ClientCertVerified::assertion()),
            Err(error) => {
                self.diagnostics.see_refusal(end_entity, &error, None);
                Err(error)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check.load().by_authority.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check.load().by_authority.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.check.load().by_authority.supported_verify_schemes()
    }
}

/// What a refusal means to those who have to put it right.
fn problem(
    certificate: &CertificateDer<'_>,
    error: &Error,
    wanted: Option<String>,
) -> CertificateProblem {
    let Error::InvalidCertificate(refusal) = error else {
        return CertificateProblem::Other(error.to_string());
    };
    let Some(info) = CertificateInfo::of(certificate) else {
        return CertificateProblem::Other("it is malformed".into());
    };
    let self_signed = info.issuer == info.subject;
    match refusal {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            CertificateProblem::Expired { not_after: info.not_after }
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            CertificateProblem::NotYetValid { not_before: info.not_before }
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateProblem::WrongName { wanted: wanted.unwrap_or_default(), names: info.names }
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            CertificateProblem::WrongPurpose
        }
        CertificateError::UnknownIssuer => {
            CertificateProblem::UnknownIssuer { issuer: info.issuer, self_signed }
        }
        CertificateError::BadSignature => CertificateProblem::BadSignature { issuer: info.issuer },
        CertificateError::Other(OtherError(other)) => {
            match other.downcast_ref::<CertificateProblem>() {
                Some(problem) => problem.clone(),
                None if is_authority(certificate) && self_signed => {
                    CertificateProblem::UnknownIssuer { issuer: info.issuer, self_signed }
                }
                None if is_authority(certificate) => CertificateProblem::Authority,
                None => CertificateProblem::Other(other.to_string()),
            }
        }
        refusal => CertificateProblem::Other(refusal.to_string()),
    }
}
