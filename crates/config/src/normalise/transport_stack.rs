//! What carries the bytes, by the type and metadata of a listener or dialer.

use std::ops::RangeInclusive;

use crate::{
    coerce,
    location::quote,
    report::At,
    schema::{
        Field, Headers, Int, OneText, grpc, grpc_dialer, http2, http2_dialer, listener_tls, mux,
        quic, tls_options, web_socket, ws_dialer,
    },
    value::{Cursor, Data},
};
use rtun_settings::{
    CongestionControl, GrpcSettings, Http2Settings, HttpHeader, MuxSettings, MuxVersion,
    QuicSettings, Secret, TlsVersions, TransportStack, WebSocketSettings,
};

use super::choice::one_of;

/// Most bytes of smux's buffers: 4 GiB is what a window can say.
const MAX_BUFFER: i64 = u32::MAX as i64;
/// Streams that QUIC may have.
const STREAMS: RangeInclusive<i64> = 1..=1 << 20;
/// What may decide how fast QUIC sends.
const CONTROLLERS: [(&str, CongestionControl); 4] = [
    ("adaptive", CongestionControl::Adaptive),
    ("cubic", CongestionControl::Cubic),
    ("bbr", CongestionControl::Bbr),
    ("newreno", CongestionControl::NewReno),
];
/// Most headers of one request.
const MAX_HEADERS: usize = 64;

/// For what is no name to ask for.
const AUTHORITY_HELP: &str = "write for example `hub.example` or `hub.example:8443`";

/// Which end is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Listener,
    Dialer,
}

/// Reads a listener or dialer of a supported type.
pub(super) struct StackReader<'a> {
    pub(super) name: &'a str,
    pub(super) side: Side,
    /// The listener or dialer.
    pub(super) at: &'a Cursor<'a>,
}

/// How a transport that does not encrypt is written so that it does.
pub(crate) fn encrypted_form(name: &str) -> &'static str {
    match name {
        "ws" => "`type: wss`",
        "mtcp" => "`type: mtls`",
        "mws" => "`type: mwss`",
        "h2c" => "`type: h2`",
        "grpc" => "`grpc.insecure: false`",
        _ => "`type: tls`",
    }
}

impl StackReader<'_> {
    /// A number within `range`, `None` if it is zero or less. One beyond it is reported, and the nearest stands for it.
    fn number(&self, field: &Field<Int>, range: RangeInclusive<i64>) -> Option<i64> {
        let number = self.at.read(field).filter(|number| *number > 0)?;
        let (least, most) = range.into_inner();
        if number < least || number > most {
            let message = format!("{number} is not in {least} to {most}");
            self.at.place_of(field).error(message);
        }
        Some(number.clamp(least, most))
    }

    /// The same, or its default, in bytes.
    fn bytes<T: TryFrom<i64> + Default>(&self, field: &Field<Int>, most: i64) -> T {
        let number = self.number(field, 1..=most).unwrap_or_else(|| field.default());
        T::try_from(number).unwrap_or_default()
    }

    /// Whether TLS is part of it.
    pub(super) fn is_encrypted(&self) -> bool {
        match self.name {
            "tls" | "wss" | "mtls" | "mwss" | "quic" | "h2" => true,
            "grpc" => !self.at.or_default(&grpc::INSECURE),
            _ => false,
        }
    }

    /// QUIC has no TLS but 1.3 (RFC 9001 section 4.2).
    pub(super) fn check_versions(&self, versions: TlsVersions, tls: &Cursor<'_>) {
        if self.name == "quic" && versions == TlsVersions::Tls12 {
            let options = tls.object(&listener_tls::OPTIONS);
            let place = options.place_of(&tls_options::MAX_VERSION);
            place.error("`quic` needs TLS 1.3").help("remove `maxVersion`");
        }
    }

    /// The layers, with `tls` if it is encrypted.
    pub(super) fn stack<T>(&self, tls: Option<T>) -> Option<TransportStack<T>> {
        Some(match self.name {
            "quic" => TransportStack::Quic { tls: tls?, quic: self.quic() },
            "h2" | "h2c" => TransportStack::Http2 { tls, http: self.http2() },
            "grpc" => TransportStack::Grpc { tls, grpc: self.grpc() },
            name => {
                let is_ws = matches!(name, "ws" | "wss" | "mws" | "mwss");
                let is_mux = matches!(name, "mtcp" | "mtls" | "mws" | "mwss");
                let ws = is_ws.then(|| self.web_socket());
                TransportStack::Tcp { tls, ws, mux: is_mux.then(|| self.mux()) }
            }
        })
    }

    fn web_socket(&self) -> WebSocketSettings {
        let (headers, host_header) = self.headers(&web_socket::HEADER);
        let pings = self.side == Side::Dialer && self.at.or_default(&ws_dialer::KEEPALIVE);
        WebSocketSettings {
            path: self.path(&web_socket::PATH).unwrap_or_else(|| web_socket::PATH.default()),
            // As in GOST a header of that name counts more than the key.
            host: host_header.or(self.host(&ws_dialer::HOST)),
            headers,
            ping_every: pings.then(|| self.at.or_default(&ws_dialer::TTL)),
        }
    }

    fn mux(&self) -> MuxSettings {
        self.check_mux_type();
        let version = match self.number(&mux::VERSION, 1..=2) {
            Some(1) => MuxVersion::One,
            None if self.name != "mtcp" => MuxVersion::One,
            _ => MuxVersion::Two,
        };
        let disabled = self.at.or_default(&mux::KEEPALIVE_DISABLED);
        let settings = MuxSettings {
            version,
            keepalive: (!disabled).then(|| self.at.or_default(&mux::KEEPALIVE_INTERVAL)),
            keepalive_timeout: self.at.or_default(&mux::KEEPALIVE_TIMEOUT),
            max_frame: self.bytes(&mux::MAX_FRAME_SIZE, u16::MAX.into()),
            receive_buffer: self.bytes(&mux::MAX_RECEIVE_BUFFER, MAX_BUFFER),
            stream_buffer: self.bytes(&mux::MAX_STREAM_BUFFER, MAX_BUFFER),
        };
        let MuxSettings { keepalive_timeout, receive_buffer, stream_buffer, .. } = settings;
        let too_long = settings.keepalive.filter(|interval| *interval > keepalive_timeout);
        if let Some(keepalive) = too_long {
            let message = format!(
                "a connection would end after {keepalive_timeout:?}, before its first sign of life after {keepalive:?}"
            );
            self.place_of_one(&mux::KEEPALIVE_TIMEOUT, &mux::KEEPALIVE_INTERVAL)
                .error(message)
                .help("make `mux.keepaliveTimeout` several times `mux.keepaliveInterval`");
        }
        if stream_buffer > receive_buffer {
            let message =
                format!("one stream may hold {stream_buffer} bytes, all together {receive_buffer}");
            self.place_of_one(&mux::MAX_STREAM_BUFFER, &mux::MAX_RECEIVE_BUFFER)
                .error(message)
                .help("`mux.maxStreamBuffer` is at most `mux.maxReceiveBuffer`");
        }
        settings
    }

    /// Where `first` is written, or else `second`.
    fn place_of_one<S>(&self, first: &Field<S>, second: &Field<S>) -> At<'_> {
        let first_is_there = self.at.get(first).is_some();
        self.at.place_of(if first_is_there { first } else { second })
    }

    fn check_mux_type(&self) {
        let at = self.at.place_of(&mux::TYPE);
        match self.at.or_default(&mux::TYPE).as_str() {
            "smux" => {}
            "yamux" => at
                .error("`yamux` is not supported")
                .help("write `mux.type: smux` at both ends, or nothing: they have to be the same"),
            other => drop(at.warning(format!("{} is taken as `smux`, as in GOST", quote(other)))),
        }
    }

    fn quic(&self) -> QuicSettings {
        let at = self.at;
        let streams = self.number(&quic::MAX_STREAMS, STREAMS);
        QuicSettings {
            keepalive: at.or_default(&quic::KEEP_ALIVE).then(|| at.or_default(&quic::TTL)),
            idle_timeout: at.or_default(&quic::MAX_IDLE_TIMEOUT),
            handshake_timeout: at.read(&quic::HANDSHAKE_TIMEOUT),
            datagrams: at.or_default(&quic::DATAGRAMS),
            max_streams: streams.and_then(|number| u32::try_from(number).ok()),
            congestion: one_of(at, &quic::CONGESTION, &CONTROLLERS),
        }
    }

    fn http2(&self) -> Http2Settings {
        let (headers, host_header) = self.headers(&http2_dialer::HEADER);
        let host = host_header.or(self.host(&http2_dialer::HOST));
        Http2Settings { path: self.path(&http2::PATH), host, headers }
    }

    fn grpc(&self) -> GrpcSettings {
        let path = grpc_path(&self.at.or_default(&grpc::PATH));
        if !path.bytes().all(is_path_byte) {
            let message = format!("{} is no path of a gRPC service", quote(&path));
            let help = "write for example `/mail.Mail/Send`, without query, blanks and braces";
            self.at.place_of(&grpc::PATH).error(message).help(help);
        }
        GrpcSettings { path, authority: self.host(&grpc_dialer::AUTHORITY) }
    }

    /// A path of HTTP.
    fn path(&self, field: &Field<OneText>) -> Option<String> {
        let at = self.at.get(field)?;
        let path = at.read()?;
        if !path.bytes().all(is_path_byte) {
            let help = "write for example `/tunnel`, without query, blanks and braces";
            return at.refuse(format!("{} is no path", quote(&path)), help);
        }
        let rooted = if path.starts_with('/') { path.clone() } else { format!("/{path}") };
        if self.side == Side::Listener && rooted != path {
            let message = format!("{} is no path: it does not begin with a slash", quote(&path));
            return at.refuse(message, format!("write {}", quote(&rooted)));
        }
        Some(rooted)
    }

    /// What is sent as `Host` or authority.
    fn host(&self, field: &Field<OneText>) -> Option<String> {
        let at = self.at.get(field).filter(|_| self.side == Side::Dialer)?;
        let host = at.read()?;
        if is_authority(&host) {
            return Some(host);
        }
        at.refuse(format!("{} is no name to ask for", quote(&host)), AUTHORITY_HELP)
    }

    /// The headers and, of a dialer, what is to be sent as `Host`.
    fn headers(&self, field: &Field<Headers>) -> (Vec<HttpHeader>, Option<String>) {
        let Some(at) = self.at.get(field) else { return (Vec::new(), None) };
        let is_host = |header: &HttpHeader| {
            self.side == Side::Dialer && header.name.eq_ignore_ascii_case("host")
        };
        let (hosts, headers): (Vec<_>, Vec<_>) = headers(&at).into_iter().partition(is_host);
        let host = hosts.last().map(|header| header.value.expose().to_owned());
        if host.as_deref().is_some_and(|host| !is_authority(host)) {
            at.error("the header `Host` holds no name to ask for").help(AUTHORITY_HELP);
        }
        (headers, host)
    }
}

/// Service and method that `path` stands for.
fn grpc_path(path: &str) -> String {
    match path.trim_matches('/').split_once('/') {
        None => match path.trim_matches('/') {
            "" => "/GostTunel/Tunnel".to_owned(),
            service => format!("/{service}/Tunnel"),
        },
        Some((service, method)) => format!("/{service}/{}", method.replace('/', "-")),
    }
}

/// Headers that the protocol itself sets.
const OWN_HEADERS: [&str; 13] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A map of headers; those that cannot be sent are reported and left out.
pub(super) fn headers(at: &Cursor<'_>) -> Vec<HttpHeader> {
    if !matches!(at.value.data, Data::Map(_)) && !at.value.is_unset() {
        let message = format!("expected a map of headers, found {}", at.value.describe());
        at.error(message).help("write `header: {NAME: VALUE}`");
    }
    let entries = at.value.entries();
    if entries.len() > MAX_HEADERS {
        at.error(format!("there are {} headers, at most {MAX_HEADERS}", entries.len()));
    }
    let entries = entries.iter().take(MAX_HEADERS);
    entries.filter_map(|entry| header(&entry.key, &at.child(entry))).collect()
}

fn header(name: &str, at: &Cursor<'_>) -> Option<HttpHeader> {
    let token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    if name.is_empty() || !name.bytes().all(token) {
        let message = format!("{} is no name of a header", quote(name));
        return at.key().refuse(message, "a name has letters, digits and signs such as `-`");
    }
    if OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        let message = format!("the header {} is set by the transport", quote(name));
        return at.key().refuse(message, "remove it");
    }
    let printable = |c: u8| c == b'\t' || (b' '..=b'~').contains(&c);
    match coerce::text(at.value) {
        Ok(value) if value.bytes().all(printable) => {
            Some(HttpHeader { name: name.to_owned(), value: Secret::new(value) })
        }
        // Not shown: it may be a secret.
        _ => {
            let message = format!("the header {} has a value that no header can have", quote(name));
            at.key().refuse(message, "write printable ASCII on one line")
        }
    }
}

fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"?#{}\\\"<>`^|".contains(&byte)
}

fn is_authority(text: &str) -> bool {
    let name_like = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    !text.is_empty() && text.bytes().all(name_like)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_grpc() {
        for (written, path) in [
            ("", "/GostTunel/Tunnel"),
            ("///", "/GostTunel/Tunnel"),
            ("Mail", "/Mail/Tunnel"),
            ("/Mail/", "/Mail/Tunnel"),
            ("/a.Mail/Send", "/a.Mail/Send"),
            ("a/b/c/d", "/a/b-c-d"),
        ] {
            assert_eq!(grpc_path(written), path, "{written}");
        }
    }
}
