//! What the scenarios share: measured values, and times before and between measurements.

use std::time::Duration;

/// One measured value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) unit: &'static str,
    pub(super) value: f64,
    /// Whether dividing it by another contender's says something; it does not of differences and shares.
    pub(super) compares: bool,
}

impl Figure {
    pub(super) fn new(name: &str, unit: &'static str, value: f64) -> Self {
        Self { name: name.to_owned(), unit, value, compares: true }
    }

    /// A difference of two figures, a share, or a count that is best zero.
    pub(super) fn derived(name: &str, unit: &'static str, value: f64) -> Self {
        Self { compares: false, ..Self::new(name, unit, value) }
    }
}

/// Between two echo requests.
pub(super) const PING_PAUSE: Duration = Duration::from_millis(2);

/// Streams grow and queues fill before anything is counted.
pub(super) fn warm_up(during: Duration) -> Duration {
    (during / 4).clamp(Duration::from_millis(200), Duration::from_secs(1))
}
