//! Certificates and keys in PEM files, and what is there instead when there are none.

use std::path::Path;

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};

use super::error::TlsError;

/// The byte order mark of UTF-8 before a text.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// What is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PemItem {
    Certificate,
    Key,
}

/// The certificates in the text of a file, at least one, in its order.
pub(super) fn certificates(
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    is_pem(path, text, PemItem::Certificate)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(instead(path, text, PemItem::Certificate)),
        Ok(found) => Ok(found),
        Err(error) => Err(damaged(path, &error)),
    }
}

/// The first private key in the text of a file.
pub(super) fn private_key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    is_pem(path, text, PemItem::Key)?;
    let lines = String::from_utf8_lossy(text);
    if labels(text).any(|label| label == "ENCRYPTED PRIVATE KEY")
        || lines.lines().any(|line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED"))
    {
        return Err(unusable(
            path,
            "the key is encrypted with a passphrase, for which nobody is asked",
            format!("`openssl pkey -in {} -out NEW.pem` writes it without", path.display()),
        ));
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => instead(path, text, PemItem::Key),
        error => damaged(path, &error),
    })
}

/// A file with something wrong, and what mends it.
pub(super) fn unusable(
    path: &Path,
    reason: impl Into<String>,
    mend: impl Into<String>,
) -> TlsError {
    TlsError::Unusable { path: path.into(), reason: reason.into(), mend: mend.into() }
}

fn damaged(path: &Path, error: &pem::Error) -> TlsError {
    unusable(
        path,
        format!("is damaged: {error}"),
        "copy it again: an entry is a BEGIN line, lines of base64, and an END line",
    )
}

/// Refuses what is in another form.
fn is_pem(path: &Path, text: &[u8], wanted: PemItem) -> Result<(), TlsError> {
    let file = path.display();
    let (command, what) = match wanted {
        PemItem::Certificate => ("x509", "certificate"),
        PemItem::Key => ("pkey", "key"),
    };
    match *text {
        [] => Err(unusable(path, "is empty", format!("put the {what} there in PEM form"))),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Err(unusable(
            path,
            "is UTF-16 text, not PEM",
            format!("`iconv -f UTF-16 -t ASCII {file} > NEW.pem` converts it"),
        )),
        _ if text.starts_with(BOM) => Err(unusable(
            path,
            "begins with a byte order mark (BOM), which hides its first entry",
            format!("`sed -i '1s/^\\xef\\xbb\\xbf//' {file}` removes it"),
        )),
        // A sequence, which is how everything in DER begins; of PKCS #12 version 3 follows.
        [0x30, length, ..] if length >= 0x80 || usize::from(length) + 2 == text.len() => {
            let start = if length >= 0x80 { 2 + usize::from(length & 0x7f) } else { 2 };
            let is_archive = text.get(start..start + 3) == Some(&[2, 1, 3]);
            Err(match is_archive {
                true => unusable(
                    path,
                    "is a PKCS #12 archive, not PEM",
                    format!("`openssl pkcs12 -in {file} -nodes -out NEW.pem` converts it"),
                ),
                false => unusable(
                    path,
                    "is in DER form, not PEM",
                    format!("`openssl {command} -inform DER -in {file} -out NEW.pem` converts it"),
                ),
            })
        }
        _ => Ok(()),
    }
}

/// What a PEM file holds in place of what is looked for.
fn instead(path: &Path, text: &[u8], wanted: PemItem) -> TlsError {
    let file = path.display();
    let has = |part: &str| labels(text).any(|label| label.contains(part));
    let is = |whole: &str| labels(text).any(|label| label == whole);
    let (reason, mend) = match wanted {
        PemItem::Key if is("OPENSSH PRIVATE KEY") => (
            "holds a key in OpenSSH's own form",
            format!("`ssh-keygen -p -m PKCS8 -f {file}` converts it in place"),
        ),
        PemItem::Key if is("CERTIFICATE") => (
            "holds a certificate, but no private key",
            "name the file with its key (`keyFile`)".into(),
        ),
        PemItem::Key if has("PUBLIC KEY") => {
            ("holds a public key only", "name the file with the private key".into())
        }
        PemItem::Key => (
            "holds no private key in PEM form",
            "it has a line `-----BEGIN PRIVATE KEY-----`".into(),
        ),
        PemItem::Certificate if has("CERTIFICATE REQUEST") => (
            "holds a request for a certificate, not the certificate",
            "have an authority sign it, and name the file that comes back".into(),
        ),
        PemItem::Certificate if is("TRUSTED CERTIFICATE") => (
            "holds a certificate in OpenSSL's own form",
            format!("`openssl x509 -in {file} -out NEW.pem` converts it"),
        ),
        PemItem::Certificate if is("PKCS7") || is("CMS") => (
            "holds certificates in PKCS #7 form",
            format!("`openssl pkcs7 -print_certs -in {file} -out NEW.pem` converts it"),
        ),
        PemItem::Certificate if has("PRIVATE KEY") => (
            "holds a private key, but no certificate",
            "name the file with the certificate (`certFile`)".into(),
        ),
        PemItem::Certificate => (
            "holds no certificate in PEM form",
            "it has a line `-----BEGIN CERTIFICATE-----`".into(),
        ),
    };
    unusable(path, reason, mend)
}

/// What each entry is called.
fn labels(text: &[u8]) -> impl Iterator<Item = &str> {
    text.split(|byte| matches!(byte, b'\n' | b'\r')).filter_map(|line| {
        let line = std::str::from_utf8(line).ok()?.trim();
        line.strip_prefix("-----BEGIN ")?.strip_suffix("-----")
    })
}
