//! Streams between rtun and GOST over WebSocket, HTTP/2 and gRPC, byte by byte. Needs `RTUN_GOST`, the path of a GOST v3
//! program; without it one line says that the tests were skipped.

#![allow(clippy::unwrap_used)]

use std::{
    net::{SocketAddr, TcpListener as StdListener},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rtun_settings::{GrpcSettings, Http2Settings, ListenOptions, WebSocketSettings};
use rtun_transport::{Stream, grpc, http2, tcp, ws};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// How a transport is written for GOST, and made by rtun.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Ws,
    WsElsewhere,
    H2c,
    H2cPath,
    Grpc,
    GrpcPath,
}

const KINDS: [Kind; 6] =
    [Kind::Ws, Kind::WsElsewhere, Kind::H2c, Kind::H2cPath, Kind::Grpc, Kind::GrpcPath];

impl Kind {
    /// Scheme and query.
    fn gost(self) -> (&'static str, &'static str) {
        match self {
            Self::Ws => ("ws", "keepalive=true&ttl=1s"),
            Self::WsElsewhere => ("ws", "path=/some/where"),
            Self::H2c => ("h2c", ""),
            Self::H2cPath => ("h2c", "path=/some/where"),
            Self::Grpc => ("grpc", "grpc.insecure=true"),
            Self::GrpcPath => ("grpc", "grpc.insecure=true&path=/some/where/else"),
        }
    }

    fn path(self) -> Option<String> {
        match self {
            Self::WsElsewhere | Self::H2cPath => Some("/some/where".to_owned()),
            Self::GrpcPath => Some("/some/where/else".to_owned()),
            Self::Ws | Self::H2c | Self::Grpc => None,
        }
    }

    async fn connect(self, stream: Arc<dyn Stream>) -> Arc<dyn Stream> {
        let addr = "hub.example:8080";
        match self {
            Self::Ws | Self::WsElsewhere => {
                let ping_every = Some(Duration::from_secs(1));
                let settings = WebSocketSettings { ping_every, ..self.web_socket() };
                ws::connect(stream, &settings, addr).await.unwrap()
            }
            Self::H2c | Self::H2cPath => {
                http2::connect(stream, &self.http2(), addr, false).await.unwrap()
            }
            Self::Grpc | Self::GrpcPath => {
                grpc::connect(stream, &self.grpc(), addr, false).await.unwrap()
            }
        }
    }

    fn web_socket(self) -> WebSocketSettings {
        let usual = WebSocketSettings::default();
        WebSocketSettings { path: self.path().unwrap_or(usual.path.clone()), ..usual }
    }

    fn http2(self) -> Http2Settings {
        Http2Settings { path: self.path(), ..Default::default() }
    }

    fn grpc(self) -> GrpcSettings {
        GrpcSettings { path: self.path().unwrap_or_default(), ..Default::default() }
    }

    /// Echoes what comes on the streams of a connection.
    async fn serve(self, stream: Arc<dyn Stream>) {
        let mut server = match self {
            Self::Ws | Self::WsElsewhere => {
                return echo(ws::accept(stream, &self.web_socket()).await.unwrap().0).await;
            }
            Self::H2c | Self::H2cPath => http2::serve(stream, &self.http2()),
            Self::Grpc | Self::GrpcPath => grpc::serve(stream, &self.grpc()),
        };
        while let Ok(Some((stream, _))) = server.next().await {
            tokio::spawn(echo(stream));
        }
    }
}

async fn echo(stream: Arc<dyn Stream>) {
    let mut buffer = vec![0; 30_000];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    // The other side may be gone.
    let _ = stream.shutdown().await;
}

/// A GOST that is ended with the test.
struct Gost(Child);

impl Gost {
    fn run(arguments: &[String]) -> Option<Self> {
        let Ok(program) = std::env::var("RTUN_GOST") else {
            eprintln!("skipped: RTUN_GOST is not set");
            return None;
        };
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        Some(Self(command.spawn().expect("RTUN_GOST is a program")))
    }
}

impl Drop for Gost {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn gost_dials_rtun() {
    for kind in KINDS {
        let listener = tcp::listen("127.0.0.1:0", &ListenOptions::default()).unwrap();
        let ours = listener.local_addr().unwrap();
        let theirs = free_port();
        let (scheme, query) = kind.gost();
        let listen = format!("tcp://{theirs}");
        let forward = format!("forward+{scheme}://{ours}?{query}");
        let Some(_gost) = Gost::run(&["-L".to_owned(), listen, "-F".to_owned(), forward]) else {
            return;
        };
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tcp::tune(&stream).unwrap();
                tokio::spawn(kind.serve(Arc::new(stream)));
            }
        });
        for _ in 0..3 {
            let (mut reader, mut writer) = dial(theirs).await.into_split();
            let write = async {
                for chunk in chunks() {
                    writer.write_all(&chunk).await.unwrap();
                }
            };
            let read = async {
                for chunk in chunks() {
                    let mut received = vec![0; chunk.len()];
                    reader.read_exact(&mut received).await.unwrap();
                    assert!(received == chunk, "{kind:?}");
                }
            };
            let both = async { tokio::join!(write, read) };
            timeout(PATIENCE, both).await.unwrap_or_else(|_| panic!("{kind:?}: no echo"));
        }
        accepting.abort();
    }
}

#[tokio::test]
async fn rtun_dials_gost() {
    let echoing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = echoing.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = echoing.accept().await.unwrap();
            tokio::spawn(echo(Arc::new(stream)));
        }
    });
    for kind in KINDS {
        let theirs = free_port();
        let (scheme, query) = kind.gost();
        let listen = format!("forward+{scheme}://{theirs}/{target}?{query}");
        let Some(_gost) = Gost::run(&["-L".to_owned(), listen]) else { return };
        for _ in 0..3 {
            let below = dial(theirs).await;
            tcp::tune(&below).unwrap();
            let exchange = async {
                let stream = kind.connect(Arc::new(below)).await;
                let write = async {
                    for chunk in chunks() {
                        stream.write_all(&chunk).await.unwrap();
                    }
                };
                let read = async {
                    for chunk in chunks() {
                        let mut received = vec![0; chunk.len()];
                        stream.read_exact(&mut received).await.unwrap();
                        assert!(received == chunk, "{kind:?}");
                    }
                };
                tokio::join!(write, read);
                // Longer than a ping takes.
                let quiet = Duration::from_millis(2500);
                if kind == Kind::Ws {
                    timeout(quiet, stream.read(&mut [0])).await.expect_err("pings are answered");
                }
                stream.write_all(b"still there").await.unwrap();
                stream.read_exact(&mut [0; 11]).await.unwrap();
            };
            timeout(PATIENCE, exchange).await.unwrap_or_else(|_| panic!("{kind:?}: no echo"));
        }
    }
}

/// From single bytes to more than all windows and buffers.
fn chunks() -> impl Iterator<Item = Vec<u8>> {
    [1, 1, 2, 1420, 65_535, 1, 3_000_000, 40].into_iter().enumerate().map(|(i, len)| {
        (0..len).map(|at: usize| (at as u8).wrapping_mul(i as u8 + 1) ^ (at >> 8) as u8).collect()
    })
}

fn free_port() -> SocketAddr {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Connects as soon as somebody listens.
async fn dial(address: SocketAddr) -> TcpStream {
    let dialling = async {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return stream,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(PATIENCE, dialling).await.expect("GOST listens")
}
