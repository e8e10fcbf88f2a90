//! Connections that have ended leave no memory in use, at either end.

use std::{alloc::System, net::SocketAddr, sync::Arc, time::Duration};

use rtun_settings::{ListenOptions, QuicSettings, SocketOptions};
use rtun_transport::{
    Stream,
    quic::{self, QuicListener},
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PATIENCE: Duration = Duration::from_secs(20);

/// What may be held at the end that was not at the start, in bytes.
const SLACK: isize = 256 * 1024;

#[tokio::test]
async fn connections_that_have_ended_leave_nothing_behind() {
    let made = rcgen::generate_simple_self_signed(["hub".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (server, client) = (Arc::new(server), Arc::new(client));
    let settings = QuicSettings::default();
    let options = ListenOptions::default();
    let listener = QuicListener::bind("127.0.0.1:0", server, &settings, &options).unwrap();
    let addr: SocketAddr = listener.local_addr().unwrap();

    let once = async || {
        let options = SocketOptions::default();
        let found = addr.into();
        let tls = Arc::clone(&client);
        let dialling = quic::connect(&found, "hub", tls, &settings, &options, PATIENCE);
        let accepting = async { listener.accept().await.unwrap().accept().await.unwrap() };
        let (dialled, connection) = tokio::join!(dialling, accepting);
        let dialled = dialled.unwrap();
        let near: &dyn Stream = &*dialled;
        near.write_all(b"hello").await.unwrap();
        let accepted = connection.accept_stream().await.unwrap().unwrap();
        let far: &dyn Stream = &*accepted;
        let mut read = [0; 5];
        far.read_exact(&mut read).await.unwrap();
    };
    let pass = async |times: usize| {
        for _ in 0..times {
            once().await;
        }
        // Connections are closing for three round trips.
        tokio::time::sleep(Duration::from_secs(2)).await;
    };
    pass(50).await;
    let region = Region::new(ALLOCATOR);
    pass(150).await;
    let stats = region.change();
    let held = stats.bytes_allocated as isize - stats.bytes_deallocated as isize;
    println!("{held} bytes more");
    assert!(held < SLACK, "{held} bytes more after 150 connections");
}
