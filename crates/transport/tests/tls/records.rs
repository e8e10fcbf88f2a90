//! Records as an attacker would have them: changed, cut, left out, repeated, without end.

use std::{
    io::{self, Cursor, ErrorKind, Write},
    sync::Arc,
};

use proptest::prelude::*;
use rtun_settings::{DialTls, TlsVersions};
use rtun_tls::{Connector, TlsVersion, fingerprint};
use rtun_transport::{Stream, memory, tls::Connected};
use rustls::{ServerConnection, pki_types::CertificateDer};

use super::{
    battery::pattern,
    files::{Pair, params, self_signed},
    interop::plain_server,
    off, pinned_pair, soon,
};

/// An own client, and rustls's side of the connection under the test's control.
struct Ends {
    own: Arc<dyn Stream>,
    below: Arc<dyn Stream>,
    rustls: ServerConnection,
}

impl Ends {
    async fn new(version: TlsVersion) -> Self {
        let pair = self_signed(params("hub.example"));
        let (client, server) = memory::pair(1 << 20);
        let below: Arc<dyn Stream> = Arc::new(server);
        let connector = connector(&pair, version);
        let connect = rtun_transport::tls::connect(&connector, Arc::new(client), "hub.example");
        let config = Arc::new(plain_server(&pair, version));
        let accept = async {
            let mut rustls = ServerConnection::new(config).unwrap();
            while rustls.is_handshaking() {
                receive(&mut rustls, &*below).await;
                below.write_all(&outgoing(&mut rustls)).await.unwrap();
            }
            rustls
        };
        let (connected, rustls) = soon(async { tokio::join!(connect, accept) }).await;
        let Connected { stream: own, .. } = connected.unwrap();
        Self { own, below, rustls }
    }

    /// The records that carry `messages`, one or more each.
    fn seal(&mut self, messages: &[&[u8]]) -> Vec<u8> {
        let mut sealed = Vec::new();
        for message in messages {
            self.rustls.writer().write_all(message).unwrap();
            sealed.extend(outgoing(&mut self.rustls));
        }
        sealed
    }

    /// What the own side reads until it has to wait; the error if there is one.
    fn read(&self, step: usize) -> (Vec<u8>, Option<io::Error>) {
        let mut all = Vec::new();
        let mut buffer = vec![0; step];
        loop {
            match self.own.try_read(&mut buffer) {
                Ok(0) => return (all, None),
                Ok(read) => all.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return (all, None),
                Err(error) => return (all, Some(error)),
            }
        }
    }

    fn put(&self, bytes: &[u8]) {
        assert_eq!(self.below.try_write(bytes).unwrap(), bytes.len());
    }
}

fn connector(pair: &Pair, version: TlsVersion) -> Connector {
    let certificate: CertificateDer<'_> = pair.der();
    let versions = match version {
        TlsVersion::Tls13 => TlsVersions::Tls13,
        TlsVersion::Tls12 => TlsVersions::Tls12,
    };
    let fingerprints = vec![fingerprint(&certificate)];
    Connector::new(&DialTls { fingerprints, versions, ..off() }, &[]).unwrap()
}

async fn receive(rustls: &mut ServerConnection, below: &dyn Stream) {
    let mut bytes = vec![0; 20_000];
    let read = below.read(&mut bytes).await.unwrap();
    let mut bytes = Cursor::new(&bytes[..read]);
    while bytes.position() < read as u64 {
        rustls.read_tls(&mut bytes).unwrap();
        rustls.process_new_packets().unwrap();
    }
}

fn outgoing(rustls: &mut ServerConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while rustls.wants_write() {
        rustls.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Where each record begins, and the end.
fn starts(records: &[u8]) -> Vec<usize> {
    let mut starts = vec![0];
    while let Some(&[_, _, _, high, low]) = records[*starts.last().unwrap()..].first_chunk() {
        let next = starts.last().unwrap() + 5 + usize::from(u16::from_be_bytes([high, low]));
        starts.push(next);
    }
    assert_eq!(starts.last(), Some(&records.len()));
    starts
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

const VERSIONS: [TlsVersion; 2] = [TlsVersion::Tls13, TlsVersion::Tls12];

/// Each place in three records, one of them a change of keys, is once where a first read ends.
#[test]
fn records_may_be_cut_anywhere() {
    run(async {
        for version in VERSIONS {
            let mut ends = Ends::new(version).await;
            for step in [1, 7, 65_536] {
                let messages = [&pattern(20, 3)[..], &pattern(50, 5), &pattern(1, 7)];
                let sent = messages.concat();
                for cut in 0.. {
                    if version == TlsVersion::Tls13 {
                        ends.rustls.refresh_traffic_keys().unwrap();
                    }
                    let records = ends.seal(&messages);
                    ends.put(&records[..cut]);
                    let (mut received, error) = ends.read(step);
                    assert!(error.is_none(), "{error:?}");
                    ends.put(&records[cut..]);
                    let (rest, error) = ends.read(step);
                    assert!(error.is_none(), "{error:?}");
                    received.extend(rest);
                    assert!(received == sent, "cut at {cut}");
                    if cut == records.len() {
                        break;
                    }
                }
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// A single bit changed anywhere: what was before it arrives, nothing after it does, and the reason is reported.
    #[test]
    fn changed_records_are_refused(
        tls12: bool,
        lengths in prop::collection::vec(1_usize..3000, 1..5),
        at: prop::sample::Index,
        bit in 0..8_u32,
        step in prop::sample::select(vec![1_usize, 100, 65_536]),
    ) {
        run(async {
            let version = if tls12 { TlsVersion::Tls12 } else { TlsVersion::Tls13 };
            let mut ends = Ends::new(version).await;
            let messages: Vec<Vec<u8>> =
                lengths.iter().map(|&length| pattern(length, 3)).collect();
            let slices: Vec<&[u8]> = messages.iter().map(|message| &message[..]).collect();
            let mut records = ends.seal(&slices);
            let starts = starts(&records);
            let at = at.index(records.len());
            let first_bad = starts.iter().rposition(|&start| start <= at).unwrap();
            records[at] ^= 1 << bit;
            ends.put(&records);
            ends.below.shutdown().await.unwrap();
            let (received, error) = ends.read(step);
            prop_assert!(received == messages[..first_bad].concat());
            let error = error.expect("the change is noticed");
            prop_assert!(
                matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof),
                "{error:?}"
            );
            // It stays so, and nothing more is written.
            prop_assert!(ends.own.try_read(&mut [0; 100]).is_err());
            if error.kind() == ErrorKind::InvalidData {
                prop_assert!(ends.own.try_write(b"more").is_err());
            }
            Ok(())
        })?;
    }

    /// Left out, repeated or in another order.
    #[test]
    fn records_keep_their_order(order in prop::collection::vec(0_usize..4, 4)) {
        run(async {
            let mut ends = Ends::new(TlsVersion::Tls13).await;
            let messages: Vec<Vec<u8>> = (0..4).map(|i| vec![i; 100]).collect();
            let slices: Vec<&[u8]> = messages.iter().map(|message| &message[..]).collect();
            let records = ends.seal(&slices);
            let starts = starts(&records);
            for &i in &order {
                ends.put(&records[starts[i]..starts[i + 1]]);
            }
            let right = order.iter().zip(0..).take_while(|&(&i, n)| i == n).count();
            let (received, error) = ends.read(1000);
            prop_assert!(received == messages[..right].concat());
            prop_assert_eq!(error.is_some(), right < 4);
            Ok(())
        })?;
    }
}

/// The other side learns why it is refused.
#[tokio::test]
async fn a_refusal_is_told() {
    for version in VERSIONS {
        let mut ends = Ends::new(version).await;
        let mut records = ends.seal(&[b"message"]);
        *records.last_mut().unwrap() ^= 1;
        ends.put(&records);
        assert_eq!(ends.read(100).1.unwrap().kind(), ErrorKind::InvalidData);
        let mut alert = vec![0; 1000];
        let len = ends.below.try_read(&mut alert).unwrap();
        ends.rustls.read_tls(&mut &alert[..len]).unwrap();
        let error = ends.rustls.process_new_packets().unwrap_err();
        assert_eq!(error, rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
    }
}

#[tokio::test]
async fn an_end_without_a_close_is_told_apart() {
    for version in VERSIONS {
        let mut ends = Ends::new(version).await;
        let records = ends.seal(&[b"last words"]);
        ends.put(&records);
        ends.below.shutdown().await.unwrap();
        let (received, error) = ends.read(100);
        assert_eq!(received, b"last words");
        assert_eq!(error.unwrap().kind(), ErrorKind::UnexpectedEof);

        let mut ends = Ends::new(version).await;
        let mut records = ends.seal(&[b"last words"]);
        ends.rustls.send_close_notify();
        records.extend(outgoing(&mut ends.rustls));
        // What comes after a close has no meaning.
        records.extend(b"garbage");
        ends.put(&records);
        let (received, error) = ends.read(100);
        assert_eq!(received, b"last words");
        assert!(error.is_none(), "{error:?}");
        assert_eq!(ends.own.try_read(&mut [0; 10]).unwrap(), 0);
        ends.own.write_all(b"the other direction goes on").await.unwrap();
    }
}

/// Records that carry nothing cost the reader and nobody else.
#[tokio::test]
async fn key_updates_without_end_are_refused() {
    let mut ends = Ends::new(TlsVersion::Tls13).await;
    let mut flood = Vec::new();
    for _ in 0..100 {
        ends.rustls.refresh_traffic_keys().unwrap();
        flood.extend(outgoing(&mut ends.rustls));
    }
    ends.put(&flood);
    assert_eq!(ends.read(100).1.unwrap().kind(), ErrorKind::InvalidData);
}

/// A stream at rest keeps no buffer, and one whose reader waits keeps a bounded part.
#[tokio::test]
async fn what_is_not_read_is_bounded() {
    let (connector, acceptor) = pinned_pair(&off());
    let (client, server) = memory::pair(1 << 16);
    let connect = rtun_transport::tls::connect(&connector, Arc::new(client), "gost.run");
    let accept = rtun_transport::tls::accept(&acceptor, Arc::new(server));
    let (client, server) = soon(async { tokio::join!(connect, accept) }).await;
    let (client, server) = (client.unwrap().stream, server.unwrap().stream);
    let chunk = pattern(1 << 20, 3);
    let mut sent = 0;
    loop {
        match client.try_write(&chunk) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(client.has_buffered());
    // What the pipe below has room for, and one write more.
    assert!((65_000..=2 * 65_536).contains(&sent), "{sent}");
    let mut received = vec![0; sent];
    let both = async { tokio::join!(client.flush(), server.read_exact(&mut received)) };
    let (flushed, read) = soon(both).await;
    flushed.unwrap();
    read.unwrap();
    assert!(!client.has_buffered());
    assert!(received == chunk[..sent]);
}
