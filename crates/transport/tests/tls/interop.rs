//! Against rustls's own connections and OpenSSL, as server and as client, keys replaced in the middle.

use std::{net::SocketAddr, process::Stdio, sync::Arc, time::Duration};

use rtun_settings::{DialTls, ListenOptions, ServerTls, SocketOptions, TlsVersions, Verification};
use rtun_tls::{Acceptor, Connector, RECORDS_PER_KEY, TlsVersion};
use rtun_transport::{Stream, io_stream::IoStream, memory, tcp};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, ServerConfig, crypto::aws_lc_rs,
    pki_types::ServerName,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    process::Command,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    acceptor_of,
    battery::pattern,
    files::{Dir, Pair, params, self_signed},
    served_by, soon, tcp_pair,
};

/// Records of one key where nothing else is said: so few that keys are replaced.
const RECORDS: u64 = 1000;

/// Speaks both versions.
fn connector(pair: &Pair, dir: &Dir) -> Connector {
    let ca = Some(pair.save(dir, "hub").certificate);
    let verification = Verification::Full { ca };
    let tls = DialTls { verification, versions: TlsVersions::Tls12And13, ..DialTls::default() };
    Connector::new(&tls, &[]).unwrap().replacing_keys_after(RECORDS)
}

/// Speaks both versions.
fn acceptor(pair: &Pair, dir: &Dir) -> Acceptor {
    let versions = TlsVersions::Tls12And13;
    let tls = ServerTls { versions, ..served_by(pair.save(dir, "hub")) };
    acceptor_of(&tls).replacing_keys_after(RECORDS)
}

pub(crate) fn plain_server(pair: &Pair, version: TlsVersion) -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version_of(version)])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.der()], pair.key_der())
        .unwrap()
}

pub(crate) fn plain_client(pair: &Pair, version: TlsVersion) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(pair.der()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version_of(version)])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn version_of(version: TlsVersion) -> &'static rustls::SupportedProtocolVersion {
    match version {
        TlsVersion::Tls12 => &rustls::version::TLS12,
        TlsVersion::Tls13 => &rustls::version::TLS13,
    }
}

/// How long an orderly end may take.
const WITHIN: Duration = Duration::from_secs(1);

/// Sends chunks of many sizes both ways at once, `refresh` between them.
async fn exchange<T: AsyncRead + AsyncWrite + Unpin>(
    own: &Arc<dyn Stream>,
    other: &mut T,
    mut refresh: impl FnMut(&mut T),
) {
    for length in [1, 100, 1420, 16_384, 16_385, 100_000, 7] {
        refresh(other);
        let (there, back) = (pattern(length, 3), pattern(length, 5));
        let mut read_there = vec![0; length];
        let mut read_back = vec![0; length];
        let own_part = async {
            own.write_all(&there).await.unwrap();
            own.read_exact(&mut read_back).await.unwrap();
        };
        let other_part = async {
            other.read_exact(&mut read_there).await.unwrap();
            other.write_all(&back).await.unwrap();
            other.flush().await.unwrap();
        };
        tokio::join!(own_part, other_part);
        assert!(read_there == there && read_back == back, "{length}");
    }
}

/// Both directions end in order: each reads to the end.
async fn close<T: AsyncRead + AsyncWrite + Unpin>(own: &Arc<dyn Stream>, other: &mut T) {
    own.shutdown().await.unwrap();
    assert_eq!(other.read(&mut [0; 10]).await.unwrap(), 0);
    other.write_all(b"half closed").await.unwrap();
    other.shutdown().await.unwrap();
    let mut rest = [0; 11];
    own.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"half closed");
    assert_eq!(own.read(&mut rest).await.unwrap(), 0);
    assert_eq!(own.read(&mut rest).await.unwrap(), 0);
}

#[tokio::test]
async fn rustls_as_server() {
    let dir = Dir::new();
    let pair = self_signed(params("hub.example"));
    for version in [TlsVersion::Tls13, TlsVersion::Tls12] {
        let connector = connector(&pair, &dir);
        let other = TlsAcceptor::from(Arc::new(plain_server(&pair, version)));
        let (client, server) = tcp_pair().await;
        let (own, other) = soon(async {
            tokio::join!(
                rtun_transport::tls::connect(&connector, Arc::new(client), "hub.example"),
                other.accept(server)
            )
        })
        .await;
        let (own, mut other) = (own.unwrap().stream, other.unwrap());
        soon(exchange(&own, &mut other, |other| {
            if version == TlsVersion::Tls13 {
                other.get_mut().1.refresh_traffic_keys().unwrap();
            }
        }))
        .await;
        soon(close(&own, &mut other)).await;
    }
}

#[tokio::test]
async fn rustls_as_client() {
    let dir = Dir::new();
    let pair = self_signed(params("hub.example"));
    for version in [TlsVersion::Tls13, TlsVersion::Tls12] {
        let acceptor = acceptor(&pair, &dir);
        let other = TlsConnector::from(Arc::new(plain_client(&pair, version)));
        let (client, server) = tcp_pair().await;
        let name = ServerName::try_from("hub.example").unwrap();
        let (own, other) = soon(async {
            tokio::join!(
                rtun_transport::tls::accept(&acceptor, Arc::new(server)),
                other.connect(name, client)
            )
        })
        .await;
        let (own, mut other) = (own.unwrap(), other.unwrap());
        assert_eq!(own.server_name.as_deref(), Some("hub.example"));
        assert_eq!(own.client_names, None);
        let own = own.stream;
        soon(exchange(&own, &mut other, |other| {
            if version == TlsVersion::Tls13 {
                other.get_mut().1.refresh_traffic_keys().unwrap();
            }
        }))
        .await;
        soon(close(&own, &mut other)).await;
    }
}

/// rustls reads to the end only after a `close_notify`; without one it is an error there.
#[tokio::test]
async fn a_close_is_in_order_to_rustls() {
    let dir = Dir::new();
    let pair = self_signed(params("hub.example"));
    for version in [TlsVersion::Tls13, TlsVersion::Tls12] {
        let connector = connector(&pair, &dir);
        let other = TlsAcceptor::from(Arc::new(plain_server(&pair, version)));
        let (client, server) = tcp_pair().await;
        let (own, other) = soon(async {
            tokio::join!(
                rtun_transport::tls::connect(&connector, Arc::new(client), "hub.example"),
                other.accept(server)
            )
        })
        .await;
        let (own, mut other) = (own.unwrap().stream, other.unwrap());
        let sent = pattern(60_000, 3);
        assert_eq!(own.try_write(&sent).unwrap(), sent.len());
        other.write_all(b"never read").await.unwrap();
        other.flush().await.unwrap();
        let reading = async {
            let mut received = Vec::new();
            other.read_to_end(&mut received).await.unwrap();
            other.shutdown().await.unwrap();
            drop(other);
            received
        };
        let (closed, received) = soon(async { tokio::join!(own.close(WITHIN), reading) }).await;
        closed.unwrap();
        assert!(received == sent);
    }
}

/// The own keys are replaced too: rustls follows.
#[tokio::test]
async fn rustls_follows_new_keys() {
    let dir = Dir::new();
    let pair = self_signed(params("hub.example"));
    let connector = connector(&pair, &dir).replacing_keys_after(2);
    let other = TlsAcceptor::from(Arc::new(plain_server(&pair, TlsVersion::Tls13)));
    let (client, server) = tcp_pair().await;
    let (own, other) = soon(async {
        tokio::join!(
            rtun_transport::tls::connect(&connector, Arc::new(client), "hub.example"),
            other.accept(server)
        )
    })
    .await;
    let (own, mut other) = (own.unwrap().stream, other.unwrap());
    soon(exchange(&own, &mut other, |_| {})).await;
}

/// Both replace their keys with every record and ask the other to, while what the other says is still on its way.
#[tokio::test]
async fn both_sides_replace_their_keys_at_once() {
    let dir = Dir::new();
    let pair = self_signed(params("hub.example"));
    let connector = connector(&pair, &dir).replacing_keys_after(1);
    let other = TlsAcceptor::from(Arc::new(plain_server(&pair, TlsVersion::Tls13)));
    let (client, server) = tcp_pair().await;
    let (own, other) = soon(async {
        tokio::join!(
            rtun_transport::tls::connect(&connector, Arc::new(client), "hub.example"),
            other.accept(server)
        )
    })
    .await;
    let (own, mut other) = (own.unwrap().stream, other.unwrap());
    for round in 0..200_u8 {
        let (there, back) = (pattern(100 + usize::from(round), 3), pattern(300, round));
        other.get_mut().1.refresh_traffic_keys().unwrap();
        let cross = async {
            let written = tokio::join!(own.write_all(&there), async {
                other.write_all(&back).await.unwrap();
                other.flush().await
            });
            written.0.unwrap();
            written.1.unwrap();
        };
        soon(cross).await;
        let (mut read_there, mut read_back) = (vec![0; there.len()], vec![0; back.len()]);
        let both = async {
            tokio::join!(other.read_exact(&mut read_there), own.read_exact(&mut read_back))
        };
        let read = soon(both).await;
        read.0.unwrap();
        read.1.unwrap();
        assert!(read_there == there && read_back == back, "{round}");
    }
    soon(close(&own, &mut other)).await;
}

/// An end that asks for new keys sees them announced before the next data (RFC 8446 section 4.6.3).
#[tokio::test]
async fn a_wish_for_new_keys_is_answered_before_the_next_data() {
    let dir = Dir::new();
    let pair = self_signed(params("hub.example"));
    let connector = connector(&pair, &dir).replacing_keys_after(RECORDS_PER_KEY);
    let (client, middle) = memory::pair(1 << 20);
    let (back, server) = memory::pair(1 << 20);
    let (middle, back): (Arc<dyn Stream>, Arc<dyn Stream>) = (Arc::new(middle), Arc::new(back));
    // Hands on what comes from the client, with what it looks like from outside.
    let (lengths, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let there = tokio::spawn({
        let (middle, back) = (Arc::clone(&middle), Arc::clone(&back));
        async move {
            let mut header = [0; 5];
            while middle.read_exact(&mut header).await.is_ok() {
                let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
                let mut body = vec![0; len];
                middle.read_exact(&mut body).await.unwrap();
                lengths.send(len).unwrap();
                back.write_all(&header).await.unwrap();
                back.write_all(&body).await.unwrap();
            }
        }
    });
    let here = tokio::spawn(async move {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = back.read(&mut bytes).await {
            middle.write_all(&bytes[..read]).await.unwrap();
        }
    });
    let other = TlsAcceptor::from(Arc::new(plain_server(&pair, TlsVersion::Tls13)));
    let server = IoStream(Arc::new(server));
    let (own, other) = soon(async {
        tokio::join!(
            rtun_transport::tls::connect(&connector, Arc::new(client), "hub.example"),
            other.accept(server)
        )
    })
    .await;
    let (own, mut other) = (own.unwrap().stream, other.unwrap());
    let mut bytes = [0; 4];
    own.write_all(b"ping").await.unwrap();
    other.read_exact(&mut bytes).await.unwrap();
    while seen.try_recv().is_ok() {}

    other.get_mut().1.refresh_traffic_keys().unwrap();
    other.write_all(b"pong").await.unwrap();
    soon(own.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"pong");
    own.write_all(b"data").await.unwrap();
    soon(other.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"data");
    // A message of five bytes, then four of data; each with a type and a tag.
    assert_eq!(seen.recv().await, Some(5 + 1 + 16));
    assert_eq!(seen.recv().await, Some(4 + 1 + 16));
    there.abort();
    here.abort();
}

/// A host that comes again proves anew who it is, whatever it was asked to remember.
#[tokio::test]
async fn nothing_is_resumed() {
    let dir = Dir::new();
    let pair = self_signed(params("hub.example"));
    for version in [TlsVersion::Tls13, TlsVersion::Tls12] {
        let acceptor = acceptor(&pair, &dir);
        let mut config = plain_client(&pair, version);
        config.enable_early_data = true;
        let client = TlsConnector::from(Arc::new(config));
        for _ in 0..2 {
            let (below, server) = tcp_pair().await;
            let name = ServerName::try_from("hub.example").unwrap();
            let (own, mut other) = soon(async {
                let (own, other) = tokio::join!(
                    rtun_transport::tls::accept(&acceptor, Arc::new(server)),
                    client.connect(name, below)
                );
                (own.unwrap().stream, other.unwrap())
            })
            .await;
            // Tickets would come with the first data.
            own.write_all(b"x").await.unwrap();
            other.read_exact(&mut [0]).await.unwrap();
            let state = other.get_ref().1;
            assert_eq!(state.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(state.tls13_tickets_received(), 0);
            assert!(!state.is_early_data_accepted());
        }
        let connector = connector(&pair, &dir);
        let server = TlsAcceptor::from(Arc::new(plain_server(&pair, version)));
        for _ in 0..2 {
            let (client, below) = tcp_pair().await;
            let (own, mut other) = soon(async {
                let connect =
                    rtun_transport::tls::connect(&connector, Arc::new(client), "hub.example");
                let (own, other) = tokio::join!(connect, server.accept(below));
                (own.unwrap().stream, other.unwrap())
            })
            .await;
            other.write_all(b"x").await.unwrap();
            own.read_exact(&mut [0]).await.unwrap();
            assert_eq!(other.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
}

/// Whether there is an `openssl` program; says so if not.
fn has_openssl() -> bool {
    let found = std::process::Command::new("openssl").arg("version").output().is_ok();
    if !found {
        eprintln!("skipped: there is no openssl program");
    }
    found
}

#[tokio::test]
async fn openssl_as_client() {
    if !has_openssl() {
        return;
    }
    let dir = Dir::new();
    let pair = self_signed(params("hub.example"));
    let acceptor = acceptor(&pair, &dir);
    for version in ["-tls1_3", "-tls1_2"] {
        let listener = tcp::listen("127.0.0.1:0", &ListenOptions::default()).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut openssl = Command::new("openssl")
            .args(["s_client", "-connect", &address, "-servername", "hub.example", version])
            .args(["-verify_return_error", "-CAfile"])
            .arg(dir.file("hub.pem"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (server, _) = soon(listener.accept()).await.unwrap();
        let accepted =
            soon(rtun_transport::tls::accept(&acceptor, Arc::new(server))).await.unwrap();
        assert_eq!(accepted.server_name.as_deref(), Some("hub.example"));
        let own = accepted.stream;
        let mut stdin = openssl.stdin.take().unwrap();
        let mut stdout = BufReader::new(openssl.stdout.take().unwrap()).lines();
        let mut stderr = BufReader::new(openssl.stderr.take().unwrap()).lines();
        let commands: &[&str] =
            if version == "-tls1_3" { &["", "K\n", "k\n", "K\n"] } else { &["", ""] };
        for (i, command) in commands.iter().enumerate() {
            // A command has to be all that openssl reads at once; the answer to data after it shows that it was.
            let there = format!("there {i} {}\n", "x".repeat(i * 3000));
            if !command.is_empty() {
                stdin.write_all(command.as_bytes()).await.unwrap();
                wait_for(&mut stderr, "KEYUPDATE").await;
            }
            stdin.write_all(there.as_bytes()).await.unwrap();
            let mut received = vec![0; there.len()];
            soon(own.read_exact(&mut received)).await.unwrap();
            assert!(received == there.as_bytes());
            let back = format!("back {i}");
            own.write_all(format!("{back}\n").as_bytes()).await.unwrap();
            wait_for(&mut stdout, &back).await;
        }
        // It says its own close in return.
        own.close(WITHIN).await.unwrap();
        drop(stdin);
        soon(openssl.wait()).await.unwrap();
    }
}

async fn wait_for(lines: &mut tokio::io::Lines<impl AsyncBufReadExt + Unpin>, text: &str) {
    loop {
        let line = soon(lines.next_line()).await.unwrap();
        if line.expect("openssl goes on").contains(text) {
            return;
        }
    }
}

#[tokio::test]
async fn openssl_as_server() {
    if !has_openssl() {
        return;
    }
    let dir = Dir::new();
    let pair = self_signed(params("hub.example"));
    let connector = connector(&pair, &dir);
    for version in ["-tls1_3", "-tls1_2"] {
        // Small records, in which even tickets are cut.
        let mut openssl = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-rev", version])
            .args(["-max_send_frag", "512", "-cert"])
            .arg(dir.file("hub.pem"))
            .arg("-key")
            .arg(dir.file("hub-key.pem"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(openssl.stdout.take().unwrap()).lines();
        let address = loop {
            let line = soon(lines.next_line()).await.unwrap().expect("openssl says where it is");
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                break address.trim().parse::<SocketAddr>().unwrap();
            }
        };
        let client =
            tcp::connect(&address.into(), &SocketOptions::default(), None, super::PATIENCE)
                .await
                .unwrap();
        let own = soon(rtun_transport::tls::connect(&connector, Arc::new(client), "hub.example"))
            .await
            .unwrap()
            .stream;
        for i in 0..5 {
            let there = format!("{}{i}", "abc".repeat(i * 700));
            let back: String = there.chars().rev().collect();
            own.write_all(format!("{there}\n").as_bytes()).await.unwrap();
            let mut received = vec![0; back.len() + 1];
            soon(own.read_exact(&mut received)).await.unwrap();
            assert!(received == format!("{back}\n").as_bytes(), "{version} {i}");
        }
        own.close(WITHIN).await.unwrap();
        soon(openssl.wait()).await.unwrap();
    }
}
