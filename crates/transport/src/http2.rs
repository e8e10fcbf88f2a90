//! HTTP/2 (RFC 9113) on a stream (`h2` and `h2c`): each request is one stream, its bodies the bytes of both directions.

use std::{future::poll_fn, sync::Arc, time::Duration};

use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use rtun_settings::{Http2Settings, HttpHeader};
use tokio::{sync::mpsc, time::timeout};

use self::{connection::Taken, request::RequestStream, task::ConnectionTask};
use super::{Stream, forwarded::Forwarded, http_text::encode_path, names::without_zone};

mod connection;
mod request;
mod task;

pub use self::connection::{
    CONNECTION_WINDOW, FIRST_CONNECTION_WINDOW, FIRST_REQUEST_WINDOW, HEADERS_MAX, REQUEST_WINDOW,
    REQUESTS_MAX,
};
pub use self::task::PROOF;
pub(super) use self::{
    connection::{RequestAnswer, RequestService},
    request::{BodyFraming, GRPC_STATUS},
};

/// Why there is no request.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The stream below fails, or one of the sides breaks HTTP/2.
    #[error("the HTTP/2 connection fails: {0}")]
    Protocol(h2::Error),
    /// The server refuses the request.
    #[error("the server refuses the request: {0}")]
    Refused(StatusCode),
    /// A header that was to be sent cannot be.
    #[error("{0:?} with its value is no header")]
    BadHeader(String),
    /// The host cannot be sent.
    #[error("{0:?} is no host")]
    BadHost(String),
    /// The path cannot be sent.
    #[error("{0:?} is no path")]
    BadPath(String),
}

/// A connection as its server sees it, and all its requests: dropping it ends them and the stream below at once.
/// [`Server::shutdown`] is the orderly end.
#[derive(Debug)]
pub struct Server {
    requests: mpsc::Receiver<Taken>,
    connection: ConnectionTask,
}

impl Server {
    /// The next request that is one for a stream, answered, and what it says of its client. Others are answered by their status
    /// and not reported. After the connection's end, `None`; where that is no orderly one, the error that ended it first, at most
    /// once. Loses nothing when dropped.
    ///
    /// A request that is not taken while [`REQUESTS_MAX`] wait is refused.
    pub async fn next(&mut self) -> Result<Option<(Arc<dyn Stream>, Forwarded)>, HttpError> {
        self.requests.recv().await.transpose()
    }

    /// Takes no more requests, says so to the client (GOAWAY), waits until those there are have ended, and ends the connection
    /// and the stream below in order. Past `within` it ends at once, with its requests.
    pub async fn shutdown(mut self, within: Duration) {
        self.requests.close();
        // What is left then the drop ends.
        let _ = timeout(within, poll_fn(|cx| self.connection.poll_over(cx))).await;
    }
}

/// Sends a request on a connection of its own and waits for the answer: `GET` of the path, or `CONNECT` without one. The
/// authority is the configured host, else `addr`, `host:port` as it was reached, without its zone. `is_tls`, whether TLS carries
/// the connection, decides the request's scheme. Takes as long as the server does; the caller sets the deadline. Has to be
/// called within a tokio runtime.
pub async fn connect(
    stream: Arc<dyn Stream>,
    settings: &Http2Settings,
    addr: &str,
    is_tls: bool,
) -> Result<Arc<dyn Stream>, HttpError> {
    let request = request_for(settings, addr, is_tls)?;
    let (response, body, connection) = connection::request(stream, request).await?;
    let response = response.await.map_err(HttpError::Protocol)?;
    if response.status() != StatusCode::OK {
        return Err(HttpError::Refused(response.status()));
    }
    Ok(Arc::new(RequestStream::of_client(body, response.into_body(), BodyFraming::Raw, connection)))
}

/// Serves requests: `CONNECT` without a path, else that path. Others are answered by 405 without a path, by 400 with one.
/// Has to be called within a tokio runtime.
///
/// A task of the connection's own serves it, until its end or the server's.
pub fn serve(stream: Arc<dyn Stream>, settings: &Http2Settings) -> Server {
    let path = settings.path.clone();
    let judge = move |request: &Parts| {
        let refusal = match &path {
            None if request.method == Method::CONNECT => None,
            None => Some(StatusCode::METHOD_NOT_ALLOWED),
            Some(path) => {
                let target = request.uri.path_and_query().map(PathAndQuery::as_str);
                let is_it =
                    target.is_some_and(|target| target == path || target == encode_path(path));
                (!is_it).then_some(StatusCode::BAD_REQUEST)
            }
        };
        let mut response = Response::new(());
        match refusal {
            None => RequestAnswer::Take(response),
            Some(status) => {
                *response.status_mut() = status;
                RequestAnswer::Refuse(response)
            }
        }
    };
    serve_with(stream, RequestService { judge: Box::new(judge), framing: BodyFraming::Raw })
}

fn request_for(
    settings: &Http2Settings,
    addr: &str,
    is_tls: bool,
) -> Result<Request<()>, HttpError> {
    let Http2Settings { path, host, headers } = settings;
    let (method, path) = match path {
        Some(path) => (Method::GET, Some(encode_path(path))),
        None => (Method::CONNECT, None),
    };
    let host = host.clone().unwrap_or_else(|| without_zone(addr));
    request(method, path, &host, is_tls, headers)
}

/// A request; without a path its target is the host alone.
pub(super) fn request(
    method: Method,
    path: Option<String>,
    host: &str,
    is_tls: bool,
    headers: &[HttpHeader],
) -> Result<Request<()>, HttpError> {
    let is_host = |header: &&HttpHeader| header.name.eq_ignore_ascii_case("host");
    let host = headers.iter().find(is_host).map_or(host, |header| header.value.expose());
    let mut target = http::uri::Parts::default();
    let authority = Authority::try_from(host).map_err(|_| HttpError::BadHost(host.to_owned()))?;
    target.authority = Some(authority);
    if let Some(path) = path {
        target.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
        let bad = |_| HttpError::BadPath(path.clone());
        target.path_and_query = Some(PathAndQuery::try_from(path.as_str()).map_err(bad)?);
    }
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() =
        Uri::from_parts(target).map_err(|_| HttpError::BadHost(host.to_owned()))?;
    for HttpHeader { name, value } in headers.iter().filter(|header| !is_host(header)) {
        let bad = || HttpError::BadHeader(name.clone());
        let value = HeaderValue::from_str(value.expose()).map_err(|_| bad())?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        request.headers_mut().append(name, value);
    }
    Ok(request)
}

/// Serves the requests of `service`.
pub(super) fn serve_with(stream: Arc<dyn Stream>, service: RequestService) -> Server {
    let (requests, connection) = connection::serve(stream, service);
    Server { requests, connection }
}

/// Sends a request on a connection of its own; the answer may come as late as the first byte.
pub(super) async fn connect_early(
    stream: Arc<dyn Stream>,
    request: Request<()>,
    framing: BodyFraming,
) -> Result<Arc<dyn Stream>, HttpError> {
    let (response, body, connection) = connection::request(stream, request).await?;
    Ok(Arc::new(RequestStream::of_early_client(body, response, framing, connection)))
}
