//! An HTTP route plugin that is right, slow, refusing, redirecting, endless, talking nonsense, or gone.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rtun_config::model::{ClientTls, Plugin, PluginProtocol};
use rtun_control::{PluginError, connect_route_plugin};
use rtun_core::{NamespaceId, Secret};

const NAMESPACE: &str = "e87f56dd-fd57-4921-9ab8-a0847662daae";

fn settings(url: &str) -> Plugin {
    Plugin {
        protocol: PluginProtocol::Http,
        addr: url.to_owned(),
        token: None,
        timeout: Duration::from_millis(500),
        tls: None,
    }
}

/// Serves each connection with `answer`, and hands out the heads of the requests.
fn server(
    answer: impl Fn(&mut TcpStream) + Send + 'static,
) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (heads, received) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let _ = heads.send(String::from_utf8_lossy(&head).into_owned());
            answer(&mut stream);
        }
    });
    (address, received)
}

fn says(status: &'static str, body: &'static str) -> impl Fn(&mut TcpStream) + Send {
    move |stream| {
        let length = body.len();
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
    }
}

async fn ask(settings: &Plugin) -> Result<Option<String>, PluginError> {
    let plugin = connect_route_plugin(settings).unwrap();
    let answer =
        plugin.route(NAMESPACE.parse::<NamespaceId>().unwrap(), IpAddr::from([10, 0, 0, 7]));
    answer.await.map(|gateway| gateway.map(|gateway| gateway.to_string()))
}

async fn ask_one_that(
    answer: impl Fn(&mut TcpStream) + Send + 'static,
) -> Result<Option<String>, PluginError> {
    let (address, _heads) = server(answer);
    ask(&settings(&format!("http://{address}/"))).await
}

#[tokio::test]
async fn the_question_is_gosts() {
    let (address, heads) = server(says("200 OK", r#"{"dst":"10.0.0.0/24","gateway":"host-1"}"#));
    let url = format!("http://{address}/routes?site=a");
    let with_token = Plugin { token: Some(Secret::new("t0ken")), ..settings(&url) };
    assert_eq!(ask(&with_token).await, Ok(Some("host-1".into())));
    let head = heads.recv().unwrap().to_ascii_lowercase();
    let first = format!("get /routes?site=a&dst=10.0.0.7&id={NAMESPACE} http/1.1\r\n");
    assert!(head.starts_with(&first), "{head}");
    assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
    assert!(head.contains("\r\nauthorization: bearer t0ken\r\n"), "{head}");
}

#[tokio::test]
async fn answers_are_taken_as_gost_takes_them() {
    for (body, expected) in [
        (r#"{"dst":"10.0.0.7","gateway":"a"}"#, Ok(Some("a"))),
        (r#"{"dst":"10.0.0.7/32","gateway":"a"}"#, Ok(Some("a"))),
        (r#"{"net":"10.0.0.0/8","gateway":"a","more":[1]}"#, Ok(Some("a"))),
        (r#"{"gateway":"a"}"#, Ok(None)),
        (r#"{"dst":"10.0.0.7"}"#, Ok(None)),
        ("{}", Ok(None)),
        (r#"{"dst":"10.9.0.0/16","gateway":"a"}"#, Err("does not contain 10.0.0.7")),
        (r#"{"dst":"everything","gateway":"a"}"#, Err("neither an address nor a prefix")),
        (r#"{"dst":"0.0.0.0/0","gateway":"a b"}"#, Err("no blanks")),
        ("3", Err("")),
        ("<html>", Err("")),
        ("", Err("")),
    ] {
        let answer = ask_one_that(says("200 OK", body)).await;
        match expected {
            Ok(gateway) => assert_eq!(answer, Ok(gateway.map(str::to_owned)), "{body}"),
            Err(part) => match answer {
                Err(PluginError::Nonsense(text)) => assert!(text.contains(part), "{body}: {text}"),
                other => panic!("{body}: {other:?}"),
            },
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_token_stays() {
    let (catcher, caught) = server(says("200 OK", r#"{"dst":"10.0.0.7","gateway":"evil"}"#));
    let (address, _heads) = server(move |stream| {
        let _ = write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: http://{catcher}/\r\nContent-Length: 0\r\n\r\n"
        );
    });
    let url = format!("http://{address}/");
    let with_token = Plugin { token: Some(Secret::new("t0ken")), ..settings(&url) };
    assert_eq!(ask(&with_token).await, Err(PluginError::Status(302)));
    assert!(caught.try_recv().is_err(), "nobody asked the other server");
}

#[tokio::test]
async fn bad_servers_are_held_to_their_limits() {
    assert_eq!(ask_one_that(says("500 Oh no", "{}")).await, Err(PluginError::Status(500)));
    assert_eq!(ask_one_that(says("204 No Content", "")).await, Err(PluginError::Status(204)));

    let start = Instant::now();
    let hanging = ask_one_that(|stream| {
        let _ = stream.read(&mut [0]);
    });
    assert_eq!(hanging.await, Err(PluginError::Timeout));
    let dribbling = ask_one_that(|stream| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(dribbling.await, Err(PluginError::Timeout));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());

    let endless = ask_one_that(|stream| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b' '; 4096]).is_ok() {}
    });
    assert_eq!(endless.await, Err(PluginError::TooLarge));

    let cut = ask_one_that(|stream| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{{\"dst\":");
    });
    assert!(matches!(cut.await, Err(PluginError::Unreachable(_))));

    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = ask(&settings(&format!("http://{gone}/"))).await;
    assert!(matches!(refused, Err(PluginError::Unreachable(_))), "{refused:?}");
}

/// A TLS server with a certificate of its own making, for the name `plugin.example`.
async fn tls_server() -> SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let certified = rcgen::generate_simple_self_signed(["plugin.example".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let asked_for = stream.get_ref().1.server_name().unwrap_or("none").to_owned();
            let _ = stream.read(&mut [0; 4096]).await;
            let body = format!("{{\"dst\":\"10.0.0.7\",\"gateway\":\"{asked_for}\"}}");
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

#[tokio::test]
async fn certificates_are_verified_where_that_is_asked_for() {
    let url = format!("https://{}/", tls_server().await);
    let tls = |verify| Some(ClientTls { verify, server_name: Some("plugin.example".into()) });
    let unverified = Plugin { tls: tls(false), ..settings(&url) };
    assert_eq!(ask(&unverified).await, Ok(Some("plugin.example".into())), "the name is asked for");
    let verified = Plugin { tls: tls(true), ..unverified };
    let refused = ask(&verified).await;
    assert!(
        matches!(&refused, Err(PluginError::Unreachable(text)) if text.contains("certificate")),
        "{refused:?}"
    );
}
