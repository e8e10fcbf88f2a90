//! What every source is put through, whatever it is.

use std::time::{Duration, Instant};

use rtun_control::{Loaded, Source, SourceError};

/// What the other end does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Gives `TEXT`.
    Right,
    /// Gives `TEXT`, bit by bit.
    Slow,
    /// Accepts whatever is asked and says nothing.
    Hang,
    /// Says no.
    Refuse,
    /// Has nothing.
    Empty,
    /// Ends in the middle of the text.
    CutShort,
    /// Has more than can be taken.
    TooLarge,
    /// Has bytes that are no text.
    NotUtf8,
    /// Is not there.
    Gone,
}

/// What a source that is right gives; also the order of a redis hash and set.
pub(crate) const TEXT: &str = "# two\n10.0.0.0/8 host-1\n10.1.0.0/16 host-2\n";

/// A source and its other end.
pub(crate) trait Stage {
    fn source(&self) -> &dyn Source;
    /// From now on does so; `false`: no such source can.
    fn play(&mut self, act: Act) -> bool;
}

/// Every act there is, each followed by the right one, for the source has to recover from all of them.
///
/// Returns how many could be played, so that a stage which plays nothing is noticed.
pub(crate) async fn battery(stage: &mut dyn Stage, limit: Duration) -> usize {
    let acts = [
        Act::Slow,
        Act::Hang,
        Act::Refuse,
        Act::Empty,
        Act::CutShort,
        Act::TooLarge,
        Act::NotUtf8,
        Act::Gone,
    ];
    let mut played = 1;
    assert!(stage.play(Act::Right));
    assert_eq!(stage.source().load().await, right());
    for act in acts {
        if !stage.play(act) {
            continue;
        }
        played += 1;
        let start = Instant::now();
        let result = stage.source().load().await;
        assert!(start.elapsed() < limit, "{act:?} took {:?}", start.elapsed());
        match (act, &result) {
            (Act::Slow, Ok(Loaded::Text(text))) if text == TEXT => {}
            (Act::Empty, Ok(Loaded::Text(text))) if text.is_empty() => {}
            (Act::Hang, Err(SourceError::Timeout(_)))
            | (Act::Refuse, Err(SourceError::Refused(_) | SourceError::Status(_)))
            | (Act::Refuse | Act::Gone | Act::CutShort, Err(SourceError::Unreachable(_)))
            | (Act::TooLarge, Err(SourceError::TooLarge(_)))
            | (Act::NotUtf8, Err(SourceError::NotText(_))) => {}
            _ => panic!("{act:?}: {result:?}"),
        }
        assert!(stage.play(Act::Right));
        assert_eq!(stage.source().load().await, right(), "after {act:?}");
    }
    played
}

pub(crate) fn right() -> Result<Loaded, SourceError> {
    Ok(Loaded::Text(TEXT.to_owned()))
}
