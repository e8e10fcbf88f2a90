//! What carries a tunnel's bytes: TCP or QUIC, and the layers on it.

use std::time::Duration;

pub use rtun_proto::mux::Version as MuxVersion;

use super::Secret;

/// What a listener accepts or a dialer opens, from the outside in; `T` is [`super::ServerTls`] at a listener and
/// [`super::DialTls`] at a dialer.
#[derive(Debug, Clone, PartialEq)]
pub enum TransportStack<T> {
    /// `tcp`, `tls`, `ws`, `wss`, `mtcp`, `mtls`, `mws` and `mwss`: TCP and, where there are any, TLS, WebSocket and smux
    /// on it.
    Tcp {
        /// Encryption, on TCP.
        tls: Option<T>,
        /// Messages, on what is below.
        ws: Option<WebSocketSettings>,
        /// Many streams, on what is below.
        mux: Option<MuxSettings>,
    },
    /// `quic`: each association is a stream of a QUIC connection.
    Quic {
        /// QUIC's own encryption, always TLS 1.3.
        tls: T,
        /// The connection.
        quic: QuicSettings,
    },
    /// `h2` and `h2c`: the bodies of an HTTP/2 request and its answer.
    Http2 {
        /// Encryption; none with `h2c`.
        tls: Option<T>,
        /// The request.
        http: Http2Settings,
    },
    /// `grpc`: the messages of a gRPC call.
    Grpc {
        /// Encryption; none with `grpc.insecure`.
        tls: Option<T>,
        /// The call.
        grpc: GrpcSettings,
    },
}

impl<T> TransportStack<T> {
    /// Plain TCP.
    pub const fn tcp() -> Self {
        Self::Tcp { tls: None, ws: None, mux: None }
    }

    /// GOST's word for it, such as `mwss`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Tcp { tls, ws, mux } => match (tls.is_some(), ws.is_some(), mux.is_some()) {
                (false, false, false) => "tcp",
                (true, false, false) => "tls",
                (false, true, false) => "ws",
                (true, true, false) => "wss",
                (false, false, true) => "mtcp",
                (true, false, true) => "mtls",
                (false, true, true) => "mws",
                (true, true, true) => "mwss",
            },
            Self::Quic { .. } => "quic",
            Self::Http2 { tls: Some(_), .. } => "h2",
            Self::Http2 { tls: None, .. } => "h2c",
            Self::Grpc { .. } => "grpc",
        }
    }

    /// How it is encrypted, if it is.
    pub const fn tls(&self) -> Option<&T> {
        match self {
            Self::Quic { tls, .. } => Some(tls),
            Self::Tcp { tls, .. } | Self::Http2 { tls, .. } | Self::Grpc { tls, .. } => {
                tls.as_ref()
            }
        }
    }

    /// The application protocols that are spoken on its TLS unless others are configured, the preferred first.
    pub const fn protocols(&self) -> &'static [&'static str] {
        match self {
            Self::Http2 { .. } | Self::Grpc { .. } => &["h2"],
            Self::Tcp { .. } => &[],
            Self::Quic { .. } => &["h3", "quic/v1"],
        }
    }

    /// Whether it runs on UDP, not on TCP.
    pub const fn is_on_udp(&self) -> bool {
        matches!(self, Self::Quic { .. })
    }
}

/// WebSocket (RFC 6455): every write is a binary message.
#[derive(Debug, Clone, PartialEq)]
pub struct WebSocketSettings {
    /// `/ws` unless configured. At a listener one that ends in a slash stands for all paths that begin with it.
    pub path: String,
    /// Dialers: sent as `Host` in the place of the address.
    pub host: Option<String>,
    /// Sent with the request (dialers) or the answer (listeners).
    pub headers: Vec<HttpHeader>,
    /// Dialers: time between pings (`keepalive` and `ttl`); nothing received for twice as long ends the connection.
    pub ping_every: Option<Duration>,
}

impl Default for WebSocketSettings {
    fn default() -> Self {
        Self { path: "/ws".to_owned(), host: None, headers: Vec::new(), ping_every: None }
    }
}

/// A header of HTTP; its value may be a secret.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpHeader {
    /// A token (RFC 9110 section 5.1), spelled as written.
    pub name: String,
    /// Printable ASCII, blanks and tabs.
    pub value: Secret,
}

/// smux: many streams on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MuxSettings {
    /// 1 unless configured, with `mtcp` 2; both ends must have the same.
    pub version: MuxVersion,
    /// Time between frames that keep the connection alive, 10 s unless configured; `None`: there are none.
    pub keepalive: Option<Duration>,
    /// Nothing received for this long ends the connection; longer than `keepalive`, 30 s unless configured.
    pub keepalive_timeout: Duration,
    /// Most bytes of a frame's payload, 1 to 65,535; 32,768 unless configured.
    pub max_frame: u16,
    /// Bytes received on all streams of a connection and not read yet; 4 MiB unless configured.
    pub receive_buffer: usize,
    /// Version 2: of one stream, not more than `receive_buffer`; 64 KiB unless configured.
    pub stream_buffer: usize,
}

impl Default for MuxSettings {
    /// smux's own.
    fn default() -> Self {
        Self {
            version: MuxVersion::One,
            keepalive: Some(Duration::from_secs(10)),
            keepalive_timeout: Duration::from_secs(30),
            max_frame: 32 * 1024,
            receive_buffer: 4 << 20,
            stream_buffer: 64 * 1024,
        }
    }
}

/// QUIC (RFC 9000).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuicSettings {
    /// Time between frames that keep the connection alive (`keepAlive` and `ttl`), 10 s unless configured; `None`: there
    /// are none.
    pub keepalive: Option<Duration>,
    /// Nothing received for this long ends the connection (`maxIdleTimeout`); 90 s unless configured.
    pub idle_timeout: Duration,
    /// Limit for the handshake (`handshakeTimeout`), if configured.
    pub handshake_timeout: Option<Duration>,
    /// Whether packets may go as datagrams where both ends are rtun (`datagrams`); true unless configured.
    pub datagrams: bool,
    /// Streams that the other end may have open at once (`maxStreams`); 100 unless configured.
    pub max_streams: Option<u32>,
    /// What decides how fast this end sends (`congestion`).
    pub congestion: CongestionControl,
}

/// What decides how fast a QUIC connection sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CongestionControl {
    /// rtun's own. On a path of its own by the measured rate and the shortest round trip: as fast as the path takes it, with
    /// little that waits on it, and whatever is lost by chance, which is what radio needs. By loss, as `Cubic`, next to others
    /// that fill the path's queue.
    #[default]
    Adaptive,
    /// By loss (RFC 9438): fills the path's queues, and is slow where packets are lost by chance.
    Cubic,
    /// BBR, version 1: fast, fills the path's queues, and leaves others little.
    Bbr,
    /// By loss (RFC 9002 section 7).
    NewReno,
}

impl Default for QuicSettings {
    fn default() -> Self {
        Self {
            keepalive: Some(Duration::from_secs(10)),
            idle_timeout: Duration::from_secs(90),
            handshake_timeout: None,
            datagrams: true,
            max_streams: None,
            congestion: CongestionControl::default(),
        }
    }
}

/// One request of HTTP/2 (RFC 9113).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Http2Settings {
    /// `GET` of it in the place of `CONNECT`.
    pub path: Option<String>,
    /// Dialers: the authority in the place of the address.
    pub host: Option<String>,
    /// Dialers: sent with the request.
    pub headers: Vec<HttpHeader>,
}

/// A gRPC call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcSettings {
    /// Service and method as HTTP/2 has them, `/GostTunel/Tunnel` unless configured.
    pub path: String,
    /// Dialers: the authority in the place of the address's host.
    pub authority: Option<String>,
}

impl Default for GrpcSettings {
    fn default() -> Self {
        Self { path: "/GostTunel/Tunnel".to_owned(), authority: None }
    }
}
