//! What carries the bytes, by the type and metadata of a listener or dialer (spec: transports.md sections 5 to 8).

use std::{ops::RangeInclusive, time::Duration};

use crate::{
    coerce::Place,
    findings::{At, Report, quote},
    value::{Cursor, Entry, Kind},
};
use rtun_settings::{
    CongestionControl, GrpcKeepalive, GrpcSettings, Http2Settings, HttpHeader, MuxSettings,
    MuxVersion, QuicSettings, Secret, TransportStack, WebSocketSettings,
};

use super::log::one_of;

/// Time between pings of a WebSocket, where there are any.
const WS_PING: Duration = Duration::from_secs(15);
/// Bytes of smux's buffers that there may be: 4 GiB is what a window can say.
const BUFFERS: RangeInclusive<i64> = 1..=u32::MAX as i64;
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

/// Which end is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Listener,
    Dialer,
}

/// A listener or dialer of a supported type.
pub(super) struct Transport<'a> {
    pub(super) name: &'a str,
    pub(super) side: Side,
    /// The listener or dialer.
    pub(super) at: &'a Cursor<'a>,
}

impl Transport<'_> {
    fn first(&self, keys: &[&str]) -> Option<Cursor<'_>> {
        self.at.get("metadata").and_then(|metadata| metadata.first(keys))
    }

    fn flag(&self, keys: &[&str], report: &mut Report) -> Option<bool> {
        self.first(keys).and_then(|at| report.boolean(&at))
    }

    /// A duration; none if it is zero.
    fn span(&self, keys: &[&str], report: &mut Report) -> Option<Duration> {
        let span = self.first(keys).and_then(|at| report.span(&at, Place::Metadata));
        span.filter(|span| !span.is_zero())
    }

    /// A number within `range`, none if it is zero or less; the outer `None` after an error was reported.
    fn number(
        &self,
        key: &str,
        range: RangeInclusive<i64>,
        report: &mut Report,
    ) -> Option<Option<i64>> {
        let Some(at) = self.first(&[key]) else { return Some(None) };
        match report.integer(&at)? {
            ..=0 => Some(None),
            number if range.contains(&number) => Some(Some(number)),
            number => {
                let (least, most) = range.into_inner();
                report.error(&at, format!("{number} is not in {least} to {most}"));
                None
            }
        }
    }

    /// Whether TLS is part of it.
    pub(super) fn is_encrypted(&self, report: &mut Report) -> bool {
        match self.name {
            "tls" | "wss" | "mtls" | "mwss" | "quic" | "h2" => true,
            "grpc" => {
                !self.flag(&["grpc.insecure", "grpcInsecure", "insecure"], report).unwrap_or(false)
            }
            _ => false,
        }
    }

    /// The layers, with `tls` if it is encrypted; `None` after an error was reported.
    pub(super) fn stack<T>(
        &self,
        tls: Option<T>,
        report: &mut Report,
    ) -> Option<TransportStack<T>> {
        let (ws, mux) = match self.name {
            "quic" => {
                let quic = self.quic(report)?;
                return Some(TransportStack::Quic { tls: tls?, quic });
            }
            "h2" | "h2c" => return Some(TransportStack::Http2 { tls, http: self.http2(report)? }),
            "grpc" => return Some(TransportStack::Grpc { tls, grpc: self.grpc(report)? }),
            "ws" | "wss" => (true, false),
            "mtcp" | "mtls" => (false, true),
            "mws" | "mwss" => (true, true),
            _ => (false, false),
        };
        let ws = if ws { Some(self.web_socket(report)) } else { None };
        let mux = if mux { Some(self.mux(report)) } else { None };
        let ws = ws.map_or(Some(None), |ws| ws.map(Some));
        let mux = mux.map_or(Some(None), |mux| mux.map(Some));
        Some(TransportStack::Tcp { tls, ws: ws?, mux: mux? })
    }

    fn web_socket(&self, report: &mut Report) -> Option<WebSocketSettings> {
        let path = self.path(&["ws.path", "path"], report);
        let host = self.host(&["ws.host", "host"], report);
        let (headers, host_header) = self.headers(&["ws.header", "header"], report)?;
        let pings = self.side == Side::Dialer
            && self.flag(&["ws.keepalive", "keepalive"], report).unwrap_or(false);
        let every = self.span(&["ttl", "keepalive.interval"], report).unwrap_or(WS_PING);
        Some(WebSocketSettings {
            path: path?.unwrap_or_else(|| "/ws".to_owned()),
            // As in GOST a header of that name counts more than the key.
            host: host_header.or(host?),
            headers,
            ping_every: pings.then_some(every),
        })
    }

    fn mux(&self, report: &mut Report) -> Option<MuxSettings> {
        self.mux_type(report)?;
        let version = match self.number("mux.version", 1..=2, report)? {
            Some(1) => MuxVersion::One,
            Some(_) => MuxVersion::Two,
            None if self.name == "mtcp" => MuxVersion::Two,
            None => MuxVersion::One,
        };
        let disabled = self.flag(&["mux.keepaliveDisabled"], report).unwrap_or(false);
        let interval = self.span(&["mux.keepaliveInterval"], report);
        let timeout = self.span(&["mux.keepaliveTimeout"], report);
        let keepalive = (!disabled).then_some(interval.unwrap_or(Duration::from_secs(10)));
        let keepalive_timeout = timeout.unwrap_or(Duration::from_secs(30));
        if let Some(keepalive) = keepalive.filter(|keepalive| *keepalive > keepalive_timeout) {
            let at = self.first(&["mux.keepaliveTimeout"]);
            let at = at.or_else(|| self.first(&["mux.keepaliveInterval"]));
            report
                .error(
                    at.as_ref().map_or_else(|| At::from(self.at), At::from),
                    format!(
                        "a connection would end after {keepalive_timeout:?}, before its first sign of life after {keepalive:?}"
                    ),
                )
                .help("make `mux.keepaliveTimeout` several times `mux.keepaliveInterval`");
            return None;
        }
        let max_frame = self.number("mux.maxFrameSize", 1..=i64::from(u16::MAX), report);
        let receive = self.number("mux.maxReceiveBuffer", BUFFERS, report);
        let stream = self.number("mux.maxStreamBuffer", BUFFERS, report);
        let bytes = |number: Option<i64>| number.and_then(|number| usize::try_from(number).ok());
        let receive_buffer = bytes(receive?).unwrap_or(4 << 20);
        let stream_buffer = bytes(stream?).unwrap_or(64 << 10);
        if stream_buffer > receive_buffer {
            let at = self.first(&["mux.maxStreamBuffer"]);
            let at = at.or_else(|| self.first(&["mux.maxReceiveBuffer"]));
            report
                .error(
                    at.as_ref().map_or_else(|| At::from(self.at), At::from),
                    format!(
                        "one stream may hold {stream_buffer} bytes, all together {receive_buffer}"
                    ),
                )
                .help("`mux.maxStreamBuffer` is at most `mux.maxReceiveBuffer`");
            return None;
        }
        let max_frame = max_frame?.and_then(|number| u16::try_from(number).ok()).unwrap_or(32768);
        Some(MuxSettings {
            version,
            keepalive,
            keepalive_timeout,
            max_frame,
            receive_buffer,
            stream_buffer,
        })
    }

    /// `None` after an error was reported.
    fn mux_type(&self, report: &mut Report) -> Option<()> {
        let Some(at) = self.first(&["mux.type"]) else { return Some(()) };
        match report.some_text(Some(&at)).as_deref() {
            None | Some("smux") => Some(()),
            Some("yamux") => {
                report.error(&at, "`yamux` is not supported").help(
                    "write `mux.type: smux` at both ends, or nothing: they have to be the same",
                );
                None
            }
            Some(other) => {
                report.warning(&at, format!("{} is taken as `smux`, as in GOST", quote(other)));
                Some(())
            }
        }
    }

    fn quic(&self, report: &mut Report) -> Option<QuicSettings> {
        let keepalive = self.flag(&["keepAlive"], report).unwrap_or(true);
        let every = self.span(&["ttl"], report).unwrap_or(Duration::from_secs(10));
        let idle = self.span(&["maxIdleTimeout"], report);
        let streams = self.number("maxStreams", STREAMS, report)?;
        let congestion = self.first(&["congestion"]);
        Some(QuicSettings {
            keepalive: keepalive.then_some(every),
            idle_timeout: idle.unwrap_or(Duration::from_secs(90)),
            handshake_timeout: self.span(&["handshakeTimeout"], report),
            datagrams: self.flag(&["datagrams"], report).unwrap_or(true),
            max_streams: streams.and_then(|number| u32::try_from(number).ok()),
            congestion: congestion
                .and_then(|at| one_of(&at, &CONTROLLERS, report))
                .unwrap_or_default(),
        })
    }

    fn http2(&self, report: &mut Report) -> Option<Http2Settings> {
        let path = self.path(&["path"], report);
        let host = self.host(&["host"], report);
        let (headers, host_header) = self.headers(&["header"], report)?;
        Some(Http2Settings { path: path?, host: host_header.or(host?), headers })
    }

    fn grpc(&self, report: &mut Report) -> Option<GrpcSettings> {
        let path_at = self.first(&["grpc.path", "path"]);
        let path = report.some_text(path_at.as_ref()).unwrap_or_default();
        let path = grpc_path(&path);
        if let Some(at) = path_at.filter(|_| !path.bytes().all(is_path_byte)) {
            report.error(&at, format!("{} is no path of a gRPC service", quote(&path)));
            return None;
        }
        let authority = self.host(&["grpc.authority", "grpc.host", "host"], report)?;
        let keepalive = self.flag(&["grpc.keepalive", "keepalive"], report).unwrap_or(false);
        let without_calls = self
            .flag(&["grpc.keepalive.permitWithoutStream", "keepalive.permitWithoutStream"], report);
        let time = self.span(&["grpc.keepalive.time", "keepalive.time"], report);
        let timeout = self.span(&["grpc.keepalive.timeout", "keepalive.timeout"], report);
        let seconds = match self.side {
            Side::Listener => 60,
            Side::Dialer => 30,
        };
        let keepalive = keepalive.then_some(GrpcKeepalive {
            time: time.unwrap_or(Duration::from_secs(seconds)),
            timeout: timeout.unwrap_or(Duration::from_secs(30)),
            without_calls: without_calls.unwrap_or(false),
        });
        Some(GrpcSettings { path, authority, keepalive })
    }

    /// A path of HTTP; the outer `None` after an error was reported.
    fn path(&self, keys: &[&str], report: &mut Report) -> Option<Option<String>> {
        let at = self.first(keys);
        let Some((path, at)) = report.some_text(at.as_ref()).zip(at) else { return Some(None) };
        if !path.bytes().all(is_path_byte) {
            report
                .error(&at, format!("{} is no path", quote(&path)))
                .help("write for example `/tunnel`, without query, blanks and braces");
            return None;
        }
        match (path.starts_with('/'), self.side) {
            (true, _) => Some(Some(path)),
            (false, Side::Dialer) => Some(Some(format!("/{path}"))),
            (false, Side::Listener) => {
                report
                    .error(
                        &at,
                        format!("{} is no path: it does not begin with a slash", quote(&path)),
                    )
                    .help(format!("write {}", quote(&format!("/{path}"))));
                None
            }
        }
    }

    /// What is sent as `Host` or authority; the outer `None` after an error was reported.
    fn host(&self, keys: &[&str], report: &mut Report) -> Option<Option<String>> {
        if self.side == Side::Listener {
            return Some(None);
        }
        let at = self.first(keys);
        let Some((host, at)) = report.some_text(at.as_ref()).zip(at) else { return Some(None) };
        if !is_authority(&host) {
            report
                .error(&at, format!("{} is no name to ask for", quote(&host)))
                .help("write for example `hub.example` or `hub.example:8443`");
            return None;
        }
        Some(Some(host))
    }

    /// The headers and, of a dialer, what is to be sent as `Host`; the outer `None` after an error was reported.
    fn headers(
        &self,
        keys: &[&str],
        report: &mut Report,
    ) -> Option<(Vec<HttpHeader>, Option<String>)> {
        let Some(at) = self.first(keys) else { return Some((Vec::new(), None)) };
        let mut headers = headers(&at, report)?;
        let mut host = None;
        if self.side == Side::Dialer {
            headers.retain(|header| {
                let is_host = header.name.eq_ignore_ascii_case("host");
                if is_host {
                    host = Some(header.value.expose().to_owned());
                }
                !is_host
            });
        }
        if host.as_deref().is_some_and(|host| !is_authority(host)) {
            report.error(&at, "the header `Host` holds no name to ask for");
            return None;
        }
        Some((headers, host))
    }
}

/// Service and method that `path` stands for (spec: transports.md section 8).
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

/// A map of headers; `None` after an error was reported.
pub(super) fn headers(at: &Cursor<'_>, report: &mut Report) -> Option<Vec<HttpHeader>> {
    if !matches!(at.value.kind, Kind::Map(_)) && !at.value.is_unset() {
        let found = at.value.describe();
        report.error(at, format!("expected a map of headers, found {found}"));
        return None;
    }
    let entries = at.value.entries();
    if entries.len() > MAX_HEADERS {
        report.error(at, format!("there are {} headers, at most {MAX_HEADERS}", entries.len()));
        return None;
    }
    let headers: Vec<_> = entries.iter().map(|entry| header(at, entry, report)).collect();
    headers.into_iter().collect()
}

fn header(map: &Cursor<'_>, entry: &Entry, report: &mut Report) -> Option<HttpHeader> {
    let at = map.child(entry);
    let name = entry.key.clone();
    let token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    if name.is_empty() || !name.bytes().all(token) {
        report.error(at.key(), format!("{} is no name of a header", quote(&name)));
        return None;
    }
    if OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(&name)) {
        report.error(at.key(), format!("the header {} is set by the transport", quote(&name)));
        return None;
    }
    let value = crate::coerce::text(at.value).ok();
    let printable = |c: u8| c == b'\t' || (b' '..=b'~').contains(&c);
    // Not shown: it may be a secret.
    let Some(value) = value.filter(|value| value.bytes().all(printable)) else {
        let message = format!("the header {} has a value that no header can have", quote(&name));
        report.error(at.key(), message).help("write printable ASCII on one line");
        return None;
    };
    Some(HttpHeader { name, value: Secret::new(value) })
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
