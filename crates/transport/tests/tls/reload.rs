//! Certificates that change while connections run.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rtun_settings::{CertificateFiles, DialTls, ServerTls, Verification};
use rtun_tls::{Acceptor, CertificateOrigin, Connector, Fault, TlsError, fingerprint};

use super::{
    acceptor_of,
    battery::pattern,
    files::{Dir, authority, params, self_signed, signed},
    handshake, off, served_by, soon,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reloads_under_traffic_lose_nothing() {
    const ROUNDS: usize = 100;
    let dir = Dir::new();
    let files = self_signed(params("hub.example")).save(&dir, "hub");
    let CertificateFiles { certificate, key } = files.clone();
    let acceptor = acceptor_of(&served_by(files));
    let connector = Connector::new(&off(), &[]).unwrap();
    let (connected, accepted) = handshake(&connector, &acceptor, "hub.example").await;
    let (client, server) = (connected.unwrap().stream, accepted.unwrap().stream);

    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let done = Arc::clone(&done);
        async move {
            let chunk = pattern(10_000, 7);
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                client.write_all(&chunk).await.unwrap();
                sent += chunk.len();
            }
            client.shutdown().await.unwrap();
            sent
        }
    });
    let reader = tokio::spawn(async move {
        let chunk = pattern(10_000, 7);
        let mut received = 0;
        let mut buffer = vec![0; 50_000];
        loop {
            match server.read(&mut buffer).await.unwrap() {
                0 => return received,
                read => {
                    for byte in &buffer[..read] {
                        assert_eq!(*byte, chunk[received % chunk.len()]);
                        received += 1;
                    }
                }
            }
        }
    });

    for _ in 0..ROUNDS {
        let old = acceptor.fingerprint();
        let next = self_signed(params("hub.example"));
        let text = next.pem();
        // As a slow tool would: half the certificate, then all of it, then the key.
        fs::write(&certificate, &text[..text.len() / 2]).unwrap();
        let error = acceptor.reload().unwrap_err();
        assert_eq!(error.fault(), Fault::Own);
        fs::write(&certificate, &text).unwrap();
        let error = acceptor.reload().unwrap_err();
        assert!(matches!(error, TlsError::KeyMismatch { .. }), "{error}");
        assert_eq!(acceptor.fingerprint(), old);
        let (connected, accepted) = handshake(&connector, &acceptor, "hub.example").await;
        assert_eq!(connected.unwrap().certificate.unwrap().sha256, old);
        accepted.unwrap();

        fs::write(&key, next.key.serialize_pem()).unwrap();
        assert!(acceptor.reload().unwrap());
        assert!(!acceptor.reload().unwrap());
        let new = fingerprint(&next.der());
        assert_eq!(acceptor.fingerprint(), new);
        let (connected, accepted) = handshake(&connector, &acceptor, "hub.example").await;
        assert_eq!(connected.unwrap().certificate.unwrap().sha256, new);
        accepted.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    let sent = soon(writer).await.unwrap();
    let received = soon(reader).await.unwrap();
    assert!(sent > 0);
    assert_eq!(received, sent);
}

#[tokio::test]
async fn the_clients_authorities_change_too() {
    let dir = Dir::new();
    let (old, new) = (authority("old.example"), authority("new.example"));
    let files = self_signed(params("hub.example")).save(&dir, "hub");
    let clients = dir.write("clients.pem", &old.pem());
    let client_ca = Some(clients.clone());
    let acceptor = acceptor_of(&ServerTls { client_ca, ..served_by(files) });
    let connector = |pair: &super::files::Pair, name: &str| {
        let certificate = Some(signed(params("host"), pair).save(&dir, name));
        Connector::new(&DialTls { certificate, ..off() }, &[]).unwrap()
    };
    let (by_old, by_new) = (connector(&old, "a"), connector(&new, "b"));
    assert!(handshake(&by_old, &acceptor, "a").await.1.is_ok());
    assert!(handshake(&by_new, &acceptor, "a").await.1.is_err());
    fs::write(&clients, "nothing").unwrap();
    assert!(acceptor.reload().is_err());
    assert!(handshake(&by_old, &acceptor, "a").await.1.is_ok());
    fs::write(&clients, new.pem()).unwrap();
    assert!(acceptor.reload().unwrap());
    assert!(handshake(&by_old, &acceptor, "a").await.1.is_err());
    assert!(handshake(&by_new, &acceptor, "a").await.1.is_ok());
}

/// Both configurations for QUIC fit each other, and the server's follows reloads.
#[tokio::test]
async fn quic_goes_by_the_same_certificates() {
    let dir = Dir::new();
    let ca = authority("ca.example");
    let verification = Verification::Full { ca: Some(ca.save(&dir, "ca").certificate) };
    let files = signed(params("hub.example"), &ca).save(&dir, "hub");
    let CertificateFiles { certificate, key } = files.clone();
    let tls = served_by(files);
    let origin = CertificateOrigin::of(&tls.certificate, None);
    let (acceptor, _) = Acceptor::new(&tls, origin, &["h3"]).unwrap();
    let server = Arc::new(acceptor.quic_config().unwrap());
    let tls = DialTls { verification, ..DialTls::default() };
    let connector = Connector::new(&tls, &["h3"]).unwrap();
    let connect = || {
        let (client, diagnostics) = connector.quic_config().unwrap();
        let name = connector.name_for("hub.example").unwrap();
        let v1 = rustls::quic::Version::V1;
        let client = rustls::quic::ClientConnection::new(Arc::new(client), v1, name, vec![]);
        let server = rustls::quic::ServerConnection::new(Arc::clone(&server), v1, vec![]);
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_hs(&mut bytes);
            server.read_hs(&bytes).unwrap();
            bytes.clear();
            server.write_hs(&mut bytes);
            if let Err(error) = client.read_hs(&bytes) {
                return Err(diagnostics.refusal().ok_or(error).unwrap());
            }
        }
        assert_eq!(client.alpn_protocol(), Some(&b"h3"[..]));
        Ok(fingerprint(&client.peer_certificates().unwrap()[0]))
    };
    assert_eq!(connect().unwrap(), acceptor.fingerprint());
    let next = self_signed(params("hub.example"));
    fs::write(&certificate, next.pem()).unwrap();
    fs::write(&key, next.key.serialize_pem()).unwrap();
    assert!(acceptor.reload().unwrap());
    let error = connect().unwrap_err();
    let TlsError::Certificate { fingerprint: shown, .. } = error else { panic!("{error}") };
    assert_eq!(shown, fingerprint(&next.der()));
}

/// The running stream stays as it was made.
#[tokio::test]
async fn a_running_stream_survives_its_certificate() {
    let dir = Dir::new();
    let mut short = params("hub.example");
    short.not_after = (std::time::SystemTime::now() + std::time::Duration::from_secs(2)).into();
    let files = self_signed(short).save(&dir, "hub");
    let verification = Verification::Full { ca: Some(files.certificate.clone()) };
    let acceptor = acceptor_of(&served_by(files));
    let tls = DialTls { verification, ..DialTls::default() };
    let connector = Connector::new(&tls, &[]).unwrap();
    let (connected, accepted) = handshake(&connector, &acceptor, "hub.example").await;
    let (client, server) = (connected.unwrap().stream, accepted.unwrap().stream);
    let refused = async {
        loop {
            let (connected, _) = handshake(&connector, &acceptor, "hub.example").await;
            if let Err(error) = connected {
                return error.to_string();
            }
        }
    };
    let error = soon(refused).await;
    assert!(error.contains("it was valid until"), "{error}");
    client.write_all(b"still here").await.unwrap();
    let mut received = [0; 10];
    soon(server.read_exact(&mut received)).await.unwrap();
    assert_eq!(&received, b"still here");
}
