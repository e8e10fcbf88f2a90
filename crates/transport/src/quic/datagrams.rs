//! The datagrams of a connection, for the stream that has them.

use std::{
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use quinn::{ConnectionError, SendDatagramError};
use tokio::task::coop;
use tokio_util::sync::ReusableBoxFuture;

use super::{error::ended, flow::QuicFlow, settings::DATAGRAM_SEND_BUFFER};
use crate::Datagrams;

/// Bytes of datagrams that may wait to be sent on a slow path, at least.
const WAITING_MIN: usize = 8 * 1024;

/// What may wait to be sent, as a share of what may be on its way: an eighth is an eighth of a round trip's time. The rest
/// waits in rtun's own queue, where it can be dropped by age.
const WAITING_SHARE: u64 = 8;

/// Datagrams by readiness.
pub(super) struct QuicDatagrams {
    connection: quinn::Connection,
    flow: Arc<QuicFlow>,
    sending: Mutex<Option<Closed>>,
    receiving: Mutex<Receiving>,
}

/// The end of a connection, once somebody has had to wait for room.
type Closed = Pin<Box<dyn Future<Output = ConnectionError> + Send>>;

struct Receiving {
    next: ReusableBoxFuture<'static, Result<Bytes, ConnectionError>>,
    /// `next` has been polled and was not ready.
    is_waiting: bool,
}

impl QuicDatagrams {
    /// Those of `connection`, if both sides have agreed on having any.
    pub(super) fn of(connection: &quinn::Connection, flow: &Arc<QuicFlow>) -> Option<Self> {
        connection.max_datagram_size()?;
        let never = std::future::pending::<Result<Bytes, ConnectionError>>();
        let receiving = Receiving { next: ReusableBoxFuture::new(never), is_waiting: false };
        Some(Self {
            connection: connection.clone(),
            flow: Arc::clone(flow),
            sending: Mutex::new(None),
            receiving: Mutex::new(receiving),
        })
    }

    /// Whether `length` bytes may wait besides those that do.
    fn has_room(&self, length: usize) -> bool {
        let space = self.connection.datagram_send_buffer_space();
        let share = usize::try_from(self.flow.window() / WAITING_SHARE).unwrap_or(usize::MAX);
        let bound = share.clamp(WAITING_MIN, DATAGRAM_SEND_BUFFER);
        // quinn counts a little for each datagram besides its bytes, so that an empty buffer has less space than its size.
        let waiting = DATAGRAM_SEND_BUFFER.saturating_sub(space);
        space >= length && waiting + length <= bound
    }
}

impl Datagrams for QuicDatagrams {
    fn max_len(&self) -> Option<usize> {
        self.connection.max_datagram_size()
    }

    fn try_send(&self, datagram: &[u8]) -> io::Result<()> {
        // Nobody else takes the room meanwhile: quinn would drop what waits longest.
        let _turn = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.has_room(datagram.len()) {
            return match self.connection.close_reason() {
                Some(error) => Err(ended(error)),
                None if self.max_len().is_none_or(|longest| datagram.len() > longest) => {
                    Err(io::ErrorKind::InvalidInput.into())
                }
                None => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        self.connection.send_datagram(Bytes::copy_from_slice(datagram)).map_err(|error| match error
        {
            SendDatagramError::TooLarge => io::Error::new(io::ErrorKind::InvalidInput, error),
            SendDatagramError::ConnectionLost(error) => ended(error),
            SendDatagramError::UnsupportedByPeer | SendDatagramError::Disabled => {
                io::Error::new(io::ErrorKind::Unsupported, error)
            }
        })
    }

    fn poll_sendable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let budget = ready!(coop::poll_proceed(cx));
        let mut sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = self.max_len().unwrap_or(0);
        if !self.has_room(longest) {
            self.flow.sender().register(cx.waker());
            let closed = sending.get_or_insert_with(|| {
                let connection = self.connection.clone();
                Box::pin(async move { connection.closed().await })
            });
            if let Some(error) = self.connection.close_reason() {
                return Poll::Ready(Err(ended(error)));
            }
            if let Poll::Ready(error) = closed.as_mut().poll(cx) {
                *sending = None;
                return Poll::Ready(Err(ended(error)));
            }
            if !self.has_room(longest) {
                return Poll::Pending;
            }
        }
        budget.made_progress();
        Poll::Ready(Ok(()))
    }

    fn poll_recv(&self, cx: &mut Context<'_>, into: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let budget = ready!(coop::poll_proceed(cx));
        let mut receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        let Receiving { next, is_waiting } = &mut *receiving;
        let mut received = match *is_waiting {
            true => next.poll(cx),
            false => pin!(self.connection.read_datagram()).poll(cx),
        };
        if received.is_pending() && !*is_waiting {
            let connection = self.connection.clone();
            next.set(async move { connection.read_datagram().await });
            *is_waiting = true;
            received = next.poll(cx);
        }
        let datagram = ready!(received);
        *is_waiting = false;
        budget.made_progress();
        Poll::Ready(match datagram {
            Ok(datagram) => {
                into.extend_from_slice(&datagram);
                Ok(datagram.len())
            }
            Err(error) => Err(ended(error)),
        })
    }
}
