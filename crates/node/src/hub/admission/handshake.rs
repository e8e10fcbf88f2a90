//! From an accepted connection to an admitted host, or to a counted refusal.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rtun_core::{
    JoinRequest, NamespaceId, Question, Refusal, Word,
    limit::{ConnectionsExceeded, RequestsExceeded},
};
use rtun_proto::{
    frame::FrameBuffer,
    relay::{ASSOCIATE, Addr, DecodeError, Request, Response, Status, TunnelId},
};
use rtun_transport::Stream;

use tokio::time::sleep;

use super::plugin_questions::{ask_about_address, ask_about_place, ask_about_user};
use crate::hub::{
    association::Arrival,
    entrance::{EntranceError, Guest},
    registry::{Joining, Member, Registry},
};
use crate::{
    counters::{Happened, Tally},
    link::{EndReason, FAREWELL, MessageError, read_message},
};

/// Why a connection did not become an association.
#[derive(Debug, thiserror::Error)]
pub(in crate::hub) enum HandshakeError {
    /// The rules say no; the host was told so.
    #[error("{0}")]
    Refused(Refusal),
    /// Not a request of the protocol; nothing was answered, as GOST does.
    #[error("{0}")]
    Malformed(DecodeError),
    /// The connection ended or broke.
    #[error("the connection ended before the request was whole: {0}")]
    Broken(#[from] io::Error),
    /// The transport's own handshakes failed.
    #[error(transparent)]
    Entrance(#[from] EntranceError),
    /// The host's certificate is not for the name that it reports.
    #[error("the host's certificate is not for the name {0:?}")]
    NotInCertificate(String),
    /// The transport's handshakes were not done in time.
    #[error("the transport's handshakes were not done in time")]
    TransportTimeout,
    /// Not done in time.
    #[error("no whole request in time")]
    Timeout,
    /// No host may connect from there.
    #[error("no host may connect from this address")]
    AddressRefused,
    /// The plugin that knows from where hosts may connect gives no answer.
    #[error("the admission plugin does not answer")]
    AddressUnavailable,
    /// A `climiter` allows no more connections.
    #[error(transparent)]
    ConnectionsExceeded(#[from] ConnectionsExceeded),
    /// An `rlimiter` allows no more requests now.
    #[error(transparent)]
    RequestsExceeded(#[from] RequestsExceeded),
    /// Too many others wait.
    #[error("too many connections wait to be admitted")]
    TurnedOut,
}

impl From<MessageError> for HandshakeError {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Malformed(error) => Self::Malformed(error),
            MessageError::Ended => Self::Broken(io::ErrorKind::UnexpectedEof.into()),
            MessageError::Broken(error) => Self::Broken(error),
        }
    }
}

impl HandshakeError {
    /// The fixed word used in logs and metrics.
    pub(in crate::hub) fn as_str(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.as_str(),
            Self::Malformed(DecodeError::Version(_)) => "bad_version",
            Self::Malformed(DecodeError::TooLong { .. }) => "request_too_big",
            Self::Malformed(_) => "bad_feature",
            Self::Broken(_) => "closed_early",
            Self::AddressRefused => "address_refused",
            Self::AddressUnavailable => "address_unavailable",
            Self::Entrance(error) => error.as_str(),
            Self::NotInCertificate(_) => "name_not_permitted",
            Self::TransportTimeout => "timeout_transport",
            Self::Timeout => "timeout_request",
            Self::ConnectionsExceeded(_) => "limit_connections",
            Self::RequestsExceeded(_) => "limit_rate",
            Self::TurnedOut => "limit_source",
        }
    }
}

/// Reads the request, decides, answers. On success the buffer holds what the host sent after its request.
pub(in crate::hub) async fn admit(
    registry: &Arc<Registry>,
    service: &str,
    guest: Guest,
) -> Result<(Member, FrameBuffer), HandshakeError> {
    let Guest { stream, peer, transport, names } = guest;
    ask_about_address(&registry.rules(), service, peer).await?;
    let mut buffer = FrameBuffer::new();
    let request = read_message(&*stream, &mut buffer, Request::decode).await?;
    // Nothing has been written yet, so the answer below fits at once.
    stream.writable().await?;

    let association = request.association();
    let mut join = JoinRequest {
        credential: association.user.as_ref().map(|(user, password)| (&user[..], &password[..])),
        host: &association.host,
        namespace: NamespaceId::from_bytes(association.router_id),
        associate: request.command == ASSOCIATE,
        accepted: Word::Unasked,
        placed: Word::Unasked,
    };
    if let Some(names) = names
        && !names.contains(&association.host)
    {
        refuse(Refusal::NameNotPermitted, stream).await;
        return Err(HandshakeError::NotInCertificate(association.host));
    }
    let address = association.source.as_ref().and_then(|source| match source.addr {
        Addr::Ip(addr) if !addr.is_unspecified() => Some(addr),
        _ => None,
    });
    let mut arrival = Arrival { peer, transport, address, stream };
    loop {
        match registry.join(&join, arrival) {
            Joining::Joined(member) => return Ok((welcome(member)?, buffer)),
            Joining::Refused(refusal, Arrival { stream, .. }) => {
                if refusal == Refusal::AuthFailed
                    && let Some((user, _)) = join.credential
                {
                    sleep(registry.failed(user, peer.ip())).await;
                }
                return Err(refuse(refusal, stream).await);
            }
            Joining::Ask(question, waiting) => {
                arrival = waiting;
                let rules = registry.rules();
                match question {
                    Question::Credential => {
                        join.accepted = ask_about_user(&rules, service, &join, peer).await;
                    }
                    Question::Placement => {
                        join.placed = ask_about_place(&rules, service, join.host).await;
                    }
                }
            }
        }
    }
}

fn welcome(member: Member) -> Result<Member, HandshakeError> {
    let connector = TunnelId::marked(uuid::Uuid::new_v4().into_bytes());
    if let Err(error) = member.welcome(&encode(&Response::ok(connector))) {
        member.end(EndReason::PeerReset);
        return Err(error.into());
    }
    Ok(member)
}

async fn refuse(refusal: Refusal, stream: Arc<dyn Stream>) -> HandshakeError {
    let answer = encode(&Response::refusal(status_of(refusal)));
    let answered = async {
        stream.write_all(&answer).await?;
        // Who keeps its end open is turned out all the same.
        let _ = stream.close(FAREWELL).await;
        Ok::<_, io::Error>(())
    };
    match answered.await {
        Ok(()) => HandshakeError::Refused(refusal),
        Err(error) => error.into(),
    }
}

/// What a refused host is told; less than the operator is (spec: wire.md section 1).
fn status_of(refusal: Refusal) -> Status {
    match refusal {
        Refusal::BadCommand => Status::BadRequest,
        Refusal::AuthMissing
        | Refusal::AuthFailed
        | Refusal::AuthUnavailable
        | Refusal::NameNotPermitted
        | Refusal::NameInUse => Status::Unauthorized,
        Refusal::LimitTotal | Refusal::LimitCredential | Refusal::LimitNamespaces => {
            Status::ServiceUnavailable
        }
        Refusal::NameInvalid
        | Refusal::NamespaceUnknown
        | Refusal::IngressNoRule
        | Refusal::IngressOtherNamespace
        | Refusal::IngressUnavailable => Status::HostUnreachable,
    }
}

fn encode(response: &Response) -> Vec<u8> {
    response.encode().expect("a response of one tunnel feature is far below the limit")
}

/// How handshakes ended.
#[derive(Default)]
pub(in crate::hub) struct Admissions {
    admitted: AtomicU64,
    refused: Tally,
}

impl Admissions {
    pub(in crate::hub) fn count_admitted(&self) {
        self.admitted.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::hub) fn count_refused(&self, why: &HandshakeError) {
        self.refused.count(why.as_str());
    }

    /// How many were admitted.
    pub(in crate::hub) fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    /// How many were not, by reason.
    pub(in crate::hub) fn refused(&self) -> BTreeMap<String, Happened> {
        self.refused.read()
    }
}
