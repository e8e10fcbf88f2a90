//! TLS: the battery of all transports with every cipher, who is let in and who is not, reloads, and other implementations.

#![allow(clippy::unwrap_used)]

#[path = "tls/authority.rs"]
mod authority;
mod battery;
#[path = "tls/files.rs"]
mod files;
#[path = "tls/full.rs"]
mod full;
#[path = "tls/gost.rs"]
mod gost;
#[path = "tls/interop.rs"]
mod interop;
#[path = "tls/known.rs"]
mod known;
#[path = "tls/records.rs"]
mod records;
#[path = "tls/reload.rs"]
mod reload;
#[path = "ends/tap.rs"]
#[expect(dead_code, reason = "records are looked at, not frames")]
mod tap;
#[path = "tls/trust.rs"]
mod trust;

use std::{
    io::{self, IoSlice},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rtun_tls::{
    Acceptor, Certificate, ClientSettings, Connector, Generate, Protocol, ServerSettings, TlsError,
    Verification, Version,
};
use rtun_transport::{
    Stream, memory,
    socket::{ListenOptions, SocketOptions},
    tcp,
    tls::{Accepted, Connected},
};
use tokio::{net::TcpStream, time::timeout};

use self::{
    battery::{Abilities, battery, pattern},
    files::Dir,
};

const PATIENCE: Duration = Duration::from_secs(20);
const ABILITIES: Abilities = Abilities { half_close: true };

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = tcp::listen("127.0.0.1:0", &ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    let client = tcp::connect(&address.into(), &SocketOptions::default(), PATIENCE).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    tcp::tune(&server).unwrap();
    (client, server)
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("done in time")
}

async fn handshake(
    connector: &Connector,
    acceptor: &Acceptor,
    host: &str,
) -> (Result<Connected, TlsError>, Result<Accepted, TlsError>) {
    let (client, server) = tcp_pair().await;
    let client = rtun_transport::tls::connect(connector, Arc::new(client), host);
    let server = rtun_transport::tls::accept(acceptor, Arc::new(server));
    soon(async { tokio::join!(client, server) }).await
}

/// An acceptor with a certificate of its own, and a connector that takes no other.
fn pinned_pair(protocol: &Protocol) -> (Connector, Acceptor) {
    let dir = Dir::new();
    let (acceptor, not_kept) = Acceptor::new(&ServerSettings {
        protocol: protocol.clone(),
        ..ServerSettings::new(Certificate::Generated(Generate::new(dir.path())))
    })
    .unwrap();
    assert!(not_kept.is_none());
    let connector = Connector::new(&ClientSettings {
        verification: Verification::Off,
        fingerprints: vec![acceptor.fingerprint()],
        protocol: protocol.clone(),
        ..ClientSettings::default()
    })
    .unwrap();
    (connector, acceptor)
}

fn with_suite(suite: &str, version: Version) -> Protocol {
    let cipher_suites = vec![suite.into()];
    Protocol { min: version, max: version, cipher_suites, ..Protocol::default() }
}

async fn battery_with(protocol: Protocol) {
    let (connector, acceptor) = pinned_pair(&protocol);
    battery(ABILITIES, async || {
        let (connected, accepted) = handshake(&connector, &acceptor, "gost.run").await;
        (connected.unwrap().stream, accepted.unwrap().stream)
    })
    .await;
}

#[tokio::test]
async fn aes_128_passes() {
    battery_with(with_suite("TLS_AES_128_GCM_SHA256", Version::Tls13)).await;
}

#[tokio::test]
async fn aes_256_passes() {
    battery_with(with_suite("TLS_AES_256_GCM_SHA384", Version::Tls13)).await;
}

#[tokio::test]
async fn chacha20_passes() {
    battery_with(with_suite("tls_chacha20_poly1305_sha256", Version::Tls13)).await;
}

#[tokio::test]
async fn keys_replaced_every_few_records_pass() {
    battery_with(Protocol { records_per_key: 3, ..Protocol::default() }).await;
}

#[tokio::test]
async fn tls_1_2_passes() {
    battery_with(with_suite("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Version::Tls12)).await;
}

#[tokio::test]
async fn tls_1_2_with_chacha20_passes() {
    let suite = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
    battery_with(with_suite(suite, Version::Tls12)).await;
}

/// As it is when a proxy is spoken to by TLS, and the server behind it too.
#[tokio::test]
async fn tls_in_tls_passes() {
    let (connector, acceptor) = pinned_pair(&Protocol::default());
    battery(ABILITIES, async || {
        let (outer, inner) = handshake(&connector, &acceptor, "gost.run").await;
        let (outer, inner) = (outer.unwrap().stream, inner.unwrap().stream);
        let client = rtun_transport::tls::connect(&connector, outer, "gost.run");
        let server = rtun_transport::tls::accept(&acceptor, inner);
        let (client, server) = soon(async { tokio::join!(client, server) }).await;
        (client.unwrap().stream, server.unwrap().stream)
    })
    .await;
}

/// A stream that reads and writes one byte at a time.
struct Trickle(memory::MemoryStream);

impl Stream for Trickle {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_readable(cx)
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(&mut into[..1])
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_writable(cx)
    }

    fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let piece = pieces.iter().find(|piece| !piece.is_empty()).unwrap();
        self.0.try_write_vectored(&[IoSlice::new(&piece[..1])])
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_stream_of_single_bytes_is_enough() {
    for version in [Version::Tls13, Version::Tls12] {
        let protocol = Protocol { min: version, max: version, ..Protocol::default() };
        let (connector, acceptor) = pinned_pair(&protocol);
        let (client, server) = memory::pair(64 * 1024);
        let (client, server) = (Trickle(client), Trickle(server));
        let client = rtun_transport::tls::connect(&connector, Arc::new(client), "gost.run");
        let server = rtun_transport::tls::accept(&acceptor, Arc::new(server));
        let (client, server) = soon(async { tokio::join!(client, server) }).await;
        let (client, server) = (client.unwrap().stream, server.unwrap().stream);
        let sent = pattern(20_000, 3);
        let mut received = vec![0; sent.len()];
        let both =
            async { tokio::join!(client.write_all(&sent), server.read_exact(&mut received)) };
        let (written, read) = soon(both).await;
        written.unwrap();
        read.unwrap();
        assert!(received == sent);
    }
}

#[tokio::test]
async fn the_application_protocol_is_agreed_upon() {
    let alpn = |names: &[&str]| Protocol {
        alpn: names.iter().map(|&name| name.into()).collect(),
        ..Protocol::default()
    };
    let dir = Dir::new();
    let generate = Generate::new(dir.path());
    let settings = ServerSettings {
        protocol: alpn(&["h2", "http/1.1"]),
        ..ServerSettings::new(Certificate::Generated(generate))
    };
    let (acceptor, _) = Acceptor::new(&settings).unwrap();
    let connector = |protocol| {
        let verification = Verification::Off;
        let settings = ClientSettings { verification, protocol, ..ClientSettings::default() };
        Connector::new(&settings).unwrap()
    };
    let (client, server) = handshake(&connector(alpn(&["http/1.1"])), &acceptor, "a").await;
    assert_eq!(client.unwrap().alpn.as_deref(), Some("http/1.1"));
    assert_eq!(server.unwrap().alpn.as_deref(), Some("http/1.1"));
    let (client, server) = handshake(&connector(alpn(&[])), &acceptor, "a").await;
    assert_eq!(client.unwrap().alpn, None);
    assert_eq!(server.unwrap().alpn, None);
    let (client, server) = handshake(&connector(alpn(&["h3"])), &acceptor, "a").await;
    let error = client.unwrap_err().to_string();
    assert!(error.contains("none of the protocols offered"), "{error}");
    assert!(server.is_err());
}

#[test]
fn settings_that_leave_nothing_are_refused() {
    let protocol = Protocol { min: Version::Tls13, max: Version::Tls12, ..Protocol::default() };
    let settings =
        ClientSettings { verification: Verification::Off, protocol, ..ClientSettings::default() };
    assert!(matches!(Connector::new(&settings), Err(TlsError::NoVersion)));
    let connector = Connector::new(&ClientSettings {
        verification: Verification::Full { ca_file: Some("/nowhere/ca.pem".into()) },
        ..ClientSettings::default()
    });
    let error = connector.unwrap_err().to_string();
    assert!(error.starts_with("cannot read /nowhere/ca.pem: "), "{error}");
}
