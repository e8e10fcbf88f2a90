//! Metadata keys by the type of what they belong to (spec: config.md section 7).

use super::{
    Key, Object,
    Shape::{self, Any, Bool, Duration, Int, Text, Texts},
    Status::{self, Misplaced, NoEffect, NotYet, Silent, Supported},
    transport_stack,
};

pub(super) const fn key(names: &'static [&'static str], shape: Shape, status: Status) -> Key {
    Key { names, shape, status }
}

pub(super) const fn yes(names: &'static [&'static str], shape: Shape) -> Key {
    key(names, shape, Supported)
}

pub(super) const fn not_yet(names: &'static [&'static str]) -> Key {
    key(names, Any, NotYet)
}

/// What a command line leaves in every metadata map though it counts elsewhere.
const fn silent(names: &'static [&'static str]) -> Key {
    key(names, Any, Silent)
}

pub(super) const LEFT_BEHIND: Key = silent(&[
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
        yes(&["proxyProtocol"], Int),
        yes(&["interface"], Text),
        yes(&["so_mark"], Int),
        not_yet(&["preUp"]),
        not_yet(&["preDown"]),
        not_yet(&["postUp"]),
        not_yet(&["postDown"]),
        not_yet(&["enableStats"]),
        not_yet(&["observer.resetTraffic"]),
        not_yet(&["observer.period", "observePeriod"]),
        yes(&["netns"], Text),
        yes(&["netns.out"], Text),
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
        yes(&["icmp"], Bool),
        yes(&["address"], Texts),
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

pub(super) static TUN_HANDLER: Object = Object {
    what: "the metadata of a `tun` handler",
    keys: &[
        yes(&["tun.keepalive", "keepalive"], Bool),
        yes(&["tun.ttl", "ttl"], Duration),
        yes(&["tun.token", "token", "passphrase"], Text),
        yes(&["tun.p2p", "p2p"], Bool),
        yes(&["allow"], Texts),
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
        yes(&["router", "tun.router"], Text),
        LEFT_BEHIND,
    ],
};

pub(super) static ROUTER_CONNECTOR: Object = Object {
    what: "the metadata of a `router` connector",
    keys: &[yes(&["router.id"], Text), yes(&["connectTimeout"], Duration)],
};

/// Of the connector to an HTTP proxy.
pub(super) static HTTP_CONNECTOR: Object = Object {
    what: "the metadata of an `http` connector",
    keys: &[yes(&["timeout"], Duration), yes(&["header"], Any)],
};

/// Of the connector to a SOCKS5 proxy.
pub(super) static SOCKS5_CONNECTOR: Object = Object {
    what: "the metadata of a `socks5` connector",
    keys: &[
        yes(&["timeout"], Duration),
        key(&["notls"], Bool, NoEffect("GOST's own encryption of SOCKS5 is never offered")),
        key(&["relay"], Text, NO_DATAGRAMS),
        key(&["udp.bufferSize", "udpBufferSize"], Int, NO_DATAGRAMS),
        key(&["udp.timeout"], Duration, NO_DATAGRAMS),
    ],
};

const NO_DATAGRAMS: Status = NoEffect("no datagrams go through a proxy");

/// What GOST leaves in a hop's metadata of the parameters that become the dialer's `tls`.
const TLS_LEFT_BEHIND: Key = silent(&[
    "tls.certFile",
    "certFile",
    "cert",
    "tls.keyFile",
    "keyFile",
    "key",
    "tls.caFile",
    "caFile",
    "ca",
    "tls.secure",
    "secure",
    "tls.serverName",
    "serverName",
]);

/// Of a hop or node.
pub(super) static NODE: Object = Object {
    what: "the metadata of a hop or node",
    keys: &[
        yes(&["interface"], Text),
        yes(&["so_mark"], Int),
        yes(&["proxyProtocol"], Int),
        yes(&["netns"], Text),
        yes(&["weight"], Int),
        yes(&["backup"], Bool),
        not_yet(&["maxFails"]),
        not_yet(&["failTimeout"]),
        TLS_LEFT_BEHIND,
    ],
};

const ONLY_CHAIN: Status = NoEffect("a host has one chain");

pub(super) static CHAIN: Object = Object {
    what: "the metadata of a chain",
    keys: &[
        key(&["weight"], Int, ONLY_CHAIN),
        key(&["backup"], Bool, ONLY_CHAIN),
        key(&["maxFails"], Int, ONLY_CHAIN),
        key(&["failTimeout"], Duration, ONLY_CHAIN),
    ],
};

/// All tables.
pub(super) fn tables() -> Vec<&'static Object> {
    let mut tables = vec![
        &SERVICE,
        &ROUTER_HANDLER,
        &TUN_HANDLER,
        &TUN_LISTENER,
        &ROUTER_CONNECTOR,
        &HTTP_CONNECTOR,
        &SOCKS5_CONNECTOR,
        &NODE,
        &CHAIN,
    ];
    tables.extend(transport_stack::tables());
    tables
}
