//! Other sides that ask for more than they should, by quinn itself.

use std::{sync::Arc, time::Duration};

use quinn::{ClientConfig, Connection, Endpoint, crypto::rustls::QuicClientConfig};
use rtun_settings::QuicSettings;
use rtun_transport::Stream;
use tokio::time::timeout;

use super::{
    certificates::NAME,
    pair::{Server, as_stream, server_with},
};

const SHORT: Duration = Duration::from_millis(200);

/// A connection of a client that is not rtun's.
async fn foreign_client(server: &Server) -> (Connection, rtun_transport::quic::QuicConnection) {
    let mut tls = Arc::unwrap_or_clone(server.ca.client());
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = server.listener.local_addr().unwrap();
    let connecting = endpoint.connect_with(config, addr, NAME).unwrap();
    let (connection, accepted) = tokio::join!(connecting, server.accept());
    (connection.unwrap(), accepted)
}

#[tokio::test]
async fn streams_beyond_the_bound_are_held_back_until_others_are_gone() {
    const BOUND: u32 = 3;
    let server = server_with(&QuicSettings { max_streams: Some(BOUND), ..QuicSettings::default() });
    let (client, connection) = foreign_client(&server).await;
    let mut opened = Vec::new();
    while let Ok(ends) = timeout(SHORT, client.open_bi()).await {
        let mut ends = ends.unwrap();
        ends.0.write_all(b"flood").await.unwrap();
        opened.push(ends);
    }
    assert_eq!(opened.len() as u32, BOUND);
    let mut accepted = Vec::new();
    while let Ok(stream) = timeout(SHORT, connection.accept_stream()).await {
        let stream = stream.unwrap().unwrap();
        as_stream(&stream).read_exact(&mut [0; 5]).await.unwrap();
        accepted.push(stream);
    }
    assert_eq!(accepted.len() as u32, BOUND);
    // Datagrams belong to the first.
    let having: Vec<_> = accepted.iter().map(|stream| stream.datagrams().is_some()).collect();
    assert_eq!(having, [true, false, false]);
    // One goes on both sides, another may come.
    drop((opened.pop(), accepted.pop()));
    timeout(Duration::from_secs(10), client.open_bi()).await.unwrap().unwrap();
}

#[tokio::test]
async fn streams_in_one_direction_are_not_taken() {
    let server = server_with(&QuicSettings::default());
    let (client, _connection) = foreign_client(&server).await;
    assert!(timeout(SHORT, client.open_uni()).await.is_err());
}

/// All streams together are held to the connection's window while nobody reads.
#[tokio::test]
async fn what_nobody_reads_is_bounded_over_all_streams() {
    let server = server_with(&QuicSettings::default());
    let (client, connection) = foreign_client(&server).await;
    let mut taken = 0;
    let mut opened = Vec::new();
    let flood = vec![0; 64 * 1024];
    for _ in 0..20 {
        let mut ends = client.open_bi().await.unwrap();
        while let Ok(written) = timeout(SHORT, ends.0.write(&flood)).await {
            taken += written.unwrap();
        }
        opened.push(ends);
    }
    let limit = rtun_transport::quic::CONNECTION_RECEIVE_WINDOW as usize;
    assert!(taken <= limit, "{taken} bytes of streams that nobody reads");
    assert!(taken > limit / 2, "{taken}");
    drop(connection);
}
