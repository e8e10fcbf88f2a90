//! What a hub asks: a redis server, and HTTP services that answer well or badly.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use rtun_lab::{NetNamespace, Process};

use super::{SOON, World, wait_until};

/// A redis server of its own, on 127.0.0.1:6399 of a machine; it ends with the test's network.
pub struct Redis {
    machine: NetNamespace,
    process: Process,
}

const REDIS_PORT: u16 = 6399;

impl Redis {
    /// Starts one, or none where the program is missing; then the test is reported as skipped, or fails if
    /// `RTUN_TESTS_MUST_RUN` is set.
    pub fn start(world: &World, machine: &NetNamespace) -> Option<Self> {
        let mut command = Command::new("redis-server");
        let port = REDIS_PORT.to_string();
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.current_dir(world.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = match machine.spawn(command) {
            Ok(process) => process,
            Err(error) => {
                assert!(std::env::var_os("RTUN_TESTS_MUST_RUN").is_none(), "no redis: {error}");
                let _ = std::io::stderr().write_all(b"skipped: no redis-server\n");
                return None;
            }
        };
        let redis = Self { machine: machine.clone(), process };
        wait_until("redis", || redis.connect().is_some());
        Some(redis)
    }

    /// Has it do this; what it says in the first line.
    pub fn tell(&self, command: &str) -> String {
        let mut stream = self.connect().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        assert!(!line.starts_with('-'), "{command}: {line}");
        line
    }

    pub fn kill(&self) {
        self.process.signal(Signal::SIGKILL).unwrap();
        self.process.wait(SOON).unwrap();
    }

    fn connect(&self) -> Option<TcpStream> {
        self.machine.run(|| TcpStream::connect(("127.0.0.1", REDIS_PORT))).unwrap().ok()
    }
}

/// How a service answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Manner {
    /// 200 and this body.
    Says(String),
    /// The same after a while.
    Slow(String, Duration),
    /// Takes the request and says nothing.
    Hangs,
    /// Closes the connection.
    Refuses,
    /// Sends on to the same service under another path.
    Redirects,
    /// Sends without end.
    Endless,
    /// Something else than was asked for.
    Nonsense,
    /// 200 and no body.
    Empty,
    /// Less than it promises.
    Truncated(String),
    /// This status.
    Status(u16),
}

/// A service on 127.0.0.1 of a machine, for as long as the process lives.
#[derive(Clone)]
pub struct Http {
    manner: Arc<Mutex<Manner>>,
    /// Requests that it had.
    pub requests: Arc<AtomicUsize>,
    /// Requests for what it sends others on to.
    pub redirected: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
    /// Those that were answered with [`Manner::Says`], and with what.
    answered: Arc<Mutex<Vec<(String, String)>>>,
}

impl Http {
    pub fn start(machine: &NetNamespace, port: u16, manner: Manner) -> Self {
        let listener = machine.run(|| TcpListener::bind(("127.0.0.1", port))).unwrap().unwrap();
        let service = Self {
            manner: Arc::new(Mutex::new(manner)),
            requests: Arc::default(),
            redirected: Arc::default(),
            heads: Arc::default(),
            answered: Arc::default(),
        };
        let serving = service.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (serving, stream) = (serving.clone(), stream.unwrap());
                thread::spawn(move || serving.serve(stream));
            }
        });
        service
    }

    pub fn now(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// Heads and bodies of the requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// Heads and bodies of the requests that were answered with this.
    pub fn answered_with(&self, body: &str) -> Vec<String> {
        let answered = self.answered.lock().unwrap();
        let matching = answered.iter().filter(|(_, answer)| answer == body);
        matching.map(|(request, _)| request.clone()).collect()
    }

    fn serve(&self, stream: TcpStream) {
        let Some(request) = read_request(&stream) else { return };
        self.requests.fetch_add(1, Ordering::SeqCst);
        if request.contains("/elsewhere") {
            self.redirected.fetch_add(1, Ordering::SeqCst);
        }
        let manner = self.manner.lock().unwrap().clone();
        self.heads.lock().unwrap().push(request.clone());
        if let Manner::Says(body) = &manner {
            self.answered.lock().unwrap().push((request, body.clone()));
        }
        // The client may have gone.
        let _ = answer(stream, &manner);
    }
}

fn read_request(stream: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let (mut request, mut length) = (String::new(), 0);
    loop {
        let start = request.len();
        if reader.read_line(&mut request).ok()? == 0 {
            return None;
        }
        let line = request[start..].trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(request + &String::from_utf8_lossy(&body))
}

fn answer(mut stream: TcpStream, manner: &Manner) -> std::io::Result<()> {
    let whole = |body: &str| {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    };
    let text = match manner {
        Manner::Says(body) => whole(body),
        Manner::Slow(body, pause) => {
            thread::sleep(*pause);
            whole(body)
        }
        Manner::Hangs => {
            thread::sleep(Duration::from_secs(60));
            return Ok(());
        }
        Manner::Refuses => return Ok(()),
        Manner::Redirects => {
            "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".to_owned()
        }
        Manner::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            loop {
                stream.write_all(&[b'1'; 64 * 1024])?;
            }
        }
        Manner::Nonsense => "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
        Manner::Empty => whole(""),
        Manner::Truncated(body) => whole(body)[..whole(body).len() - body.len() / 2].to_owned(),
        Manner::Status(status) => {
            format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
    };
    stream.write_all(text.as_bytes())
}
