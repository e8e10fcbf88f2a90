//! Why a connection did not become an association.

use std::io;

use rtun_core::{
    Refusal,
    limit::{ConnectionsExceeded, RequestsExceeded},
    udp_tunnel::RelayRefusal,
};
use rtun_proto::relay::DecodeError;

use super::listener::ListenerError;
use crate::link::MessageError;

/// Why a connection did not become an association.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdmissionError {
    /// The rules refuse the host; it has received an answer.
    #[error("{0}")]
    Refused(Refusal),
    /// The relay refuses the client; it has received an answer.
    #[error(transparent)]
    RelayRefused(#[from] RelayRefusal),
    /// Not a request of the protocol. Like GOST, the hub sends no answer.
    #[error("{0}")]
    Malformed(DecodeError),
    /// The connection ended or broke.
    #[error("the connection ended before the request was whole: {0}")]
    Broken(#[from] io::Error),
    /// The transport's own handshakes failed.
    #[error(transparent)]
    HubListener(#[from] ListenerError),
    /// The host's certificate is not for the name that it reports.
    #[error("the host's certificate is not for the name {0:?}")]
    NotInCertificate(String),
    /// The transport's handshakes were not done in time.
    #[error("the transport's handshakes were not done in time")]
    TransportTimeout,
    /// The request was not complete in time.
    #[error("no whole request in time")]
    Timeout,
    /// No host may connect from there.
    #[error("no host may connect from this address")]
    AddressRefused,
    /// The admission plugin gives no answer.
    #[error("the admission plugin does not answer")]
    AddressUnavailable,
    /// A `climiter` allows no more connections.
    #[error(transparent)]
    ConnectionsExceeded(#[from] ConnectionsExceeded),
    /// An `rlimiter` allows no more requests now.
    #[error(transparent)]
    RequestsExceeded(#[from] RequestsExceeded),
    /// Too many other connections wait to be admitted.
    #[error("too many connections wait to be admitted")]
    TurnedOut,
}

impl From<MessageError> for AdmissionError {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Malformed(error) => Self::Malformed(error),
            MessageError::Ended => Self::Broken(io::ErrorKind::UnexpectedEof.into()),
            MessageError::Broken(error) => Self::Broken(error),
        }
    }
}

impl AdmissionError {
    /// The fixed word used in logs and metrics.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.as_str(),
            Self::RelayRefused(refusal) => refusal.as_str(),
            Self::Malformed(DecodeError::Version(_)) => "bad_version",
            Self::Malformed(DecodeError::TooLong { .. }) => "request_too_big",
            Self::Malformed(_) => "bad_feature",
            Self::Broken(_) => "closed_early",
            Self::AddressRefused => "address_refused",
            Self::AddressUnavailable => "address_unavailable",
            Self::HubListener(error) => error.as_str(),
            Self::NotInCertificate(_) => "name_not_permitted",
            Self::TransportTimeout => "timeout_transport",
            Self::Timeout => "timeout_request",
            Self::ConnectionsExceeded(_) => "limit_connections",
            Self::RequestsExceeded(_) => "limit_rate",
            Self::TurnedOut => "limit_source",
        }
    }
}
