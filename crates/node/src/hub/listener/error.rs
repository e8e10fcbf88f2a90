//! Why a connection never got as far as its request.

use std::{io, net::IpAddr};

use rtun_tls::{Fault, TlsError};
use rtun_transport::{
    http2::HttpError, mux::MuxError, proxy::ReadHeaderError, quic::QuicHandshakeError, ws::WsError,
};

/// Why a connection never got as far as its request.
#[derive(Debug, thiserror::Error)]
pub(in crate::hub) enum ListenerError {
    /// The TLS handshake failed.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The QUIC handshake failed.
    #[error("QUIC: {0}")]
    Quic(#[from] QuicHandshakeError),
    /// The smux session failed.
    #[error(transparent)]
    Mux(#[from] MuxError),
    /// The PROXY protocol header is missing or wrong.
    #[error(transparent)]
    ProxyHeader(#[from] ReadHeaderError),
    /// The HTTP/2 connection failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The WebSocket handshake failed.
    #[error(transparent)]
    Ws(#[from] WsError),
    /// A peer that is not a trusted proxy names a client.
    #[error("forwarding headers come from {0}, which is none of `trustedProxies`")]
    UntrustedForwarder(IpAddr),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
}

impl ListenerError {
    /// The fixed word used in logs and metrics.
    pub(in crate::hub) fn as_str(&self) -> &'static str {
        match self {
            Self::Tls(error) if error.fault() == Fault::Network => "closed_early",
            Self::Tls(_) => "tls_error",
            Self::Quic(QuicHandshakeError::Tls { .. } | QuicHandshakeError::TlsRefused { .. }) => {
                "tls_error"
            }
            Self::Quic(_) => "closed_early",
            Self::Mux(_) | Self::Http(_) => "upgrade_error",
            Self::ProxyHeader(ReadHeaderError::Io(_)) => "closed_early",
            Self::ProxyHeader(_) => "upgrade_error",
            Self::Ws(WsError::Io(_)) => "closed_early",
            Self::Ws(_) => "upgrade_error",
            Self::UntrustedForwarder(_) => "untrusted_forwarder",
            Self::Broken(_) => "closed_early",
        }
    }
}
