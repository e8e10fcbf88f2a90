//! Metadata keys by the type of what they belong to (spec: config.md section 7, transports.md).

use super::{
    Key, Object,
    Shape::{self, Any, Bool, Duration, Int, Text, Texts},
    Status::{self, Misplaced, NoEffect, NotYet, Silent, Supported},
};

const fn key(names: &'static [&'static str], shape: Shape, status: Status) -> Key {
    Key { names, shape, status }
}

const fn yes(names: &'static [&'static str], shape: Shape) -> Key {
    key(names, shape, Supported)
}

const fn not_yet(names: &'static [&'static str]) -> Key {
    key(names, Any, NotYet)
}

/// What a command line leaves in every metadata map though it counts elsewhere.
const fn silent(names: &'static [&'static str]) -> Key {
    key(names, Any, Silent)
}

const LEFT_BEHIND: Key = silent(&[
    "retries",
    "admission",
    "bypass",
    "resolver",
    "prefer",
    "hosts",
    "limiter.in",
    "limiter.out",
    "limiter.conn.in",
    "limiter.conn.out",
    "climiter",
    "rlimiter",
]);

pub(super) static SERVICE: Object = Object {
    what: "a service's metadata",
    keys: &[
        yes(&["dialTimeout"], Duration),
        yes(&["ignoreChain"], Bool),
        not_yet(&["proxyProtocol"]),
        not_yet(&["interface"]),
        not_yet(&["so_mark"]),
        not_yet(&["preUp"]),
        not_yet(&["preDown"]),
        not_yet(&["postUp"]),
        not_yet(&["postDown"]),
        not_yet(&["enableStats"]),
        not_yet(&["observer.resetTraffic"]),
        not_yet(&["observer.period", "observePeriod"]),
        not_yet(&["netns"]),
        not_yet(&["netns.out"]),
        not_yet(&["limiter.refreshInterval"]),
        not_yet(&["limiter.cleanupInterval"]),
        not_yet(&["limiter.scope"]),
        not_yet(&["labels"]),
        LEFT_BEHIND,
    ],
};

const CACHE: Status = NoEffect("answers are cached by rtun's own rules, off the packet path");

pub(super) static ROUTER_HANDLER: Object = Object {
    what: "the metadata of a `router` handler",
    keys: &[
        yes(&["router"], Text),
        yes(&["ingress"], Text),
        yes(&["readTimeout"], Duration),
        yes(&["sourceCheck"], Text),
        yes(&["router.sharing", "sharing"], Text),
        yes(&["ttl"], Bool),
        yes(&["superFrames"], Bool),
        yes(&["queueBudget"], Int),
        yes(&["maxRoutesPerRouter"], Int),
        yes(&["maxRoutes"], Int),
        yes(&["maxNamespaces"], Int),
        yes(&["maxHosts"], Int),
        yes(&["maxHostsPerUser"], Int),
        key(
            &["router.bufferSize", "bufferSize"],
            Int,
            NoEffect("packets of up to 65535 bytes are taken whole"),
        ),
        key(&["router.cache"], Bool, CACHE),
        key(&["router.cache.expiration"], Duration, CACHE),
        not_yet(&["entrypoint"]),
        not_yet(&["sd"]),
        not_yet(&["sd.cache.expiration"]),
        not_yet(&["sd.renewInterval"]),
        not_yet(&["observePeriod", "observer.period", "observer.observePeriod"]),
        not_yet(&["observer.resetTraffic"]),
        not_yet(&["limiter.refreshInterval"]),
        not_yet(&["limiter.cleanupInterval"]),
        not_yet(&["skipauth"]),
        key(
            &["auther"],
            Any,
            Misplaced(
                "an auther is named in the handler itself, in a file; a command line can give one user \
                 as user:password@",
            ),
        ),
        key(&["observer"], Any, Misplaced("an observer is named in the handler itself, in a file")),
        key(&["limiter"], Any, Misplaced("a limiter is named in the handler itself, in a file")),
        LEFT_BEHIND,
    ],
};

const UDP_TUNNEL: Status =
    NoEffect("it belongs to GOST's UDP tunnel; a host here keeps its connection alive itself");

pub(super) static TUN_HANDLER: Object = Object {
    what: "the metadata of a `tun` handler",
    keys: &[
        key(&["tun.keepalive", "keepalive"], Bool, UDP_TUNNEL),
        key(&["tun.ttl", "ttl"], Duration, UDP_TUNNEL),
        key(&["tun.token", "token", "passphrase"], Text, UDP_TUNNEL),
        key(&["tun.p2p", "p2p"], Bool, UDP_TUNNEL),
        key(&["bufferSize"], Int, NoEffect("packets of up to 65535 bytes are taken whole")),
        LEFT_BEHIND,
    ],
};

pub(super) static TUN_LISTENER: Object = Object {
    what: "the metadata of a `tun` listener",
    keys: &[
        yes(&["name", "tun.name"], Text),
        yes(&["net", "tun.net"], Texts),
        yes(&["mtu", "tun.mtu"], Int),
        yes(&["gw", "tun.gw"], Text),
        yes(&["route", "tun.route"], Texts),
        yes(&["routes", "tun.routes"], Texts),
        yes(&["dns", "tun.dns"], Texts),
        yes(&["offload"], Bool),
        yes(&["superFrames"], Bool),
        key(&["peer", "tun.peer"], Text, NoEffect("it is for macOS")),
        key(&["guid", "tun.guid"], Text, NoEffect("it is for Windows")),
        key(
            &["router", "tun.router"],
            Text,
            Misplaced("it belongs to GOST's UDP server; write the host's routes as `routes`"),
        ),
        LEFT_BEHIND,
    ],
};

pub(super) static ROUTER_CONNECTOR: Object = Object {
    what: "the metadata of a `router` connector",
    keys: &[yes(&["router.id"], Text), yes(&["connectTimeout"], Duration)],
};

const KEEPALIVE: Status = NoEffect("connections are always kept alive and checked");

pub(super) static TCP_LISTENER: Object = Object {
    what: "the metadata of a `tcp` listener",
    keys: &[
        key(&["keepalive"], Bool, KEEPALIVE),
        key(&["keepalive.idle"], Duration, KEEPALIVE),
        key(&["keepalive.interval"], Duration, KEEPALIVE),
        key(&["keepalive.count"], Int, KEEPALIVE),
        not_yet(&["mptcp"]),
        not_yet(&["reuseport"]),
        LEFT_BEHIND,
    ],
};

pub(super) static TCP_DIALER: Object = Object {
    what: "the metadata of a `tcp` dialer",
    keys: &[
        key(&["keepalive"], Bool, KEEPALIVE),
        key(&["keepalive.idle"], Duration, KEEPALIVE),
        key(&["keepalive.interval"], Duration, KEEPALIVE),
        key(&["keepalive.count"], Int, KEEPALIVE),
    ],
};

/// Of a hop, node or chain.
pub(super) static NODE: Object = Object {
    what: "the metadata of a hop or node",
    keys: &[
        not_yet(&["interface"]),
        not_yet(&["so_mark"]),
        not_yet(&["proxyProtocol"]),
        not_yet(&["netns"]),
    ],
};

/// Of transports that are not supported yet: nothing more is said than that of the type, but spelling counts.
static STREAM: Object = Object {
    what: "the metadata of a transport",
    keys: &[
        not_yet(&["mptcp"]),
        not_yet(&["backlog", "ws.backlog"]),
        not_yet(&["keepalive", "ws.keepalive", "grpc.keepalive"]),
        not_yet(&["keepalive.idle"]),
        not_yet(&["keepalive.interval"]),
        not_yet(&["keepalive.count"]),
        not_yet(&["tcp.keepalive"]),
        not_yet(&["tcp.keepalive.idle"]),
        not_yet(&["tcp.keepalive.interval"]),
        not_yet(&["tcp.keepalive.count"]),
        not_yet(&["ttl"]),
        not_yet(&["handshakeTimeout", "ws.handshakeTimeout"]),
        not_yet(&["readHeaderTimeout", "ws.readHeaderTimeout"]),
        not_yet(&["readBufferSize", "ws.readBufferSize"]),
        not_yet(&["writeBufferSize", "ws.writeBufferSize"]),
        not_yet(&["enableCompression", "ws.enableCompression"]),
        not_yet(&["path", "ws.path", "grpc.path"]),
        not_yet(&["host", "ws.host", "grpc.host", "grpc.authority"]),
        not_yet(&["header", "ws.header"]),
        not_yet(&["rejectUnknownSNI"]),
        not_yet(&["serverNames"]),
        LEFT_BEHIND,
    ],
};

static MUX: Object = Object {
    what: "the metadata of a multiplexed transport",
    keys: &[
        not_yet(&["mux.type", "muxType"]),
        not_yet(&["mux.version", "muxVersion"]),
        not_yet(&["mux.keepaliveInterval", "muxKeepAliveInterval"]),
        not_yet(&["mux.keepaliveDisabled", "muxKeepAliveDisabled"]),
        not_yet(&["mux.keepaliveTimeout", "muxKeepAliveTimeout"]),
        not_yet(&["mux.maxFrameSize", "muxMaxFrameSize"]),
        not_yet(&["mux.maxReceiveBuffer", "muxMaxReceiveBuffer"]),
        not_yet(&["mux.maxStreamBuffer", "muxMaxStreamBuffer"]),
        not_yet(&["mux.maxStreamWindow", "muxMaxStreamWindow"]),
    ],
};

static QUIC: Object = Object {
    what: "the metadata of a `quic` transport",
    keys: &[
        not_yet(&["keepAlive"]),
        not_yet(&["maxIdleTimeout"]),
        not_yet(&["maxStreams"]),
        not_yet(&["quic.enableDatagram", "enableDatagram"]),
        not_yet(&["cipherKey"]),
    ],
};

static GRPC: Object = Object {
    what: "the metadata of a `grpc` transport",
    keys: &[
        not_yet(&["grpc.insecure", "grpcInsecure", "insecure"]),
        not_yet(&["grpc.keepalive.minTime"]),
        not_yet(&["grpc.keepalive.time"]),
        not_yet(&["grpc.keepalive.timeout"]),
        not_yet(&["grpc.keepalive.permitWithoutStream"]),
        not_yet(&["grpc.minConnectTimeout"]),
    ],
};

static DTLS: Object = Object {
    what: "the metadata of a `dtls` transport",
    keys: &[
        not_yet(&["dtls.mtu", "mtu"]),
        not_yet(&["dtls.bufferSize", "bufferSize"]),
        not_yet(&["dtls.flightInterval", "flightInterval"]),
    ],
};

static KCP: Object = Object {
    what: "the metadata of a `kcp` transport",
    keys: &[
        not_yet(&["kcp.config", "c"]),
        not_yet(&["kcp.key"]),
        not_yet(&["kcp.crypt"]),
        not_yet(&["kcp.mode"]),
        not_yet(&["kcp.keepalive"]),
        not_yet(&["kcp.interval"]),
        not_yet(&["kcp.mtu"]),
        not_yet(&["kcp.rcvwnd"]),
        not_yet(&["kcp.sndwnd"]),
        not_yet(&["kcp.smuxver"]),
        not_yet(&["kcp.smuxbuf"]),
        not_yet(&["kcp.streambuf"]),
        not_yet(&["kcp.nocomp"]),
        not_yet(&["kcp.tcp"]),
    ],
};

/// All tables.
pub(super) fn tables() -> Vec<&'static Object> {
    vec![
        &SERVICE,
        &ROUTER_HANDLER,
        &TUN_HANDLER,
        &TUN_LISTENER,
        &ROUTER_CONNECTOR,
        &TCP_LISTENER,
        &TCP_DIALER,
        &NODE,
        &STREAM,
        &MUX,
        &QUIC,
        &GRPC,
        &DTLS,
        &KCP,
    ]
}

/// Whether `table` is that of a transport that is not supported yet.
pub(super) fn is_unsupported(table: &Object) -> bool {
    std::ptr::eq(table, &STREAM)
}

/// The tables of a transport that is not supported yet.
pub(super) fn of_transport(name: &str) -> Vec<&'static Object> {
    match name {
        "tls" | "ws" | "wss" | "h2" | "h2c" => vec![&STREAM],
        "mtls" | "mws" | "mwss" | "mtcp" => vec![&STREAM, &MUX],
        "quic" => vec![&STREAM, &QUIC],
        "grpc" => vec![&STREAM, &GRPC],
        "dtls" => vec![&STREAM, &DTLS],
        "kcp" => vec![&STREAM, &KCP],
        _ => vec![],
    }
}
