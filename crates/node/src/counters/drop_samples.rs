//! The last packets that were lost for each reason, kept while somebody wants to see them.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use rtun_core::{DropReason, HostName, NamespaceId, udp_tunnel::DatagramDrop};
use rtun_proto::{
    ethernet::EthernetFrame, extension::ip_packet, frame_content::FrameContent, packet::Packet,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::json::unix_time;

/// Packets kept of each reason; the oldest makes room.
const KEPT: usize = 64;

/// Samples of lost packets are kept for at most this long at a time.
pub const MAX_SAMPLING: Duration = Duration::from_secs(3600);

/// The samples of a process. While sampling is off, a lost packet costs one relaxed read of a flag, and no other packet costs
/// anything. At most 64 samples are kept for each reason, also after sampling has ended, until it begins again.
#[derive(Debug, Default)]
pub(crate) struct DropSamples {
    on: AtomicBool,
    kept: Mutex<KeptSamples>,
}

#[derive(Debug, Default)]
struct KeptSamples {
    /// Sampling that was switched on ends then.
    until: Option<Instant>,
    /// Those who want samples for as long as they look.
    leases: usize,
    next: u64,
    /// By the words of their reasons.
    by_reason: BTreeMap<&'static str, VecDeque<RawSample>>,
}

#[derive(Debug)]
struct RawSample {
    id: u64,
    at: SystemTime,
    counted: Arc<CountedAt>,
    peer: Option<SocketAddr>,
    packet: Option<SampledPacket>,
    length: usize,
}

/// What is kept of a lost packet.
struct LostPacket<'a> {
    reason: &'static str,
    /// The client of a tunnel that it came from, or was for.
    peer: Option<SocketAddr>,
    /// An IP packet, or anything else.
    packet: &'a [u8],
    length: usize,
}

#[derive(Debug)]
struct SampledPacket {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
}

/// Whose counters a lost packet is in.
#[derive(Debug, Clone)]
pub(crate) struct CountedAt {
    pub(crate) samples: Arc<DropSamples>,
    pub(crate) service: Arc<str>,
    pub(crate) namespace: Option<NamespaceId>,
    pub(crate) host: Option<HostName>,
}

/// A packet that was lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DropSample {
    /// Grows from sample to sample of the process.
    pub id: u64,
    /// When, in seconds of Unix time.
    pub time: f64,
    /// The fixed word of the reason.
    pub reason: String,
    /// The service that lost it.
    pub service: String,
    /// The namespace, at a hub.
    pub namespace: Option<String>,
    /// The host that it is counted at: the one that sent it, or the one in whose queue it waited. In a tunnel, where that client
    /// sends from.
    pub host: Option<String>,
    /// Its source address, if it has an IP header.
    pub source: Option<IpAddr>,
    /// Its destination address.
    pub destination: Option<IpAddr>,
    /// `tcp`, `udp`, `icmp`, or the number of another protocol.
    pub protocol: Option<String>,
    /// Its bytes; of packets that were still together, those of all of them.
    pub length: usize,
}

/// Keeps sampling on; dropping this ends that.
pub struct SamplingLease(Arc<DropSamples>);

impl DropSamples {
    /// Keeps samples from now on for this long, at most [`MAX_SAMPLING`]. Those of an earlier time are gone.
    pub(crate) fn enable(&self, within: Duration) {
        let mut kept = self.kept();
        kept.begin(&self.on);
        kept.until = Some(Instant::now() + within.min(MAX_SAMPLING));
    }

    /// Keeps no more, unless somebody holds a lease.
    pub(crate) fn disable(&self) {
        let mut kept = self.kept();
        kept.until = None;
        self.on.store(kept.leases > 0, Ordering::Relaxed);
    }

    /// Keeps samples for as long as the lease is held.
    pub(crate) fn lease(self: &Arc<Self>) -> SamplingLease {
        let mut kept = self.kept();
        kept.begin(&self.on);
        kept.leases += 1;
        SamplingLease(Arc::clone(self))
    }

    /// Whether samples are kept now.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed) && self.kept().lasts(&self.on)
    }

    /// The samples after the one of this number, the oldest first.
    pub(crate) fn after(&self, id: u64) -> Vec<DropSample> {
        let kept = self.kept();
        let mut samples: Vec<_> = kept
            .by_reason
            .iter()
            .flat_map(|(reason, samples)| samples.iter().map(move |sample| (*reason, sample)))
            .filter(|(_, sample)| sample.id > id)
            .map(|(reason, sample)| sample.report(reason))
            .collect();
        samples.sort_by_key(|sample| sample.id);
        samples
    }

    /// Keeps this packet if samples are wanted. Never waits: where another thread is at it, the packet is not kept.
    fn add(&self, counted: &Arc<CountedAt>, lost: &LostPacket<'_>) {
        let Ok(mut kept) = self.kept.try_lock() else { return };
        if !kept.lasts(&self.on) {
            return;
        }
        kept.next += 1;
        let packet = Packet::parse(lost.packet).ok().map(|packet| SampledPacket {
            source: packet.source(),
            destination: packet.destination(),
            protocol: packet.protocol(),
        });
        let sample = RawSample {
            id: kept.next,
            at: SystemTime::now(),
            counted: Arc::clone(counted),
            peer: lost.peer,
            packet,
            length: lost.length,
        };
        let samples = kept.by_reason.entry(lost.reason).or_default();
        if samples.len() >= KEPT {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    fn kept(&self) -> MutexGuard<'_, KeptSamples> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeptSamples {
    fn begin(&mut self, on: &AtomicBool) {
        if !self.lasts(on) {
            self.by_reason.clear();
            on.store(true, Ordering::Relaxed);
        }
    }

    /// Whether sampling is on; takes the flag back where its time is over.
    fn lasts(&self, on: &AtomicBool) -> bool {
        let lasts = self.leases > 0 || self.until.is_some_and(|until| Instant::now() < until);
        if !lasts {
            on.store(false, Ordering::Relaxed);
        }
        lasts
    }
}

impl RawSample {
    fn report(&self, reason: &str) -> DropSample {
        let Self { id, at, counted, peer, packet, length } = self;
        let packet = packet.as_ref();
        let host = counted.host.as_ref().map(ToString::to_string);
        DropSample {
            id: *id,
            time: unix_time(*at),
            reason: reason.to_owned(),
            service: counted.service.to_string(),
            namespace: counted.namespace.map(|it| it.to_string()),
            host: host.or_else(|| peer.map(|peer| peer.to_string())),
            source: packet.map(|it| it.source),
            destination: packet.map(|it| it.destination),
            protocol: packet.map(|it| protocol(it.protocol)),
            length: *length,
        }
    }
}

impl CountedAt {
    /// Whether samples are wanted.
    pub(crate) fn samples(&self) -> bool {
        self.samples.on.load(Ordering::Relaxed)
    }

    /// Keeps a sample of a lost packet, whole or in a GSO frame, if samples are wanted.
    pub(crate) fn sample(self: &Arc<Self>, reason: DropReason, payload: &[u8]) {
        if self.samples() {
            let packet = ip_packet(payload).unwrap_or(payload);
            let (reason, length) = (reason.as_str(), packet.len());
            self.samples.add(self, &LostPacket { reason, peer: None, packet, length });
        }
    }

    /// The same of a datagram of a tunnel, which is of this kind, or sealed.
    pub(crate) fn sample_datagram(
        self: &Arc<Self>,
        reason: DatagramDrop,
        peer: Option<SocketAddr>,
        content: Option<FrameContent>,
        datagram: &[u8],
    ) {
        if self.samples() {
            let packet = match content {
                Some(FrameContent::Packets) => datagram,
                Some(FrameContent::Ethernet) => {
                    EthernetFrame::parse(datagram).map_or(&[][..], |frame| frame.payload())
                }
                None => &[],
            };
            let (reason, length) = (reason.as_str(), datagram.len());
            self.samples.add(self, &LostPacket { reason, peer, packet, length });
        }
    }
}

impl Drop for SamplingLease {
    fn drop(&mut self) {
        let mut kept = self.0.kept();
        kept.leases -= 1;
        kept.lasts(&self.0.on);
    }
}

fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        58 => "icmpv6".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(last: u8) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        packet[3] = 40;
        packet[9] = 17;
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, last]);
        packet
    }

    fn counted(samples: &Arc<DropSamples>) -> Arc<CountedAt> {
        Arc::new(CountedAt {
            samples: Arc::clone(samples),
            service: "hub".into(),
            namespace: None,
            host: None,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn samples_are_kept_while_they_are_wanted() {
        let samples = Arc::<DropSamples>::default();
        let at = counted(&samples);
        let lose = |last| at.sample(DropReason::NoRoute, &packet(last));
        lose(1);
        assert_eq!(samples.after(0), []);
        let lease = samples.lease();
        lose(2);
        let found = samples.after(0);
        assert_eq!(found[0].destination, Some("10.0.0.2".parse().unwrap()));
        assert_eq!((&*found[0].reason, found[0].protocol.as_deref()), ("no_route", Some("udp")));
        drop(lease);
        lose(3);
        assert_eq!(samples.after(0).len(), 1, "the last ones stay to be read");
        assert!(!samples.is_on());

        samples.enable(Duration::from_secs(10));
        assert_eq!(samples.after(0), [], "those of another time are gone");
        lose(4);
        tokio::time::advance(Duration::from_secs(11)).await;
        lose(5);
        assert!(!samples.is_on());
        assert_eq!(samples.after(0).len(), 1);

        samples.enable(Duration::MAX);
        let lease = samples.lease();
        samples.disable();
        assert!(samples.is_on(), "somebody looks still");
        drop(lease);
        assert!(!samples.is_on());
        samples.enable(Duration::MAX);
        tokio::time::advance(MAX_SAMPLING).await;
        assert!(!samples.is_on());
    }

    #[test]
    fn each_reason_has_its_last_sixty_four() {
        let samples = Arc::<DropSamples>::default();
        let at = counted(&samples);
        let _lease = samples.lease();
        for n in 0..=255 {
            at.sample(DropReason::NoRoute, &packet(n));
        }
        at.sample(DropReason::FrameEmpty, &[]);
        let found = samples.after(0);
        assert_eq!(found.len(), KEPT + 1);
        assert_eq!(found[0].destination, Some("10.0.0.192".parse().unwrap()));
        let last = found.last().unwrap();
        assert_eq!((&*last.reason, last.source, last.length), ("frame_empty", None, 0));
        assert_eq!(samples.after(last.id - 1).len(), 1);
    }
}
