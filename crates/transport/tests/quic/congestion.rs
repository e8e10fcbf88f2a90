//! What decides how fast a connection sends is what its settings say.

use std::{sync::Arc, time::Duration};

use rtun_settings::{CongestionControl, QuicSettings};
use rtun_transport::quic::{QuicConnection, QuicStream};

use super::{
    certificates::NAME,
    pair::{PATIENCE, Server, as_stream, connect, first_stream, server_with},
    relay::{EmulatedPath, Relay},
};

/// Three of a hundred packets are lost by chance.
const LOSSY: EmulatedPath = EmulatedPath {
    delay: Duration::from_millis(25),
    loss: 0.03,
    rate: 20e6,
    queue: Duration::from_millis(100),
};

/// Of `LOSSY` some half a second at its rate, and five at CUBIC's.
const BYTES: usize = 1_000_000;

/// A connection over a lossy path.
struct Ends {
    dialled: Arc<QuicStream>,
    accepted: Arc<QuicStream>,
    _connection: QuicConnection,
    _server: Server,
    _relay: Relay,
}

impl Ends {
    /// The dialled end and the accepted one each send by one of these.
    async fn new(dialled: CongestionControl, accepted: CongestionControl) -> Self {
        let with = |congestion| QuicSettings { congestion, ..QuicSettings::default() };
        let server = server_with(&with(accepted));
        let relay = Relay::start(server.listener.local_addr().unwrap(), LOSSY, 1);
        let (addr, tls, settings) = (relay.addr(), server.ca.client(), with(dialled));
        let (client, connection) =
            tokio::join!(connect(&addr, NAME, tls, &settings, PATIENCE), server.accept());
        let dialled = client.unwrap();
        let accepted = first_stream(&dialled, &connection).await;
        Self { dialled, accepted, _connection: connection, _server: server, _relay: relay }
    }

    async fn up(&self) {
        carry(&self.dialled, &self.accepted, BYTES).await;
    }

    async fn down(&self) {
        carry(&self.accepted, &self.dialled, BYTES).await;
    }
}

async fn carry(from: &Arc<QuicStream>, to: &Arc<QuicStream>, length: usize) {
    let send = async {
        as_stream(from).write_all(&vec![7; length]).await.unwrap();
    };
    let receive = async {
        let mut bytes = vec![0; length];
        as_stream(to).read_exact(&mut bytes).await.unwrap();
        assert!(bytes.iter().all(|byte| *byte == 7));
    };
    tokio::join!(send, receive);
}

/// Races of two controllers in each direction: by loss alone a lossy path is slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_end_sends_as_its_own_settings_say() {
    let (adaptive, reno) = (CongestionControl::Adaptive, CongestionControl::NewReno);
    let (quick_up, quick_down) = tokio::join!(Ends::new(adaptive, reno), Ends::new(reno, adaptive));
    tokio::select! {
        () = quick_up.up() => {}
        () = quick_down.up() => panic!("the dialled end does not use its congestion control"),
    }
    let (quick_up, quick_down) = tokio::join!(Ends::new(adaptive, reno), Ends::new(reno, adaptive));
    tokio::select! {
        () = quick_down.down() => {}
        () = quick_up.down() => panic!("the accepted end does not use its congestion control"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_controller_carries_bytes_whole() {
    let every = async |congestion| {
        let ends = Ends::new(congestion, congestion).await;
        carry(&ends.dialled, &ends.accepted, BYTES / 5).await;
    };
    tokio::join!(
        every(CongestionControl::Adaptive),
        every(CongestionControl::Cubic),
        every(CongestionControl::Bbr),
        every(CongestionControl::NewReno)
    );
}
