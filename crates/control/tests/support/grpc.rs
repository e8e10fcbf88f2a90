//! A gRPC server speaking GOST's `proto` package.

use std::{
    net::SocketAddr,
    num::NonZeroU64,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{body::Body, http::Response as HttpResponse};
use rtun_control::{
    AdmissionPlugin, AuthPlugin, AuthQuestion, IngressPlugin, LimiterPlugin, MemoryPlugin,
    NodePlugin, RoutePlugin,
};
use rtun_core::Secret;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{Code, Request, Response, Status, service::Routes, transport::Server};

use super::{
    TOKEN,
    generated::{
        AdmitReply, AdmitRequest, AuthenticateReply, AuthenticateRequest, LimitReply, LimitRequest,
        RouteReply, RouteRequest, RuleReply, RuleRequest, SelectReply, SelectRequest,
        admission_server::{Admission, AdmissionServer},
        authenticator_server::{Authenticator, AuthenticatorServer},
        hop_server::{Hop, HopServer},
        ingress_server::{Ingress, IngressServer},
        limiter_server::{Limiter, LimiterServer},
        router_server::{Router, RouterServer},
    },
    name, node_question, question,
};

/// How the server answers.
#[derive(Clone, Default)]
pub(crate) enum Mode {
    #[default]
    Right,
    Slow(Duration),
    Hanging,
    Refusing(Code),
    TooLarge,
    Empty,
    /// Of a route: this prefix; of a rule: this endpoint.
    Says(&'static str),
}

/// A server whose behaviour can change.
#[derive(Clone)]
pub(crate) struct Fake {
    facts: Arc<MemoryPlugin>,
    mode: Arc<Mutex<Mode>>,
}

impl Fake {
    pub(crate) fn new(facts: Arc<MemoryPlugin>) -> Self {
        Self { facts, mode: Arc::default() }
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// Serves at `address` until the task is aborted.
    pub(crate) async fn serve(&self, address: &str) -> (SocketAddr, JoinHandle<()>) {
        let routes = Routes::new(RouterServer::new(self.clone()))
            .add_service(IngressServer::new(self.clone()))
            .add_service(AuthenticatorServer::new(self.clone()))
            .add_service(AdmissionServer::new(self.clone()))
            .add_service(LimiterServer::new(self.clone()))
            .add_service(HopServer::new(self.clone()));
        serve(routes, address).await
    }

    /// `Some(text)`: an answer that the mode makes; otherwise the right one is due.
    async fn behave<T>(&self, request: &Request<T>) -> Result<Option<String>, Status> {
        let token = request.metadata().get("token").map(|token| token.to_str().unwrap());
        if token != Some(TOKEN) {
            return Err(Status::unauthenticated("no token"));
        }
        let mode = self.mode.lock().unwrap().clone();
        match mode {
            Mode::Right => Ok(None),
            Mode::Slow(time) => {
                tokio::time::sleep(time).await;
                Ok(None)
            }
            Mode::Hanging => std::future::pending().await,
            Mode::Refusing(code) => Err(Status::new(code, "not you")),
            Mode::TooLarge => Ok(Some("x".repeat(100_000))),
            Mode::Empty => Ok(Some(String::new())),
            Mode::Says(text) => Ok(Some(text.to_owned())),
        }
    }
}

/// Answers each call to any method with these bytes, as the body of a gRPC answer without an end.
pub(crate) async fn raw_server(
    answer: impl Fn() -> HttpResponse<Body> + Clone + Send + Sync + 'static,
) -> SocketAddr {
    let app = axum::Router::new().fallback(move || {
        let answer = answer.clone();
        async move { answer() }
    });
    serve(Routes::from(app), "127.0.0.1:0").await.0
}

async fn serve(routes: Routes, address: &str) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = Server::builder().add_routes(routes).serve_with_incoming(incoming);
    (address, tokio::spawn(async move { server.await.unwrap() }))
}

#[tonic::async_trait]
impl Router for Fake {
    async fn get_route(
        &self,
        request: Request<RouteRequest>,
    ) -> Result<Response<RouteReply>, Status> {
        let said = self.behave(&request).await?;
        let question = request.into_inner();
        let Some(dst) = said else {
            let (id, dst) = (question.id.parse().unwrap(), question.dst.parse().unwrap());
            let gateway = self.facts.route(id, dst).await.unwrap();
            let gateway = gateway.map_or(String::new(), |gateway| gateway.to_string());
            return Ok(Response::new(RouteReply { dst: question.dst, gateway }));
        };
        Ok(Response::new(RouteReply { dst, gateway: "host-1".into() }))
    }
}

#[tonic::async_trait]
impl Ingress for Fake {
    async fn get_rule(&self, request: Request<RuleRequest>) -> Result<Response<RuleReply>, Status> {
        let said = self.behave(&request).await?;
        let question = request.into_inner();
        let rule = self.facts.namespace(&name(&question.host), &question.service).await.unwrap();
        let right = || rule.map_or(String::new(), |rule| rule.to_string());
        Ok(Response::new(RuleReply { endpoint: said.unwrap_or_else(right) }))
    }
}

#[tonic::async_trait]
impl Authenticator for Fake {
    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateReply>, Status> {
        let said = self.behave(&request).await?;
        let question = request.into_inner();
        if let Some(id) = said {
            return Ok(Response::new(AuthenticateReply { ok: !id.is_empty(), id }));
        }
        let question = AuthQuestion {
            user: question.username,
            password: Secret::new(question.password),
            client: question.client.parse().unwrap(),
            service: question.service,
        };
        let id = self.facts.authenticate(&question).await.unwrap();
        Ok(Response::new(AuthenticateReply { ok: id.is_some(), id: id.unwrap_or_default() }))
    }
}

#[tonic::async_trait]
impl Admission for Fake {
    async fn admit(&self, request: Request<AdmitRequest>) -> Result<Response<AdmitReply>, Status> {
        let said = self.behave(&request).await?;
        let question = request.into_inner();
        let ok = match said {
            Some(text) => !text.is_empty(),
            None => {
                let addr = question.addr.parse().unwrap();
                self.facts.admit(&question.service, addr).await.unwrap()
            }
        };
        Ok(Response::new(AdmitReply { ok }))
    }
}

#[tonic::async_trait]
impl Limiter for Fake {
    async fn limit(&self, request: Request<LimitRequest>) -> Result<Response<LimitReply>, Status> {
        self.behave(&request).await?;
        let LimitRequest { network, addr, client, src, service, scope } = request.into_inner();
        assert_eq!(
            (network.as_str(), addr.as_str()),
            (if scope == "client" { "ip" } else { "tcp" }, "")
        );
        let rates = self.facts.limit(&question(&service, &scope, &client, &src)).await.unwrap();
        let bytes = |rate: Option<NonZeroU64>| rate.map_or(-1, |rate| rate.get() as i64);
        Ok(Response::new(LimitReply { r#in: bytes(rates.input), out: bytes(rates.output) }))
    }
}

#[tonic::async_trait]
impl Hop for Fake {
    async fn select(
        &self,
        request: Request<SelectRequest>,
    ) -> Result<Response<SelectReply>, Status> {
        let said = self.behave(&request).await?;
        let SelectRequest { network, addr, host, client, path, src } = request.into_inner();
        assert_eq!((&*network, &*client, &*path, &addr), ("ip", "", "", &host));
        let node = self.facts.node(&node_question(&host, &src)).await.unwrap();
        let node = said.or(node).unwrap_or_default().into_bytes();
        Ok(Response::new(SelectReply { node }))
    }
}
