//! Datagrams of a connection, and its stream.

use std::{collections::BTreeSet, future::poll_fn, io, sync::Arc, time::Duration};

use rtun_settings::QuicSettings;
use rtun_transport::{
    Datagrams, Stream,
    quic::{DATAGRAM_SEND_BUFFER, QuicStream},
};
use tokio::time::timeout;

use super::{
    battery::pattern,
    certificates::NAME,
    pair::{PATIENCE, as_stream, connect, first_stream, pair, server},
    relay::{EmulatedPath, Relay},
};

fn datagrams_of(stream: &Arc<QuicStream>) -> &dyn Datagrams {
    stream.datagrams().expect("both sides have datagrams")
}

async fn send(datagrams: &dyn Datagrams, datagram: &[u8]) -> io::Result<()> {
    loop {
        match datagrams.try_send(datagram) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll_fn(|cx| datagrams.poll_sendable(cx)).await?;
            }
            result => return result,
        }
    }
}

async fn recv(datagrams: &dyn Datagrams) -> io::Result<Vec<u8>> {
    let mut datagram = b"kept".to_vec();
    let length = poll_fn(|cx| datagrams.poll_recv(cx, &mut datagram)).await?;
    assert_eq!(datagram.len(), 4 + length);
    assert!(datagram.starts_with(b"kept"));
    Ok(datagram.split_off(4))
}

/// A path that loses none and is slow enough to fill what may wait.
fn slow() -> EmulatedPath {
    EmulatedPath {
        delay: Duration::from_millis(5),
        loss: 0.0,
        rate: 2e6,
        queue: Duration::from_secs(10),
    }
}

#[tokio::test]
async fn datagrams_of_all_lengths_arrive_whole_in_both_directions() {
    let server = server();
    let (a, b, _connection) = pair(&server).await;
    for (from, to) in [(&a, &b), (&b, &a)] {
        let longest = datagrams_of(from).max_len().unwrap();
        for length in [1, 2, 20, 1000, longest] {
            let sent = pattern(length, 9);
            send(datagrams_of(from), &sent).await.unwrap();
            assert_eq!(timeout(PATIENCE, recv(datagrams_of(to))).await.unwrap().unwrap(), sent);
        }
    }
    // And the stream goes on.
    as_stream(&a).write_all(b"stream").await.unwrap();
    as_stream(&b).read_exact(&mut [0; 6]).await.unwrap();
}

#[tokio::test]
async fn one_that_is_too_long_is_refused_and_the_path_decides_what_is() {
    let server = server();
    let (a, b, _connection) = pair(&server).await;
    let first = datagrams_of(&a).max_len().unwrap();
    assert!(first >= 1150, "{first}");
    // Loopback takes more than any path has to (RFC 9000 section 14), which path MTU discovery finds out.
    while datagrams_of(&a).max_len().unwrap() < 1420 {
        send(datagrams_of(&a), b"on the way").await.unwrap();
        timeout(PATIENCE, recv(datagrams_of(&b))).await.unwrap().unwrap();
    }
    let longest = datagrams_of(&a).max_len().unwrap();
    let sent = pattern(longest, 3);
    send(datagrams_of(&a), &sent).await.unwrap();
    assert_eq!(timeout(PATIENCE, recv(datagrams_of(&b))).await.unwrap().unwrap(), sent);
    let error = datagrams_of(&a).try_send(&pattern(longest + 1, 3)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn what_cannot_leave_is_refused_at_once_and_none_that_was_taken_is_dropped() {
    let server = server();
    let relay = Relay::start(server.listener.local_addr().unwrap(), slow(), 1);
    let (addr, settings) = (relay.addr(), QuicSettings::default());
    let (client, connection) = tokio::join!(
        connect(&addr, NAME, server.ca.client(), &settings, PATIENCE),
        server.accept()
    );
    let a = client.unwrap();
    let b = first_stream(&a, &connection).await;
    // Until the first refusal without any wait, then each as soon as there is room.
    let mut taken = 0_u32;
    let refused = loop {
        let mut datagram = pattern(1000, 1);
        datagram[..4].copy_from_slice(&taken.to_be_bytes());
        match datagrams_of(&a).try_send(&datagram) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken as usize <= DATAGRAM_SEND_BUFFER / 1000, "everything is taken");
    };
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    let count = taken + 300;
    let sender = tokio::spawn(async move {
        for number in taken..count {
            let mut datagram = pattern(1000, 1);
            datagram[..4].copy_from_slice(&number.to_be_bytes());
            send(datagrams_of(&a), &datagram).await.unwrap();
        }
        a
    });
    let mut received = BTreeSet::new();
    while received.len() < count as usize {
        let datagram = timeout(PATIENCE, recv(datagrams_of(&b))).await.unwrap().unwrap();
        assert!(datagram[4..] == pattern(1000, 1)[4..]);
        let number = u32::from_be_bytes(datagram[..4].try_into().unwrap());
        assert!(received.insert(number), "{number} comes twice");
    }
    sender.await.unwrap();
}

#[tokio::test]
async fn who_waits_learns_of_the_end() {
    let server = server();
    let relay = Relay::start(server.listener.local_addr().unwrap(), slow(), 1);
    let (addr, settings) = (relay.addr(), QuicSettings::default());
    let (client, connection) = tokio::join!(
        connect(&addr, NAME, server.ca.client(), &settings, PATIENCE),
        server.accept()
    );
    let a = client.unwrap();
    let b = first_stream(&a, &connection).await;
    while datagrams_of(&a).try_send(&[0; 1000]).is_ok() {}
    let waiting = Arc::clone(&a);
    let waits = tokio::spawn(async move {
        loop {
            send(datagrams_of(&waiting), &[0; 1000]).await?;
        }
        #[expect(unreachable_code, reason = "says what the task returns")]
        io::Result::Ok(())
    });
    let receiver = Arc::clone(&b);
    let receives = tokio::spawn(async move {
        loop {
            recv(datagrams_of(&receiver)).await?;
        }
        #[expect(unreachable_code, reason = "says what the task returns")]
        io::Result::Ok(())
    });
    drop(connection);
    for task in [waits, receives] {
        let error = timeout(PATIENCE, task).await.unwrap().unwrap().unwrap_err();
        assert!(
            matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected),
            "{error}"
        );
    }
}

/// A lost packet delays no other: what arrives of the datagrams is never older than the path's delay and a little.
#[tokio::test]
async fn a_lost_datagram_delays_no_other() {
    let path = EmulatedPath {
        delay: Duration::from_millis(50),
        loss: 0.1,
        rate: 100e6,
        queue: Duration::from_secs(1),
    };
    let server = server();
    let relay = Relay::start(server.listener.local_addr().unwrap(), path, 7);
    let (addr, settings) = (relay.addr(), QuicSettings::default());
    let (client, connection) = tokio::join!(
        connect(&addr, NAME, server.ca.client(), &settings, PATIENCE),
        server.accept()
    );
    let a = client.unwrap();
    let b = first_stream(&a, &connection).await;
    const COUNT: u32 = 300;
    let sender = tokio::spawn(async move {
        for number in 0..COUNT {
            send(datagrams_of(&a), &number.to_be_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        a
    });
    let mut last = None;
    let mut received = 0;
    while let Ok(datagram) = timeout(Duration::from_secs(1), recv(datagrams_of(&b))).await {
        let number = u32::from_be_bytes(datagram.unwrap().try_into().unwrap());
        // In the order sent, with gaps: nobody waits for what is missing, nor sends it again.
        assert!(last < Some(number), "{number} after {last:?}");
        last = Some(number);
        received += 1;
        if number == COUNT - 1 {
            break;
        }
    }
    assert!((COUNT / 2..COUNT).contains(&received), "{received} of {COUNT}");
    drop(sender.await.unwrap());
}
