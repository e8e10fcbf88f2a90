//! What a session holds at most, and who waits for whom.

use std::{sync::Arc, time::Duration};

use rtun_proto::mux::{Command, HEADER};
use rtun_settings::{MuxSettings, MuxVersion};
use rtun_transport::{
    Stream,
    mux::{BACKLOG, MAX_STREAMS, MuxError, MuxSession},
};
use tokio::time::timeout;

use crate::{
    VERSIONS,
    battery::pattern,
    memory_pair, sessions, settings,
    wire::{expect, frame},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Writes until nothing more is taken for a while; how much was.
async fn fill(stream: &dyn Stream, chunk: &[u8]) -> usize {
    let mut sent = 0;
    while timeout(Duration::from_millis(100), stream.writable()).await.is_ok() {
        sent += stream.try_write(chunk).unwrap_or(0);
        assert!(sent < 64 << 20, "the stream swallows everything");
    }
    sent
}

async fn two_streams(
    session: (&MuxSession, &MuxSession),
) -> [(Arc<dyn Stream>, Arc<dyn Stream>); 2] {
    let a = (session.0.open().unwrap(), session.1.accept().await.unwrap().unwrap());
    let b = (session.0.open().unwrap(), session.1.accept().await.unwrap().unwrap());
    [a, b]
}

#[tokio::test]
async fn a_stalled_stream_holds_no_other_up_in_version_two() {
    let (client, server) = sessions(memory_pair(16 * 1024), settings(MuxVersion::Two));
    let [stalled, other] = two_streams((&client, &server)).await;
    let sent = fill(&*stalled.0, &pattern(60_000, 3)).await;
    assert_eq!(sent, 262_144, "the window nobody has changed");
    let (written, ()) =
        tokio::join!(other.0.write_all(b"goes through"), expect(&*other.1, b"goes through"));
    written.unwrap();
}

#[tokio::test]
async fn a_stalled_stream_holds_a_session_up_while_the_receive_buffer_is_full_in_version_one() {
    let settings = MuxSettings { receive_buffer: 100_000, ..settings(MuxVersion::One) };
    let (client, server) = sessions(memory_pair(16 * 1024), settings);
    let [stalled, other] = two_streams((&client, &server)).await;
    other.0.write_all(b"goes through").await.unwrap();
    expect(&*other.1, b"goes through").await;
    let chunk = pattern(60_000, 3);
    let sent = fill(&*stalled.0, &chunk).await;
    // The buffer, one read of the stream below, what is in flight, and a frame that was begun.
    assert!((100_000..100_000 + 65_536 + 16_384 + 32_768).contains(&sent), "{sent}");
    assert!(timeout(Duration::from_millis(100), other.0.writable()).await.is_err());
    drop(stalled.1);
    let (written, ()) = tokio::join!(other.0.write_all(b"goes on"), expect(&*other.1, b"goes on"));
    written.unwrap();
}

#[tokio::test]
async fn a_dropped_stream_gives_its_room_back_and_its_writer_is_told() {
    for version in VERSIONS {
        let (client, server) = sessions(memory_pair(1000), settings(version));
        let [(a, b), _other] = two_streams((&client, &server)).await;
        drop(b);
        let writes = async { while a.write_all(&[1; 1000]).await.is_ok() {} };
        timeout(PATIENCE, writes).await.expect("the writer gets an error");
        assert_eq!(a.read(&mut [0; 1]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_session_has_so_many_streams_and_no_more() {
    for version in VERSIONS {
        let (client, server) = sessions(memory_pair(16 * 1024), settings(version));
        let mut streams = Vec::new();
        for _ in 0..MAX_STREAMS {
            streams.push((client.open().unwrap(), server.accept().await.unwrap().unwrap()));
        }
        assert!(matches!(client.open(), Err(MuxError::TooManyStreams)));
        for (n, (a, b)) in streams.iter().enumerate() {
            a.write_all(&n.to_be_bytes()).await.unwrap();
            expect(&**b, &n.to_be_bytes()).await;
        }
        streams.pop();
        client.open().unwrap();
    }
}

#[tokio::test]
async fn streams_beyond_those_of_a_server_are_ended_at_once() {
    for version in VERSIONS {
        let (a, b) = memory_pair(1 << 20);
        let server = MuxSession::server(b, settings(version));
        let mut streams = Vec::new();
        for n in 0..u32::try_from(MAX_STREAMS).unwrap() {
            a.write_all(&frame(version, Command::Syn, 2 * n + 3, b"")).await.unwrap();
            streams.push(server.accept().await.unwrap().unwrap());
        }
        a.write_all(&frame(version, Command::Syn, 99_999, b"")).await.unwrap();
        expect(&*a, &frame(version, Command::Fin, 99_999, b"")).await;
    }
}

#[tokio::test]
async fn streams_beyond_the_backlog_are_ended_at_once() {
    for version in VERSIONS {
        let (a, b) = memory_pair(1 << 20);
        let server = MuxSession::server(b, settings(version));
        let mut ids = (0..=u32::try_from(BACKLOG).unwrap()).map(|n| 2 * n + 3);
        let bytes: Vec<u8> =
            ids.clone().flat_map(|id| frame(version, Command::Syn, id, b"")).collect();
        a.write_all(&bytes).await.unwrap();
        expect(&*a, &frame(version, Command::Fin, ids.next_back().unwrap(), b"")).await;
        let first = server.accept().await.unwrap().unwrap();
        assert_eq!(server.streams(), BACKLOG);
        drop(first);
        expect(&*a, &frame(version, Command::Fin, 3, b"")).await;
        // Those that nobody accepts are ended with the session.
        drop(server);
        for id in 2..=u32::try_from(BACKLOG).unwrap() {
            expect(&*a, &frame(version, Command::Fin, 2 * id + 1, b"")).await;
        }
        assert_eq!(a.read(&mut [0; 1]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_client_lets_no_stream_be_opened() {
    let (a, b) = memory_pair(1000);
    let _session = MuxSession::client(a, settings(MuxVersion::One));
    b.write_all(&frame(MuxVersion::One, Command::Syn, 2, b"")).await.unwrap();
    expect(&*b, &frame(MuxVersion::One, Command::Fin, 2, b"")).await;
    let (client, server) = sessions(memory_pair(1000), settings(MuxVersion::One));
    let refused = server.open().unwrap();
    assert_eq!(timeout(PATIENCE, refused.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    assert!(client.end().is_none() && client.streams() == 0);
}

/// It reads none of the refusals.
#[tokio::test]
async fn a_peer_that_opens_streams_without_end_is_not_read_without_end() {
    let (a, b) = memory_pair(8000);
    let server = MuxSession::server(b, settings(MuxVersion::Two));
    let mut opened = 0_u32;
    let frames = |from: u32| -> Vec<u8> {
        (from..from + 1000)
            .flat_map(|n| frame(MuxVersion::Two, Command::Syn, 2 * n + 3, b""))
            .collect()
    };
    while timeout(Duration::from_millis(100), a.write_all(&frames(opened))).await.is_ok() {
        opened += 1000;
        assert!(opened < 1_000_000, "streams are refused without end");
    }
    assert!(opened as usize * HEADER > 8000);
    assert!(server.streams() <= BACKLOG && server.end().is_none());
    // As soon as it reads, it is read.
    let mut buffer = [0; 4096];
    let reads = async {
        let mut refused = 0;
        while refused < opened as usize - BACKLOG {
            refused += a.read(&mut buffer).await.unwrap() / HEADER;
        }
    };
    timeout(PATIENCE, reads).await.unwrap();
}

/// What they say waits for the carrier, and they for that.
#[tokio::test]
async fn streams_that_come_and_go_while_nobody_reads_are_as_many_as_may_be() {
    let (a, _b) = memory_pair(100);
    let client = MuxSession::client(a, settings(MuxVersion::One));
    let opened = (0..5000).take_while(|_| client.open().is_ok()).count();
    assert!((MAX_STREAMS..MAX_STREAMS + 10).contains(&opened), "{opened}");
}
