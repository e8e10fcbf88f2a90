//! TLS of listeners and dialers (spec: transports.md section 2).

use std::path::PathBuf;

use crate::{
    findings::{At, Report, quote},
    suggest,
    value::Cursor,
};
use rtun_settings::{
    CertificateFiles, CipherSuite, DialTls, Fingerprint, OwnCertificate, ServerCertificate,
    ServerTls, TlsVersions, Verification,
};

/// Longest name of an application protocol: the wire has one byte for its length (RFC 7301 section 3.1).
const MAX_ALPN: usize = 255;

/// Longest name of a host, in bytes (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 253;

/// Go's names, which are IANA's.
const CIPHER_SUITES: [(&str, CipherSuite); 6] = [
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", CipherSuite::EcdheEcdsaAes128GcmSha256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", CipherSuite::EcdheEcdsaAes256GcmSha384),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::EcdheEcdsaChacha20Poly1305Sha256,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::EcdheRsaAes128GcmSha256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::EcdheRsaAes256GcmSha384),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::EcdheRsaChacha20Poly1305Sha256),
];

/// What the top-level `tls` says for listeners that have no certificate of their own.
pub(crate) struct Common {
    certificate: ServerCertificate,
    client_ca: Option<PathBuf>,
}

/// The top-level `tls` at `at`.
pub(super) fn common(at: Option<&Cursor<'_>>, report: &mut Report) -> Common {
    let Some(at) = at else {
        let own = OwnCertificate::default();
        return Common { certificate: ServerCertificate::Own(own), client_ca: None };
    };
    let files = files(at, report).unwrap_or(None);
    let client_ca = path(at, "caFile", report);
    let own = own_certificate(at, report);
    if files.is_some() {
        for key in ["validity", "commonName", "organization"] {
            if let Some(at) = at.filled(key) {
                report.info(at.key(), "no certificate is made: there is a `certFile`");
            }
        }
    }
    let certificate = files.map_or(ServerCertificate::Own(own), ServerCertificate::Files);
    Common { certificate, client_ca }
}

fn own_certificate(at: &Cursor<'_>, report: &mut Report) -> OwnCertificate {
    let default = OwnCertificate::default();
    let validity = at.get("validity").and_then(|at| report.period(&at));
    let name_at = at.get("commonName");
    let name = report.some_text(name_at.as_ref());
    let name = name.zip(name_at).and_then(|(name, at)| server_name(name, &At::from(&at), report));
    let organization = report.some_text(at.get("organization").as_ref());
    OwnCertificate {
        validity: validity.unwrap_or(default.validity),
        common_name: name.unwrap_or(default.common_name),
        organization: organization.unwrap_or(default.organization),
    }
}

/// The `tls` of the listener at `listener`, which encrypts; `None` after an error was reported.
pub(super) fn server(
    listener: &Cursor<'_>,
    common: &Common,
    report: &mut Report,
) -> Option<ServerTls> {
    let Some(at) = listener.get("tls") else {
        return Some(ServerTls {
            certificate: common.certificate.clone(),
            client_ca: common.client_ca.clone(),
            versions: TlsVersions::default(),
            cipher_suites: Vec::new(),
            alpn: Vec::new(),
            server_names: Vec::new(),
            reject_unknown_sni: false,
            bind_names: false,
        });
    };
    let files = files(&at, report);
    let own_ca = path(&at, "caFile", report);
    if let (Ok(None), Some(ca)) = (&files, at.filled("caFile")) {
        let message = "hosts have to prove themselves, as is said here; GOST ignores a `caFile` without `certFile`";
        report.info(ca.key(), message);
    }
    let options = options(&at, report);
    let flag = |key: &str, report: &mut Report| {
        at.get(key).and_then(|at| report.boolean(&at)).unwrap_or(false)
    };
    let reject_unknown_sni = flag("rejectUnknownSNI", report);
    let bind_names = flag("bindNames", report);
    let names = at.get("serverNames").map(|at| report.texts(&at, false)).unwrap_or_default();
    let names = names.into_iter().filter_map(|(name, at)| server_name(name, &at, report));
    let server_names: Vec<String> = names.collect();
    if let Some(names) = at.filled("serverNames").filter(|_| !reject_unknown_sni) {
        report
            .info(names.key(), "`serverNames` has no effect without `rejectUnknownSNI`")
            .help("add `rejectUnknownSNI: true`");
    }
    // As in GOST the top level's certificate and authorities go together.
    let files = files.ok()?;
    let client_ca = match (&files, own_ca) {
        (None, None) => common.client_ca.clone(),
        (_, own) => own,
    };
    if let Some(bind) = at.filled("bindNames").filter(|_| bind_names && client_ca.is_none()) {
        report
            .error(
                bind.key(),
                "no host has a certificate to bind its name to: there is no `caFile`",
            )
            .help("add `caFile:` with the authority that signs the hosts' certificates");
        return None;
    }
    let Options { versions, cipher_suites, alpn } = options?;
    Some(ServerTls {
        certificate: files.map_or(common.certificate.clone(), ServerCertificate::Files),
        client_ca,
        versions,
        cipher_suites,
        alpn,
        server_names,
        reject_unknown_sni,
        bind_names,
    })
}

/// The `tls` of the dialer at `dialer`, which encrypts; `None` after an error was reported.
pub(super) fn dial(dialer: &Cursor<'_>, report: &mut Report) -> Option<DialTls> {
    let Some(at) = dialer.get("tls") else {
        return Some(DialTls {
            verification: Verification::Off,
            fingerprints: Vec::new(),
            server_name: None,
            certificate: None,
            versions: TlsVersions::default(),
            cipher_suites: Vec::new(),
            alpn: Vec::new(),
        });
    };
    let certificate = files(&at, report);
    let ca = path(&at, "caFile", report);
    let secure = at.get("secure").map_or(Some(false), |at| report.boolean(&at));
    let name_at = at.get("serverName");
    let name = match report.some_text(name_at.as_ref()).zip(name_at) {
        Some((name, at)) => server_name(name, &At::from(&at), report).map(Some),
        None => Some(None),
    };
    let fingerprints = fingerprints(&at, report);
    let options = options(&at, report);
    let verification = match (secure?, ca) {
        (true, ca) => Verification::Full { ca },
        (false, Some(ca)) => Verification::Chain { ca },
        (false, None) => Verification::Off,
    };
    let Options { versions, cipher_suites, alpn } = options?;
    Some(DialTls {
        verification,
        fingerprints: fingerprints?,
        server_name: name?,
        certificate: certificate.ok()?,
        versions,
        cipher_suites,
        alpn,
    })
}

/// Certificate and key; `Err` after an error was reported.
fn files(at: &Cursor<'_>, report: &mut Report) -> Result<Option<CertificateFiles>, ()> {
    let certificate = path(at, "certFile", report);
    let key = path(at, "keyFile", report);
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(CertificateFiles { certificate, key })),
        (None, None) => Ok(None),
        (certificate, _) => {
            let (given, missing) = match certificate {
                Some(_) => ("certFile", "keyFile"),
                None => ("keyFile", "certFile"),
            };
            let place = at.get(given).map_or_else(|| At::from(at), |at| at.key());
            report
                .error(place, format!("there is a `{given}` and no `{missing}`"))
                .help(format!("add `{missing}:`; if both are in one file, name it twice"));
            Err(())
        }
    }
}

fn path(at: &Cursor<'_>, key: &str, report: &mut Report) -> Option<PathBuf> {
    report.some_text(at.get(key).as_ref()).map(PathBuf::from)
}

/// A DNS name or an IP address, without port.
fn server_name(name: String, at: &At, report: &mut Report) -> Option<String> {
    let name_like = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    if is_address || name.len() <= MAX_NAME && name.chars().all(name_like) {
        return Some(name);
    }
    report
        .error(at, format!("{} is no name that a certificate can have", quote(&name)))
        .help("write a DNS name or an IP address, without port");
    None
}

fn fingerprints(at: &Cursor<'_>, report: &mut Report) -> Option<Vec<Fingerprint>> {
    let Some(at) = at.get("fingerprint") else { return Some(Vec::new()) };
    let texts = report.texts(&at, true);
    let read = texts.into_iter().map(|(text, at)| {
        let fingerprint: Option<Fingerprint> = text.parse().ok();
        if fingerprint.is_none() {
            report
                .error(&at, format!("{} is no SHA-256 of a certificate", quote(&text)))
                .help("write 64 hexadecimal digits, with or without colons, as the hub logs them");
        }
        fingerprint
    });
    // All of them, so that every error is reported.
    read.collect::<Vec<_>>().into_iter().collect()
}

struct Options {
    versions: TlsVersions,
    cipher_suites: Vec<CipherSuite>,
    alpn: Vec<String>,
}

/// The `options` of a `tls`; `None` after an error was reported.
fn options(at: &Cursor<'_>, report: &mut Report) -> Option<Options> {
    let at = at.get("options");
    let get = |key| at.as_ref().and_then(|at| at.get(key));
    let versions = versions(get("minVersion"), get("maxVersion"), report);
    let suites_at = get("cipherSuites");
    let suites = suites_at.map_or(Some(Vec::new()), |at| cipher_suites(&at, versions, report));
    let alpn = get("alpn").map(|at| report.texts(&at, false)).unwrap_or_default();
    let mut protocols = Vec::new();
    for (text, at) in alpn {
        if text.is_empty() || text.len() > MAX_ALPN {
            let message = format!("the name of a protocol has 1 to {MAX_ALPN} bytes");
            report.error(&at, message);
            return None;
        }
        protocols.push(text);
    }
    Some(Options { versions: versions?, cipher_suites: suites?, alpn: protocols })
}

/// Minor versions: 2 or 3.
fn versions(
    min: Option<Cursor<'_>>,
    max: Option<Cursor<'_>>,
    report: &mut Report,
) -> Option<TlsVersions> {
    let minor_min = min.as_ref().map_or(Some(None), |at| version(at, report))?;
    let minor_max = max.as_ref().map_or(Some(None), |at| version(at, report))?;
    match (minor_min, minor_max) {
        (Some(3) | None, Some(3) | None) => Some(TlsVersions::Tls13),
        (Some(_), Some(3) | None) => Some(TlsVersions::Tls12And13),
        (Some(2) | None, Some(_)) => Some(TlsVersions::Tls12),
        (Some(_), Some(_)) => {
            let at = min.as_ref().map_or_else(At::default, At::from);
            report.error(at, "`minVersion` is above `maxVersion`: no version is left");
            None
        }
    }
}

/// The outer `None` after an error was reported.
fn version(at: &Cursor<'_>, report: &mut Report) -> Option<Option<u8>> {
    const NAMES: [&str; 4] = ["VersionTLS12", "VersionTLS13", "VersionTLS10", "VersionTLS11"];
    let Some(text) = report.some_text(Some(at)) else { return Some(None) };
    match NAMES.iter().position(|name| name.eq_ignore_ascii_case(&text)) {
        Some(0) => Some(Some(2)),
        Some(1) => Some(Some(3)),
        Some(_) => {
            report
                .error(at, format!("{} is broken and not spoken", quote(&text)))
                .help("write `VersionTLS12` or `VersionTLS13`");
            None
        }
        None => {
            let help = suggest::did_you_mean(&text, NAMES);
            report
                .warning(at, format!("there is no version {}; this has no effect", quote(&text)))
                .help(help.unwrap_or_else(|| "write `VersionTLS12` or `VersionTLS13`".to_owned()));
            Some(None)
        }
    }
}

fn cipher_suites(
    at: &Cursor<'_>,
    versions: Option<TlsVersions>,
    report: &mut Report,
) -> Option<Vec<CipherSuite>> {
    let texts = report.texts(at, false);
    if versions == Some(TlsVersions::Tls13) && !texts.is_empty() {
        report
            .info(at.key(), "`cipherSuites` has no effect: those of TLS 1.3 cannot be chosen")
            .help("where TLS 1.2 is wanted, say `minVersion: VersionTLS12`");
        return Some(Vec::new());
    }
    let written = texts.len();
    let mut suites = Vec::new();
    for (text, at) in texts {
        match CIPHER_SUITES.iter().find(|(name, _)| name.eq_ignore_ascii_case(&text)) {
            Some((_, suite)) => suites.push(*suite),
            None => {
                let names = CIPHER_SUITES.iter().map(|(name, _)| *name);
                report
                    .warning(&at, format!("{} is not spoken and left out", quote(&text)))
                    .maybe_help(suggest::did_you_mean(&text, names));
            }
        }
    }
    if suites.is_empty() && written > 0 {
        let names: Vec<&str> = CIPHER_SUITES.iter().map(|(name, _)| *name).collect();
        report
            .error(at, "none of these cipher suites is spoken")
            .help(format!("there are {}", names.join(", ")));
        return None;
    }
    Some(suites)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_printed_is_read(bytes: [u8; 32]) {
            let fingerprint = Fingerprint(bytes);
            prop_assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        }

        #[test]
        fn no_text_panics(text in "(sha256:)?[0-9a-f:ö]{0,100}") {
            let _ = text.parse::<Fingerprint>();
        }
    }
}
