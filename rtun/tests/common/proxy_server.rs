//! A proxy of the test's own: SOCKS 4, GOST's relay protocol or CONNECT, over TCP, WebSocket or smux on WebSocket.

use std::{io, sync::Arc};

use rtun_lab::NetNamespace;
use rtun_proto::relay::{Addr, Decoded, Feature, Request, Response, Status};
use rtun_settings::{MuxSettings, WebSocketSettings};
use rtun_transport::{Stream, mux::MuxSession, ws};
use tokio::net::{TcpListener, TcpStream};

use super::HUB;

/// The name that the proxies know the hub by.
pub const HUB_NAME: &str = "hub.test";

/// What a proxy of a test speaks, after the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Connect,
    Socks4,
    /// As GOST's: the answer goes with the first bytes of the target, a refusal at once.
    Relay,
}

/// Serves on this port of all addresses of a machine for as long as the process lives.
pub fn start(machine: &NetNamespace, port: u16, transport: &'static str, speaks: Speaks) {
    let listener = machine.run(|| std::net::TcpListener::bind(("::", port))).unwrap().unwrap();
    listener.set_nonblocking(true).unwrap();
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let _ = client_of(client, transport, speaks).await;
                });
            }
        });
    };
    machine.thread(serve).unwrap();
}

async fn client_of(client: TcpStream, transport: &str, speaks: Speaks) -> io::Result<()> {
    let mut stream: Arc<dyn Stream> = Arc::new(client);
    if matches!(transport, "ws" | "mws") {
        let accepted = ws::accept(stream, &WebSocketSettings::default()).await;
        stream = accepted.map_err(io::Error::other)?.0;
    }
    if transport != "mws" {
        return serve(stream, speaks).await;
    }
    let session = MuxSession::server(stream, MuxSettings::default());
    while let Some(stream) = session.accept().await.map_err(io::Error::other)? {
        serve(stream, speaks).await?;
    }
    Ok(())
}

async fn serve(client: Arc<dyn Stream>, speaks: Speaks) -> io::Result<()> {
    match speaks {
        Speaks::Connect => {
            let head = until(&*client, b"\r\n\r\n").await?;
            let head = String::from_utf8_lossy(&head).into_owned();
            let target = to(head.split(' ').nth(1).unwrap_or_default()).await?;
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            pass(client, target, Vec::new()).await
        }
        Speaks::Socks4 => {
            let mut head = [0; 8];
            client.read_exact(&mut head).await?;
            assert_eq!(head[..2], [4, 1]);
            let user = until(&*client, b"\0").await?;
            assert_eq!(user, b"bob\0");
            let port = u16::from_be_bytes([head[2], head[3]]);
            let host = match head[4..] {
                [0, 0, 0, 1..=255] => {
                    let name = until(&*client, b"\0").await?;
                    String::from_utf8_lossy(&name[..name.len() - 1]).into_owned()
                }
                [a, b, c, d] => format!("{a}.{b}.{c}.{d}"),
                _ => unreachable!("four bytes"),
            };
            let target = to(&format!("{host}:{port}")).await?;
            client.write_all(&[0, 90, 0, 0, 0, 0, 0, 0]).await?;
            pass(client, target, Vec::new()).await
        }
        Speaks::Relay => {
            let mut bytes = Vec::new();
            let request = loop {
                match Request::decode(&bytes).map_err(io::Error::other)? {
                    Decoded::Complete { value, .. } => break value,
                    Decoded::Incomplete { needed } => {
                        let filled = bytes.len();
                        bytes.resize(needed, 0);
                        client.read_exact(&mut bytes[filled..]).await?;
                    }
                }
            };
            let answer = |status| {
                let response = Response { status, features: Vec::new() };
                response.encode().map_err(io::Error::other)
            };
            if request.user() != Some((b"bob", b"pa55word")) {
                client.write_all(&answer(Status::Unauthorized)?).await?;
                return client.shutdown().await;
            }
            let target = request.features.iter().find_map(|feature| match feature {
                Feature::Addr(target) => Some(match &target.addr {
                    Addr::Ip(ip) => format!("{ip}:{}", target.port),
                    Addr::Name(name) => format!("{name}:{}", target.port),
                }),
                _ => None,
            });
            match to(&target.unwrap_or_default()).await {
                Ok(target) => pass(client, target, answer(Status::Ok)?).await,
                Err(_) => client.write_all(&answer(Status::NetworkUnreachable)?).await,
            }
        }
    }
}

/// Connects to the target; knows the hub by one name.
async fn to(target: &str) -> io::Result<TcpStream> {
    TcpStream::connect(target.replace(HUB_NAME, HUB)).await
}

/// Reads to the end that `end` is, byte by byte.
async fn until(stream: &dyn Stream, end: &[u8]) -> io::Result<Vec<u8>> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(end) {
        stream.read_exact(&mut byte).await?;
        head.extend(byte);
    }
    Ok(head)
}

/// Passes bytes both ways; `first` goes in front of what the target sends first.
async fn pass(client: Arc<dyn Stream>, target: TcpStream, first: Vec<u8>) -> io::Result<()> {
    let target: Arc<dyn Stream> = Arc::new(target);
    tokio::try_join!(copy(&*client, &*target, Vec::new()), copy(&*target, &*client, first))?;
    Ok(())
}

async fn copy(from: &dyn Stream, to: &dyn Stream, mut first: Vec<u8>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        first.extend_from_slice(&buffer[..read]);
        to.write_all(&first).await?;
        first.clear();
    }
}
