//! Events of the process as a stream of server-sent events.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::{Body, Bytes, Frame};
use rtun_node::{
    Board,
    watch::{EventFollower, Followed},
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

/// Events that wait for the socket; while these wait, the process counts what is missed.
const WAITING: usize = 16;

/// A comment is sent after such a silence, so that no proxy takes the stream for dead.
const SILENCE: Duration = Duration::from_secs(15);

/// Streams at a time, so that there are always connections left for what is answered at once.
pub(crate) const STREAMS: usize = 48;

/// The body of a stream; dropping it ends the task that follows the events, and gives the stream's place to another.
pub(crate) struct EventBody {
    lines: mpsc::Receiver<Bytes>,
    _follower: AbortOnDropHandle<()>,
    _place: OwnedSemaphorePermit,
}

/// Follows the events after the one of this number; `None`: from now on. `place` is one of [`STREAMS`].
pub(crate) fn follow(board: &Board, since: Option<u64>, place: OwnedSemaphorePermit) -> EventBody {
    let (sender, lines) = mpsc::channel(WAITING);
    let follower = tokio::spawn(send(board.follow_events(since), sender));
    EventBody { lines, _follower: AbortOnDropHandle::new(follower), _place: place }
}

async fn send(mut events: EventFollower, lines: mpsc::Sender<Bytes>) {
    loop {
        let text = match timeout(SILENCE, events.next()).await {
            Err(_) => ":\n\n".to_owned(),
            Ok(None) => return,
            Ok(Some(Followed::Missed(count))) => {
                format!("event: missed\ndata: {{\"count\":{count}}}\n\n")
            }
            Ok(Some(Followed::Event(event))) => match serde_json::to_string(&*event) {
                Ok(data) => format!("id: {}\nevent: event\ndata: {data}\n\n", event.id),
                Err(_) => continue,
            },
        };
        if lines.send(text.into()).await.is_err() {
            return;
        }
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.lines.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}
