//! A gRPC plugin that is right, slow, hanging, refusing, endless, too large, talking nonsense, empty, cut short, or gone.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{body::Body, http::Response};
use rtun_control::{
    AdmissionPlugin, AuthPlugin, IngressPlugin, PluginError, PluginSetupError, RoutePlugin,
    connect_admission_plugin, connect_auth_plugin, connect_ingress_plugin, connect_route_plugin,
};
use rtun_settings::{PluginProtocol, PluginSettings};
use support::{
    facts,
    grpc::{Fake, Mode, raw_server},
    login, name, namespace, settings,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tonic::Code;

/// A plugin of each kind at one server.
struct All {
    route: Arc<dyn RoutePlugin>,
    ingress: Arc<dyn IngressPlugin>,
    auth: Arc<dyn AuthPlugin>,
    admission: Arc<dyn AdmissionPlugin>,
}

impl All {
    fn at(settings: &PluginSettings) -> Self {
        Self {
            route: connect_route_plugin(settings).unwrap(),
            ingress: connect_ingress_plugin(settings).unwrap(),
            auth: connect_auth_plugin(settings).unwrap(),
            admission: connect_admission_plugin(settings).unwrap(),
        }
    }

    async fn route(&self) -> Result<bool, PluginError> {
        let answer = self.route.route(namespace(), [10, 0, 0, 7].into()).await;
        answer.map(|gateway| gateway.is_some())
    }

    /// Whether each kind permits what the facts permit.
    async fn permissions(&self) -> [Result<bool, PluginError>; 4] {
        [
            self.route().await,
            self.ingress.namespace(&name("host-1"), "hub").await.map(|rule| rule.is_some()),
            self.auth.authenticate(&login("nameless", "x")).await.map(|id| id.is_some()),
            self.admission.admit("hub", ([192, 0, 2, 1], 5).into()).await,
        ]
    }
}

async fn server() -> (Fake, All) {
    let fake = Fake::new(facts());
    let (address, _task) = fake.serve("127.0.0.1:0").await;
    (fake, All::at(&support::grpc(address)))
}

#[tokio::test]
async fn a_slow_plugin_is_waited_for_and_a_hanging_one_is_not() {
    let (fake, all) = server().await;
    fake.set(Mode::Slow(Duration::from_millis(100)));
    assert_eq!(all.permissions().await, [true; 4].map(Ok));
    fake.set(Mode::Hanging);
    let start = Instant::now();
    assert_eq!(all.permissions().await, [(); 4].map(|()| Err(PluginError::Timeout)));
    let took = start.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(4), "{took:?}");
    fake.set(Mode::Right);
    assert_eq!(all.permissions().await, [true; 4].map(Ok));
}

#[tokio::test]
async fn a_refusal_by_status_permits_nothing() {
    let (fake, all) = server().await;
    for code in [Code::PermissionDenied, Code::Unavailable, Code::Unknown, Code::OutOfRange] {
        fake.set(Mode::Refusing(code));
        let refusal = PluginError::Grpc { code: code.into(), message: "not you".into() };
        assert_eq!(all.permissions().await, [(); 4].map(|()| Err(refusal.clone())));
    }
}

#[tokio::test]
async fn an_empty_answer_permits_nothing() {
    let (fake, all) = server().await;
    fake.set(Mode::Empty);
    assert_eq!(all.permissions().await, [false; 4].map(Ok));
}

#[tokio::test]
async fn an_answer_to_another_question_is_none() {
    let (fake, all) = server().await;
    for (said, part) in [("10.9.0.0/16", "does not contain 10.0.0.7"), ("all", "neither")] {
        fake.set(Mode::Says(said));
        let [route, rule, ..] = all.permissions().await;
        assert!(matches!(&route, Err(PluginError::Nonsense(t)) if t.contains(part)), "{route:?}");
        assert!(matches!(&rule, Err(PluginError::Nonsense(t)) if t.contains("UUID")), "{rule:?}");
    }
    fake.set(Mode::Says("10.0.0.0/8"));
    assert_eq!(all.route().await, Ok(true));
}

#[tokio::test]
async fn a_large_answer_is_not_read() {
    let (fake, all) = server().await;
    fake.set(Mode::TooLarge);
    let [route, rule, user, _] = all.permissions().await;
    for answer in [route, rule, user] {
        assert_eq!(answer, Err(PluginError::TooLarge));
    }
}

async fn ask_one_that_sends(
    answer: &'static [u8],
    kind: &'static str,
) -> Result<bool, PluginError> {
    let respond =
        move || Response::builder().header("content-type", kind).body(Body::from(answer)).unwrap();
    let address = raw_server(respond).await;
    All::at(&support::grpc(address)).route().await
}

#[tokio::test]
async fn bytes_that_are_no_answer_permit_nothing() {
    let claims_a_gigabyte = b"\0\x40\0\0\0";
    let grpc = "application/grpc";
    assert_eq!(ask_one_that_sends(claims_a_gigabyte, grpc).await, Err(PluginError::TooLarge));
    let nonsense = ask_one_that_sends(b"\0\0\0\0\x05hello", grpc).await;
    assert!(matches!(nonsense, Err(PluginError::Nonsense(_))), "{nonsense:?}");
    for (bytes, kind) in [
        (b"\0\0\0\0\x05he".as_slice(), grpc),
        (b"", grpc),
        (b"\0\0", grpc),
        (b"\x01\0\0\0\x05hello", grpc),
        (b"<html>", "text/html"),
        // A route without the status that ends an answer.
        (b"\0\0\0\0\x12\x0a\x0810.0.0.7\x12\x06host-1", grpc),
    ] {
        let answer = ask_one_that_sends(bytes, kind).await;
        assert!(matches!(answer, Err(PluginError::Grpc { .. })), "{bytes:?}: {answer:?}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_read_on() {
    let endless = || {
        // Each is 800 empty messages.
        let messages = futures_util::stream::repeat_with(|| {
            Ok::<_, std::convert::Infallible>([0; 4000].as_slice())
        });
        let body = Body::from_stream(messages);
        Response::builder().header("content-type", "application/grpc").body(body).unwrap()
    };
    let all = All::at(&support::grpc(raw_server(endless).await));
    let start = Instant::now();
    assert_eq!(all.route().await, Err(PluginError::TooLarge));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let redirect = || {
        let response = Response::builder().status(302).header("location", "http://127.0.0.1:9/");
        response.body(Body::empty()).unwrap()
    };
    let answer = All::at(&support::grpc(raw_server(redirect).await)).route().await;
    assert!(matches!(answer, Err(PluginError::Grpc { .. })), "{answer:?}");
}

/// Passes connections on to `backend`; all of them end with the task.
async fn forward(address: &str, backend: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            connections.spawn(async move {
                let mut backend = TcpStream::connect(backend).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut backend).await;
            });
        }
    });
    (address, task)
}

#[tokio::test]
async fn a_plugin_that_was_gone_is_found_again() {
    let (server, _task) = Fake::new(facts()).serve("127.0.0.1:0").await;
    let (address, task) = forward("127.0.0.1:0", server).await;
    let all = All::at(&support::grpc(address));
    assert_eq!(all.route().await, Ok(true));
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let start = Instant::now();
    for _ in 0..50 {
        let answer = all.route().await;
        assert!(matches!(answer, Err(PluginError::Unreachable(_))), "{answer:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(1), "those who ask meanwhile fail at once");
    let (_, _task) = forward(&address.to_string(), server).await;
    let start = Instant::now();
    while all.route().await != Ok(true) {
        assert!(start.elapsed() < Duration::from_secs(5), "not found again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let all = All::at(&support::grpc(listener.local_addr().unwrap()));
    assert_eq!(all.route().await, Err(PluginError::Timeout));
}

#[tokio::test]
async fn unusable_settings_are_refused() {
    let refusal = |addr: &str| {
        let settings = settings(PluginProtocol::Grpc, addr.to_owned());
        connect_route_plugin(&settings).err().expect("refused")
    };
    for addr in ["", "plugin", ":8000", "plugin:http", "plugin:70000"] {
        assert!(matches!(refusal(addr), PluginSetupError::Addr(_)), "{addr}");
    }
    assert!(matches!(refusal("169.254.169.254:80"), PluginSetupError::LinkLocal(_)));
}
