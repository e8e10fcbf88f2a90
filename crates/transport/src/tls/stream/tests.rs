//! Records that no well-behaved peer sends, below the stream.

use std::net::Ipv4Addr;

use rustls::{
    ServerConfig, ServerConnection, crypto::aws_lc_rs, pki_types::PrivateKeyDer, version::TLS12,
};

use rtun_settings::{DialTls, TlsVersions, Verification};
use rtun_tls::Connector;

use super::*;
use crate::{memory, tls::connect};

/// A client of TLS 1.2, and the other side below its records: the stream, and what seals and opens there.
async fn below_records() -> (Arc<dyn Stream>, Arc<dyn Stream>, Sealer, Opener) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["hub.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], private)
        .unwrap();
    config.enable_secret_extraction = true;
    let tls = DialTls {
        verification: Verification::Off,
        versions: TlsVersions::Tls12,
        ..DialTls::default()
    };
    let connector = Connector::new(&tls, &[]).unwrap();
    let (client, server) = memory::pair(1 << 16);
    let below: Arc<dyn Stream> = Arc::new(server);
    let host = Ipv4Addr::LOCALHOST.to_string();
    let connect = connect(&connector, Arc::new(client), &host);
    let accept = async {
        let mut rustls = ServerConnection::new(Arc::new(config)).unwrap();
        while rustls.is_handshaking() {
            let mut bytes = vec![0; 20_000];
            let read = below.read(&mut bytes).await.unwrap();
            let mut bytes = &bytes[..read];
            while !bytes.is_empty() {
                rustls.read_tls(&mut bytes).unwrap();
                rustls.process_new_packets().unwrap();
            }
            let mut answer = Vec::new();
            while rustls.wants_write() {
                rustls.write_tls(&mut answer).unwrap();
            }
            below.write_all(&answer).await.unwrap();
        }
        rustls.dangerous_extract_secrets().unwrap()
    };
    let (connected, secrets) = tokio::join!(connect, accept);
    let sealer = Sealer::new(&secrets.tx.1, secrets.tx.0, TlsVersion::Tls12).unwrap();
    let opener = Opener::new(&secrets.rx.1, secrets.rx.0, TlsVersion::Tls12).unwrap();
    (connected.unwrap().stream, below, sealer, opener)
}

fn seal(sealer: &mut Sealer, content_type: ContentType, message: &[u8]) -> Vec<u8> {
    let mut record = vec![0; sealer.record_len(message.len())];
    let pieces = [IoSlice::new(message)];
    let mut content = RecordContent::new(&pieces);
    sealer.seal(content_type, &mut content, message.len(), &mut record).unwrap();
    record
}

/// RFC 5246 section 7.2.2: a warning, and the connection goes on.
#[tokio::test]
async fn another_handshake_is_declined_and_all_goes_on() {
    let (client, below, mut sealer, mut opener) = below_records().await;
    let hello_request = seal(&mut sealer, ContentType::Handshake, &[0, 0, 0, 0]);
    let data = seal(&mut sealer, ContentType::ApplicationData, b"goes on");
    below.write_all(&[hello_request, data].concat()).await.unwrap();
    let mut received = [0; 7];
    client.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"goes on");

    let mut records = vec![0; 1000];
    let read = below.try_read(&mut records).unwrap();
    let mut content = [0; 100];
    let (content_type, len) = opener.open(&records[..read], &mut content).unwrap();
    assert_eq!((content_type, &content[..len]), (ContentType::Alert, &[1, 100][..]));

    client.write_all(b"both ways").await.unwrap();
    let read = below.try_read(&mut records).unwrap();
    let (content_type, len) = opener.open(&records[..read], &mut content).unwrap();
    assert_eq!(content_type, ContentType::ApplicationData);
    assert_eq!(&content[..len], b"both ways");
}

#[tokio::test]
async fn who_asks_for_handshakes_and_reads_nothing_costs_nothing() {
    let (client, below, mut sealer, _opener) = below_records().await;
    for _ in 0..4000 {
        let asked = seal(&mut sealer, ContentType::Handshake, &[0, 0, 0, 0]);
        let data = seal(&mut sealer, ContentType::ApplicationData, b"x");
        below.write_all(&[asked, data].concat()).await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
    }
    // The pipe below is full, and at most one warning waits for room in it.
    assert!(client.has_buffered());
}
