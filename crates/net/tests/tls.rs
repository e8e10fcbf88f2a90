//! TLS: the battery of all transports with every cipher, who is let in and who is not, and other implementations.

#![allow(clippy::unwrap_used)]

mod battery;
#[path = "tls/files.rs"]
mod files;

use std::{sync::Arc, time::Duration};

use rtun_net::{
    tls::{
        Accepted, Acceptor, Certificate, ClientSettings, Connected, Connector, Generate, Protocol,
        ServerSettings, TlsError, Verification, Version,
    },
    transport::{Stream, tcp},
};
use tokio::time::timeout;

use self::{
    battery::{Abilities, battery},
    files::Dir,
};

const PATIENCE: Duration = Duration::from_secs(20);
const ABILITIES: Abilities = Abilities { half_close: true };

async fn tcp_pair() -> (Arc<dyn Stream>, Arc<dyn Stream>) {
    let listener = tcp::listen("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = tcp::connect(&address, PATIENCE).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    tcp::tune(&server).unwrap();
    (Arc::new(client), Arc::new(server))
}

async fn handshake(
    connector: &Connector,
    acceptor: &Acceptor,
    host: &str,
) -> (Result<Connected, TlsError>, Result<Accepted, TlsError>) {
    let (client, server) = tcp_pair().await;
    let both = async { tokio::join!(connector.connect(client, host), acceptor.accept(server)) };
    timeout(PATIENCE, both).await.expect("both ends are done")
}

fn with_suite(suite: &str, version: Version) -> Protocol {
    Protocol {
        min: version,
        max: version,
        cipher_suites: vec![suite.into()],
        ..Protocol::default()
    }
}

async fn battery_with(protocol: Protocol) {
    let dir = Dir::new();
    let (acceptor, not_kept) = Acceptor::new(&ServerSettings {
        protocol: protocol.clone(),
        ..ServerSettings::new(Certificate::Generated(Generate::new(dir.path())))
    })
    .unwrap();
    assert!(not_kept.is_none());
    let connector = Connector::new(&ClientSettings {
        verification: Verification::Off,
        fingerprint: Some(acceptor.fingerprint()),
        protocol,
        ..ClientSettings::default()
    })
    .unwrap();
    battery(ABILITIES, async || {
        let (connected, accepted) = handshake(&connector, &acceptor, "gost.run").await;
        (connected.unwrap().stream, accepted.unwrap().stream)
    })
    .await;
}

#[tokio::test]
async fn aes_128_passes() {
    battery_with(with_suite("TLS_AES_128_GCM_SHA256", Version::Tls13)).await;
}

#[tokio::test]
async fn aes_256_passes() {
    battery_with(with_suite("TLS_AES_256_GCM_SHA384", Version::Tls13)).await;
}

#[tokio::test]
async fn chacha20_passes() {
    battery_with(with_suite("tls_chacha20_poly1305_sha256", Version::Tls13)).await;
}

#[tokio::test]
async fn keys_replaced_every_few_records_pass() {
    battery_with(Protocol { records_per_key: 3, ..Protocol::default() }).await;
}

#[tokio::test]
async fn tls_1_2_passes() {
    battery_with(with_suite("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Version::Tls12)).await;
}

#[tokio::test]
async fn tls_1_2_with_chacha20_passes() {
    let suite = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
    battery_with(with_suite(suite, Version::Tls12)).await;
}
