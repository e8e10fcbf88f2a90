//! Who is let in, who is not and why; those in between see nothing.

use std::{
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rtun_settings::{CertificateFiles, DialTls, ServerTls, TlsVersions, Verification};
use rtun_tls::{CertificateProblem, Connector, Fault, MadeCertificate, TlsError, fingerprint};
use rustls::{ServerConfig, crypto::aws_lc_rs, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::{
    acceptor_of,
    files::{Dir, Pair, authority, params, self_signed, signed},
    handshake, making, off, own, served_by, soon, tcp_pair,
};

const SECRET: &[u8] = b"the host's credential";

fn verified_by(ca: Option<PathBuf>) -> DialTls {
    DialTls { verification: Verification::Full { ca }, ..DialTls::default() }
}

/// Connects as a host would, which sends its credential if the server is right. An attacker in between answers with `pair`: what
/// the host says, and the plaintext that the attacker has seen.
async fn attack(
    settings: &DialTls,
    pair: &Pair,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> (Result<(), TlsError>, Vec<u8>) {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.der()], pair.key_der())
        .unwrap();
    let connector = Connector::new(settings, &[]).unwrap();
    let (client, server) = tcp_pair().await;
    let host = async {
        let connected =
            rtun_transport::tls::connect(&connector, Arc::new(client), "hub.example").await?;
        connected.stream.write_all(SECRET).await.unwrap();
        connected.stream.shutdown().await.unwrap();
        Ok(())
    };
    let attacker = async {
        let mut seen = Vec::new();
        if let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(server).await {
            let _ = stream.read_to_end(&mut seen).await;
        }
        seen
    };
    soon(async { tokio::join!(host, attacker) }).await
}

async fn problem_of(settings: &DialTls, pair: &Pair) -> CertificateProblem {
    let (result, seen) = attack(settings, pair, rustls::ALL_VERSIONS).await;
    assert_eq!(seen, b"", "somebody in between has seen plaintext");
    let error = result.unwrap_err();
    assert_eq!(error.fault(), Fault::Peer);
    match error {
        TlsError::Certificate { problem, fingerprint: shown } => {
            assert_eq!(shown, fingerprint(&pair.der()));
            problem
        }
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn those_in_between_see_nothing_and_the_reason_is_named() {
    let dir = Dir::new();
    let ca = authority("ca.example");
    let ca_file = ca.save(&dir, "ca").certificate;
    let settings = verified_by(Some(ca_file));

    let right = signed(params("hub.example"), &ca);
    let (result, seen) = attack(&settings, &right, rustls::ALL_VERSIONS).await;
    result.unwrap();
    assert_eq!(seen, SECRET, "the right server sees what the host sends");

    let problem = problem_of(&settings, &self_signed(params("hub.example"))).await;
    let CertificateProblem::UnknownIssuer { self_signed: true, .. } = problem else {
        panic!("{problem}")
    };
    // GOST's own kind: an authority that signs itself.
    let problem = problem_of(&settings, &authority("hub.example")).await;
    let CertificateProblem::UnknownIssuer { self_signed: true, .. } = problem else {
        panic!("{problem}")
    };
    let other = authority("other-ca.example");
    let problem = problem_of(&settings, &signed(params("hub.example"), &other)).await;
    let CertificateProblem::UnknownIssuer { ref issuer, self_signed: false } = problem else {
        panic!("{problem}")
    };
    assert!(issuer.contains("other-ca.example"), "{issuer}");
    // The same name, another key.
    let problem =
        problem_of(&settings, &signed(params("hub.example"), &authority("ca.example"))).await;
    assert!(matches!(problem, CertificateProblem::BadSignature { .. }), "{problem}");

    let problem = problem_of(&settings, &signed(params("other.example"), &ca)).await;
    assert_eq!(problem.to_string(), "it is for other.example, not for hub.example");

    let ago = |hours: u64| SystemTime::now() - Duration::from_secs(hours * 3600);
    let mut expired = params("hub.example");
    (expired.not_before, expired.not_after) = (ago(3).into(), ago(2).into());
    let problem = problem_of(&settings, &signed(expired, &ca)).await;
    assert!(matches!(problem, CertificateProblem::Expired { .. }), "{problem}");

    let mut early = params("hub.example");
    early.not_before = (SystemTime::now() + Duration::from_secs(600)).into();
    let problem = problem_of(&settings, &signed(early, &ca)).await;
    assert!(matches!(problem, CertificateProblem::NotYetValid { .. }), "{problem}");

    let mut client_only = params("hub.example");
    client_only.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let problem = problem_of(&settings, &signed(client_only, &ca)).await;
    assert_eq!(problem, CertificateProblem::WrongPurpose);

    let mut intermediate = params("hub.example");
    intermediate.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let problem = problem_of(&settings, &signed(intermediate, &ca)).await;
    assert_eq!(problem, CertificateProblem::Authority);
}

#[tokio::test]
async fn the_systems_authorities_do_not_know_strangers() {
    let problem = problem_of(&verified_by(None), &self_signed(params("hub.example"))).await;
    assert!(matches!(problem, CertificateProblem::UnknownIssuer { .. }), "{problem}");
}

#[tokio::test]
async fn a_pin_is_enough_alone_and_adds_to_verification() {
    let dir = Dir::new();
    let ca = authority("ca.example");
    let ca_file = ca.save(&dir, "ca").certificate;
    let hub = signed(params("hub.example"), &ca);
    let pin = |settings: DialTls, of: &Pair| DialTls {
        fingerprints: vec![fingerprint(&of.der())],
        ..settings
    };
    // Alone: neither name nor authority nor time counts.
    let mut unsigned = params("other.example");
    unsigned.not_after = (SystemTime::now() - Duration::from_secs(30)).into();
    let unsigned = self_signed(unsigned);
    let (result, seen) = attack(&pin(off(), &unsigned), &unsigned, rustls::ALL_VERSIONS).await;
    result.unwrap();
    assert_eq!(seen, SECRET);
    let problem = problem_of(&pin(off(), &hub), &unsigned).await;
    assert_eq!(problem, CertificateProblem::NotPinned { pinned: vec![fingerprint(&hub.der())] });

    // One of several is enough, so that the next one can be named before it is shown.
    let mut several = pin(off(), &hub);
    several.fingerprints.push(fingerprint(&unsigned.der()));
    for shown in [&hub, &unsigned] {
        attack(&several, shown, rustls::ALL_VERSIONS).await.0.unwrap();
    }

    let verified = verified_by(Some(ca_file));
    let both = pin(verified.clone(), &hub);
    attack(&both, &hub, rustls::ALL_VERSIONS).await.0.unwrap();
    let twin = signed(params("hub.example"), &ca);
    let problem = problem_of(&both, &twin).await;
    assert!(matches!(problem, CertificateProblem::NotPinned { .. }), "{problem}");
    let problem = problem_of(&pin(verified, &unsigned), &unsigned).await;
    assert!(!matches!(problem, CertificateProblem::NotPinned { .. }), "{problem}");
}

/// A copied certificate is of no use without its key.
#[tokio::test]
async fn a_pinned_certificate_without_its_key_is_refused() {
    let hub = self_signed(params("hub.example"));
    let settings = DialTls { fingerprints: vec![fingerprint(&hub.der())], ..off() };
    let thief = Pair { key: rcgen::KeyPair::generate().unwrap(), ..hub };
    let provider = aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(thief.key_der()).unwrap();
    let shown = rustls::sign::CertifiedKey::new(vec![thief.der()], key);
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(shown)));
    let connector = Connector::new(&settings, &[]).unwrap();
    let (client, server) = tcp_pair().await;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let both = async {
        tokio::join!(
            rtun_transport::tls::connect(&connector, Arc::new(client), "hub.example"),
            acceptor.accept(server)
        )
    };
    let (connected, accepted) = soon(both).await;
    let error = connected.unwrap_err();
    assert!(matches!(error, TlsError::Misbehaved(_)), "{error}");
    assert!(accepted.is_err());
}

#[tokio::test]
async fn a_chain_can_be_verified_without_the_name() {
    let dir = Dir::new();
    let ca = authority("ca.example");
    let ca_file = ca.save(&dir, "ca").certificate;
    let settings = DialTls { verification: Verification::Chain { ca: ca_file }, ..off() };
    let other = signed(params("other.example"), &ca);
    attack(&settings, &other, rustls::ALL_VERSIONS).await.0.unwrap();
    let problem = problem_of(&settings, &self_signed(params("hub.example"))).await;
    assert!(matches!(problem, CertificateProblem::UnknownIssuer { .. }), "{problem}");
}

#[tokio::test]
async fn older_versions_are_refused() {
    let hub = self_signed(params("hub.example"));
    let (result, seen) = attack(&off(), &hub, &[&version::TLS12]).await;
    let error = result.unwrap_err();
    assert_eq!(seen, b"");
    assert_eq!(error.fault(), Fault::Peer);
    assert!(error.to_string().contains("it speaks no TLS version that is allowed"), "{error}");
    // On request it is spoken.
    let settings = DialTls { versions: TlsVersions::Tls12And13, ..off() };
    attack(&settings, &hub, &[&version::TLS12]).await.0.unwrap();

    // Somebody insists on TLS 1.1 and a cipher of its time, whatever was offered.
    let mut hello = vec![2, 0, 0, 38, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0xc0, 0x09, 0]);
    let mut record = vec![22, 3, 2, 0, hello.len() as u8];
    record.extend(&hello);
    for settings in [off(), settings] {
        let error = answered_with(&settings, &record).await;
        assert_eq!(error.fault(), Fault::Peer);
        assert!(matches!(error, TlsError::Incompatible(_)), "{error:?}");
    }
}

#[tokio::test]
async fn what_is_not_tls_is_told() {
    let error = answered_with(&off(), b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert!(matches!(error, TlsError::NotTls(_)), "{error:?}");
    assert!(error.to_string().contains("\"HTTP/1.1 400 Bad"), "{error}");
    let error = answered_with(&off(), b"").await;
    assert!(matches!(error, TlsError::Ended), "{error:?}");
    // handshake_failure
    let error = answered_with(&off(), &[21, 3, 3, 0, 2, 2, 40]).await;
    assert!(matches!(error, TlsError::Alert(_)), "{error:?}");

    let dir = Dir::new();
    let settings = served_by(self_signed(params("hub.example")).save(&dir, "hub"));
    let acceptor = acceptor_of(&settings);
    let (mut client, server) = tcp_pair().await;
    client.write_all(b"\x01\x00\x00\x10plain host").await.unwrap();
    let error = soon(rtun_transport::tls::accept(&acceptor, Arc::new(server))).await.unwrap_err();
    assert!(matches!(error, TlsError::NotTls(_)), "{error:?}");
}

/// What the host says to a server that answers its first message with `bytes` and ends.
async fn answered_with(settings: &DialTls, bytes: &[u8]) -> TlsError {
    let connector = Connector::new(settings, &[]).unwrap();
    let (client, mut server) = tcp_pair().await;
    let answer = async {
        let mut hello = [0; 4096];
        assert_ne!(server.read(&mut hello).await.unwrap(), 0);
        server.write_all(bytes).await.unwrap();
        server.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = server.read_to_end(&mut rest).await;
        // Nothing but an alert.
        assert!(rest.is_empty() || rest.len() == 7 && rest[0] == 21, "{rest:?}");
    };
    let connect = rtun_transport::tls::connect(&connector, Arc::new(client), "hub.example");
    soon(async { tokio::join!(connect, answer) }).await.0.unwrap_err()
}

/// GOST's own certificate is an authority's that its server shows itself.
#[tokio::test]
async fn gosts_own_certificate_is_taken_where_gost_takes_it() {
    let dir = Dir::new();
    let (acceptor, not_kept) = making(&own(), dir.file("gost"));
    assert!(not_kept.is_none(), "{not_kept:?}");
    let ca_file = dir.file("gost/auto-ca-cert.pem");
    let mode = |path: &str| fs::metadata(dir.file(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("gost"), 0o700);
    assert_eq!(mode("gost/auto-ca-cert.pem"), 0o644);
    assert_eq!(mode("gost/auto-ca-key.pem"), 0o600);
    assert_eq!(fs::read_dir(dir.file("gost")).unwrap().count(), 2);

    let info = acceptor.certificate();
    assert_eq!(info.names, ["gost.run"]);
    assert_eq!(info.subject, "O=GOST, CN=gost.run");
    let days = info.not_after.duration_since(info.not_before).unwrap().as_secs() / 86_400;
    assert_eq!(days, 365);

    let pinned = DialTls { fingerprints: vec![acceptor.fingerprint()], ..off() };
    let chain = Verification::Chain { ca: ca_file.clone() };
    let chain = DialTls { verification: chain, ..off() };
    let full = verified_by(Some(ca_file));
    for (settings, host) in [
        (off(), "hub.example"),
        (pinned, "hub.example"),
        (chain, "hub.example"),
        (full.clone(), "gost.run"),
        (DialTls { server_name: Some("gost.run".into()), ..full.clone() }, "10.0.0.1"),
    ] {
        let connector = Connector::new(&settings, &[]).unwrap();
        let (connected, accepted) = handshake(&connector, &acceptor, host).await;
        let certificate = connected.unwrap().certificate.unwrap();
        assert_eq!(certificate, info, "{settings:?}");
        accepted.unwrap();
    }
    let connector = Connector::new(&full, &[]).unwrap();
    let (connected, accepted) = handshake(&connector, &acceptor, "hub.example").await;
    let error = connected.unwrap_err().to_string();
    assert!(error.ends_with("it is for gost.run, not for hub.example"), "{error}");
    assert!(accepted.unwrap_err().to_string().contains("does not trust the own certificate"));

    // The next start shows the same, another place another.
    let (again, _) = making(&own(), dir.file("gost"));
    assert_eq!(again.fingerprint(), acceptor.fingerprint());
    let (other, _) = making(&own(), dir.file("elsewhere"));
    assert_ne!(other.fingerprint(), acceptor.fingerprint());
    // Where it cannot be kept it is used all the same.
    dir.write("occupied", "");
    let (acceptor, not_kept) = making(&own(), dir.file("occupied"));
    assert!(not_kept.is_some());
    let (connected, _) = handshake(&Connector::new(&off(), &[]).unwrap(), &acceptor, "a").await;
    connected.unwrap();
    assert!(!acceptor.reload().unwrap());
}

#[tokio::test]
async fn an_address_can_be_verified() {
    let dir = Dir::new();
    let ca = authority("ca.example");
    let ca_file = ca.save(&dir, "ca").certificate;
    let mut by_address = params("hub.example");
    for address in ["10.1.2.3", "fe80::1"] {
        by_address.subject_alt_names.push(SanType::IpAddress(address.parse::<IpAddr>().unwrap()));
    }
    let settings = served_by(signed(by_address, &ca).save(&dir, "hub"));
    let acceptor = acceptor_of(&settings);
    let connector = Connector::new(&verified_by(Some(ca_file)), &[]).unwrap();
    for host in ["10.1.2.3", "fe80::1", "[fe80::1]", "fe80::1%eth0", "hub.example."] {
        let (connected, accepted) = handshake(&connector, &acceptor, host).await;
        connected.unwrap();
        // Addresses are not sent as names.
        let is_name = host.starts_with("hub");
        assert_eq!(accepted.unwrap().server_name.as_deref(), is_name.then_some("hub.example"));
    }
    let (connected, _) = handshake(&connector, &acceptor, "10.1.2.4").await;
    let error = connected.unwrap_err().to_string();
    assert!(error.contains("10.1.2.3, fe80::1, not for 10.1.2.4"), "{error}");
    let error = connector.name_for("").unwrap_err();
    assert!(matches!(error, TlsError::BadServerName(_)), "{error}");
    // Without verification nothing needs a name.
    Connector::new(&off(), &[]).unwrap().name_for("").unwrap();
}

#[tokio::test]
async fn clients_show_certificates_where_they_have_to() {
    let dir = Dir::new();
    let ca = authority("ca.example");
    let gosts = MadeCertificate::new(dir.file("gost")).files().unwrap();
    making(&own(), dir.file("gost"));
    let trusted = ca.pem() + &fs::read_to_string(&gosts.certificate).unwrap();
    let settings = ServerTls {
        client_ca: Some(dir.write("clients.pem", &trusted)),
        ..served_by(self_signed(params("hub.example")).save(&dir, "hub"))
    };
    let acceptor = acceptor_of(&settings);
    let as_client = |certificate: Option<CertificateFiles>| {
        Connector::new(&DialTls { certificate, ..off() }, &[]).unwrap()
    };
    let mut two_names = params("host-1");
    two_names.subject_alt_names.push(SanType::DnsName("host-2".try_into().unwrap()));
    let right = signed(two_names, &ca).save(&dir, "right");
    let connector = as_client(Some(right));
    assert_eq!(connector.identity().unwrap().names, ["host-1", "host-2"]);
    let (connected, accepted) = handshake(&connector, &acceptor, "a").await;
    assert_eq!(accepted.unwrap().client_names.unwrap(), ["host-1", "host-2"]);
    connected.unwrap();
    let (_, accepted) = handshake(&as_client(Some(gosts)), &acceptor, "a").await;
    assert_eq!(accepted.unwrap().client_names.unwrap(), ["gost.run"]);

    // The client learns of it when it first reads.
    let (connected, accepted) = handshake(&as_client(None), &acceptor, "a").await;
    assert!(matches!(accepted.unwrap_err(), TlsError::NoClientCertificate));
    let error = soon(connected.unwrap().stream.read(&mut [0; 10])).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");

    let wrong = signed(params("host-1"), &authority("other.example")).save(&dir, "wrong");
    let (connected, accepted) = handshake(&as_client(Some(wrong)), &acceptor, "a").await;
    let error = accepted.unwrap_err();
    let TlsError::Certificate { problem, .. } = &error else { panic!("{error}") };
    assert!(matches!(problem, CertificateProblem::UnknownIssuer { .. }), "{problem}");
    assert!(soon(connected.unwrap().stream.read(&mut [0; 10])).await.is_err());

    let mut server_only = params("host-1");
    server_only.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server_only = signed(server_only, &ca).save(&dir, "server-only");
    let (_, accepted) = handshake(&as_client(Some(server_only)), &acceptor, "a").await;
    let error = accepted.unwrap_err().to_string();
    assert!(error.contains("extended key usage"), "{error}");
}

#[tokio::test]
async fn only_names_that_are_served_are_let_in() {
    let dir = Dir::new();
    let files = self_signed(params("hub.example")).save(&dir, "hub");
    let connector = Connector::new(&off(), &[]).unwrap();
    let serve = |names: &[&str]| {
        let settings = ServerTls {
            reject_unknown_sni: true,
            server_names: names.iter().map(|&name| name.into()).collect(),
            ..served_by(files.clone())
        };
        acceptor_of(&settings)
    };
    let some = serve(&["hub.example", "WWW.example"]);
    for name in ["hub.example", "www.EXAMPLE"] {
        let (connected, accepted) = handshake(&connector, &some, name).await;
        connected.unwrap();
        assert!(accepted.unwrap().server_name.unwrap().eq_ignore_ascii_case(name));
    }
    for name in ["other.example", "127.0.0.1"] {
        let (connected, accepted) = handshake(&connector, &some, name).await;
        let error = connected.unwrap_err().to_string();
        assert!(error.contains("it does not serve this name"), "{error}");
        let error = accepted.unwrap_err();
        assert!(matches!(error, TlsError::UnknownServerName(_)), "{error}");
    }
    let any = serve(&[]);
    assert!(handshake(&connector, &any, "other.example").await.1.is_ok());
    assert!(handshake(&connector, &any, "127.0.0.1").await.1.is_err());
}
