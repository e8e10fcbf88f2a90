//! Datagrams with addresses on a stream, seen as frames: those of one other end, to and from one address.

use std::{
    fmt,
    io::{self, IoSlice},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use rtun_proto::{
    relay::AddrFeature,
    udp_tunnel::addressed::{
        AddressedDecoder, AddressedEncoder, AddressedError, MAX_HEADER, decode_header,
    },
};

use super::{Stream, WRITE_MAX, poll_end, poll_shutdown_flushed};

/// Bytes of one read of the stream below.
const READ: usize = 32 * 1024;

/// Tells whether a datagram from or to this address, of this many bytes, is one of the other end's.
pub type IsTaken = Box<dyn Fn(&AddrFeature, usize) -> bool + Send + Sync>;

/// A stream whose bytes are frames, on one whose bytes are datagrams with addresses. Holds no buffer while idle.
pub struct AddressedStream {
    below: Arc<dyn Stream>,
    is_taken: IsTaken,
    incoming: Mutex<AddressedIncoming>,
    outgoing: Mutex<AddressedOutgoing>,
}

#[derive(Default)]
struct AddressedIncoming {
    decoder: AddressedDecoder,
    /// What has come already; read before the stream below.
    rest: Vec<u8>,
    /// Where the stream below is read into.
    room: Vec<u8>,
    /// Bytes of frames, given from `given` on.
    frames: Vec<u8>,
    given: usize,
    failed: Option<AddressedError>,
}

struct AddressedOutgoing {
    encoder: AddressedEncoder,
    /// Bytes taken and not handed on, from `handed_on` on; at most what one write becomes.
    held: Vec<u8>,
    handed_on: usize,
}

impl AddressedStream {
    /// On `below`, of which `rest` has been read: what is written has `address`, what is read is what `is_taken` lets through.
    /// The rest is left out.
    pub fn new(
        below: Arc<dyn Stream>,
        rest: Vec<u8>,
        address: SocketAddr,
        is_taken: IsTaken,
    ) -> Self {
        let encoder = AddressedEncoder::new(address);
        Self {
            below,
            is_taken,
            incoming: Mutex::new(AddressedIncoming { rest, ..AddressedIncoming::default() }),
            outgoing: Mutex::new(AddressedOutgoing { encoder, held: Vec::new(), handed_on: 0 }),
        }
    }

    /// The lock of somebody who has panicked guards a usable stream: at worst datagrams are lost.
    fn incoming(&self) -> MutexGuard<'_, AddressedIncoming> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outgoing(&self) -> MutexGuard<'_, AddressedOutgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_hand_on(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing().hand_on(&*self.below)? {
            ready!(self.below.poll_writable(cx))?;
        }
        Poll::Ready(Ok(()))
    }
}

/// Waits for the address of the first datagram on `stream`; `rest` is what has been read of it, before and after. Takes as long
/// as the other side does. Loses nothing when dropped.
pub async fn first_address(stream: &dyn Stream, rest: &mut Vec<u8>) -> io::Result<AddrFeature> {
    let mut room = [0; MAX_HEADER];
    loop {
        let header = decode_header(&rest[..rest.len().min(MAX_HEADER)]).map_err(failure)?;
        if let Some(header) = header {
            return Ok(header.address);
        }
        let read = stream.read(&mut room).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        rest.extend_from_slice(&room[..read]);
    }
}

impl AddressedIncoming {
    /// Gives frames that are there.
    fn give(&mut self, into: &mut [u8]) -> usize {
        let left = &self.frames[self.given..];
        let len = left.len().min(into.len());
        into[..len].copy_from_slice(&left[..len]);
        self.given += len;
        if self.given == self.frames.len() {
            self.frames.clear();
            self.given = 0;
        }
        len
    }

    fn read(&mut self, below: &dyn Stream, is_taken: &IsTaken) -> io::Result<usize> {
        let Self { decoder, rest, room, frames, failed, .. } = self;
        let decoded = if rest.is_empty() {
            room.resize(READ, 0);
            let read = below.try_read(room)?;
            if read == 0 && !decoder.is_between_datagrams() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            decoder.decode(&room[..read], frames, is_taken).map(|()| read)
        } else {
            let rest = std::mem::take(rest);
            decoder.decode(&rest, frames, is_taken).map(|()| rest.len())
        };
        decoded.map_err(|error| {
            *failed = Some(error);
            failure(error)
        })
    }
}

impl AddressedOutgoing {
    /// Hands on what is held; whether all of it went.
    fn hand_on(&mut self, below: &dyn Stream) -> io::Result<bool> {
        while self.handed_on < self.held.len() {
            match below.try_write(&self.held[self.handed_on..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.handed_on += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        // An idle stream keeps no buffer.
        (self.held, self.handed_on) = (Vec::new(), 0);
        Ok(true)
    }
}

impl Stream for AddressedStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let incoming = self.incoming();
        let is_there = !incoming.frames.is_empty() || !incoming.rest.is_empty();
        if is_there || incoming.failed.is_some() {
            return Poll::Ready(Ok(()));
        }
        drop(incoming);
        self.below.poll_readable(cx)
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let mut incoming = self.incoming();
        loop {
            if !incoming.frames.is_empty() {
                return Ok(incoming.give(into));
            }
            if let Some(error) = incoming.failed {
                return Err(failure(error));
            }
            match incoming.read(&*self.below, &self.is_taken) {
                Ok(0) => return Ok(0),
                Ok(_) => {}
                Err(error) => {
                    (incoming.room, incoming.frames) = (Vec::new(), Vec::new());
                    return Err(error);
                }
            }
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_hand_on(cx))?;
        self.below.poll_writable(cx)
    }

    fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut outgoing = self.outgoing();
        if !outgoing.hand_on(&*self.below)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut taken = 0;
        let AddressedOutgoing { encoder, held, .. } = &mut *outgoing;
        for piece in pieces {
            let part = &piece[..piece.len().min(WRITE_MAX - taken)];
            encoder.encode(part, held);
            taken += part.len();
        }
        // What was taken is held; a failure is met by the next that hands on.
        let _ = outgoing.hand_on(&*self.below);
        Ok(taken)
    }

    fn write_max(&self) -> usize {
        WRITE_MAX
    }

    fn has_buffered(&self) -> bool {
        !self.outgoing().held.is_empty() || self.below.has_buffered()
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_hand_on(cx))?;
        poll_shutdown_flushed(&*self.below, cx)
    }

    fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_end(&*self.below, cx)
    }
}

impl fmt::Debug for AddressedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AddressedStream")
    }
}

fn failure(error: AddressedError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
