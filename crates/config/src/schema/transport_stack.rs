//! Metadata keys of transports, for listeners and dialers (spec: transports.md sections 3 to 8).

use super::{
    Object,
    Shape::{Any, Bool, Duration, Int, Text, Texts},
    Status::{self, NoEffect, Refused},
    metadata::{LEFT_BEHIND, key, not_yet, yes},
};

const KEEPALIVE: Status = NoEffect("connections are always kept alive and checked");
const HANDSHAKE: Status = NoEffect("`readTimeout` of the handler limits the whole of it");
const DIAL: Status = NoEffect("`dialTimeout` of the service limits the whole of it");
const BUFFER: Status = NoEffect("buffers have the size they need");
const COMPRESSION: Status = NoEffect("packets are not compressed, whatever the other end offers");
const BACKLOG: Status = NoEffect("the quotas of the handler limit what waits");

/// Of every listener of a hub.
static LISTENER: Object = Object {
    what: "the metadata of a listener",
    keys: &[
        yes(&["trustedProxies"], Texts),
        yes(&["reuseport"], Bool),
        not_yet(&["mptcp"]),
        key(&["backlog", "ws.backlog", "grpc.backlog"], Int, BACKLOG),
        LEFT_BEHIND,
    ],
};

/// Of TCP itself.
static TCP: Object = Object {
    what: "the metadata of a transport on TCP",
    keys: &[
        key(&["keepalive"], Bool, KEEPALIVE),
        key(&["keepalive.idle"], Duration, KEEPALIVE),
        key(&["keepalive.interval"], Duration, KEEPALIVE),
        key(&["keepalive.count"], Int, KEEPALIVE),
    ],
};

/// Of TCP below a layer that has a `keepalive` of its own.
static TCP_BELOW: Object = Object {
    what: "the metadata of a transport on TCP",
    keys: &[
        key(&["tcp.keepalive"], Bool, KEEPALIVE),
        key(&["tcp.keepalive.idle"], Duration, KEEPALIVE),
        key(&["tcp.keepalive.interval"], Duration, KEEPALIVE),
        key(&["tcp.keepalive.count"], Int, KEEPALIVE),
    ],
};

/// Of a dialer on TCP.
static TCP_DIALER: Object =
    Object { what: "the metadata of a dialer on TCP", keys: &[yes(&["mss"], Int)] };

static TLS_DIALER: Object = Object {
    what: "the metadata of a dialer with TLS",
    keys: &[key(&["handshakeTimeout"], Duration, DIAL)],
};

static WS_LISTENER: Object = Object {
    what: "the metadata of a WebSocket listener",
    keys: &[
        yes(&["ws.path", "path"], Text),
        yes(&["ws.header", "header"], Any),
        key(&["ws.handshakeTimeout", "handshakeTimeout"], Duration, HANDSHAKE),
        key(&["ws.readHeaderTimeout", "readHeaderTimeout"], Duration, HANDSHAKE),
        key(&["ws.readBufferSize", "readBufferSize"], Int, BUFFER),
        key(&["ws.writeBufferSize", "writeBufferSize"], Int, BUFFER),
        key(&["ws.enableCompression", "enableCompression"], Bool, COMPRESSION),
    ],
};

static WS_DIALER: Object = Object {
    what: "the metadata of a WebSocket dialer",
    keys: &[
        yes(&["ws.path", "path"], Text),
        yes(&["ws.host", "host"], Text),
        yes(&["ws.header", "header"], Any),
        yes(&["ws.keepalive", "keepalive"], Bool),
        yes(&["ttl", "keepalive.interval"], Duration),
        key(&["ws.handshakeTimeout", "handshakeTimeout"], Duration, DIAL),
        key(&["ws.readHeaderTimeout", "readHeaderTimeout"], Duration, DIAL),
        key(&["ws.readBufferSize", "readBufferSize"], Int, BUFFER),
        key(&["ws.writeBufferSize", "writeBufferSize"], Int, BUFFER),
        key(&["ws.enableCompression", "enableCompression"], Bool, COMPRESSION),
    ],
};

static MUX: Object = Object {
    what: "the metadata of a multiplexed transport",
    keys: &[
        yes(&["mux.type"], Text),
        yes(&["mux.version"], Int),
        yes(&["mux.keepaliveInterval"], Duration),
        yes(&["mux.keepaliveDisabled"], Bool),
        yes(&["mux.keepaliveTimeout"], Duration),
        yes(&["mux.maxFrameSize"], Int),
        yes(&["mux.maxReceiveBuffer"], Int),
        yes(&["mux.maxStreamBuffer"], Int),
        key(&["mux.maxStreamWindow"], Int, NoEffect("it is for yamux")),
    ],
};

static QUIC: Object = Object {
    what: "the metadata of a `quic` transport",
    keys: &[
        yes(&["keepAlive"], Bool),
        yes(&["ttl"], Duration),
        yes(&["maxIdleTimeout"], Duration),
        yes(&["handshakeTimeout"], Duration),
        yes(&["maxStreams"], Int),
        yes(&["datagrams"], Bool),
        yes(&["congestion"], Text),
        key(
            &["quic.enableDatagram", "enableDatagram"],
            Bool,
            NoEffect(
                "GOST sends no packets as datagrams; whether rtun does is said by `datagrams`",
            ),
        ),
        key(
            &["cipherKey"],
            Text,
            Refused("QUIC is encrypted without it; leave it out at both ends"),
        ),
    ],
};

static HTTP2_LISTENER: Object =
    Object { what: "the metadata of an HTTP/2 listener", keys: &[yes(&["path"], Text)] };

static HTTP2_DIALER: Object = Object {
    what: "the metadata of an HTTP/2 dialer",
    keys: &[yes(&["path"], Text), yes(&["host"], Text), yes(&["header"], Any)],
};

const PINGS: Status = NoEffect("nobody is cut off for pinging too often");

static GRPC_LISTENER: Object = Object {
    what: "the metadata of a `grpc` listener",
    keys: &[
        yes(&["grpc.path", "path"], Text),
        yes(&["grpc.insecure", "grpcInsecure", "insecure"], Bool),
        yes(&["grpc.keepalive", "keepalive"], Bool),
        yes(&["grpc.keepalive.time", "keepalive.time"], Duration),
        yes(&["grpc.keepalive.timeout", "keepalive.timeout"], Duration),
        yes(&["grpc.keepalive.permitWithoutStream", "keepalive.permitWithoutStream"], Bool),
        key(&["grpc.keepalive.minTime", "keepalive.minTime"], Duration, PINGS),
        key(
            &["grpc.keepalive.maxConnectionIdle", "keepalive.maxConnectionIdle"],
            Duration,
            NoEffect("a connection without a tunnel ends by itself"),
        ),
    ],
};

static GRPC_DIALER: Object = Object {
    what: "the metadata of a `grpc` dialer",
    keys: &[
        yes(&["grpc.path", "path"], Text),
        yes(&["grpc.authority", "grpc.host", "host"], Text),
        yes(&["grpc.insecure", "grpcInsecure", "insecure"], Bool),
        yes(&["grpc.keepalive", "keepalive"], Bool),
        yes(&["grpc.keepalive.time", "keepalive.time"], Duration),
        yes(&["grpc.keepalive.timeout", "keepalive.timeout"], Duration),
        yes(&["grpc.keepalive.permitWithoutStream", "keepalive.permitWithoutStream"], Bool),
        key(&["grpc.minConnectTimeout", "minConnectTimeout"], Duration, DIAL),
    ],
};

/// All tables.
pub(super) fn tables() -> [&'static Object; 13] {
    [
        &LISTENER,
        &TCP,
        &TCP_BELOW,
        &TCP_DIALER,
        &TLS_DIALER,
        &WS_LISTENER,
        &WS_DIALER,
        &MUX,
        &QUIC,
        &HTTP2_LISTENER,
        &HTTP2_DIALER,
        &GRPC_LISTENER,
        &GRPC_DIALER,
    ]
}

/// The tables of a listener's transport, `None` if it is not supported.
pub(super) fn of_listener(name: &str) -> Option<Vec<&'static Object>> {
    Some(match name {
        "tcp" | "tls" => vec![&LISTENER, &TCP],
        "ws" | "wss" => vec![&LISTENER, &WS_LISTENER, &TCP],
        "mtcp" | "mtls" => vec![&LISTENER, &MUX, &TCP],
        "mws" | "mwss" => vec![&LISTENER, &WS_LISTENER, &MUX, &TCP],
        "quic" => vec![&LISTENER, &QUIC],
        "h2" | "h2c" => vec![&LISTENER, &HTTP2_LISTENER],
        "grpc" => vec![&LISTENER, &GRPC_LISTENER, &TCP_BELOW],
        _ => return None,
    })
}

/// The tables of a dialer's transport, `None` if it is not supported.
pub(super) fn of_dialer(name: &str) -> Option<Vec<&'static Object>> {
    Some(match name {
        "tcp" => vec![&TCP_DIALER, &TCP],
        "tls" => vec![&TCP_DIALER, &TLS_DIALER, &TCP],
        "ws" | "wss" => vec![&TCP_DIALER, &WS_DIALER, &TCP_BELOW],
        "mtcp" => vec![&TCP_DIALER, &MUX, &TCP],
        "mtls" => vec![&TCP_DIALER, &TLS_DIALER, &MUX, &TCP],
        "mws" | "mwss" => vec![&TCP_DIALER, &WS_DIALER, &MUX, &TCP_BELOW],
        "quic" => vec![&QUIC],
        "h2" | "h2c" => vec![&TCP_DIALER, &HTTP2_DIALER],
        "grpc" => vec![&TCP_DIALER, &GRPC_DIALER, &TCP_BELOW],
        _ => return None,
    })
}
