//! One connection to a hub, from dialling to its end.

use std::{
    io,
    net::IpAddr,
    sync::OnceLock,
    time::{Duration, Instant},
};

use rtun_config::model::HubNode;
use rtun_core::HostName;
use rtun_net::transport::tcp::{self, ConnectError};
use rtun_proto::{
    frame::FrameBuffer,
    relay::{
        Addr, AddrFeature, Association, DecodeError, Decoded, EncodeError, Network, Request,
        Response, Status,
    },
};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};
use tokio_util::sync::CancellationToken;

/// Limit for connecting unless configured: a lost packet of the handshake is repeated after 1 s, so a network that
/// works answers within it, and one that was cut is tried again soon after it is back.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// Limit for the hub's answer unless configured.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A hub that has admitted this host.
pub(super) struct Session {
    pub(super) stream: TcpStream,
    pub(super) since: Instant,
    broken: CancellationToken,
    cause: OnceLock<io::Error>,
}

/// Why a hub did not admit this host.
#[derive(Debug, thiserror::Error)]
pub(super) enum JoinError {
    /// It was not reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The request cannot be sent: the configuration is at fault.
    #[error("the request cannot be sent: {0}")]
    Request(#[from] EncodeError),
    /// It said no.
    #[error("refused: {}", explain(.0))]
    Refused(Status),
    /// It closed the connection instead of answering.
    #[error(
        "closed the connection without an answer: it does not speak this protocol, speaks another version, or is \
         stopping"
    )]
    Closed,
    /// What it answered is not an answer.
    #[error("answered something else than the routing tunnel's protocol: {0}")]
    Malformed(#[from] DecodeError),
    /// The connection broke.
    #[error("the connection broke before the answer: {0}")]
    Broken(#[from] io::Error),
    /// It did not answer.
    #[error("no answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
}

fn explain(status: &Status) -> String {
    let hint = match status {
        Status::Unauthorized => "the user, the password, or this user's right to the host name",
        Status::HostUnreachable => "no ingress rule or no table for this host name and router.id",
        Status::BadRequest => "the hub does not serve this request",
        _ => return status.to_string(),
    };
    format!("{status} ({hint})")
}

impl Session {
    /// Connects to `hub` and reports `name`; `source` is the device's first address. The buffer holds what the hub
    /// sent behind its answer.
    pub(super) async fn open(
        hub: &HubNode,
        name: &HostName,
        source: IpAddr,
        dial_timeout: Option<Duration>,
    ) -> Result<(Self, FrameBuffer), JoinError> {
        let request = request(hub, name, source).encode()?;
        let mut stream = tcp::connect(&hub.addr, dial_timeout.unwrap_or(DIAL_TIMEOUT)).await?;
        let limit = hub.connect_timeout.unwrap_or(ANSWER_TIMEOUT);
        let mut buffer = FrameBuffer::new();
        let answer = async {
            stream.write_all(&request).await?;
            read_answer(&stream, &mut buffer).await
        };
        let response = timeout(limit, answer).await.unwrap_or(Err(JoinError::Timeout(limit)))?;
        if response.status != Status::Ok {
            return Err(JoinError::Refused(response.status));
        }
        let session = Self {
            stream,
            since: Instant::now(),
            broken: CancellationToken::new(),
            cause: OnceLock::new(),
        };
        Ok((session, buffer))
    }

    /// Ends the session; the first cause counts.
    pub(super) fn broke(&self, cause: io::Error) {
        if self.cause.set(cause).is_ok() {
            self.broken.cancel();
        }
    }

    /// Resolves when the session has ended.
    pub(super) async fn ended(&self) {
        self.broken.cancelled().await;
    }

    /// Why the session ended.
    pub(super) fn cause(&self) -> String {
        match self.cause.get() {
            Some(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                "the hub closed the connection".into()
            }
            Some(error) if error.kind() == io::ErrorKind::TimedOut => {
                "the hub or the network in between is gone".into()
            }
            Some(error) => error.to_string(),
            None => "stopped".into(),
        }
    }
}

fn request(hub: &HubNode, name: &HostName, source: IpAddr) -> Request {
    let user = hub
        .auth
        .as_ref()
        .map(|auth| (auth.user.as_bytes().to_vec(), auth.password.expose().as_bytes().to_vec()));
    Request::associate(&Association {
        user,
        network: Network::Ip,
        source: Some(AddrFeature { addr: Addr::Ip(source), port: 0 }),
        host: name.as_str().to_owned(),
        router_id: *hub.namespace.as_bytes(),
    })
}

async fn read_answer(stream: &TcpStream, buffer: &mut FrameBuffer) -> Result<Response, JoinError> {
    loop {
        if let Decoded::Complete { value, len } = Response::decode(buffer.filled())? {
            buffer.consume(len);
            return Ok(value);
        }
        stream.readable().await?;
        match stream.try_read(buffer.space()) {
            Ok(0) => return Err(JoinError::Closed),
            Ok(n) => buffer.advance(n),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(JoinError::Closed);
            }
            Err(error) => return Err(error.into()),
        }
    }
}
