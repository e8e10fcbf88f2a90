//! The listener of an HTTP server: TCP, TLS on TCP, or a Unix socket.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rtun_control::in_background;
use rtun_settings::{ListenOptions, ServerTls};
use rtun_state::StateDir;
use rtun_tls::{Acceptor, CertificateOrigin, TlsError};
use rtun_transport::tcp::{self, ListenError};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    runtime::Handle,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::served::{HttpPeer, HttpProven, Served};
use crate::{
    operations::{board::Board, control_socket::remove_stale},
    runtime::duties::Duty,
};

/// Pause after a failure to accept, such as no descriptor left: other connections may end during it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// From accepting to the end of the TLS handshake.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// The files of a certificate are read no more often than this.
const FOLLOW: Duration = Duration::from_secs(10);

/// Where a server listens, and for whom.
#[derive(Debug, Clone)]
pub struct HttpAddress<'a> {
    /// What is served, for messages and the log: `metrics`.
    pub what: &'static str,
    /// `host:port`, or `unix://path`.
    pub addr: &'a str,
    /// Of a TCP listener.
    pub tls: Option<&'a ServerTls>,
    /// Whether only root and the user of this process may connect to a Unix socket.
    pub private: bool,
    /// Connections at a time. For one more, the oldest is closed that has proven nothing; with none such, the new one.
    pub at_once: usize,
}

/// A server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum HttpListenError {
    /// The address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Its TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A Unix socket cannot be made.
    #[error("cannot listen on {}: {source}", path.display())]
    Socket {
        /// Of the socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A server that accepts and answers, until this is dropped.
pub struct HttpListening {
    local_addr: Option<SocketAddr>,
    socket: Option<(PathBuf, u64)>,
    _accepting: Duty,
}

/// A connection.
pub trait HttpStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> HttpStream for S {}

/// A listener of either kind.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl HttpListening {
    /// Listens at `address` and has each connection answered by `serve`, whose future ends with the connection.
    ///
    /// # Errors
    ///
    /// The address is taken, or the certificate cannot be read.
    pub fn start<F>(
        address: &HttpAddress<'_>,
        board: &Arc<Board>,
        serve: impl Fn(Box<dyn HttpStream>, HttpPeer) -> F + Send + Sync + 'static,
    ) -> Result<Self, HttpListenError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let HttpAddress { what, addr, tls, private, at_once } = *address;
        let acceptor = match tls {
            Some(tls) => Some(acceptor(what, tls, board)?),
            None => None,
        };
        let (listener, local_addr, socket) = match addr.strip_prefix("unix://") {
            Some(path) => {
                let path = PathBuf::from(path);
                let (listener, inode) = listen_at(&path, private)
                    .map_err(|source| HttpListenError::Socket { path: path.clone(), source })?;
                (Listener::Unix(listener), None, Some((path, inode)))
            }
            None => {
                let listener = tcp::listen(addr, &ListenOptions::default())?;
                let local_addr = listener.local_addr().ok();
                (Listener::Tcp(listener), local_addr, None)
            }
        };
        let tls = match acceptor {
            Some(acceptor) => Some(Handshakes::new(acceptor)?),
            None => None,
        };
        let board_of_it = Arc::clone(board);
        let accepting =
            Arc::new(Accepting { what, listener, tls, at_once, board: board_of_it, serve });
        let duties = Arc::clone(&board.machine().duties);
        let name = format!("{what}: serving on {addr}");
        let accepting =
            duties.keep(&Handle::current(), name, move || accept(Arc::clone(&accepting)));
        Ok(Self { local_addr, socket, _accepting: accepting })
    }

    /// Its address, if it is not a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }
}

impl Drop for HttpListening {
    fn drop(&mut self) {
        if let Some((path, inode)) = &self.socket {
            // Another file may be at its path now.
            if fs::symlink_metadata(path).is_ok_and(|found| found.ino() == *inode) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// A socket at `path`, and its inode.
fn listen_at(path: &Path, private: bool) -> io::Result<(UnixListener, u64)> {
    remove_stale(path)?;
    // It gets its name only when nobody can connect to it who may not.
    let unfinished = path.with_extension(format!("{}.new", std::process::id()));
    let _ = fs::remove_file(&unfinished);
    let listener = UnixListener::bind(&unfinished)?;
    let mode = fs::Permissions::from_mode(0o600);
    let named = if private { fs::set_permissions(&unfinished, mode) } else { Ok(()) }
        .and_then(|()| fs::rename(&unfinished, path))
        .and_then(|()| fs::symlink_metadata(path));
    match named {
        Ok(metadata) => Ok((listener, metadata.ino())),
        Err(error) => {
            let _ = fs::remove_file(&unfinished);
            Err(error)
        }
    }
}

/// What accepting takes.
struct Accepting<S> {
    what: &'static str,
    listener: Listener,
    tls: Option<Handshakes>,
    at_once: usize,
    board: Arc<Board>,
    serve: S,
}

async fn accept<S, F>(this: Arc<Accepting<S>>)
where
    S: Fn(Box<dyn HttpStream>, HttpPeer) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut served = Served::default();
    loop {
        let accepted = match &this.listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(it, address)| {
                // So that one whose client has gone, or takes nothing any more, ends. One that cannot be tuned has ended.
                let _ = tcp::tune(&it);
                (Box::new(it) as Box<dyn HttpStream>, Some(address))
            }),
            Listener::Unix(listener) => {
                listener.accept().await.map(|(it, _)| (Box::new(it) as _, None))
            }
        };
        match accepted {
            Ok((stream, address)) => {
                if !served.make_room(this.at_once) {
                    continue;
                }
                let proven = HttpProven::default();
                let peer = HttpPeer { address, proven: proven.clone() };
                let this = Arc::clone(&this);
                served.add(proven, tokio::spawn(async move { this.serve(stream, peer).await }));
            }
            Err(error) => {
                this.board.machine().descriptors.accept_failed(this.what, &error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl<S, F> Accepting<S>
where
    S: Fn(Box<dyn HttpStream>, HttpPeer) -> F,
    F: Future<Output = ()>,
{
    async fn serve(&self, stream: Box<dyn HttpStream>, peer: HttpPeer) {
        let Some(tls) = &self.tls else {
            return (self.serve)(stream, peer).await;
        };
        tls.follow_files(self.what).await;
        // A handshake that fails concerns nobody else.
        if let Ok(Ok(stream)) = timeout(HANDSHAKE_DEADLINE, tls.handshakes.accept(stream)).await {
            (self.serve)(Box::new(stream), peer).await;
        }
    }
}

/// TLS of a listener.
struct Handshakes {
    handshakes: TlsAcceptor,
    acceptor: Acceptor,
    /// When the files were read last.
    read: Mutex<Instant>,
}

impl Handshakes {
    fn new(acceptor: Acceptor) -> Result<Self, TlsError> {
        let handshakes = TlsAcceptor::from(Arc::new(acceptor.stream_config()?));
        Ok(Self { handshakes, acceptor, read: Mutex::new(Instant::now()) })
    }

    /// Reads the files of the certificate again, unless that was done just before. Files that cannot be used change nothing.
    async fn follow_files(&self, what: &'static str) {
        {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            if read.elapsed() < FOLLOW {
                return;
            }
            *read = Instant::now();
        }
        let acceptor = self.acceptor.clone();
        let read = in_background(move || acceptor.reload()).await;
        match read {
            Ok(true) => {
                let fingerprint = self.acceptor.fingerprint();
                info!(%fingerprint, "the certificate of the {what} has changed");
            }
            Ok(false) => {}
            Err(error) => warn!("the certificate of the {what} stays as it was: {error}"),
        }
    }
}

/// Reads the certificate, or makes it.
fn acceptor(what: &'static str, tls: &ServerTls, board: &Board) -> Result<Acceptor, TlsError> {
    let state = board.machine().state.as_deref().map(StateDir::path);
    let origin = CertificateOrigin::of(&tls.certificate, state);
    let (acceptor, not_kept) = Acceptor::new(tls, origin, &["http/1.1"])?;
    if let Some(error) = not_kept {
        warn!(
            "the certificate that was made for the {what} cannot be kept, the next start makes another: {error}"
        );
    }
    let fingerprint = acceptor.fingerprint();
    info!(%fingerprint, "certificate of the {what}");
    Ok(acceptor)
}
