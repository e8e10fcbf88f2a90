//! A stream of bytes through a relay: the request goes at once, and the answer is taken off the beginning of what the relay sends.
//!
//! GOST's relay holds its answer back until the target has sent something, and a hub sends nothing before it is asked. So nobody
//! waits for the answer, unless both ends are configured to (`nodelay`).

use std::{
    io::{self, IoSlice},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use rtun_proto::relay::{
    AddrFeature, DecodeError, Decoded, EncodeError, Request, Response, Status,
};
use rtun_settings::Login;

use super::Stream;

/// Why there is no stream through a relay.
#[derive(Debug, thiserror::Error)]
pub enum RelayHopError {
    /// The request cannot be sent. The configuration is at fault.
    #[error(transparent)]
    Request(#[from] EncodeError),
    /// The connection to the relay failed.
    #[error("the connection to the relay failed: {0}")]
    Io(#[from] io::Error),
    /// The other end is no relay.
    #[error("the answer is none of the relay protocol: {0}")]
    NoRelay(DecodeError),
    /// The relay says no.
    #[error("the relay refused: {0}")]
    Refused(Status),
}

/// What is done once the relay has answered: whether it leads to the target.
pub type OnAnswer = Box<dyn FnOnce(bool) + Send>;

/// A stream to the target of a relay. What the relay answers first is no part of it.
pub struct RelayHop {
    below: Arc<dyn Stream>,
    /// The relay's `host:port`, for errors.
    relay: String,
    is_open: AtomicBool,
    answer: Mutex<Answer>,
}

struct Answer {
    /// What has arrived of it.
    bytes: Vec<u8>,
    on_answer: Option<OnAnswer>,
    /// Why there is no way to the target.
    failure: Option<String>,
}

/// Asks the relay `relay` at the other end of `stream` to connect to `target`, `host:port`, as `login`. The relay looks names up. Does
/// not wait for the answer; `on_answer` learns of it.
pub async fn open(
    stream: Arc<dyn Stream>,
    relay: &str,
    target: &str,
    login: Option<&Login>,
    on_answer: OnAnswer,
) -> Result<RelayHop, RelayHopError> {
    stream.write_all(&request(target, login)?).await?;
    let answer = Answer { bytes: Vec::new(), on_answer: Some(on_answer), failure: None };
    Ok(RelayHop {
        below: stream,
        relay: relay.to_owned(),
        is_open: AtomicBool::new(false),
        answer: Mutex::new(answer),
    })
}

/// Asks a relay at the other end of `stream` likewise, and waits for its answer. Afterwards `stream` leads to the target.
pub async fn open_answered(
    stream: &dyn Stream,
    target: &str,
    login: Option<&Login>,
) -> Result<(), RelayHopError> {
    stream.write_all(&request(target, login)?).await?;
    let mut bytes = Vec::new();
    while let Some(needed) = needed(&bytes)? {
        let filled = bytes.len();
        bytes.resize(needed, 0);
        stream.read_exact(&mut bytes[filled..]).await?;
    }
    Ok(())
}

fn request(target: &str, login: Option<&Login>) -> Result<Vec<u8>, EncodeError> {
    let user =
        login.map(|it| (it.user.as_bytes().to_vec(), it.password.expose().as_bytes().to_vec()));
    Request::connect_to(AddrFeature::from_text(target), user).encode()
}

/// How many bytes of the answer are needed to go on; `None` once it is whole and a yes.
fn needed(bytes: &[u8]) -> Result<Option<usize>, RelayHopError> {
    match Response::decode(bytes).map_err(RelayHopError::NoRelay)? {
        Decoded::Incomplete { needed } => Ok(Some(needed)),
        Decoded::Complete { value: Response { status: Status::Ok, .. }, .. } => Ok(None),
        Decoded::Complete { value, .. } => Err(RelayHopError::Refused(value.status)),
    }
}

impl RelayHop {
    /// Takes the answer off the stream below, as far as it has arrived.
    fn take_answer(&self) -> io::Result<()> {
        let mut answer = self.answer();
        if let Some(why) = &answer.failure {
            return Err(io::Error::other(why.clone()));
        }
        if self.is_open.load(Ordering::Acquire) {
            return Ok(());
        }
        let taken = answer.take_from(&*self.below);
        match &taken {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return taken,
            Err(error) => {
                answer.failure = Some(format!("{}: {error}", self.relay));
            }
            Ok(()) => self.is_open.store(true, Ordering::Release),
        }
        if let Some(on_answer) = answer.on_answer.take() {
            on_answer(taken.is_ok());
        }
        match &answer.failure {
            Some(why) => Err(io::Error::other(why.clone())),
            None => Ok(()),
        }
    }

    /// A poisoned lock still guards a whole answer: nothing panics between its changes.
    fn answer(&self) -> MutexGuard<'_, Answer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    /// Reads not one byte past it.
    fn take_from(&mut self, below: &dyn Stream) -> io::Result<()> {
        while let Some(needed) = needed(&self.bytes).map_err(io::Error::other)? {
            let filled = self.bytes.len();
            self.bytes.resize(needed, 0);
            let read = below.try_read(&mut self.bytes[filled..]);
            self.bytes.truncate(filled + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the relay closed the connection before its answer",
                ));
            }
        }
        Ok(())
    }
}

impl Stream for RelayHop {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below.poll_readable(cx)
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        if !self.is_open.load(Ordering::Acquire) {
            self.take_answer()?;
        }
        self.below.try_read(into)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below.poll_writable(cx)
    }

    fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.below.try_write_vectored(pieces)
    }

    fn write_max(&self) -> usize {
        self.below.write_max()
    }

    fn has_buffered(&self) -> bool {
        self.below.has_buffered()
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below.poll_shutdown(cx)
    }

    fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below.poll_closed(cx)
    }
}
