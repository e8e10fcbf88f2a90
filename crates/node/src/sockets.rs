//! From configured socket options to those of `net`.

use std::path::{Path, PathBuf};

use rtun_config::model::{self, NetworkNamespace};
use rtun_net::transport::{
    quic,
    socket::{Bind, Interface, ListenOptions, SocketOptions},
};

/// Where `ip netns` keeps namespaces by name.
const NAMED: &str = "/run/netns";

/// How the sockets of connections are opened.
pub(crate) fn socket_options(config: &model::SocketOptions) -> SocketOptions {
    let interface = |interface: &model::Interface| Interface {
        bind: match &interface.bind {
            model::Bind::Device(name) => Bind::Device(name.clone()),
            model::Bind::Address(addr) => Bind::Address(*addr),
        },
        strict: interface.strict,
    };
    SocketOptions {
        interfaces: config.interfaces.iter().map(interface).collect(),
        mark: config.mark,
        netns: config.netns.as_ref().map(netns),
    }
}

/// How a hub's socket is opened.
pub(crate) fn listen_options(config: &model::Listener) -> ListenOptions {
    ListenOptions {
        mark: config.mark,
        netns: config.netns.as_ref().map(netns),
        reuse_port: config.reuse_port,
    }
}

/// How QUIC connections are kept.
pub(crate) fn quic_settings(config: &model::Quic) -> quic::Settings {
    let usual = quic::Settings::default();
    quic::Settings {
        keepalive: config.keepalive,
        idle_timeout: config.idle_timeout,
        handshake_timeout: config.handshake_timeout,
        max_streams: config.max_streams.unwrap_or(usual.max_streams),
        ..usual
    }
}

/// The file of a network namespace.
pub(crate) fn netns(config: &NetworkNamespace) -> PathBuf {
    match config {
        NetworkNamespace::Named(name) => Path::new(NAMED).join(name),
        NetworkNamespace::Path(path) => path.clone(),
    }
}
