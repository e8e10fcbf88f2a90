//! Waiting for a stream, with the memory of a busy one given back once it is quiet.

use std::{io, time::Duration};

use rtun_proto::frame::FrameBuffer;
use tokio::{net::TcpStream, time::timeout};

/// A stream that has been quiet this long no longer needs a large buffer. Giving it back at every pause would make the
/// next burst begin with small reads.
const QUIET: Duration = Duration::from_secs(1);

/// Waits until the stream is worth reading; shrinks `buffer` if that takes long.
pub(crate) async fn readable(stream: &TcpStream, buffer: &mut FrameBuffer) -> io::Result<()> {
    if let Ok(ready) = timeout(QUIET, stream.readable()).await {
        return ready;
    }
    buffer.shrink();
    stream.readable().await
}
