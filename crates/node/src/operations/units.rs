//! Numbers, sizes and durations for people, and text that may be shown to them.

use std::time::Duration;

/// The longest text of somebody else's that is shown, in characters.
const MAX_TEXT: usize = 160;

/// The same in a column among others.
const MAX_CELL: usize = 24;

/// A size in bytes: `0 B`, `1.5 KiB`, `210 MiB`.
pub fn bytes(count: f64) -> String {
    scaled(count, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB"])
}

/// A count: `0`, `999`, `1.5k`, `210M`.
pub fn count(count: f64) -> String {
    scaled(count, 1000.0, &["", "k", "M", "G", "T", "P"])
}

/// A duration in its two largest units: `12s`, `3m 4s`, `5d 2h`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// The same of seconds.
pub fn seconds(seconds: f64) -> String {
    duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// Text of somebody else's, without anything that a terminal would act on or hide.
pub fn printable(text: &str) -> String {
    printable_within(text, MAX_TEXT)
}

/// The same where there is little room.
pub fn short(text: &str) -> String {
    printable_within(text, MAX_CELL)
}

fn printable_within(text: &str, limit: usize) -> String {
    let mut printable = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == limit {
            printable.push('…');
            break;
        }
        if c.is_control() || is_invisible(c) {
            printable.extend(c.escape_unicode());
        } else {
            printable.push(c);
        }
    }
    printable
}

/// Format characters that reorder or hide text.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    let whole = value < step && value.fract() == 0.0;
    for larger in units {
        // What would be shown as 1000 or more of the unit, rounded.
        if value < step - 0.5 {
            break;
        }
        value /= step;
        unit = larger;
    }
    match whole || value >= 99.95 {
        true => format!("{value:.0}{unit}"),
        false => format!("{value:.1}{unit}"),
    }
}

/// `1 line`, `2 lines`.
pub fn number(count: usize, of: &str) -> String {
    if count == 1 { format!("1 {of}") } else { format!("{count} {of}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown: Vec<_> = [0.0, 1023.0, 1024.0, 1536.0, 220_200_960.0, 1_073_741_823.0]
            .into_iter()
            .map(bytes)
            .collect();
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "210 MiB", "1.0 GiB"]);
        let shown: Vec<_> = [0.0, 0.4, 999.0, 999.6, 1500.0, 2e9].into_iter().map(count).collect();
        assert_eq!(shown, ["0", "0.4", "999", "1.0k", "1.5k", "2.0G"]);
        let shown: Vec<_> = [0, 59, 60, 3599, 3600, 86_399, 90_000]
            .map(|seconds| duration(Duration::from_secs(seconds)))
            .into();
        assert_eq!(shown, ["0s", "59s", "1m 0s", "59m 59s", "1h 0m", "23h 59m", "1d 1h"]);
    }

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_act_on() {
        assert_eq!(printable("rtun/0.1.0 é"), "rtun/0.1.0 é");
        assert_eq!(
            printable("\x1b[31m\u{9b}1m\n\u{202e}x"),
            "\\u{1b}[31m\\u{9b}1m\\u{a}\\u{202e}x"
        );
        assert_eq!(printable(&"x".repeat(500)).chars().count(), MAX_TEXT + 1);
    }
}
