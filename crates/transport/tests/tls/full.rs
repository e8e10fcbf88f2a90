//! What is written in full becomes full records, whatever layer is between.

use std::sync::Arc;

use rtun_tls::Protocol;
use rtun_transport::{
    Stream, grpc, http2, memory,
    mux::{self, Version},
    ws,
};

use super::{
    battery::pattern,
    pinned_pair, soon,
    tap::{Tap, Written},
};

const LEN: usize = 1 << 20;
/// Content, its type and a tag.
const FULL: usize = 16_384 + 1 + 16;

/// What is between TLS and whoever writes.
#[derive(Debug, Clone, Copy)]
enum Layers {
    None,
    WebSocket,
    Mux(Version),
    MuxOnWebSocket,
    Http2,
    Grpc,
}

/// Lengths of the records from `skip` bytes on.
fn records(written: &Written, skip: usize) -> Vec<usize> {
    let bytes = written.bytes();
    let mut rest = &bytes[skip..];
    let mut lengths = Vec::new();
    while let [23, 3, 3, high, low, behind @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        lengths.push(len);
        rest = &behind[len..];
    }
    assert!(rest.is_empty());
    lengths
}

/// One end of a stream, what keeps it, and what its TLS writes.
type End = (Arc<dyn Stream>, Option<Box<dyn std::any::Any>>, Written);

async fn ends(layers: Layers) -> [End; 2] {
    let (connector, acceptor) = pinned_pair(&Protocol::default());
    let (client, server) = memory::pair(4 << 20);
    let (client, client_wrote) = Tap::on(Arc::new(client));
    let (server, server_wrote) = Tap::on(Arc::new(server));
    let connect = rtun_transport::tls::connect(&connector, client, "gost.run");
    let (client, server) = tokio::join!(connect, rtun_transport::tls::accept(&acceptor, server));
    let (mut client, mut server) = (client.unwrap().stream, server.unwrap().stream);
    let mut kept: Option<Box<dyn std::any::Any>> = None;
    if let Layers::WebSocket | Layers::MuxOnWebSocket = layers {
        let settings = ws::ClientSettings { host: "hub".into(), ..Default::default() };
        let serving = ws::ServerSettings::default();
        let (connected, accepted) =
            tokio::join!(ws::connect(client, &settings), ws::accept(server, &serving));
        (client, server) = (connected.unwrap(), accepted.unwrap().0);
    }
    let version = match layers {
        Layers::Mux(version) => Some(version),
        Layers::MuxOnWebSocket => Some(Version::One),
        _ => None,
    };
    if let Some(version) = version {
        let settings = mux::Settings { version, ..mux::Settings::default() };
        let session = mux::Session::client(client, settings);
        let accepting = mux::Session::server(server, settings);
        client = session.open().unwrap();
        server = accepting.accept().await.unwrap().unwrap();
        session.release();
        kept = Some(Box::new(accepting));
    }
    if let Layers::Http2 | Layers::Grpc = layers {
        let (connected, mut serving) = match layers {
            Layers::Grpc => {
                let serving = grpc::serve(server, &grpc::ServerSettings::default());
                let settings = grpc::ClientSettings { host: "hub".into(), ..Default::default() };
                (tokio::spawn(async move { grpc::connect(client, &settings).await }), serving)
            }
            _ => {
                let serving = http2::serve(server, &http2::ServerSettings::default());
                let settings = http2::ClientSettings { host: "hub:1".into(), ..Default::default() };
                (tokio::spawn(async move { http2::connect(client, &settings).await }), serving)
            }
        };
        server = serving.next().await.unwrap().unwrap().0;
        client = connected.await.unwrap().unwrap();
        kept = Some(Box::new(serving));
    }
    // Windows and such are settled with the first bytes.
    let first = pattern(20_000, 3);
    for (from, to) in [(&client, &server), (&server, &client)] {
        let mut received = vec![0; first.len()];
        let (written, read) = tokio::join!(from.write_all(&first), to.read_exact(&mut received));
        written.unwrap();
        read.unwrap();
    }
    [(client, None, client_wrote), (server, kept, server_wrote)]
}

#[tokio::test]
async fn a_megabyte_is_as_many_records_as_it_fills() {
    let sent = pattern(LEN, 5);
    for layers in [
        Layers::None,
        Layers::WebSocket,
        Layers::Mux(Version::One),
        Layers::Mux(Version::Two),
        Layers::MuxOnWebSocket,
        Layers::Http2,
        Layers::Grpc,
    ] {
        let [client, server] = ends(layers).await;
        for ((from, _, wrote), (to, ..)) in [(&client, &server), (&server, &client)] {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            let before = wrote.bytes().len();
            let mut received = vec![0; LEN];
            let both = async { tokio::join!(from.write_all(&sent), to.read_exact(&mut received)) };
            let (written, read) = soon(both).await;
            written.unwrap();
            read.unwrap();
            assert!(received == sent);
            let lengths = records(wrote, before);
            let (full, rest): (Vec<usize>, Vec<usize>) =
                lengths.iter().partition(|&&len| len + 16 >= FULL);
            // The last of it, and where a window of the other side's ends.
            let windows = match layers {
                Layers::Mux(Version::Two) => LEN.div_ceil(64 * 1024),
                Layers::Http2 | Layers::Grpc => LEN.div_ceil(http2::REQUEST_WINDOW as usize),
                _ => 0,
            };
            assert!(full.len() >= LEN / 16_384 - 2, "{layers:?}: {lengths:?}");
            assert!(rest.len() <= 4 + windows, "{layers:?}: beside full records {rest:?}");
        }
    }
}
