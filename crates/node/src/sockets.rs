//! From configured socket options to those of `net`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rtun_settings::{self, NetworkNamespace};
use rtun_transport::{
    mux, quic,
    socket::{Bind, Interface, ListenOptions, SocketOptions},
};

/// Where `ip netns` keeps namespaces by name.
const NAMED: &str = "/run/netns";

/// How the sockets of connections are opened.
pub(crate) fn socket_options(config: &rtun_settings::SocketOptions) -> SocketOptions {
    let interface = |interface: &rtun_settings::Interface| Interface {
        bind: match &interface.bind {
            rtun_settings::Bind::Device(name) => Bind::Device(name.clone()),
            rtun_settings::Bind::Address(addr) => Bind::Address(*addr),
        },
        strict: interface.strict,
    };
    SocketOptions {
        interfaces: config.interfaces.iter().map(interface).collect(),
        mark: config.mark,
        netns: config.netns.as_ref().map(netns),
        segment_max: None,
    }
}

/// How a hub's socket is opened.
pub(crate) fn listen_options(config: &rtun_settings::ListenerSettings) -> ListenOptions {
    ListenOptions {
        mark: config.mark,
        netns: config.netns.as_ref().map(netns),
        reuse_port: config.reuse_port,
    }
}

/// A QUIC peer is asked for a sign of life this often, unless more often is configured, or never: UDP tells nothing of a
/// process that has ended.
const QUIC_KEEPALIVE: Duration = Duration::from_secs(2);

/// So long without any it is gone, as between rtun ends.
const QUIC_SILENCE: Duration = Duration::from_secs(6);

/// How QUIC connections are kept.
pub(crate) fn quic_settings(config: &rtun_settings::QuicSettings) -> quic::Settings {
    let usual = quic::Settings::default();
    quic::Settings {
        keepalive: config.keepalive.map(|period| period.min(QUIC_KEEPALIVE)),
        idle_timeout: match config.keepalive {
            Some(_) => config.idle_timeout.min(QUIC_SILENCE),
            None => config.idle_timeout,
        },
        handshake_timeout: config.handshake_timeout,
        max_streams: config.max_streams.unwrap_or(usual.max_streams),
        congestion: config.congestion.map_or(usual.congestion, congestion),
    }
}

fn congestion(configured: rtun_settings::CongestionControl) -> quic::Congestion {
    match configured {
        rtun_settings::CongestionControl::Adaptive => quic::Congestion::Adaptive,
        rtun_settings::CongestionControl::Cubic => quic::Congestion::Cubic,
        rtun_settings::CongestionControl::Bbr => quic::Congestion::Bbr,
        rtun_settings::CongestionControl::NewReno => quic::Congestion::NewReno,
    }
}

/// How smux sessions run.
pub(crate) fn mux_settings(config: &rtun_settings::MuxSettings) -> mux::Settings {
    let bytes = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    mux::Settings {
        version: match config.version {
            rtun_settings::MuxVersion::One => mux::Version::One,
            rtun_settings::MuxVersion::Two => mux::Version::Two,
        },
        keepalive: config.keepalive,
        keepalive_timeout: config.keepalive_timeout,
        max_frame: config.max_frame,
        receive_buffer: bytes(config.receive_buffer),
        stream_buffer: bytes(config.stream_buffer),
    }
}

/// The file of a network namespace.
pub(crate) fn netns(config: &NetworkNamespace) -> PathBuf {
    match config {
        NetworkNamespace::Named(name) => Path::new(NAMED).join(name),
        NetworkNamespace::Path(path) => path.clone(),
    }
}

#[cfg(test)]
mod tests {
    use rtun_settings::CongestionControl;

    use super::*;

    #[test]
    fn a_connection_gets_the_congestion_control_that_is_configured() {
        let of = |congestion| {
            quic_settings(&rtun_settings::QuicSettings {
                keepalive: None,
                idle_timeout: Duration::from_secs(90),
                handshake_timeout: None,
                datagrams: true,
                max_streams: None,
                congestion,
            })
            .congestion
        };
        assert_eq!(of(None), quic::Congestion::Adaptive);
        assert_eq!(of(Some(CongestionControl::Adaptive)), quic::Congestion::Adaptive);
        assert_eq!(of(Some(CongestionControl::Cubic)), quic::Congestion::Cubic);
        assert_eq!(of(Some(CongestionControl::Bbr)), quic::Congestion::Bbr);
        assert_eq!(of(Some(CongestionControl::NewReno)), quic::Congestion::NewReno);
    }
}
