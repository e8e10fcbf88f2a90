//! Answering on the control socket: one task accepts, one per connection reads the request and answers it.

use std::{
    fs,
    fs::File,
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::unistd::geteuid;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::AbortHandle,
    time::timeout,
};

use super::{
    locations::{self, SocketLocations},
    protocol::{ControlAnswer, ControlRequest, DEADLINE, MAX_ANSWER, MAX_REQUEST},
};
use crate::{operations::board::Board, runtime::descriptors::is_exhausted};

/// Requests answered at a time; further ones are told to come back.
const AT_ONCE: usize = 8;

/// A socket that is listened on; dropping this removes it.
pub struct ControlSocket {
    places: SocketLocations,
    board: Arc<Board>,
    listening: Listening,
}

/// A socket under its name.
struct Listening {
    path: PathBuf,
    inode: u64,
    accepting: AbortHandle,
}

/// Why nobody can ask.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The environment names no place, and the usual ones are root's.
    #[error("no folder for the control socket: set RTUN_SOCKET, or XDG_RUNTIME_DIR")]
    NoPlace,
    /// A place there is, but no socket can be made there.
    #[error("no control socket at {}: {source}", path.display())]
    Place {
        /// Of the socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl ControlSocket {
    /// Listens at the first of `places` where that is possible. Sockets there that nobody listens on are removed.
    pub fn open(places: &SocketLocations, board: Arc<Board>) -> Result<Self, OpenError> {
        let mut failure = OpenError::NoPlace;
        for path in places.own() {
            match Self::open_at(&path, places, &board) {
                Ok(listening) => {
                    return Ok(Self { places: places.clone(), board, listening });
                }
                Err(source) => failure = OpenError::Place { path, source },
            }
        }
        Err(failure)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.listening.path
    }

    /// Listens there again if the socket has been removed; whether it had been. What else is in its place is left, and is
    /// an error.
    pub fn look_after(&mut self) -> io::Result<bool> {
        if self.listening.is_in_place() {
            return Ok(false);
        }
        let path = self.listening.path.clone();
        self.listening = Self::open_at(&path, &self.places, &self.board)?;
        Ok(true)
    }

    fn open_at(path: &Path, places: &SocketLocations, board: &Arc<Board>) -> io::Result<Listening> {
        places.prepare(path)?;
        locations::remove_stale(path)?;
        // Under its name only once it is listened on: until then it would look abandoned.
        let unfinished = path.with_extension(format!("{}.new", std::process::id()));
        let _ = fs::remove_file(&unfinished);
        let listener = UnixListener::bind(&unfinished)?;
        let named = fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::rename(&unfinished, path))
            .and_then(|()| fs::symlink_metadata(path));
        let inode = match named {
            Ok(metadata) => metadata.ino(),
            Err(error) => {
                let _ = fs::remove_file(&unfinished);
                return Err(error);
            }
        };
        let accepting = tokio::spawn(accept(listener, Arc::clone(board))).abort_handle();
        Ok(Listening { path: path.to_owned(), inode, accepting })
    }
}

impl Listening {
    fn is_in_place(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.accepting.abort();
        // Unless somebody else has put theirs in its place.
        if self.is_in_place() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

async fn accept(listener: UnixListener, board: Arc<Board>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    // Given up for a connection when there is no other descriptor left.
    let mut reserve = Reserve::take();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let board = Arc::clone(&board);
                    tokio::spawn(async move {
                        // Whoever is too slow, or has gone, gets no answer.
                        let _ = timeout(DEADLINE, serve(stream, &board)).await;
                        drop(place);
                    });
                }
                Err(_) => {
                    let _ = stream.try_write(b"{\"error\":\"busy: ask again\"}\n");
                }
            },
            Err(error) if is_exhausted(&error) && reserve.is_some() => {
                drop(reserve.take());
                if let Ok(Ok((stream, _))) = timeout(Duration::ZERO, listener.accept()).await {
                    // One after the other, as there is one descriptor.
                    let _ = timeout(DEADLINE, serve(stream, &board)).await;
                }
                reserve = Reserve::take();
            }
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if reserve.is_none() {
                    reserve = Reserve::take();
                }
            }
        }
    }
}

/// A descriptor that is held so that there is one when all others are in use.
struct Reserve(#[expect(dead_code, reason = "it is there to be closed")] File);

impl Reserve {
    fn take() -> Option<Self> {
        File::open("/dev/null").ok().map(Self)
    }
}

async fn serve(mut stream: UnixStream, board: &Board) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let answer = if uid == 0 || uid == geteuid().as_raw() {
        match read_request(&mut stream).await? {
            Ok(request) => board.answer(request),
            Err(error) => ControlAnswer::Error(error),
        }
    } else {
        ControlAnswer::Error("only root and the user that it runs as are answered".into())
    };
    let mut line = serde_json::to_vec(&answer)?;
    if line.len() as u64 >= MAX_ANSWER {
        line = serde_json::to_vec(&ControlAnswer::Error("the answer is too long".into()))?;
    }
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.shutdown().await
}

/// The request, or what is wrong with it.
async fn read_request(stream: &mut UnixStream) -> io::Result<Result<ControlRequest, String>> {
    let mut line = Vec::new();
    BufReader::new(stream.take(MAX_REQUEST + 1)).read_until(b'\n', &mut line).await?;
    if line.len() as u64 > MAX_REQUEST {
        return Ok(Err("the request is too long".into()));
    }
    Ok(serde_json::from_slice(&line).map_err(|error| format!("not a request: {error}")))
}

impl Board {
    /// Answers whoever may ask.
    fn answer(&self, request: ControlRequest) -> ControlAnswer {
        match request {
            ControlRequest::Status => ControlAnswer::Status(Box::new(self.status())),
            ControlRequest::Explain(inquiry) => {
                self.explain(inquiry).map_or_else(ControlAnswer::Error, ControlAnswer::Explain)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::{
        operations::control_socket::client::{ControlAskError, ask},
        report::NodeStatus,
    };

    fn folder_and_places() -> (TempDir, SocketLocations) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let places = SocketLocations::from_vars(move |name| {
            (name == "RUNTIME_DIRECTORY").then(|| path.clone().into_os_string())
        });
        (folder, places)
    }

    async fn raw(path: &Path, request: Vec<u8>) -> String {
        let mut stream = UnixStream::connect(path).await.unwrap();
        // It may answer before it has read everything.
        let _ = stream.write_all(&request).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn a_process_tells_how_it_goes_until_its_socket_is_gone() {
        let (_folder, places) = folder_and_places();
        let socket = ControlSocket::open(&places, Arc::default()).unwrap();
        let path = socket.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(places.sockets().contains(&path));

        let at = path.clone();
        let asked = tokio::task::spawn_blocking(move || ask(&at, &ControlRequest::Status));
        let status: NodeStatus = serde_json::from_value(asked.await.unwrap().unwrap()).unwrap();
        assert_eq!(status.pid, std::process::id());

        drop(socket);
        assert!(!path.exists());
        assert!(matches!(ask(&path, &ControlRequest::Status), Err(ControlAskError::Nobody)));
    }

    #[tokio::test]
    async fn a_socket_that_is_removed_is_made_again() {
        let (folder, places) = folder_and_places();
        let mut socket = ControlSocket::open(&places, Arc::default()).unwrap();
        let path = socket.path().to_owned();
        assert!(!socket.look_after().unwrap());
        fs::remove_dir_all(folder.path()).unwrap();
        assert!(socket.look_after().unwrap());
        assert!(!socket.look_after().unwrap());
        assert!(raw(&path, b"{\"request\":\"status\"}\n".to_vec()).await.contains("uptime"));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(socket.look_after().is_err());
        drop(socket);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn what_is_no_request_is_answered_with_what_is_wrong() {
        let (_folder, places) = folder_and_places();
        let socket = ControlSocket::open(&places, Arc::default()).unwrap();
        for (request, expected) in [
            (&b"{\"request\":\"reboot\"}\n"[..], "unknown variant `reboot`"),
            (b"\x1b[31m\n", "not a request"),
            (b"", "not a request"),
            (&[b' '; 65 * 1024], "too long"),
        ] {
            let answer = raw(socket.path(), request.to_vec()).await;
            let answer: ControlAnswer = serde_json::from_str(&answer).unwrap();
            assert!(
                matches!(&answer, ControlAnswer::Error(text) if text.contains(expected)),
                "{answer:?}"
            );
        }
    }

    #[tokio::test]
    async fn those_who_ask_slowly_do_not_keep_others_waiting_for_ever() {
        let (_folder, places) = folder_and_places();
        let socket = ControlSocket::open(&places, Arc::default()).unwrap();
        let mut idle = Vec::new();
        for _ in 0..AT_ONCE {
            idle.push(UnixStream::connect(socket.path()).await.unwrap());
        }
        let busy = raw(socket.path(), Vec::new()).await;
        assert!(busy.contains("busy"), "{busy}");
        let mut nothing = String::new();
        let ended = timeout(2 * DEADLINE, idle[0].read_to_string(&mut nothing)).await;
        assert_eq!(ended.unwrap().unwrap(), 0, "closed without an answer");
    }

    #[tokio::test]
    async fn an_abandoned_socket_makes_room_and_one_in_use_does_not() {
        let (folder, places) = folder_and_places();
        let abandoned = folder.path().join("1.sock");
        drop(std::os::unix::net::UnixListener::bind(&abandoned).unwrap());
        let own = places.own().remove(0);
        places.prepare(&own).unwrap();
        assert!(!abandoned.exists(), "swept");
        let exact = own.clone().into_os_string();
        let places =
            SocketLocations::from_vars(|name| (name == "RTUN_SOCKET").then(|| exact.clone()));
        drop(std::os::unix::net::UnixListener::bind(&own).unwrap());
        let socket = ControlSocket::open(&places, Arc::default()).unwrap();
        assert_eq!(socket.path(), own);

        let second = ControlSocket::open(&places, Arc::default());
        assert!(second.is_err_and(|error| error.to_string().contains("in use")));
        assert!(own.exists(), "the first is there still");

        drop(socket);
        fs::write(&own, "precious").unwrap();
        assert!(ControlSocket::open(&places, Arc::default()).is_err());
        assert_eq!(fs::read_to_string(&own).unwrap(), "precious");
    }
}
