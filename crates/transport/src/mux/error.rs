//! Why a session is over, or opens no stream.

use std::{io, sync::Arc, time::Duration};

use rtun_proto::mux::FrameError;

/// Why a session is over, or opens no stream.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MuxError {
    /// The stream below failed.
    #[error("the connection below failed: {0}")]
    Carrier(Arc<io::Error>),
    /// The other side ended the stream below, and the session with it.
    #[error("the other side ended the connection")]
    Ended,
    /// This side ended the session.
    #[error("the session was closed")]
    Closed,
    /// The other side sent what is no frame of the session's version.
    #[error("the other side does not speak this multiplexing: {0}")]
    Frame(FrameError),
    /// The other side sent more of a stream than it was given room for.
    #[error("the other side exceeded the window of stream {0}")]
    WindowExceeded(u32),
    /// The other side says to have read more of a stream than was sent.
    #[error("the other side read more of stream {0} than was sent")]
    ConsumedUnsent(u32),
    /// Nothing arrived for the whole time the other side had to show that it is there.
    #[error("the other side was silent for {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// The session has [`MAX_STREAMS`](super::MAX_STREAMS) streams; the session goes on.
    #[error("the session has as many streams as it may")]
    TooManyStreams,
    /// All stream ids were used; the session goes on, and a new one has to be opened for more.
    #[error("the session has used all stream ids")]
    OutOfIds,
}

impl MuxError {
    /// As what the streams of the session fail with.
    pub(super) fn to_io(&self) -> io::Error {
        let kind = match self {
            Self::Carrier(error) => error.kind(),
            Self::Ended => io::ErrorKind::UnexpectedEof,
            Self::Closed => io::ErrorKind::NotConnected,
            Self::Frame(_) | Self::WindowExceeded(_) | Self::ConsumedUnsent(_) => {
                io::ErrorKind::InvalidData
            }
            Self::Silent(_) => io::ErrorKind::TimedOut,
            Self::TooManyStreams | Self::OutOfIds => io::ErrorKind::QuotaExceeded,
        };
        io::Error::new(kind, self.clone())
    }
}

impl From<io::Error> for MuxError {
    fn from(error: io::Error) -> Self {
        Self::Carrier(Arc::new(error))
    }
}
