//! The HTTP/1.1 exchange that begins a WebSocket (RFC 6455 section 4): requests and responses as text, checked.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rtun_settings::{HttpHeader, WebSocketSettings};

use super::WsError;
use crate::{
    forwarded::Forwarded,
    http_text::{encode_path, shown},
    names::without_zone,
};

/// The longest request or response head in bytes; a longer one is refused.
pub const HEAD_MAX: usize = 8 * 1024;

/// The most headers of a request or response; one with more is refused.
pub const HEADERS_MAX: usize = 100;

/// Headers that are this exchange's own.
const OWN_HEADERS: [&str; 6] = [
    "connection",
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
];

/// A random text that the server has to know to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradeKey(String);

impl UpgradeKey {
    /// Of 16 random bytes.
    pub fn new(nonce: [u8; 16]) -> Self {
        Self(STANDARD.encode(nonce))
    }

    fn accept(&self) -> String {
        accept(self.0.as_bytes())
    }
}

/// Where in `bytes` a head ends, looking from `from` on only; before were fewer.
pub(super) fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let from = from.saturating_sub(3);
    let ends = |at: &usize| bytes[..*at].ends_with(b"\n\r\n") || bytes[..*at].ends_with(b"\n\n");
    (from..=bytes.len()).find(ends)
}

/// A client's request to a server reached at `addr`, `host:port`. A configured `Host` header takes the place of the host; the
/// upgrade's own headers are refused.
pub fn request(
    settings: &WebSocketSettings,
    addr: &str,
    key: &UpgradeKey,
) -> Result<Vec<u8>, WsError> {
    let host = settings.host.clone().unwrap_or_else(|| without_zone(addr));
    let mut host = host.as_str();
    let others = lines(settings.headers.iter().filter(|header| !is_host(header)))?;
    if let Some(header) = settings.headers.iter().rfind(|header| is_host(header)) {
        host = header.value.expose();
    }
    if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(WsError::BadHeader { name: "Host".to_owned(), why: "is no host" });
    }
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{others}\r\n",
        path = encode_path(&settings.path),
        key = key.0,
    );
    if head.len() > HEAD_MAX {
        return Err(WsError::HeadTooLong);
    }
    Ok(head.into_bytes())
}

fn is_host(header: &HttpHeader) -> bool {
    header.name.eq_ignore_ascii_case("host")
}

/// Configured headers as lines of a head; the upgrade's own are refused.
fn lines<'a>(headers: impl Iterator<Item = &'a HttpHeader>) -> Result<String, WsError> {
    let mut lines = String::new();
    for HttpHeader { name, value } in headers {
        let value = value.expose();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(WsError::BadHeader { name: name.clone(), why: "is no header name" });
        }
        if value.chars().any(char::is_control) {
            return Err(WsError::BadHeader { name: name.clone(), why: "has a control character" });
        }
        if OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            return Err(WsError::BadHeader { name: name.clone(), why: "is the upgrade's own" });
        }
        let _ = write!(lines, "{name}: {value}\r\n");
    }
    Ok(lines)
}

/// What a server answers to a request that it takes, with the configured headers, and what the request says of its client. The
/// configured path is all below it when it ends with a slash.
pub fn answer(head: &[u8], settings: &WebSocketSettings) -> Result<(String, Forwarded), WsError> {
    let pattern = settings.path.as_str();
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(WsError::BadRequest("is not whole")),
        Err(error) => return Err(WsError::NotHttp(error)),
    }
    let path = decode_path(path_of(request.path.unwrap_or_default()));
    let is_below = pattern.ends_with('/') && path.starts_with(pattern.as_bytes());
    if path != pattern.as_bytes() && !is_below {
        return Err(WsError::WrongPath(shown(&path)));
    }
    let headers = UpgradeHeaders(request.headers);
    if request.method != Some("GET") || request.version != Some(1) {
        return Err(WsError::BadRequest("is not a GET of HTTP/1.1"));
    }
    if headers.value("host").is_none() {
        return Err(WsError::BadRequest("has no Host header"));
    }
    if !headers.has_token("connection", "upgrade") || !headers.has_token("upgrade", "websocket") {
        return Err(WsError::BadRequest("asks for no WebSocket"));
    }
    if headers.value("sec-websocket-version") != Some(b"13") {
        return Err(WsError::BadRequest("asks for another version of WebSocket than 13"));
    }
    let key = headers.value("sec-websocket-key").unwrap_or_default();
    if !STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) {
        return Err(WsError::BadRequest("has no Sec-WebSocket-Key of 16 bytes"));
    }
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n{}\r\n",
        accept(key),
        lines(settings.headers.iter())?
    );
    Ok((response, Forwarded::of(headers.0.iter().map(|header| (header.name, header.value)))))
}

/// What a server answers to a request that it does not take; nothing where nobody would read it.
pub fn refusal(error: &WsError) -> Option<&'static str> {
    Some(match error {
        WsError::WrongPath(_) => {
            "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 10\r\nConnection: close\r\n\r\nNot Found\n"
        }
        WsError::BadRequest(_) | WsError::NotHttp(_) | WsError::HeadTooLong => {
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 12\r\nConnection: close\r\nSec-WebSocket-Version: 13\r\n\r\nBad Request\n"
        }
        _ => return None,
    })
}

/// Whether a server's response to the request with `key` begins a WebSocket.
pub fn check(head: &[u8], key: &UpgradeKey) -> Result<(), WsError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(WsError::BadResponse("is not whole")),
        Err(error) => return Err(WsError::NotHttp(error)),
    }
    let status = response.code.unwrap_or_default();
    if status != 101 {
        let reason = shown(response.reason.unwrap_or_default().as_bytes());
        return Err(WsError::Refused { status, reason });
    }
    let headers = UpgradeHeaders(response.headers);
    if !headers.has_token("connection", "upgrade") || !headers.has_token("upgrade", "websocket") {
        return Err(WsError::BadResponse("upgrades to no WebSocket"));
    }
    if headers.value("sec-websocket-accept") != Some(key.accept().as_bytes()) {
        return Err(WsError::BadResponse("has the wrong Sec-WebSocket-Accept"));
    }
    if headers.value("sec-websocket-extensions").is_some_and(|value| !value.is_empty()) {
        return Err(WsError::BadResponse("has an extension that nobody asked for"));
    }
    Ok(())
}

/// The headers of a request or response.
struct UpgradeHeaders<'a>(&'a [httparse::Header<'a>]);

impl<'a> UpgradeHeaders<'a> {
    fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value.trim_ascii())
    }

    fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    /// Whether a list has a word, in any case.
    fn has_token(&self, name: &str, token: &str) -> bool {
        let mut tokens = self.values(name).flat_map(|value| value.split(|byte| *byte == b','));
        tokens.any(|found| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }
}

fn accept(key: &[u8]) -> String {
    let magic = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, magic].concat()))
}

/// The path of a request target, which may be a whole URL (RFC 9112 section 3.2.2).
fn path_of(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    path.split('?').next().unwrap_or_default()
}

fn decode_path(path: &str) -> Vec<u8> {
    let hex = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let path = path.as_bytes();
    let mut decoded = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        let value = hex(path.get(at + 1)).zip(hex(path.get(at + 2)));
        match value.filter(|_| byte == b'%') {
            Some((high, low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            None => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtun_settings::Secret;

    use super::*;

    const ADDR: &str = "hub.example:443";

    fn with_header(name: &str, value: &str) -> WebSocketSettings {
        let header = HttpHeader { name: name.to_owned(), value: Secret::new(value) };
        WebSocketSettings { headers: vec![header], ..WebSocketSettings::default() }
    }

    fn at(path: &str) -> WebSocketSettings {
        WebSocketSettings { path: path.to_owned(), ..WebSocketSettings::default() }
    }

    fn sample_key() -> UpgradeKey {
        UpgradeKey("dGhlIHNhbXBsZSBub25jZQ==".to_owned())
    }

    const REQUEST: &str = "GET /ws HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn answered(head: &str) -> String {
        match answer(head.as_bytes(), &at("/ws")) {
            Ok((response, _)) => response,
            Err(error) => refusal(&error).unwrap().to_owned(),
        }
    }

    /// RFC 6455 section 1.3.
    #[test]
    fn the_standards_example_is_answered_and_checked() {
        let response = answered(REQUEST);
        assert!(response.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        check(response.as_bytes(), &sample_key()).unwrap();
        check(response.as_bytes(), &UpgradeKey::new([1; 16])).unwrap_err();
    }

    #[test]
    fn ones_own_request_is_taken() {
        let own = with_header("X-Real-Ip", "1.2.3.4");
        let key = UpgradeKey::new([7; 16]);
        let request = request(&own, ADDR, &key).unwrap();
        assert_eq!(head_end(&request, 0), Some(request.len()));
        let (response, forwarded) = answer(&request, &at("/ws")).unwrap();
        check(response.as_bytes(), &key).unwrap();
        assert_eq!(forwarded.client(), Some("1.2.3.4".parse().unwrap()));
    }

    #[test]
    fn an_answer_has_the_configured_headers() {
        let (response, _) = answer(REQUEST.as_bytes(), &with_header("Server", "nginx")).unwrap();
        assert!(response.ends_with("\r\nServer: nginx\r\n\r\n"), "{response}");
        check(response.as_bytes(), &sample_key()).unwrap();
        let refused = answer(REQUEST.as_bytes(), &with_header("Connection", "close"));
        assert!(matches!(refused, Err(WsError::BadHeader { .. })));
    }

    #[test]
    fn what_is_no_upgrade_is_refused_with_400_and_other_paths_with_404() {
        for (from, to, status) in [
            ("GET", "POST", 400),
            ("HTTP/1.1", "HTTP/1.0", 400),
            ("HTTP/1.1", "HTTP/2.0", 400),
            ("Host: hub\r\n", "", 400),
            ("Upgrade: websocket", "Upgrade: h2c", 400),
            ("Connection: Upgrade", "Connection: keep-alive", 400),
            ("Version: 13", "Version: 8", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "no base64, no base64", 400),
            ("Host: hub", "Host hub", 400),
            ("/ws", "/", 404),
            ("/ws", "/ws/", 404),
            ("/ws", "/wss", 404),
            ("/ws", "*", 404),
            ("Connection: Upgrade", "connection: keep-alive, upgrade", 101),
            ("Upgrade: websocket", "Upgrade: h2c, WebSocket", 101),
            ("/ws", "/ws?ed=2048", 101),
            ("/ws", "/%77s", 101),
            ("/ws", "http://hub/ws", 101),
        ] {
            let response = answered(&REQUEST.replace(from, to));
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{to}: {response}");
        }
        let many = REQUEST.replace("Host", &"A: b\r\n".repeat(HEADERS_MAX));
        assert!(answered(&many).starts_with("HTTP/1.1 400 "));
    }

    #[test]
    fn refusals_have_the_length_they_claim() {
        for error in [WsError::WrongPath(String::new()), WsError::HeadTooLong] {
            let (head, body) = refusal(&error).unwrap().split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        }
    }

    #[test]
    fn a_pattern_with_a_slash_at_its_end_takes_all_below() {
        for (pattern, path, taken) in [
            ("/", "/any/thing", true),
            ("/tunnel/", "/tunnel/", true),
            ("/tunnel/", "/tunnel/x", true),
            ("/tunnel/", "/tunnel", false),
            ("/ü", "/%c3%bc", true),
        ] {
            let request = REQUEST.replace("/ws", path);
            assert_eq!(answer(request.as_bytes(), &at(pattern)).is_ok(), taken, "{pattern} {path}");
        }
    }

    #[test]
    fn responses_that_begin_no_websocket_are_refused_with_the_reason() {
        let good = answered(REQUEST);
        for (from, to, expected) in [
            ("101 Switching Protocols", "403 Forb\u{80}dden", "403"),
            ("Upgrade: websocket\r\n", "", "upgrades to no WebSocket"),
            ("Connection: Upgrade\r\n", "", "upgrades to no WebSocket"),
            ("s3pP", "S3pP", "wrong Sec-WebSocket-Accept"),
            ("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", "extension"),
            ("HTTP/1.1", "SSH-2.0", "HTTP"),
        ] {
            let error = check(good.replacen(from, to, 1).as_bytes(), &sample_key()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn headers_that_would_change_the_request_are_refused() {
        for (name, value) in [
            ("A", "b\r\nC: d"),
            ("A: b\r\nC", "d"),
            ("", "b"),
            ("upgrade", "h2c"),
            ("Sec-WebSocket-Key", "mine"),
            ("Host", "a b"),
        ] {
            let error = request(&with_header(name, value), ADDR, &sample_key());
            assert!(matches!(error, Err(WsError::BadHeader { .. })), "{name}: {value}");
        }
        let head = request(&with_header("host", "front.example"), ADDR, &sample_key()).unwrap();
        let head = String::from_utf8(head).unwrap();
        assert!(head.contains("\r\nHost: front.example\r\n"), "{head}");
        assert!(!head.contains("hub.example"), "{head}");
    }

    proptest! {
        #[test]
        fn a_path_survives_the_request(path in "/\\PC{0,20}") {
            let own = at(&path);
            let head = request(&own, ADDR, &sample_key()).unwrap();
            prop_assert!(answer(&head, &own).is_ok());
        }

        #[test]
        fn a_head_ends_where_it_ends_however_it_comes(
            text in "[a\r\n]{0,20}", cut in 0_usize..20,
        ) {
            let bytes = text.as_bytes();
            let slow = (0..=bytes.len())
                .find(|at| text[..*at].ends_with("\n\r\n") || text[..*at].ends_with("\n\n"));
            let cut = cut.min(bytes.len());
            let found = head_end(&bytes[..cut], 0).or_else(|| head_end(bytes, cut));
            prop_assert_eq!(found, slow);
        }
    }
}
