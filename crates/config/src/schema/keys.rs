//! The objects of a configuration and their keys (spec: config.md section 3).

use super::{
    Key, Object,
    Shape::{self, Any, Bool, Int, List, Metadata, Period, Text, Texts},
    Status::{Elsewhere, Misplaced, NoEffect, NotYet, Silent, Supported},
    providers::{FILE, HTTP, PLUGIN, REDIS, RELOAD},
    tls::{DIALER_TLS, LISTENER_TLS, TOP_TLS},
};

pub(super) const fn yes(names: &'static [&'static str], shape: Shape) -> Key {
    Key { names, shape, status: Supported }
}

pub(super) const fn no_effect(
    names: &'static [&'static str],
    shape: Shape,
    why: &'static str,
) -> Key {
    Key { names, shape, status: NoEffect(why) }
}

pub(super) const fn not_yet(names: &'static [&'static str]) -> Key {
    Key { names, shape: Any, status: NotYet }
}

/// Not supported yet, but a list that sources append to.
const fn not_yet_list(names: &'static [&'static str]) -> Key {
    Key { names, shape: List(&ANYTHING), status: NotYet }
}

const fn elsewhere(names: &'static [&'static str]) -> Key {
    Key { names, shape: Any, status: Elsewhere }
}

const fn elsewhere_list(names: &'static [&'static str]) -> Key {
    Key { names, shape: List(&ANYTHING), status: Elsewhere }
}

pub(super) const fn misplaced(names: &'static [&'static str], right: &'static str) -> Key {
    Key { names, shape: Any, status: Misplaced(right) }
}

use Shape::Object as Is;

static ANYTHING: Object = Object { what: "an object", keys: &[] };

pub(crate) static ROOT: Object = Object {
    what: "a configuration",
    keys: &[
        yes(&["services"], List(&SERVICE)),
        yes(&["chains"], List(&CHAIN)),
        yes(&["hops"], List(&HOP)),
        yes(&["authers"], List(&AUTHER)),
        yes(&["admissions"], List(&ADMISSION)),
        elsewhere_list(&["bypasses"]),
        elsewhere_list(&["resolvers"]),
        elsewhere_list(&["hosts"]),
        yes(&["ingresses"], List(&INGRESS)),
        yes(&["routers"], List(&ROUTER)),
        not_yet_list(&["sds"]),
        elsewhere_list(&["recorders"]),
        elsewhere_list(&["rewriters"]),
        elsewhere_list(&["caches"]),
        not_yet_list(&["limiters"]),
        not_yet_list(&["quotas"]),
        not_yet_list(&["climiters"]),
        not_yet_list(&["rlimiters"]),
        not_yet_list(&["observers"]),
        not_yet_list(&["loggers"]),
        yes(&["tls"], Is(&TOP_TLS)),
        yes(&["log"], Is(&LOG)),
        not_yet(&["profiling"]),
        not_yet(&["api"]),
        yes(&["metrics"], Is(&METRICS)),
    ],
};

pub(super) static SERVICE: Object = Object {
    what: "a service",
    keys: &[
        yes(&["name"], Text),
        yes(&["addr"], Text),
        yes(&["interface"], Text),
        yes(&["sockopts"], Is(&SOCKOPTS)),
        yes(&["admission"], Text),
        yes(&["admissions"], Texts),
        elsewhere(&["bypass"]),
        elsewhere(&["bypasses"]),
        elsewhere(&["resolver"]),
        elsewhere(&["hosts"]),
        not_yet(&["limiter"]),
        not_yet(&["quotas"]),
        not_yet(&["climiter"]),
        not_yet(&["rlimiter"]),
        not_yet(&["logger"]),
        not_yet(&["loggers"]),
        not_yet(&["observer"]),
        elsewhere(&["rewriter"]),
        elsewhere(&["recorders"]),
        elsewhere(&["cache"]),
        yes(&["handler"], Is(&HANDLER)),
        yes(&["listener"], Is(&LISTENER)),
        yes(&["listeners"], List(&WAY_IN)),
        yes(&["forwarder"], Is(&FORWARDER)),
        yes(&["metadata"], Metadata),
        Key { names: &["status"], shape: Any, status: Silent },
    ],
};

static HANDLER: Object = Object {
    what: "a handler",
    keys: &[
        yes(&["type"], Text),
        yes(&["retries"], Int),
        yes(&["chain"], Text),
        yes(&["chainGroup"], Is(&CHAIN_GROUP)),
        yes(&["auther"], Text),
        yes(&["authers"], Texts),
        yes(&["auth"], Is(&AUTH)),
        elsewhere(&["tls"]),
        not_yet(&["limiter"]),
        not_yet(&["observer"]),
        yes(&["metadata"], Metadata),
    ],
};

static LISTENER: Object = Object {
    what: "a listener",
    keys: &[
        yes(&["type"], Text),
        elsewhere(&["chain"]),
        elsewhere(&["chainGroup"]),
        misplaced(&["auther"], "put `auther` into the handler"),
        misplaced(&["authers"], "put `authers` into the handler"),
        misplaced(&["auth"], "put `auth` into the handler"),
        yes(&["tls"], Is(&LISTENER_TLS)),
        yes(&["metadata"], Metadata),
    ],
};

/// One more listener of a hub.
static WAY_IN: Object = Object {
    what: "a listener",
    keys: &[
        yes(&["type"], Text),
        yes(&["addr"], Text),
        yes(&["tls"], Is(&LISTENER_TLS)),
        yes(&["metadata"], Metadata),
    ],
};

static CHAIN_GROUP: Object =
    Object { what: "a chain group", keys: &[yes(&["chains"], Any), not_yet(&["selector"])] };

static FORWARDER: Object = Object {
    what: "a forwarder",
    keys: &[
        yes(&["hop", "name"], Text),
        yes(&["selector"], Is(&SELECTOR)),
        yes(&["nodes"], List(&TARGET)),
        not_yet(&["hopGroup"]),
    ],
};

static TARGET: Object = Object {
    what: "a forwarder's node",
    keys: &[
        yes(&["name"], Text),
        yes(&["addr"], Text),
        elsewhere(&["network"]),
        elsewhere(&["bypass"]),
        elsewhere(&["bypasses"]),
        elsewhere(&["protocol"]),
        elsewhere(&["host"]),
        elsewhere(&["path"]),
        elsewhere(&["filter"]),
        elsewhere(&["matcher"]),
        elsewhere(&["probe"]),
        elsewhere(&["auth"]),
        elsewhere(&["http"]),
        elsewhere(&["tls"]),
        elsewhere(&["metadata"]),
    ],
};

pub(super) static CHAIN: Object = Object {
    what: "a chain",
    keys: &[
        yes(&["name"], Text),
        yes(&["hops"], List(&HOP)),
        yes(&["metadata"], Metadata),
        misplaced(&["selector"], "a selector belongs to a hop"),
    ],
};

pub(super) static HOP: Object = Object {
    what: "a hop",
    keys: &[
        yes(&["name"], Text),
        yes(&["interface"], Text),
        yes(&["sockopts"], Is(&SOCKOPTS)),
        yes(&["selector"], Is(&SELECTOR)),
        elsewhere(&["bypass"]),
        elsewhere(&["bypasses"]),
        elsewhere(&["resolver"]),
        elsewhere(&["hosts"]),
        yes(&["nodes"], List(&NODE)),
        not_yet(&["reload"]),
        not_yet(&["file"]),
        not_yet(&["redis"]),
        not_yet(&["http"]),
        not_yet(&["plugin"]),
        yes(&["metadata"], Metadata),
    ],
};

static NODE: Object = Object {
    what: "a node",
    keys: &[
        yes(&["name"], Text),
        yes(&["addr"], Text),
        elsewhere(&["network"]),
        elsewhere(&["bypass"]),
        elsewhere(&["bypasses"]),
        elsewhere(&["resolver"]),
        elsewhere(&["hosts"]),
        yes(&["connector"], Is(&CONNECTOR)),
        yes(&["dialer"], Is(&DIALER)),
        yes(&["dialers"], List(&WAY)),
        yes(&["interface"], Text),
        yes(&["netns"], Text),
        yes(&["sockopts"], Is(&SOCKOPTS)),
        elsewhere(&["filter"]),
        elsewhere(&["matcher"]),
        elsewhere(&["http"]),
        elsewhere(&["tls"]),
        yes(&["probe"], Is(&PROBE)),
        yes(&["metadata"], Metadata),
    ],
};

static CONNECTOR: Object = Object {
    what: "a connector",
    keys: &[
        yes(&["type"], Text),
        yes(&["auth"], Is(&AUTH)),
        elsewhere(&["tls"]),
        yes(&["metadata"], Metadata),
    ],
};

static DIALER: Object = Object {
    what: "a dialer",
    keys: &[
        yes(&["type"], Text),
        elsewhere(&["auth"]),
        yes(&["tls"], Is(&DIALER_TLS)),
        yes(&["metadata"], Metadata),
    ],
};

/// One of several dialers of a node.
static WAY: Object = Object {
    what: "a dialer",
    keys: &[
        yes(&["type"], Text),
        yes(&["addr"], Text),
        elsewhere(&["auth"]),
        yes(&["tls"], Is(&DIALER_TLS)),
        yes(&["metadata"], Metadata),
    ],
};

static SOCKOPTS: Object = Object { what: "socket options", keys: &[yes(&["mark"], Int)] };

static PROBE: Object = Object {
    what: "a probe",
    keys: &[
        yes(&["type"], Text),
        no_effect(&["addr"], Text, "the node's own address is probed"),
        yes(&["interval"], Period),
        yes(&["timeout"], Period),
        elsewhere(&["httpPath"]),
        elsewhere(&["httpHost"]),
        elsewhere(&["httpHeaders"]),
        elsewhere(&["expectedStatus"]),
        elsewhere(&["command"]),
    ],
};

static SELECTOR: Object = Object {
    what: "a selector",
    keys: &[
        yes(&["strategy"], Text),
        yes(&["maxFails"], Int),
        yes(&["failTimeout"], Period),
        not_yet(&["maxLatency"]),
    ],
};

static AUTH: Object = Object {
    what: "auth",
    keys: &[yes(&["username"], Text), yes(&["password"], Text), not_yet(&["file"])],
};

static AUTHER: Object = Object {
    what: "an auther",
    keys: &[yes(&["name"], Text), yes(&["auths"], List(&USER)), RELOAD, FILE, REDIS, HTTP, PLUGIN],
};

static USER: Object = Object {
    what: "a user",
    keys: &[
        yes(&["username"], Text),
        yes(&["password"], Text),
        yes(&["hosts"], Texts),
        not_yet(&["file"]),
    ],
};

static ROUTER: Object = Object {
    what: "a router",
    keys: &[
        yes(&["name"], Text),
        yes(&["routes"], List(&ROUTE)),
        RELOAD,
        FILE,
        REDIS,
        HTTP,
        PLUGIN,
    ],
};

static ROUTE: Object = Object {
    what: "a route",
    keys: &[yes(&["net"], Text), yes(&["dst"], Text), yes(&["gateway"], Text)],
};

static INGRESS: Object = Object {
    what: "an ingress",
    keys: &[yes(&["name"], Text), yes(&["rules"], List(&RULE)), RELOAD, FILE, REDIS, HTTP, PLUGIN],
};

static RULE: Object =
    Object { what: "a rule", keys: &[yes(&["hostname"], Text), yes(&["endpoint"], Text)] };

static ADMISSION: Object = Object {
    what: "an admission",
    keys: &[
        yes(&["name"], Text),
        yes(&["whitelist"], Bool),
        yes(&["reverse"], Bool),
        yes(&["matchers"], Texts),
        RELOAD,
        FILE,
        REDIS,
        HTTP,
        PLUGIN,
    ],
};

static METRICS: Object = Object {
    what: "the metrics",
    keys: &[
        yes(&["addr"], Text),
        yes(&["path"], Text),
        yes(&["auth"], Is(&AUTH)),
        yes(&["auther"], Text),
    ],
};

static LOG: Object = Object {
    what: "the log",
    keys: &[
        yes(&["output"], Text),
        yes(&["level"], Text),
        yes(&["format"], Text),
        not_yet(&["rotation"]),
    ],
};
