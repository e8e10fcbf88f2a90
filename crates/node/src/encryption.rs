//! From configured TLS to that of `net`, and what is said of certificates.

use std::{
    env,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rtun_config::model::{
    Carriage, CipherSuite, DialTls, OwnCertificate, ServerCertificate, ServerTls, TlsVersions,
    Verification as Verify,
};
use rtun_net::tls::{
    Acceptor, Certificate, CertificateInfo, ClientSettings, Connector, Fingerprint, Generate,
    Protocol, ServerSettings, TlsError, Verification, Version,
};
use tracing::{info, warn};

/// A certificate that ends within this time is warned of.
const ENDS_SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

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
        fingerprint: config.fingerprints.first().map(|fingerprint| Fingerprint(fingerprint.0)),
        server_name: config.server_name.clone(),
        identity: identity.map(|files| (files.certificate.clone(), files.key.clone())),
        protocol: protocol(config.versions, &config.cipher_suites, &config.alpn, protocols),
    })
}

/// What a listener's TLS is made with, `protocols` being those of the transport; says in the log what certificate that is.
pub(crate) fn acceptor(
    service: &str,
    config: &ServerTls,
    protocols: &[&str],
) -> Result<Acceptor, TlsError> {
    let (acceptor, not_kept) = Acceptor::new(&ServerSettings {
        certificate: match &config.certificate {
            ServerCertificate::Files(files) => Certificate::Files {
                certificate: files.certificate.clone(),
                key: files.key.clone(),
            },
            ServerCertificate::Own(own) => own_certificate(own),
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

/// Says what is shown to hosts, and whether it is about to end.
pub(crate) fn describe(service: &str, certificate: &CertificateInfo) {
    let CertificateInfo { subject, names, not_after, sha256, .. } = certificate;
    let names = names.join(" ");
    info!(service, subject, names, fingerprint = %sha256, "certificate of the hub");
    match not_after.duration_since(SystemTime::now()) {
        Err(_) => warn!(service, fingerprint = %sha256, "the hub's certificate has expired"),
        Ok(left) if left < ENDS_SOON => {
            let days = left.as_secs() / (24 * 60 * 60);
            warn!(service, fingerprint = %sha256, "the hub's certificate expires in {days} days");
        }
        Ok(_) => {}
    }
}

/// Where GOST looks for one that nobody names (spec: transports.md section 2).
fn own_certificate(own: &OwnCertificate) -> Certificate {
    let (certificate, key) = (Path::new("cert.pem"), Path::new("key.pem"));
    if certificate.exists() && key.exists() {
        return Certificate::Files { certificate: certificate.into(), key: key.into() };
    }
    let home = env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    Certificate::Generated(Generate {
        directory: home.join(".gost"),
        validity: own.validity,
        common_name: own.common_name.clone(),
        organization: own.organization.clone(),
    })
}

/// The application protocols of a transport on TLS that are spoken unless others are configured.
pub(crate) fn usual_protocols<T>(carriage: &Carriage<T>) -> &'static [&'static str] {
    match carriage {
        Carriage::Http2 { .. } | Carriage::Grpc { .. } => &["h2"],
        Carriage::Tcp { .. } | Carriage::Quic { .. } => &[],
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
