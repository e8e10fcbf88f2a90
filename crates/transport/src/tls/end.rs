//! How a direction of a TLS connection ends, and what its users get then.

use std::io;

use rtun_tls::{hint, record::RecordError};
use rustls::AlertDescription;

/// Why a direction is over.
#[derive(Debug, Clone, Copy)]
pub(super) enum TlsEnd {
    /// It was closed in order.
    Closed,
    /// The stream below has ended without that.
    Cut,
    /// The other side has given up, with this alert.
    Refused(AlertDescription),
    /// The other side breaks the rules.
    Broken(RecordError),
    /// The stream below has failed, or the other direction.
    Failed,
}

impl TlsEnd {
    /// What a reader gets.
    pub(super) fn read(self) -> io::Result<usize> {
        let (kind, text) = match self {
            Self::Closed => return Ok(0),
            Self::Cut => {
                (io::ErrorKind::UnexpectedEof, "TLS: the connection was cut without a close".into())
            }
            Self::Refused(alert) => (
                io::ErrorKind::ConnectionAborted,
                format!("TLS: the other side gives up with the alert {alert:?}{}", hint(&alert)),
            ),
            Self::Broken(error) => (io::ErrorKind::InvalidData, format!("TLS: {error}")),
            Self::Failed => (io::ErrorKind::ConnectionAborted, "TLS: the connection failed".into()),
        };
        Err(io::Error::new(kind, text))
    }

    /// What a writer gets.
    pub(super) fn write(self) -> io::Error {
        match self {
            Self::Closed => io::Error::new(io::ErrorKind::BrokenPipe, "TLS: closed for writing"),
            end => match end.read() {
                Err(error) => error,
                Ok(_) => io::ErrorKind::BrokenPipe.into(),
            },
        }
    }
}
