//! Sending a request to a running process.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::Shutdown,
    path::Path,
    time::Instant,
};

use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

use super::protocol::{ControlRequest, DEADLINE, MAX_ANSWER};

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlAskError {
    /// The process has ended, or there is no such socket.
    #[error("no process listens there")]
    Nobody,
    /// It is another user's.
    #[error("it belongs to another user: run this as root or as the user of the process")]
    NotPermitted,
    /// The process answered with an error.
    #[error("{0}")]
    Refused(String),
    /// The process does not answer in time.
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Timeout,
    /// The answer does not match the request.
    #[error("the answer cannot be read, which another version of rtun may cause: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The connection broke.
    #[error(transparent)]
    Broken(#[from] io::Error),
}

/// Sends a request to the process that listens at `path`; waits a few seconds at most. Returns the value under the request's
/// name.
pub fn ask(path: &Path, request: &ControlRequest) -> Result<Value, ControlAskError> {
    let deadline = Instant::now() + DEADLINE;
    let mut socket = connect(path)?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    // A client that is not permitted gets its answer before its request is read, so writing may fail.
    let sent = socket.write_all(&line);
    let answer = match read_all(&mut socket, deadline) {
        Ok(answer) if answer.is_empty() => {
            sent?;
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        answer => answer?,
    };
    let mut answer: Value = serde_json::from_slice(&answer)?;
    if let Some(error) = answer["error"].as_str() {
        return Err(ControlAskError::Refused(error.to_owned()));
    }
    let name = serde_json::to_value(request)?["request"].clone();
    Ok(name.as_str().map_or(Value::Null, |name| answer[name].take()))
}

/// The lines that a process answers with until it ends, or this is dropped.
pub struct FollowedAnswers(BufReader<Socket>);

/// Follows what `request` asks for at the process that listens at `path`.
pub fn follow(path: &Path, request: &ControlRequest) -> Result<FollowedAnswers, ControlAskError> {
    let mut socket = connect(path)?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    socket.write_all(&line)?;
    Ok(FollowedAnswers(BufReader::new(socket)))
}

impl Iterator for FollowedAnswers {
    type Item = Result<Value, ControlAskError>;

    /// Waits for the next line.
    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        match self.0.by_ref().take(MAX_ANSWER).read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(match serde_json::from_slice::<Value>(&line) {
                Ok(answer) => match answer["error"].as_str() {
                    Some(error) => Err(ControlAskError::Refused(error.to_owned())),
                    None => Ok(answer),
                },
                Err(error) => Err(error.into()),
            }),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
            Err(error) => Some(Err(error.into())),
        }
    }
}

pub(super) fn connect(path: &Path) -> Result<Socket, ControlAskError> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Also bounds connecting, when the backlog of the socket is full.
    socket.set_write_timeout(Some(DEADLINE))?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(socket),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ControlAskError::Nobody,
            io::ErrorKind::PermissionDenied => ControlAskError::NotPermitted,
            io::ErrorKind::WouldBlock => ControlAskError::Timeout,
            _ => error.into(),
        }),
    }
}

fn read_all(socket: &mut Socket, deadline: Instant) -> Result<Vec<u8>, ControlAskError> {
    let mut answer = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ControlAskError::Timeout);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(&mut piece) {
            Ok(0) => return Ok(answer),
            // The other end has closed the connection before it read the whole request.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(answer),
            Ok(_) if answer.len() as u64 > MAX_ANSWER => {
                return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
            }
            Ok(n) => answer.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(ControlAskError::Timeout);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Closes a connection that was made only to find out whether a process listens.
pub(super) fn hang_up(socket: &Socket) {
    let _ = socket.shutdown(Shutdown::Both);
}
