//! The orderly end of connections: what is said on the wire, and by when the socket is closed.

use std::{sync::Arc, time::Duration};

use rtun_proto::mux::{Command, HEADER, header};
use rtun_settings::{GrpcSettings, Http2Settings, MuxSettings, MuxVersion};
use rtun_transport::{Stream, grpc, http2, mux};
use tokio::time::{Instant, timeout};

use super::{
    others::{KINDS, PATIENCE, Source, connection, tcp_pair},
    tap::Tap,
};

const WITHIN: Duration = Duration::from_secs(1);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;

/// The close of one stream is nothing to the others; with the owner's goodbye the connection is over.
#[tokio::test]
async fn streams_are_closed_one_by_one_and_then_the_connection() {
    for kind in KINDS {
        let (mut source, mut other) = connection(kind).await;
        let mut streams = Vec::new();
        let mut opened = Vec::new();
        for _ in 0..3 {
            opened.push(other.open(b"hello").await);
            let stream = source.next().await.unwrap().unwrap();
            stream.read_exact(&mut [0; 5]).await.unwrap();
            streams.push(stream);
        }
        while let Some(stream) = streams.pop() {
            // The other side does not answer: that is waited for no longer than it may take.
            let _ = stream.close(Duration::from_millis(20)).await;
            drop((stream, opened.pop()));
            for left in &streams {
                left.write_all(b"still there").await.unwrap_or_else(|error| {
                    panic!("{kind:?}: one stream's close ends another: {error}")
                });
            }
        }
        let start = Instant::now();
        source.shutdown(WITHIN).await;
        other.gone().await;
        assert!(start.elapsed() < WITHIN * 2, "{kind:?}: {:?}", start.elapsed());
    }
}

/// A shutdown waits for streams that are in use, and for no longer than it may take.
#[tokio::test]
async fn a_shutdown_is_bounded() {
    const SHORT: Duration = Duration::from_millis(200);
    for kind in KINDS {
        let (mut source, mut other) = connection(kind).await;
        let _opened = other.open(b"hello").await;
        let stream = source.next().await.unwrap().unwrap();
        let start = Instant::now();
        source.shutdown(SHORT).await;
        assert!((SHORT..SHORT * 5).contains(&start.elapsed()), "{kind:?}: {:?}", start.elapsed());
        other.gone().await;
        let fails = async { while stream.write_all(b"more").await.is_ok() {} };
        timeout(PATIENCE, fails).await.unwrap_or_else(|_| panic!("{kind:?}: the stream is over"));
    }
}

#[tokio::test]
async fn smux_says_fin_and_ends_the_stream_below() {
    for version in [MuxVersion::One, MuxVersion::Two] {
        let settings = MuxSettings { version, ..MuxSettings::default() };
        let (client, server) = tcp_pair().await;
        let (client, said) = Tap::on(Arc::new(client));
        let session = mux::MuxSession::client(client, settings);
        let hub = mux::MuxSession::server(Arc::new(server), settings);
        let stream = session.open().unwrap();
        session.release();
        stream.write_all(b"packet").await.unwrap();
        let accepted = hub.accept().await.unwrap().unwrap();
        let serving = async {
            accepted.read_exact(&mut [0; 6]).await.unwrap();
            assert_eq!(accepted.read(&mut [0; 6]).await.unwrap(), 0);
            accepted.close(WITHIN).await.unwrap();
            drop(accepted);
            hub.shutdown(WITHIN).await;
        };
        let start = Instant::now();
        let (closed, ()) = tokio::join!(stream.close(WITHIN), serving);
        closed.unwrap();
        assert!(start.elapsed() < WITHIN);
        assert!(said.bytes().ends_with(&header(version, Command::Fin, 0, 3)));
        assert!(said.bytes().len() >= 3 * HEADER + 6);
    }
}

/// Both sides of a connection for one request or call say that it ends, then that the connection does.
#[tokio::test]
async fn http2_and_grpc_end_their_streams_and_go_away() {
    for is_grpc in [false, true] {
        let (client, server) = tcp_pair().await;
        let (client, client_said) = Tap::on(Arc::new(client));
        let (server, server_said) = Tap::on(Arc::new(server));
        let (connecting, mut server): (_, http2::Server) = match is_grpc {
            true => {
                let settings = GrpcSettings::default();
                let server = grpc::serve(server, &settings);
                (grpc::connect(client, &settings, "hub.example", false).await, server)
            }
            false => {
                let settings = Http2Settings::default();
                let mut server = http2::serve(server, &settings);
                let connecting = http2::connect(client, &settings, "hub.example:443", false);
                let (connected, accepted) = tokio::join!(connecting, server.next());
                serve_one(&client_said, accepted.unwrap().unwrap().0, connected.unwrap(), server)
                    .await;
                check_http2(&client_said.http2_frames(24), &server_said.http2_frames(0), false);
                continue;
            }
        };
        let client = connecting.unwrap();
        let accepted = server.next().await.unwrap().unwrap().0;
        serve_one(&client_said, accepted, client, server).await;
        check_http2(&client_said.http2_frames(24), &server_said.http2_frames(0), true);
    }
}

/// Says something each way, then has the client leave.
async fn serve_one(
    client_said: &super::tap::Written,
    accepted: Arc<dyn Stream>,
    client: Arc<dyn Stream>,
    server: http2::Server,
) {
    let serving = async {
        accepted.write_all(b"answer").await.unwrap();
        accepted.read_exact(&mut [0; 6]).await.unwrap();
        assert_eq!(accepted.read(&mut [0; 6]).await.unwrap(), 0);
        accepted.close(WITHIN).await.unwrap();
        drop(accepted);
        server.shutdown(WITHIN).await;
    };
    let leaving = async {
        client.write_all(b"packet").await.unwrap();
        client.read_exact(&mut [0; 6]).await.unwrap();
        client.close(WITHIN).await.unwrap();
    };
    let start = Instant::now();
    timeout(PATIENCE, async { tokio::join!(serving, leaving) }).await.unwrap();
    assert!(start.elapsed() < WITHIN, "{:?}", start.elapsed());
    assert!(!client_said.bytes().is_empty());
}

fn check_http2(client: &[(u8, u8, Vec<u8>)], server: &[(u8, u8, Vec<u8>)], is_grpc: bool) {
    let ends = |frames: &[(u8, u8, Vec<u8>)], kind| {
        frames.iter().any(|(found, flags, _)| *found == kind && flags & END_STREAM != 0)
    };
    assert!(ends(client, DATA), "{client:?}");
    // A call ends with its status in trailers.
    assert!(ends(server, if is_grpc { HEADERS } else { DATA }), "{server:?}");
    for frames in [client, server] {
        let goodbye = frames.iter().rfind(|(kind, ..)| *kind == GOAWAY);
        let (_, _, payload) = goodbye.unwrap_or_else(|| panic!("no GOAWAY: {frames:?}"));
        assert_eq!(payload[4..8], [0; 4], "NO_ERROR");
    }
}

/// A client of several streams whose session is left to them.
#[tokio::test]
async fn the_last_streams_close_ends_a_session_that_is_left_to_its_streams() {
    let (client, server) = tcp_pair().await;
    let session = mux::MuxSession::client(Arc::new(client), MuxSettings::default());
    let mut hub = Source::Mux(mux::MuxSession::server(Arc::new(server), MuxSettings::default()));
    let streams: Vec<_> = (0..3).map(|_| session.open().unwrap()).collect();
    session.release();
    let mut accepted = Vec::new();
    for stream in &streams {
        stream.write_all(b"!").await.unwrap();
        accepted.push(hub.next().await.unwrap().unwrap());
    }
    let serving = tokio::spawn(async move {
        for stream in accepted {
            stream.read_exact(&mut [0; 1]).await.unwrap();
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        }
        // The session and the stream below end without this side's doing.
        let end = hub.next().await;
        assert!(matches!(end, Ok(None)), "an orderly end");
        Instant::now()
    });
    let mut last = Instant::now();
    for stream in streams {
        last = Instant::now();
        stream.close(WITHIN).await.unwrap();
    }
    let ended = timeout(PATIENCE, serving).await.unwrap().unwrap();
    assert!(ended - last < WITHIN);
}
