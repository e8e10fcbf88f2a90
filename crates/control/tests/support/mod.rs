//! Real servers in front of a plugin in memory, and their misbehaviour.

#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part of it, and may panic")]

pub(crate) mod grpc;

/// Written by `proto/generate` from `proto/plugins.proto`.
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, clippy::all)]
#[path = "generated/proto.rs"]
mod generated;

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU64,
    sync::Arc,
    time::Duration,
};

use axum::{
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use rtun_control::{
    AdmissionPlugin, AuthPlugin, AuthQuestion, IngressPlugin, LimitQuestion, LimiterPlugin,
    MemoryPlugin, NodePlugin, NodeQuestion, PluginRates, PluginScope, RoutePlugin,
};
use rtun_core::{HostName, NamespaceId, Secret};
use rtun_settings::{PluginProtocol, PluginSettings};
use serde_json::{Value, json};

pub(crate) const NAMESPACE: &str = "e87f56dd-fd57-4921-9ab8-a0847662daae";

/// What the servers want, where they want one.
pub(crate) const TOKEN: &str = "t0ken";

pub(crate) fn namespace() -> NamespaceId {
    NAMESPACE.parse().unwrap()
}

pub(crate) fn name(text: &str) -> HostName {
    HostName::new(text).unwrap()
}

pub(crate) fn login(user: &str, password: &str) -> AuthQuestion {
    AuthQuestion {
        user: user.into(),
        password: Secret::new(password),
        client: ([192, 0, 2, 1], 4711).into(),
        service: "hub".into(),
    }
}

pub(crate) fn settings(protocol: PluginProtocol, addr: String) -> PluginSettings {
    let timeout = Duration::from_millis(500);
    PluginSettings { protocol, addr, token: None, timeout, tls: None }
}

/// What all servers know.
pub(crate) fn facts() -> Arc<MemoryPlugin> {
    let facts = MemoryPlugin::default();
    facts.insert_route(namespace(), IpAddr::from([10, 0, 0, 7]), name("host-1"));
    facts.insert_route(namespace(), "fd00::7".parse().unwrap(), name("host-1"));
    facts.bind(name("host-1"), Some(namespace()));
    facts.insert_user("us\"er", "pa\u{df} ", "client-1");
    facts.insert_user("nameless", "x", "");
    facts.set_admitted(IpAddr::from([192, 0, 2, 1]), true);
    facts.set_admitted("2001:db8::1".parse().unwrap(), true);
    facts.set_rates(rates());
    facts.insert_node(node_question("host-1", "10.0.0.7"), NODE);
    facts.insert_node(node_question("host-2", ""), NODE);
    Arc::new(facts)
}

/// The node that all servers name.
pub(crate) const NODE: &str = r#"{"addr": "192.0.2.1:8443", "connector": {"type": "router"}}"#;

/// The question of this host; its address may be unknown.
pub(crate) fn node_question(host: &str, source: &str) -> NodeQuestion {
    let source = if source.is_empty() { "0.0.0.0" } else { source };
    NodeQuestion { host: name(host), source: source.parse().unwrap() }
}

/// The rates that all servers give.
pub(crate) fn rates() -> PluginRates {
    PluginRates { input: NonZeroU64::new(125_000), output: None }
}

/// The question that a server was asked.
pub(crate) fn question(service: &str, scope: &str, client: &str, src: &str) -> LimitQuestion {
    let scope = match scope {
        "service" => PluginScope::Service,
        "conn" => PluginScope::Connection(src.parse().unwrap()),
        "client" => {
            let (host, namespace) = client.split_once('@').unwrap();
            let (host, namespace) = (name(host), namespace.parse().unwrap());
            PluginScope::Client { host, namespace, src: src.parse().unwrap() }
        }
        other => panic!("{other}"),
    };
    LimitQuestion { service: service.into(), scope }
}

/// An HTTP server that answers each client that has the token by `facts`.
pub(crate) async fn http_server(facts: Arc<MemoryPlugin>) -> SocketAddr {
    type Facts = State<Arc<MemoryPlugin>>;
    type Answer = Result<String, StatusCode>;
    #[derive(serde::Deserialize)]
    struct Route {
        dst: IpAddr,
        id: String,
    }
    #[derive(serde::Deserialize)]
    struct Rule {
        host: String,
        service: String,
    }
    fn check(headers: &HeaderMap) -> Result<(), StatusCode> {
        let right = headers.get("authorization").is_some_and(|value| value == "Bearer t0ken");
        right.then_some(()).ok_or(StatusCode::UNAUTHORIZED)
    }
    fn text<'a>(body: &'a Value, key: &str) -> &'a str {
        body[key].as_str().unwrap()
    }
    async fn route(State(facts): Facts, headers: HeaderMap, Query(q): Query<Route>) -> Answer {
        check(&headers)?;
        let gateway = facts.route(q.id.parse().unwrap(), q.dst).await.unwrap();
        let gateway = gateway.map_or(String::new(), |gateway| gateway.to_string());
        Ok(json!({ "dst": q.dst, "gateway": gateway }).to_string())
    }
    async fn ingress(State(facts): Facts, headers: HeaderMap, Query(q): Query<Rule>) -> Answer {
        check(&headers)?;
        let rule = facts.namespace(&name(&q.host), &q.service).await.unwrap();
        Ok(json!({ "endpoint": rule.map(|rule| rule.to_string()) }).to_string())
    }
    async fn auth(State(facts): Facts, headers: HeaderMap, body: Bytes) -> Answer {
        check(&headers)?;
        let body: Value = serde_json::from_slice(&body).unwrap();
        let question = AuthQuestion {
            user: text(&body, "username").into(),
            password: Secret::new(text(&body, "password")),
            client: text(&body, "client").parse().unwrap(),
            service: text(&body, "service").into(),
        };
        let id = facts.authenticate(&question).await.unwrap();
        Ok(json!({ "ok": id.is_some(), "id": id }).to_string())
    }
    async fn admission(State(facts): Facts, headers: HeaderMap, body: Bytes) -> Answer {
        check(&headers)?;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(text(&body, "network"), "tcp");
        let addr = text(&body, "addr").parse().unwrap();
        let ok = facts.admit(text(&body, "service"), addr).await.unwrap();
        Ok(json!({ "ok": ok }).to_string())
    }
    async fn limiter(State(facts): Facts, headers: HeaderMap, body: Bytes) -> Answer {
        check(&headers)?;
        let body: Value = serde_json::from_slice(&body).unwrap();
        let question = question(
            text(&body, "service"),
            text(&body, "scope"),
            text(&body, "client"),
            text(&body, "src"),
        );
        let rates = facts.limit(&question).await.unwrap();
        let bytes = |rate: Option<NonZeroU64>| rate.map_or(-1, |rate| rate.get() as i64);
        Ok(json!({ "in": bytes(rates.input), "out": bytes(rates.output) }).to_string())
    }
    async fn hop(State(facts): Facts, headers: HeaderMap, body: Bytes) -> Answer {
        check(&headers)?;
        let body: Value = serde_json::from_slice(&body).unwrap();
        let words = ["network", "path", "client"].map(|key| text(&body, key));
        assert_eq!((words, text(&body, "addr")), (["ip", "", ""], text(&body, "host")));
        let question = node_question(text(&body, "host"), text(&body, "src"));
        Ok(facts.node(&question).await.unwrap().unwrap_or_else(|| "null".to_owned()))
    }
    let app = axum::Router::new()
        .route("/route", get(route))
        .route("/ingress", get(ingress))
        .route("/auth", post(auth))
        .route("/admission", post(admission))
        .route("/limiter", post(limiter))
        .route("/hop", post(hop))
        .with_state(facts);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// The settings of an HTTP plugin at `address` for one kind, with the token.
pub(crate) fn http(address: SocketAddr, path: &str) -> PluginSettings {
    let plain = settings(PluginProtocol::Http, format!("http://{address}/{path}"));
    PluginSettings { token: Some(Secret::new(TOKEN)), ..plain }
}

/// The settings of a gRPC plugin at `address`, with the token.
pub(crate) fn grpc(address: SocketAddr) -> PluginSettings {
    let plain = settings(PluginProtocol::Grpc, address.to_string());
    PluginSettings { token: Some(Secret::new(TOKEN)), ..plain }
}
