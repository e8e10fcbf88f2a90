//! One live host connection at a hub: who it is, its link, its counters.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    ops::Range,
    sync::{Arc, Mutex, OnceLock, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use rtun_core::{
    Admitted, AnswerLimit, DropReason, HostName, Identity, NamespaceId, observer::StatsMeter,
};
use rtun_proto::{
    extension::{Extension, GoAway, RefusalNotice, RefusalReason},
    frame::{GOST_HOST_MAX_FRAME, LEN_PREFIX, write_frame},
};
use rtun_transport::Stream;

use tokio::time::Instant;

use super::{echo_desk::EchoDesk, shapers::HostShapers, use_meters::DestinationMeters};
use crate::{
    counters::{CountedAt, Counters, DropSamples, QuotaGroup},
    link::{EndReason, Link},
    report::Transport,
    runtime::budget::Budget,
};

/// How long a host should take at most to come back after a go-away: a restart of the hub is what mostly follows.
const GO_AWAY_WITHIN: Duration = Duration::from_secs(1);

/// A host that has been admitted.
pub(super) struct HostAssociation {
    /// Unique within the process.
    pub(super) id: u64,
    pub(super) host: HostName,
    /// Its user, if users are required.
    pub(super) identity: Option<Identity>,
    pub(super) peer: SocketAddr,
    pub(super) transport: Transport,
    /// The address of its device, as the host reports it.
    pub(super) address: Option<IpAddr>,
    pub(super) since: Instant,
    /// They outlive it while tasks may still count for it.
    pub(super) counters: Arc<Counters>,
    pub(super) link: Arc<Link>,
    /// What its traffic has to keep to.
    shapers: Mutex<HostShapers>,
    /// What the host has reported in its hello, if it is an rtun host.
    pub(super) greeting: OnceLock<Greeting>,
    /// Limits the ICMP errors about its lost packets.
    pub(super) answers: AnswerLimit,
    /// The peer of the newest connection that reports this name, after that one has replaced this one.
    pub(super) replaced_by: OnceLock<SocketAddr>,
    /// To whom it sends.
    pub(super) sends_to: DestinationMeters,
    /// The number of hosts that the hub has.
    pub(super) population: Arc<AtomicUsize>,
    /// Answers its echoes about other hosts, once it has sent one.
    pub(super) echoes: OnceLock<EchoDesk>,
}

/// What all associations of a hub share.
pub(super) struct Commons {
    /// Bounds the memory of their queues.
    pub(super) budget: Arc<Budget>,
    /// Their number.
    pub(super) population: Arc<AtomicUsize>,
    /// What passes counts against these.
    pub(super) quotas: Arc<QuotaGroup>,
    /// The hub's name.
    pub(super) service: Arc<str>,
    /// Samples of lost packets.
    pub(super) samples: Arc<DropSamples>,
}

/// A connection whose host wants to join.
pub(super) struct Arrival {
    pub(super) peer: SocketAddr,
    pub(super) transport: Transport,
    /// The address of its device, as the host reports it.
    pub(super) address: Option<IpAddr>,
    /// Writable and unused.
    pub(super) stream: Arc<dyn Stream>,
}

/// What an rtun host has reported in its hello.
pub(super) struct Greeting {
    /// Identifies one run of the program.
    pub(super) instance: [u8; 16],
    /// Of its device, in bytes.
    pub(super) mtu: u16,
    /// Whether it takes GSO frames and may send them.
    pub(super) gso_frames: bool,
    /// Whether it takes notices.
    pub(super) notices: bool,
    /// Whether it answers echoes.
    pub(super) echoes: bool,
    /// Name and version of the program.
    pub(super) software: String,
}

impl HostAssociation {
    pub(super) fn new(
        id: u64,
        namespace: NamespaceId,
        admitted: Admitted,
        arrival: Arrival,
        shapers: HostShapers,
        commons: &Commons,
    ) -> Self {
        let Arrival { peer, transport, address, stream } = arrival;
        let Admitted { host, identity } = admitted;
        let now = Instant::now();
        let quotas = || Some(Arc::clone(&commons.quotas));
        let counted = CountedAt {
            samples: Arc::clone(&commons.samples),
            service: Arc::clone(&commons.service),
            namespace: Some(namespace),
            host: Some(host.clone()),
        };
        let counters = Counters::with_quotas(quotas(), quotas()).counted_at(counted);
        let counters = Arc::new(counters);
        let link = Link::new(stream, &commons.budget, Arc::clone(&counters));
        let (input, output) = shapers.sets();
        link.limit(input, output, &counters);
        Self {
            id,
            host,
            identity,
            peer,
            transport,
            address,
            since: now,
            counters,
            link: Arc::new(link),
            shapers: Mutex::new(shapers),
            greeting: OnceLock::new(),
            answers: AnswerLimit::new(now.into_std()),
            replaced_by: OnceLock::new(),
            sends_to: DestinationMeters::default(),
            population: Arc::clone(&commons.population),
            echoes: OnceLock::new(),
        }
    }

    /// What its traffic has to keep to now.
    pub(super) fn shapers(&self) -> HostShapers {
        self.shapers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on its traffic has to keep to these.
    pub(super) fn keep_to(&self, shapers: HostShapers) {
        let (input, output) = shapers.sets();
        *self.shapers.lock().unwrap_or_else(PoisonError::into_inner) = shapers;
        self.link.change_limits(input, output);
    }

    /// From now on it is counted there too, as one more connection.
    pub(super) fn observe(&self, meter: Arc<StatsMeter>) {
        meter.connected();
        self.counters.observe(meter);
    }

    /// Sends the answer that admits the host, then lets packets through. The socket must be writable and unused.
    pub(super) fn welcome(&self, response: &[u8]) -> io::Result<()> {
        let stream = self.link.stream().ok_or(io::ErrorKind::NotConnected)?;
        if stream.try_write(response)? < response.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.link.open();
        Ok(())
    }

    /// Sends the whole frames at these positions of `bytes`, which came from the association of number `from`, to this host.
    /// Never waits for the host.
    pub(super) fn send(&self, from: u64, bytes: &[u8], places: &[Range<usize>]) {
        self.link.send(from, bytes, places);
    }

    /// Sends a packet that the hub has made; false: it is not sent.
    pub(super) fn send_answer(&self, packet: &[u8]) -> bool {
        let mut frame = Vec::with_capacity(LEN_PREFIX + packet.len());
        if write_frame(packet, &mut frame).is_err() {
            return false;
        }
        self.link.send_answer(&frame)
    }

    /// Its user, if users are required.
    pub(super) fn user(&self) -> Option<&[u8]> {
        self.identity.as_ref().map(|identity| &*identity.user)
    }

    /// Whether GSO frames may go to this host and come from it.
    pub(super) fn gso_frames(&self) -> bool {
        self.greeting.get().is_some_and(|greeting| greeting.gso_frames)
    }

    /// The longest packet that may go to this host, and the MTU of its device if it has reported that, in bytes.
    pub(super) fn takes(&self) -> (usize, Option<u16>) {
        match self.greeting.get() {
            Some(greeting) => (usize::MAX, Some(greeting.mtu)),
            None => (GOST_HOST_MAX_FRAME, None),
        }
    }

    /// Counts lost packets of this host, which are in `payload`.
    pub(super) fn drop_packets(&self, reason: DropReason, packets: u64, payload: &[u8]) {
        self.counters.count_drops(reason, packets);
        self.counters.sample_drop(reason, payload);
    }

    /// Ends the association; the first reason counts.
    pub(super) fn end(&self, reason: EndReason) {
        self.link.end(reason);
    }

    /// Tells an rtun host why its connection is about to be closed.
    pub(super) fn announce_end(&self, reason: EndReason) {
        if let Some(notice) = notice(reason, self.replaced_by.get())
            && self.greeting.get().is_some()
        {
            self.link.send_extension(&notice);
        }
    }
}

/// The notice for an rtun host before its connection is closed.
fn notice(reason: EndReason, replaced_by: Option<&SocketAddr>) -> Option<Extension<'static>> {
    let refusal =
        |reason, text: &str| Some(Extension::Refusal(RefusalNotice { reason, text: text.into() }));
    match reason {
        EndReason::Shutdown => Some(Extension::GoAway(GoAway { within: GO_AWAY_WITHIN })),
        EndReason::Revoked => {
            refusal(RefusalReason::Revoked, "the hub's rules no longer admit this host here")
        }
        EndReason::Replaced => {
            let from = replaced_by.map(|peer| format!(", the newest from {peer}"));
            let from = from.unwrap_or_default();
            let text = format!("newer connections report the same host name{from}");
            refusal(RefusalReason::Replaced, &text)
        }
        EndReason::PeerClosed
        | EndReason::PeerReset
        | EndReason::UserTimeout
        | EndReason::PingTimeout
        | EndReason::WriteStalled
        | EndReason::LargeLost
        | EndReason::Internal => None,
    }
}
