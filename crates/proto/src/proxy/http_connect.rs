//! The CONNECT method: the request to an HTTP proxy, and its answer (RFC 9110 section 9.3.6, RFC 9112).

use base64::{Engine, prelude::BASE64_STANDARD};

use super::Target;
use crate::relay::Decoded;

/// The longest answer in bytes, interim ones included.
pub const MAX_REPLY: usize = 16 * 1024;

/// The beginning of every answer, without the minor version.
const START: &[u8] = b"HTTP/1.";

/// The shortest answer: a status line without a reason, and the empty line.
const SHORTEST: usize = b"HTTP/1.1 200\n\n".len();

/// The most authentication schemes of a [`Reply`].
pub const MAX_SCHEMES: usize = 8;

/// The most characters of [`Reply::line`].
const MAX_LINE: usize = 200;

/// A user and a password cannot be sent in a request. The configuration is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a user for an HTTP proxy has no colon, and neither user nor password a control character")]
pub struct CredentialsError;

/// The request to connect to `target`, with a user and a password if the proxy requires them (RFC 7617), and further
/// headers, which must be valid.
pub fn request(
    target: &Target,
    auth: Option<(&str, &str)>,
    headers: &[(String, String)],
) -> Result<Vec<u8>, CredentialsError> {
    let mut text = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some((user, password)) = auth {
        let control = |text: &str| text.chars().any(char::is_control);
        if user.contains(':') || control(user) || control(password) {
            return Err(CredentialsError);
        }
        let both = BASE64_STANDARD.encode(format!("{user}:{password}"));
        text.push_str(&format!("Proxy-Authorization: Basic {both}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    Ok(text.into_bytes())
}

/// The answer of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status, 200 to 999. With 200 to 299 the bytes after the answer are the target's.
    pub status: u16,
    /// The status line, cut after 200 characters, unprintable ones as `?`.
    pub line: String,
    /// The authentication schemes that the proxy offers (`Proxy-Authenticate`, `WWW-Authenticate`): each once, at most
    /// [`MAX_SCHEMES`], as the proxy writes them.
    pub schemes: Vec<String>,
}

impl Reply {
    /// Whether the proxy has connected to the target.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why bytes are no answer to CONNECT. The proxy is at fault, or the peer is no proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// It does not begin with a status line of HTTP/1; what it begins with, as [`Reply::line`].
    #[error("the answer is not HTTP/1: {0:?}")]
    NotHttp(String),
    /// It does not end within [`MAX_REPLY`] bytes.
    #[error("the head of the answer is longer than 16 KiB")]
    TooLong,
}

/// Reads the answer at the beginning of `bytes`, which may have only a part of it. Interim answers (100 to 199) before
/// it are skipped. At most [`MAX_REPLY`] bytes are asked for.
pub fn decode_reply(bytes: &[u8]) -> Result<Decoded<Reply>, ReplyError> {
    let mut start = 0;
    loop {
        let head = &bytes[start..];
        let begins = &head[..head.len().min(START.len())];
        if !START.starts_with(begins) {
            return Err(ReplyError::NotHttp(printable(first_line(head))));
        }
        let whole = head_len(head);
        if head.contains(&b'\n') {
            let line = first_line(head);
            let status = status(line).ok_or_else(|| ReplyError::NotHttp(printable(line)))?;
            if let Some(len) = whole {
                start += len;
                if start > MAX_REPLY {
                    return Err(ReplyError::TooLong);
                }
                if status < 200 {
                    continue;
                }
                let value = Reply { status, line: printable(line), schemes: schemes(&head[..len]) };
                return Ok(Decoded::Complete { value, len: start });
            }
        }
        let missing = missing(head);
        if bytes.len() >= MAX_REPLY {
            return Err(ReplyError::TooLong);
        }
        return Ok(Decoded::Incomplete { needed: (bytes.len() + missing).min(MAX_REPLY) });
    }
}

/// The least number of further bytes that a head with this beginning needs.
fn missing(head: &[u8]) -> usize {
    match head {
        // One byte only: bytes that are no answer may be no more.
        [] => 1,
        [.., b'\n'] | [.., b'\n', b'\r'] => 1,
        _ => SHORTEST.saturating_sub(head.len()).max(2),
    }
}

/// The length of a head: up to the empty line, that included. A line may end without a carriage return.
fn head_len(head: &[u8]) -> Option<usize> {
    let mut line_ends = (0..head.len()).filter(|at| head[*at] == b'\n');
    line_ends.find_map(|at| match head[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// The first line, without its end.
fn first_line(head: &[u8]) -> &[u8] {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The status of a status line: `HTTP/1.x`, a blank, three digits, and a blank and a reason or neither.
fn status(line: &[u8]) -> Option<u16> {
    let [minor, b' ', a, b, c, reason @ ..] = line.strip_prefix(START)? else { return None };
    let digits = [minor, a, b, c].iter().all(|byte| byte.is_ascii_digit());
    if !digits || !matches!(reason, [] | [b' ', ..]) || *a == b'0' {
        return None;
    }
    Some([a, b, c].iter().fold(0, |sum, digit| sum * 10 + u16::from(**digit - b'0')))
}

/// The schemes of all challenges in a head (RFC 9110 section 11.6.1): a scheme stands at the beginning of a value or
/// after a comma, and is no parameter, which has a `=`.
fn schemes(head: &[u8]) -> Vec<String> {
    let mut schemes: Vec<String> = Vec::new();
    for line in head.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let Some((name, value)) = line.split_once(':') else { continue };
        let names = ["proxy-authenticate", "www-authenticate"];
        if !names.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            continue;
        }
        for part in value.split(',') {
            let word = part.split_whitespace().next().unwrap_or_default();
            let is_scheme = word.starts_with(|c: char| c.is_ascii_alphabetic())
                && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
                && word.len() <= 32
                && !part.trim_start()[word.len()..].trim_start().starts_with('=');
            let is_known = schemes.iter().any(|known| known.eq_ignore_ascii_case(word));
            if is_scheme && !is_known && schemes.len() < MAX_SCHEMES {
                schemes.push(word.to_owned());
            }
        }
    }
    schemes
}

fn printable(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let shown = |c| if is_plain(c) { c } else { '?' };
    line.chars().take(MAX_LINE).map(shown).collect()
}

/// Printable ASCII, because a proxy's text is shown in logs and terminals.
fn is_plain(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(bytes: &[u8]) -> Result<(u16, String, usize), ReplyError> {
        match decode_reply(bytes)? {
            Decoded::Complete { value, len } => Ok((value.status, value.line, len)),
            Decoded::Incomplete { needed } => panic!("{needed} needed of {}", bytes.len()),
        }
    }

    #[test]
    fn offered_schemes_are_read() {
        let of = |headers: &str| {
            let reply = format!("HTTP/1.1 407 No\r\n{headers}\r\n");
            match decode_reply(reply.as_bytes()).unwrap() {
                Decoded::Complete { value, .. } => value.schemes.join(" "),
                Decoded::Incomplete { .. } => panic!("{reply}"),
            }
        };
        assert_eq!(
            of("Proxy-Authenticate: Negotiate\r\nproxy-authenticate: NTLM\r\n"),
            "Negotiate NTLM"
        );
        assert_eq!(
            of(
                "Proxy-Authenticate: Digest realm=\"a, b\", nonce=\"x\", qop = \"auth\", Basic realm=\"x\"\r\n"
            ),
            "Digest Basic"
        );
        assert_eq!(of("WWW-Authenticate: basic\r\nWWW-Authenticate: Basic\r\n"), "basic");
        assert_eq!(of("Server: Basic\r\nProxy-Authenticate:\r\n"), "");
        assert_eq!(of("Proxy-Authenticate: \u{1b}[31m, =, <b>\r\n"), "");
    }

    #[test]
    fn the_request_names_the_target_and_the_user() {
        let target: Target = "[2001:db8::1]:443".parse().unwrap();
        assert_eq!(
            request(&target, None, &[]).unwrap(),
            b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n"
        );
        // The example of RFC 7617 section 2.
        let text =
            request(&target, Some(("Aladdin", "open sesame")), &[("X-Site".into(), "7".into())])
                .unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.ends_with(
            "\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\nX-Site: 7\r\n\r\n"
        ));
        for bad in [("a:b", "c"), ("a\r\nb", "c"), ("a", "b\0")] {
            assert_eq!(request(&target, Some(bad), &[]), Err(CredentialsError));
        }
        assert!(request(&target, Some(("", "b:c")), &[]).is_ok());
    }

    #[test]
    fn bytes_after_the_head_are_left() {
        let head = b"HTTP/1.0 200 Connection established\r\nContent-Length: 7\r\n\r\n";
        let bytes = [&head[..], b"\n\nmore"].concat();
        let line = "HTTP/1.0 200 Connection established";
        assert_eq!(reply(&bytes), Ok((200, line.to_owned(), head.len())));
        assert_eq!(reply(b"HTTP/1.1 299\n\nx").unwrap().2, SHORTEST);
        let interim = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\n\r\nx";
        assert_eq!(reply(interim), Ok((200, "HTTP/1.1 200 OK".to_owned(), interim.len() - 1)));
    }

    #[test]
    fn a_refusal_is_printable() {
        let head = b"HTTP/1.1 407 \x1b[31mProxy\tAuthentication \xff\xc3\xa4\r\n\r\n";
        let (status, line, _) = reply(head).unwrap();
        assert_eq!((status, &*line), (407, "HTTP/1.1 407 ?[31mProxy?Authentication ??"));
        let long = format!("HTTP/1.1 502 {}\r\n\r\n", "a".repeat(1000));
        assert_eq!(reply(long.as_bytes()).unwrap().1.len(), MAX_LINE);
    }

    #[test]
    fn bytes_that_are_no_answer_are_refused_at_the_first_one() {
        for bytes in [&b"\x05\xff"[..], b"h", b"HTTP/2 200", b"\x15\x03\x01", b"SSH-2.0-x\r\n"] {
            assert!(matches!(decode_reply(bytes), Err(ReplyError::NotHttp(_))), "{bytes:?}");
        }
        for line in
            ["HTTP/1.1 20", "HTTP/1.1 2000", "HTTP/1.1  200", "HTTP/1.x 200", "HTTP/1.1 099"]
        {
            let bytes = format!("{line}\r\n");
            let expected = Err(ReplyError::NotHttp(line.to_owned()));
            assert_eq!(decode_reply(bytes.as_bytes()), expected);
        }
        let endless = [b"HTTP/1.1 200 OK\r\n".to_vec(), vec![b'a'; MAX_REPLY]].concat();
        assert_eq!(decode_reply(&endless), Err(ReplyError::TooLong));
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(MAX_REPLY / 25 + 1);
        assert_eq!(decode_reply(&interim), Err(ReplyError::TooLong));
    }
}
