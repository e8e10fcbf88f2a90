//! Paths that drop large packets silently: detected from TCP's counts, avoided by smaller segments in later connections.
//!
//! If a router drops packets that are too large for its next link, and the ICMP errors about them are blocked, then a
//! connection is established and small messages pass, but large segments never do. The system sends the same sizes again
//! and again. Only a connection whose ends agree on smaller segments at its beginning works.

use std::time::Duration;

/// Segments that pass every path of IPv6: each link carries packets of 1,280 bytes (RFC 8200 section 5), 60 of them
/// headers.
const SMALL: u16 = 1220;

/// Segments that pass every path (RFC 9293 section 3.7.1).
const SMALLEST: u16 = 536;

/// How long smaller segments are used before a new connection tries large ones again. It doubles each time that large
/// ones still do not pass.
const HOLD: Duration = Duration::from_secs(3600);
const HOLD_MAX: Duration = Duration::from_secs(24 * 3600);

/// The segment size of connections to one hub. Times are durations since any fixed point in time.
#[derive(Debug, Default)]
pub struct Segments {
    /// The most bytes of a segment, and until when.
    lowered: Option<(u16, Duration)>,
    /// How long the next smaller limit holds.
    hold: Option<Duration>,
    /// Connections in a row on which no more bytes arrived although the peer's system answered.
    silences: u8,
}

impl Segments {
    /// The most bytes of a segment of a connection made now; `None`: the system decides.
    pub fn limit(&self, now: Duration) -> Option<u16> {
        self.lowered.filter(|(_, until)| now < *until).map(|(bytes, _)| bytes)
    }

    /// A connection whose segments had at most `used` bytes lost the large ones. Returns the limit for the next connection;
    /// `None` if there is no smaller one.
    pub fn lower(&mut self, used: u32, now: Duration) -> Option<u16> {
        let bytes = [SMALL, SMALLEST].into_iter().find(|bytes| u32::from(*bytes) < used)?;
        // A second step down within the same time does not extend it.
        let until = match self.lowered.filter(|(_, until)| now < *until) {
            Some((_, until)) => until,
            None => {
                let hold = self.hold.unwrap_or(HOLD);
                self.hold = Some((hold * 2).min(HOLD_MAX));
                now + hold
            }
        };
        self.lowered = Some((bytes, until));
        Some(bytes)
    }
}

impl Segments {
    /// A connection whose segments had at most `used` bytes has ended; `silence`: what was silent, if that was the reason.
    /// Returns the limit for the next connection if large segments of the peer were lost: either the peer has sent bytes
    /// that never arrived, or twice in a row it was silent right after the join, which no hanging program is.
    pub fn ended(&mut self, silence: Option<Silence>, used: u32, now: Duration) -> Option<u16> {
        self.silences = match silence {
            Some(Silence::WithGap) => SILENCES,
            Some(Silence::OfBytes) => self.silences + 1,
            Some(Silence::Whole) | None => 0,
        };
        if self.silences < SILENCES {
            return None;
        }
        self.silences = 0;
        self.lower(used, now)
    }
}

/// This many silences in a row are no coincidence.
const SILENCES: u8 = 2;

/// TCP's counts of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpCounts {
    /// Bytes that the peer has acknowledged.
    pub acknowledged: u64,
    /// Bytes sent and not acknowledged yet.
    pub in_flight: u64,
    /// How often the oldest of them has been sent again.
    pub repeated: u8,
    /// Segments sent again since the connection began.
    pub retransmitted: u32,
    /// Bytes received in order.
    pub received: u64,
    /// Segments received, of any kind.
    pub segments_received: u32,
    /// Segments received while an earlier one was missing.
    pub out_of_order: u32,
}

/// The fewest bytes in flight for which a loss can be caused by the size.
const LARGE: u64 = 600;

/// How often the oldest bytes must have been sent again.
const REPEATED: u8 = 3;

/// The number of checks after which missing bytes before later ones count as lost: 10 s.
const GAP_CHECKS: u32 = 20;

/// Watches the counts of one connection, checked twice a second.
#[derive(Debug, Default)]
pub struct LossWatch {
    last: TcpCounts,
    sending: Sending,
    /// The counts when bytes arrived in order for the last time.
    arrived: TcpCounts,
    /// Checks since then.
    checks: u32,
}

/// The steps of the proof that large segments to the peer are lost. Each step needs a later check than the one before. If
/// the peer is heard, bytes are sent again, and the peer is heard once more without acknowledging these bytes, then the
/// path works: it loses the large segments only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Sending {
    #[default]
    Passes,
    Stuck,
    Heard,
    SentAgain,
    HeardAgain,
}

impl LossWatch {
    /// Checks the current counts. True when it is certain that large segments are lost in one of the directions.
    pub fn sees(&mut self, now: TcpCounts) -> bool {
        let before = std::mem::replace(&mut self.last, now);
        let stuck =
            now.in_flight >= LARGE && now.repeated > 0 && now.acknowledged == before.acknowledged;
        let heard = now.segments_received > before.segments_received;
        let sent_again = now.retransmitted > before.retransmitted;
        self.sending = match (stuck, self.sending) {
            (false, _) => Sending::Passes,
            (true, Sending::Passes) => Sending::Stuck,
            (true, Sending::Stuck) if heard => Sending::Heard,
            (true, Sending::Heard) if sent_again => Sending::SentAgain,
            (true, Sending::SentAgain) if heard => Sending::HeardAgain,
            (true, step) => step,
        };
        if now.received != self.arrived.received {
            self.arrived = now;
            self.checks = 0;
        }
        self.checks += 1;
        self.sending == Sending::HeardAgain && now.repeated >= REPEATED
            || self.checks >= GAP_CHECKS && self.silence() == Silence::WithGap
    }

    /// What the counts say about a connection that ended because nothing arrived any more.
    pub fn silence(&self) -> Silence {
        let heard = self.last.segments_received.saturating_sub(self.arrived.segments_received);
        match heard {
            // One segment may have been sent before the last bytes arrived.
            0 | 1 => Silence::Whole,
            _ if self.last.out_of_order > self.arrived.out_of_order => Silence::WithGap,
            _ => Silence::OfBytes,
        }
    }
}

/// What was silent when a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// The peer, or the network in between.
    Whole,
    /// The peer's system answers, but no byte arrives: its program hangs, or its segments are lost.
    OfBytes,
    /// The same, and the peer has sent bytes that did not arrive: later ones did.
    WithGap,
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3600)
    }

    #[test]
    fn segments_become_smaller_step_by_step_and_large_again_with_time() {
        let mut segments = Segments::default();
        assert_eq!(segments.limit(hours(0)), None);
        assert_eq!(segments.lower(1448, hours(0)), Some(1220));
        assert_eq!(segments.limit(hours(0)), Some(1220));
        assert_eq!(segments.lower(1208, hours(0)), Some(536));
        assert_eq!(segments.lower(524, hours(0)), None);
        assert_eq!(segments.limit(hours(0)), Some(536));
        // One hour later large segments are tried again and fail; the next try is two hours later.
        assert_eq!(segments.limit(hours(1)), None);
        assert_eq!(segments.lower(1448, hours(1)), Some(1220));
        assert_eq!(segments.limit(hours(2)), Some(1220));
        assert_eq!(segments.limit(hours(3)), None);
        for _ in 0..20 {
            segments.lower(1448, hours(1000));
            segments.lowered = None;
        }
        segments.lower(1448, hours(1000));
        assert_eq!(segments.limit(hours(1023)), Some(1220));
        assert_eq!(segments.limit(hours(1024)), None);
    }

    /// A sender with large segments in flight. Each step is a change before the next check.
    fn watch(steps: &[fn(&mut TcpCounts)]) -> bool {
        let mut watch = LossWatch::default();
        let mut counts = TcpCounts { acknowledged: 500, in_flight: 3000, ..TcpCounts::default() };
        assert!(!watch.sees(counts));
        let mut proven = false;
        for step in steps {
            step(&mut counts);
            proven |= watch.sees(counts);
        }
        proven
    }

    fn again(counts: &mut TcpCounts) {
        counts.repeated += 1;
        counts.retransmitted += 1;
    }

    fn heard(counts: &mut TcpCounts) {
        counts.segments_received += 1;
    }

    fn acknowledged(counts: &mut TcpCounts) {
        heard(counts);
        counts.acknowledged += 1448;
        counts.repeated = 0;
    }

    fn nothing(_: &mut TcpCounts) {}

    #[test]
    fn large_segments_are_lost_if_the_peer_is_heard_before_and_after() {
        assert!(watch(&[again, again, heard, again, heard]));
        assert!(watch(&[again, heard, nothing, again, nothing, again, heard]));
    }

    #[test]
    fn a_cut_network_or_one_that_works_again_proves_nothing() {
        assert!(!watch(&[again, again, again, again, again]));
        assert!(!watch(&[again, again, again, again, heard, heard, heard]));
        assert!(!watch(&[again, again, again, heard, again, acknowledged, heard, heard]));
        assert!(!watch(&[again, heard, again, heard]));
    }

    #[test]
    fn small_segments_in_flight_prove_nothing() {
        let mut watch = LossWatch::default();
        let mut counts = TcpCounts { in_flight: 300, ..TcpCounts::default() };
        for step in [again, again, heard, again, heard] {
            step(&mut counts);
            assert!(!watch.sees(counts));
        }
    }

    #[test]
    fn the_three_kinds_of_silence() {
        let silence = |steps: &[fn(&mut TcpCounts)]| {
            let mut watch = LossWatch::default();
            let mut counts =
                TcpCounts { received: 500, segments_received: 9, ..TcpCounts::default() };
            watch.sees(counts);
            for step in steps {
                step(&mut counts);
                watch.sees(counts);
            }
            watch.silence()
        };
        let gap = |counts: &mut TcpCounts| {
            heard(counts);
            counts.out_of_order += 1;
        };
        let filled = |counts: &mut TcpCounts| {
            heard(counts);
            counts.received += 3000;
        };
        assert_eq!(silence(&[nothing]), Silence::Whole);
        assert_eq!(silence(&[heard, nothing]), Silence::Whole);
        assert_eq!(silence(&[heard, nothing, heard]), Silence::OfBytes);
        assert_eq!(silence(&[gap, nothing, heard]), Silence::WithGap);
        assert_eq!(silence(&[gap, filled]), Silence::Whole);
        // No bytes have arrived in order, and a later segment arrived before the first check.
        let mut watch = LossWatch::default();
        watch.sees(TcpCounts { segments_received: 3, out_of_order: 1, ..TcpCounts::default() });
        assert_eq!(watch.silence(), Silence::WithGap);
    }

    #[test]
    fn a_gap_that_stays_while_the_peer_is_heard_is_a_proof() {
        let mut watch = LossWatch::default();
        let mut counts = TcpCounts { received: 500, ..TcpCounts::default() };
        assert!(!watch.sees(counts));
        counts.out_of_order = 1;
        let proven = |watch: &mut LossWatch, counts: &mut TcpCounts, checks: u32| {
            (0..checks).any(|_| {
                heard(counts);
                watch.sees(*counts)
            })
        };
        assert!(!proven(&mut watch, &mut counts, GAP_CHECKS - 2));
        counts.received += 3000;
        assert!(!proven(&mut watch, &mut counts, GAP_CHECKS * 2));
        counts.out_of_order += 1;
        assert!(proven(&mut watch, &mut counts, 1));
    }

    #[test]
    fn one_silence_may_be_a_hanging_program() {
        let ended = |segments: &mut Segments, silence| segments.ended(silence, 1448, hours(0));
        let mut segments = Segments::default();
        assert_eq!(ended(&mut segments, Some(Silence::OfBytes)), None);
        assert_eq!(ended(&mut segments, None), None);
        assert_eq!(ended(&mut segments, Some(Silence::OfBytes)), None);
        assert_eq!(ended(&mut segments, Some(Silence::Whole)), None);
        assert_eq!(ended(&mut segments, Some(Silence::OfBytes)), None);
        assert_eq!(ended(&mut segments, Some(Silence::OfBytes)), Some(1220));
        assert_eq!(segments.ended(Some(Silence::WithGap), 1208, hours(0)), Some(536));
    }
}
