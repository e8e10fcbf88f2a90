//! The name a host reports to its hub.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

/// A host's name: 1 to 255 bytes of printable text without blanks, compared exactly (case matters).
///
/// GOST writes it as the forwarder's node address on the host and as a route's `gateway` on the hub. A packet is
/// delivered if the two are equal byte for byte. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Arc<str>);

/// Why a text cannot be a host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostNameError {
    /// No byte.
    #[error("a host name needs at least one character")]
    Empty,
    /// More than 255 bytes: the wire has one byte for the length.
    #[error("a host name has at most 255 bytes, this one has {0}")]
    TooLong(usize),
    /// A blank, a control character or another unprintable one.
    #[error("a host name has no blanks or control characters, this one has {0:?}")]
    Unprintable(char),
}

impl HostName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 255;

    /// Checks `text` and makes it a name.
    pub fn new(text: &str) -> Result<Self, HostNameError> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }

    /// Whether `text` could be a name.
    pub fn check(text: &str) -> Result<(), HostNameError> {
        if text.is_empty() {
            return Err(HostNameError::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(HostNameError::TooLong(text.len()));
        }
        match text.chars().find(|c| c.is_whitespace() || c.is_control() || is_invisible(*c)) {
            Some(c) => Err(HostNameError::Unprintable(c)),
            None => Ok(()),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Format characters that reorder or hide text in a terminal or a log.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_gost_hosts_report() {
        for text in ["host-1", "a", "fd00:64::7", "10.1.2.3", "Büro.example", &"x".repeat(255)] {
            assert_eq!(HostName::new(text).map(|n| n.as_str().to_owned()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn refuses_what_would_confuse_logs_or_the_wire() {
        assert_eq!(HostName::new(""), Err(HostNameError::Empty));
        assert_eq!(HostName::new(&"x".repeat(256)), Err(HostNameError::TooLong(256)));
        for text in ["a b", "a\n", "\u{1b}[31m", "a\u{202e}b", "\u{7f}"] {
            assert!(matches!(HostName::new(text), Err(HostNameError::Unprintable(_))), "{text:?}");
        }
    }
}
