//! Ways that lose large packets in silence: telling by TCP's own counts, and choosing the segments of later connections.
//!
//! Where a router drops packets that are too large for its next link and the ICMP errors that would say so are blocked, a
//! connection comes up and small messages pass, but nothing large ever does. The system tries the same sizes again and
//! again. What ends that is a connection whose two ends agree on smaller segments from its beginning.

use std::time::Duration;

/// Segments that pass where IPv6 does: each of its links takes packets of 1,280 bytes (RFC 8200 section 5), 60 of them
/// headers.
const SMALL: u16 = 1220;

/// Segments that pass everywhere (RFC 9293 section 3.7.1).
const SMALLEST: u16 = 536;

/// How long smaller segments are used before a new connection tries large ones again; doubled each time that these do not
/// pass then either.
const HOLD: Duration = Duration::from_secs(3600);
const HOLD_MAX: Duration = Duration::from_secs(24 * 3600);

/// The segments of connections to one hub. Times are since any beginning.
#[derive(Debug, Default)]
pub struct Segments {
    /// The most bytes of a segment, and until when.
    lowered: Option<(u16, Duration)>,
    /// How long the next lowering holds.
    hold: Option<Duration>,
    /// Connections in a row on which no byte came any more although the other side's system answered.
    silences: u8,
}

impl Segments {
    /// The most bytes of a segment of a connection made now; `None`: as many as the system thinks.
    pub fn limit(&self, now: Duration) -> Option<u16> {
        self.lowered.filter(|(_, until)| now < *until).map(|(bytes, _)| bytes)
    }

    /// A connection whose segments had at most `used` bytes lost the large ones. Answers the limit for the next; `None` when
    /// there is no smaller one.
    pub fn lower(&mut self, used: u32, now: Duration) -> Option<u16> {
        let bytes = [SMALL, SMALLEST].into_iter().find(|bytes| u32::from(*bytes) < used)?;
        // A second step of the same finding is no new one.
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
    /// A connection whose segments had at most `used` bytes has ended, and what had fallen silent if that was why. Answers
    /// the limit for the next if it was large segments of the other side that were lost: it has sent what never came, or
    /// it has fallen silent twice in a row right after it took part in the joining, as no hanging program does.
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

/// So many silences in a row are no chance.
const SILENCES: u8 = 2;

/// What TCP's counts say of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Bytes that the other side has acknowledged.
    pub acknowledged: u64,
    /// Bytes sent and not acknowledged yet.
    pub in_flight: u64,
    /// How often the oldest of them has been sent again.
    pub repeated: u8,
    /// Segments sent again since the beginning.
    pub retransmitted: u32,
    /// Bytes received in order.
    pub received: u64,
    /// Segments received, of any kind.
    pub segments_received: u32,
    /// Segments received for which one before was missing.
    pub out_of_order: u32,
}

/// What there has to be on its way before a loss is put down to its size.
const LARGE: u64 = 600;

/// The oldest bytes have been sent again so often.
const REPEATED: u8 = 3;

/// Looks after which what is missing before what has arrived is not on its way any more: 10 s.
const GAP_LOOKS: u32 = 20;

/// Watches one connection by its counts, looked at twice a second.
#[derive(Debug, Default)]
pub struct LossWatch {
    last: Counts,
    sending: Sending,
    /// What was known when something arrived in order last.
    arrived: Counts,
    /// Looks since then.
    looks: u32,
}

/// How far the proof has come that large segments to the other side are lost, each step at a later look than the one
/// before. Whoever hears the other side, sends again, and hears it once more without a word of what was sent again, knows
/// that the way is not cut: it loses this and not that.
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
    /// Takes the counts of now. True when it is certain that large segments in either direction are lost.
    pub fn sees(&mut self, now: Counts) -> bool {
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
            self.looks = 0;
        }
        self.looks += 1;
        self.sending == Sending::HeardAgain && now.repeated >= REPEATED
            || self.looks >= GAP_LOOKS && self.silence() == Silence::WithGap
    }

    /// What the counts say of a connection that ended because nothing arrived any more.
    pub fn silence(&self) -> Silence {
        let heard = self.last.segments_received.saturating_sub(self.arrived.segments_received);
        match heard {
            // One may have crossed the last bytes.
            0 | 1 => Silence::Whole,
            _ if self.last.out_of_order > self.arrived.out_of_order => Silence::WithGap,
            _ => Silence::OfBytes,
        }
    }
}

/// What has fallen silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// The other side, or the network in between.
    Whole,
    /// The other side's system answers, and no byte comes: its program hangs, or what it sends is lost.
    OfBytes,
    /// The same, and it has sent what has not arrived: later bytes have.
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
        // An hour later it is tried again, in vain, and then after two.
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

    /// One that sends, with large segments on their way; each step is what changes until the next look.
    fn watch(steps: &[fn(&mut Counts)]) -> bool {
        let mut watch = LossWatch::default();
        let mut counts = Counts { acknowledged: 500, in_flight: 3000, ..Counts::default() };
        assert!(!watch.sees(counts));
        let mut proven = false;
        for step in steps {
            step(&mut counts);
            proven |= watch.sees(counts);
        }
        proven
    }

    fn again(counts: &mut Counts) {
        counts.repeated += 1;
        counts.retransmitted += 1;
    }

    fn heard(counts: &mut Counts) {
        counts.segments_received += 1;
    }

    fn acknowledged(counts: &mut Counts) {
        heard(counts);
        counts.acknowledged += 1448;
        counts.repeated = 0;
    }

    fn nothing(_: &mut Counts) {}

    #[test]
    fn large_segments_are_lost_where_small_ones_come_back_before_and_after() {
        assert!(watch(&[again, again, heard, again, heard]));
        assert!(watch(&[again, heard, nothing, again, nothing, again, heard]));
    }

    #[test]
    fn a_cut_network_or_one_that_comes_back_proves_nothing() {
        assert!(!watch(&[again, again, again, again, again]));
        assert!(!watch(&[again, again, again, again, heard, heard, heard]));
        assert!(!watch(&[again, again, again, heard, again, acknowledged, heard, heard]));
        assert!(!watch(&[again, heard, again, heard]));
    }

    #[test]
    fn small_ones_on_their_way_prove_nothing() {
        let mut watch = LossWatch::default();
        let mut counts = Counts { in_flight: 300, ..Counts::default() };
        for step in [again, again, heard, again, heard] {
            step(&mut counts);
            assert!(!watch.sees(counts));
        }
    }

    #[test]
    fn silence_is_of_the_network_of_bytes_or_has_a_gap() {
        let silence = |steps: &[fn(&mut Counts)]| {
            let mut watch = LossWatch::default();
            let mut counts = Counts { received: 500, segments_received: 9, ..Counts::default() };
            watch.sees(counts);
            for step in steps {
                step(&mut counts);
                watch.sees(counts);
            }
            watch.silence()
        };
        let gap = |counts: &mut Counts| {
            heard(counts);
            counts.out_of_order += 1;
        };
        let filled = |counts: &mut Counts| {
            heard(counts);
            counts.received += 3000;
        };
        assert_eq!(silence(&[nothing]), Silence::Whole);
        assert_eq!(silence(&[heard, nothing]), Silence::Whole);
        assert_eq!(silence(&[heard, nothing, heard]), Silence::OfBytes);
        assert_eq!(silence(&[gap, nothing, heard]), Silence::WithGap);
        assert_eq!(silence(&[gap, filled]), Silence::Whole);
        // Nothing has arrived in order yet, and a later segment before the first look.
        let mut watch = LossWatch::default();
        watch.sees(Counts { segments_received: 3, out_of_order: 1, ..Counts::default() });
        assert_eq!(watch.silence(), Silence::WithGap);
    }

    #[test]
    fn a_gap_that_stays_while_the_other_side_is_heard_proves_it_too() {
        let mut watch = LossWatch::default();
        let mut counts = Counts { received: 500, ..Counts::default() };
        assert!(!watch.sees(counts));
        counts.out_of_order = 1;
        let proven = |watch: &mut LossWatch, counts: &mut Counts, looks: u32| {
            (0..looks).any(|_| {
                heard(counts);
                watch.sees(*counts)
            })
        };
        assert!(!proven(&mut watch, &mut counts, GAP_LOOKS - 2));
        counts.received += 3000;
        assert!(!proven(&mut watch, &mut counts, GAP_LOOKS * 2));
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
