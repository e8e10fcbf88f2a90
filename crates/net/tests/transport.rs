//! What every transport's stream does, checked on each kind; then what TCP does besides.

#![allow(clippy::unwrap_used)]

use std::io;
use std::time::{Duration, Instant};

use rtun_net::transport::tcp::{self, ConnectError, ListenError, connect, listen, tune};
use rtun_net::transport::{Stream, memory};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);
const CHUNK: usize = 64 * 1024;

type Ends = (Box<dyn Stream>, Box<dyn Stream>);

async fn battery(make: impl AsyncFn() -> Ends) {
    timeout(PATIENCE, single_bytes_stay_in_order(make().await)).await.unwrap();
    timeout(PATIENCE, large_chunks_cross_in_both_directions(make().await)).await.unwrap();
    timeout(PATIENCE, each_direction_ends_on_its_own(make().await)).await.unwrap();
    timeout(PATIENCE, a_reader_that_waits_holds_the_writer(make().await)).await.unwrap();
    timeout(PATIENCE, an_abrupt_end_is_noticed(make().await)).await.unwrap();
}

async fn single_bytes_stay_in_order((mut a, mut b): Ends) {
    let sent = pattern(5000, 1);
    a.write_all(&sent).await.unwrap();
    for expected in &sent {
        assert_eq!(b.read_u8().await.unwrap(), *expected);
    }
    for byte in &sent[..500] {
        b.write_u8(*byte).await.unwrap();
        b.flush().await.unwrap();
    }
    let mut received = vec![0; 500];
    a.read_exact(&mut received).await.unwrap();
    assert_eq!(received, sent[..500]);
}

async fn large_chunks_cross_in_both_directions((a, b): Ends) {
    const CHUNKS: usize = 40;
    async fn exchange(stream: Box<dyn Stream>, own: u8, other: u8) {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let write = async {
            for _ in 0..CHUNKS {
                writer.write_all(&pattern(CHUNK, own)).await.unwrap();
            }
            writer.shutdown().await.unwrap();
        };
        let read = async {
            let mut received = vec![0; CHUNK];
            for _ in 0..CHUNKS {
                reader.read_exact(&mut received).await.unwrap();
                assert!(received == pattern(CHUNK, other));
            }
            assert_eq!(reader.read(&mut received).await.unwrap(), 0);
        };
        tokio::join!(write, read);
    }
    tokio::join!(exchange(a, 1, 2), exchange(b, 2, 1));
}

async fn each_direction_ends_on_its_own((mut a, mut b): Ends) {
    a.write_all(b"question").await.unwrap();
    a.shutdown().await.unwrap();
    let mut question = Vec::new();
    b.read_to_end(&mut question).await.unwrap();
    assert_eq!(question, b"question");
    b.write_all(b"answer").await.unwrap();
    b.shutdown().await.unwrap();
    let mut answer = Vec::new();
    a.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"answer");
    assert!(a.write_all(b"more").await.is_err());
}

async fn a_reader_that_waits_holds_the_writer((mut a, mut b): Ends) {
    const BOUND: usize = 64 << 20;
    let chunk = pattern(CHUNK, 1);
    let mut sent = 0;
    while let Ok(written) = timeout(Duration::from_millis(200), a.write(&chunk)).await {
        // A write may take a part: the next goes on with the rest of the pattern, from the start.
        sent += written.unwrap();
        assert!(sent < BOUND, "the stream swallows everything");
    }
    let drained = async {
        let mut buffer = vec![0; CHUNK];
        let mut received = 0;
        while received < sent + CHUNK {
            received += b.read(&mut buffer).await.unwrap();
        }
        received
    };
    let (received, ()) = tokio::join!(drained, async { a.write_all(&chunk).await.unwrap() });
    assert_eq!(received, sent + CHUNK);
}

async fn an_abrupt_end_is_noticed((mut a, mut b): Ends) {
    b.write_all(b"last words").await.unwrap();
    a.write_all(b"never read").await.unwrap();
    drop(b);
    let mut rest = Vec::new();
    match a.read_to_end(&mut rest).await {
        Ok(_) => assert_eq!(rest, b"last words"),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
    // A first write may still be taken; soon none is.
    while a.write_all(&pattern(CHUNK, 1)).await.is_ok() {}
}

#[tokio::test]
async fn the_memory_transport_passes() {
    battery(async || {
        let (a, b) = memory::pair(16 * 1024);
        (Box::new(a) as _, Box::new(b) as _)
    })
    .await;
}

#[tokio::test]
async fn tcp_passes() {
    battery(async || {
        let (a, b) = tcp_pair().await;
        (Box::new(a) as _, Box::new(b) as _)
    })
    .await;
}

#[tokio::test]
async fn both_ends_run_with_the_options_of_a_tunnel() {
    let (a, b) = tcp_pair().await;
    for stream in [&a, &b] {
        let socket = SockRef::from(stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(2));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(1));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(10)));
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), 16 * 1024);
    }
}

/// The user timeout also ends a connection whose other side lives but never reads, though it
/// answers every probe of its closed window.
#[tokio::test]
async fn a_window_that_stays_closed_ends_the_connection() {
    let (mut a, _b) = tcp_pair().await;
    SockRef::from(&a).set_tcp_user_timeout(Some(Duration::from_secs(1))).unwrap();
    let start = Instant::now();
    let end = async {
        loop {
            if let Err(error) = a.write_all(&pattern(CHUNK, 1)).await {
                break error;
            }
        }
    };
    let error = timeout(PATIENCE, end).await.expect("the connection ends");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn an_empty_host_listens_on_both_families() {
    let listener = listen(":0").unwrap();
    let port = listener.local_addr().unwrap().port();
    connect(&format!("127.0.0.1:{port}"), PATIENCE).await.unwrap();
    connect(&format!(":{port}"), PATIENCE).await.unwrap();
    if listener.local_addr().unwrap().is_ipv6() {
        connect(&format!("[::1]:{port}"), PATIENCE).await.unwrap();
    }
}

#[tokio::test]
async fn a_port_can_be_taken_again_at_once_but_not_twice() {
    let listener = listen("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = connect(&address, PATIENCE).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let twice = listen(&address).unwrap_err();
    assert!(matches!(twice, ListenError::Bind { .. }), "{twice}");
    assert!(twice.to_string().contains(&address), "{twice}");
    drop((server, client, listener));
    listen(&address).unwrap();
}

#[tokio::test]
async fn addresses_that_are_none_are_refused_with_the_form_expected() {
    for bad in ["8421", "", "127.0.0.1", ":http2", ":70000"] {
        let error = listen(bad).unwrap_err();
        assert!(matches!(error, ListenError::BadAddress { .. }), "{error}");
        assert!(error.to_string().contains("write it as host:port or :port"), "{error}");
    }
    let error = connect("127.0.0.1", PATIENCE).await.unwrap_err();
    assert!(matches!(error, ConnectError::Resolve { .. }), "{error}");
}

#[tokio::test]
async fn a_refusal_names_the_address() {
    // Taken but not listened on, so that nobody else can meanwhile.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = taken.local_addr().unwrap();
    let error = connect(&closed.to_string(), PATIENCE).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot connect to {closed}: {closed}: ")), "{text}");
    let ConnectError::Failed { attempts, .. } = error else { panic!("{text}") };
    assert_eq!(attempts[0].1.kind(), io::ErrorKind::ConnectionRefused);
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = listen("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = connect(&address, tcp::USER_TIMEOUT).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    tune(&server).unwrap();
    (client, server)
}

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|i| (i as u8).wrapping_mul(seed).wrapping_add((i >> 8) as u8)).collect()
}
