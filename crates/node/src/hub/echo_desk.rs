//! What a host asks the hub about other hosts: the questions that wait, and the task that answers them.

use std::time::Duration;

use rtun_proto::extension::Echo;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Questions that wait; further ones are refused.
const WAITING: usize = 8;

/// The least time between two questions to other hosts.
pub(super) const APART: Duration = Duration::from_millis(50);

/// Takes the questions of one host. They are answered one after the other, by a task that ends when this is dropped.
pub(super) struct EchoDesk {
    questions: mpsc::Sender<Echo>,
    _answering: AbortOnDropHandle<()>,
}

impl EchoDesk {
    /// Has `answer` take the questions in a task of its own.
    pub(super) fn open<F>(answer: impl FnOnce(mpsc::Receiver<Echo>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (questions, asked) = mpsc::channel(WAITING);
        let answering = AbortOnDropHandle::new(tokio::spawn(answer(asked)));
        Self { questions, _answering: answering }
    }

    /// Whether the question waits for its answer now.
    pub(super) fn take(&self, question: Echo) -> bool {
        self.questions.try_send(question).is_ok()
    }
}
