//! The identity of a namespace.

use std::{fmt, str::FromStr};

/// The isolated network that a host joins: a UUID, all zero if the host names none.
///
/// GOST calls it `router.id` on the host and the router's `name` on the hub. Only the 16 bytes of the UUID count; the four
/// bytes after them on the wire do not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct NamespaceId([u8; 16]);

/// The text is not a UUID in any accepted spelling.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID: expected 32 hexadecimal digits, as in e87f56dd-fd57-4921-9ab8-a0847662daae")]
pub struct NamespaceIdError;

impl NamespaceId {
    /// The default namespace: hosts without a `router.id`.
    pub const DEFAULT: Self = Self([0; 16]);

    /// The id with these bytes, in network order.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes, in network order.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether this is [`NamespaceId::DEFAULT`].
    pub fn is_default(&self) -> bool {
        *self == Self::DEFAULT
    }
}

/// Accepts the spellings of google/uuid, which GOST uses: with dashes, bare 32 digits, in braces, or after
/// `urn:uuid:`; upper and lower case.
impl FromStr for NamespaceId {
    type Err = NamespaceIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = match text.len() {
            32 => text.to_owned(),
            36 => without_dashes(text)?,
            38 if text.starts_with('{') && text.ends_with('}') => {
                without_dashes(text.get(1..37).ok_or(NamespaceIdError)?)?
            }
            45 if text.get(..9).is_some_and(|p| p.eq_ignore_ascii_case("urn:uuid:")) => {
                without_dashes(text.get(9..).ok_or(NamespaceIdError)?)?
            }
            _ => return Err(NamespaceIdError),
        };
        if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NamespaceIdError);
        }
        u128::from_str_radix(&digits, 16)
            .map(|n| Self(n.to_be_bytes()))
            .map_err(|_| NamespaceIdError)
    }
}

fn without_dashes(text: &str) -> Result<String, NamespaceIdError> {
    let dashes_in_place =
        text.bytes().enumerate().all(|(i, b)| (b == b'-') == matches!(i, 8 | 13 | 18 | 23));
    if dashes_in_place { Ok(text.replace('-', "")) } else { Err(NamespaceIdError) }
}

impl fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "e87f56dd-fd57-4921-9ab8-a0847662daae";

    #[test]
    fn every_spelling_of_one_uuid_is_one_namespace() {
        let id: NamespaceId = TEXT.parse().unwrap();
        for spelling in [
            "E87F56DD-FD57-4921-9AB8-A0847662DAAE",
            "e87f56ddfd5749219ab8a0847662daae",
            "{e87f56dd-fd57-4921-9ab8-a0847662daae}",
            "urn:uuid:e87f56dd-fd57-4921-9ab8-a0847662daae",
        ] {
            assert_eq!(spelling.parse(), Ok(id), "{spelling}");
        }
        assert_eq!(id.to_string(), TEXT);
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "router-0",
            "e87f56dd-fd57-4921-9ab8-a0847662daa",
            "e87f56ddfd57-4921-9ab8-a0847662daae-",
            "+87f56ddfd5749219ab8a0847662daae",
            "(e87f56dd-fd57-4921-9ab8-a0847662daae)",
            "{é7f56dd-fd57-4921-9ab8-a0847662daaee}",
        ] {
            assert_eq!(text.parse::<NamespaceId>(), Err(NamespaceIdError), "{text}");
        }
    }
}
