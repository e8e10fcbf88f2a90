//! What a hub does with the streams that hosts open: it admits the host, and serves it until it leaves.

use std::{net::IpAddr, sync::Arc};

use rtun_core::limit::ConnectionGuard;
use rtun_proto::frame::FrameBuffer;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    admission::handshake,
    association::HostAssociation,
    registry::{Membership, Registry},
};
use crate::{
    inbound::{AdmissionError, PendingStream, StreamService},
    link::EndReason,
};

/// The hosts of a hub.
pub(super) struct HubStreams {
    pub(super) service: String,
    pub(super) registry: Arc<Registry>,
}

impl StreamService for HubStreams {
    /// A host, and what it sent after its request.
    type Admitted = (Membership, FrameBuffer);

    type CountedConnection = ConnectionGuard;

    fn admits_address(&self, address: IpAddr) -> bool {
        self.registry.rules().addresses.admit(address)
    }

    fn count_connection(&self, address: IpAddr) -> Result<ConnectionGuard, AdmissionError> {
        Ok(self.registry.limiters.connection(address)?)
    }

    fn count_request(&self, address: IpAddr) -> Result<(), AdmissionError> {
        Ok(self.registry.limiters.request(address)?)
    }

    async fn admit(&self, stream: PendingStream) -> Result<Self::Admitted, AdmissionError> {
        handshake::admit(&self.registry, &self.service, stream).await
    }

    async fn run(&self, (member, buffer): Self::Admitted, stop: &CancellationToken) {
        let HostAssociation { id, host, peer, .. } = &**member;
        let namespace = &member.namespace;
        info!(
            service = self.service, namespace = %namespace.id, host = %host, peer = %peer, sid = id,
            "host joined"
        );
        if stop.is_cancelled() {
            member.end(EndReason::Shutdown);
        }
        member.run(buffer).await;
        let farewell = member.link.farewell();
        drop(member);
        farewell.await;
    }
}
