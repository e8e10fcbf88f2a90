//! Reads text in the encodings that editors write, and finds characters that a reader would not see.

use std::fmt;

/// The byte order mark, as a character.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads bytes as text: UTF-8 with or without a byte order mark, or UTF-16 in either byte order with one. The
/// byte order mark is not part of the text. Line ends stay unchanged.
///
/// # Errors
///
/// [`NotText`] for bytes that are neither.
pub fn decode(mut bytes: Vec<u8>) -> Result<String, NotText> {
    match *bytes {
        [0xff, 0xfe, ..] => decode_utf16(&bytes[2..], u16::from_le_bytes),
        [0xfe, 0xff, ..] => decode_utf16(&bytes[2..], u16::from_be_bytes),
        _ => {
            if bytes.starts_with("\u{feff}".as_bytes()) {
                bytes.drain(..BYTE_ORDER_MARK.len_utf8());
            }
            String::from_utf8(bytes).map_err(|error| {
                let valid = error.utf8_error().valid_up_to();
                let before = String::from_utf8_lossy(&error.as_bytes()[..valid]);
                NotText::after(&before, Encoding::Utf8)
            })
        }
    }
}

fn decode_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, NotText> {
    let (pairs, rest) = bytes.as_chunks();
    let mut text = String::with_capacity(pairs.len());
    for decoded in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        match decoded {
            Ok(c) => text.push(c),
            Err(_) => return Err(NotText::after(&text, Encoding::Utf16)),
        }
    }
    if rest.is_empty() { Ok(text) } else { Err(NotText::after(&text, Encoding::Utf16)) }
}

/// Bytes that are not text, and the position of the first wrong one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotText {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    encoding: Encoding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16,
}

impl NotText {
    fn after(before: &str, encoding: Encoding) -> Self {
        let last = before.rsplit('\n').next().unwrap_or_default();
        let number = |count: usize| u32::try_from(count + 1).unwrap_or(u32::MAX);
        let lines = before.matches('\n').count();
        Self { line: number(lines), column: number(last.chars().count()), encoding }
    }
}

impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoding = match self.encoding {
            Encoding::Utf8 => "UTF-8 text; save it as UTF-8, or as UTF-16 with a byte order mark",
            Encoding::Utf16 => {
                "the UTF-16 text that its byte order mark announces; save it as UTF-8"
            }
        };
        write!(f, "is not {encoding}")
    }
}

impl std::error::Error for NotText {}

/// Whether a terminal would not show a character as itself: control characters, and those that hide, join, reorder or
/// annotate others.
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | BYTE_ORDER_MARK
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "alice s3cret\r\nbüb \u{1f511}\n";

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(bytes).collect()
    }

    #[test]
    fn one_text_in_every_encoding() {
        for bytes in [
            TEXT.as_bytes().to_vec(),
            ["\u{feff}".as_bytes(), TEXT.as_bytes()].concat(),
            utf16(TEXT, u16::to_le_bytes),
            utf16(TEXT, u16::to_be_bytes),
        ] {
            assert_eq!(decode(bytes).unwrap(), TEXT);
        }
        assert_eq!(decode(Vec::new()).unwrap(), "");
        // Only the first one is a byte order mark.
        assert_eq!(decode("\u{feff}\u{feff}a".into()).unwrap(), "\u{feff}a");
    }

    #[test]
    fn an_error_has_its_position() {
        let error = decode(b"a\nb\xe9c\n".to_vec()).unwrap_err();
        assert_eq!((error.line, error.column), (2, 2));
        assert!(error.to_string().contains("UTF-8"), "{error}");
        let mut bytes = utf16("ab\nc", u16::to_le_bytes);
        bytes.push(b'x');
        let error = decode(bytes).unwrap_err();
        assert_eq!((error.line, error.column), (2, 2));
        let half = decode(vec![0xfe, 0xff, 0, b'a', 0xd8, 0]).unwrap_err();
        assert_eq!((half.line, half.column), (1, 2));
        assert!(half.to_string().contains("UTF-16"), "{half}");
    }

    #[test]
    fn invisible_characters_are_found() {
        for c in "\u{1b}\n\u{7f}\u{9b}\u{ad}\u{61c}\u{180e}\u{200b}\u{200e}\u{202e}\u{2066}\u{feff}\u{fff9}\u{fffb}\u{e0000}\u{e007f}".chars() {
            assert!(is_invisible(c), "{c:?}");
        }
        for c in "a ä字\u{e0100}\u{fffd}\u{1f511}".chars() {
            assert!(!is_invisible(c), "{c:?}");
        }
    }
}
