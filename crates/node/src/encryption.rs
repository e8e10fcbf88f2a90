//! From configured TLS to that of `net`, and what is said of certificates.

use std::{
    env,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rtun_settings::{
    CipherSuite, DialTls, OwnCertificate, ServerCertificate, ServerTls, TlsVersions,
    TransportStack, Verification as Verify,
};
use rtun_tls::{
    Acceptor, Certificate, CertificateInfo, ClientSettings, Connector, Fingerprint, Generate,
    Protocol, ServerSettings, TlsError, Verification, Version,
};
use tokio::sync::Notify;
use tracing::{info, warn};

const DAY: u64 = 24 * 60 * 60;

/// A certificate is warned of when less than each of these is left of its time, and when it is over.
const WARNED: [Duration; 3] =
    [Duration::from_secs(30 * DAY), Duration::from_secs(7 * DAY), Duration::from_secs(DAY)];

/// How often the files of a certificate are looked at.
const CERTIFICATE_POLL: Duration = Duration::from_secs(1);

/// What a dialer's TLS is made with. `protocols` are those of the transport.
pub(crate) fn connector(config: &DialTls, protocols: &[&str]) -> Result<Connector, TlsError> {
    let verification = match &config.verification {
        Verify::Full { ca } => Verification::Full { ca_file: ca.clone() },
        Verify::Chain { ca } => Verification::ChainOnly { ca_file: ca.clone() },
        Verify::Off => Verification::Off,
    };
    let identity = config.certificate.as_ref();
    Connector::new(&ClientSettings {
        verification,
        fingerprints: config.fingerprints.iter().map(|it| Fingerprint(it.0)).collect(),
        server_name: config.server_name.clone(),
        identity: identity.map(|files| (files.certificate.clone(), files.key.clone())),
        protocol: protocol(config.versions, &config.cipher_suites, &config.alpn, protocols),
    })
}

/// What a listener's TLS is made with, `protocols` being those of the transport; says in the log what certificate that is.
/// One that is made is kept in the directory `state`.
pub(crate) fn acceptor(
    service: &str,
    config: &ServerTls,
    protocols: &[&str],
    state: Option<&Path>,
) -> Result<Acceptor, TlsError> {
    let (acceptor, not_kept) = Acceptor::new(&ServerSettings {
        certificate: match &config.certificate {
            ServerCertificate::Files(files) => Certificate::Files {
                certificate: files.certificate.clone(),
                key: files.key.clone(),
            },
            ServerCertificate::Own(own) => own_certificate(own, state),
        },
        client_ca: config.client_ca.clone(),
        reject_unknown_sni: config.reject_unknown_sni,
        server_names: config.server_names.clone(),
        protocol: protocol(config.versions, &config.cipher_suites, &config.alpn, protocols),
    })?;
    if let Some(error) = not_kept {
        warn!(
            service,
            "the certificate that was made cannot be kept, the next start makes another: {error}"
        );
    }
    describe(service, &acceptor.certificate());
    Ok(acceptor)
}

/// Keeps to the files of a listener's certificate as they change, for ever, and reads them at once when told to. What runs keeps running; files that cannot be used
/// change nothing, and are complained of once. A certificate that gets near its end is warned of, each time more of its time
/// is over.
pub(crate) async fn follow(service: &str, acceptor: &Acceptor, reread: &Notify) {
    let mut complained = None;
    let mut warned = stage(left(&acceptor.certificate()));
    loop {
        // Time that is over and a word that comes are the same here.
        let _ = tokio::time::timeout(CERTIFICATE_POLL, reread.notified()).await;
        match acceptor.reload() {
            Ok(true) => {
                complained = None;
                let shown = acceptor.certificate();
                describe(service, &shown);
                warned = stage(left(&shown));
            }
            Ok(false) => complained = None,
            Err(error) => {
                let text = error.to_string();
                if complained.as_ref() != Some(&text) {
                    warn!(service, "the certificate stays as it was: {text}");
                    complained = Some(text);
                }
            }
        }
        let shown = acceptor.certificate();
        let now = stage(left(&shown));
        if now > warned {
            warn_of_end(service, &shown);
        }
        warned = now;
    }
}

/// Says what is shown to hosts, and whether it is about to end.
fn describe(service: &str, certificate: &CertificateInfo) {
    let CertificateInfo { subject, names, sha256, .. } = certificate;
    let names = names.join(" ");
    info!(service, subject, names, fingerprint = %sha256, "certificate of the hub");
    if stage(left(certificate)) > 0 {
        warn_of_end(service, certificate);
    }
}

fn warn_of_end(service: &str, certificate: &CertificateInfo) {
    let CertificateInfo { sha256, .. } = certificate;
    match left(certificate) {
        None => warn!(service, fingerprint = %sha256, "the hub's certificate has expired"),
        Some(left) => {
            let days = left.as_secs() / DAY;
            warn!(service, fingerprint = %sha256, "the hub's certificate expires in {days} days");
        }
    }
}

/// What is left of a certificate's time; none when it is over.
fn left(certificate: &CertificateInfo) -> Option<Duration> {
    certificate.not_after.duration_since(SystemTime::now()).ok()
}

/// How often there was reason to warn of a certificate of which so much is left.
fn stage(left: Option<Duration>) -> usize {
    match left {
        Some(left) => WARNED.iter().filter(|limit| left < **limit).count(),
        None => WARNED.len() + 1,
    }
}

/// Seconds until a certificate's time is over, or the negative of those since.
pub(crate) fn seconds_left(certificate: &CertificateInfo) -> f64 {
    match certificate.not_after.duration_since(SystemTime::now()) {
        Ok(left) => left.as_secs_f64(),
        Err(since) => -since.duration().as_secs_f64(),
    }
}

/// One that nobody names: where GOST looks for it (spec: transports.md section 2), else in the directory `state`, where
/// it is made.
pub(crate) fn own_certificate(own: &OwnCertificate, state: Option<&Path>) -> Certificate {
    let (certificate, key) = (Path::new("cert.pem"), Path::new("key.pem"));
    if certificate.exists() && key.exists() {
        return Certificate::Files { certificate: certificate.into(), key: key.into() };
    }
    let generate = |directory: Option<PathBuf>| Generate {
        directory,
        validity: own.validity,
        common_name: own.common_name.clone(),
        organization: own.organization.clone(),
    };
    let home = env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    let gosts = generate(Some(home.join(".gost")));
    let is_there = gosts.paths().is_some_and(|(certificate, key)| {
        // What is no regular file is looked at where it is opened.
        [certificate, key].iter().all(|path| path.symlink_metadata().is_ok())
    });
    let kept = if is_there { gosts } else { generate(state.map(Path::to_owned)) };
    Certificate::Generated(kept)
}

/// The application protocols of a transport on TLS that are spoken unless others are configured.
pub(crate) fn usual_protocols<T>(stack: &TransportStack<T>) -> &'static [&'static str] {
    match stack {
        TransportStack::Http2 { .. } | TransportStack::Grpc { .. } => &["h2"],
        TransportStack::Tcp { .. } | TransportStack::Quic { .. } => &[],
    }
}

fn protocol(
    versions: TlsVersions,
    suites: &[CipherSuite],
    alpn: &[String],
    usual: &[&str],
) -> Protocol {
    let (min, max) = match versions {
        TlsVersions::Tls13 => (Version::Tls13, Version::Tls13),
        TlsVersions::Tls12And13 => (Version::Tls12, Version::Tls13),
        TlsVersions::Tls12 => (Version::Tls12, Version::Tls12),
    };
    Protocol {
        min,
        max,
        cipher_suites: suites.iter().map(|suite| name(*suite).to_owned()).collect(),
        alpn: match alpn {
            [] => usual.iter().map(|&name| name.to_owned()).collect(),
            alpn => alpn.to_vec(),
        },
        ..Protocol::default()
    }
}

fn name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::EcdheEcdsaAes128GcmSha256 => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::EcdheEcdsaAes256GcmSha384 => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::EcdheEcdsaChacha20Poly1305Sha256 => {
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
        }
        CipherSuite::EcdheRsaAes128GcmSha256 => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::EcdheRsaAes256GcmSha384 => "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::EcdheRsaChacha20Poly1305Sha256 => {
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_more_reason_to_warn_the_less_is_left() {
        let days = |days: u64| stage(Some(Duration::from_secs(days * DAY)));
        let stages = [400, 31, 30, 29, 8, 6, 2, 1].map(days);
        assert_eq!(stages, [0, 0, 0, 1, 1, 2, 2, 2]);
        assert_eq!(stage(Some(Duration::from_secs(DAY - 1))), 3);
        assert_eq!(stage(None), 4);
    }
}
