//! Which problems there are, and events where one begins or ends.

use std::collections::BTreeMap;

use crate::{
    operations::problems::Problem,
    runtime::events::{EventFacts, EventLog, NodeEventKind},
};

/// Problems followed; those past it begin and end unnoticed.
const FOLLOWED: usize = 1000;

/// The problems there were at the last look.
#[derive(Default)]
pub(super) struct ProblemLedger(BTreeMap<ProblemKey, String>);

/// The service, and what is wrong without its numbers, which change while it lasts.
type ProblemKey = (String, String);

impl ProblemLedger {
    /// Says which problems have begun and which have ended since the last look.
    pub(super) fn look(&mut self, problems: &[Problem], events: &EventLog) {
        let now: BTreeMap<ProblemKey, String> = problems
            .iter()
            .take(FOLLOWED)
            .map(|it| ((it.service.clone(), without_numbers(&it.what)), it.what.clone()))
            .collect();
        let say = |(service, _): &ProblemKey, text: &str| {
            let service = Some(service.as_str()).filter(|name| *name != "-");
            let facts = EventFacts { service, text, ..EventFacts::default() };
            events.add(NodeEventKind::Problem, &facts);
        };
        for (key, what) in now.iter().filter(|(key, _)| !self.0.contains_key(key)) {
            say(key, what);
        }
        for (key, what) in self.0.iter().filter(|(key, _)| !now.contains_key(key)) {
            say(key, &format!("over: {what}"));
        }
        self.0 = now;
    }
}

/// Counts and durations are left out: `3 so far`, `1m 2s`.
fn without_numbers(text: &str) -> String {
    let words = text.split(' ').filter(|word| {
        !word.trim_start_matches('(').starts_with(|first: char| first.is_ascii_digit())
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::events::Followed;

    fn problem(what: &str) -> Problem {
        let remedy = String::new();
        Problem { ago: Duration::ZERO, service: "hub".into(), what: what.into(), remedy }
    }

    #[tokio::test]
    async fn each_problem_begins_and_ends_once() {
        let (events, mut ledger) = (EventLog::default(), ProblemLedger::default());
        for problems in [
            &[problem("source fails for 59s: gone")][..],
            &[problem("source fails for 1m 2s: gone"), problem("refused (3 so far)")],
            &[problem("refused (4 so far)")],
            &[],
        ] {
            ledger.look(problems, &events);
        }
        let mut follower = events.follow(Some(0));
        let mut said = Vec::new();
        drop(events);
        while let Some(Followed::Event(event)) = follower.next().await {
            said.push(event.text.clone());
        }
        assert_eq!(
            said,
            [
                "source fails for 59s: gone",
                "refused (3 so far)",
                "over: source fails for 1m 2s: gone",
                "over: refused (4 so far)",
            ]
        );
    }
}
