//! Times as they are shown to people.

use std::time::SystemTime;

use time::OffsetDateTime;

/// As `2027-03-01 12:30:00 UTC`.
pub(crate) fn date(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let ((year, month, day), (hour, minute, second)) =
        ((time.year(), u8::from(time.month()), time.day()), time.to_hms());
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}
