//! Log lines of a running process for those who follow them.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::broadcast::{self, error::RecvError};

/// Lines that wait for one follower. One that is slower misses the oldest, and is informed of their number.
const WAITING: usize = 256;

/// How severe a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the levels of logs")]
pub enum LineLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

/// A log line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveLogLine {
    /// When, in seconds of Unix time.
    pub time: f64,
    /// How severe it is.
    pub level: LineLevel,
    /// What it says. Who makes the line bounds its length.
    pub message: String,
    /// Of what.
    pub fields: Map<String, Value>,
}

/// The lines of a process on their way to followers. Nobody who logs waits for those who read.
pub(crate) struct LiveLog {
    live: broadcast::Sender<Arc<LiveLogLine>>,
    /// How many followers want lines from each level on.
    wanted: Mutex<[usize; LineLevel::ALL.len()]>,
    on_change: OnceLock<Box<dyn Fn(LineLevel) + Send + Sync>>,
}

/// Follows the lines of a level and above. Dropping this ends that.
pub struct LogFollower {
    log: Arc<LiveLog>,
    level: LineLevel,
    live: broadcast::Receiver<Arc<LiveLogLine>>,
}

/// What a follower gets.
#[derive(Debug, Clone, PartialEq)]
pub enum FollowedLine {
    /// The next line.
    Line(Arc<LiveLogLine>),
    /// This many lines, of any level, are gone, since the follower was too slow.
    Missed(u64),
}

impl LineLevel {
    /// All levels, the least severe first.
    pub const ALL: [Self; 6] =
        [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Fatal];

    /// The fixed word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

impl Default for LiveLog {
    fn default() -> Self {
        Self {
            live: broadcast::Sender::new(WAITING),
            wanted: Mutex::default(),
            on_change: OnceLock::new(),
        }
    }
}

impl LiveLog {
    /// Has `change` called with the level from which on lines are wanted, at once and when that changes. The first one counts.
    pub(crate) fn on_change(&self, change: impl Fn(LineLevel) + Send + Sync + 'static) {
        if self.on_change.set(Box::new(change)).is_ok() {
            self.change(0, LineLevel::Warn);
        }
    }

    /// Passes a line on.
    pub(crate) fn add(&self, line: LiveLogLine) {
        if self.live.receiver_count() > 0 {
            // Fails only where nobody follows.
            let _ = self.live.send(Arc::new(line));
        }
    }

    /// Follows lines from this level on.
    pub(crate) fn follow(self: &Arc<Self>, level: LineLevel) -> LogFollower {
        let live = self.live.subscribe();
        self.change(1, level);
        LogFollower { log: Arc::clone(self), level, live }
    }

    /// More or fewer followers want lines from this level on. Lines from warn on are always wanted.
    fn change(&self, by: isize, level: LineLevel) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let count = &mut wanted[level as usize];
        *count = count.saturating_add_signed(by);
        let least = LineLevel::ALL.into_iter().zip(*wanted).find(|(_, count)| *count > 0);
        let least = least.map_or(LineLevel::Warn, |(level, _)| level.min(LineLevel::Warn));
        if let Some(change) = self.on_change.get() {
            change(least);
        }
    }
}

impl LogFollower {
    /// Waits for the next line; `None`: the process has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<FollowedLine> {
        loop {
            match self.live.recv().await {
                Ok(line) if line.level < self.level => {}
                Ok(line) => return Some(FollowedLine::Line(line)),
                Err(RecvError::Lagged(missed)) => return Some(FollowedLine::Missed(missed)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for LogFollower {
    fn drop(&mut self) {
        self.log.change(-1, self.level);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: LineLevel, message: &str) -> LiveLogLine {
        LiveLogLine { time: 0.0, level, message: message.into(), fields: Map::new() }
    }

    #[tokio::test]
    async fn followers_get_lines_of_their_level_and_the_log_knows_what_is_wanted() {
        let log = Arc::<LiveLog>::default();
        let wanted = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&wanted);
        log.on_change(move |level| seen.lock().unwrap().push(level.as_str()));
        let mut follower = log.follow(LineLevel::Info);
        let other = log.follow(LineLevel::Trace);
        drop(other);
        log.add(line(LineLevel::Debug, "not wanted"));
        log.add(line(LineLevel::Info, "wanted"));
        let Some(FollowedLine::Line(found)) = follower.next().await else { panic!() };
        assert_eq!(found.message, "wanted");
        for n in 0..WAITING + 3 {
            log.add(line(LineLevel::Error, &n.to_string()));
        }
        assert_eq!(follower.next().await, Some(FollowedLine::Missed(3)));
        drop(follower);
        assert_eq!(*wanted.lock().unwrap(), ["warn", "info", "trace", "info", "warn"]);
    }
}
