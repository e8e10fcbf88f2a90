//! Why handshakes fail and connections end, in words for those who have to act.

use std::{io, time::Duration};

use quinn::{ConnectionError, TransportErrorCode};

/// TLS alerts ride in QUIC error codes from here (RFC 9001 section 4.8).
const ALERT_BASE: u64 = 0x100;
/// RFC 7301 section 3.2.
const NO_APPLICATION_PROTOCOL: u64 = 120;

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum QuicHandshakeError {
    /// No socket could be opened.
    #[error("cannot open a UDP socket: {0}")]
    Socket(#[source] io::Error),
    /// The handshake was not done in time.
    #[error("no answer within {} s", .after.as_secs_f32())]
    TimedOut {
        /// How long it was waited for.
        after: Duration,
    },
    /// What the other side proved or did in TLS is not good enough for this side: its certificate, above all.
    #[error("{reason}")]
    Tls {
        /// In rustls's words.
        reason: String,
    },
    /// The other side said that this side's TLS is not good enough.
    #[error("the other side refuses the TLS handshake: {reason}")]
    TlsRefused {
        /// In the other side's words, or the name of its alert.
        reason: String,
    },
    /// The sides have no application protocol in common.
    #[error("no application protocol in common")]
    Alpn,
    /// The other side takes no connections now.
    #[error("refused")]
    Refused,
    /// The sides have no QUIC version in common.
    #[error("no QUIC version in common")]
    Version,
    /// The name to verify is no name.
    #[error("{name:?} is no server name")]
    ServerName {
        /// The name.
        name: String,
    },
    /// It ended for another reason.
    #[error("{0}")]
    Lost(ConnectionError),
}

impl From<ConnectionError> for QuicHandshakeError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::VersionMismatch => Self::Version,
            ConnectionError::TransportError(own) => match alert(own.code) {
                Some(NO_APPLICATION_PROTOCOL) => Self::Alpn,
                Some(_) => Self::Tls { reason: own.reason },
                None => Self::Lost(ConnectionError::TransportError(own)),
            },
            ConnectionError::ConnectionClosed(close) => match alert(close.error_code) {
                Some(NO_APPLICATION_PROTOCOL) => Self::Alpn,
                Some(_) => Self::TlsRefused { reason: close.to_string() },
                None if close.error_code == TransportErrorCode::CONNECTION_REFUSED => Self::Refused,
                None => Self::Lost(ConnectionError::ConnectionClosed(close)),
            },
            error => Self::Lost(error),
        }
    }
}

fn alert(code: TransportErrorCode) -> Option<u64> {
    u64::from(code).checked_sub(ALERT_BASE).filter(|alert| *alert <= u64::from(u8::MAX))
}

/// The end of a connection, for readers and writers.
pub(super) fn ended(error: ConnectionError) -> io::Error {
    let kind = match error {
        ConnectionError::TimedOut => io::ErrorKind::TimedOut,
        ConnectionError::ConnectionClosed(_)
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset => io::ErrorKind::ConnectionReset,
        ConnectionError::LocallyClosed => io::ErrorKind::NotConnected,
        _ => io::ErrorKind::ConnectionAborted,
    };
    io::Error::new(kind, error)
}
