//! Handshakes that succeed, fail and never end.

use std::{sync::Arc, time::Duration};

use rtun_settings::QuicSettings;
use rtun_transport::{
    Stream,
    quic::{self, BindError, QuicError, QuicHandshakeError, QuicListener, RefusedHandshakes},
};
use tokio::{net::UdpSocket, sync::Semaphore, task::JoinSet, time::timeout};

use super::{
    battery::pattern,
    certificates::{Ca, NAME},
    pair::{PATIENCE, Server, as_stream, bind, connect, first_stream, pair, server, server_with},
};

/// The one reason a connection to a single address failed.
async fn refusal(
    addr: &str,
    name: &str,
    tls: Arc<rustls::ClientConfig>,
) -> (QuicHandshakeError, String) {
    let error = connect(addr, name, tls, &QuicSettings::default(), PATIENCE).await.unwrap_err();
    let text = error.to_string();
    let QuicError::Failed { mut tried, .. } = error else { panic!("{text}") };
    assert_eq!(tried.attempts.len(), 1, "{text}");
    (tried.attempts.remove(0).1.unwrap(), text)
}

/// Takes every connection that comes, and the first stream of each.
fn serve(listener: Arc<QuicListener>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Some(incoming) = listener.accept().await {
            connections.spawn(async move {
                let Ok(connection) = incoming.accept().await else { return };
                while let Ok(Some(stream)) = connection.accept_stream().await {
                    let stream: &dyn Stream = &*stream;
                    let mut bytes = [0; 5];
                    if stream.read_exact(&mut bytes).await.is_ok() {
                        let _ = stream.write_all(&bytes).await;
                    }
                    // Until the other side has seen it.
                    let _ = stream.read(&mut bytes).await;
                }
            });
        }
    })
}

#[tokio::test]
async fn an_empty_host_listens_on_both_families() {
    let ca = Ca::new();
    let listener = bind(":0", ca.server(), &QuicSettings::default()).unwrap();
    let local = listener.local_addr().unwrap();
    let listener = Arc::new(listener);
    let server = serve(Arc::clone(&listener));
    let mut hosts = vec!["127.0.0.1", "localhost", ""];
    if local.is_ipv6() {
        hosts.push("[::1]");
    }
    for host in hosts {
        let addr = format!("{host}:{}", local.port());
        let stream =
            connect(&addr, NAME, ca.client(), &QuicSettings::default(), PATIENCE).await.unwrap();
        as_stream(&stream).write_all(b"hello").await.unwrap();
        as_stream(&stream).read_exact(&mut [0; 5]).await.unwrap();
        assert_eq!(stream.remote().port(), local.port());
    }
    server.abort();
}

#[tokio::test]
async fn the_remote_of_a_dual_listener_is_written_in_its_own_family() {
    let ca = Ca::new();
    let listener = bind(":0", ca.server(), &QuicSettings::default()).unwrap();
    let addr = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    let settings = QuicSettings::default();
    let accept = async {
        let incoming = listener.accept().await.unwrap();
        assert_eq!(incoming.remote().ip().to_string(), "127.0.0.1");
        incoming.accept().await.unwrap()
    };
    let (client, connection) =
        tokio::join!(connect(&addr, NAME, ca.client(), &settings, PATIENCE), accept);
    assert_eq!(connection.remote().ip().to_string(), "127.0.0.1");
    assert_eq!(connection.server_name().as_deref(), Some(NAME));
    assert!(connection.peer_certificates().is_empty());
    drop(client);
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_is_named_and_nothing_is_sent() {
    let server = server();
    let addr = server.addr();
    let accept = async {
        // What the client would have said had it been taken in.
        for _ in 0..2 {
            let incoming = server.listener.accept().await.unwrap();
            match incoming.accept().await {
                Err(QuicHandshakeError::TlsRefused { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let dial = async {
        let (error, text) = refusal(&addr, NAME, Ca::new().client()).await;
        assert!(matches!(error, QuicHandshakeError::Tls { .. }), "{text}");
        assert!(text.contains("invalid peer certificate"), "{text}");
        let (error, text) = refusal(&addr, "other.test", server.ca.client()).await;
        assert!(matches!(error, QuicHandshakeError::Tls { .. }), "{text}");
        assert!(text.contains("not valid for name"), "{text}");
        assert!(text.contains(&addr), "{text}");
    };
    tokio::join!(accept, dial);
}

#[tokio::test]
async fn a_client_proves_itself_by_its_certificate() {
    let ca = Ca::new();
    let settings = QuicSettings::default();
    let listener = bind("127.0.0.1:0", ca.mutual_server(), &settings).unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let identity = ca.issue("host.test");
    let certificate = identity.certificate.clone();
    let (client, connection) =
        tokio::join!(connect(&addr, NAME, ca.client_with(identity), &settings, PATIENCE), async {
            listener.accept().await.unwrap().accept().await.unwrap()
        });
    assert_eq!(connection.peer_certificates(), [certificate]);
    first_stream(&client.unwrap(), &connection).await;

    let unknown_client = Ca::new().issue("host.test");
    for tls in [ca.client(), ca.client_with(unknown_client)] {
        let refuse = async { listener.accept().await.unwrap().accept().await.unwrap_err() };
        let dial = async {
            // Refused with the first answer, when the handshake is complete for the client.
            let stream = connect(&addr, NAME, tls, &settings, PATIENCE).await.unwrap();
            as_stream(&stream).read(&mut [0; 1]).await.unwrap_err()
        };
        let (refused, error) = tokio::join!(refuse, dial);
        assert!(matches!(refused, QuicHandshakeError::Tls { .. }), "{refused}");
        assert!(error.to_string().contains("ertificate"), "{error}");
    }
}

#[tokio::test]
async fn sides_without_a_common_protocol_say_so() {
    let server = server();
    let mut tls = Arc::unwrap_or_clone(server.ca.client());
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let addr = server.addr();
    let refuse = async { server.listener.accept().await.unwrap().accept().await.unwrap_err() };
    let ((error, text), _) = tokio::join!(refusal(&addr, NAME, Arc::new(tls)), refuse);
    assert!(matches!(error, QuicHandshakeError::Alpn), "{text}");
}

#[tokio::test]
async fn each_of_the_protocols_is_enough() {
    let server = server();
    for protocol in quic::ALPN {
        let mut tls = Arc::unwrap_or_clone(server.ca.client());
        tls.alpn_protocols = vec![protocol.to_vec()];
        let (addr, settings) = (server.addr(), QuicSettings::default());
        let (client, _) =
            tokio::join!(connect(&addr, NAME, Arc::new(tls), &settings, PATIENCE), server.accept());
        client.unwrap();
    }
}

#[tokio::test]
async fn a_refused_sender_is_told() {
    let server = server();
    let addr = server.addr();
    let refuse = async { server.listener.accept().await.unwrap().refuse() };
    let ((error, text), ()) = tokio::join!(refusal(&addr, NAME, server.ca.client()), refuse);
    assert!(matches!(error, QuicHandshakeError::Refused), "{text}");
}

#[tokio::test]
async fn every_sender_proves_its_address_first() {
    let server = server();
    let settings = QuicSettings::default();
    let accept = async {
        let incoming = server.listener.accept().await.unwrap();
        assert!(incoming.is_validated());
        incoming.accept().await.unwrap()
    };
    let (client, connection) = tokio::join!(server.dial(&settings), accept);
    first_stream(&client.unwrap(), &connection).await;
    assert_eq!(server.listener.counts(), RefusedHandshakes { retried: 1, ignored: 0 });
}

#[tokio::test]
async fn nobody_there_is_told_in_time() {
    // Taken, and never read.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = silent.local_addr().unwrap().to_string();
    let within = Duration::from_millis(300);
    let settings = QuicSettings::default();
    let dial = connect(&addr, NAME, Ca::new().client(), &settings, within);
    let error = timeout(PATIENCE, dial).await.unwrap().unwrap_err();
    assert!(matches!(error, QuicError::TimedOut { .. }), "{error}");
    let impatient = QuicSettings {
        handshake_timeout: Some(Duration::from_millis(200)),
        ..QuicSettings::default()
    };
    let dial = connect(&addr, NAME, Ca::new().client(), &impatient, PATIENCE);
    let error = timeout(PATIENCE, dial).await.unwrap().unwrap_err();
    let text = error.to_string();
    let QuicError::Failed { tried, .. } = error else { panic!("{text}") };
    assert!(matches!(tried.attempts[0].1, Some(QuicHandshakeError::TimedOut { .. })), "{text}");
}

/// Of a sender that proves its address and says nothing more.
#[tokio::test]
async fn a_handshake_that_never_goes_on_is_given_up_at_its_limit() {
    let limit = Duration::from_millis(500);
    let server =
        server_with(&QuicSettings { handshake_timeout: Some(limit), ..QuicSettings::default() });
    let (front, back) =
        tokio::join!(UdpSocket::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
    let (front, back) = (front.unwrap(), back.unwrap());
    let (addr, front_addr) = (server.addr(), front.local_addr().unwrap().to_string());
    let between = async {
        let mut packet = [0; 2048];
        let (length, client) = front.recv_from(&mut packet).await.unwrap();
        back.send_to(&packet[..length], &addr).await.unwrap();
        let length = back.recv(&mut packet).await.unwrap();
        front.send_to(&packet[..length], client).await.unwrap();
        let (length, _) = front.recv_from(&mut packet).await.unwrap();
        back.send_to(&packet[..length], &addr).await.unwrap();
        std::future::pending::<()>().await;
    };
    let settings = QuicSettings::default();
    let accept = async {
        let incoming = server.listener.accept().await.unwrap();
        assert_eq!(server.listener.open_handshakes(), 1);
        timeout(PATIENCE, incoming.accept()).await.unwrap().unwrap_err()
    };
    let error = tokio::select! {
        error = accept => error,
        _ = connect(&front_addr, NAME, server.ca.client(), &settings, PATIENCE) => panic!("connected"),
        () = between => panic!("it ends"),
    };
    assert!(matches!(error, QuicHandshakeError::TimedOut { after } if after == limit), "{error}");
    assert_eq!(server.listener.open_handshakes(), 0);
}

/// The first packet of a client, recorded.
async fn first_packet(server: &Server) -> Vec<u8> {
    let recorder = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = recorder.local_addr().unwrap().to_string();
    let (tls, settings) = (server.ca.client(), QuicSettings::default());
    let mut packet = vec![0; 2048];
    let length = tokio::select! {
        _ = connect(&addr, NAME, tls, &settings, PATIENCE) => panic!("connected"),
        length = recorder.recv(&mut packet) => length.unwrap(),
    };
    packet.truncate(length);
    packet
}

/// RFC 9000 section 8.1 allows three times what was received, before the address is proven; here it is less than once, and
/// nothing is kept of a sender that forges it.
#[tokio::test]
async fn a_sender_that_is_not_there_gets_less_than_it_sends_and_takes_no_place() {
    let server = server();
    let first = first_packet(&server).await;
    let mut other_version = first.clone();
    other_version[1..5].copy_from_slice(&[0x1a, 0x2a, 0x3a, 0x4a]);
    let mut short = first.clone();
    short.truncate(300);
    let mut longer = first.clone();
    longer.extend([0; 152]);
    // A packet of an established connection that there is not, which is answered by a reset.
    let established: Vec<u8> = [0x40].into_iter().chain(pattern(99, 7)).collect();
    let addr = server.addr();
    let forge = async {
        // A packet that is always answered is sent again only after the answer: two that wait together are answered once.
        let (answered, perhaps) = (PATIENCE, Duration::from_millis(5));
        for (what, packet, times, wait) in [
            ("one", &first, 1, answered),
            ("longer", &longer, 1, answered),
            ("many", &first, 100, answered),
            ("another version", &other_version, 10, perhaps),
            ("another version, short", &short, 10, perhaps),
            ("an established connection's", &established, 10, perhaps),
        ] {
            let forger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let (mut sent, mut received) = (0, 0);
            let mut answer = [0; 2048];
            for _ in 0..times {
                sent += forger.send_to(packet, &addr).await.unwrap();
                if let Ok(length) = timeout(wait, forger.recv(&mut answer)).await {
                    received += length.unwrap();
                }
            }
            // Longer than quinn waits before it sends again what was not acknowledged.
            let quiet = Duration::from_millis(1200);
            while let Ok(length) = timeout(quiet, forger.recv(&mut answer)).await {
                received += length.unwrap();
            }
            assert!(received < sent, "{what}: {received} bytes for {sent}");
        }
    };
    let nobody = async {
        server.listener.accept().await;
        panic!("a forger has a place");
    };
    tokio::select! {
        () = forge => {}
        () = nobody => {}
    }
    assert_eq!(server.listener.open_handshakes(), 0);
    assert!(server.listener.counts().retried >= 100);
    let settings = QuicSettings::default();
    let (client, connection) = tokio::join!(server.dial(&settings), server.accept());
    first_stream(&client.unwrap(), &connection).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_connections_stand() {
    const CONNECTIONS: usize = 1000;
    const AT_ONCE: usize = 50;
    let ca = Ca::new();
    // A thousand handshakes at once take long: nobody is given up for silence meanwhile.
    let settings = QuicSettings {
        keepalive: None,
        handshake_timeout: Some(Duration::from_secs(60)),
        ..QuicSettings::default()
    };
    let listener = Arc::new(bind("127.0.0.1:0", ca.server(), &settings).unwrap());
    let addr = listener.local_addr().unwrap().to_string();
    let server = serve(Arc::clone(&listener));
    let tls = ca.client();
    let mut dials = JoinSet::new();
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    for _ in 0..CONNECTIONS {
        let (addr, tls, settings) = (addr.clone(), Arc::clone(&tls), settings.clone());
        let at_once = Arc::clone(&at_once);
        dials.spawn(async move {
            let _turn = at_once.acquire().await.unwrap();
            let within = Duration::from_secs(60);
            connect(&addr, NAME, tls, &settings, within).await.unwrap()
        });
    }
    let streams = dials.join_all().await;
    for stream in &streams {
        as_stream(stream).write_all(b"hello").await.unwrap();
    }
    for stream in &streams {
        let mut echo = [0; 5];
        as_stream(stream).read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"hello");
    }
    assert_eq!(listener.open_handshakes(), 0);
    server.abort();
}

#[tokio::test]
async fn above_the_bound_senders_wait_and_get_in_later() {
    let server = server();
    let (addr, tls) = (server.addr(), server.ca.client());
    let mut dials = JoinSet::new();
    let mut held = Vec::new();
    while held.len() < quic::HANDSHAKES_MAX {
        let (addr, tls) = (addr.clone(), Arc::clone(&tls));
        dials.spawn(async move {
            connect(&addr, NAME, tls, &QuicSettings::default(), PATIENCE).await.unwrap_err()
        });
        let incoming = timeout(PATIENCE, server.listener.accept()).await.unwrap().unwrap();
        held.push(incoming);
    }
    let before = server.listener.counts();
    assert_eq!(before.ignored, 0);
    let late = tokio::spawn(async move {
        connect(&addr, NAME, tls, &QuicSettings::default(), PATIENCE).await.unwrap()
    });
    let accept = timeout(Duration::from_millis(500), server.listener.accept());
    assert!(accept.await.is_err());
    assert!(server.listener.counts().ignored > 0);
    // Each is refused by the drop; the late one gets in with a later packet.
    drop(held);
    assert_eq!(server.listener.open_handshakes(), 0);
    for error in dials.join_all().await {
        assert!(matches!(error, QuicError::Failed { .. }), "{error}");
    }
    let listener = Arc::new(server.listener);
    let serving = serve(Arc::clone(&listener));
    timeout(PATIENCE, late).await.unwrap().unwrap();
    serving.abort();
}

#[tokio::test]
async fn a_certificate_is_exchanged_without_dropping_anyone() {
    let server = server();
    let (client, accepted, _connection) = pair(&server).await;
    let other = Ca::new();
    server.listener.set_tls(other.server()).unwrap();
    as_stream(&client).write_all(b"still").await.unwrap();
    as_stream(&accepted).read_exact(&mut [0; 5]).await.unwrap();
    let (addr, settings) = (server.addr(), QuicSettings::default());
    let (stream, _connection) =
        tokio::join!(connect(&addr, NAME, other.client(), &settings, PATIENCE), server.accept());
    stream.unwrap();
}

#[tokio::test]
async fn addresses_that_are_none_are_refused() {
    let ca = Ca::new();
    for bad in ["8421", "", "127.0.0.1", ":http3"] {
        let error = bind(bad, ca.server(), &QuicSettings::default()).unwrap_err();
        assert!(matches!(error, BindError::Listen(_)), "{error}");
    }
    let taken = server();
    let error = bind(&taken.addr(), ca.server(), &QuicSettings::default()).unwrap_err();
    assert!(error.to_string().contains(&taken.addr()), "{error}");
}
