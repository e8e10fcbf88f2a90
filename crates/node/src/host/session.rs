//! A host's session with a hub: joining, messages of the extension, and why it ended.

use std::{
    io,
    net::IpAddr,
    slice,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use rtun_core::{DropReason, HostName};
use rtun_proto::{
    extension::{self, Capabilities, Extension, Hello, HelloReply, RefusalNotice},
    frame::FrameBuffer,
    relay::{
        Addr, AddrFeature, Association, DecodeError, EncodeError, Network, Request, Response,
        Status,
    },
};
use rtun_settings::HubNode;
use tokio::time::Instant;
use tokio::time::timeout;
use tracing::warn;

use crate::{
    counters::Counters,
    dial::{HubConnection, NoEndpoint, Wire},
    link::{EndReason, Link, MessageError, read_message},
    report::{Queued, Transport},
    runtime::budget::Budget,
};

/// Limit for the hub's answer unless configured.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that the one queue of a session may hold: enough that only the limit of the queue itself applies.
const QUEUE_BUDGET: usize = 256 * 1024 * 1024;

/// The number of the only sender of packets to a hub.
const ITSELF: u64 = 0;

/// What this host reports to a hub.
pub(super) struct Introduction {
    pub(super) name: HostName,
    /// The device's first address.
    pub(super) source: IpAddr,
    /// The MTU of the device, in bytes.
    pub(super) mtu: u16,
    /// Random for each run.
    pub(super) instance: [u8; 16],
    /// Whether GSO frames are offered.
    pub(super) gso_frames: bool,
}

/// A hub that has admitted this host.
pub(super) struct Session {
    pub(super) link: Arc<Link>,
    pub(super) transport: Transport,
    /// The index of its endpoint among those of the hub.
    pub(super) endpoint: usize,
    /// The connection over TCP under it.
    pub(super) wire: Option<Wire>,
    pub(super) since: Instant,
    /// Whether it is an rtun hub; only such a hub gets frames of the extension.
    pub(super) is_rtun: bool,
    /// Its answer to the hello.
    pub(super) reply: OnceLock<HelloReply>,
    /// The device's first address, as reported to the hub.
    source: IpAddr,
    /// Why the hub is going to end the session.
    notice: OnceLock<HubNotice>,
    /// The last notice of the hub. The text of a poisoned lock is consistent: it is only replaced as a whole.
    noticed: Mutex<Option<String>>,
}

/// What a hub sends before it closes the connection.
enum HubNotice {
    GoingAway,
    Refusal(RefusalNotice),
}

/// Why a hub did not admit this host.
#[derive(Debug, thiserror::Error)]
pub(super) enum JoinError {
    /// It was not reached.
    #[error(transparent)]
    Connect(#[from] NoEndpoint),
    /// The request cannot be sent: the configuration is at fault.
    #[error("the request cannot be sent: {0}")]
    Request(#[from] EncodeError),
    /// The hub refused.
    #[error("refused: {}", explain(.0))]
    Refused(Status),
    /// It closed the connection instead of answering.
    #[error(
        "closed the connection without an answer: it does not speak this protocol, speaks another version, or is \
         stopping"
    )]
    Closed,
    /// The answer is not one of this protocol.
    #[error("answered something else than the routing tunnel's protocol: {0}")]
    Malformed(#[from] DecodeError),
    /// The connection broke.
    #[error("the connection broke before the answer: {0}")]
    Broken(#[from] io::Error),
    /// The hub did not answer in time.
    #[error("no answer to the request to join within {} s", .0.as_secs_f32())]
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

impl From<MessageError> for JoinError {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Malformed(error) => Self::Malformed(error),
            MessageError::Ended => Self::Closed,
            MessageError::Broken(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                Self::Closed
            }
            MessageError::Broken(error) => Self::Broken(error),
        }
    }
}

impl Session {
    /// Joins the hub of this connection. The buffer holds what the hub sent after its answer. `sent` counts what is sent.
    pub(super) async fn join(
        connected: HubConnection,
        hub: &HubNode,
        introduction: &Introduction,
        sent: &Arc<Counters>,
    ) -> Result<(Self, FrameBuffer), JoinError> {
        let request = introduction.request(hub).encode()?;
        let HubConnection { stream, transport, endpoint, wire } = connected;
        let limit = hub.connect_timeout.unwrap_or(ANSWER_TIMEOUT);
        let mut buffer = FrameBuffer::new();
        let answer = async {
            stream.write_all(&request).await?;
            Ok(read_message(&*stream, &mut buffer, Response::decode).await?)
        };
        let response = timeout(limit, answer).await.unwrap_or(Err(JoinError::Timeout(limit)))?;
        if response.status != Status::Ok {
            return Err(JoinError::Refused(response.status));
        }
        let link = Link::new(stream, &Budget::new(QUEUE_BUDGET), Arc::clone(sent));
        link.open();
        let session = Self {
            link: Arc::new(link),
            transport,
            endpoint,
            wire,
            since: Instant::now(),
            is_rtun: response.connector_id().is_some_and(|id| id.rtun_version().is_some()),
            reply: OnceLock::new(),
            source: introduction.source,
            notice: OnceLock::new(),
            noticed: Mutex::default(),
        };
        if session.is_rtun {
            let hello = introduction.hello(session.link.has_datagrams());
            session.link.send_extension(&Extension::Hello(hello));
        }
        Ok((session, buffer))
    }

    /// A session with an rtun hub that has sent this reply.
    #[cfg(test)]
    pub(super) fn greeted(link: Link, reply: HelloReply) -> Self {
        Self {
            link: Arc::new(link),
            transport: Transport::Tcp,
            endpoint: 0,
            wire: None,
            since: Instant::now(),
            is_rtun: true,
            reply: OnceLock::from(reply),
            source: IpAddr::from([0; 4]),
            notice: OnceLock::new(),
            noticed: Mutex::default(),
        }
    }

    /// Sends, queues or drops whole frames of packets; never waits.
    pub(super) fn send(&self, frames: &[u8]) {
        self.link.send(ITSELF, frames, slice::from_ref(&(0..frames.len())));
    }

    /// Packets queued for the hub.
    pub(super) fn queued(&self) -> Queued {
        let (packets, bytes) = self.link.queued();
        Queued { packets, bytes: bytes as u64 }
    }

    /// Whether the hub takes GSO frames.
    pub(super) fn gso_frames(&self) -> bool {
        self.reply.get().is_some_and(|reply| reply.accepted.has(Capabilities::GSO_FRAMES))
    }

    /// Whether the hub answers echoes.
    pub(super) fn echoes(&self) -> bool {
        self.reply.get().is_some_and(|reply| reply.accepted.has(Capabilities::ECHOES))
    }

    /// Handles a frame of the extension other than a GSO frame; an error is the reason why the frame counts as lost.
    pub(super) fn take(&self, payload: &[u8]) -> Result<(), DropReason> {
        if !self.is_rtun {
            return Err(DropReason::IpVersion);
        }
        let Ok(frame) = Extension::decode(payload) else { return Err(DropReason::FrameMalformed) };
        match self.link.take(frame) {
            None => Ok(()),
            Some(Extension::HelloReply(reply)) => {
                if !reply.addresses.iter().any(|(addr, _)| *addr == self.source) {
                    warn!(
                        "the hub has no route for {} that leads to this host: nothing will be sent back to it",
                        self.source
                    );
                }
                let datagrams = reply.accepted.has(Capabilities::DATAGRAMS);
                self.reply.set(reply).map_err(|_| DropReason::FrameUnknown)?;
                self.link.greeted(datagrams);
                Ok(())
            }
            Some(Extension::GoAway(_)) => {
                let _ = self.notice.set(HubNotice::GoingAway);
                Ok(())
            }
            Some(Extension::Refusal(refusal)) => {
                let _ = self.notice.set(HubNotice::Refusal(refusal));
                Ok(())
            }
            Some(Extension::Notice(notice)) => {
                warn!("the hub says: {}", notice.text);
                *self.noticed.lock().unwrap_or_else(PoisonError::into_inner) = Some(notice.text);
                Ok(())
            }
            Some(_) => Err(DropReason::FrameUnknown),
        }
    }

    /// The last notice of the hub.
    pub(super) fn noticed(&self) -> Option<String> {
        self.noticed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the hub ended the session because this host may not join.
    pub(super) fn was_refused(&self) -> bool {
        matches!(self.notice.get(), Some(HubNotice::Refusal(_)))
    }

    /// Why the session ended.
    pub(super) fn cause(&self) -> String {
        match self.notice.get() {
            Some(HubNotice::GoingAway) => return "the hub is stopping".into(),
            Some(HubNotice::Refusal(refusal)) => return format!("refused: {}", refusal.text),
            None => {}
        }
        match (self.link.end_reason(), self.link.end_error()) {
            (Some(EndReason::PeerClosed), _) => "the hub closed the connection".into(),
            (
                Some(EndReason::PingTimeout | EndReason::UserTimeout | EndReason::WriteStalled),
                _,
            ) => "the hub or the network in between is gone".into(),
            (Some(EndReason::LargeLost), _) => "large packets are lost on the path to it".into(),
            (Some(EndReason::Internal), _) => "a task of this host failed".into(),
            (_, Some(error)) => error.to_string(),
            (Some(EndReason::Replaced), None) => "replaced by a better connection".into(),
            _ => "stopped".into(),
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
        let mut offered = Capabilities::NOTICES.with(Capabilities::ECHOES);
        if self.gso_frames {
            offered = offered.with(Capabilities::GSO_FRAMES);
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
