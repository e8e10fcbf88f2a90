//! Every key of GOST's configuration that has to do with routing tunnels, and the check of a document against
//! them.
//!
//! A key is read, accepted without effect, without harm if it has none (a warning), not supported yet (an error by name), refused
//! for a reason (likewise), or unknown (C26). The tables here say so once; from them come the check, suggestions, the
//! spelling of `-O`, the values the reader takes, and docs/configuration-reference.md.

mod check;
mod field;
mod metadata;
mod objects;
mod reference;
mod rows;
mod tls;
mod transports;
mod types;

pub(crate) use check::check;
pub(crate) use field::{
    Any, CommaTexts, Field, Headers, In, Int, KeySpec, KeyStatus, Object, OneText, Setting, Shape,
    Texts, Timespan,
};
pub(crate) use metadata::{
    api_handler, chain_metadata, device_listener, http_connector, metrics_handler, node_metadata,
    proxy_connector, relay_connector, relay_handler, router_connector, router_handler,
    service_metadata, socks4_connector, socks5_connector, tap_handler, tap_listener, tun_handler,
    tun_listener,
};
pub(crate) use objects::*;
pub use reference::{all_keys, reference};
pub(crate) use rows::*;
pub(crate) use tls::*;
pub(crate) use transports::{
    any_listener, grpc, grpc_dialer, http2, http2_dialer, mux, quic, tcp_dialer, web_socket,
    ws_dialer,
};
pub use types::{CONNECTORS, DIALERS, HANDLERS, LISTENERS, Refused, Types};

/// Whether a top-level key holds objects that rtun itself does not use.
pub(crate) fn is_by_name(key: &str) -> bool {
    root::OBJECT.key(key).is_some_and(|key| matches!(key.status, KeyStatus::ByName))
}

/// Whether a key is read.
pub(crate) fn is_taken(key: &KeySpec) -> bool {
    matches!(key.status, KeyStatus::Taken(..))
}

/// Whether a top-level key holds a list, which several sources append to.
pub(crate) fn is_list(key: &str) -> bool {
    root::OBJECT.key(key).is_some_and(|key| matches!(key.shape, Shape::ObjectList(_)))
}
