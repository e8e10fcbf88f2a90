//! The entries of an admission's list: addresses, prefixes and names.

use ipnet::IpNet;

use crate::{parse_prefix, unmapped};

/// An entry of an admission's list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Matcher {
    /// An address or prefix, host bits cleared.
    Prefix(IpNet),
    /// A name, resolved when the list is read.
    Name(String),
}

/// The text is no address, no prefix, and no name that could be resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is neither an address nor a prefix nor a name; write for example 192.0.2.7, 10.1.0.0/16 or gate.example.org"
)]
pub struct MatcherError;

/// The longest name (RFC 1035 section 2.3.4, without the outer length bytes).
const MAX_NAME: usize = 253;

impl Matcher {
    /// Reads an address, a prefix or a name.
    ///
    /// A name consists of letters, digits, `-`, `_` and `.`, and its last label is not a number (RFC 1123 section 2.1), so
    /// that a mistyped address is not read as a name.
    pub fn parse(text: &str) -> Result<Self, MatcherError> {
        if let Some(net) = parse_prefix(text) {
            return Ok(Self::Prefix(unmapped(net).trunc()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let last = name.rsplit('.').next().unwrap_or_default();
        let right = name.len() <= MAX_NAME
            && name.split('.').all(is_label)
            && !last.bytes().all(|b| b.is_ascii_digit());
        if right { Ok(Self::Name(name.to_owned())) } else { Err(MatcherError) }
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_prefixes_and_names_are_told_apart() {
        for (text, expected) in [
            ("192.0.2.7", Some("192.0.2.7/32")),
            ("10.1.2.3/16", Some("10.1.0.0/16")),
            ("::ffff:10.1.2.3", Some("10.1.2.3/32")),
            ("2001:db8::/32", Some("2001:db8::/32")),
            ("gate.example.org", None),
            ("gate.example.org.", None),
            ("localhost", None),
        ] {
            match (Matcher::parse(text), expected) {
                (Ok(Matcher::Prefix(net)), Some(prefix)) => assert_eq!(net.to_string(), prefix),
                (Ok(Matcher::Name(name)), None) => assert_eq!(name, text.trim_end_matches('.')),
                other => panic!("{text}: {other:?}"),
            }
        }
        for text in ["", ".", "10.0.0.300", "10.0.0.0/33", "a b", "a..b", "1.2.3.4:80", "-/8", "é"]
        {
            assert_eq!(Matcher::parse(text), Err(MatcherError), "{text:?}");
        }
    }
}
