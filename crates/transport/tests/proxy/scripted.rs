//! Proxies that say what a test wants them to.

use std::{sync::Arc, time::Duration};

use rtun_settings::{Login, Secret};
use rtun_transport::{
    Stream, memory,
    proxy::{ProxyError, http_connect, socks5},
};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

/// User and password.
pub(crate) type Auth<'a> = Option<(&'a str, &'a str)>;

/// What a client says and what it is answered, in turns.
type Script<'a> = &'a [(&'a [u8], &'a [u8])];

pub(crate) fn login(auth: Auth<'_>) -> Option<Login> {
    auth.map(|(user, password)| Login {
        user: user.to_owned(),
        password: Secret::new(password),
        file: None,
    })
}

pub(crate) fn pair() -> (Arc<dyn Stream>, Arc<dyn Stream>) {
    let (a, b) = memory::pair(64 * 1024);
    (Arc::new(a), Arc::new(b))
}

/// Plays a proxy, which says a few bytes at a time.
async fn play(stream: &dyn Stream, script: Script<'_>) {
    for (question, answer) in script {
        let mut got = vec![0; question.len()];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(got.escape_ascii().to_string(), question.escape_ascii().to_string());
        for piece in answer.chunks(7) {
            // A client that knows enough may be gone.
            if stream.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn through_http(auth: Auth<'_>, script: Script<'_>) -> Result<(), ProxyError> {
    let (a, b) = pair();
    let login = login(auth);
    let client = http_connect(&*a, "hub.example:8421", login.as_ref(), &[]);
    let (result, ()) = timeout(PATIENCE, async { tokio::join!(client, play(&*b, script)) })
        .await
        .expect("the client comes to an end");
    if result.is_ok() {
        goes_on(&*a, &*b).await;
    }
    result
}

async fn through_socks(target: &str, auth: Auth<'_>, script: Script<'_>) -> Result<(), ProxyError> {
    let (a, b) = pair();
    let login = login(auth);
    let client = socks5(&*a, target, login.as_ref());
    let (result, ()) = timeout(PATIENCE, async { tokio::join!(client, play(&*b, script)) })
        .await
        .expect("the client comes to an end");
    if result.is_ok() {
        goes_on(&*a, &*b).await;
    }
    result
}

/// What the target said right after the answer, and then.
async fn goes_on(client: &dyn Stream, target: &dyn Stream) {
    target.write_all(b" and more").await.unwrap();
    let mut got = [0; 18];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hello\r\n\r\n and more");
    client.write_all(b"answer").await.unwrap();
    let mut got = [0; 6];
    target.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"answer");
}

const CONNECT: &[u8] = b"CONNECT hub.example:8421 HTTP/1.1\r\nHost: hub.example:8421\r\n\r\n";
const CONNECT_AS_ME: &[u8] = b"CONNECT hub.example:8421 HTTP/1.1\r\nHost: hub.example:8421\r\n\
    Proxy-Authorization: Basic bWU6czNjcmV0\r\n\r\n";
const ME: Auth<'_> = Some(("me", "s3cret"));

#[tokio::test]
async fn an_http_proxy_opens_the_way_and_nothing_behind_its_answer_is_lost() {
    for answer in [
        "HTTP/1.1 200 Connection established\r\n\r\n",
        "HTTP/1.0 200\r\nVia: 1.1 a\r\nContent-Length: 100\r\n\r\n",
        "HTTP/1.1 204 Fine\n\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX: y\r\n\r\n",
    ] {
        let answer = format!("{answer}hello\r\n\r\n");
        through_http(None, &[(CONNECT, answer.as_bytes())]).await.unwrap();
        through_http(ME, &[(CONNECT_AS_ME, answer.as_bytes())]).await.unwrap();
    }
}

#[tokio::test]
async fn an_http_proxy_that_says_no_is_named() {
    let cases = [
        (None, "407 Proxy Authentication Required", "wants a user and a password: "),
        (ME, "401 Unauthorized", "refused the user and password: "),
        (ME, "407 Proxy Authentication Required", "refused the user and password: "),
        (None, "403 Forbidden", "forbids this target: "),
        (None, "502 Bad\x1b[2J Gateway", "answered "),
        (None, "301 Moved", "answered "),
    ];
    for (auth, status, expected) in cases {
        let question = if auth.is_some() { CONNECT_AS_ME } else { CONNECT };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\nsorry");
        let error = through_http(auth, &[(question, answer.as_bytes())]).await.unwrap_err();
        let shown = status.replace('\x1b', "?");
        let expected = format!("the proxy {expected}\"HTTP/1.1 {shown}\"");
        assert_eq!(error.to_string(), expected);
    }
    let endless = [&b"HTTP/1.1 200 OK\r\nX: "[..], &[b'a'; 20_000]].concat();
    let error = through_http(None, &[(CONNECT, &endless)]).await.unwrap_err();
    assert!(error.to_string().contains("longer than 16 KiB"), "{error}");
    let error = through_http(None, &[(CONNECT, b"SSH-2.0-OpenSSH\r\n")]).await.unwrap_err();
    assert!(error.to_string().contains("is the proxy an HTTP proxy?"), "{error}");
}

#[tokio::test]
async fn a_socks_proxy_opens_the_way_and_nothing_behind_its_answer_is_lost() {
    let name: &[u8] = b"\x05\x01\x00\x03\x0bhub.example\x20\xe5";
    let v6: &[u8] = b"\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\xe5";
    let ok_v4 = b"\x05\x00\x00\x01\x0a\x00\x00\x01\x04\x38hello\r\n\r\n";
    let ok_name = b"\x05\x00\x00\x03\x02hi\x04\x38hello\r\n\r\n";
    let ok_v6 = b"\x05\x00\x00\x04aaaaaaaaaaaaaaaa\x04\x38hello\r\n\r\n";
    let target = "hub.example:8421";
    through_socks(target, None, &[(b"\x05\x01\x00", b"\x05\x00"), (name, ok_v4)]).await.unwrap();
    through_socks("[2001:db8::1]:8421", None, &[(b"\x05\x01\x00", b"\x05\x00"), (v6, ok_name)])
        .await
        .unwrap();
    // It does not ask for the password, then it does.
    let greeting = b"\x05\x02\x00\x02";
    through_socks(target, ME, &[(greeting, b"\x05\x00"), (name, ok_v6)]).await.unwrap();
    let password = (&b"\x01\x02me\x06s3cret"[..], &b"\x01\x00"[..]);
    let script = [(&greeting[..], &b"\x05\x02"[..]), password, (name, ok_v4)];
    through_socks(target, ME, &script).await.unwrap();
}

#[tokio::test]
async fn a_socks_proxy_that_says_no_is_named() {
    let target = "hub.example:8421";
    let greeting: &[u8] = b"\x05\x01\x00";
    let request: &[u8] = b"\x05\x01\x00\x03\x0bhub.example\x20\xe5";
    let password: &[u8] = b"\x01\x02me\x06s3cret";
    let cases: [(Auth<'_>, Script<'_>, &str); 5] = [
        (None, &[(greeting, b"\x05\xff")], "the proxy accepts none of the offered methods"),
        (None, &[(greeting, b"HTTP/1.1 400")], "the answer is not SOCKS 5, it begins with 0x48"),
        (
            ME,
            &[(b"\x05\x02\x00\x02", b"\x05\x02"), (password, b"\x01\x01")],
            "the proxy refused the user and password",
        ),
        // Some say no more than this.
        (
            None,
            &[(greeting, b"\x05\x00"), (request, b"\x05\x02")],
            "the proxy refused: not allowed by its rules",
        ),
        (
            None,
            &[(greeting, b"\x05\x00"), (request, b"\x05\x05\x00\x01\0\0\0\0\0\0")],
            "the proxy refused: connection refused",
        ),
    ];
    for (auth, script, expected) in cases {
        let error = through_socks(target, auth, script).await.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[tokio::test]
async fn a_proxy_that_ends_the_connection_is_told_apart() {
    for beginning in [&b""[..], b"HTTP/1.1 200 OK\r\n"] {
        let (a, b) = pair();
        b.write_all(beginning).await.unwrap();
        b.shutdown().await.unwrap();
        let error = http_connect(&*a, "hub.example:8421", None, &[]).await.unwrap_err();
        assert!(
            matches!(&error, ProxyError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof),
            "{error}"
        );
    }
}

/// Nothing a configuration can hold becomes more than one field of a request.
#[tokio::test]
async fn what_cannot_be_asked_for_is_refused_before_a_byte_is_sent() {
    let (a, b) = pair();
    for target in ["hub.example", "a\r\nX: y:1", "hub:0"] {
        assert!(matches!(http_connect(&*a, target, None, &[]).await, Err(ProxyError::Target(_))));
        assert!(matches!(socks5(&*a, target, None).await, Err(ProxyError::Target(_))));
    }
    let bad = login(Some(("me\r\nX: y", "s3cret")));
    let error = http_connect(&*a, "hub:1", bad.as_ref(), &[]).await.unwrap_err();
    assert!(!error.to_string().contains("s3cret"), "{error}");
    assert!(matches!(error, ProxyError::HttpCredentials(_)));
    let error = socks5(&*a, "hub:1", login(Some(("", "s3cret"))).as_ref()).await.unwrap_err();
    assert!(matches!(error, ProxyError::Socks5Credentials(_)));
    assert!(b.try_read(&mut [0; 1]).is_err(), "bytes were sent");
}
