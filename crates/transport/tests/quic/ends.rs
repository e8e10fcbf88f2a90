//! How streams and connections end.

use std::{io, time::Duration};

use rtun_settings::QuicSettings;
use tokio::time::{sleep, timeout};

use super::{
    battery::pattern,
    pair::{PATIENCE, as_stream, first_stream, pair, server, server_with},
};

/// Though the stream is dropped at once, and its connection.
#[tokio::test]
async fn what_was_written_before_a_shutdown_has_arrived_by_then() {
    let server = server();
    let (client, accepted, connection) = pair(&server).await;
    let answer = pattern(200_000, 3);
    as_stream(&accepted).write_all(&answer).await.unwrap();
    as_stream(&accepted).shutdown().await.unwrap();
    drop((accepted, connection));
    let mut received = vec![0; answer.len()];
    as_stream(&client).read_exact(&mut received).await.unwrap();
    assert!(received == answer);
    assert_eq!(as_stream(&client).read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn an_end_of_the_dialler_ends_the_accepted_connection() {
    let server = server();
    let settings = QuicSettings::default();
    let (client, connection) = tokio::join!(server.dial(&settings), server.accept());
    let client = client.unwrap();
    let accepted = first_stream(&client, &connection).await;
    drop(client);
    assert!(timeout(PATIENCE, connection.accept_stream()).await.unwrap().unwrap().is_none());
    let error = as_stream(&accepted).read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let error = as_stream(&accepted).write_all(b"more").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

/// One stream of a connection can end while the others stay.
#[tokio::test]
async fn a_stream_that_is_dropped_is_reset_and_its_connection_lives() {
    let server = server();
    let settings = QuicSettings::default();
    let (client, connection) = tokio::join!(server.dial(&settings), server.accept());
    let client = client.unwrap();
    drop(first_stream(&client, &connection).await);
    for _ in 0..2 {
        let error = as_stream(&client).read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    assert!(timeout(Duration::from_millis(100), connection.accept_stream()).await.is_err());
}

#[tokio::test]
async fn silence_beyond_the_idle_timeout_ends_both_sides() {
    let settings = QuicSettings {
        keepalive: None,
        idle_timeout: Duration::from_millis(300),
        ..QuicSettings::default()
    };
    let server = server_with(&settings);
    let (client, connection) = tokio::join!(server.dial(&settings), server.accept());
    let client = client.unwrap();
    let accepted = first_stream(&client, &connection).await;
    for stream in [&client, &accepted] {
        let end = timeout(PATIENCE, as_stream(stream).read(&mut [0; 1])).await.unwrap();
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
    assert!(connection.accept_stream().await.is_err());
    assert!(connection.accept_stream().await.unwrap().is_none());
}

#[tokio::test]
async fn a_keepalive_breaks_the_silence() {
    let settings = QuicSettings {
        keepalive: Some(Duration::from_millis(100)),
        idle_timeout: Duration::from_millis(400),
        ..QuicSettings::default()
    };
    let server = server_with(&settings);
    let (client, connection) = tokio::join!(server.dial(&settings), server.accept());
    let client = client.unwrap();
    let accepted = first_stream(&client, &connection).await;
    sleep(Duration::from_millis(1500)).await;
    as_stream(&client).write_all(b"still here").await.unwrap();
    let mut received = [0; 10];
    as_stream(&accepted).read_exact(&mut received).await.unwrap();
}
