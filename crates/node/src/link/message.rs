//! Reading the first message of a connection: a request, or the answer to it.

use std::io;

use rtun_proto::{
    frame::FrameBuffer,
    relay::{DecodeError, Decoded},
};
use rtun_transport::Stream;

/// Why no message was read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MessageError {
    /// What arrived is not such a message.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// The connection ended before the message was complete.
    #[error("the connection ended")]
    Ended,
    /// The connection broke.
    #[error(transparent)]
    Broken(#[from] io::Error),
}

/// Reads until `decode` has a complete message. What arrived after it stays in `buffer`. Cancel safe.
pub(crate) async fn read_message<T>(
    stream: &dyn Stream,
    buffer: &mut FrameBuffer,
    decode: impl Fn(&[u8]) -> Result<Decoded<T>, DecodeError>,
) -> Result<T, MessageError> {
    loop {
        if let Decoded::Complete { value, len } = decode(buffer.filled())? {
            buffer.consume(len);
            return Ok(value);
        }
        stream.readable().await?;
        match stream.try_read(buffer.space()) {
            Ok(0) => return Err(MessageError::Ended),
            Ok(n) => buffer.advance(n),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}
