//! What has happened in a process lately: the last events, and who follows them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::json::unix_time;

/// Events kept; the oldest makes room.
const KEPT: usize = 1000;

/// Events that wait for one follower. One that is slower misses the oldest, and is informed of their number.
const WAITING: usize = 1024;

/// The longest text of an event, in bytes; what is longer is cut.
const MAX_TEXT: usize = 1024;

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeEvent {
    /// Grows by one from event to event of the process, from 1.
    pub id: u64,
    /// When, in seconds of Unix time.
    pub time: f64,
    /// Of what kind.
    pub kind: NodeEventKind,
    /// The service that it is about.
    pub service: Option<String>,
    /// The namespace that it is about.
    pub namespace: Option<String>,
    /// The host that it is about.
    pub host: Option<String>,
    /// What has happened, for people.
    pub text: String,
}

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeEventKind {
    /// A hub has admitted a host; a client has come to the server or relay of a tunnel.
    HostJoined,
    /// A host's connection to a hub has ended; a client has gone, or has lost an address to another one.
    HostLeft,
    /// A service has started, changed or stopped, or could not.
    Service,
    /// The configuration was read again.
    Reload,
    /// A problem has begun or ended.
    Problem,
    /// The log has a line at the level warn or above.
    Log,
}

/// What is said of an event, besides its time and number.
#[derive(Debug, Clone, Default)]
pub struct EventFacts<'a> {
    /// The service that it is about.
    pub service: Option<&'a str>,
    /// The namespace that it is about.
    pub namespace: Option<&'a str>,
    /// The host that it is about.
    pub host: Option<&'a str>,
    /// What has happened.
    pub text: &'a str,
}

/// The events of a process: the last 1,000, and those who follow them. Nobody who adds one waits for those who read.
pub(crate) struct EventLog {
    kept: Mutex<KeptEvents>,
    live: broadcast::Sender<Arc<NodeEvent>>,
}

#[derive(Default)]
struct KeptEvents {
    next: u64,
    events: VecDeque<Arc<NodeEvent>>,
}

/// Follows the events.
pub struct EventFollower {
    missed: u64,
    kept: VecDeque<Arc<NodeEvent>>,
    live: broadcast::Receiver<Arc<NodeEvent>>,
}

/// What a follower gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// The next event.
    Event(Arc<NodeEvent>),
    /// This many events are gone, since the follower was too slow or came too late.
    Missed(u64),
}

impl Default for EventLog {
    fn default() -> Self {
        Self { kept: Mutex::default(), live: broadcast::Sender::new(WAITING) }
    }
}

impl EventLog {
    /// Adds an event that happens now.
    pub(crate) fn add(&self, kind: NodeEventKind, facts: &EventFacts<'_>) {
        let EventFacts { service, namespace, host, text } = facts;
        let own = |text: &Option<&str>| text.map(|text| cut(text).to_owned());
        let mut kept = self.kept();
        kept.next += 1;
        let event = Arc::new(NodeEvent {
            id: kept.next,
            time: unix_time(SystemTime::now()),
            kind,
            service: own(service),
            namespace: own(namespace),
            host: own(host),
            text: cut(text).to_owned(),
        });
        if kept.events.len() >= KEPT {
            kept.events.pop_front();
        }
        kept.events.push_back(Arc::clone(&event));
        // Fails only where nobody follows.
        let _ = self.live.send(event);
    }

    /// The kept events about starts, changes and stops of services, and their problems, the oldest first.
    pub(crate) fn of_services(&self) -> Vec<Arc<NodeEvent>> {
        let is_wanted = |event: &&Arc<NodeEvent>| {
            matches!(event.kind, NodeEventKind::Service | NodeEventKind::Problem)
        };
        self.kept().events.iter().filter(is_wanted).cloned().collect()
    }

    /// Follows the events after the one of this number, as far as they are kept; `None`: those that happen from now on.
    pub(crate) fn follow(&self, after: Option<u64>) -> EventFollower {
        let kept = self.kept();
        // A number from another run of the process is higher than any here: then everything is news.
        let after = after.map_or(kept.next, |after| if after > kept.next { 0 } else { after });
        let oldest = kept.events.front().map_or(kept.next + 1, |event| event.id);
        let events = kept.events.iter().filter(|event| event.id > after).cloned().collect();
        let missed = oldest.saturating_sub(after + 1);
        EventFollower { missed, kept: events, live: self.live.subscribe() }
    }

    /// The list of a poisoned lock is whole: no critical section panics in the middle of a change.
    fn kept(&self) -> MutexGuard<'_, KeptEvents> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventFollower {
    /// Waits for the next event; `None`: the process has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Followed> {
        if self.missed > 0 {
            return Some(Followed::Missed(std::mem::take(&mut self.missed)));
        }
        if let Some(event) = self.kept.pop_front() {
            return Some(Followed::Event(event));
        }
        match self.live.recv().await {
            Ok(event) => Some(Followed::Event(event)),
            Err(RecvError::Lagged(missed)) => Some(Followed::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// At most [`MAX_TEXT`] bytes of a text.
fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(MAX_TEXT)).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(log: &EventLog, text: &str) {
        log.add(NodeEventKind::Log, &EventFacts { text, ..EventFacts::default() });
    }

    async fn next(follower: &mut EventFollower) -> (u64, String) {
        match follower.next().await.unwrap() {
            Followed::Event(event) => (event.id, event.text.clone()),
            Followed::Missed(count) => (count, "missed".into()),
        }
    }

    #[tokio::test]
    async fn followers_get_what_they_have_not_seen() {
        let log = EventLog::default();
        for text in ["one", "two", "three"] {
            say(&log, text);
        }
        let mut later = log.follow(None);
        let mut again = log.follow(Some(1));
        let mut other_run = log.follow(Some(77));
        say(&log, "four");
        assert_eq!(next(&mut later).await, (4, "four".into()));
        assert_eq!(next(&mut again).await, (2, "two".into()));
        assert_eq!(next(&mut again).await, (3, "three".into()));
        assert_eq!(next(&mut again).await, (4, "four".into()));
        assert_eq!(next(&mut other_run).await, (1, "one".into()));
        drop(log);
        assert_eq!(later.next().await, None);
    }

    #[tokio::test]
    async fn a_slow_follower_is_informed_of_what_it_missed() {
        let log = EventLog::default();
        let mut slow = log.follow(None);
        for n in 1..=WAITING + 500 {
            say(&log, &n.to_string());
        }
        assert_eq!(next(&mut slow).await, (500, "missed".into()));
        assert_eq!(next(&mut slow).await, (501, "501".into()));
        let mut late = log.follow(Some(0));
        let gone = (WAITING + 500 - KEPT) as u64;
        assert_eq!(next(&mut late).await, (gone, "missed".into()));
        assert_eq!(next(&mut late).await, (gone + 1, (gone + 1).to_string()));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let log = EventLog::default();
        say(&log, &"ä".repeat(MAX_TEXT));
        let kept = log.kept();
        assert_eq!(kept.events[0].text, "ä".repeat(MAX_TEXT / 2));
    }
}
