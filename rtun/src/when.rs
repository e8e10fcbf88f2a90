//! Times of the day for terminals.

use jiff::{Timestamp, tz::TimeZone};

/// `12:00:01.250`, in the machine's time zone.
pub(crate) fn clock(unix_seconds: f64) -> String {
    let at = Timestamp::from_millisecond((unix_seconds * 1000.0) as i64).unwrap_or_default();
    at.to_zoned(TimeZone::system()).strftime("%H:%M:%S%.3f").to_string()
}
