//! CPU time that a process has used, as the kernel books it.

use std::{fs, io};

/// Ticks per second in `/proc/PID/stat` on every architecture rtun runs on (proc(5): `sysconf(_SC_CLK_TCK)`).
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of a process and its threads, in seconds.
pub(super) fn seconds(process: u32) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    parse(&stat).ok_or_else(|| io::Error::other(format!("/proc/{process}/stat cannot be read")))
}

/// `utime` and `stime`, fields 14 and 15 of proc(5); the second field, the name, may hold blanks and parentheses.
fn parse(stat: &str) -> Option<f64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_behind_any_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 9 9 20 0 1 0 5 0 0";
        assert_eq!(parse(stat), Some(3.0));
        assert_eq!(parse("7 (a b"), None);
        assert_eq!(parse("7 (a) S 1 2"), None);
    }

    #[test]
    fn this_process_uses_time() {
        let start = seconds(std::process::id()).unwrap();
        let mut sum = 0u64;
        while seconds(std::process::id()).unwrap() <= start {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }
}
