//! The TCP connection under a session, and its losses.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use rtun_core::{LossWatch, Segments, Silence, TcpCounts};
use rtun_transport::tcp_info::TcpInfo;
use tokio::{net::TcpStream, time::sleep};

/// How often the system's statistics of a connection are read.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A connection over TCP. This does not keep it open.
pub(super) struct Wire(Weak<TcpStream>);

impl Wire {
    pub(super) fn of(stream: &Arc<TcpStream>) -> Self {
        Self(Arc::downgrade(stream))
    }

    /// The system's statistics of it; `None` once it is closed.
    fn info(&self) -> Option<TcpInfo> {
        TcpInfo::of(&*self.0.upgrade()?).ok()
    }

    /// The most bytes of a segment that is sent; `None` once it is closed.
    pub(super) fn segment_max(&self) -> Option<u32> {
        self.info().map(|info| info.segment_max)
    }

    /// Returns when it is certain that the connection loses large segments and passes small ones; never returns if it does not.
    /// The observations stay in `watch`.
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

/// The sizes of segments that pass on the path to one hub, as observed while the service runs.
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
    /// The most bytes of a segment for a connection that is made now; `None`: the system decides.
    pub(super) fn limit(&self) -> Option<u16> {
        self.segments().limit(self.begin.elapsed())
    }

    /// A connection with segments of at most `used` bytes loses large ones. Returns the limit for the next, if there is a smaller
    /// one.
    pub(super) fn lower(&self, used: u32) -> Option<u16> {
        self.segments().lower(used, self.begin.elapsed())
    }

    /// Notes the end of a connection; see [`Segments::ended`].
    pub(super) fn ended(&self, silence: Option<Silence>, used: u32) -> Option<u16> {
        self.segments().ended(silence, used, self.begin.elapsed())
    }

    /// The values of a poisoned lock are consistent.
    fn segments(&self) -> MutexGuard<'_, Segments> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
