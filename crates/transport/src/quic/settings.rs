//! What a QUIC connection is set to, and the bounds of what it may hold.

use std::{sync::Arc, time::Duration};

use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use rtun_settings::QuicSettings;

use super::{
    congestion,
    flow::{QuicFlow, Watch},
};

/// The protocols offered where the TLS settings name none, the preferred first.
pub const ALPN: [&[u8]; 2] = [b"h3", b"quic/v1"];

/// How long a handshake may take unless configured.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of one stream that may wait to be read; the other side holds back what is beyond.
pub const STREAM_RECEIVE_WINDOW: u32 = 1024 * 1024;

/// The same of all streams of a connection together.
pub const CONNECTION_RECEIVE_WINDOW: u32 = 1536 * 1024;

/// Bytes of a stream's connection that were taken and are not acknowledged yet, at least and at most; between them as many as
/// the path takes, so that what cannot leave waits in rtun's own queue. The most is what the other side lets be on its way.
pub const SEND_WINDOW_MIN: u64 = 32 * 1024;
/// See [`SEND_WINDOW_MIN`].
pub const SEND_WINDOW_MAX: u64 = 1024 * 1024;

/// Bytes of datagrams that may wait to be sent, at most.
pub const DATAGRAM_SEND_BUFFER: usize = 128 * 1024;

/// Bytes of datagrams that may wait to be taken; the oldest beyond are dropped.
pub const DATAGRAM_RECEIVE_BUFFER: usize = 256 * 1024;

/// The longest UDP payload tried on a path: what IPv4 leaves of Ethernet's 1500 bytes. IPv6 leaves 20 less, which is found
/// out by trying (RFC 9000 section 14.3).
const UDP_PAYLOAD_MAX: u16 = 1472;

/// Streams that the other side may have open at once unless configured; further ones it has to hold back.
pub const STREAMS_MAX: u32 = 100;

/// A peer that is asked for a sign of life at all is asked this often at least: UDP does not tell of a process that has ended.
pub const KEEPALIVE_MAX: Duration = Duration::from_secs(2);

/// A peer that is asked for signs of life is gone after this long without any, as between rtun ends on TCP, unless a shorter time
/// is configured.
pub const SILENCE_MAX: Duration = Duration::from_secs(6);

/// How long a handshake may take.
pub(super) fn handshake_limit(settings: &QuicSettings) -> Duration {
    settings.handshake_timeout.unwrap_or(HANDSHAKE_TIMEOUT)
}

/// Streams that the other side of an accepted connection may open.
pub(super) fn max_streams(settings: &QuicSettings) -> u32 {
    settings.max_streams.unwrap_or(STREAMS_MAX)
}

/// How long nothing may arrive before the connection is dead.
fn idle_timeout(settings: &QuicSettings) -> Duration {
    match settings.keepalive {
        Some(_) => settings.idle_timeout.min(SILENCE_MAX),
        None => settings.idle_timeout,
    }
}

/// What quinn is given for a connection whose other side may open `max_streams`.
pub(super) fn transport(
    settings: &QuicSettings,
    max_streams: u32,
    flow: &Arc<QuicFlow>,
) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(UDP_PAYLOAD_MAX);
    // Longer than a QUIC integer can say is without end.
    let idle = IdleTimeout::try_from(idle_timeout(settings)).ok();
    transport
        .keep_alive_interval(settings.keepalive.map(|period| period.min(KEEPALIVE_MAX)))
        .max_idle_timeout(idle)
        .max_concurrent_bidi_streams(VarInt::from_u32(max_streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_RECEIVE_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_RECEIVE_WINDOW))
        .send_window(SEND_WINDOW_MIN)
        .datagram_send_buffer_size(DATAGRAM_SEND_BUFFER)
        .datagram_receive_buffer_size(Some(DATAGRAM_RECEIVE_BUFFER))
        .congestion_controller_factory(Arc::new(Watch {
            flow: Arc::clone(flow),
            factory: congestion::factory(settings.congestion),
        }))
        .mtu_discovery_config(Some(mtu));
    transport
}

/// `own` protocols, or [`ALPN`] if there are none.
pub(super) fn protocols(own: &[Vec<u8>]) -> Vec<Vec<u8>> {
    match own {
        [] => ALPN.map(<[u8]>::to_vec).to_vec(),
        own => own.to_vec(),
    }
}

/// `tls` with [`protocols`].
pub(super) fn offering(tls: Arc<rustls::ClientConfig>) -> Arc<rustls::ClientConfig> {
    let mut tls = Arc::unwrap_or_clone(tls);
    tls.alpn_protocols = protocols(&tls.alpn_protocols);
    Arc::new(tls)
}

/// `tls` with [`protocols`].
pub(super) fn accepting(tls: Arc<rustls::ServerConfig>) -> Arc<rustls::ServerConfig> {
    let mut tls = Arc::unwrap_or_clone(tls);
    tls.alpn_protocols = protocols(&tls.alpn_protocols);
    Arc::new(tls)
}
