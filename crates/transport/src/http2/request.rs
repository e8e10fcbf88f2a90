//! The two bodies of one HTTP/2 request as a [`Stream`].

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream, client::ResponseFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use rtun_tls::record::PLAINTEXT_MAX;

use super::task::{ClientProof, ConnectionTask};
use crate::{
    Stream,
    grpc_message::{GrpcDecoder, GrpcHeader},
    http_text::shown,
};

/// The trailer with the status of a gRPC call.
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The payload of a DATA frame that with its header fills a TLS record. As every side takes frames of 16 KiB (RFC 9113 section
/// 4.2), none is cut further.
const FRAME_MAX: usize = PLAINTEXT_MAX - 9;

/// The most bytes that one write takes, with a chunk's header.
pub(super) const WRITE_MAX: usize = 4 * FRAME_MAX;

/// What the bodies consist of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFraming {
    /// The stream's bytes.
    Raw,
    /// gRPC messages, a status at the end.
    Grpc,
}

/// One end of a request.
pub(crate) struct RequestStream {
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
    /// The connection, where it serves this request alone.
    connection: Option<ConnectionTask>,
}

struct Incoming {
    source: BodySource,
    /// Bytes that have come; they count against the windows until they are read.
    chunk: Bytes,
    /// Of gRPC.
    decoder: Option<GrpcDecoder>,
    end: Option<BodyEnd>,
    /// The last reader's.
    waker: Waker,
    /// Tells the connection that its requests are read.
    proof: Option<Arc<ClientProof>>,
}

enum BodySource {
    /// The server has not answered.
    Response(ResponseFuture),
    Body(RecvStream),
    /// The stream is closed.
    Gone,
}

#[derive(Debug)]
enum BodyEnd {
    Whole,
    Failed(io::ErrorKind, String),
}

struct Outgoing {
    /// Gone when the stream is closed.
    body: Option<SendStream<Bytes>>,
    framing: BodyFraming,
    is_server: bool,
    is_ended: bool,
}

impl RequestStream {
    /// A server's, answered.
    pub(super) fn of_server(
        body: RecvStream,
        response: SendStream<Bytes>,
        framing: BodyFraming,
        proof: Arc<ClientProof>,
    ) -> Self {
        Self::new(BodySource::Body(body), response, framing, Some(proof), None)
    }

    /// A client's, whose answer has come.
    pub(super) fn of_client(
        request: SendStream<Bytes>,
        response: RecvStream,
        framing: BodyFraming,
        connection: ConnectionTask,
    ) -> Self {
        Self::new(BodySource::Body(response), request, framing, None, Some(connection))
    }

    /// A client's, whose answer may come as late as the first byte.
    pub(super) fn of_early_client(
        request: SendStream<Bytes>,
        response: ResponseFuture,
        framing: BodyFraming,
        connection: ConnectionTask,
    ) -> Self {
        Self::new(BodySource::Response(response), request, framing, None, Some(connection))
    }

    fn new(
        source: BodySource,
        body: SendStream<Bytes>,
        framing: BodyFraming,
        proof: Option<Arc<ClientProof>>,
        connection: Option<ConnectionTask>,
    ) -> Self {
        let incoming = Incoming {
            source,
            chunk: Bytes::new(),
            decoder: (framing == BodyFraming::Grpc).then(GrpcDecoder::default),
            end: None,
            waker: Waker::noop().clone(),
            proof,
        };
        let is_server = incoming.proof.is_some();
        Self {
            incoming: Mutex::new(incoming),
            outgoing: Mutex::new(Outgoing {
                body: Some(body),
                framing,
                is_server,
                is_ended: false,
            }),
            connection,
        }
    }

    /// A poisoned lock guards whole chunks: nothing in between panics.
    fn incoming(&self) -> MutexGuard<'_, Incoming> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Incoming {
    /// Ready when a chunk is there, or the end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.chunk.is_empty() && self.end.is_none() {
            match &mut self.source {
                BodySource::Response(response) => match ready!(Pin::new(response).poll(cx)) {
                    Ok(response) => self.answered(response),
                    Err(error) => self.end = Some(BodyEnd::of(&error)),
                },
                BodySource::Body(body) => match ready!(body.poll_data(cx)) {
                    Some(Ok(chunk)) => self.chunk = chunk,
                    Some(Err(error)) => self.end = Some(BodyEnd::of(&error)),
                    None => self.end = Some(ready!(self.poll_end(cx))),
                },
                BodySource::Gone => self.end = Some(BodyEnd::Whole),
            }
        }
        Poll::Ready(())
    }

    fn answered(&mut self, response: Response<RecvStream>) {
        let (head, body) = response.into_parts();
        if head.status != http::StatusCode::OK {
            let refusal = format!("the server refuses the request: {}", head.status);
            self.end = Some(BodyEnd::Failed(io::ErrorKind::ConnectionRefused, refusal));
        } else if let Some(status) = status_of(&head.headers)
            && self.decoder.is_some()
        {
            self.end = Some(BodyEnd::of_grpc(Some(status)));
        }
        self.source = BodySource::Body(body);
    }

    /// How the body ends.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<BodyEnd> {
        let Some(decoder) = &self.decoder else { return Poll::Ready(BodyEnd::Whole) };
        if !decoder.is_between_messages() {
            let cut = "the other side ends within a gRPC message".to_owned();
            return Poll::Ready(BodyEnd::Failed(io::ErrorKind::UnexpectedEof, cut));
        }
        if self.proof.is_some() {
            // A client ends without a status.
            return Poll::Ready(BodyEnd::Whole);
        }
        let BodySource::Body(body) = &mut self.source else { return Poll::Ready(BodyEnd::Whole) };
        Poll::Ready(match ready!(body.poll_trailers(cx)) {
            Ok(trailers) => BodyEnd::of_grpc(trailers.as_ref().and_then(status_of)),
            Err(error) => BodyEnd::of(&error),
        })
    }

    /// Takes from the chunk; how much was written.
    fn take(&mut self, into: &mut [u8]) -> usize {
        let (consumed, written) = match &mut self.decoder {
            Some(decoder) => {
                let progress = decoder.decode(&self.chunk, into);
                if let Some(error) = decoder.failure() {
                    self.end = Some(BodyEnd::Failed(io::ErrorKind::InvalidData, error.to_string()));
                    self.chunk.clear();
                }
                (progress.consumed, progress.written)
            }
            None => {
                let len = self.chunk.len().min(into.len());
                into[..len].copy_from_slice(&self.chunk[..len]);
                (len, len)
            }
        };
        self.chunk.advance(consumed.min(self.chunk.len()));
        if self.chunk.is_empty() {
            // Even an empty rest keeps the connection's whole buffer.
            self.chunk = Bytes::new();
        }
        if let BodySource::Body(body) = &mut self.source {
            // Fails only when more is given back than was taken.
            let _ = body.flow_control().release_capacity(consumed);
        }
        if let Some(proof) = &self.proof {
            proof.read(consumed);
        }
        written
    }
}

impl BodyEnd {
    fn of(error: &h2::Error) -> Self {
        let kind = match error.get_io() {
            Some(error) => error.kind(),
            None if error.is_reset() || error.is_go_away() => io::ErrorKind::ConnectionReset,
            None => io::ErrorKind::InvalidData,
        };
        Self::Failed(kind, format!("the HTTP/2 stream fails: {error}"))
    }

    fn of_grpc(status: Option<(String, String)>) -> Self {
        let text = match status {
            Some((code, _)) if code == "0" => return Self::Whole,
            Some((code, message)) => {
                format!("the server ends the call with gRPC status {code}: \"{message}\"")
            }
            None => "the server ends the call without a gRPC status".to_owned(),
        };
        Self::Failed(io::ErrorKind::ConnectionAborted, text)
    }

    fn outcome(&self) -> io::Result<usize> {
        match self {
            Self::Whole => Ok(0),
            Self::Failed(kind, text) => Err(io::Error::new(*kind, text.clone())),
        }
    }
}

impl Stream for RequestStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut incoming = self.incoming();
        if !incoming.waker.will_wake(cx.waker()) {
            incoming.waker = cx.waker().clone();
        }
        incoming.poll_chunk(cx).map(Ok)
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut incoming = self.incoming();
        let mut written = 0;
        while written < into.len() {
            // A poll replaces the waker that the body wakes: it has to stay the reader's.
            let waker = incoming.waker.clone();
            let is_ready = incoming.poll_chunk(&mut Context::from_waker(&waker)).is_ready();
            if incoming.chunk.is_empty() {
                return match &incoming.end {
                    _ if written > 0 => Ok(written),
                    Some(end) if is_ready => end.outcome(),
                    _ => Err(io::ErrorKind::WouldBlock.into()),
                };
            }
            written += incoming.take(&mut into[written..]);
        }
        Ok(written)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outgoing = self.outgoing();
        if outgoing.is_ended {
            return Poll::Ready(Ok(()));
        }
        let Some(body) = &mut outgoing.body else { return Poll::Ready(Ok(())) };
        body.reserve_capacity(WRITE_MAX);
        while body.capacity() == 0 {
            match ready!(body.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut outgoing = self.outgoing();
        let Outgoing { body: Some(body), framing, is_ended: false, .. } = &mut *outgoing else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let is_grpc = *framing == BodyFraming::Grpc;
        // Of a chunk that fills `len` bytes, or a little more than it has.
        let header_len = |len: usize| match is_grpc {
            true => GrpcHeader::new(len as u32).bytes().len(),
            false => 0,
        };
        let total: usize = pieces.iter().map(|piece| piece.len()).sum();
        let wanted = total.min(WRITE_MAX - header_len(WRITE_MAX));
        if wanted == 0 {
            return Ok(0);
        }
        body.reserve_capacity(wanted + header_len(wanted));
        // Where there is room for little more than a chunk's header, this goes beyond and waits in the connection.
        let capacity = body.capacity();
        let room =
            capacity.checked_sub(header_len(capacity)).filter(|room| *room > 0).unwrap_or(capacity);
        let mut len = wanted.min(room);
        if len == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // Whole frames, unless there is less than one.
        let all = len + header_len(len);
        if len < wanted && all > FRAME_MAX {
            len -= all % FRAME_MAX;
        }
        let mut bytes = BytesMut::with_capacity(len + header_len(len));
        if is_grpc {
            bytes.extend_from_slice(GrpcHeader::new(len as u32).bytes());
        }
        let end = bytes.len() + len;
        for piece in pieces {
            let missing = end - bytes.len();
            bytes.extend_from_slice(&piece[..piece.len().min(missing)]);
        }
        let mut bytes = bytes.freeze();
        while !bytes.is_empty() {
            let frame = bytes.split_to(bytes.len().min(FRAME_MAX));
            body.send_data(frame, false).map_err(|error| broken(&error))?;
        }
        if len == wanted {
            // What is reserved is taken from the connection's other requests.
            body.reserve_capacity(0);
        }
        Ok(len)
    }

    fn poll_shutdown(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outgoing = self.outgoing();
        let Outgoing { body: Some(body), framing, is_server, is_ended } = &mut *outgoing else {
            return Poll::Ready(Ok(()));
        };
        if std::mem::replace(is_ended, true) {
            return Poll::Ready(Ok(()));
        }
        let ended = match (framing, is_server) {
            (BodyFraming::Grpc, true) => {
                let ok = HeaderValue::from_static("0");
                body.send_trailers(HeaderMap::from_iter([(GRPC_STATUS, ok)]))
            }
            _ => body.send_data(Bytes::new(), true),
        };
        Poll::Ready(ended.map_err(|error| broken(&error)))
    }

    fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(connection) = &self.connection else { return Poll::Ready(Ok(())) };
        // The library ends the connection when nobody holds its only request.
        self.outgoing().body = None;
        self.incoming().source = BodySource::Gone;
        connection.poll_over(cx).map(Ok)
    }
}

impl fmt::Debug for RequestStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestStream")
    }
}

/// Why nothing can be written.
fn broken(error: &h2::Error) -> io::Error {
    let kind = match error.reason() {
        Some(Reason::NO_ERROR) | None => io::ErrorKind::BrokenPipe,
        Some(_) => io::ErrorKind::ConnectionReset,
    };
    io::Error::new(kind, format!("the HTTP/2 stream fails: {error}"))
}

/// The status of a call and the message with it, safe to log, if `headers` have one.
fn status_of(headers: &HeaderMap) -> Option<(String, String)> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| shown(value.as_bytes()));
    Some((text("grpc-status")?, text("grpc-message").unwrap_or_default()))
}
