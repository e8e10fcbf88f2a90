//! One connection to a hub, from dialling to its end.

use std::{
    io,
    net::IpAddr,
    slice,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use rtun_config::model::HubNode;
use rtun_core::{DropReason, HostName};
use rtun_net::transport::Stream;
use rtun_proto::{
    extension::{self, Capabilities, Extension, Hello, HelloReply, RefusalNotice, pong_frame},
    frame::FrameBuffer,
    relay::{
        Addr, AddrFeature, Association, DecodeError, Decoded, EncodeError, Network, Request,
        Response, Status,
    },
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::way::{Connected, NoWay};
use crate::{
    budget::Budget,
    counters::Counters,
    outbox::Outbox,
    report::{Queued, Transport},
};

/// Limit for the hub's answer unless configured.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The memory in bytes that the one queue of a session may hold: enough that its own limit is what counts.
const QUEUE_BUDGET: usize = 256 * 1024 * 1024;

/// The only sender whose packets wait for a hub.
const ITSELF: u64 = 0;

/// What a hub is told of this host.
pub(super) struct Introduction {
    pub(super) name: HostName,
    /// The device's first address.
    pub(super) source: IpAddr,
    /// Of the device, in bytes.
    pub(super) mtu: u16,
    /// Random for each run.
    pub(super) instance: [u8; 16],
    /// Whether super-frames are offered.
    pub(super) super_frames: bool,
}

/// A hub that has admitted this host.
pub(super) struct Session {
    pub(super) stream: Arc<dyn Stream>,
    pub(super) transport: Transport,
    /// Its place among the hub's ways.
    pub(super) way: usize,
    pub(super) since: Instant,
    /// Whether it is an rtun hub; no other is sent frames of the extension.
    pub(super) is_rtun: bool,
    /// What it answered to the hello.
    pub(super) reply: OnceLock<HelloReply>,
    /// The device's first address, as the hub was told.
    source: IpAddr,
    outbox: Outbox,
    /// Why it is going to end the session, as it says.
    notice: OnceLock<Notice>,
    broken: CancellationToken,
    cause: OnceLock<io::Error>,
}

/// What a hub says before it closes the connection.
enum Notice {
    GoingAway,
    Refusal(RefusalNotice),
}

/// Why a hub did not admit this host.
#[derive(Debug, thiserror::Error)]
pub(super) enum JoinError {
    /// It was not reached.
    #[error(transparent)]
    Connect(#[from] NoWay),
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
    /// Joins the hub that is connected to. The buffer holds what the hub sent behind its answer.
    pub(super) async fn join(
        connected: Connected,
        hub: &HubNode,
        introduction: &Introduction,
    ) -> Result<(Self, FrameBuffer), JoinError> {
        let request = introduction.request(hub).encode()?;
        let Connected { stream, transport, way } = connected;
        let limit = hub.connect_timeout.unwrap_or(ANSWER_TIMEOUT);
        let mut buffer = FrameBuffer::new();
        let answer = async {
            stream.write_all(&request).await?;
            read_answer(&*stream, &mut buffer).await
        };
        let response = timeout(limit, answer).await.unwrap_or(Err(JoinError::Timeout(limit)))?;
        if response.status != Status::Ok {
            return Err(JoinError::Refused(response.status));
        }
        let outbox = Outbox::new(Arc::clone(&stream), &Budget::new(QUEUE_BUDGET));
        outbox.open();
        let session = Self {
            stream,
            transport,
            way,
            since: Instant::now(),
            is_rtun: response.connector_id().is_some_and(|id| id.rtun_version().is_some()),
            reply: OnceLock::new(),
            source: introduction.source,
            outbox,
            notice: OnceLock::new(),
            broken: CancellationToken::new(),
            cause: OnceLock::new(),
        };
        if session.is_rtun {
            let datagrams = session.stream.datagrams().is_some();
            session.send_control(&Extension::Hello(introduction.hello(datagrams)));
        }
        Ok((session, buffer))
    }

    /// Sends whole frames of packets, or queues or drops them; never waits.
    pub(super) fn send(&self, frames: &[u8], counters: &Counters) {
        if let Err(error) =
            self.outbox.send(ITSELF, frames, slice::from_ref(&(0..frames.len())), counters)
        {
            self.broke(error);
        }
    }

    /// Asks an rtun hub whether it is still there.
    pub(super) fn ping(&self) {
        self.send_control(&Extension::Ping([0; 8]));
    }

    /// Writes what is queued; ends when the session has to.
    pub(super) async fn drain(&self, counters: &Counters) {
        self.broke(self.outbox.drain(&*self.stream, counters).await);
    }

    /// Drops what is queued.
    pub(super) fn close(&self, counters: &Counters) {
        self.outbox.close(counters);
    }

    /// What waits for the socket.
    pub(super) fn queued(&self) -> Queued {
        let (packets, bytes) = self.outbox.queued();
        Queued { packets, bytes: bytes as u64 }
    }

    /// Whether the hub takes super-frames.
    pub(super) fn super_frames(&self) -> bool {
        self.reply.get().is_some_and(|reply| reply.accepted.has(Capabilities::SUPER_FRAMES))
    }

    /// Whether packets go to the hub as datagrams where they fit.
    pub(super) fn uses_datagrams(&self) -> bool {
        self.outbox.uses_datagrams()
    }

    /// Takes a frame of the extension that is no super-frame; an error is why it counts as lost.
    pub(super) fn take(&self, payload: &[u8]) -> Result<(), DropReason> {
        if !self.is_rtun {
            return Err(DropReason::IpVersion);
        }
        match Extension::decode(payload) {
            Ok(Extension::HelloReply(reply)) => {
                if !reply.addresses.iter().any(|(addr, _)| *addr == self.source) {
                    warn!(
                        "the hub has no route for {} that leads to this host: nothing will be sent back to it",
                        self.source
                    );
                }
                let datagrams = reply.accepted.has(Capabilities::DATAGRAMS);
                self.reply.set(reply).map_err(|_| DropReason::FrameUnknown)?;
                match datagrams && self.outbox.has_datagrams() {
                    true => self.outbox.begin_datagrams(),
                    false => self.outbox.begin_marks(),
                }
                Ok(())
            }
            Ok(Extension::Ping(stamp)) => {
                self.send_frame(&pong_frame(stamp));
                Ok(())
            }
            Ok(Extension::Pong(stamp)) => {
                self.outbox.answered(stamp);
                Ok(())
            }
            Ok(Extension::GoAway(_)) => {
                let _ = self.notice.set(Notice::GoingAway);
                Ok(())
            }
            Ok(Extension::Refusal(refusal)) => {
                let _ = self.notice.set(Notice::Refusal(refusal));
                Ok(())
            }
            Ok(_) => Err(DropReason::FrameUnknown),
            Err(_) => Err(DropReason::FrameMalformed),
        }
    }

    /// Whether the hub ended the session because this host may not join.
    pub(super) fn was_refused(&self) -> bool {
        matches!(self.notice.get(), Some(Notice::Refusal(_)))
    }

    fn send_control(&self, frame: &Extension<'_>) {
        let mut bytes = Vec::new();
        frame.write_frame(&mut bytes).expect("a host's own frames keep to the limits");
        self.send_frame(&bytes);
    }

    fn send_frame(&self, frame: &[u8]) {
        if let Err(error) = self.outbox.send_control(frame) {
            self.broke(error);
        }
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
        match self.notice.get() {
            Some(Notice::GoingAway) => return "the hub is stopping".into(),
            Some(Notice::Refusal(refusal)) => return format!("refused: {}", refusal.text),
            None => {}
        }
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

impl Introduction {
    fn request(&self, hub: &HubNode) -> Request {
        let user = hub.auth.as_ref().map(|auth| {
            (auth.user.as_bytes().to_vec(), auth.password.expose().as_bytes().to_vec())
        });
        Request::associate(&Association {
            user,
            network: Network::Ip,
            source: Some(AddrFeature { addr: Addr::Ip(self.source), port: 0 }),
            host: self.name.as_str().to_owned(),
            router_id: *hub.namespace.as_bytes(),
        })
    }

    fn hello(&self, datagrams: bool) -> Hello {
        let mut offered = Capabilities::NONE;
        if self.super_frames {
            offered = offered.with(Capabilities::SUPER_FRAMES);
        }
        if datagrams {
            offered = offered.with(Capabilities::DATAGRAMS);
        }
        Hello {
            version: extension::VERSION,
            capabilities: offered,
            mtu: self.mtu,
            instance: self.instance,
            software: concat!("rtun/", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

async fn read_answer(stream: &dyn Stream, buffer: &mut FrameBuffer) -> Result<Response, JoinError> {
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
