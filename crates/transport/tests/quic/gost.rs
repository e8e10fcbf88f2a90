//! With the original at the other end: `RTUN_GOST` names its program.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rtun_settings::QuicSettings;
use rtun_transport::{Stream, quic::QuicStream};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::TLS13,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    battery::pattern,
    pair::{PATIENCE, as_stream, connect, server},
};

const BYTES: usize = 300_000;

/// A running program, and where it keeps its certificate; both end with this.
struct Gost {
    child: Child,
    home: PathBuf,
}

impl Gost {
    /// `None`, with a word, where the program is not named.
    fn start(test: &str, args: &[String]) -> Option<Self> {
        let Some(program) = std::env::var_os("RTUN_GOST") else {
            eprintln!("skipped: RTUN_GOST names no program");
            return None;
        };
        let home = std::env::temp_dir().join(format!("rtun-quic-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        let child = Command::new(program)
            .args(args)
            .env("HOME", &home)
            .current_dir(&home)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { child, home })
    }
}

impl Drop for Gost {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

/// Takes any certificate, as GOST's clients do by default.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("QUIC has TLS 1.3".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

fn trusting() -> Arc<ClientConfig> {
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Anybody(provider.signature_verification_algorithms);
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Arc::new(config)
}

/// A port that was free a moment ago, for a program that cannot tell which it took.
fn free_port() -> u16 {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

/// Sends the first [`BYTES`] that come back.
async fn echo_once(listener: TcpListener) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = vec![0; BYTES];
    stream.read_exact(&mut bytes).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    // Until the other side has them.
    let _ = stream.read(&mut [0; 1]).await;
}

#[tokio::test]
async fn a_stream_to_gost_carries_bytes_to_its_target_and_back() {
    let port = free_port();
    let args = ["-L".to_owned(), format!("relay+quic://127.0.0.1:{port}")];
    let Some(_gost) = Gost::start("server", &args) else { return };
    let (addr, settings) = (format!("127.0.0.1:{port}"), QuicSettings::default());
    let stream = connect(&addr, "gost.run", trusting(), &settings, PATIENCE).await.unwrap();
    // GOST offers none.
    assert!(stream.datagrams().is_none());
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target_port = target.local_addr().unwrap().port();
    let echo = tokio::spawn(echo_once(target));
    let sent = pattern(BYTES, 5);
    let write = async {
        as_stream(&stream).write_all(&relay_connect(target_port)).await.unwrap();
        as_stream(&stream).write_all(&sent).await.unwrap();
    };
    // GOST's answer comes with the first bytes back.
    let read = async {
        skip_head(&stream, [1, 0]).await;
        let mut received = vec![0; BYTES];
        as_stream(&stream).read_exact(&mut received).await.unwrap();
        assert!(received == sent);
    };
    timeout(PATIENCE, async { tokio::join!(write, read) }).await.unwrap();
    as_stream(&stream).shutdown().await.unwrap();
    timeout(PATIENCE, echo).await.unwrap().unwrap();
}

/// Reads a relay request or response that begins with `begin`, and its features.
async fn skip_head(stream: &Arc<QuicStream>, begin: [u8; 2]) {
    let mut head = [0; 4];
    as_stream(stream).read_exact(&mut head).await.unwrap();
    assert_eq!(head[..2], begin);
    let mut features = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
    as_stream(stream).read_exact(&mut features).await.unwrap();
}

/// GOST's request to be connected to a port of this machine.
fn relay_connect(port: u16) -> Vec<u8> {
    let addr = [&[1][..], &Ipv4Addr::LOCALHOST.octets(), &port.to_be_bytes()].concat();
    let feature = [&[2, 0, addr.len() as u8][..], &addr].concat();
    [&[1, 1, 0, feature.len() as u8][..], &feature].concat()
}

#[tokio::test]
async fn streams_of_gost_share_a_connection_and_carry_bytes_both_ways() {
    let server = server();
    let entry = free_port();
    let args = [
        "-L".to_owned(),
        format!("tcp://127.0.0.1:{entry}/10.0.0.1:80"),
        "-F".to_owned(),
        format!("relay+quic://{}", server.addr()),
    ];
    let Some(_gost) = Gost::start("client", &args) else { return };
    let (arrival, mut arrived) = mpsc::channel(1);
    let user = tokio::spawn(async move {
        let mut streams = Vec::new();
        for _ in 0..2 {
            let mut stream = dial(entry).await;
            // GOST's request goes with the first bytes.
            stream.write_all(b"?").await.unwrap();
            streams.push(stream);
            // At once, they would come on a connection each.
            arrived.recv().await.unwrap();
        }
        for stream in &mut streams {
            stream.write_all(&pattern(BYTES, 5)[1..]).await.unwrap();
            let mut received = vec![0; BYTES];
            stream.read_exact(&mut received).await.unwrap();
            assert!(received[1..] == pattern(BYTES, 5)[1..]);
        }
    });
    let serve = async {
        let connection = server.accept().await;
        let mut streams = Vec::new();
        for _ in 0..2 {
            let stream = connection.accept_stream().await.unwrap().unwrap();
            assert!(stream.datagrams().is_none());
            skip_head(&stream, [1, 1]).await;
            as_stream(&stream).write_all(&[1, 0, 0, 0]).await.unwrap();
            streams.push(stream);
            arrival.send(()).await.unwrap();
        }
        for stream in &streams {
            let mut bytes = vec![0; BYTES];
            as_stream(stream).read_exact(&mut bytes).await.unwrap();
            as_stream(stream).write_all(&bytes).await.unwrap();
        }
        (connection, streams)
    };
    let _held = timeout(PATIENCE, serve).await.expect("both streams are served");
    timeout(PATIENCE, user).await.unwrap().unwrap();
}

/// Connects to a program that is about to listen.
async fn dial(port: u16) -> TcpStream {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let dial = async {
        loop {
            match TcpStream::connect(addr).await {
                Ok(stream) => return stream,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(PATIENCE, dial).await.expect("the program listens")
}
