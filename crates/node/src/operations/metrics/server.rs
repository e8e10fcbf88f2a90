//! Serving the page of metrics: its listener, who may read it, and how requests are answered.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{
        ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue,
        WWW_AUTHENTICATE,
    },
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rtun_core::Credentials;
use rtun_settings::{self, ListenOptions, Provider};
use rtun_transport::tcp::{self, ListenError};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    runtime::Handle,
    task::JoinHandle,
    time::timeout,
};
use tracing::info;

use super::series;
use crate::{
    operations::{board::Board, control_socket::remove_stale},
    runtime::duties::Duty,
};

/// The content type of the page.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Connections at a time. For one more, the oldest is closed, so that slow clients cannot block others.
const AT_ONCE: usize = 16;

/// From accepting to the end of the request's head.
const REQUEST_DEADLINE: Duration = Duration::from_secs(2);

/// From accepting to the last byte of the answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Pause after a failure to accept, such as no descriptor left: other connections may end during it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    Listen(#[from] ListenError),
    /// A Unix socket cannot be made.
    #[error("cannot listen on {}: {source}", path.display())]
    Socket {
        /// Of the socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The users come from a source or a plugin.
    #[error(
        "auther {0:?} has a source or a plugin: for metrics, list the users in the configuration itself"
    )]
    Users(String),
}

struct Listening {
    settings: Arc<ArcSwap<MetricsAccess>>,
    local_addr: Option<SocketAddr>,
    socket: Option<PathBuf>,
    /// Accepts and answers, and ends when this is dropped.
    _accepting: Duty,
}

/// What may change while it listens.
struct MetricsAccess {
    path: String,
    users: Option<Credentials>,
}

/// A listener of either kind.
enum MetricsListener {
    Tcp(TcpListener),
    Unix(UnixListener),
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
        let settings = Arc::new(MetricsAccess::new(wanted)?);
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
        self.listening.local_addr
    }
}

impl Listening {
    fn start(
        addr: &str,
        settings: Arc<MetricsAccess>,
        board: &Arc<Board>,
    ) -> Result<Self, MetricsError> {
        let (listener, local_addr, socket) = match addr.strip_prefix("unix://") {
            Some(path) => {
                let path = PathBuf::from(path);
                let listener = listen_at(&path)
                    .map_err(|source| MetricsError::Socket { path: path.clone(), source })?;
                (MetricsListener::Unix(listener), None, Some(path))
            }
            None => {
                let listener = tcp::listen(addr, &ListenOptions::default())?;
                let local_addr = listener.local_addr().ok();
                (MetricsListener::Tcp(listener), local_addr, None)
            }
        };
        let settings = Arc::new(ArcSwap::new(settings));
        let (listener, its_settings, board) =
            (Arc::new(listener), Arc::clone(&settings), Arc::clone(board));
        let duties = Arc::clone(&board.machine().duties);
        let name = format!("metrics: serving on {addr}");
        let accepting = duties.keep(&Handle::current(), name, move || {
            accept(Arc::clone(&listener), Arc::clone(&its_settings), Arc::clone(&board))
        });
        let address = local_addr.map_or_else(|| addr.to_owned(), |addr| addr.to_string());
        info!(address, "metrics are served");
        Ok(Self { settings, local_addr, socket, _accepting: accepting })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(socket) = &self.socket {
            let _ = std::fs::remove_file(socket);
        }
    }
}

fn listen_at(path: &Path) -> io::Result<UnixListener> {
    remove_stale(path)?;
    UnixListener::bind(path)
}

impl MetricsAccess {
    fn new(config: &rtun_settings::MetricsSettings) -> Result<Self, MetricsError> {
        let users = match &config.auther {
            None => None,
            Some(auther) => match &auther.provider {
                Provider::Rows(rows) if rows.sources.is_empty() => {
                    let mut users = Credentials::new();
                    for user in rows.inline.iter().map(|row| &row.value) {
                        users.insert(&user.name, user.password.expose(), None);
                    }
                    Some(users)
                }
                _ => return Err(MetricsError::Users(auther.name.clone())),
            },
        };
        Ok(Self { path: config.path.clone(), users })
    }

    fn permits(&self, headers: &HeaderMap) -> bool {
        let Some(users) = &self.users else { return true };
        headers.get(AUTHORIZATION).and_then(basic).is_some_and(|credential| {
            let mut parts = credential.splitn(2, |byte| *byte == b':');
            let (name, password) = (parts.next().unwrap_or(b""), parts.next().unwrap_or(b""));
            users.prove(name, password).is_some()
        })
    }
}

/// Decodes user and password, with a colon between them (RFC 7617 section 2).
fn basic(value: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    BASE64.decode(rest.trim()).ok()
}

async fn accept(
    listener: Arc<MetricsListener>,
    settings: Arc<ArcSwap<MetricsAccess>>,
    board: Arc<Board>,
) {
    let mut served = Served::default();
    loop {
        let accepted = match &*listener {
            MetricsListener::Tcp(listener) => {
                listener.accept().await.map(|(it, _)| Box::new(it) as Box<dyn HttpStream>)
            }
            MetricsListener::Unix(listener) => {
                listener.accept().await.map(|(it, _)| Box::new(it) as _)
            }
        };
        match accepted {
            Ok(stream) => {
                let (settings, board) = (settings.load_full(), Arc::clone(&board));
                served.add(tokio::spawn(async move {
                    // A client that is too slow, or has gone, gets no answer.
                    let _ = timeout(DEADLINE, serve(stream, &settings, &board)).await;
                }));
            }
            Err(error) => {
                board.machine().descriptors.accept_failed("metrics", &error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Connections that are served, the oldest first; dropping this ends them.
#[derive(Default)]
struct Served(VecDeque<JoinHandle<()>>);

impl Served {
    fn add(&mut self, connection: JoinHandle<()>) {
        self.0.retain(|served| !served.is_finished());
        if self.0.len() >= AT_ONCE
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back(connection);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

trait HttpStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> HttpStream for S {}

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
    if !settings.permits(request.headers()) {
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
