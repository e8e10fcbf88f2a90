//! Unauthenticated peers: they connect over any transport, and send no request, or one written by hand.

use std::{io, sync::Arc, time::Duration};

use rtun_settings::{
    DialTls, GrpcSettings, Http2Settings, MuxSettings, MuxVersion, QuicSettings, SocketOptions,
    Verification, WebSocketSettings,
};
use rtun_tls::Connector;
use rtun_transport::{Stream, grpc, http2, mux::MuxSession, names::ResolvedAddr, quic, tcp, ws};

use super::{HUB, SOON, raw::request};

/// A stream to this port of the hub on which a host would ask to join now. Has to be called within a tokio runtime.
pub async fn connect(transport: &str, port: u16) -> io::Result<Arc<dyn Stream>> {
    let addr = ResolvedAddr::from(super::at(HUB, port));
    let options = SocketOptions::default();
    if transport == "quic" {
        let (tls, _) = connector().quic_config().map_err(io::Error::other)?;
        let (tls, quic) = (Arc::new(tls), QuicSettings::default());
        let stream = quic::connect(&addr, HUB, tls, &quic, &options, SOON).await;
        return Ok(stream.map_err(io::Error::other)?);
    }
    let stream = tcp::connect(&addr, &options, None, SOON).await.map_err(io::Error::other)?;
    let mut stream: Arc<dyn Stream> = Arc::new(stream);
    let is_tls = matches!(transport, "tls" | "wss" | "mtls" | "mwss" | "h2" | "grpc");
    if is_tls {
        let connector = match transport {
            "h2" | "grpc" => connector_for(&["h2"]),
            _ => connector(),
        };
        stream = rtun_transport::tls::connect(&connector, stream, HUB)
            .await
            .map_err(io::Error::other)?
            .stream;
    }
    let addr = &addr.addr;
    match transport {
        "h2" | "h2c" => {
            let settings = Http2Settings::default();
            let connected = http2::connect(stream, &settings, addr, is_tls).await;
            return connected.map_err(io::Error::other);
        }
        "grpc" => {
            let settings = GrpcSettings::default();
            let connected = grpc::connect(stream, &settings, addr, is_tls).await;
            return connected.map_err(io::Error::other);
        }
        _ => {}
    }
    if matches!(transport, "ws" | "wss" | "mws" | "mwss") {
        let settings = WebSocketSettings::default();
        stream = ws::connect(stream, &settings, addr).await.map_err(io::Error::other)?;
    }
    if matches!(transport, "mtcp" | "mtls" | "mws" | "mwss") {
        let version = if transport == "mtcp" { MuxVersion::Two } else { MuxVersion::One };
        let settings = MuxSettings { version, ..Default::default() };
        let session = MuxSession::client(stream, settings);
        stream = session.open().map_err(io::Error::other)?;
        session.release();
    }
    Ok(stream)
}

/// Waits until the other side ends this, whatever it says before.
pub async fn ended(stream: &dyn Stream) {
    let mut buffer = [0; 4096];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}

/// The same for at most this time; whether it ended.
pub async fn ends_within(stream: &dyn Stream, limit: Duration) -> bool {
    tokio::time::timeout(limit, ended(stream)).await.is_ok()
}

fn connector() -> Connector {
    connector_for(&[])
}

fn connector_for(protocols: &[&str]) -> Connector {
    let tls = DialTls { verification: Verification::Off, ..Default::default() };
    Connector::new(&tls, protocols).unwrap()
}

/// Asks to join as this host; whether the hub admits it.
pub async fn join(stream: &dyn Stream, host: &str, router_id: [u8; 16]) -> io::Result<bool> {
    stream.write_all(&request(host, router_id)).await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let mut features = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
    stream.read_exact(&mut features).await?;
    Ok(head[1] == 0)
}
