//! What every transport's stream does, checked on each kind; then what TCP does besides.

#![allow(clippy::unwrap_used)]

mod battery;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtun_proto::relay::AddrFeature;
use rtun_settings::{ListenOptions, SocketOptions};
use rtun_transport::addressed::AddressedStream;
use rtun_transport::names::{NameError, Names};
use rtun_transport::tcp::{self, ConnectError, ListenError, connect, listen, tune};
use rtun_transport::{Stream, memory};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::battery::{Abilities, battery, pattern};

const PATIENCE: Duration = Duration::from_secs(10);
const ABILITIES: Abilities = Abilities { half_close: true };

#[tokio::test]
async fn the_memory_transport_passes() {
    battery(ABILITIES, async || {
        let (a, b) = memory::pair(16 * 1024);
        (Arc::new(a) as _, Arc::new(b) as _)
    })
    .await;
}

#[tokio::test]
async fn tcp_passes() {
    battery(ABILITIES, async || {
        let (a, b) = tcp_pair().await;
        (Arc::new(a) as _, Arc::new(b) as _)
    })
    .await;
}

/// Frames pass as datagrams with addresses, however little the stream below takes, and it ends in order.
#[tokio::test]
async fn frames_pass_on_a_stream_with_addresses() {
    let frame = |len: usize, n: u8| {
        let len = u16::try_from(len).unwrap();
        [&len.to_be_bytes()[..], &vec![n; len.into()]].concat()
    };
    let frames: Vec<u8> = (1..40).flat_map(|n| frame(usize::from(n) * 97, n)).collect();
    for capacity in [7, 1000, 1 << 20] {
        let (a, b) = memory::pair(capacity);
        let end = |below, own: &str, other: u16| -> Arc<dyn Stream> {
            let is_taken = move |address: &AddrFeature, _| address.port == other;
            let own = own.parse().unwrap();
            Arc::new(AddressedStream::new(Arc::new(below), Vec::new(), own, Box::new(is_taken)))
        };
        let (a, b) = (end(a, "10.0.0.1:1", 2), end(b, "[fd00::1]:2", 1));
        let writing = async {
            a.write_all(&frames).await.unwrap();
            assert!(!a.has_buffered());
            a.shutdown().await.unwrap();
        };
        let reading = async {
            let mut read = vec![0; frames.len()];
            b.read_exact(&mut read).await.unwrap();
            assert_eq!(b.read(&mut [0; 9]).await.unwrap(), 0);
            read
        };
        let ((), read) = timeout(PATIENCE, async { tokio::join!(writing, reading) }).await.unwrap();
        assert_eq!(read, frames, "{capacity}");
        let (mut read, back) = ([0; 5], frame(3, 5));
        let (written, arrived) = tokio::join!(b.write_all(&back), a.read_exact(&mut read));
        written.and(arrived).unwrap();
        assert_eq!(read, [0, 3, 5, 5, 5]);
    }
    // Cut inside a datagram, and nonsense.
    for (bytes, kind) in [
        (&b"\0\x09\xff\x01\x0a\0\0\x01\0\x01abc"[..], io::ErrorKind::UnexpectedEof),
        (b"\0\x09\x01", io::ErrorKind::InvalidData),
    ] {
        let (a, b) = memory::pair(1000);
        (&a as &dyn Stream).write_all(bytes).await.unwrap();
        (&a as &dyn Stream).shutdown().await.unwrap();
        let own = ([10, 0, 0, 1], 1).into();
        let b = AddressedStream::new(Arc::new(b), Vec::new(), own, Box::new(|_, _| true));
        let b = &b as &dyn Stream;
        let mut read = Vec::new();
        let error = loop {
            let mut room = [0; 4];
            match b.read(&mut room).await {
                Ok(len) => read.extend_from_slice(&room[..len]),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), kind);
        assert_eq!(b.read(&mut [0; 4]).await.unwrap_err().kind(), kind);
    }
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
    let (a, _b) = tcp_pair().await;
    SockRef::from(&a).set_tcp_user_timeout(Some(Duration::from_secs(1))).unwrap();
    let start = Instant::now();
    let end = async {
        loop {
            if let Err(error) = (&a as &dyn Stream).write_all(&pattern(64 * 1024, 1)).await {
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
    let listener = listen(":0", &ListenOptions::default()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let names = Names::default();
    let reach = async |addr: String| {
        let found = names.find(&addr, None, PATIENCE).await.unwrap();
        connect(&found, &SocketOptions::default(), None, PATIENCE).await.unwrap();
    };
    reach(format!("127.0.0.1:{port}")).await;
    reach(format!(":{port}")).await;
    if listener.local_addr().unwrap().is_ipv6() {
        reach(format!("[::1]:{port}")).await;
        reach(format!("[::1%lo]:{port}")).await;
    }
}

#[tokio::test]
async fn a_port_can_be_taken_again_at_once_but_not_twice() {
    let listener = listen("127.0.0.1:0", &ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    let client = connect(&address.into(), &SocketOptions::default(), None, PATIENCE).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let address = address.to_string();
    let twice = listen(&address, &ListenOptions::default()).unwrap_err();
    assert!(matches!(twice, ListenError::Bind { .. }), "{twice}");
    assert!(twice.to_string().contains(&address), "{twice}");
    drop((server, client, listener));
    listen(&address, &ListenOptions::default()).unwrap();
}

#[tokio::test]
async fn addresses_that_are_none_are_refused_with_the_form_expected() {
    for bad in ["8421", "", "127.0.0.1", ":http2", ":70000"] {
        let error = listen(bad, &ListenOptions::default()).unwrap_err();
        assert!(matches!(error, ListenError::BadAddress { .. }), "{error}");
        assert!(error.to_string().contains("write it as host:port or :port"), "{error}");
    }
    let error = Names::default().find("127.0.0.1", None, PATIENCE).await.unwrap_err();
    assert!(matches!(error, NameError::Malformed(_)), "{error}");
    let error = listen("[fe80::1%none0]:0", &ListenOptions::default()).unwrap_err().to_string();
    assert!(error.contains("no interface \"none0\""), "{error}");
}

#[tokio::test]
async fn a_refusal_names_the_address() {
    // Taken but not listened on, so that nobody else can meanwhile.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = taken.local_addr().unwrap();
    let error =
        connect(&closed.into(), &SocketOptions::default(), None, PATIENCE).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot connect to {closed}: {closed}: ")), "{text}");
    let ConnectError::Failed { tried, .. } = error else { panic!("{text}") };
    let refused = tried.attempts[0].1.as_ref().map(io::Error::kind);
    assert_eq!(refused, Some(io::ErrorKind::ConnectionRefused));
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = listen("127.0.0.1:0", &ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    let client =
        connect(&address.into(), &SocketOptions::default(), None, tcp::USER_TIMEOUT).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    tune(&server).unwrap();
    (client, server)
}
