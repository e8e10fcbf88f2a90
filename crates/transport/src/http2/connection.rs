//! The task of an HTTP/2 connection: it moves frames between the stream below and the connection's requests, and ends
//! with them.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, client, server};
use http::{Request, Response, request::Parts};
use tokio::sync::mpsc;

use super::{
    HttpError,
    request::{BodyFraming, RequestStream, WRITE_MAX},
    task::{ClientProof, ConnectionTask},
};
use crate::{Stream, forwarded::Forwarded, io_stream::IoStream, poll_end};

/// Requests that one connection may have at once; further ones are refused (RFC 9113 section 5.1.2).
pub const REQUESTS_MAX: u32 = 128;

/// The most bytes of a request's headers, as RFC 9113 section 6.5.2 counts them.
pub const HEADERS_MAX: u32 = 16 * 1024;

/// What the other side may send on one request before any of it is read.
pub const REQUEST_WINDOW: u32 = 1024 * 1024;

/// What the other side may send on all requests of a connection before any of it is read. More than sixteen requests that
/// nobody reads hold the connection's others.
pub const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// What a client may send on one request before [`PROOF`](super::PROOF).
pub const FIRST_REQUEST_WINDOW: u32 = 16 * 1024;

/// What a client may send on all requests before [`PROOF`](super::PROOF). Small frames that wait cost the library more than their bytes;
/// it ends a connection where that comes to half the connection's window. A request's window of packets does not.
pub const FIRST_CONNECTION_WINDOW: u32 = 256 * 1024;

/// What a server makes of requests.
pub(crate) struct RequestService {
    pub(crate) judge: Box<Judge>,
    pub(crate) framing: BodyFraming,
}

/// What a server answers to a request.
pub(crate) type Judge = dyn Fn(&Parts) -> RequestAnswer + Send + Sync;

/// The response that begins a stream, or one that refuses the request.
pub(crate) enum RequestAnswer {
    Take(Response<()>),
    Refuse(Response<()>),
}

/// A request taken: its stream, and what it says of its client.
pub(super) type Taken = Result<(Arc<dyn Stream>, Forwarded), HttpError>;

/// Serves requests on `stream` until it ends, or nobody takes requests any more and the last of them is done.
pub(super) fn serve(
    stream: Arc<dyn Stream>,
    service: RequestService,
) -> (mpsc::Receiver<Taken>, ConnectionTask) {
    let (requests, taken) = mpsc::channel(REQUESTS_MAX as usize);
    let task = ConnectionTask::spawn(async move {
        let mut builder = server::Builder::new();
        builder
            .initial_window_size(FIRST_REQUEST_WINDOW)
            .initial_connection_window_size(FIRST_CONNECTION_WINDOW)
            .max_concurrent_streams(REQUESTS_MAX)
            .max_header_list_size(HEADERS_MAX)
            .max_send_buffer_size(WRITE_MAX);
        let connection = tokio::select! {
            connection = builder.handshake(IoStream(Arc::clone(&stream))) => connection,
            () = requests.closed() => return,
        };
        let end = match connection {
            Ok(connection) => drive(connection, &service, &requests).await,
            Err(error) => Err(error),
        };
        let is_orderly = end.is_ok();
        if let Err(error) = end {
            // Nobody takes requests, or they have too many to take.
            let _ = requests.try_send(Err(HttpError::Protocol(error)));
        }
        drop(requests);
        if is_orderly {
            // The task that waits for that limits its time.
            let _ = poll_fn(|cx| poll_end(&*stream, cx)).await;
        }
    });
    (taken, task)
}

async fn drive(
    mut connection: server::Connection<IoStream, Bytes>,
    service: &RequestService,
    requests: &mpsc::Sender<Taken>,
) -> Result<(), h2::Error> {
    let proof = Arc::<ClientProof>::default();
    let mut is_wide = false;
    let mut is_ending = false;
    loop {
        let next = poll_fn(|cx| {
            proof.connection.register(cx.waker());
            loop {
                if let Poll::Ready(accepted) = pin!(connection.accept()).poll(cx) {
                    return Poll::Ready(Some(accepted));
                }
                if !is_wide && proof.is_given() {
                    // Fails while the client has not acknowledged the settings before; that it does wakes this task.
                    is_wide = connection.set_initial_window_size(REQUEST_WINDOW).is_ok();
                    if is_wide {
                        connection.set_target_window_size(CONNECTION_WINDOW);
                        continue;
                    }
                }
                return match is_ending && !connection.has_streams() {
                    true => Poll::Ready(None),
                    false => Poll::Pending,
                };
            }
        });
        let next = tokio::select! {
            next = next => next,
            () = requests.closed(), if !is_ending => {
                connection.graceful_shutdown();
                is_ending = true;
                continue;
            }
        };
        match next {
            Some(Some(Ok((request, respond)))) => {
                take(request, respond, service, requests, &proof);
            }
            Some(Some(Err(error))) => return Err(error),
            Some(None) => return Ok(()),
            None => return poll_fn(|cx| connection.poll_closed(cx)).await,
        }
    }
}

/// Answers a request. When nobody takes requests, or too many wait to be taken, it is refused as one that was not looked
/// at (RFC 9113 section 8.7).
fn take(
    request: Request<RecvStream>,
    mut respond: server::SendResponse<Bytes>,
    service: &RequestService,
    requests: &mpsc::Sender<Taken>,
    proof: &Arc<ClientProof>,
) {
    let (head, body) = request.into_parts();
    let response = match (service.judge)(&head) {
        RequestAnswer::Take(response) => response,
        RequestAnswer::Refuse(response) => {
            // A request that is gone already needs no answer.
            let _ = respond.send_response(response, true);
            return;
        }
    };
    let Ok(place) = requests.try_reserve() else {
        respond.send_reset(Reason::REFUSED_STREAM);
        return;
    };
    let Ok(outgoing) = respond.send_response(response, false) else { return };
    let headers = head.headers.iter();
    let forwarded = Forwarded::of(headers.map(|(name, value)| (name.as_str(), value.as_bytes())));
    let stream = RequestStream::of_server(body, outgoing, service.framing, Arc::clone(proof));
    place.send(Ok((Arc::new(stream), forwarded)));
}

/// Begins a connection for one request and sends it.
pub(super) async fn request(
    stream: Arc<dyn Stream>,
    request: Request<()>,
) -> Result<(client::ResponseFuture, SendStream<Bytes>, ConnectionTask), HttpError> {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(REQUEST_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADERS_MAX)
        .max_send_buffer_size(WRITE_MAX);
    let (requests, connection) =
        builder.handshake(IoStream(Arc::clone(&stream))).await.map_err(HttpError::Protocol)?;
    let task = ConnectionTask::spawn(async move {
        // How it ends the request's stream tells.
        if connection.await.is_ok() {
            // The task that waits for that limits its time.
            let _ = poll_fn(|cx| poll_end(&*stream, cx)).await;
        }
    });
    let mut requests = requests.ready().await.map_err(HttpError::Protocol)?;
    let (response, body) = requests.send_request(request, false).map_err(HttpError::Protocol)?;
    Ok((response, body, task))
}
