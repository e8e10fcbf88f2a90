//! When a silent peer is asked whether it is still there, and when it is given up.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

/// Questions without an answer after which the other side is gone.
const UNANSWERED_MAX: u32 = 2;

/// The clock of one connection.
pub(super) struct Keepalive {
    every: Duration,
    timer: Pin<Box<Sleep>>,
    heard: bool,
    unanswered: u32,
}

/// What is to be done now.
#[derive(Debug, PartialEq)]
pub(super) enum Due {
    /// Ask.
    Ping,
    /// Nothing has been heard since the questions.
    GiveUp,
}

impl Keepalive {
    /// Asks each `every`; has to be made within a tokio runtime.
    pub(super) fn new(every: Duration) -> Self {
        Self { every, timer: Box::pin(sleep(every)), heard: false, unanswered: 0 }
    }

    /// Something has come.
    pub(super) fn heard(&mut self) {
        self.heard = true;
    }

    /// What is due, once it is.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        std::task::ready!(self.timer.as_mut().poll(cx));
        self.timer.as_mut().reset(Instant::now() + self.every);
        if std::mem::take(&mut self.heard) {
            self.unanswered = 0;
        }
        if self.unanswered == UNANSWERED_MAX {
            return Poll::Ready(Due::GiveUp);
        }
        self.unanswered += 1;
        Poll::Ready(Due::Ping)
    }
}
