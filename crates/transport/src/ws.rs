//! WebSocket (RFC 6455) on a stream: every write is one binary message, what comes is the bytes of all
//! messages.

use std::{io, sync::Arc};

use rtun_settings::WebSocketSettings;

use self::{
    frame::WsDecoder,
    stream::{MaskKeys, WebSocket},
    upgrade::{HEAD_MAX, UpgradeKey, answer, check, head_end, refusal, request},
};
use super::{Stream, forwarded::Forwarded};

pub mod frame;
mod keepalive;
mod stream;
pub mod upgrade;

pub use self::stream::MESSAGE_MAX;

/// Why a stream does not become a WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum WsError {
    /// The stream below ends or fails first.
    #[error("the connection fails during the WebSocket upgrade: {0}")]
    Io(#[from] io::Error),
    /// The request or response head has more than [`HEAD_MAX`] bytes.
    #[error("the WebSocket upgrade's head is longer than {HEAD_MAX} bytes")]
    HeadTooLong,
    /// The other side does not speak HTTP.
    #[error("the other side does not speak HTTP: {0}")]
    NotHttp(httparse::Error),
    /// The server refuses the request.
    #[error("the server refuses the WebSocket: {status} {reason}")]
    Refused {
        /// The status of its response.
        status: u16,
        /// The reason with it: at most 64 bytes, escaped.
        reason: String,
    },
    /// The server's response begins no WebSocket.
    #[error("the server's response {0}")]
    BadResponse(&'static str),
    /// The client asks for a path that is not served.
    #[error("a client asks for the path {0}, which is not served")]
    WrongPath(String),
    /// The client's request asks for no WebSocket.
    #[error("a client's request {0}")]
    BadRequest(&'static str),
    /// A header that was to be sent cannot be.
    #[error("the header {name:?} {why}")]
    BadHeader {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Begins a WebSocket as the client. The `Host` header is the configured host, else `addr`, `host:port` as it was reached, without
/// its zone. Takes as long as the server does; the caller sets the deadline.
///
/// Where pings are configured the server is asked whether it is still there while a task waits to read. After two questions and
/// nothing heard the stream fails with [`io::ErrorKind::TimedOut`].
pub async fn connect(
    stream: Arc<dyn Stream>,
    settings: &WebSocketSettings,
    addr: &str,
) -> Result<Arc<dyn Stream>, WsError> {
    let key = UpgradeKey::new(stream::random());
    stream.write_all(&request(settings, addr, &key)?).await?;
    let (head, rest) = read_head(&*stream).await?;
    check(&head, &key)?;
    let socket = WebSocket::new(stream, WsDecoder::of_server(), rest)
        .masking(MaskKeys::new())
        .asking_every(settings.ping_every);
    Ok(Arc::new(socket))
}

/// Begins a WebSocket as the server, with the configured headers in the answer, and gives what the request says of its client. A request for another path is answered
/// by 404, every other one by 400. Takes as long as the client does; the caller sets the deadline.
pub async fn accept(
    stream: Arc<dyn Stream>,
    settings: &WebSocketSettings,
) -> Result<(Arc<dyn Stream>, Forwarded), WsError> {
    let answered = match read_head(&*stream).await {
        Ok((head, rest)) => answer(&head, settings).map(|answered| (answered, rest)),
        Err(error) => Err(error),
    };
    let ((response, forwarded), rest) = match answered {
        Ok(answered) => answered,
        Err(error) => {
            if let Some(response) = refusal(&error) {
                stream.write_all(response.as_bytes()).await?;
                stream.shutdown().await?;
            }
            return Err(error);
        }
    };
    stream.write_all(response.as_bytes()).await?;
    Ok((Arc::new(WebSocket::new(stream, WsDecoder::of_client(), rest)), forwarded))
}

/// A head, and what has come after it.
async fn read_head(stream: &dyn Stream) -> Result<(Vec<u8>, Vec<u8>), WsError> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        head.resize((before + 1024).min(HEAD_MAX), 0);
        let read = stream.read(&mut head[before..]).await?;
        head.truncate(before + read);
        if let Some(end) = head_end(&head, before) {
            let rest = head.split_off(end);
            return Ok((head, rest));
        }
        if head.len() == HEAD_MAX {
            return Err(WsError::HeadTooLong);
        }
        if read == 0 {
            return Err(WsError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}
