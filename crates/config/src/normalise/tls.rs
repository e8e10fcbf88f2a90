//! TLS of listeners and dialers.

use std::path::PathBuf;

use crate::{
    findings::Report,
    location::{At, quote},
    schema::{Field, OneText, dialer_tls, listener_tls, root, tls_files, tls_options, top_tls},
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
pub(crate) struct CommonTls {
    certificate: ServerCertificate,
    client_ca: Option<PathBuf>,
}

/// The top-level `tls`.
pub(super) fn common(root: &Cursor<'_>, report: &mut Report) -> CommonTls {
    let Some(at) = root.get(&root::TLS) else {
        let own = OwnCertificate::default();
        return CommonTls { certificate: ServerCertificate::Own(own), client_ca: None };
    };
    let files = files(&at, report).unwrap_or(None);
    let client_ca = at.read(&tls_files::CA_FILE).map(PathBuf::from);
    let name = server_name(&at, &top_tls::COMMON_NAME, report).flatten();
    let own = OwnCertificate {
        validity: at.or_default(&top_tls::VALIDITY),
        common_name: name.unwrap_or_else(|| top_tls::COMMON_NAME.default()),
        organization: at.or_default(&top_tls::ORGANIZATION),
    };
    if files.is_some() {
        let unused = [&top_tls::COMMON_NAME, &top_tls::ORGANIZATION];
        let unused = unused.into_iter().filter_map(|field| Some(at.filled(field)?.key()));
        for key in at.filled(&top_tls::VALIDITY).map(|at| at.key()).into_iter().chain(unused) {
            report.info(key, "no certificate is made: there is a `certFile`");
        }
    }
    let certificate = files.map_or(ServerCertificate::Own(own), ServerCertificate::Files);
    CommonTls { certificate, client_ca }
}

/// The `tls` at `at` of a listener that encrypts; `None` after an error was reported.
pub(super) fn server(
    at: Option<&Cursor<'_>>,
    common: &CommonTls,
    report: &mut Report,
) -> Option<ServerTls> {
    let Some(at) = at else {
        return Some(ServerTls {
            client_ca: common.client_ca.clone(),
            ..ServerTls::new(common.certificate.clone())
        });
    };
    let files = files(at, report);
    let own_ca = at.read(&tls_files::CA_FILE).map(PathBuf::from);
    if let (Ok(None), Some(ca)) = (&files, at.filled(&tls_files::CA_FILE)) {
        let message = "hosts have to prove themselves, as is said here; GOST ignores a `caFile` without `certFile`";
        report.info(ca.key(), message);
    }
    let options = options(at.get(&listener_tls::OPTIONS).as_deref(), report);
    let reject_unknown_sni = at.or_default(&listener_tls::REJECT_UNKNOWN_SNI);
    let bind_names = at.or_default(&listener_tls::BIND_NAMES);
    let names = at.read(&listener_tls::SERVER_NAMES).unwrap_or_default();
    let names = names.into_iter().filter_map(|(name, at)| checked_name(name, &at, report));
    let server_names: Vec<String> = names.collect();
    if let Some(names) = at.filled(&listener_tls::SERVER_NAMES).filter(|_| !reject_unknown_sni) {
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
    if let Some(bind) =
        at.filled(&listener_tls::BIND_NAMES).filter(|_| bind_names && client_ca.is_none())
    {
        let message = "no host has a certificate to bind its name to: there is no `caFile`";
        let help = "add `caFile:` with the authority that signs the hosts' certificates";
        return report.refuse(bind.key(), message, help);
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

/// The `tls` at `at` of a dialer that encrypts; `None` after an error was reported.
pub(super) fn dial(at: Option<&Cursor<'_>>, report: &mut Report) -> Option<DialTls> {
    let Some(at) = at else {
        return Some(DialTls { verification: Verification::Off, ..DialTls::default() });
    };
    let certificate = files(at, report);
    let ca = at.read(&tls_files::CA_FILE).map(PathBuf::from);
    let verification = match (at.or_default(&dialer_tls::SECURE), ca) {
        (true, ca) => Verification::Full { ca },
        (false, Some(ca)) => Verification::Chain { ca },
        (false, None) => Verification::Off,
    };
    let server_name = server_name(at, &dialer_tls::SERVER_NAME, report);
    let fingerprints = fingerprints(at, report);
    let Options { versions, cipher_suites, alpn } =
        options(at.get(&dialer_tls::OPTIONS).as_deref(), report)?;
    Some(DialTls {
        verification,
        fingerprints: fingerprints?,
        server_name: server_name?,
        certificate: certificate.ok()?,
        versions,
        cipher_suites,
        alpn,
    })
}

/// Certificate and key; `Err` after an error was reported.
fn files(at: &Cursor<'_>, report: &mut Report) -> Result<Option<CertificateFiles>, ()> {
    let (certificate, key) = (&tls_files::CERT_FILE, &tls_files::KEY_FILE);
    let (given, missing) = match (at.read(certificate), at.read(key)) {
        (Some(certificate), Some(key)) => {
            return Ok(Some(CertificateFiles { certificate: certificate.into(), key: key.into() }));
        }
        (None, None) => return Ok(None),
        (Some(_), None) => (certificate, key),
        (None, Some(_)) => (key, certificate),
    };
    let place = at.get(given).map_or_else(|| At::from(at), |at| at.key());
    let (given, missing) = (given.name(), missing.name());
    report
        .error(place, format!("there is a `{given}` and no `{missing}`"))
        .help(format!("add `{missing}:`; if both are in one file, name it twice"));
    Err(())
}

/// The name in `field`; the outer `None` after an error was reported.
fn server_name(
    at: &Cursor<'_>,
    field: &Field<OneText>,
    report: &mut Report,
) -> Option<Option<String>> {
    match at.read(field) {
        Some(name) => checked_name(name, &at.place_of(field), report).map(Some),
        None => Some(None),
    }
}

/// A DNS name or an IP address, without port.
fn checked_name(name: String, at: &At, report: &mut Report) -> Option<String> {
    let name_like = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    if is_address || name.len() <= MAX_NAME && name.chars().all(name_like) {
        return Some(name);
    }
    let message = format!("{} is no name that a certificate can have", quote(&name));
    report.refuse(at, message, "write a DNS name or an IP address, without port")
}

fn fingerprints(at: &Cursor<'_>, report: &mut Report) -> Option<Vec<Fingerprint>> {
    let texts = at.read(&dialer_tls::FINGERPRINT).unwrap_or_default();
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

#[derive(Default)]
struct Options {
    versions: TlsVersions,
    cipher_suites: Vec<CipherSuite>,
    alpn: Vec<String>,
}

/// The `options` of a `tls`; `None` after an error was reported.
fn options(at: Option<&Cursor<'_>>, report: &mut Report) -> Option<Options> {
    let Some(at) = at else { return Some(Options::default()) };
    let versions = versions(at, report);
    let suites = cipher_suites(at, versions, report);
    let mut alpn = Vec::new();
    for (text, at) in at.read(&tls_options::ALPN).unwrap_or_default() {
        if text.is_empty() || text.len() > MAX_ALPN {
            let message = format!("the name of a protocol has 1 to {MAX_ALPN} bytes");
            report.error(&at, message);
            return None;
        }
        alpn.push(text);
    }
    Some(Options { versions: versions?, cipher_suites: suites?, alpn })
}

/// Minor versions: 2 or 3.
fn versions(at: &Cursor<'_>, report: &mut Report) -> Option<TlsVersions> {
    let min = version(at, &tls_options::MIN_VERSION, report)?;
    let max = version(at, &tls_options::MAX_VERSION, report)?;
    match (min, max) {
        (Some(3) | None, Some(3) | None) => Some(TlsVersions::Tls13),
        (Some(_), Some(3) | None) => Some(TlsVersions::Tls12And13),
        (Some(2) | None, Some(_)) => Some(TlsVersions::Tls12),
        (Some(_), Some(_)) => {
            let message = "`minVersion` is above `maxVersion`: no version is left";
            report.error(at.place_of(&tls_options::MIN_VERSION), message);
            None
        }
    }
}

/// The outer `None` after an error was reported.
fn version(at: &Cursor<'_>, field: &Field<OneText>, report: &mut Report) -> Option<Option<u8>> {
    const NAMES: [&str; 4] = ["VersionTLS12", "VersionTLS13", "VersionTLS10", "VersionTLS11"];
    const HELP: &str = "write `VersionTLS12` or `VersionTLS13`";
    let Some(text) = at.read(field) else { return Some(None) };
    let place = at.place_of(field);
    match NAMES.iter().position(|name| name.eq_ignore_ascii_case(&text)) {
        Some(0) => Some(Some(2)),
        Some(1) => Some(Some(3)),
        Some(_) => report.refuse(place, format!("{} is broken and not spoken", quote(&text)), HELP),
        None => {
            let help = suggest::did_you_mean(&text, NAMES);
            report
                .warning(place, format!("there is no version {}; this has no effect", quote(&text)))
                .help(help.unwrap_or_else(|| HELP.to_owned()));
            Some(None)
        }
    }
}

fn cipher_suites(
    at: &Cursor<'_>,
    versions: Option<TlsVersions>,
    report: &mut Report,
) -> Option<Vec<CipherSuite>> {
    let Some(at) = at.get(&tls_options::CIPHER_SUITES) else { return Some(Vec::new()) };
    let texts = at.read().unwrap_or_default();
    if versions == Some(TlsVersions::Tls13) && !texts.is_empty() {
        report
            .info(at.key(), "`cipherSuites` has no effect: those of TLS 1.3 cannot be chosen")
            .help("where TLS 1.2 is wanted, say `minVersion: VersionTLS12`");
        return Some(Vec::new());
    }
    let written = texts.len();
    let mut suites = Vec::new();
    let names = CIPHER_SUITES.map(|(name, _)| name);
    for (text, at) in texts {
        match CIPHER_SUITES.iter().find(|(name, _)| name.eq_ignore_ascii_case(&text)) {
            Some((_, suite)) => suites.push(*suite),
            None => report
                .warning(&at, format!("{} is not spoken and left out", quote(&text)))
                .maybe_help(suggest::did_you_mean(&text, names)),
        }
    }
    if suites.is_empty() && written > 0 {
        let help = format!("there are {}", names.join(", "));
        return report.refuse(&at, "none of these cipher suites is spoken", help);
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
