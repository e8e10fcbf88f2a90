//! What carries the bytes, by the type and metadata of a listener or dialer.

use std::{ops::RangeInclusive, time::Duration};

use crate::{
    coerce,
    findings::Report,
    location::{At, quote},
    schema::{
        Field, Headers, Int, OneText, grpc, grpc_dialer, http2, http2_dialer, mux, quic,
        tls_options, web_socket, ws_dialer,
    },
    value::{Cursor, Data, Member},
};
use rtun_settings::{
    CongestionControl, GrpcKeepalive, GrpcSettings, Http2Settings, HttpHeader, MuxSettings,
    MuxVersion, QuicSettings, Secret, TlsVersions, TransportStack, WebSocketSettings,
};

use super::choice::one_of;

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
/// Time without traffic before a gRPC listener sends a ping.
const LISTENER_PING: Duration = Duration::from_secs(60);
/// The same of a dialer.
const DIALER_PING: Duration = Duration::from_secs(30);

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
    /// A number within `range`, none if it is zero or less; the outer `None` after an error was reported.
    fn number(
        &self,
        field: &Field<Int>,
        range: RangeInclusive<i64>,
        report: &mut Report,
    ) -> Option<Option<i64>> {
        match self.at.read(field) {
            None | Some(..=0) => Some(None),
            Some(number) if range.contains(&number) => Some(Some(number)),
            Some(number) => {
                let (least, most) = range.into_inner();
                let message = format!("{number} is not in {least} to {most}");
                report.error(self.at.place_of(field), message);
                None
            }
        }
    }

    /// The same, or its default.
    fn number_or_default<T: TryFrom<i64> + Default>(
        &self,
        field: &Field<Int>,
        range: RangeInclusive<i64>,
        report: &mut Report,
    ) -> Option<T> {
        let number = self.number(field, range, report)?.unwrap_or_else(|| field.default());
        Some(T::try_from(number).unwrap_or_default())
    }

    /// Whether TLS is part of it.
    pub(super) fn is_encrypted(&self) -> bool {
        match self.name {
            "tls" | "wss" | "mtls" | "mwss" | "quic" | "h2" => true,
            "grpc" => !self.at.or_default(&grpc::INSECURE),
            _ => false,
        }
    }

    /// QUIC has no TLS but 1.3 (RFC 9001 section 4.2); `None` after an error was reported.
    pub(super) fn check_versions(
        &self,
        versions: TlsVersions,
        tls: Option<&Cursor<'_>>,
        report: &mut Report,
    ) -> Option<()> {
        if self.name != "quic" || versions != TlsVersions::Tls12 {
            return Some(());
        }
        let options = tls.and_then(|tls| tls.child_named("options"));
        let place = options.map_or(At::from(self.at), |at| at.place_of(&tls_options::MAX_VERSION));
        report.refuse(place, "`quic` needs TLS 1.3", "remove `maxVersion`")
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
        let ws = if ws { self.web_socket(report).map(Some) } else { Some(None) };
        let mux = if mux { self.mux(report).map(Some) } else { Some(None) };
        Some(TransportStack::Tcp { tls, ws: ws?, mux: mux? })
    }

    fn web_socket(&self, report: &mut Report) -> Option<WebSocketSettings> {
        let path = self.path(&web_socket::PATH, report);
        let host = self.host(&ws_dialer::HOST, report);
        let (headers, host_header) = self.headers(&web_socket::HEADER, report)?;
        let pings = self.side == Side::Dialer && self.at.or_default(&ws_dialer::KEEPALIVE);
        Some(WebSocketSettings {
            path: path?.unwrap_or_else(|| web_socket::PATH.default()),
            // As in GOST a header of that name counts more than the key.
            host: host_header.or(host?),
            headers,
            ping_every: pings.then(|| self.at.or_default(&ws_dialer::TTL)),
        })
    }

    fn mux(&self, report: &mut Report) -> Option<MuxSettings> {
        self.mux_type(report)?;
        let version = match self.number(&mux::VERSION, 1..=2, report)? {
            Some(1) => MuxVersion::One,
            None if self.name != "mtcp" => MuxVersion::One,
            _ => MuxVersion::Two,
        };
        let keepalive = (!self.at.or_default(&mux::KEEPALIVE_DISABLED))
            .then(|| self.at.or_default(&mux::KEEPALIVE_INTERVAL));
        let keepalive_timeout = self.at.or_default(&mux::KEEPALIVE_TIMEOUT);
        if let Some(keepalive) = keepalive.filter(|keepalive| *keepalive > keepalive_timeout) {
            let place = match self.at.get(&mux::KEEPALIVE_TIMEOUT) {
                Some(at) => At::from(&at),
                None => self.at.place_of(&mux::KEEPALIVE_INTERVAL),
            };
            let message = format!(
                "a connection would end after {keepalive_timeout:?}, before its first sign of life after {keepalive:?}"
            );
            let help = "make `mux.keepaliveTimeout` several times `mux.keepaliveInterval`";
            return report.refuse(place, message, help);
        }
        let max_frame = self.number_or_default(&mux::MAX_FRAME_SIZE, 1..=65535, report);
        let receive = self.number_or_default(&mux::MAX_RECEIVE_BUFFER, BUFFERS, report);
        let stream = self.number_or_default(&mux::MAX_STREAM_BUFFER, BUFFERS, report);
        let (receive_buffer, stream_buffer): (usize, usize) = (receive?, stream?);
        if stream_buffer > receive_buffer {
            let place = match self.at.get(&mux::MAX_STREAM_BUFFER) {
                Some(at) => At::from(&at),
                None => self.at.place_of(&mux::MAX_RECEIVE_BUFFER),
            };
            let message =
                format!("one stream may hold {stream_buffer} bytes, all together {receive_buffer}");
            let help = "`mux.maxStreamBuffer` is at most `mux.maxReceiveBuffer`";
            return report.refuse(place, message, help);
        }
        Some(MuxSettings {
            version,
            keepalive,
            keepalive_timeout,
            max_frame: max_frame?,
            receive_buffer,
            stream_buffer,
        })
    }

    /// `None` after an error was reported.
    fn mux_type(&self, report: &mut Report) -> Option<()> {
        let at = self.at.place_of(&mux::TYPE);
        match self.at.or_default(&mux::TYPE).as_str() {
            "smux" => {}
            "yamux" => {
                let help =
                    "write `mux.type: smux` at both ends, or nothing: they have to be the same";
                return report.refuse(at, "`yamux` is not supported", help);
            }
            other => {
                report.warning(at, format!("{} is taken as `smux`, as in GOST", quote(other)));
            }
        }
        Some(())
    }

    fn quic(&self, report: &mut Report) -> Option<QuicSettings> {
        let at = self.at;
        let streams = self.number(&quic::MAX_STREAMS, STREAMS, report)?;
        Some(QuicSettings {
            keepalive: at.or_default(&quic::KEEP_ALIVE).then(|| at.or_default(&quic::TTL)),
            idle_timeout: at.or_default(&quic::MAX_IDLE_TIMEOUT),
            handshake_timeout: at.read(&quic::HANDSHAKE_TIMEOUT),
            datagrams: at.or_default(&quic::DATAGRAMS),
            max_streams: streams.and_then(|number| u32::try_from(number).ok()),
            congestion: one_of(at, &quic::CONGESTION, &CONTROLLERS, report).unwrap_or_default(),
        })
    }

    fn http2(&self, report: &mut Report) -> Option<Http2Settings> {
        let path = self.path(&http2::PATH, report);
        let host = self.host(&http2_dialer::HOST, report);
        let (headers, host_header) = self.headers(&http2_dialer::HEADER, report)?;
        Some(Http2Settings { path: path?, host: host_header.or(host?), headers })
    }

    fn grpc(&self, report: &mut Report) -> Option<GrpcSettings> {
        let path = grpc_path(&self.at.or_default(&grpc::PATH));
        if !path.bytes().all(is_path_byte) {
            let message = format!("{} is no path of a gRPC service", quote(&path));
            let help = "write for example `/mail.Mail/Send`, without query, blanks and braces";
            return report.refuse(self.at.place_of(&grpc::PATH), message, help);
        }
        let authority = self.host(&grpc_dialer::AUTHORITY, report)?;
        let ping = match self.side {
            Side::Listener => LISTENER_PING,
            Side::Dialer => DIALER_PING,
        };
        let keepalive = self.at.or_default(&grpc::KEEPALIVE).then(|| GrpcKeepalive {
            time: self.at.read(&grpc::KEEPALIVE_TIME).unwrap_or(ping),
            timeout: self.at.or_default(&grpc::KEEPALIVE_TIMEOUT),
            without_calls: self.at.or_default(&grpc::WITHOUT_CALLS),
        });
        Some(GrpcSettings { path, authority, keepalive })
    }

    /// A path of HTTP; the outer `None` after an error was reported.
    fn path(&self, field: &Field<OneText>, report: &mut Report) -> Option<Option<String>> {
        let Some(path) = self.at.read(field) else { return Some(None) };
        let at = self.at.place_of(field);
        if !path.bytes().all(is_path_byte) {
            let help = "write for example `/tunnel`, without query, blanks and braces";
            return report.refuse(at, format!("{} is no path", quote(&path)), help);
        }
        match (path.starts_with('/'), self.side) {
            (true, _) => Some(Some(path)),
            (false, Side::Dialer) => Some(Some(format!("/{path}"))),
            (false, Side::Listener) => {
                let message =
                    format!("{} is no path: it does not begin with a slash", quote(&path));
                report.refuse(at, message, format!("write {}", quote(&format!("/{path}"))))
            }
        }
    }

    /// What is sent as `Host` or authority; the outer `None` after an error was reported.
    fn host(&self, field: &Field<OneText>, report: &mut Report) -> Option<Option<String>> {
        let host = self.at.read(field).filter(|_| self.side == Side::Dialer);
        match host {
            Some(host) if !is_authority(&host) => {
                let message = format!("{} is no name to ask for", quote(&host));
                let help = "write for example `hub.example` or `hub.example:8443`";
                report.refuse(self.at.place_of(field), message, help)
            }
            host => Some(host),
        }
    }

    /// The headers and, of a dialer, what is to be sent as `Host`; the outer `None` after an error was reported.
    fn headers(
        &self,
        field: &Field<Headers>,
        report: &mut Report,
    ) -> Option<(Vec<HttpHeader>, Option<String>)> {
        let Some(at) = self.at.get(field) else { return Some((Vec::new(), None)) };
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
            let help = "write for example `hub.example` or `hub.example:8443`";
            return report.refuse(&at, "the header `Host` holds no name to ask for", help);
        }
        Some((headers, host))
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

/// A map of headers; `None` after an error was reported.
pub(super) fn headers(at: &Cursor<'_>, report: &mut Report) -> Option<Vec<HttpHeader>> {
    if !matches!(at.value.data, Data::Map(_)) && !at.value.is_unset() {
        let message = format!("expected a map of headers, found {}", at.value.describe());
        return report.refuse(at, message, "write `header: {NAME: VALUE}`");
    }
    let entries = at.value.entries();
    if entries.len() > MAX_HEADERS {
        report.error(at, format!("there are {} headers, at most {MAX_HEADERS}", entries.len()));
        return None;
    }
    let headers: Vec<_> = entries.iter().map(|entry| header(at, entry, report)).collect();
    headers.into_iter().collect()
}

fn header(map: &Cursor<'_>, entry: &Member, report: &mut Report) -> Option<HttpHeader> {
    let at = map.child(entry);
    let name = entry.key.clone();
    let token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    if name.is_empty() || !name.bytes().all(token) {
        let message = format!("{} is no name of a header", quote(&name));
        return report.refuse(
            at.key(),
            message,
            "a name has letters, digits and signs such as `-`",
        );
    }
    if OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(&name)) {
        let message = format!("the header {} is set by the transport", quote(&name));
        return report.refuse(at.key(), message, "remove it");
    }
    let value = coerce::text(at.value).ok();
    let printable = |c: u8| c == b'\t' || (b' '..=b'~').contains(&c);
    // Not shown: it may be a secret.
    let Some(value) = value.filter(|value| value.bytes().all(printable)) else {
        let message = format!("the header {} has a value that no header can have", quote(&name));
        return report.refuse(at.key(), message, "write printable ASCII on one line");
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
