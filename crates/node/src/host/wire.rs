//! The TCP connection at the bottom of a session, and what it loses.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use rtun_core::{LossWatch, Segments, Silence, TcpCounts};
use rtun_transport::tcp_info::TcpInfo;
use tokio::{net::TcpStream, time::sleep};

/// Between two looks at what the system knows of a connection.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A connection over TCP; it does not keep it open.
pub(super) struct Wire(Weak<TcpStream>);

impl Wire {
    pub(super) fn of(stream: &Arc<TcpStream>) -> Self {
        Self(Arc::downgrade(stream))
    }

    /// What the system knows of it; `None` once it is closed.
    fn info(&self) -> Option<TcpInfo> {
        TcpInfo::of(&*self.0.upgrade()?).ok()
    }

    /// The most bytes of a segment that is sent, while it is open.
    pub(super) fn segment_max(&self) -> Option<u32> {
        self.info().map(|info| info.segment_max)
    }

    /// Looks at it until it is certain that it loses large segments and passes small ones; for ever if it does not. What
    /// has been seen stays in `watch`.
    pub(super) async fn loses_large(&self, watch: &mut LossWatch) {
        loop {
            sleep(LOOK_EVERY).await;
            let Some(info) = self.info() else { return std::future::pending().await };
            let counts = TcpCounts {
                acknowledged: info.acknowledged,
                in_flight: info.in_flight,
                repeated: info.repeated,
                retransmitted: info.retransmitted,
                received: info.received,
                segments_received: info.segments_received,
                out_of_order: info.out_of_order,
            };
            if watch.sees(counts) {
                return;
            }
        }
    }
}

/// What has been learnt of the segments that pass on the way to one hub; forgotten with the service.
pub(super) struct SegmentSizes {
    segments: Mutex<Segments>,
    begin: Instant,
}

impl Default for SegmentSizes {
    fn default() -> Self {
        Self { segments: Mutex::default(), begin: Instant::now() }
    }
}

impl SegmentSizes {
    /// The most bytes of a segment of a connection made now; `None`: as many as the system thinks.
    pub(super) fn limit(&self) -> Option<u16> {
        self.segments().limit(self.begin.elapsed())
    }

    /// A connection with segments of at most `used` bytes loses large ones. Answers the limit for the next, if there is a
    /// smaller one.
    pub(super) fn lower(&self, used: u32) -> Option<u16> {
        self.segments().lower(used, self.begin.elapsed())
    }

    /// Takes note of a connection's end as [`Segments::ended`] does.
    pub(super) fn ended(&self, silence: Option<Silence>, used: u32) -> Option<u16> {
        self.segments().ended(silence, used, self.begin.elapsed())
    }

    /// A poisoned lock still guards whole values.
    fn segments(&self) -> MutexGuard<'_, Segments> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
