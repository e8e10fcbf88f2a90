//! A client of a hub's Web API.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::{
    BenchError,
    world::{API, World},
};

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How soon a stream of events ends.
const POLL: Duration = Duration::from_millis(50);

/// A connection to the Web API that stays open from one request to the next, as browsers keep it.
pub(super) struct WebApi {
    stream: BufReader<TcpStream>,
}

impl WebApi {
    /// To the hub's, whose layout must have it.
    pub(super) fn connect(world: &World) -> Result<Self, BenchError> {
        Ok(world.hub().run(Self::open)??)
    }

    /// From the namespace of the calling thread.
    fn open() -> io::Result<Self> {
        let stream = TcpStream::connect(API)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// The status; the body is read and thrown away.
    pub(super) fn ask(&mut self, method: &str, path: &str, body: &str) -> io::Result<u16> {
        self.send(method, path, body)?;
        let (status, length) = self.head()?;
        let body = io::copy(&mut self.stream.by_ref().take(length), &mut io::sink())?;
        if body == length { Ok(status) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    fn send(&mut self, method: &str, path: &str, body: &str) -> io::Result<()> {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {API}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream.get_mut().write_all(request.as_bytes())
    }

    /// The status, and the bytes that follow.
    fn head(&mut self) -> io::Result<(u16, u64)> {
        let (mut status, mut length, mut line) = (None, 0, String::new());
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            match (line.is_empty(), status) {
                (false, None) => status = line.split(' ').nth(1).and_then(|it| it.parse().ok()),
                (false, Some(_)) => {}
                (true, status) => {
                    return Ok((status.ok_or(ErrorKind::InvalidData)?, length));
                }
            }
        }
    }

    /// Reads a stream of events until `ends`; fails if the hub ends it.
    pub(super) fn listen(&mut self, path: &str, ends: &AtomicBool) -> io::Result<()> {
        self.send("GET", path, "")?;
        self.head()?;
        self.stream.get_ref().set_read_timeout(Some(POLL))?;
        let mut buffer = [0; 4096];
        while !ends.load(Ordering::Relaxed) {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
