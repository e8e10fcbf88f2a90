//! The large table of a benchmark's hub, and where the hub reads it from.

use std::{
    fmt::Write as _,
    fs,
    io::{self, BufRead, BufReader, BufWriter, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use rtun_lab::{NetNamespace, Process};

use super::BenchError;

/// Ports of the hub's machine.
const HTTP_PORT: u16 = 8200;
const REDIS_PORT: u16 = 8201;

/// How long redis may take to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a hub reads its table from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, ValueEnum)]
pub(super) enum TableOrigin {
    /// Its configuration
    #[default]
    Inline,
    /// A file of lines
    File,
    /// A list of a redis server (redis-server must be installed)
    Redis,
    /// An HTTP service
    Http,
}

/// A table that can be replaced.
pub(super) enum Table {
    Inline,
    File(PathBuf),
    Redis(Redis),
    Http(Arc<Mutex<Arc<str>>>),
}

/// A redis server that ends with the network.
pub(super) struct Redis {
    machine: NetNamespace,
    _process: Process,
}

/// Routes of this generation: those of different generations differ.
pub(super) fn routes(count: usize, generation: u8) -> impl Iterator<Item = (Ipv4Addr, u32, usize)> {
    (0..count).zip(0u32..).map(move |(number, index)| {
        // Disjoint blocks of 256 addresses from 32.0.0.0 or 48.0.0.0 on, of each a part.
        let base = 0x2000_0000 + (u32::from(generation) % 2) * 0x1000_0000;
        (Ipv4Addr::from_bits(base + index * 256), 24 + index % 9, 1 + number % 2)
    })
}

impl Table {
    /// Makes what the hub is going to read, empty; files go to `folder`.
    pub(super) fn start(
        origin: TableOrigin,
        machine: &NetNamespace,
        folder: &Path,
    ) -> Result<Self, BenchError> {
        Ok(match origin {
            TableOrigin::Inline => Self::Inline,
            TableOrigin::File => Self::File(folder.join("routes.txt")),
            TableOrigin::Redis => Self::Redis(Redis::start(machine, folder)?),
            TableOrigin::Http => Self::Http(serve(machine)?),
        })
    }

    /// The keys that tell a router of it; nothing for a table in the configuration.
    pub(super) fn keys(&self) -> String {
        match self {
            Self::Inline => String::new(),
            Self::File(path) => format!("  file: {{path: {}}}\n", path.display()),
            Self::Redis(_) => {
                format!("  redis: {{addr: '127.0.0.1:{REDIS_PORT}', key: bench, type: list}}\n")
            }
            Self::Http(_) => format!("  http: {{url: 'http://127.0.0.1:{HTTP_PORT}/'}}\n"),
        }
    }

    /// Puts other routes in the place of those there were: at once, so that nobody reads half of them.
    pub(super) fn replace(
        &self,
        routes: impl Iterator<Item = (Ipv4Addr, u32, usize)>,
    ) -> Result<(), BenchError> {
        let mut text = String::new();
        for (net, length, name) in routes {
            let _ = writeln!(text, "{net}/{length} host-{name}");
        }
        match self {
            Self::Inline => {}
            Self::File(path) => {
                let draft = path.with_extension("new");
                fs::write(&draft, text)?;
                fs::rename(&draft, path)?;
            }
            Self::Redis(redis) => redis.fill(&text)?,
            Self::Http(body) => *body.lock().unwrap_or_else(PoisonError::into_inner) = text.into(),
        }
        Ok(())
    }
}

impl Redis {
    fn start(machine: &NetNamespace, folder: &Path) -> Result<Self, BenchError> {
        let mut command = Command::new("redis-server");
        command.args(["--port", &REDIS_PORT.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = machine.spawn(command);
        let process = process
            .map_err(|source| BenchError::Start { program: "redis-server".into(), source })?;
        let redis = Self { machine: machine.clone(), _process: process };
        let begin = Instant::now();
        while let Err(error) = redis.connect() {
            if begin.elapsed() > PATIENCE {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(redis)
    }

    fn connect(&self) -> Result<TcpStream, BenchError> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, REDIS_PORT));
        Ok(self.machine.run(|| TcpStream::connect(at))??)
    }

    fn fill(&self, text: &str) -> Result<(), BenchError> {
        let stream = self.connect()?;
        let mut answers = BufReader::new(stream.try_clone()?);
        let lines: Vec<&str> = text.lines().collect();
        thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let mut to = BufWriter::new(&stream);
                write_command(&mut to, &["DEL", "next"])?;
                for some in lines.chunks(1000) {
                    write_command(&mut to, &[&["RPUSH", "next"], some].concat())?;
                }
                write_command(&mut to, &["RENAME", "next", "bench"])?;
                to.flush()
            });
            for _ in 0..lines.chunks(1000).len() + 2 {
                let mut answer = String::new();
                answers.read_line(&mut answer)?;
                if answer.is_empty() || answer.starts_with('-') {
                    return Err(io::Error::other(format!("redis says {answer:?}")).into());
                }
            }
            let sent = sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok(sent?)
        })
    }
}

/// A command as redis takes it: an array of texts.
fn write_command(to: &mut impl io::Write, words: &[&str]) -> io::Result<()> {
    write!(to, "*{}\r\n", words.len())?;
    words.iter().try_for_each(|word| write!(to, "${}\r\n{word}\r\n", word.len()))
}

/// Serves one text to everybody, for as long as this process lives.
fn serve(machine: &NetNamespace) -> Result<Arc<Mutex<Arc<str>>>, BenchError> {
    let listener = machine.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, HTTP_PORT)))??;
    let text: Arc<Mutex<Arc<str>>> = Arc::new(Mutex::new("".into()));
    let serving = Arc::clone(&text);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let text = Arc::clone(&serving.lock().unwrap_or_else(PoisonError::into_inner));
            // The hub may have gone.
            let _ = answer(&stream, &text);
        }
    });
    Ok(text)
}

fn answer(stream: &TcpStream, text: &str) -> io::Result<()> {
    let mut request = BufReader::new(stream).lines();
    while request.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let mut to = BufWriter::new(stream);
    let length = text.len();
    write!(to, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}")?;
    to.flush()
}
