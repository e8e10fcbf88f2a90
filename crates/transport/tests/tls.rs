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
    path::PathBuf,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rtun_settings::{
    CertificateFiles, CipherSuite, DialTls, ListenOptions, OwnCertificate, ServerCertificate,
    ServerTls, SocketOptions, TlsVersions, Verification,
};
use rtun_tls::{Acceptor, CertificateOrigin, Connector, MadeCertificate, NotKept, TlsError};
use rtun_transport::{
    Stream, memory, tcp,
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
    let client =
        tcp::connect(&address.into(), &SocketOptions::default(), None, PATIENCE).await.unwrap();
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

/// No verification, all else as usual.
fn off() -> DialTls {
    DialTls { verification: Verification::Off, ..DialTls::default() }
}

/// With this certificate for everybody.
fn served_by(files: CertificateFiles) -> ServerTls {
    ServerTls::new(ServerCertificate::Files(files))
}

/// An acceptor with a certificate that is in files.
fn acceptor_of(tls: &ServerTls) -> Acceptor {
    let origin = CertificateOrigin::of(&tls.certificate, None);
    Acceptor::new(tls, origin, &[]).unwrap().0
}

/// An acceptor with a certificate that it makes and keeps in this directory.
fn making(tls: &ServerTls, directory: impl Into<PathBuf>) -> (Acceptor, Option<NotKept>) {
    let origin = CertificateOrigin::Made(MadeCertificate::new(directory));
    Acceptor::new(tls, origin, &[]).unwrap()
}

/// Settings for a certificate that is made.
fn own() -> ServerTls {
    ServerTls::new(ServerCertificate::Own(OwnCertificate::default()))
}

/// An acceptor with a certificate of its own, and a connector that takes no other; both speak what `protocol` says.
fn pinned_pair(protocol: &DialTls) -> (Connector, Acceptor) {
    let dir = Dir::new();
    let DialTls { versions, cipher_suites, .. } = protocol;
    let server = ServerTls { versions: *versions, cipher_suites: cipher_suites.clone(), ..own() };
    let (acceptor, not_kept) = making(&server, dir.path());
    assert!(not_kept.is_none());
    let client = DialTls { fingerprints: vec![acceptor.fingerprint()], ..protocol.clone() };
    (Connector::new(&client, &[]).unwrap(), acceptor)
}

fn with_suite(suite: CipherSuite, versions: TlsVersions) -> DialTls {
    DialTls { versions, cipher_suites: vec![suite], ..off() }
}

async fn battery_with((connector, acceptor): (Connector, Acceptor)) {
    battery(ABILITIES, async || {
        let (connected, accepted) = handshake(&connector, &acceptor, "gost.run").await;
        (connected.unwrap().stream, accepted.unwrap().stream)
    })
    .await;
}

#[tokio::test]
async fn aes_128_passes() {
    battery_with(pinned_pair(&with_suite(CipherSuite::Aes128GcmSha256, TlsVersions::Tls13))).await;
}

#[tokio::test]
async fn aes_256_passes() {
    battery_with(pinned_pair(&with_suite(CipherSuite::Aes256GcmSha384, TlsVersions::Tls13))).await;
}

#[tokio::test]
async fn chacha20_passes() {
    battery_with(pinned_pair(&with_suite(CipherSuite::Chacha20Poly1305Sha256, TlsVersions::Tls13)))
        .await;
}

#[tokio::test]
async fn keys_replaced_every_few_records_pass() {
    let (connector, acceptor) = pinned_pair(&off());
    battery_with((connector.replacing_keys_after(3), acceptor.replacing_keys_after(3))).await;
}

#[tokio::test]
async fn tls_1_2_passes() {
    let suite = CipherSuite::EcdheEcdsaAes128GcmSha256;
    battery_with(pinned_pair(&with_suite(suite, TlsVersions::Tls12))).await;
}

#[tokio::test]
async fn tls_1_2_with_chacha20_passes() {
    let suite = CipherSuite::EcdheEcdsaChacha20Poly1305Sha256;
    battery_with(pinned_pair(&with_suite(suite, TlsVersions::Tls12))).await;
}

/// As it is when a proxy is reached by TLS, and the server after it too.
#[tokio::test]
async fn tls_in_tls_passes() {
    let (connector, acceptor) = pinned_pair(&off());
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
    for versions in [TlsVersions::Tls13, TlsVersions::Tls12] {
        let (connector, acceptor) = pinned_pair(&DialTls { versions, ..off() });
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
    let alpn = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let dir = Dir::new();
    let server = ServerTls { alpn: alpn(&["h2", "http/1.1"]), ..own() };
    let (acceptor, _) = making(&server, dir.path());
    let connector = |alpn| Connector::new(&DialTls { alpn, ..off() }, &[]).unwrap();
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

/// Those of the transport are spoken where none are configured.
#[tokio::test]
async fn configured_application_protocols_replace_those_of_the_transport() {
    let dir = Dir::new();
    let origin = || CertificateOrigin::Made(MadeCertificate::new(dir.path()));
    let (usual, _) = Acceptor::new(&own(), origin(), &["h2"]).unwrap();
    let configured = ServerTls { alpn: vec!["mine".into()], ..own() };
    let (configured, _) = Acceptor::new(&configured, origin(), &["h2"]).unwrap();
    let mine = DialTls { alpn: vec!["mine".into()], ..off() };
    for (client, acceptor, agreed) in [
        (Connector::new(&off(), &["h2"]), &usual, "h2"),
        (Connector::new(&mine, &["h2"]), &configured, "mine"),
    ] {
        let (client, server) = handshake(&client.unwrap(), acceptor, "a").await;
        assert_eq!(client.unwrap().alpn.as_deref(), Some(agreed));
        assert_eq!(server.unwrap().alpn.as_deref(), Some(agreed));
    }
}

#[test]
fn authorities_that_cannot_be_read_are_named() {
    let verification = Verification::Full { ca: Some("/nowhere/ca.pem".into()) };
    let connector = Connector::new(&DialTls { verification, ..DialTls::default() }, &[]);
    let error = connector.unwrap_err().to_string();
    assert!(error.starts_with("cannot read /nowhere/ca.pem: "), "{error}");
}
