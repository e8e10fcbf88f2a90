//! What arrives at a server's socket, a batch at a time.

use std::{io, time::Duration};

use rtun_transport::udp::{DatagramSocket, ReceivedDatagrams};
use tokio::time::sleep;

/// After an error of the socket, which is about single datagrams, so that one that lasts takes no time of others.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until datagrams have come. Errors end nothing: they are about datagrams that were sent before.
pub(super) async fn next_batch(socket: &DatagramSocket, received: &mut ReceivedDatagrams) {
    loop {
        let is_there = match socket.readable().await {
            Ok(()) => socket.try_receive(received),
            Err(error) => Err(error),
        };
        match is_there {
            Ok(()) => return,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => sleep(PAUSE).await,
        }
    }
}
