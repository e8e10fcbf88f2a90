//! What a session sends, and what it does with what it receives, byte by byte.

use std::{io::IoSlice, sync::Arc, time::Duration};

use rtun_proto::mux::{Command, FrameError, HEADER, header, update_frame};
use rtun_settings::{MuxSettings, MuxVersion};
use rtun_transport::{
    Stream,
    mux::{MuxError, MuxSession},
};
use tokio::time::timeout;

use crate::{VERSIONS, battery::pattern, memory_pair, settings};

/// More than what is waited for when the clock is the test's own.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn frame(version: MuxVersion, command: Command, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    [&header(version, command, length, id)[..], payload].concat()
}

pub(crate) async fn expect(stream: &dyn Stream, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    timeout(PATIENCE, stream.read_exact(&mut got)).await.expect("bytes come").unwrap();
    assert_eq!(got, expected);
}

async fn at_end(stream: &dyn Stream) {
    let read = timeout(PATIENCE, stream.read(&mut [0; 100])).await.expect("the end comes");
    assert_eq!(read.unwrap(), 0);
}

#[tokio::test]
async fn a_client_opens_writes_and_ends() {
    for version in VERSIONS {
        let (a, b) = memory_pair(1 << 20);
        let session = MuxSession::client(a, MuxSettings { max_frame: 4, ..settings(version) });
        let first = session.open().unwrap();
        let second = session.open().unwrap();
        expect(&*b, &frame(version, Command::Syn, 3, b"")).await;
        expect(&*b, &frame(version, Command::Syn, 5, b"")).await;
        let pieces = [&b"ab"[..], b"", b"cdefg", b"h", b"i"].map(IoSlice::new);
        assert_eq!(first.try_write_vectored(&pieces).unwrap(), 9);
        for part in [&b"abcd"[..], b"efgh", b"i"] {
            expect(&*b, &frame(version, Command::Psh, 3, part)).await;
        }
        assert_eq!(first.try_write(b"").unwrap(), 0);
        second.shutdown().await.unwrap();
        expect(&*b, &frame(version, Command::Fin, 5, b"")).await;
        second.shutdown().await.unwrap();
        drop(second);
        drop(first);
        expect(&*b, &frame(version, Command::Fin, 3, b"")).await;
        assert_eq!(session.streams(), 0);
        drop(session);
        at_end(&*b).await;
    }
}

#[tokio::test]
async fn a_server_tells_what_it_has_read_at_the_first_and_each_half_window() {
    let (a, b) = memory_pair(1 << 20);
    let settings = MuxSettings { stream_buffer: 1000, ..settings(MuxVersion::Two) };
    let session = MuxSession::server(b, settings);
    a.write_all(&frame(MuxVersion::Two, Command::Syn, 3, b"")).await.unwrap();
    let stream = session.accept().await.unwrap().unwrap();
    let mut got = [0; 2000];
    for (sent, reported) in
        [(1, Some(1)), (499, None), (1, Some(501)), (999, Some(1500)), (499, None)]
    {
        a.write_all(&frame(MuxVersion::Two, Command::Psh, 3, &pattern(sent, 3))).await.unwrap();
        stream.read_exact(&mut got[..sent]).await.unwrap();
        assert_eq!(got[..sent], pattern(sent, 3));
        if let Some(reported) = reported {
            expect(&*a, &update_frame(3, reported, 1000)).await;
        }
    }
    drop(stream);
    expect(&*a, &frame(MuxVersion::Two, Command::Fin, 3, b"")).await;
}

#[tokio::test]
async fn a_writer_keeps_to_the_window_it_is_told() {
    let (a, b) = memory_pair(1 << 20);
    let session =
        MuxSession::client(a, MuxSettings { max_frame: 65_535, ..settings(MuxVersion::Two) });
    let stream = session.open().unwrap();
    expect(&*b, &frame(MuxVersion::Two, Command::Syn, 3, b"")).await;
    let chunk = pattern(300_000, 3);
    let mut sent = 0;
    while let Ok(written) = stream.try_write(&chunk[sent..]) {
        sent += written;
    }
    assert_eq!(sent, 262_144);
    let waits = async { stream.writable().await };
    assert!(timeout(Duration::from_millis(50), waits).await.is_err());
    stream.flush().await.unwrap();
    b.write_all(&update_frame(3, 262_100, 50)).await.unwrap();
    timeout(PATIENCE, stream.writable()).await.unwrap().unwrap();
    assert_eq!(stream.try_write(&chunk[sent..]).unwrap(), 6);
    // Less than is in flight already, then no more than was announced.
    b.write_all(&update_frame(3, 262_150, 0)).await.unwrap();
    b.write_all(&update_frame(3, 262_149, 1000)).await.unwrap();
    b.write_all(&frame(MuxVersion::Two, Command::Psh, 3, b"x")).await.unwrap();
    expect(&*stream, b"x").await;
    assert!(stream.try_write(&chunk).is_err());
    assert!(session.end().is_none());
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_session_with_its_name() {
    let two = MuxVersion::Two;
    let flood: Vec<u8> = (0..5).flat_map(|_| frame(two, Command::Psh, 3, &[7; 60_000])).collect();
    let cases: [(&str, Vec<u8>); 6] = [
        ("unknown command 5", vec![2, 5, 0, 0, 3, 0, 0, 0]),
        ("a frame of version 1 in a session of version 2", vec![1; HEADER]),
        ("a frame of version 72 in a session of version 2", b"HTTP/1.1 400 Bad Request".to_vec()),
        ("a payload of 1 bytes with the command Fin", vec![2, 1, 1, 0, 3, 0, 0, 0]),
        ("exceeded the window of stream 3", flood),
        ("read more of stream 3 than was sent", update_frame(3, 1, 1000).to_vec()),
    ];
    for (expected, bytes) in cases {
        let (a, b) = memory_pair(1 << 20);
        let session = MuxSession::server(b, settings(two));
        a.write_all(&frame(two, Command::Syn, 3, b"")).await.unwrap();
        let stream = session.accept().await.unwrap().unwrap();
        a.write_all(&bytes).await.unwrap();
        let error = timeout(PATIENCE, session.accept()).await.unwrap().unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(session.accept().await.unwrap().is_none());
        assert!(session.end().is_some() && session.open().is_err());
        assert!(stream.write_all(b"more").await.is_err());
        let reported = loop {
            match stream.read(&mut [0; 65_536]).await {
                Ok(read) => assert_ne!(read, 0, "an end where there is none"),
                Err(error) => break error,
            }
        };
        assert!(reported.to_string().contains(expected), "{reported}");
        // Once what was said before is read.
        while a.read(&mut [0; 100]).await.unwrap() > 0 {}
    }
    let (a, b) = memory_pair(1000);
    let session = MuxSession::server(b, settings(MuxVersion::One));
    a.write_all(&[1, 4, 8, 0, 3, 0, 0, 0]).await.unwrap();
    let error = session.accept().await.unwrap_err();
    assert!(matches!(error, MuxError::Frame(FrameError::Command(4))), "{error}");
}

#[tokio::test]
async fn an_end_of_the_carrier_ends_the_session() {
    for version in VERSIONS {
        let (a, b) = memory_pair(1000);
        let session = MuxSession::server(b, settings(version));
        let bytes = [
            frame(version, Command::Syn, 3, b""),
            frame(version, Command::Syn, 5, b""),
            frame(version, Command::Psh, 3, b"last words"),
            frame(version, Command::Psh, 5, b"last words"),
            frame(version, Command::Fin, 5, b""),
        ];
        a.write_all(&bytes.concat()).await.unwrap();
        drop(a);
        let cut = session.accept().await.unwrap().unwrap();
        let ended = session.accept().await.unwrap().unwrap();
        assert!(session.accept().await.unwrap().is_none());
        for stream in [&cut, &ended] {
            expect(&**stream, b"last words").await;
        }
        let error = cut.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(error.to_string(), "the other side ended the connection");
        at_end(&*ended).await;
    }
}

#[tokio::test]
async fn streams_that_are_none_of_ours_are_let_be() {
    for version in VERSIONS {
        let (a, b) = memory_pair(10_000);
        let session = MuxSession::server(b, settings(version));
        let mut bytes = [
            frame(version, Command::Psh, 9, b"to nobody"),
            frame(version, Command::Fin, 9, b""),
            frame(version, Command::Nop, 9, b""),
            frame(version, Command::Syn, 3, b""),
            frame(version, Command::Syn, 3, b""),
            frame(version, Command::Psh, 3, b"one"),
            frame(version, Command::Psh, 3, b""),
            frame(version, Command::Fin, 3, b""),
            frame(version, Command::Psh, 3, b"behind the end"),
        ]
        .concat();
        if version == MuxVersion::Two {
            bytes.extend(update_frame(9, 1, 1));
        }
        a.write_all(&bytes).await.unwrap();
        let stream = session.accept().await.unwrap().unwrap();
        expect(&*stream, b"one").await;
        at_end(&*stream).await;
        let again = timeout(Duration::from_millis(20), session.accept()).await;
        assert!(again.is_err(), "one stream was opened");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_shows_that_it_is_there_and_expects_the_same() {
    for version in VERSIONS {
        let (a, b) = memory_pair(1000);
        let settings = MuxSettings {
            keepalive: Some(Duration::from_secs(10)),
            keepalive_timeout: Duration::from_secs(25),
            ..settings(version)
        };
        let start = tokio::time::Instant::now();
        let session = MuxSession::client(a, settings);
        let stream = session.open().unwrap();
        expect(&*b, &frame(version, Command::Syn, 3, b"")).await;
        expect(&*b, &frame(version, Command::Nop, 0, b"")).await;
        assert_eq!(start.elapsed().as_secs(), 10);
        b.write_all(&frame(version, Command::Nop, 0, b"")).await.unwrap();
        expect(&*b, &frame(version, Command::Nop, 0, b"")).await;
        let error = stream.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.to_string(), "the other side was silent for 25 s");
        assert_eq!(start.elapsed().as_secs(), 35);
        assert!(matches!(session.end(), Some(MuxError::Silent(_))));
        expect(&*b, &frame(version, Command::Nop, 0, b"")).await;
        at_end(&*b).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_keepalive_silence_is_no_end() {
    let (a, b) = memory_pair(1000);
    let session =
        MuxSession::client(a, MuxSettings { keepalive: None, ..settings(MuxVersion::One) });
    tokio::time::sleep(Duration::from_secs(10_000)).await;
    assert!(session.end().is_none());
    assert!(b.try_read(&mut [0; 1]).is_err(), "nothing was said");
}

/// A session that is not read for want of room is not dead.
#[tokio::test(start_paused = true)]
async fn a_full_receive_buffer_is_no_silence() {
    let (a, b) = memory_pair(1000);
    let session =
        MuxSession::server(b, MuxSettings { receive_buffer: 10, ..settings(MuxVersion::One) });
    a.write_all(&frame(MuxVersion::One, Command::Syn, 3, b"")).await.unwrap();
    a.write_all(&frame(MuxVersion::One, Command::Psh, 3, &[1; 20])).await.unwrap();
    let stream: Arc<dyn Stream> = session.accept().await.unwrap().unwrap();
    a.write_all(&frame(MuxVersion::One, Command::Nop, 0, b"")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert!(session.end().is_none());
    expect(&*stream, &[1; 20]).await;
    stream.read(&mut [0; 1]).await.unwrap_err();
    assert!(matches!(session.end(), Some(MuxError::Silent(_))));
}

/// The bytes of `proto`'s fixture, written as two hexadecimal digits each.
fn hex(text: &str) -> Vec<u8> {
    let digits = text.split([' ', '|', '\n']).filter(|digits| !digits.is_empty());
    digits.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// Given what one end of smux 1.5.31 said, ours says the same as its other end did.
#[tokio::test]
async fn either_end_of_a_recorded_session_can_be_ours() {
    macro_rules! recorded {
        ($name:literal) => {
            hex(include_str!(concat!("../../../proto/tests/fixtures/smux/", $name, ".hex")))
        };
    }
    let sessions = [
        (MuxVersion::One, recorded!("version-1-client"), recorded!("version-1-server")),
        (MuxVersion::Two, recorded!("version-2-client"), recorded!("version-2-server")),
    ];
    let bytes: Vec<u8> = (0..10).collect();
    for (version, client, server) in sessions {
        let (a, b) = memory_pair(1000);
        let session = MuxSession::client(a, settings(version));
        let stream = session.open().unwrap();
        stream.write_all(&bytes).await.unwrap();
        let (before, end) = server.split_at(server.len() - HEADER);
        b.write_all(before).await.unwrap();
        expect(&*stream, &bytes).await;
        b.write_all(end).await.unwrap();
        at_end(&*stream).await;
        session.release();
        let closed = stream.close(PATIENCE);
        let read = async {
            expect(&*b, &client).await;
            at_end(&*b).await;
            b.shutdown().await.unwrap();
        };
        tokio::join!(closed, read).0.unwrap();

        let (a, b) = memory_pair(1000);
        let session = MuxSession::server(b, settings(version));
        let (question, rest) = client.split_at(2 * HEADER + bytes.len());
        a.write_all(question).await.unwrap();
        let stream = session.accept().await.unwrap().unwrap();
        expect(&*stream, &bytes).await;
        stream.write_all(&bytes).await.unwrap();
        a.write_all(rest).await.unwrap();
        at_end(&*stream).await;
        drop(stream);
        let read = async {
            expect(&*a, &server).await;
            at_end(&*a).await;
            a.shutdown().await.unwrap();
        };
        tokio::join!(session.shutdown(PATIENCE), read);
    }
}
