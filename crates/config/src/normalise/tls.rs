//! TLS of listeners and dialers.

use std::path::PathBuf;

use super::choice::find;
use crate::{
    location::quote,
    report::At,
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
pub(super) fn common(root: &Cursor<'_>) -> CommonTls {
    let at = root.object(&root::TLS);
    let client_ca = at.read(&tls_files::CA_FILE).map(PathBuf::from);
    let name = server_name(&at, &top_tls::COMMON_NAME);
    let own = OwnCertificate {
        validity: at.or_default(&top_tls::VALIDITY),
        common_name: name.unwrap_or_else(|| top_tls::COMMON_NAME.default()),
        organization: at.or_default(&top_tls::ORGANIZATION),
    };
    let Some(files) = files(&at) else {
        return CommonTls { certificate: ServerCertificate::Own(own), client_ca };
    };
    let of_own = [top_tls::VALIDITY.any(), top_tls::COMMON_NAME.any(), top_tls::ORGANIZATION.any()];
    for unused in of_own.iter().filter_map(|field| at.filled(field)) {
        unused.key().info("no certificate is made: there is a `certFile`");
    }
    CommonTls { certificate: ServerCertificate::Files(files), client_ca }
}

/// The `tls` at `at` of a listener that encrypts.
pub(super) fn server(at: &Cursor<'_>, common: &CommonTls) -> ServerTls {
    let files = files(at);
    let has_files =
        [tls_files::CERT_FILE, tls_files::KEY_FILE].iter().any(|f| at.read(f).is_some());
    if let Some(ca) = at.filled(&tls_files::CA_FILE).filter(|_| !has_files) {
        let message = "hosts have to prove themselves, as is said here; GOST ignores a `caFile` without `certFile`";
        ca.key().info(message);
    }
    let Options { versions, cipher_suites, alpn } = options(&at.object(&listener_tls::OPTIONS));
    let reject_unknown_sni = at.or_default(&listener_tls::REJECT_UNKNOWN_SNI);
    let names = at.read(&listener_tls::SERVER_NAMES).unwrap_or_default();
    if let Some(names) = at.filled(&listener_tls::SERVER_NAMES).filter(|_| !reject_unknown_sni) {
        names
            .key()
            .info("`serverNames` has no effect without `rejectUnknownSNI`")
            .help("add `rejectUnknownSNI: true`");
    }
    // As in GOST the top level's certificate and authorities go together.
    let client_ca = match (&files, at.read(&tls_files::CA_FILE)) {
        (None, None) => common.client_ca.clone(),
        (_, own) => own.map(PathBuf::from),
    };
    let bind_names = at.filled(&listener_tls::BIND_NAMES).filter(|bind| bind.read() == Some(true));
    if let Some(bind) = bind_names.as_ref().filter(|_| client_ca.is_none()) {
        let message = "no host has a certificate to bind its name to: there is no `caFile`";
        let help = "add `caFile:` with the authority that signs the hosts' certificates";
        bind.key().error(message).help(help);
    }
    ServerTls {
        certificate: files.map_or(common.certificate.clone(), ServerCertificate::Files),
        client_ca,
        versions,
        cipher_suites,
        alpn,
        server_names: names.into_iter().filter_map(|(name, at)| checked_name(name, &at)).collect(),
        reject_unknown_sni,
        bind_names: bind_names.is_some(),
    }
}

/// The `tls` at `at` of a dialer that encrypts.
pub(super) fn dial(at: &Cursor<'_>) -> DialTls {
    let ca = at.read(&tls_files::CA_FILE).map(PathBuf::from);
    let verification = match (at.or_default(&dialer_tls::SECURE), ca) {
        (true, ca) => Verification::Full { ca },
        (false, Some(ca)) => Verification::Chain { ca },
        (false, None) => Verification::Off,
    };
    let fingerprints = at.read(&dialer_tls::FINGERPRINT).unwrap_or_default();
    let Options { versions, cipher_suites, alpn } = options(&at.object(&dialer_tls::OPTIONS));
    DialTls {
        verification,
        fingerprints: fingerprints.iter().map(|(text, at)| fingerprint(text, at)).collect(),
        server_name: server_name(at, &dialer_tls::SERVER_NAME),
        certificate: files(at),
        versions,
        cipher_suites,
        alpn,
    }
}

/// Certificate and key; `None` too after it was reported that one of them is missing.
fn files(at: &Cursor<'_>) -> Option<CertificateFiles> {
    let (certificate, key) = (&tls_files::CERT_FILE, &tls_files::KEY_FILE);
    let (given, missing) = match (at.read(certificate), at.read(key)) {
        (Some(certificate), Some(key)) => {
            return Some(CertificateFiles { certificate: certificate.into(), key: key.into() });
        }
        (None, None) => return None,
        (Some(_), None) => (certificate, key),
        (None, Some(_)) => (key, certificate),
    };
    let place = at.get(given).map_or_else(|| at.at.clone(), |at| at.key());
    let (given, missing) = (given.name(), missing.name());
    place.refuse(
        format!("there is a `{given}` and no `{missing}`"),
        format!("add `{missing}:`; if both are in one file, name it twice"),
    )
}

/// The name in `field`.
fn server_name(at: &Cursor<'_>, field: &Field<OneText>) -> Option<String> {
    let name = at.get(field)?;
    checked_name(name.read()?, &name)
}

/// A DNS name or an IP address, without port.
fn checked_name(name: String, at: &At<'_>) -> Option<String> {
    let name_like = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    if is_address || name.len() <= MAX_NAME && name.chars().all(name_like) {
        return Some(name);
    }
    let message = format!("{} is no name that a certificate can have", quote(&name));
    at.refuse(message, "write a DNS name or an IP address, without port")
}

/// The fingerprint that `text` is; an error leaves one that no certificate has.
fn fingerprint(text: &str, at: &At<'_>) -> Fingerprint {
    text.parse().unwrap_or_else(|_| {
        at.error(format!("{} is no SHA-256 of a certificate", quote(text)))
            .help("write 64 hexadecimal digits, with or without colons, as the hub logs them");
        Fingerprint([0; 32])
    })
}

struct Options {
    versions: TlsVersions,
    cipher_suites: Vec<CipherSuite>,
    alpn: Vec<String>,
}

/// The `options` of a `tls`.
fn options(at: &Cursor<'_>) -> Options {
    let versions = versions(at);
    let cipher_suites = cipher_suites(at, versions);
    let alpn = at.read(&tls_options::ALPN).unwrap_or_default();
    for (_, at) in alpn.iter().filter(|(name, _)| name.is_empty() || name.len() > MAX_ALPN) {
        at.error(format!("the name of a protocol has 1 to {MAX_ALPN} bytes"));
    }
    Options { versions, cipher_suites, alpn: alpn.into_iter().map(|(name, _)| name).collect() }
}

fn versions(at: &Cursor<'_>) -> TlsVersions {
    let min = version(at, &tls_options::MIN_VERSION);
    let max = version(at, &tls_options::MAX_VERSION);
    match (min, max) {
        (Some(3), Some(2)) => {
            let message = "`minVersion` is above `maxVersion`: no version is left";
            at.place_of(&tls_options::MIN_VERSION).error(message);
            TlsVersions::Tls13
        }
        (_, Some(2)) => TlsVersions::Tls12,
        (Some(2), _) => TlsVersions::Tls12And13,
        _ => TlsVersions::Tls13,
    }
}

/// The minor version in `field`: 2 or 3.
fn version(at: &Cursor<'_>, field: &Field<OneText>) -> Option<u8> {
    const NAMES: [&str; 4] = ["VersionTLS12", "VersionTLS13", "VersionTLS10", "VersionTLS11"];
    const HELP: &str = "write `VersionTLS12` or `VersionTLS13`";
    let at = at.get(field)?;
    let text = at.read()?;
    match NAMES.iter().position(|name| name.eq_ignore_ascii_case(&text)) {
        Some(0) => Some(2),
        Some(1) => Some(3),
        Some(_) => at.refuse(format!("{} is broken and not spoken", quote(&text)), HELP),
        None => {
            let help = suggest::did_you_mean(&text, NAMES);
            at.warning(format!("there is no version {}; this has no effect", quote(&text)))
                .help(help.unwrap_or_else(|| HELP.to_owned()));
            None
        }
    }
}

/// Those of TLS 1.2, where `versions` have it.
fn cipher_suites(at: &Cursor<'_>, versions: TlsVersions) -> Vec<CipherSuite> {
    let Some(at) = at.get(&tls_options::CIPHER_SUITES) else { return Vec::new() };
    let texts = at.read().unwrap_or_default();
    if versions == TlsVersions::Tls13 && !texts.is_empty() {
        at.key()
            .info("`cipherSuites` has no effect: those of TLS 1.3 cannot be chosen")
            .help("where TLS 1.2 is wanted, say `minVersion: VersionTLS12`");
        return Vec::new();
    }
    let written = texts.len();
    let mut suites = Vec::new();
    let names = CIPHER_SUITES.map(|(name, _)| name);
    for (text, at) in texts {
        match find(&text, &CIPHER_SUITES) {
            Some(suite) => suites.push(suite),
            None => at
                .warning(format!("{} is not spoken and left out", quote(&text)))
                .maybe_help(suggest::did_you_mean(&text, names)),
        }
    }
    if suites.is_empty() && written > 0 {
        let help = format!("there are {}", names.join(", "));
        at.error("none of these cipher suites is spoken").help(help);
    }
    suites
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
