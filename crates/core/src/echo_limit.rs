//! How many echoes go to one end.

use std::time::{Duration, Instant};

/// Echoes of one second.
const EACH_SECOND: u32 = 50;

const SECOND: Duration = Duration::from_secs(1);

/// Lets 50 echoes a second through; further ones are not sent.
#[derive(Debug, Default)]
pub struct EchoLimit {
    /// When the second began that is counted, and what has passed since.
    counted: Option<(Instant, u32)>,
}

impl EchoLimit {
    /// Whether one more may be sent now.
    pub fn admits(&mut self, now: Instant) -> bool {
        match &mut self.counted {
            Some((begun, passed)) if now.saturating_duration_since(*begun) < SECOND => {
                *passed += 1;
                *passed <= EACH_SECOND
            }
            counted => {
                *counted = Some((now, 1));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_pass_each_second() {
        let (mut limit, begin) = (EchoLimit::default(), Instant::now());
        let passed = |limit: &mut EchoLimit, ms| {
            (0..60).filter(|_| limit.admits(begin + Duration::from_millis(ms))).count()
        };
        assert_eq!(passed(&mut limit, 0), 50);
        assert_eq!(passed(&mut limit, 999), 0);
        assert_eq!(passed(&mut limit, 1000), 50);
    }
}
