//! Keys of `metadata` of transports, for listeners and dialers.

use super::{
    field::{KeySpec, KeyStatus, Line, Object, Shape, objects},
    metadata::left_over,
};

const KEEPALIVE: &str = "connections are always kept alive and checked";
const HANDSHAKE: &str = "`readTimeout` of the handler limits the whole of it";
const DIAL: &str = "`dialTimeout` of the service limits the whole of it";
const BUFFER: &str = "buffers have the size they need";
const COMPRESSION: &str = "packets are not compressed, whatever the other end offers";
const BACKLOG: &str = "the quotas of the handler limit what waits";
const PINGS: &str = "nobody is cut off for pinging too often";

objects! {
    any_listener in metadata, "the metadata of a listener" {
        take(TRUSTED_PROXIES: CommaTexts, "trustedProxies", "none", "rtun's own: addresses and prefixes, list or comma text, of proxies that are trusted to say where a host comes from: by PROXY preambles, `CF-Connecting-IP`, `X-Forwarded-For`, `X-Real-Ip`. From elsewhere headers count for nothing, and with `proxyProtocol` connections are refused. With `proxyProtocol` on a loopback address those of this machine are trusted without it");
        take(REUSEPORT: Flag, "reuseport", "false", "whether other processes of the same user may listen on the same address");
        take(MPTCP: Flag, "mptcp", "false", "whether hosts may connect by Multipath TCP (RFC 8684); where the kernel has none, plain TCP with a warning");
        no_effect(BACKLOG, Int: "backlog", "ws.backlog", "grpc.backlog");
        shared(left_over);
    }

    tcp in metadata, "the metadata of a transport on TCP" {
        no_effect(KEEPALIVE, Flag: "keepalive");
        no_effect(KEEPALIVE, Timespan: "keepalive.idle", "keepalive.interval");
        no_effect(KEEPALIVE, Int: "keepalive.count");
    }

    /// Of TCP below a layer that has a `keepalive` of its own.
    tcp_below in metadata, "the metadata of TCP below another layer" {
        no_effect(KEEPALIVE, Flag: "tcp.keepalive");
        no_effect(KEEPALIVE, Timespan: "tcp.keepalive.idle", "tcp.keepalive.interval");
        no_effect(KEEPALIVE, Int: "tcp.keepalive.count");
    }

    tcp_dialer in metadata, "the metadata of a dialer on TCP" {
        take(MPTCP: Flag, "mptcp", "false", "rtun's own: whether connections are opened by Multipath TCP (RFC 8684), which a hub without it takes as plain TCP; one dialer's counts for all of its node. Where the kernel has none, plain TCP with a warning");
        take(MSS: Int, "mss", "the system's", "rtun's own: the most bytes of a TCP segment in both directions, 88 to 32767; 1220 passes wherever IPv6 does. Not needed as a rule: a host finds out");
    }

    tls_dialer in metadata, "the metadata of a dialer with TLS" {
        no_effect(DIAL, Timespan: "handshakeTimeout");
    }

    web_socket in metadata, "the metadata of WebSocket", only shared {
        take(PATH: OneText, "ws.path" | "path", "/ws", "of the request; at a listener one that ends in a slash stands for all that begin with it");
        take(HEADER: Headers, "ws.header" | "header", "none", "a map of headers sent with the request, or by a listener with the answer");
        no_effect(BUFFER, Int: "ws.readBufferSize", "readBufferSize", "ws.writeBufferSize", "writeBufferSize");
        no_effect(COMPRESSION, Flag: "ws.enableCompression", "enableCompression");
    }

    ws_listener in metadata, "the metadata of a WebSocket listener" {
        shared(web_socket);
        no_effect(HANDSHAKE, Timespan: "ws.handshakeTimeout", "handshakeTimeout", "ws.readHeaderTimeout", "readHeaderTimeout");
    }

    ws_dialer in metadata, "the metadata of a WebSocket dialer" {
        shared(web_socket);
        take(HOST: OneText, "ws.host" | "host", "the address", "sent as `Host`");
        take(KEEPALIVE: Flag, "ws.keepalive" | "keepalive", "false", "whether there are pings");
        take(TTL: Timespan, "ttl" | "keepalive.interval", "15s", "time between them");
        no_effect(DIAL, Timespan: "ws.handshakeTimeout", "handshakeTimeout", "ws.readHeaderTimeout", "readHeaderTimeout");
    }

    mux in metadata, "the metadata of a multiplexed transport" {
        take(TYPE: OneText, "mux.type", "smux", "`smux`; `yamux` is refused");
        take(VERSION: Int, "mux.version", "1, `mtcp` 2", "of smux; both ends need the same");
        take(KEEPALIVE_INTERVAL: Timespan, "mux.keepaliveInterval", "10s", "time between signs of life");
        take(KEEPALIVE_DISABLED: Flag, "mux.keepaliveDisabled", "false", "whether there are none");
        take(KEEPALIVE_TIMEOUT: Timespan, "mux.keepaliveTimeout", "30s", "without one for this long a connection ends");
        take(MAX_FRAME_SIZE: Int, "mux.maxFrameSize", "32768 bytes", "up to 65535");
        take(MAX_RECEIVE_BUFFER: Int, "mux.maxReceiveBuffer", "4194304 bytes", "of all streams together");
        take(MAX_STREAM_BUFFER: Int, "mux.maxStreamBuffer", "65536 bytes", "of one stream, not more than of all");
        no_effect("it is for yamux", Int: "mux.maxStreamWindow");
    }

    quic in metadata, "the metadata of a `quic` transport" {
        take(KEEP_ALIVE: Flag, "keepAlive", "true", "whether there are signs of life");
        take(TTL: Timespan, "ttl", "10s", "time between them");
        take(MAX_IDLE_TIMEOUT: Timespan, "maxIdleTimeout", "90s", "without one for this long a connection ends");
        take(HANDSHAKE_TIMEOUT: Timespan, "handshakeTimeout", "built in", "limit for the handshake");
        take(MAX_STREAMS: Int, "maxStreams", "built in", "streams of one connection, up to 1048576");
        take(CONGESTION: OneText, "congestion", "adaptive", "rtun's own: what decides how fast this end sends, `adaptive`, `cubic`, `bbr` or `newreno`; each end has its own");
        take(DATAGRAMS: Flag, "datagrams", "true", "rtun's own: whether packets may go as datagrams where the other end is rtun");
        no_effect("GOST sends no packets as datagrams; whether rtun does is said by `datagrams`", Flag: "quic.enableDatagram", "enableDatagram");
        refused("QUIC is encrypted without it; leave it out at both ends", "cipherKey");
    }

    http2 in metadata, "the metadata of HTTP/2" {
        take(PATH: OneText, "path", "none", "`GET` of it in the place of `CONNECT`");
    }

    http2_dialer in metadata, "the metadata of an HTTP/2 dialer" {
        shared(http2);
        take(HOST: OneText, "host", "the address", "the authority");
        take(HEADER: Headers, "header", "none", "a map of headers sent with the request");
    }

    grpc in metadata, "the metadata of `grpc`", only shared {
        take(PATH: OneText, "grpc.path" | "path", "/GostTunel/Tunnel", "`SERVICE` or `SERVICE/METHOD`");
        take(INSECURE: Flag, "grpc.insecure" | "grpcInsecure" | "insecure", "false", "no TLS");
        no_effect(KEEPALIVE, Flag: "grpc.keepalive", "keepalive");
        no_effect(KEEPALIVE, Timespan: "grpc.keepalive.time", "keepalive.time", "grpc.keepalive.timeout", "keepalive.timeout");
        no_effect(KEEPALIVE, Flag: "grpc.keepalive.permitWithoutStream", "keepalive.permitWithoutStream");
    }

    grpc_listener in metadata, "the metadata of a `grpc` listener" {
        shared(grpc);
        no_effect(PINGS, Timespan: "grpc.keepalive.minTime", "keepalive.minTime");
        no_effect("a connection without a tunnel ends by itself", Timespan: "grpc.keepalive.maxConnectionIdle", "keepalive.maxConnectionIdle");
    }

    grpc_dialer in metadata, "the metadata of a `grpc` dialer" {
        shared(grpc);
        take(AUTHORITY: OneText, "grpc.authority" | "grpc.host" | "host", "the address's host", "the authority");
        no_effect(DIAL, Timespan: "grpc.minConnectTimeout", "minConnectTimeout");
    }
}

/// The tables of a listener's transport, `None` if it is not supported.
pub(super) fn of_listener(name: &str) -> Option<Vec<&'static Object>> {
    let mut tables = vec![&any_listener::OBJECT];
    tables.extend(match name {
        "tcp" | "tls" => vec![&tcp::OBJECT],
        "ws" | "wss" => vec![&ws_listener::OBJECT, &tcp::OBJECT],
        "mtcp" | "mtls" => vec![&mux::OBJECT, &tcp::OBJECT],
        "mws" | "mwss" => vec![&ws_listener::OBJECT, &mux::OBJECT, &tcp::OBJECT],
        "quic" => vec![&quic::OBJECT],
        "h2" | "h2c" => vec![&http2::OBJECT],
        "grpc" => vec![&grpc_listener::OBJECT, &tcp_below::OBJECT],
        _ => return None,
    });
    Some(tables)
}

/// The tables of a dialer's transport, `None` if it is not supported.
pub(super) fn of_dialer(name: &str) -> Option<Vec<&'static Object>> {
    let mut tables = if name == "quic" { vec![] } else { vec![&tcp_dialer::OBJECT] };
    tables.extend(match name {
        "tcp" => vec![&tcp::OBJECT],
        "tls" => vec![&tls_dialer::OBJECT, &tcp::OBJECT],
        "ws" | "wss" => vec![&ws_dialer::OBJECT, &tcp_below::OBJECT],
        "mtcp" => vec![&mux::OBJECT, &tcp::OBJECT],
        "mtls" => vec![&tls_dialer::OBJECT, &mux::OBJECT, &tcp::OBJECT],
        "mws" | "mwss" => vec![&ws_dialer::OBJECT, &mux::OBJECT, &tcp_below::OBJECT],
        "quic" => vec![&quic::OBJECT],
        "h2" | "h2c" => vec![&http2_dialer::OBJECT],
        "grpc" => vec![&grpc_dialer::OBJECT, &tcp_below::OBJECT],
        _ => return None,
    });
    Some(tables)
}
