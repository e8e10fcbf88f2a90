//! An HTTP plugin that is right, slow, hanging, refusing, redirecting, endless, talking nonsense, empty, cut short, or
//! gone.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rtun_control::{
    AuthQuestion, LimitQuestion, PluginError, PluginScope, PluginSetupError,
    connect_admission_plugin, connect_auth_plugin, connect_ingress_plugin, connect_limiter_plugin,
    connect_route_plugin,
};
use rtun_core::{HostName, NamespaceId, Secret};
use rtun_settings::{PluginProtocol, PluginSettings};

const NAMESPACE: &str = "e87f56dd-fd57-4921-9ab8-a0847662daae";

fn settings(url: &str) -> PluginSettings {
    PluginSettings {
        protocol: PluginProtocol::Http,
        addr: url.to_owned(),
        token: None,
        timeout: Duration::from_millis(500),
        tls: None,
    }
}

/// Serves each connection with `answer`, and hands out the requests.
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
            let head = String::from_utf8_lossy(&head).into_owned();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            let _ = stream.read_exact(&mut body);
            let _ = heads.send(head + &String::from_utf8_lossy(&body));
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

async fn ask(settings: &PluginSettings) -> Result<Option<String>, PluginError> {
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
    let with_token = PluginSettings { token: Some(Secret::new("t0ken")), ..settings(&url) };
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
    let with_token = PluginSettings { token: Some(Secret::new("t0ken")), ..settings(&url) };
    assert_eq!(ask(&with_token).await, Err(PluginError::Status(302)));
    assert!(caught.try_recv().is_err(), "the other server was not asked");
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

/// Whether each kind permits something at the same server, one after the other.
async fn permissions(settings: &PluginSettings) -> [Result<bool, PluginError>; 4] {
    let login = AuthQuestion {
        user: "u".into(),
        password: Secret::new("p"),
        client: ([192, 0, 2, 1], 4711).into(),
        service: "hub".into(),
    };
    let host = HostName::new("host").unwrap();
    [
        ask(settings).await.map(|gateway| gateway.is_some()),
        connect_ingress_plugin(settings)
            .unwrap()
            .namespace(&host, "my hub")
            .await
            .map(|rule| rule.is_some()),
        connect_auth_plugin(settings).unwrap().authenticate(&login).await.map(|id| id.is_some()),
        connect_admission_plugin(settings).unwrap().admit("hub", login.client).await,
    ]
}

async fn permissions_of(
    answer: impl Fn(&mut TcpStream) + Send + 'static,
) -> [Result<bool, PluginError>; 4] {
    let (address, _requests) = server(answer);
    permissions(&settings(&format!("http://{address}/"))).await
}

#[tokio::test]
async fn the_questions_of_all_kinds_are_gosts() {
    let everything = r#"{"dst":"10.0.0.7","gateway":"a","ok":true,"id":"i",
        "endpoint":"e87f56dd-fd57-4921-9ab8-a0847662daae"}"#;
    let (address, requests) = server(says("200 OK", everything));
    let url = format!("http://{address}/ask");
    let with_token = PluginSettings { token: Some(Secret::new("t0ken")), ..settings(&url) };
    assert_eq!(permissions(&with_token).await, [true; 4].map(Ok));
    let requests: Vec<_> = requests.try_iter().collect();
    for (request, first, body) in [
        (&requests[1], "GET /ask?host=host&service=my+hub HTTP/1.1", ""),
        (
            &requests[2],
            "POST /ask HTTP/1.1",
            r#"{"service":"hub","username":"u","password":"p","client":"192.0.2.1:4711"}"#,
        ),
        (
            &requests[3],
            "POST /ask HTTP/1.1",
            r#"{"service":"hub","network":"tcp","addr":"192.0.2.1:4711"}"#,
        ),
    ] {
        let (head, sent) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(first), "{head}");
        assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
        assert!(head.contains("\r\nauthorization: Bearer t0ken\r\n"), "{head}");
        assert_eq!(sent, body);
    }
}

#[tokio::test]
async fn a_bad_server_permits_nothing_of_any_kind() {
    for (status, body, code) in [
        ("500 Oh no", r#"{"ok":true,"id":"i"}"#, 500),
        ("403 Forbidden", r#"{"ok":true}"#, 403),
        ("201 Created", r#"{"ok":true}"#, 201),
        ("302 Found", r#"{"ok":true}"#, 302),
    ] {
        let expected = [(); 4].map(|()| Err(PluginError::Status(code)));
        assert_eq!(permissions_of(says(status, body)).await, expected);
    }
    assert_eq!(permissions_of(says("200 OK", "{}")).await, [false; 4].map(Ok));
    for nonsense in ["", "[]", "true", r#"{"ok":true"#, "{\"ok\":true}{"] {
        for answer in permissions_of(says("200 OK", nonsense)).await {
            assert!(matches!(answer, Err(PluginError::Nonsense(_))), "{nonsense}: {answer:?}");
        }
    }
    let hanging = permissions_of(|stream| {
        let _ = stream.read(&mut [0]);
    });
    assert_eq!(hanging.await, [(); 4].map(|()| Err(PluginError::Timeout)));
    let endless = permissions_of(|stream| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b' '; 4096]).is_ok() {}
    });
    assert_eq!(endless.await, [(); 4].map(|()| Err(PluginError::TooLarge)));
    let compressed = permissions_of(|stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n";
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(b"\x1f\x8b\x08\0\0\0\0\0\0\x03");
    });
    for answer in compressed.await {
        assert!(matches!(answer, Err(PluginError::Nonsense(_))), "{answer:?}");
    }
    let cut = permissions_of(|stream| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{{\"ok\":true}}");
    });
    for answer in cut.await {
        assert!(matches!(answer, Err(PluginError::Unreachable(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn a_slow_plugin_is_waited_for() {
    let slow = ask_one_that(|stream| {
        thread::sleep(Duration::from_millis(200));
        says("200 OK", r#"{"dst":"10.0.0.7","gateway":"a"}"#)(stream);
    });
    assert_eq!(slow.await, Ok(Some("a".into())));
}

#[tokio::test]
async fn a_plugin_that_was_gone_is_found_again() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plugin = connect_route_plugin(&settings(&format!("http://{address}/"))).unwrap();
    let namespace: NamespaceId = NAMESPACE.parse().unwrap();
    let gone = plugin.route(namespace, [10, 0, 0, 7].into()).await;
    assert!(matches!(gone, Err(PluginError::Unreachable(_))), "{gone:?}");
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            says("200 OK", r#"{"dst":"10.0.0.7","gateway":"a"}"#)(&mut stream);
        }
    });
    let back = plugin.route(namespace, [10, 0, 0, 7].into()).await;
    assert_eq!(back, Ok(Some(HostName::new("a").unwrap())));
}

#[tokio::test]
async fn unusable_settings_are_refused_and_secrets_not_shown() {
    let refusal = |url: &str| connect_route_plugin(&settings(url)).err().expect("refused");
    for url in ["", "plugin:80", "ftp://plugin/", "unix:/plugin", "http://"] {
        assert!(matches!(refusal(url), PluginSetupError::Url(_)), "{url}");
    }
    for url in ["http://169.254.169.254/latest", "http://[fe80::1]/", "https://2852039166/"] {
        assert!(matches!(refusal(url), PluginSetupError::LinkLocal(_)), "{url}");
    }
    let bad_token =
        PluginSettings { token: Some(Secret::new("a\nb")), ..settings("http://plugin/") };
    assert!(matches!(connect_route_plugin(&bad_token), Err(PluginSetupError::Token)));
    let url = "http://user:secret@plugin:8000/routes?key=secret#secret";
    let plugin = connect_route_plugin(&settings(url)).unwrap();
    assert_eq!(plugin.address(), "http://plugin:8000/routes");
}

#[tokio::test]
async fn the_questions_about_limits_are_gosts() {
    let (address, requests) = server(says("200 OK", r#"{"in":1000,"out":0}"#));
    let plugin = connect_limiter_plugin(&settings(&format!("http://{address}/ask"))).unwrap();
    let src = ([192, 0, 2, 1], 4711).into();
    let (host, namespace) = (HostName::new("host-1").unwrap(), NAMESPACE.parse().unwrap());
    for (scope, body) in [
        (
            PluginScope::Service,
            r#"{"service":"hub","scope":"service","network":"tcp","addr":"","client":"","src":""}"#.to_owned(),
        ),
        (
            PluginScope::Connection(src),
            r#"{"service":"hub","scope":"conn","network":"tcp","addr":"","client":"","src":"192.0.2.1:4711"}"#.to_owned(),
        ),
        (
            PluginScope::Client { host, namespace, src },
            format!(r#"{{"service":"hub","scope":"client","network":"ip","addr":"","client":"host-1@{NAMESPACE}","src":"192.0.2.1:4711"}}"#),
        ),
    ] {
        let rates = plugin.limit(&LimitQuestion { service: "hub".into(), scope }).await.unwrap();
        assert_eq!((rates.input.map(u64::from), rates.output), (Some(1000), None));
        let request = requests.recv().unwrap();
        let (head, sent) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /ask HTTP/1.1"), "{head}");
        assert_eq!(sent, body);
    }
}
