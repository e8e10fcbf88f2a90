//! Texts of HTTP: paths as requests carry them, and what a peer has said, safe to log.

use std::fmt::Write as _;

/// A path as a request carries it, like GOST's: what is not for a path is percent-encoded.
pub(crate) fn encode_path(path: &str) -> String {
    let mut encoded = String::new();
    if !path.starts_with('/') {
        encoded.push('/');
    }
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte) {
            encoded.push(byte.into());
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The beginning of a text from an unauthenticated peer, safe to log.
pub(crate) fn shown(text: &[u8]) -> String {
    text[..text.len().min(64)].escape_ascii().to_string()
}
