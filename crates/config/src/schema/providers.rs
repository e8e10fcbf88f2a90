//! The keys that say where a table's or list's rows are: sources and plugins (spec: config.md section 3).

use super::{
    Key, Object,
    Shape::{Bool, Int, Object as Is, Period, Text},
    keys::{not_yet, yes},
};

pub(super) const RELOAD: Key = yes(&["reload"], Period);
pub(super) const FILE: Key = yes(&["file"], Is(&FILE_SOURCE));
pub(super) const REDIS: Key = yes(&["redis"], Is(&REDIS_SOURCE));
pub(super) const HTTP: Key = yes(&["http"], Is(&HTTP_SOURCE));
pub(super) const PLUGIN: Key = yes(&["plugin"], Is(&PLUGIN_KEYS));

static FILE_SOURCE: Object = Object { what: "a file source", keys: &[yes(&["path"], Text)] };

static REDIS_SOURCE: Object = Object {
    what: "a redis source",
    keys: &[
        yes(&["addr"], Text),
        yes(&["db"], Int),
        yes(&["username"], Text),
        yes(&["password"], Text),
        yes(&["key"], Text),
        yes(&["type"], Text),
        yes(&["tls"], Is(&CLIENT_TLS)),
    ],
};

static HTTP_SOURCE: Object =
    Object { what: "an http source", keys: &[yes(&["url"], Text), yes(&["timeout"], Period)] };

static PLUGIN_KEYS: Object = Object {
    what: "a plugin",
    keys: &[
        yes(&["type"], Text),
        yes(&["addr"], Text),
        yes(&["tls"], Is(&CLIENT_TLS)),
        yes(&["timeout"], Period),
        yes(&["token"], Text),
    ],
};

static CLIENT_TLS: Object = Object {
    what: "a client's tls",
    keys: &[
        yes(&["secure"], Bool),
        yes(&["serverName"], Text),
        not_yet(&["certFile"]),
        not_yet(&["keyFile"]),
        not_yet(&["caFile"]),
        not_yet(&["options"]),
    ],
};
