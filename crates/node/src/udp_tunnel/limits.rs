//! The limits of an end of a tunnel: which datagrams have to wait, until when, and what quotas say.
//!
//! What waits does so by peer and direction, in a queue of its own, within the bounds of a [`ShapedQueue`]. A task of its own
//! ([`TunnelLimits::ready`], [`TunnelLimits::release`]) takes it from there. Without limits nothing is asked.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rtun_core::{
    DropReason, Lost,
    explain::{AppliedLimit, LimitedDirection},
    limit::{ShaperPair, ShaperSet, TrafficLimit},
    udp_tunnel::DatagramDrop,
};
use rtun_proto::{
    frame::{LEN_PREFIX, write_frame},
    frame_content::FrameContent,
};
use rtun_settings::TunnelLimitSettings;
use tokio::sync::Notify;

use super::counters::DatagramCounters;
use crate::{
    counters::QuotaGroup,
    limiters::{ServiceMeters, ServiceTraffic},
    link::ShapedQueue,
    report::{LimitReport, Queued, QuotaReport, quota_reports},
    runtime::budget::Budget,
};

/// Bytes that all datagrams of one end which wait may take together.
const BUDGET: usize = 64 * 1024 * 1024;

/// While datagrams wait, the limit is read again at least this often, since it may change.
const RECHECK: Duration = Duration::from_millis(100);

/// Bytes that are released before others have their turn.
const RELEASE: usize = 256 * 1024;

/// Peers for which nothing waits are forgotten when there are twice as many as after the last time, and at least this many.
const FORGET_FROM: usize = 1024;

/// The only peer of a client: its server, wherever that is.
pub(super) const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The number of the device among those who send to a peer.
pub(super) const DEVICE: u64 = 0;

/// Which way a datagram goes, seen from this end: `in` and `out` of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LimitedPath {
    /// What a server gets from a client; what a client gets from its device.
    In,
    /// What a server sends to a client; what a client hands to its device.
    Out,
}

/// What limits one end of a tunnel, and all that waits for it.
pub(super) struct TunnelLimits {
    content: FrameContent,
    traffic: ServiceTraffic,
    pub(super) quotas: Arc<QuotaGroup>,
    /// Whether it names a limiter that has rows, or a source of rows.
    is_limiting: AtomicBool,
    waiting: Mutex<WaitingDatagrams>,
    wake: Notify,
    budget: Arc<Budget>,
}

#[derive(Default)]
struct WaitingDatagrams {
    peers: HashMap<SocketAddr, LimitedPeer>,
    /// Each queue in which something waits, once, with when to look at it.
    due: BinaryHeap<Reverse<(Instant, SocketAddr, LimitedPath)>>,
    forget_at: usize,
    /// For one datagram after its length.
    frame: Vec<u8>,
}

/// The queues of a peer, by [`LimitedPath`].
struct LimitedPeer([ShapedQueue; 2]);

/// Datagrams that may go on now; keeps its memory.
#[derive(Default)]
pub(super) struct ReleasedDatagrams {
    pub(super) buffer: Vec<u8>,
    /// Which way, of or for whom, and where in the buffer.
    pub(super) all: Vec<(LimitedPath, SocketAddr, Range<usize>)>,
}

impl ReleasedDatagrams {
    /// Where a client's datagrams of its server stand.
    pub(super) fn of_server(&self) -> impl Iterator<Item = Range<usize>> {
        let out = self.all.iter().filter(|(path, ..)| *path == LimitedPath::Out);
        out.map(|(_, _, at)| at.clone())
    }
}

impl TunnelLimits {
    pub(super) fn new(
        content: FrameContent,
        settings: &TunnelLimitSettings,
        meters: ServiceMeters,
    ) -> Self {
        let limits = Self {
            content,
            traffic: ServiceTraffic::default(),
            quotas: Arc::default(),
            is_limiting: AtomicBool::new(false),
            waiting: Mutex::default(),
            wake: Notify::new(),
            budget: Budget::new(BUDGET),
        };
        limits.apply(settings, meters);
        limits
    }

    /// Other limits from now on, also for what waits.
    pub(super) fn apply(&self, settings: &TunnelLimitSettings, meters: ServiceMeters) {
        let is_limiting = settings.limiter().is_some_and(|limiter| !limiter.limits.is_empty());
        self.is_limiting.store(is_limiting, Ordering::Relaxed);
        if self.traffic.apply(settings.limiter(), meters.limiters.traffic, &[]) {
            for (addr, peer) in &mut self.waiting().peers {
                peer.limit(self.traffic.connection(addr.ip()));
            }
        }
        self.quotas.set(meters.quotas);
        self.wake.notify_one();
    }

    /// Whether a quota is used up, so that nothing may pass.
    #[inline]
    pub(super) fn is_over_quota(&self) -> bool {
        self.quotas.is_exceeded()
    }

    /// Whether a datagram of `peer`, or for it, has to [wait](Self::wait).
    #[inline]
    pub(super) fn holds(&self, path: LimitedPath, peer: SocketAddr) -> bool {
        self.is_limiting.load(Ordering::Relaxed) && self.holds_back(path, peer)
    }

    fn holds_back(&self, path: LimitedPath, peer: SocketAddr) -> bool {
        self.waiting().peer(peer, self).queue(path).is_limited()
    }

    /// Has a datagram wait that was counted as received. Of the peers that send to one, each, as `sender`, has a fair share.
    pub(super) fn wait(
        &self,
        path: LimitedPath,
        peer: SocketAddr,
        sender: u64,
        datagram: &[u8],
        counters: &DatagramCounters,
    ) {
        let mut waiting = self.waiting();
        let mut frame = std::mem::take(&mut waiting.frame);
        frame.clear();
        match write_frame(datagram, &mut frame) {
            Ok(()) => waiting.push(self, (path, peer), sender, &frame, counters),
            Err(_) => counters.count_drops(DatagramDrop::TooBig, 1),
        }
        waiting.frame = frame;
    }

    /// The same with datagrams as frames.
    pub(super) fn wait_frames(
        &self,
        path: LimitedPath,
        peer: SocketAddr,
        sender: u64,
        frames: &[u8],
        counters: &DatagramCounters,
    ) {
        self.waiting().push(self, (path, peer), sender, frames, counters);
    }

    /// Waits until something may go on.
    pub(super) async fn ready(&self) {
        loop {
            let next = self.waiting().due.peek().map(|Reverse((when, ..))| *when);
            match next {
                None => self.wake.notified().await,
                Some(when) if when <= now() => return,
                Some(when) => tokio::select! {
                    () = tokio::time::sleep_until(when.into()) => return,
                    () = self.wake.notified() => {}
                },
            }
        }
    }

    /// Takes out what may go on now, as much as goes in one turn. What is lost meanwhile counts at the counters of its path, of
    /// which those of [`LimitedPath::In`] come first.
    pub(super) fn release(
        &self,
        released: &mut ReleasedDatagrams,
        counters: [&DatagramCounters; 2],
    ) {
        released.buffer.clear();
        released.all.clear();
        let mut waiting = self.waiting();
        while released.buffer.len() < RELEASE {
            let now = now();
            let due = waiting.due.peek().is_some_and(|Reverse((when, ..))| *when <= now);
            if !due {
                break;
            }
            let Some(Reverse((_, peer, path))) = waiting.due.pop() else { break };
            let Some(known) = waiting.peers.get_mut(&peer) else { continue };
            let counters = counters[path as usize];
            let take = |frame: &[u8]| {
                let start = released.buffer.len();
                released.buffer.extend_from_slice(&frame[LEN_PREFIX..]);
                released.all.push((path, peer, start..released.buffer.len()));
            };
            let more = known.queue(path).release(take, |lost| count(lost, peer, counters));
            if let Some(more) = more {
                waiting.due.push(Reverse((more.min(now + RECHECK), peer, path)));
            }
        }
    }

    /// The limits that the traffic of a peer at this address has to keep to.
    pub(super) fn of_peer(&self, peer: IpAddr) -> Vec<LimitReport> {
        let scopes = ["service", "address", "connection"].into_iter();
        let limit =
            |(scope, limit): (_, Option<TrafficLimit>)| LimitReport::of("limiter", scope, limit?);
        scopes.zip(self.traffic.connection_limits(peer)).filter_map(limit).collect()
    }

    /// The same for an explanation, of one direction.
    pub(super) fn explained(&self, peer: SocketAddr, path: LimitedPath) -> Vec<AppliedLimit> {
        let applied = self.of_peer(peer.ip()).into_iter().filter_map(|limit| {
            let (direction, rate) = match path {
                LimitedPath::In => (LimitedDirection::From, limit.input),
                LimitedPath::Out => (LimitedDirection::To, limit.output),
            };
            let (limiter, scope) = (limit.limiter, limit.scope);
            Some(AppliedLimit {
                host: peer.to_string(),
                direction,
                limiter,
                scope,
                bytes_per_second: rate?,
            })
        });
        applied.collect()
    }

    /// Datagrams that wait, and their bytes with two more for each.
    pub(super) fn queued(&self) -> Queued {
        let mut all = Queued::default();
        for queue in self.waiting().peers.values().flat_map(|peer| &peer.0) {
            let (packets, bytes) = queue.queued();
            all.packets += packets;
            all.bytes += bytes as u64;
        }
        all
    }

    /// How much may pass in all.
    pub(super) fn quota_reports(&self) -> Vec<QuotaReport> {
        quota_reports(&self.quotas)
    }

    /// The queues of a poisoned lock are whole: no critical section panics in the middle of a change.
    fn waiting(&self) -> MutexGuard<'_, WaitingDatagrams> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WaitingDatagrams {
    fn peer(&mut self, peer: SocketAddr, limits: &TunnelLimits) -> &mut LimitedPeer {
        if self.peers.len() >= self.forget_at && !self.peers.contains_key(&peer) {
            self.peers.retain(|_, it| it.0.iter().any(|queue| !queue.is_empty()));
            self.forget_at = FORGET_FROM.max(2 * self.peers.len());
        }
        self.peers.entry(peer).or_insert_with(|| LimitedPeer::new(peer, limits))
    }

    fn push(
        &mut self,
        limits: &TunnelLimits,
        (path, peer): (LimitedPath, SocketAddr),
        sender: u64,
        frames: &[u8],
        counters: &DatagramCounters,
    ) {
        let queue = self.peer(peer, limits).queue(path);
        let waited = !queue.is_empty();
        queue.push(sender, frames, |lost| count(lost, peer, counters));
        if !waited && !queue.is_empty() {
            self.due.push(Reverse((now(), peer, path)));
            limits.wake.notify_one();
        }
    }
}

impl LimitedPeer {
    fn new(peer: SocketAddr, limits: &TunnelLimits) -> Self {
        let pairs = limits.traffic.connection(peer.ip());
        let queue = |shapers| ShapedQueue::of_datagrams(shapers, limits.content, &limits.budget);
        Self([queue(ShaperSet::input(pairs.clone())), queue(ShaperSet::output(pairs))])
    }

    /// From now on these are the limits, also of what waits.
    fn limit(&mut self, pairs: [Arc<ShaperPair>; 3]) {
        self.queue(LimitedPath::In).limit(ShaperSet::input(pairs.clone()));
        self.queue(LimitedPath::Out).limit(ShaperSet::output(pairs));
    }

    fn queue(&mut self, path: LimitedPath) -> &mut ShapedQueue {
        &mut self.0[path as usize]
    }
}

/// The number of a client among those who send to a peer: more than 0 and below 2^55.
pub(super) fn number_of(client: SocketAddr) -> u64 {
    let mut hasher = DefaultHasher::new();
    client.hash(&mut hasher);
    (hasher.finish() >> 10) | 1
}

fn count(lost: Lost<'_>, peer: SocketAddr, counters: &DatagramCounters) {
    let reason = match lost.reason {
        DropReason::RateLimited => DatagramDrop::RateLimited,
        _ => DatagramDrop::TooBig,
    };
    counters.lose(reason, lost.packets, (peer != SERVER).then_some(peer), lost.payload);
}

/// On the clock that tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
