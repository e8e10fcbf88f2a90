//! HTTP/2 and gRPC: what every transport's stream does, and what their peers see.

#![allow(clippy::unwrap_used)]

mod battery;
#[path = "battery/owned.rs"]
mod owned;

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use h2::{Reason, client};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use rtun_settings::{
    GrpcSettings, Http2Settings, HttpHeader, ListenOptions, Secret, SocketOptions,
};
use rtun_transport::{
    Stream, grpc,
    http2::{self, HttpError, Server},
    io_stream::IoStream,
    memory, tcp,
};
use tokio::{sync::mpsc, time::timeout};

use self::{
    battery::{Abilities, Ends, battery},
    owned::Owned,
};

/// How the server was reached.
const ADDR: &str = "hub.example:443";

const PATIENCE: Duration = Duration::from_secs(10);
const ABILITIES: Abilities = Abilities { half_close: true };

#[tokio::test]
async fn requests_on_tcp_pass() {
    for path in [None, Some("/tunnel".to_owned())] {
        battery(ABILITIES, async || {
            let (client, server) = tcp_pair().await;
            let settings = client_settings(path.clone());
            let server = http2::serve(server, &settings);
            ends(http2::connect(client, &settings, ADDR, false), server).await
        })
        .await;
    }
}

#[tokio::test]
async fn calls_on_tcp_pass() {
    battery(ABILITIES, async || {
        let (client, server) = tcp_pair().await;
        let server = grpc::serve(server, &GrpcSettings::default());
        ends(grpc::connect(client, &GrpcSettings::default(), ADDR, false), server).await
    })
    .await;
}

/// As above, with the server's end first.
#[tokio::test]
async fn answers_on_tcp_pass() {
    battery(ABILITIES, async || {
        let (client, server) = tcp_pair().await;
        let server = http2::serve(server, &Http2Settings::default());
        let (a, b) =
            ends(http2::connect(client, &client_settings(None), ADDR, false), server).await;
        (b, a)
    })
    .await;
    battery(ABILITIES, async || {
        let (client, server) = tcp_pair().await;
        let server = grpc::serve(server, &GrpcSettings::default());
        let (a, b) =
            ends(grpc::connect(client, &GrpcSettings::default(), ADDR, false), server).await;
        (b, a)
    })
    .await;
}

#[tokio::test]
async fn requests_of_one_connection_are_streams_of_their_own() {
    let (mut requests, mut server) = raw_client(|stream| http2::serve(stream, &path("/a"))).await;
    let mut streams = Vec::new();
    for i in 0..20_u8 {
        let (response, mut body) = requests.send_request(get("/a"), false).unwrap();
        body.send_data(Bytes::from(vec![i; 3]), false).unwrap();
        let (stream, _) = next(&mut server).await;
        assert_eq!(response.await.unwrap().status(), StatusCode::OK);
        streams.push((i, stream, body));
    }
    for (i, stream, _body) in streams.iter().rev() {
        assert_eq!(take(&**stream, 3).await, [*i; 3]);
    }
}

#[tokio::test]
async fn a_request_that_nobody_reads_holds_no_other() {
    let (mut requests, mut server) = raw_client(|stream| http2::serve(stream, &path("/a"))).await;
    let (_response, mut stalled_body) = requests.send_request(get("/a"), false).unwrap();
    let (stalled, _) = next(&mut server).await;
    // What is read first gives the connection its full windows.
    send(&mut stalled_body, &[1; 10_000]).await.unwrap();
    take(&*stalled, 10_000).await;
    let filling = tokio::spawn(async move {
        let mut sent = 0;
        while timeout(Duration::from_millis(500), send(&mut stalled_body, &[2; 10_000]))
            .await
            .is_ok()
        {
            sent += 10_000;
        }
        (sent, stalled_body)
    });
    let (sent, _stalled_body) = filling.await.unwrap();
    let window = http2::REQUEST_WINDOW as usize;
    assert!((window / 2..window * 2).contains(&sent), "{sent} bytes were taken");
    let (_response, mut body) = requests.send_request(get("/a"), false).unwrap();
    let (stream, _) = next(&mut server).await;
    for round in 0..100 {
        let sent = [round; 50_000];
        let (sending, received) = tokio::join!(send(&mut body, &sent), take(&*stream, 50_000));
        sending.unwrap();
        assert!(received.iter().all(|byte| *byte == round));
    }
}

#[tokio::test]
async fn a_client_that_has_not_been_read_has_small_windows() {
    let (mut requests, mut server) = raw_client(|stream| http2::serve(stream, &path("/a"))).await;
    let mut bodies = Vec::new();
    let mut sent = 0;
    for _ in 0..20 {
        let (_response, mut body) = requests.send_request(get("/a"), false).unwrap();
        let before = sent;
        while timeout(Duration::from_millis(50), send(&mut body, &[1; 1000])).await.is_ok() {
            sent += 1000;
        }
        assert!(sent - before <= http2::FIRST_REQUEST_WINDOW as usize + 1000);
        bodies.push(body);
    }
    assert!((1..=http2::FIRST_CONNECTION_WINDOW as usize).contains(&sent), "{sent} were taken");
    for _ in 0..20 {
        next(&mut server).await;
    }
}

#[tokio::test]
async fn other_methods_and_paths_are_refused_by_their_status() {
    let (mut requests, mut server) =
        raw_client(|stream| http2::serve(stream, &Http2Settings::default())).await;
    assert_eq!(status(&mut requests, get("/")).await, StatusCode::METHOD_NOT_ALLOWED);
    let connect = Request::builder().method(Method::CONNECT).uri("anywhere:443").body(()).unwrap();
    assert_eq!(status(&mut requests, connect).await, StatusCode::OK);
    next(&mut server).await;

    let (mut requests, mut server) = raw_client(|stream| http2::serve(stream, &path("/a"))).await;
    for target in ["/", "/a/", "/ab", "/a?b"] {
        assert_eq!(status(&mut requests, get(target)).await, StatusCode::BAD_REQUEST, "{target}");
    }
    let mut put = get("/a");
    *put.method_mut() = Method::PUT;
    assert_eq!(status(&mut requests, put).await, StatusCode::OK);
    next(&mut server).await;
}

#[tokio::test]
async fn other_calls_are_refused_as_grpc_does() {
    let (mut requests, mut server) =
        raw_client(|stream| grpc::serve(stream, &GrpcSettings::default())).await;
    assert_eq!(status(&mut requests, get("/GostTunel/Tunnel")).await, 405);
    let mut json = call("/GostTunel/Tunnel");
    json.headers_mut().insert("content-type", "application/json".parse().unwrap());
    assert_eq!(status(&mut requests, json).await, 415);
    let (response, _body) = requests.send_request(call("/Other/Method"), false).unwrap();
    let response = response.await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["grpc-status"]),
        (StatusCode::OK, &"12".parse().unwrap())
    );
    let (response, _body) = requests.send_request(call("/GostTunel/Tunnel"), false).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/grpc");
    next(&mut server).await;
}

#[tokio::test]
async fn a_call_ends_with_the_status_0() {
    let (mut requests, mut server) =
        raw_client(|stream| grpc::serve(stream, &GrpcSettings::default())).await;
    let (response, mut body) = requests.send_request(call("/GostTunel/Tunnel"), false).unwrap();
    // Empty chunks, fields of no meaning.
    body.send_data(
        Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\x02\x0a\0\0\0\0\0\x08\x10\x05\x1a\0\x0a\x02hi"),
        false,
    )
    .unwrap();
    let (stream, _) = next(&mut server).await;
    assert_eq!(take(&*stream, 2).await, b"hi");
    stream.write_all(b"answer").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = response.await.unwrap().into_body();
    let message = answer.data().await.unwrap().unwrap();
    assert_eq!(&message[..], b"\0\0\0\0\x08\x0a\x06answer");
    assert!(answer.data().await.is_none());
    assert_eq!(answer.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    body.send_data(Bytes::new(), true).unwrap();
    assert_eq!(timeout(PATIENCE, stream.read(&mut [0])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_compressed_message_is_an_error_behind_what_came_before() {
    let (mut requests, mut server) =
        raw_client(|stream| grpc::serve(stream, &GrpcSettings::default())).await;
    let (_response, mut body) = requests.send_request(call("/GostTunel/Tunnel"), false).unwrap();
    body.send_data(Bytes::from_static(b"\0\0\0\0\x04\x0a\x02hi\x01\0\0\0\x01a"), false).unwrap();
    let (stream, _) = next(&mut server).await;
    assert_eq!(take(&*stream, 2).await, b"hi");
    let error = timeout(PATIENCE, stream.read(&mut [0; 10])).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("compressed"), "{error}");
}

/// As GOST's client ends a call.
#[tokio::test]
async fn a_cancelled_call_is_an_end_or_an_error() {
    let (mut requests, mut server) =
        raw_client(|stream| grpc::serve(stream, &GrpcSettings::default())).await;
    let (_response, mut body) = requests.send_request(call("/GostTunel/Tunnel"), false).unwrap();
    let (stream, _) = next(&mut server).await;
    body.send_reset(Reason::CANCEL);
    let error = timeout(PATIENCE, stream.read(&mut [0])).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let writing = async { while stream.write_all(&[1; 1000]).await.is_ok() {} };
    timeout(PATIENCE, writing).await.unwrap();
}

#[tokio::test]
async fn a_server_that_answers_with_its_first_byte_is_waited_for() {
    let (client, mut server) = raw_server().await;
    let client = grpc::connect(client, &GrpcSettings::default(), ADDR, false).await.unwrap();
    client.write_all(b"question").await.unwrap();
    let (request, mut respond) = server.recv().await.unwrap();
    assert_eq!(request.uri(), "http://hub.example/GostTunel/Tunnel");
    assert_eq!(request.headers()["te"], "trailers");
    assert_eq!(request.headers()["content-type"], "application/grpc");
    let mut body = request.into_body();
    assert_eq!(&body.data().await.unwrap().unwrap()[..], b"\0\0\0\0\x0a\x0a\x08question");
    let mut answer = respond.send_response(Response::new(()), false).unwrap();
    answer.send_data(Bytes::from_static(b"\0\0\0\0\x08\x0a\x06answer"), false).unwrap();
    assert_eq!(take(&*client, 6).await, b"answer");
    let status = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    answer.send_trailers(status).unwrap();
    assert_eq!(timeout(PATIENCE, client.read(&mut [0])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_refused_call_is_told_with_its_status() {
    for (status, grpc_status, expected) in
        [(200, Some("12"), "gRPC status 12: \"unknown service\""), (502, None, "502 Bad Gateway")]
    {
        let (client, mut server) = raw_server().await;
        let client = grpc::connect(client, &GrpcSettings::default(), ADDR, false).await.unwrap();
        let (_request, mut respond) = server.recv().await.unwrap();
        let mut response = Response::builder().status(status);
        if let Some(grpc_status) = grpc_status {
            response = response.header("grpc-status", grpc_status);
            response = response.header("grpc-message", "unknown service");
        }
        respond.send_response(response.body(()).unwrap(), true).unwrap();
        let error = timeout(PATIENCE, client.read(&mut [0])).await.unwrap().unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_refused_request_is_told_with_its_status() {
    let (client, server) = tcp_pair().await;
    let mut server = http2::serve(server, &path("/a"));
    let settings = client_settings(Some("/b".to_owned()));
    let error = http2::connect(client, &settings, ADDR, false).await.unwrap_err();
    assert!(matches!(error, HttpError::Refused(StatusCode::BAD_REQUEST)), "{error}");
    // The connection was for that request alone.
    assert!(timeout(PATIENCE, server.next()).await.unwrap().unwrap().is_none());
}

#[tokio::test]
async fn configured_headers_and_the_host_are_sent() {
    let (client, mut server) = raw_server().await;
    let header =
        |name: &str, value| HttpHeader { name: name.to_owned(), value: Secret::new(value) };
    let settings = Http2Settings {
        path: Some("/a".to_owned()),
        host: Some("front.example".to_owned()),
        headers: vec![header("X-Own", "yes")],
    };
    let asking = tokio::spawn(async move { http2::connect(client, &settings, ADDR, true).await });
    let (request, mut respond) = server.recv().await.unwrap();
    assert_eq!(request.uri(), "https://front.example/a");
    assert_eq!(request.headers()["x-own"], "yes");
    respond.send_response(Response::new(()), false).unwrap();
    asking.await.unwrap().unwrap();
}

#[tokio::test]
async fn settings_that_cannot_be_sent_are_told() {
    for (host, header) in [("a b", "x"), ("", "x"), ("hub", "x y"), ("hub", "")] {
        let header = HttpHeader { name: header.to_owned(), value: Secret::new("") };
        let host = Some(host.to_owned());
        let settings = Http2Settings { path: None, host, headers: vec![header] };
        let (client, _server) = memory::pair(1000);
        let error = http2::connect(Arc::new(client), &settings, ADDR, false).await.unwrap_err();
        assert!(matches!(error, HttpError::BadHost(_) | HttpError::BadHeader(_)), "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_is_shut_down_ends_with_its_last_stream() {
    let (client, below) = tcp_pair().await;
    let mut server = http2::serve(below, &Http2Settings::default());
    let (mut requests, connection) = client::handshake(IoStream(client)).await.unwrap();
    let ended = tokio::spawn(connection);
    let connect = Request::builder().method(Method::CONNECT).uri("anywhere:443").body(()).unwrap();
    let (response, mut body) = requests.send_request(connect, false).unwrap();
    let (stream, _) = next(&mut server).await;
    let shutting = tokio::spawn(server.shutdown(PATIENCE));
    // The client learns that no more requests are taken, and this one goes on.
    stream.write_all(b"last words").await.unwrap();
    body.send_data(Bytes::from_static(b"heard"), false).unwrap();
    assert_eq!(take(&*stream, 5).await, b"heard");
    stream.shutdown().await.unwrap();
    let mut answer = response.await.unwrap().into_body();
    let mut heard = Vec::new();
    while let Some(data) = answer.data().await {
        heard.extend(data.unwrap());
    }
    assert_eq!(heard, b"last words");
    drop(stream);
    timeout(PATIENCE, ended).await.expect("the connection ends").unwrap().unwrap();
    timeout(PATIENCE, shutting).await.expect("the server ends").unwrap();
}

#[tokio::test]
async fn a_server_dropped_before_the_preface_ends_the_connection() {
    let (client, below) = memory::pair(1000);
    let server = http2::serve(Arc::new(below), &Http2Settings::default());
    (&client as &dyn Stream).write_all(b"PRI * HT").await.unwrap();
    drop(server);
    let mut rest = Vec::new();
    let ended = async {
        let mut buffer = [0; 100];
        loop {
            match (&client as &dyn Stream).read(&mut buffer).await.unwrap() {
                0 => return,
                read => rest.extend_from_slice(&buffer[..read]),
            }
        }
    };
    timeout(PATIENCE, ended).await.expect("the connection ends");
}

#[tokio::test]
async fn what_is_no_http2_is_an_error() {
    let (client, below) = memory::pair(1000);
    let mut server = http2::serve(Arc::new(below), &Http2Settings::default());
    (&client as &dyn Stream).write_all(b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n").await.unwrap();
    let error = timeout(PATIENCE, server.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, HttpError::Protocol(_)), "{error}");
    assert!(timeout(PATIENCE, server.next()).await.unwrap().unwrap().is_none());
}

#[tokio::test]
async fn the_clients_address_is_told() {
    let (mut requests, mut server) = raw_client(|stream| http2::serve(stream, &path("/a"))).await;
    let mut request = get("/a");
    request.headers_mut().insert("x-real-ip", "192.0.2.7".parse().unwrap());
    let (_response, _body) = requests.send_request(request, false).unwrap();
    let (_, forwarded) = next(&mut server).await;
    assert_eq!(forwarded.client(), Some("192.0.2.7".parse().unwrap()));
}

#[tokio::test]
async fn large_headers_are_refused() {
    let (mut requests, _server) = raw_client(|stream| http2::serve(stream, &path("/a"))).await;
    let mut request = get("/a");
    let large = "a".repeat(http2::HEADERS_MAX as usize);
    request.headers_mut().insert("large", large.parse().unwrap());
    let (response, _body) = requests.send_request(request, false).unwrap();
    let answer = timeout(PATIENCE, response).await.unwrap();
    assert!(answer.is_err() || answer.unwrap().status() == 431);
}

/// Many small frames wait while nobody reads, as packets do when a reader stalls for a moment, on a new connection or not.
#[tokio::test]
async fn small_frames_that_wait_are_no_offence() {
    let (client, server) = tcp_pair().await;
    let server = http2::serve(server, &Http2Settings::default());
    let (a, b) = ends(http2::connect(client, &client_settings(None), ADDR, false), server).await;
    let write = async {
        for _ in 0..10_500 {
            a.write_all(&[1; 42]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let read = async {
        for len in [21_000, 140_000, 140_000, 140_000] {
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert!(take(&*b, len).await.iter().all(|byte| *byte == 1));
        }
    };
    tokio::join!(write, read);
}

fn client_settings(path: Option<String>) -> Http2Settings {
    Http2Settings { path, ..Default::default() }
}

fn path(path: &str) -> Http2Settings {
    client_settings(Some(path.to_owned()))
}

fn get(target: &str) -> Request<()> {
    Request::builder().uri(format!("http://hub{target}")).body(()).unwrap()
}

fn call(method: &str) -> Request<()> {
    let request = Request::builder().method(Method::POST).uri(format!("http://hub{method}"));
    request.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap()
}

async fn tcp_pair() -> Ends {
    let listener = tcp::listen("127.0.0.1:0", &ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    let client =
        tcp::connect(&address.into(), &SocketOptions::default(), None, PATIENCE).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    tcp::tune(&server).unwrap();
    (Arc::new(client), Arc::new(server))
}

/// A client's and a server's end of a request.
async fn ends(
    connecting: impl Future<Output = Result<Arc<dyn Stream>, HttpError>>,
    mut server: Server,
) -> Ends {
    let (client, (stream, _)) = tokio::join!(connecting, next(&mut server));
    (client.unwrap(), Arc::new(Owned(stream, server)))
}

async fn next(server: &mut Server) -> (Arc<dyn Stream>, rtun_transport::forwarded::Forwarded) {
    timeout(PATIENCE, server.next()).await.expect("a request comes").unwrap().unwrap()
}

/// A client of the library's own and a server of ours.
async fn raw_client(
    serve: impl Fn(Arc<dyn Stream>) -> Server,
) -> (client::SendRequest<Bytes>, Server) {
    let (client, below) = memory::pair(16 * 1024);
    let server = serve(Arc::new(below));
    let (requests, connection) = client::handshake(IoStream(Arc::new(client))).await.unwrap();
    tokio::spawn(connection);
    (requests.ready().await.unwrap(), server)
}

type Served = (Request<h2::RecvStream>, h2::server::SendResponse<Bytes>);

/// The stream to a server of the library's own, and its requests.
async fn raw_server() -> (Arc<dyn Stream>, mpsc::Receiver<Served>) {
    let (client, below) = tcp_pair().await;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(IoStream(below)).await.unwrap();
        while let Some(Ok(request)) = connection.accept().await {
            sender.send(request).await.unwrap();
        }
    });
    (client, receiver)
}

async fn status(requests: &mut client::SendRequest<Bytes>, request: Request<()>) -> StatusCode {
    let (response, _body) = requests.send_request(request, false).unwrap();
    timeout(PATIENCE, response).await.expect("an answer comes").unwrap().status()
}

/// Sends as the windows allow.
async fn send(body: &mut h2::SendStream<Bytes>, bytes: &[u8]) -> Result<(), h2::Error> {
    let mut rest = Bytes::copy_from_slice(bytes);
    while !rest.is_empty() {
        body.reserve_capacity(rest.len());
        while body.capacity() == 0 {
            std::future::poll_fn(|cx| body.poll_capacity(cx)).await.unwrap()?;
        }
        let part = rest.split_to(body.capacity().min(rest.len()));
        body.send_data(part, false)?;
    }
    Ok(())
}

async fn take(stream: &dyn Stream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.expect("bytes come").unwrap();
    bytes
}
