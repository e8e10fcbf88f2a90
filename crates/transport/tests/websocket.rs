//! WebSocket: what every transport's stream does, and what a peer sees that speaks RFC 6455 byte by byte.

#![allow(clippy::unwrap_used)]

mod battery;

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use rtun_settings::{HttpHeader, ListenOptions, Secret, SocketOptions, WebSocketSettings};
use rtun_transport::{
    Stream,
    memory::{self, MemoryStream},
    tcp,
    ws::{self, WsError},
};
use tokio::time::timeout;

use self::battery::{Abilities, Ends, battery, pattern};

/// How the server was reached.
const HOST: &str = "hub.example";

const PATIENCE: Duration = Duration::from_secs(10);
const ABILITIES: Abilities = Abilities { half_close: false };
const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

const REQUEST: &str = "GET /ws HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

#[tokio::test]
async fn websockets_on_tcp_pass() {
    battery(ABILITIES, async || {
        let listener = tcp::listen("127.0.0.1:0", &ListenOptions::default()).unwrap();
        let address = listener.local_addr().unwrap();
        let client =
            tcp::connect(&address.into(), &SocketOptions::default(), None, PATIENCE).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        tcp::tune(&server).unwrap();
        upgraded(Arc::new(client), Arc::new(server)).await
    })
    .await;
}

/// Most frames are taken in pieces, on both sides.
#[tokio::test]
async fn websockets_through_a_needles_eye_pass() {
    for client_first in [true, false] {
        battery(ABILITIES, async || {
            let (a, b) = memory::pair(6000);
            let (client, server) = upgraded(Arc::new(a), Arc::new(b)).await;
            if client_first { (client, server) } else { (server, client) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_write_is_one_binary_message() {
    let (server, peer) = served().await;
    let written = server.try_write_vectored(&[
        io::IoSlice::new(b"one "),
        io::IoSlice::new(b""),
        io::IoSlice::new(b"message"),
    ]);
    assert_eq!(written.unwrap(), 11);
    assert_eq!(server.try_write(b"").unwrap(), 0);
    server.write_all(b"another").await.unwrap();
    let mut expected = vec![0x82, 11];
    expected.extend(b"one message");
    expected.extend([0x82, 7]);
    expected.extend(b"another");
    assert_eq!(take(&*peer, expected.len()).await, expected);
}

#[tokio::test]
async fn a_client_masks_each_frame_with_another_key() {
    let (client, peer) = connected(None).await;
    let mut keys = std::collections::BTreeSet::new();
    for _ in 0..100 {
        client.write_all(b"packet").await.unwrap();
        let frame = take(&*peer, 2 + 4 + 6).await;
        assert_eq!(frame[..2], [0x82, 0x86]);
        let unmasked: Vec<u8> =
            frame[6..].iter().zip(frame[2..6].iter().cycle()).map(|(a, b)| a ^ b).collect();
        assert_eq!(unmasked, b"packet");
        keys.insert(frame[2..6].to_vec());
    }
    assert!(keys.len() > 90, "{} keys", keys.len());
}

#[tokio::test]
async fn messages_of_any_kind_are_one_stream_with_pings_answered_in_between() {
    let (server, peer) = served().await;
    for (first, payload) in [
        (0x01, &b"te"[..]),
        (0x89, b"first"),
        (0x00, b"xt"),
        (0x89, b"second"),
        (0x80, b""),
        (0x82, b""),
        (0x8a, b"nobody asked"),
        (0x82, b" and bytes"),
    ] {
        peer.write_all(&masked(first, payload)).await.unwrap();
    }
    let mut received = [0; 1000];
    let read = server.read(&mut received).await.unwrap();
    assert_eq!(&received[..read], b"text and bytes");
    let pongs = take(&*peer, 8).await;
    // Only the last of several pings has to be answered.
    assert_eq!(pongs[..2], [0x8a, 6]);
    assert_eq!(pongs[2..], b"second"[..]);
}

#[tokio::test]
async fn a_huge_message_is_read_as_it_comes() {
    let (server, peer) = served().await;
    let mut head = vec![0x82, 0x80 | 127];
    head.extend((1_u64 << 60).to_be_bytes());
    head.extend([0; 4]);
    peer.write_all(&head).await.unwrap();
    let chunk = pattern(1000, 3);
    for _ in 0..17_000 {
        peer.write_all(&chunk).await.unwrap();
        let mut received = vec![0; 1000];
        server.read_exact(&mut received).await.unwrap();
        assert_eq!(received, chunk);
    }
}

#[tokio::test]
async fn an_end_within_a_message_is_an_error_and_between_messages_is_none() {
    let (server, peer) = served().await;
    peer.write_all(&masked(0x82, b"whole")).await.unwrap();
    drop(peer);
    assert_eq!(to_end(&*server).await.unwrap(), b"whole");
    for cut in [1, 4, 8] {
        let (server, peer) = served().await;
        peer.write_all(&masked(0x82, b"half")[..cut]).await.unwrap();
        drop(peer);
        let error = to_end(&*server).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[tokio::test]
async fn breaks_of_the_protocol_end_the_stream_and_are_named_to_both_sides() {
    for (bytes, name) in [
        (&[0x82, 2, b'h', b'i'][..], "not masked"),
        (&[0x83, 0x80, 0, 0, 0, 0], "unknown opcode 0x3"),
        (&[0xc2, 0x80, 0, 0, 0, 0], "reserved bits"),
        (&[0x89, 0xfe, 0, 126, 0, 0, 0, 0], "control frame is longer"),
    ] {
        let (server, peer) = served().await;
        peer.write_all(&masked(0x82, b"before")).await.unwrap();
        peer.write_all(bytes).await.unwrap();
        let mut received = [0; 6];
        server.read_exact(&mut received).await.unwrap();
        let error = to_end(&*server).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(take(&*peer, 4).await, [0x88, 2, 0x03, 0xea]);
        assert_eq!(server.try_write(b"more").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}

#[tokio::test]
async fn a_close_is_answered_and_ends_both_directions() {
    let (server, peer) = served().await;
    peer.write_all(&masked(0x82, b"last words")).await.unwrap();
    peer.write_all(&masked(0x88, &[0x03, 0xe8])).await.unwrap();
    assert_eq!(to_end(&*server).await.unwrap(), b"last words");
    assert_eq!(to_end(&*server).await.unwrap(), b"");
    assert_eq!(server.try_write(b"more").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(take(&*peer, 4).await, [0x88, 2, 0x03, 0xe8]);
    server.shutdown().await.unwrap();
    assert_eq!(to_end(&*peer).await.unwrap(), b"");
}

/// Behind all that was taken, a close frame and the end of the stream below; then the other side's are waited for.
#[tokio::test]
async fn a_stream_is_closed_as_the_standard_says() {
    let (server, peer) = served().await;
    // More than the stream below takes at once.
    let sent = pattern(40_000, 3);
    assert_eq!(server.try_write(&sent).unwrap(), sent.len());
    assert!(server.has_buffered());
    peer.write_all(&masked(0x82, b"never read")).await.unwrap();
    let reading = async {
        let mut expected = vec![0x82, 126];
        expected.extend((sent.len() as u16).to_be_bytes());
        expected.extend(&sent);
        expected.extend([0x88, 2, 0x03, 0xe8]);
        assert!(to_end(&*peer).await.unwrap() == expected);
        peer.write_all(&masked(0x88, &[0x03, 0xe8])).await.unwrap();
        peer.shutdown().await.unwrap();
    };
    let start = Instant::now();
    let (closed, ()) = tokio::join!(server.close(PATIENCE), reading);
    closed.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_unusual_close_is_told() {
    let (server, peer) = served().await;
    peer.write_all(&masked(0x88, b"\x03\xf0go \x1baway")).await.unwrap();
    let error = to_end(&*server).await.unwrap_err().to_string();
    assert!(error.contains("1008") && error.contains("go \\x1baway"), "{error}");
}

/// Nobody writes; the reader alone sees to it that its answer goes out.
#[tokio::test]
async fn a_pong_that_found_no_room_goes_out_when_there_is_some() {
    let (below, peer) = memory::pair(200);
    let (server, peer) = served_on(below, peer).await;
    while server.try_write(&[7; 50]).is_ok() {}
    server.try_write(&[7; 50]).unwrap_err();
    peer.write_all(&masked(0x89, b"anybody there?")).await.unwrap();
    let mut buffer = [0; 10];
    let drain = async {
        let mut seen = Vec::new();
        while !seen.ends_with(b"anybody there?") {
            let mut byte = [0];
            peer.read_exact(&mut byte).await.unwrap();
            seen.extend(byte);
        }
        seen
    };
    let reading = server.read(&mut buffer);
    tokio::select! {
        seen = timeout(PATIENCE, drain) => {
            let seen = seen.expect("the pong comes");
            let pong = &seen[seen.len() - 16..];
            assert_eq!(pong[..2], [0x8a, 14]);
        }
        result = reading => panic!("{result:?}"),
    }
}

#[tokio::test]
async fn a_client_asks_a_silent_server_and_gives_it_up() {
    let every = Duration::from_millis(100);
    let (client, peer) = connected(Some(every)).await;
    let start = Instant::now();
    let mut buffer = [0; 10];
    let error = client.read(&mut buffer).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!((every * 3..every * 30).contains(&start.elapsed()), "{:?}", start.elapsed());
    let pings = take(&*peer, 12).await;
    assert_eq!(pings[..2], [0x89, 0x80]);
    assert_eq!(pings[6..8], [0x89, 0x80]);
}

#[tokio::test]
async fn a_server_that_answers_is_kept() {
    let every = Duration::from_millis(50);
    let (client, peer) = connected(Some(every)).await;
    let answering = async {
        for _ in 0..8 {
            let ping = take(&*peer, 6).await;
            assert_eq!(ping[..2], [0x89, 0x80]);
            peer.write_all(&[0x8a, 0]).await.unwrap();
        }
        peer.write_all(&[0x82, 2, b'h', b'i']).await.unwrap();
    };
    let mut received = [0; 2];
    let (read, ()) = tokio::join!(client.read_exact(&mut received), answering);
    read.unwrap();
    assert_eq!(&received, b"hi");
}

#[tokio::test]
async fn frames_that_come_with_the_head_are_kept() {
    let (below, peer) = memory::pair(16 * 1024);
    let mut bytes = REQUEST.as_bytes().to_vec();
    bytes.extend(masked(0x82, b"early"));
    (&peer as &dyn Stream).write_all(&bytes).await.unwrap();
    let (server, _) = ws::accept(Arc::new(below), &WebSocketSettings::default()).await.unwrap();
    let mut received = [0; 5];
    timeout(PATIENCE, server.read_exact(&mut received)).await.unwrap().unwrap();
    assert_eq!(&received, b"early");
}

#[tokio::test]
async fn requests_for_something_else_are_answered_and_ended() {
    let long = format!("GET /ws HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(9000));
    for (request, status) in [
        (REQUEST.replace("/ws", "/other"), "404 Not Found"),
        (REQUEST.replace("Upgrade: websocket\r\n", ""), "400 Bad Request"),
        ("nonsense\r\n\r\n".to_owned(), "400 Bad Request"),
        (long, "400 Bad Request"),
    ] {
        let (below, peer) = memory::pair(16 * 1024);
        (&peer as &dyn Stream).write_all(request.as_bytes()).await.unwrap();
        let settings = WebSocketSettings::default();
        ws::accept(Arc::new(below), &settings).await.unwrap_err();
        let response = String::from_utf8(to_end(&peer).await.unwrap()).unwrap();
        assert!(response.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{response}");
    }
}

#[tokio::test]
async fn refusals_and_strange_servers_are_told_apart() {
    for (response, expected) in [
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "refuses the WebSocket: 403 Forbidden"),
        ("SSH-2.0-OpenSSH_9.9\r\n\r\n", "does not speak HTTP"),
        ("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "Accept"),
        ("", "the connection fails"),
    ] {
        let (below, peer) = memory::pair(16 * 1024);
        (&peer as &dyn Stream).write_all(response.as_bytes()).await.unwrap();
        (&peer as &dyn Stream).shutdown().await.unwrap();
        let error =
            ws::connect(Arc::new(below), &WebSocketSettings::default(), HOST).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn who_sends_its_request_slowly_is_the_callers_to_drop() {
    let (below, peer) = memory::pair(16 * 1024);
    let settings = WebSocketSettings::default();
    let slow = async {
        for byte in REQUEST.as_bytes() {
            if (&peer as &dyn Stream).write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the whole request was taken");
    };
    let accept = async {
        let late = timeout(Duration::from_millis(200), ws::accept(Arc::new(below), &settings));
        late.await.unwrap_err();
    };
    tokio::join!(slow, accept);
    assert_eq!(to_end(&peer).await.unwrap(), b"");
}

#[tokio::test]
async fn the_clients_address_is_told() {
    let (below, peer) = memory::pair(16 * 1024);
    let request = REQUEST.replace("\r\n\r\n", "\r\nx-forwarded-for: 192.0.2.7, 10.0.0.1\r\n\r\n");
    (&peer as &dyn Stream).write_all(request.as_bytes()).await.unwrap();
    let (_, forwarded) = ws::accept(Arc::new(below), &WebSocketSettings::default()).await.unwrap();
    assert!(forwarded.present);
    assert_eq!(forwarded.client(), Some("192.0.2.7".parse().unwrap()));
}

#[tokio::test]
async fn a_settings_fault_is_told_before_anything_is_sent() {
    let (below, peer) = memory::pair(16 * 1024);
    let header = HttpHeader { name: "Bad\r\nName".to_owned(), value: Secret::new("") };
    let settings = WebSocketSettings { headers: vec![header], ..WebSocketSettings::default() };
    let error = ws::connect(Arc::new(below), &settings, HOST).await.unwrap_err();
    assert!(matches!(error, WsError::BadHeader { .. }), "{error}");
    assert_eq!(to_end(&peer).await.unwrap(), b"");
}

/// Both ends of a WebSocket.
async fn upgraded(client: Arc<dyn Stream>, server: Arc<dyn Stream>) -> Ends {
    let settings = WebSocketSettings::default();
    let (client, server) =
        tokio::join!(ws::connect(client, &settings, HOST), ws::accept(server, &settings));
    (client.unwrap(), server.unwrap().0)
}

/// A server's end, and the bare stream of its client.
async fn served() -> Ends {
    let (below, peer) = memory::pair(16 * 1024);
    served_on(below, peer).await
}

async fn served_on(below: MemoryStream, peer: MemoryStream) -> Ends {
    let peer: Arc<dyn Stream> = Arc::new(peer);
    let settings = WebSocketSettings::default();
    let (accepted, response) = tokio::join!(ws::accept(Arc::new(below), &settings), async {
        peer.write_all(REQUEST.as_bytes()).await.unwrap();
        take_head(&*peer).await
    });
    assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
    (accepted.unwrap().0, peer)
}

/// A client's end, and the bare stream of its server.
async fn connected(ping_every: Option<Duration>) -> Ends {
    let (below, peer) = memory::pair(16 * 1024);
    let peer: Arc<dyn Stream> = Arc::new(peer);
    let settings = WebSocketSettings { ping_every, ..WebSocketSettings::default() };
    let (connected, ()) = tokio::join!(ws::connect(Arc::new(below), &settings, HOST), async {
        let request = take_head(&*peer).await;
        assert!(request.starts_with("GET /ws HTTP/1.1\r\nHost: hub.example\r\n"), "{request}");
        let (response, _) = ws::upgrade::answer(request.as_bytes(), &settings).unwrap();
        peer.write_all(response.as_bytes()).await.unwrap();
    });
    (connected.unwrap(), peer)
}

async fn take_head(stream: &dyn Stream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(take(stream, 1).await);
    }
    String::from_utf8(head).unwrap()
}

/// A short frame of a client.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | payload.len() as u8];
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

async fn take(stream: &dyn Stream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.expect("bytes come").unwrap();
    bytes
}

async fn to_end(stream: &dyn Stream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut buffer = [0; 1000];
    loop {
        match timeout(PATIENCE, stream.read(&mut buffer)).await.expect("the end comes")? {
            0 => return Ok(all),
            read => all.extend_from_slice(&buffer[..read]),
        }
    }
}
