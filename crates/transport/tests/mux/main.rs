//! Sessions of several streams: the battery on both versions, what they do on the wire, their bounds, and a model.

#![allow(clippy::unwrap_used)]

#[path = "../battery/mod.rs"]
mod battery;
mod bounds;
mod model;
mod wire;

use std::{sync::Arc, time::Duration};

use rtun_settings::{ListenOptions, MuxSettings, MuxVersion, SocketOptions};
use rtun_transport::{
    Stream, memory,
    mux::MuxSession,
    tcp::{connect, listen, tune},
};

use tokio::time::timeout;

use self::battery::{Abilities, Ends, battery, pattern};

/// An end of either side ends a stream of this multiplexing.
const ABILITIES: Abilities = Abilities { half_close: false };

const VERSIONS: [MuxVersion; 2] = [MuxVersion::One, MuxVersion::Two];

fn settings(version: MuxVersion) -> MuxSettings {
    MuxSettings { version, ..MuxSettings::default() }
}

/// Two ends of a session on the ends of a stream.
fn sessions((a, b): Ends, settings: MuxSettings) -> (MuxSession, MuxSession) {
    (MuxSession::client(a, settings), MuxSession::server(b, settings))
}

/// The ends of the first stream of a session that nobody holds but they.
async fn only_stream(carrier: Ends, settings: MuxSettings) -> Ends {
    let (client, server) = sessions(carrier, settings);
    let a = client.open().unwrap();
    let b = server.accept().await.unwrap().unwrap();
    client.release();
    server.release();
    (a, b)
}

fn memory_pair(capacity: usize) -> Ends {
    let (a, b) = memory::pair(capacity);
    (Arc::new(a) as Arc<dyn Stream>, Arc::new(b) as _)
}

async fn tcp_pair() -> Ends {
    let listener = listen("127.0.0.1:0", &ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap().into();
    let client =
        connect(&address, &SocketOptions::default(), None, Duration::from_secs(10)).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    tune(&server).unwrap();
    (Arc::new(client) as Arc<dyn Stream>, Arc::new(server) as _)
}

#[tokio::test]
async fn a_stream_on_memory_passes() {
    for version in VERSIONS {
        battery(ABILITIES, async || only_stream(memory_pair(16 * 1024), settings(version)).await)
            .await;
    }
}

#[tokio::test]
async fn a_stream_on_a_narrow_carrier_passes() {
    for version in VERSIONS {
        let settings = MuxSettings { max_frame: 1000, ..settings(version) };
        battery(ABILITIES, async || only_stream(memory_pair(300), settings).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_on_tcp_passes() {
    for version in VERSIONS {
        battery(ABILITIES, async || only_stream(tcp_pair().await, settings(version)).await).await;
    }
}

/// A session carries a stream of another one.
#[tokio::test]
async fn a_stream_in_a_stream_passes() {
    battery(ABILITIES, async || {
        let outer = only_stream(memory_pair(16 * 1024), settings(MuxVersion::Two)).await;
        only_stream(outer, settings(MuxVersion::One)).await
    })
    .await;
}

/// Reads and writes of several streams at the same time on several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn streams_cross_on_several_threads() {
    const LENGTH: usize = 1_400_000;
    const CHUNK: usize = 70_000;
    async fn write(stream: Arc<dyn Stream>, seed: u8) {
        for _ in 0..LENGTH / CHUNK {
            stream.write_all(&pattern(CHUNK, seed)).await.unwrap();
        }
    }
    async fn read(stream: Arc<dyn Stream>, seed: u8) {
        let mut received = vec![0; CHUNK];
        for _ in 0..LENGTH / CHUNK {
            stream.read_exact(&mut received).await.unwrap();
            assert!(received == pattern(CHUNK, seed));
        }
    }
    // With plenty of room, and with so little that reading stops and goes on all the time.
    let rooms = [4 << 20, 10_000];
    for (version, receive_buffer) in VERSIONS.into_iter().flat_map(|v| rooms.map(|room| (v, room)))
    {
        let settings = MuxSettings { receive_buffer, ..settings(version) };
        let (client, server) = sessions(tcp_pair().await, settings);
        let mut tasks = tokio::task::JoinSet::new();
        for seed in 1..5 {
            let a = client.open().unwrap();
            let b = server.accept().await.unwrap().unwrap();
            tasks.spawn(write(Arc::clone(&a), seed));
            tasks.spawn(read(Arc::clone(&b), seed));
            tasks.spawn(write(b, seed + 100));
            tasks.spawn(read(a, seed + 100));
        }
        timeout(Duration::from_secs(60), tasks.join_all()).await.expect("all cross");
        assert!(client.end().is_none() && server.end().is_none());
    }
}
