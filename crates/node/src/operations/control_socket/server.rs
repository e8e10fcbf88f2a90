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
    runtime::Handle,
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

use super::{
    follow::follow,
    locations::{self, SocketLocations},
    protocol::{ControlAnswer, ControlRequest, DEADLINE, FollowRequest, MAX_ANSWER, MAX_REQUEST},
};
use crate::{
    operations::board::Board,
    runtime::{descriptors::is_exhausted, duties::Duty},
};

/// Requests that are answered at a time; further ones get an error that asks to try again.
const AT_ONCE: usize = 8;

/// Clients that follow something at a time; further ones get an error.
const FOLLOWERS: usize = 16;

/// Pause after a failure to accept, such as no descriptor left: other connections may end during it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listening control socket; dropping this removes it.
pub struct ControlSocket {
    locations: SocketLocations,
    board: Arc<Board>,
    listening: Listening,
}

/// A listening socket at a path.
struct Listening {
    path: PathBuf,
    inode: u64,
    /// Accepts and answers, and ends when this is dropped.
    _accepting: Duty,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The environment names no location, and the default ones belong to root.
    #[error("no folder for the control socket: set RTUN_SOCKET, or XDG_RUNTIME_DIR")]
    NoLocation,
    /// A socket cannot be created at a location.
    #[error("cannot create the control socket at {}: {source}", path.display())]
    Location {
        /// Of the socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl ControlSocket {
    /// Listens at the first of `locations` where that is possible. Sockets there on which no process listens are removed.
    pub fn open(locations: &SocketLocations, board: Arc<Board>) -> Result<Self, OpenError> {
        let mut failure = OpenError::NoLocation;
        for path in locations.own() {
            match Self::open_at(&path, locations, &board) {
                Ok(listening) => {
                    return Ok(Self { locations: locations.clone(), board, listening });
                }
                Err(source) => failure = OpenError::Location { path, source },
            }
        }
        Err(failure)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.listening.path
    }

    /// Listens again if the socket was removed; returns whether it was. Any other file at its path stays, and is an error.
    pub fn look_after(&mut self) -> io::Result<bool> {
        if self.listening.is_in_place() {
            return Ok(false);
        }
        let path = self.listening.path.clone();
        self.listening = Self::open_at(&path, &self.locations, &self.board)?;
        Ok(true)
    }

    fn open_at(
        path: &Path,
        locations: &SocketLocations,
        board: &Arc<Board>,
    ) -> io::Result<Listening> {
        locations.prepare(path)?;
        locations::remove_stale(path)?;
        // It gets its name only when it is listening: before that, other processes would take it for an abandoned one.
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
        let (listener, board) = (Arc::new(listener), Arc::clone(board));
        let duties = Arc::clone(&board.machine().duties);
        let name = format!("control socket: answering at {}", path.display());
        let accepting = duties.keep(&Handle::current(), name, move || {
            accept(Arc::clone(&listener), Arc::clone(&board))
        });
        Ok(Listening { path: path.to_owned(), inode, _accepting: accepting })
    }
}

impl Listening {
    fn is_in_place(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Another file may be at its path now.
        if self.is_in_place() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Accepts connections without end. Those that are being answered end with it.
async fn accept(listener: Arc<UnixListener>, board: Arc<Board>) {
    let mut answered = JoinSet::new();
    let (answers, followers) = (Semaphore::new(AT_ONCE), Semaphore::new(FOLLOWERS));
    let (answers, followers) = (Arc::new(answers), Arc::new(followers));
    // Given up for a connection when there is no other descriptor left.
    let mut reserve = Reserve::take();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                while answered.try_join_next().is_some() {}
                if let Ok(turn) = Arc::clone(&answers).try_acquire_owned() {
                    let (board, followers) = (Arc::clone(&board), Arc::clone(&followers));
                    answered.spawn(async move {
                        // A client that is too slow, or has gone, gets no answer.
                        let served = timeout(DEADLINE, serve(stream, &board)).await;
                        drop(turn);
                        if let Ok(Ok(Some((stream, request)))) = served {
                            let Ok(_one_of_few) = followers.try_acquire() else {
                                let _ = stream.try_write(BUSY);
                                return;
                            };
                            let _ = follow(stream, &board, request).await;
                        }
                    });
                } else {
                    let _ = stream.try_write(BUSY);
                }
            }
            Err(error) if is_exhausted(&error) && reserve.is_some() => {
                drop(reserve.take());
                if let Ok(Ok((stream, _))) = timeout(Duration::ZERO, listener.accept()).await {
                    // One at a time, as there is one descriptor.
                    let _ = timeout(DEADLINE, serve(stream, &board)).await;
                }
                reserve = Reserve::take();
            }
            Err(_) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                if reserve.is_none() {
                    reserve = Reserve::take();
                }
            }
        }
    }
}

/// The answer where too many ask.
const BUSY: &[u8] = b"{\"error\":\"busy: ask again\"}\n";

/// A descriptor that is held in reserve for when all others are in use.
struct Reserve(#[expect(dead_code, reason = "closing it is its purpose")] File);

impl Reserve {
    fn take() -> Option<Self> {
        File::open("/dev/null").ok().map(Self)
    }
}

/// Answers a request; returns the connection where something is to be followed.
async fn serve(
    mut stream: UnixStream,
    board: &Board,
) -> io::Result<Option<(UnixStream, FollowRequest)>> {
    let uid = stream.peer_cred()?.uid();
    let answer = if uid == 0 || uid == geteuid().as_raw() {
        match read_request(&mut stream).await? {
            Ok(ControlRequest::Follow(request)) => return Ok(Some((stream, request))),
            Ok(request) => board.answer(request).await,
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
    stream.shutdown().await?;
    Ok(None)
}

/// Reads the request, or says what is wrong with it.
async fn read_request(stream: &mut UnixStream) -> io::Result<Result<ControlRequest, String>> {
    let mut line = Vec::new();
    BufReader::new(stream.take(MAX_REQUEST + 1)).read_until(b'\n', &mut line).await?;
    if line.len() as u64 > MAX_REQUEST {
        return Ok(Err("the request is too long".into()));
    }
    Ok(serde_json::from_slice(&line).map_err(|error| format!("not a request: {error}")))
}

impl Board {
    /// Answers a request of a permitted client.
    async fn answer(&self, request: ControlRequest) -> ControlAnswer {
        match request {
            ControlRequest::Status => ControlAnswer::Status(Box::new(self.status())),
            ControlRequest::Explain(inquiry) => {
                self.explain(inquiry).map_or_else(ControlAnswer::Error, ControlAnswer::Explain)
            }
            ControlRequest::Overview => ControlAnswer::Overview(self.overview()),
            ControlRequest::Hosts(query) => ControlAnswer::Hosts(self.hosts(&query)),
            ControlRequest::Namespaces(query) => ControlAnswer::Namespaces(self.namespaces(&query)),
            ControlRequest::Routes(query) => ControlAnswer::Routes(self.routes(&query)),
            ControlRequest::Traffic { namespace } => {
                ControlAnswer::Traffic(self.traffic(namespace))
            }
            ControlRequest::Series { names, since } => {
                ControlAnswer::Series(self.series(&names, since))
            }
            ControlRequest::Drops => ControlAnswer::Drops(self.drops()),
            ControlRequest::Ping(query) => {
                self.ping(&query).await.map_or_else(ControlAnswer::Error, ControlAnswer::Ping)
            }
            ControlRequest::Follow(_) => ControlAnswer::Error("follow on a connection".into()),
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

    fn folder_and_locations() -> (TempDir, SocketLocations) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let locations = SocketLocations::from_vars(move |name| {
            (name == "RUNTIME_DIRECTORY").then(|| path.clone().into_os_string())
        });
        (folder, locations)
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
        let (_folder, locations) = folder_and_locations();
        let socket = ControlSocket::open(&locations, Arc::default()).unwrap();
        let path = socket.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(locations.sockets().contains(&path));

        let at = path.clone();
        let asked = tokio::task::spawn_blocking(move || ask(&at, &ControlRequest::Status));
        let status: NodeStatus = serde_json::from_value(asked.await.unwrap().unwrap()).unwrap();
        assert_eq!(status.pid, std::process::id());

        drop(socket);
        assert!(!path.exists());
        assert!(matches!(ask(&path, &ControlRequest::Status), Err(ControlAskError::Nobody)));
    }

    #[tokio::test]
    async fn a_loop_that_has_failed_is_started_again_and_is_shown() {
        let (_folder, locations) = folder_and_locations();
        let board = Arc::<Board>::default();
        let socket = ControlSocket::open(&locations, Arc::clone(&board)).unwrap();
        let answer = || raw(socket.path(), b"{\"request\":\"status\"}\n".to_vec());
        assert!(answer().await.contains("uptime"));
        let duties = Arc::clone(&board.machine().duties);
        let [(name, task)] = &duties.running()[..] else { panic!("one task accepts") };
        task.abort();
        // The listening socket stays, so a question waits until the loop runs again.
        let status: ControlAnswer = serde_json::from_str(&answer().await).unwrap();
        let ControlAnswer::Status(status) = status else { panic!("{status:?}") };
        let [report] = &status.failed_tasks[..] else { panic!("{:?}", status.failed_tasks) };
        assert_eq!((&report.task, report.running, report.failures), (name, true, 1));
        assert!(name.contains("control socket") && name.contains(".sock"), "{name}");
        drop(socket);
        assert_eq!(duties.report(), [], "the task goes with its socket");
    }

    #[tokio::test]
    async fn a_socket_that_is_removed_is_made_again() {
        let (folder, locations) = folder_and_locations();
        let mut socket = ControlSocket::open(&locations, Arc::default()).unwrap();
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
        let (_folder, locations) = folder_and_locations();
        let socket = ControlSocket::open(&locations, Arc::default()).unwrap();
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
        let (_folder, locations) = folder_and_locations();
        let socket = ControlSocket::open(&locations, Arc::default()).unwrap();
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
        let (folder, locations) = folder_and_locations();
        let abandoned = folder.path().join("1.sock");
        drop(std::os::unix::net::UnixListener::bind(&abandoned).unwrap());
        let own = locations.own().remove(0);
        locations.prepare(&own).unwrap();
        assert!(!abandoned.exists(), "swept");
        let exact = own.clone().into_os_string();
        let locations =
            SocketLocations::from_vars(|name| (name == "RTUN_SOCKET").then(|| exact.clone()));
        drop(std::os::unix::net::UnixListener::bind(&own).unwrap());
        let socket = ControlSocket::open(&locations, Arc::default()).unwrap();
        assert_eq!(socket.path(), own);

        let second = ControlSocket::open(&locations, Arc::default());
        assert!(second.is_err_and(|error| error.to_string().contains("in use")));
        assert!(own.exists(), "the first is there still");

        drop(socket);
        fs::write(&own, "precious").unwrap();
        assert!(ControlSocket::open(&locations, Arc::default()).is_err());
        assert_eq!(fs::read_to_string(&own).unwrap(), "precious");
    }
}
