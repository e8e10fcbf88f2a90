//! A key of a redis server: Debian's, on a port of its own, and one that misbehaves.

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use rtun_control::{Feed, FeedSpec, FeedState, Loaded, MAX_TEXT, RedisSource, Source, SourceError};
use rtun_core::parse_routes;
use rtun_settings::{self, ClientTls, RedisKind, Secret};

use crate::{
    battery::{Act, Stage, TEXT, battery},
    server::{Server, write},
};

const PASSWORD: &str = "s3cret";

fn key(addr: &str, kind: RedisKind) -> rtun_settings::RedisSettings {
    let (username, password, tls) = (None, None, None);
    let server = rtun_settings::RedisServer { addr: addr.into(), db: 0, username, password, tls };
    rtun_settings::RedisSettings { server, key: "gost".into(), kind }
}

fn source(redis: &rtun_settings::RedisSettings) -> RedisSource {
    RedisSource::new(redis).unwrap()
}

/// Lines of the battery's text, in their order.
fn lines() -> Vec<&'static str> {
    TEXT.lines().collect()
}

/// A redis-server in a directory of its own; ended by its process id when dropped.
struct Redis {
    process: Option<Child>,
    directory: PathBuf,
    port: u16,
    more: Vec<String>,
}

impl Redis {
    /// Debian's redis-server; `None`, said aloud, where there is none.
    fn new(more: &[&str]) -> Option<Self> {
        static SERVERS: AtomicUsize = AtomicUsize::new(0);
        if let Err(reason) = Command::new("redis-server").arg("--version").output() {
            let reason = format!("cannot run redis-server: {reason}");
            assert!(std::env::var_os("RTUN_TESTS_MUST_RUN").is_none(), "{reason}");
            // Past the test harness, which shows the output of failed tests only.
            let _ = io::stderr().write_all(format!("skipped: {reason}\n").as_bytes());
            return None;
        }
        let n = SERVERS.fetch_add(1, Ordering::SeqCst);
        let directory = std::env::temp_dir().join(format!("rtun-redis-{}-{n}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let more = more.iter().map(|word| (*word).to_owned()).collect();
        let mut redis = Self { process: None, directory, port: free_port(), more };
        redis.start();
        Some(redis)
    }

    fn start(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &self.port.to_string()]);
        command.args(&self.more).arg("--dir").arg(&self.directory);
        self.process = Some(command.stdout(Stdio::null()).spawn().unwrap());
        let start = Instant::now();
        while TcpStream::connect(self.addr()).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "redis-server does not listen");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Runs commands, none of which may fail.
    fn run(&self, commands: &[&[&[u8]]]) {
        let mut stream = TcpStream::connect(self.addr()).unwrap();
        for command in commands {
            let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
            for word in *command {
                bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                bytes.extend_from_slice(word);
                bytes.extend_from_slice(b"\r\n");
            }
            stream.write_all(&bytes).unwrap();
            let mut reply = [0; 256];
            let n = stream.read(&mut reply).unwrap();
            assert!(n > 0 && reply[0] != b'-', "{}", String::from_utf8_lossy(&reply[..n]));
        }
    }

    /// Puts the battery's text under the key.
    fn put(&self, kind: RedisKind) {
        self.run(&[&[b"DEL", b"gost"]]);
        // Backwards, so that what is sorted has something to be sorted.
        for line in lines().into_iter().rev() {
            match kind {
                RedisKind::Hash => {
                    let (field, value) = line.split_once(' ').unwrap();
                    self.run(&[&[b"HSET", b"gost", field.as_bytes(), value.as_bytes()]]);
                }
                RedisKind::Set => self.run(&[&[b"SADD", b"gost", line.as_bytes()]]),
                RedisKind::List => self.run(&[&[b"LPUSH", b"gost", line.as_bytes()]]),
                RedisKind::String => self.run(&[&[b"SET", b"gost", TEXT.as_bytes()]]),
            }
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The real server.
struct Real {
    redis: Redis,
    kind: RedisKind,
    source: RedisSource,
}

impl Stage for Real {
    fn source(&self) -> &dyn Source {
        &self.source
    }

    fn play(&mut self, act: Act) -> bool {
        if self.redis.process.is_none() {
            self.redis.start();
        }
        match act {
            Act::Right => self.redis.put(self.kind),
            Act::Empty => self.redis.run(&[&[b"DEL", b"gost"]]),
            Act::Refuse if self.kind == RedisKind::String => {
                self.redis.run(&[&[b"DEL", b"gost"], &[b"RPUSH", b"gost", b"a list"]]);
            }
            Act::Refuse => self.redis.run(&[&[b"SET", b"gost", b"a string"]]),
            Act::NotUtf8 => {
                self.redis.run(&[&[b"DEL", b"gost"]]);
                self.redis.run(&[match self.kind {
                    RedisKind::Hash => &[b"HSET", b"gost", b"\xff", b"host-1"],
                    RedisKind::Set => &[b"SADD", b"gost", b"\xff"],
                    RedisKind::List => &[b"RPUSH", b"gost", b"\xff"],
                    RedisKind::String => &[b"SET", b"gost", b"\xff"],
                }]);
            }
            Act::Gone => self.redis.stop(),
            Act::Slow | Act::Hang | Act::CutShort | Act::TooLarge => return false,
        }
        true
    }
}

#[tokio::test]
async fn a_real_server_passes_the_battery_with_each_kind_of_key() {
    for kind in [RedisKind::Hash, RedisKind::Set, RedisKind::List, RedisKind::String] {
        let Some(redis) = Redis::new(&[]) else { return };
        let source = source(&key(&redis.addr(), kind));
        let mut stage = Real { redis, kind, source };
        assert_eq!(battery(&mut stage, Duration::from_secs(3)).await, 5, "{kind:?}");
    }
}

#[tokio::test]
async fn the_wrong_type_is_told_in_the_servers_words() {
    let Some(redis) = Redis::new(&[]) else { return };
    redis.put(RedisKind::Set);
    let error = source(&key(&redis.addr(), RedisKind::Hash)).load().await.unwrap_err().to_string();
    assert!(error.starts_with("is refused by redis: WRONGTYPE"), "{error}");
}

#[tokio::test]
async fn database_user_and_password_are_used() {
    let Some(redis) = Redis::new(&["--requirepass", PASSWORD]) else { return };
    let auth: &[&[u8]] = &[b"AUTH", PASSWORD.as_bytes()];
    redis.run(&[
        auth,
        &[b"ACL", b"SETUSER", b"reader", b"on", b">other", b"~*", b"+@read", b"+select"],
        &[b"SELECT", b"7"],
        &[b"RPUSH", b"gost", b"in database 7"],
    ]);
    let with = |username: Option<&str>, password: Option<&str>, db| {
        let mut key = key(&redis.addr(), RedisKind::List);
        key.server.username = username.map(str::to_owned);
        key.server.password = password.map(Secret::new);
        key.server.db = db;
        key
    };
    let found = Ok(Loaded::Text("in database 7\n".into()));
    assert_eq!(source(&with(None, Some(PASSWORD), 7)).load().await, found);
    assert_eq!(source(&with(Some("reader"), Some("other"), 7)).load().await, found);
    let elsewhere = source(&with(None, Some(PASSWORD), 0)).load().await;
    assert_eq!(elsewhere, Ok(Loaded::Text(String::new())));
    for refused in [
        with(None, None, 7),
        with(None, Some("wrong"), 7),
        with(Some("reader"), Some(PASSWORD), 7),
        with(None, Some(PASSWORD), 99),
    ] {
        let result = source(&refused).load().await;
        assert!(matches!(result, Err(SourceError::Refused(_))), "{refused:?}: {result:?}");
    }
}

#[tokio::test]
async fn connections_are_encrypted_and_certificates_verified_where_that_is_asked_for() {
    let certified = rcgen::generate_simple_self_signed(["redis.example".to_owned()]).unwrap();
    let directory = std::env::temp_dir().join(format!("rtun-redis-tls-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let (cert, private) = (directory.join("cert.pem"), directory.join("key.pem"));
    fs::write(&cert, certified.cert.pem()).unwrap();
    fs::write(&private, certified.signing_key.serialize_pem()).unwrap();
    let port = free_port().to_string();
    let (cert, private) = (cert.to_str().unwrap(), private.to_str().unwrap());
    let redis = Redis::new(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        cert,
        "--tls-key-file",
        private,
        "--tls-auth-clients",
        "no",
        "--requirepass",
        PASSWORD,
    ]);
    let _ = fs::remove_dir_all(&directory);
    let Some(redis) = redis else { return };
    redis.run(&[&[b"AUTH", PASSWORD.as_bytes()], &[b"SADD", b"gost", b"10.0.0.0/8 host-1"]]);
    let server_name = Some("redis.example".to_owned());
    let mut key = key(&format!("127.0.0.1:{port}"), RedisKind::Set);
    key.server.password = Some(Secret::new(PASSWORD));
    key.server.tls = Some(ClientTls { verify: false, server_name });
    let unverified = source(&key);
    assert_eq!(unverified.load().await, Ok(Loaded::Text("10.0.0.0/8 host-1\n".into())));
    assert_eq!(&*unverified.label(), format!("rediss://127.0.0.1:{port}/0/gost"));
    key.server.tls = Some(ClientTls { verify: true, server_name: Some("redis.example".into()) });
    let error = source(&key).load().await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    key.server.tls = Some(ClientTls { verify: false, server_name: None });
    assert_eq!(source(&key).load().await, unverified.load().await, "an address needs no name");
}

#[tokio::test]
async fn a_feed_outlives_its_server_and_follows_the_next_one() {
    let Some(mut redis) = Redis::new(&[]) else { return };
    redis.put(RedisKind::Hash);
    let source = rtun_settings::SourceSettings::Redis(key(&redis.addr(), RedisKind::Hash));
    let reload = Some(Duration::from_secs(1));
    let (kind, name) = ("router", "east");
    let spec = FeedSpec { kind, name, source: &source, reload, max_bytes: MAX_TEXT, max_rows: 100 };
    let feed = Feed::start(&spec, parse_routes, None).unwrap();
    feed.ready().await;
    let before = feed.rows();
    assert_eq!(before.len(), 2);
    assert_eq!(&*feed.label(), format!("redis://{}/0/gost", redis.addr()));

    redis.stop();
    becomes(|| feed.status().state == FeedState::Failing).await;
    assert!(std::sync::Arc::ptr_eq(&before, &feed.rows()));
    redis.start();
    becomes(|| feed.status().problem.unwrap().text.starts_with("is empty")).await;
    assert!(std::sync::Arc::ptr_eq(&before, &feed.rows()), "an empty server is no empty table");
    redis.put(RedisKind::Hash);
    redis.run(&[&[b"HSET", b"gost", b"10.2.0.0/16", b"host-3"]]);
    becomes(|| feed.rows().len() == 3).await;
    assert_eq!(feed.status().state, FeedState::Fresh);
}

/// Waits until `what` holds, five seconds at most.
async fn becomes(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(5), "it does not");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A server that may do anything.
struct Fake {
    server: Server,
    source: RedisSource,
}

impl Fake {
    fn new() -> Self {
        let server = Server::new();
        let source = source(&key(&server.address.to_string(), RedisKind::List));
        Self { server, source }
    }

    async fn load(&mut self, answer: &'static [u8]) -> Result<Loaded, SourceError> {
        self.server.answer(move |stream| {
            command(stream);
            write(stream, answer);
        });
        self.source.load().await
    }
}

/// Reads `LRANGE gost 0 -1`.
fn command(stream: &mut TcpStream) {
    let expected = b"*4\r\n$6\r\nLRANGE\r\n$4\r\ngost\r\n$1\r\n0\r\n$2\r\n-1\r\n";
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, expected);
}

/// The battery's text as a list.
fn list() -> String {
    let lines: String =
        lines().iter().map(|line| format!("${}\r\n{line}\r\n", line.len())).collect();
    format!("*{}\r\n{lines}", self::lines().len())
}

impl Stage for Fake {
    fn source(&self) -> &dyn Source {
        &self.source
    }

    fn play(&mut self, act: Act) -> bool {
        if act == Act::Gone {
            self.server.go_away();
            return true;
        }
        self.server.answer(move |stream| {
            command(stream);
            match act {
                Act::Slow => {
                    for byte in list().as_bytes() {
                        thread::sleep(Duration::from_millis(3));
                        write(stream, &[*byte]);
                    }
                }
                Act::Hang => {
                    let _ = stream.read(&mut [0]);
                }
                Act::Refuse => {
                    write(stream, b"-LOADING Redis is loading the dataset in memory\r\n");
                }
                Act::CutShort => {
                    write(stream, list().strip_suffix("2\r\n").unwrap().as_bytes());
                }
                Act::TooLarge => {
                    write(stream, format!("*1\r\n${MAX_TEXT}\r\n").as_bytes());
                }
                Act::NotUtf8 => {
                    write(stream, b"*1\r\n$1\r\n\xff\r\n");
                }
                Act::Empty => {
                    write(stream, b"*0\r\n");
                }
                Act::Right | Act::Gone => {
                    write(stream, list().as_bytes());
                }
            }
        });
        true
    }
}

#[tokio::test]
async fn a_misbehaving_server_passes_the_battery() {
    assert_eq!(battery(&mut Fake::new(), Duration::from_secs(7)).await, 9);
}

#[tokio::test]
async fn more_than_is_allowed_is_not_read() {
    let mut fake = Fake::new();
    let at_most = |max_bytes| {
        source(&key(&fake.server.address.to_string(), RedisKind::List)).at_most(max_bytes)
    };
    let (short, long) = (at_most(10), at_most(11));
    fake.server.answer(|stream| {
        command(stream);
        write(stream, b"*1\r\n$10\r\n0123456789\r\n");
    });
    assert_eq!(short.load().await, Err(SourceError::TooLarge(10)));
    assert_eq!(long.load().await, Ok(Loaded::Text("0123456789\n".into())));
    fake.server.answer(|stream| {
        command(stream);
        write(stream, b"*1\r\n$2000\r\n");
        let _ = stream.read(&mut [0]);
    });
    assert_eq!(short.load().await, Err(SourceError::TooLarge(10)), "of a text that does not come");
}

#[tokio::test]
async fn what_is_not_redis_is_told_so() {
    let mut fake = Fake::new();
    for answer in [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(),
        b"+OK\r\n",
        b"*-1\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n:7\r\n",
        b"*1\r\n$1\r\nabc",
        b"*1\n",
        &[b'x'; 4096],
    ] {
        let result = fake.load(answer).await;
        let said = String::from_utf8_lossy(answer);
        assert!(matches!(result, Err(SourceError::Nonsense(_))), "{said}: {result:?}");
    }
    let result = fake.load(b"-ERR \x1b[31mred\r\n").await;
    assert_eq!(result, Err(SourceError::Refused("ERR \\u{1b}[31mred".into())));
}

#[tokio::test]
async fn a_list_that_is_announced_longer_than_it_is_costs_nothing() {
    let mut fake = Fake::new();
    let result = fake.load(b"*4000000000000\r\n").await;
    assert!(matches!(result, Err(SourceError::Unreachable(_))), "{result:?}");
    fake.server.answer(|stream| {
        command(stream);
        write(stream, b"*4000000000000\r\n");
        let empty = b"$0\r\n\r\n".repeat(10_000);
        while write(stream, &empty) {}
    });
    let result = fake.source.load().await;
    assert!(
        matches!(result, Err(SourceError::TooLarge(_) | SourceError::Timeout(_))),
        "{result:?}"
    );
}
