//! From an accepted connection to an admitted host, or to a counted refusal.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rtun_core::{JoinRequest, NamespaceId, PluginAnswer, Question, Refusal};
use rtun_proto::{
    frame::FrameBuffer,
    relay::{ASSOCIATE, Addr, Request, Response, Status, TunnelId},
};
use rtun_transport::Stream;

use tokio::time::sleep;

use super::error::AdmissionError;
use super::plugin_questions::{ask_about_address, ask_about_place, ask_about_user};
use crate::hub::{
    association::Arrival,
    listener::PendingStream,
    registry::{Joining, Membership, Registry},
};
use crate::{
    counters::{Happened, Tally},
    link::{EndReason, FAREWELL, read_message},
};

/// Reads the request, decides and answers. On success the buffer holds what the host sent after its request.
pub(in crate::hub) async fn admit(
    registry: &Arc<Registry>,
    service: &str,
    stream: PendingStream,
) -> Result<(Membership, FrameBuffer), AdmissionError> {
    let PendingStream { stream, peer, transport, names } = stream;
    ask_about_address(&registry.rules(), service, peer).await?;
    let mut buffer = FrameBuffer::new();
    let request = read_message(&*stream, &mut buffer, Request::decode).await?;
    // Nothing has been written yet, so the answer below fits at once.
    stream.writable().await?;

    let association = request.association();
    let mut join = JoinRequest {
        client: peer.ip(),
        credential: association.user.as_ref().map(|(user, password)| (&user[..], &password[..])),
        host: &association.host,
        namespace: NamespaceId::from_bytes(association.router_id),
        associate: request.command == ASSOCIATE,
        accepted: PluginAnswer::NotAsked,
        placed: PluginAnswer::NotAsked,
    };
    if let Some(names) = names
        && !names.contains(&association.host)
    {
        refuse(Refusal::NameNotPermitted, stream).await;
        return Err(AdmissionError::NotInCertificate(association.host));
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

fn welcome(member: Membership) -> Result<Membership, AdmissionError> {
    let connector = TunnelId::from_rtun(uuid::Uuid::new_v4().into_bytes());
    if let Err(error) = member.welcome(&encode(&Response::ok(connector))) {
        member.end(EndReason::PeerReset);
        return Err(error.into());
    }
    Ok(member)
}

async fn refuse(refusal: Refusal, stream: Arc<dyn Stream>) -> AdmissionError {
    let answer = encode(&Response::refusal(status_of(refusal)));
    let answered = async {
        stream.write_all(&answer).await?;
        // If the peer does not close its end, the connection is closed anyway.
        let _ = stream.close(FAREWELL).await;
        Ok::<_, io::Error>(())
    };
    match answered.await {
        Ok(()) => AdmissionError::Refused(refusal),
        Err(error) => error.into(),
    }
}

/// The status that a refused host gets. It says less than the log does: several reasons share a status (docs/wire.md).
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

/// Counts of admitted hosts and refused connections.
#[derive(Default)]
pub(in crate::hub) struct Admissions {
    admitted: AtomicU64,
    refused: Tally,
}

impl Admissions {
    pub(in crate::hub) fn count_admitted(&self) {
        self.admitted.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::hub) fn count_refused(&self, why: &AdmissionError) {
        self.refused.count(why.as_str());
    }

    /// The number of admitted hosts.
    pub(in crate::hub) fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    /// The number of refused connections, by reason.
    pub(in crate::hub) fn refused(&self) -> BTreeMap<String, Happened> {
        self.refused.read()
    }
}
