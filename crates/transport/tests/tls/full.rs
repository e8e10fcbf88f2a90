//! What is written in full becomes full records, whatever layer is between.

use std::sync::Arc;

use rtun_settings::{GrpcSettings, Http2Settings, MuxSettings, MuxVersion, WebSocketSettings};
use rtun_transport::{Stream, grpc, http2, memory, mux::MuxSession, ws};

use super::{
    battery::pattern,
    off, pinned_pair, soon,
    tap::{Tap, Written},
};

const LEN: usize = 1 << 20;
/// Content, its type and a tag.
const FULL: usize = 16_384 + 1 + 16;

/// What is between TLS and the writer.
#[derive(Debug, Clone, Copy)]
enum Layers {
    None,
    WebSocket,
    Mux(MuxVersion),
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
    let (connector, acceptor) = pinned_pair(&off());
    let (client, server) = memory::pair(4 << 20);
    let (client, client_wrote) = Tap::on(Arc::new(client));
    let (server, server_wrote) = Tap::on(Arc::new(server));
    let connect = rtun_transport::tls::connect(&connector, client, "gost.run");
    let (client, server) = tokio::join!(connect, rtun_transport::tls::accept(&acceptor, server));
    let (mut client, mut server) = (client.unwrap().stream, server.unwrap().stream);
    let mut kept: Option<Box<dyn std::any::Any>> = None;
    if let Layers::WebSocket | Layers::MuxOnWebSocket = layers {
        let settings = WebSocketSettings::default();
        let (connected, accepted) =
            tokio::join!(ws::connect(client, &settings, "hub"), ws::accept(server, &settings));
        (client, server) = (connected.unwrap(), accepted.unwrap().0);
    }
    let version = match layers {
        Layers::Mux(version) => Some(version),
        Layers::MuxOnWebSocket => Some(MuxVersion::One),
        _ => None,
    };
    if let Some(version) = version {
        let settings = MuxSettings { version, ..MuxSettings::default() };
        let session = MuxSession::client(client, settings);
        let accepting = MuxSession::server(server, settings);
        client = session.open().unwrap();
        server = accepting.accept().await.unwrap().unwrap();
        session.release();
        kept = Some(Box::new(accepting));
    }
    if let Layers::Http2 | Layers::Grpc = layers {
        let (connected, mut serving) = match layers {
            Layers::Grpc => {
                let settings = GrpcSettings::default();
                let serving = grpc::serve(server, &settings);
                let connecting = async move { grpc::connect(client, &settings, "hub", true).await };
                (tokio::spawn(connecting), serving)
            }
            _ => {
                let settings = Http2Settings::default();
                let serving = http2::serve(server, &settings);
                let connecting =
                    async move { http2::connect(client, &settings, "hub:1", true).await };
                (tokio::spawn(connecting), serving)
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
        Layers::Mux(MuxVersion::One),
        Layers::Mux(MuxVersion::Two),
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
                Layers::Mux(MuxVersion::Two) => LEN.div_ceil(64 * 1024),
                Layers::Http2 | Layers::Grpc => LEN.div_ceil(http2::REQUEST_WINDOW as usize),
                _ => 0,
            };
            assert!(full.len() >= LEN / 16_384 - 2, "{layers:?}: {lengths:?}");
            assert!(rest.len() <= 4 + windows, "{layers:?}: besides full records: {rest:?}");
        }
    }
}
