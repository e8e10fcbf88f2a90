//! The connection to a gRPC plugin: made when it is needed, given up after the plugin's timeout, tried again with growing
//! pauses.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::Instant,
};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::{
    plugin::{PluginSetupError, reach},
    zone::without_zone,
};

/// After the first failure; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause, so that a plugin that is back is soon found.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A connection without an acknowledgement for this long is broken; the timeouts of single questions do not show that.
const DEAD_AFTER: Duration = Duration::from_secs(10);

/// In bytes: an answer fits, and no more is buffered.
const STREAM_WINDOW: u32 = 128 * 1024;

/// Makes connections to one plugin.
pub(super) struct GrpcConnector {
    addr: String,
    host: String,
    port: u16,
    /// Sent with each call: the name expected in the certificate, or the address.
    authority: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
    attempts: Mutex<ConnectAttempts>,
}

#[derive(Default)]
struct ConnectAttempts {
    /// When the latest one began.
    latest: Option<Instant>,
    failures: u32,
    not_before: Option<(Instant, String)>,
}

trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

impl GrpcConnector {
    pub(super) fn new(settings: &rtun_settings::PluginSettings) -> Result<Self, PluginSetupError> {
        let bad_addr = || PluginSetupError::Addr(settings.addr.clone());
        let (host, port) = settings.addr.rsplit_once(':').ok_or_else(bad_addr)?;
        let port = port.parse().map_err(|_| bad_addr())?;
        let host = host.trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(bad_addr());
        }
        reach::check_host(&host)?;
        let mut authority = match host.split_once('%') {
            Some((addr, _)) => format!("[{addr}]:{port}"),
            None => settings.addr.clone(),
        };
        let tls = match &settings.tls {
            Some(tls) => {
                let config = reach::tls_config(Some(tls), &[b"h2"])?;
                let name =
                    tls.server_name.clone().unwrap_or_else(|| without_zone(&host).to_owned());
                if tls.server_name.is_some() {
                    authority.clone_from(&name);
                }
                let expected = ServerName::try_from(name.clone())
                    .map_err(|_| PluginSetupError::ServerName(name))?;
                Some((TlsConnector::from(Arc::new(config)), expected))
            }
            None => None,
        };
        Ok(Self {
            addr: settings.addr.clone(),
            host,
            port,
            authority,
            tls,
            timeout: settings.timeout,
            attempts: Mutex::default(),
        })
    }

    /// A channel over connections that this makes, none of them yet.
    pub(super) fn channel(self: &Arc<Self>) -> Result<Channel, PluginSetupError> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let origin = format!("{scheme}://{}", self.authority);
        let origin: Uri =
            origin.parse().map_err(|_| PluginSetupError::ServerName(self.authority.clone()))?;
        let failure = |error: tonic::transport::Error| PluginSetupError::Client(error.to_string());
        let endpoint = Endpoint::from_shared(format!("http://{}", self.authority))
            .map_err(|_| PluginSetupError::Addr(self.addr.clone()))?
            .origin(origin)
            .initial_stream_window_size(STREAM_WINDOW)
            .user_agent(concat!("rtun/", env!("CARGO_PKG_VERSION")))
            .map_err(failure)?;
        let connector = Arc::clone(self);
        let connect = move |_: Uri| {
            let connector = Arc::clone(&connector);
            // In a task of its own, the attempt goes on when the call that needed it has timed out.
            async move { tokio::spawn(async move { connector.attempt().await }).await? }
        };
        Ok(endpoint.connect_with_connector_lazy(tower::service_fn(connect)))
    }

    /// Whether the latest attempt began before `then`.
    pub(super) fn tried_before(&self, then: Instant) -> bool {
        self.attempts().latest.is_some_and(|latest| latest < then)
    }

    async fn attempt(&self) -> io::Result<TokioIo<Box<dyn ByteStream>>> {
        let start = Instant::now();
        {
            let mut attempts = self.attempts();
            attempts.latest = Some(start);
            if let Some((not_before, error)) = &attempts.not_before
                && start < *not_before
            {
                return Err(io::Error::other(error.clone()));
            }
        }
        let connected = tokio::time::timeout(self.timeout, self.connect()).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let mut attempts = self.attempts();
        match &connected {
            Ok(_) => (attempts.failures, attempts.not_before) = (0, None),
            Err(error) => {
                let pause = FIRST_PAUSE * (1 << attempts.failures.min(8));
                attempts.failures = attempts.failures.saturating_add(1);
                let until = Instant::now() + pause.min(LONGEST_PAUSE);
                attempts.not_before = Some((until, reach::root_cause(error)));
            }
        }
        connected.map(TokioIo::new)
    }

    async fn connect(&self) -> io::Result<Box<dyn ByteStream>> {
        let addrs = reach::resolve(&self.host, self.port).await?;
        let stream = TcpStream::connect(addrs.as_slice()).await?;
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        let keepalive = TcpKeepalive::new().with_time(DEAD_AFTER / 2);
        socket.set_tcp_keepalive(&keepalive.with_interval(DEAD_AFTER / 4))?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(DEAD_AFTER))?;
        Ok(match &self.tls {
            Some((tls, name)) => Box::new(tls.connect(name.clone(), stream).await?),
            None => Box::new(stream),
        })
    }

    /// A poisoned lock still guards whole values: every critical section is a few assignments.
    fn attempts(&self) -> MutexGuard<'_, ConnectAttempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
