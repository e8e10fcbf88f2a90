//! Serving the page of metrics: its listener, who may read it, and how requests are answered.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{
        ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE,
    },
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::timeout;
use tracing::info;

use super::series;
use crate::operations::{
    board::Board,
    http::{HttpAddress, HttpListenError, HttpListening, HttpStream, HttpUsers},
};

/// The content type of the page.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Connections at a time. For one more, the oldest is closed, so that slow clients cannot block others.
const AT_ONCE: usize = 16;

/// From accepting to the end of the request's head.
const REQUEST_DEADLINE: Duration = Duration::from_secs(2);

/// From accepting to the last byte of the answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Serves metrics until it is dropped.
pub(crate) struct MetricsServer {
    config: rtun_settings::MetricsSettings,
    settings: Arc<MetricsAccess>,
    listening: Arc<Listening>,
}

/// Metrics cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] HttpListenError),
}

struct Listening {
    settings: Arc<ArcSwap<MetricsAccess>>,
    /// Accepts and answers, and ends when this is dropped.
    listening: HttpListening,
}

/// What may change while it listens.
struct MetricsAccess {
    path: String,
    users: Option<HttpUsers>,
}

impl MetricsServer {
    /// The server for `wanted`: `before` if nothing has changed, one on the same listener if the address is unchanged, else a new
    /// one. On the same listener, changes take effect at [`MetricsServer::commit`].
    pub(crate) fn next(
        before: Option<&Arc<Self>>,
        wanted: Option<&rtun_settings::MetricsSettings>,
        board: &Arc<Board>,
    ) -> Result<Option<Arc<Self>>, MetricsError> {
        let Some(wanted) = wanted else { return Ok(None) };
        if let Some(same) = before.filter(|before| before.config == *wanted) {
            return Ok(Some(Arc::clone(same)));
        }
        let settings = Arc::new(MetricsAccess::new(wanted));
        let listening = match before.filter(|before| before.config.addr == wanted.addr) {
            Some(before) => Arc::clone(&before.listening),
            None => Arc::new(Listening::start(&wanted.addr, Arc::clone(&settings), board)?),
        };
        Ok(Some(Arc::new(Self { config: wanted.clone(), settings, listening })))
    }

    /// From now on requests are answered by this server's configuration.
    pub(crate) fn commit(&self) {
        self.listening.settings.store(Arc::clone(&self.settings));
    }

    /// The address of its listener, if it is not a Unix socket.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.listening.listening.local_addr()
    }
}

impl Listening {
    fn start(
        addr: &str,
        settings: Arc<MetricsAccess>,
        board: &Arc<Board>,
    ) -> Result<Self, MetricsError> {
        let settings = Arc::new(ArcSwap::new(settings));
        let (its_settings, its_board) = (Arc::clone(&settings), Arc::clone(board));
        let address =
            HttpAddress { what: "metrics", addr, tls: None, private: false, at_once: AT_ONCE };
        let listening = HttpListening::start(&address, board, move |stream, _| {
            let (settings, board) = (its_settings.load_full(), Arc::clone(&its_board));
            async move {
                // A client that is too slow, or has gone, gets no answer.
                let _ = timeout(DEADLINE, serve(stream, &settings, &board)).await;
            }
        })?;
        let local_addr = listening.local_addr();
        let address = local_addr.map_or_else(|| addr.to_owned(), |addr| addr.to_string());
        info!(address, "metrics are served");
        Ok(Self { settings, listening })
    }
}

impl MetricsAccess {
    fn new(config: &rtun_settings::MetricsSettings) -> Self {
        let users = config.auther.as_ref().map(HttpUsers::of);
        Self { path: config.path.clone(), users }
    }
}

async fn serve(
    stream: Box<dyn HttpStream>,
    settings: &MetricsAccess,
    board: &Board,
) -> Result<(), hyper::Error> {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(&request, settings, board);
        async { Ok::<_, Infallible>(answer) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_DEADLINE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn answer<B>(
    request: &Request<B>,
    settings: &MetricsAccess,
    board: &Board,
) -> Response<Full<Bytes>> {
    if request.uri().path() != settings.path {
        return refusal(StatusCode::NOT_FOUND, None);
    }
    if request.method() != Method::GET {
        return refusal(StatusCode::METHOD_NOT_ALLOWED, Some((ALLOW, "GET")));
    }
    let is_known = |users: &HttpUsers| users.prove(request.headers(), board).is_some();
    if !settings.users.as_ref().is_none_or(is_known) {
        let realm = (WWW_AUTHENTICATE, "Basic realm=\"metrics\"");
        return refusal(StatusCode::UNAUTHORIZED, Some(realm));
    }
    let mut response = Response::new(Full::from(series::page(board.sample())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

fn refusal(
    status: StatusCode,
    header: Option<(HeaderName, &'static str)>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    if let Some((name, value)) = header {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
