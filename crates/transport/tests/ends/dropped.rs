//! The drop of a source of streams is the end of all that belongs to it, at once.

use std::{sync::Arc, time::Duration};

use rtun_settings::{GrpcSettings, Http2Settings, MuxSettings, MuxVersion};
use rtun_transport::{Stream, grpc, http2, memory, mux};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout},
};

use super::others::{KINDS, Kind, PATIENCE, connection};

/// Whatever its peer does, and even while a stream is held.
#[tokio::test]
async fn a_source_that_is_dropped_is_gone_at_once() {
    for kind in KINDS {
        let (mut source, mut other) = connection(kind).await;
        let _opened = other.open(b"hello").await;
        let held = source.next().await.unwrap().unwrap();
        held.write_all(&[7; 100]).await.unwrap();
        drop(source);
        other.gone().await;
        let read = async {
            loop {
                match held.read(&mut [0; 100]).await {
                    Ok(0) => panic!("{kind:?}: an orderly end"),
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        };
        timeout(PATIENCE, read).await.unwrap();
        assert!(held.write_all(&[7; 100]).await.is_err(), "{kind:?}");
    }
}

/// Down to the descriptor: of a thousand that were turned out none is kept for a goodbye.
#[tokio::test]
async fn nothing_of_a_dropped_source_is_kept() {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for kind in KINDS.into_iter().filter(|kind| *kind != Kind::Quic) {
        let mut carriers = Vec::new();
        for _ in 0..100 {
            // The peer neither reads nor says anything.
            let (peer, below) = memory::pair(10);
            let below: Arc<dyn Stream> = Arc::new(below);
            carriers.push((peer, Arc::downgrade(&below)));
            match kind {
                Kind::Mux(version) => drop(session(below, version)),
                Kind::Http2 => drop(http2::serve(below, &Http2Settings::default())),
                _ => drop(grpc::serve(below, &GrpcSettings::default())),
            }
        }
        let dropped = Instant::now();
        while tasks() > before || carriers.iter().any(|(_, below)| below.strong_count() > 0) {
            assert!(dropped.elapsed() < Duration::from_secs(1), "{kind:?}");
            sleep(Duration::from_millis(1)).await;
        }
    }
}

fn session(below: Arc<dyn Stream>, version: MuxVersion) -> mux::MuxSession {
    mux::MuxSession::server(below, MuxSettings { version, ..MuxSettings::default() })
}

/// A client's stream owns what it stands on.
#[tokio::test]
async fn a_dialled_stream_that_is_dropped_takes_its_connection_with_it() {
    let (below, peer) = memory::pair(1 << 16);
    let below: Arc<dyn Stream> = Arc::new(below);
    let watched = Arc::downgrade(&below);
    let session = mux::MuxSession::client(below, MuxSettings::default());
    let streams: Vec<_> = (0..3).map(|_| session.open().unwrap()).collect();
    session.release();
    let mut left = streams.len();
    for stream in streams {
        assert_eq!(watched.strong_count() > 0, left > 0);
        stream.write_all(b"still there").await.unwrap();
        drop(stream);
        left -= 1;
    }
    assert_eq!(watched.strong_count(), 0);
    let read = async { while (&peer as &dyn Stream).read(&mut [0; 1000]).await.unwrap() > 0 {} };
    timeout(PATIENCE, read).await.unwrap();
}
