//! A gRPC server with GOST's plugins that remembers what it was asked.

#![allow(unreachable_pub, reason = "a test program is no library")]

use std::{
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

use rtun_lab::NetNamespace;
use serde_json::{Value, json};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// The server's side of `crates/control/proto/plugins.proto`.
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, clippy::all)]
#[path = "../../../crates/control/tests/support/generated/proto.rs"]
mod generated;

use generated::{
    AdmitReply, AdmitRequest, AuthenticateReply, AuthenticateRequest, LimitReply, LimitRequest,
    ObserveReply, ObserveRequest, RecordReply, RecordRequest, RouteReply, RouteRequest, RuleReply,
    RuleRequest, SelectReply, SelectRequest,
    admission_server::{Admission, AdmissionServer},
    authenticator_server::{Authenticator, AuthenticatorServer},
    hop_server::{Hop, HopServer},
    ingress_server::{Ingress, IngressServer},
    limiter_server::{Limiter, LimiterServer},
    observer_server::{Observer, ObserverServer},
    recorder_server::{Recorder, RecorderServer},
    router_server::{Router, RouterServer},
};

/// Answers yes, with one namespace, and routes by one function; for as long as the process lives.
#[derive(Clone)]
pub struct Grpc {
    calls: Arc<Mutex<Vec<String>>>,
    endpoint: &'static str,
    gateway_of: fn(&str) -> &'static str,
    /// In and out, in bytes a second.
    rates: Arc<Mutex<[i64; 2]>>,
    /// The node that it names, as JSON.
    node: Arc<Mutex<String>>,
    /// What it was informed of, as JSON of the HTTP observer.
    events: Arc<Mutex<Vec<Value>>>,
}

impl Grpc {
    pub fn start(
        machine: &NetNamespace,
        port: u16,
        endpoint: &'static str,
        gateway_of: fn(&str) -> &'static str,
    ) -> Self {
        let listener = machine.run(|| TcpListener::bind(("127.0.0.1", port))).unwrap().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (calls, rates, node, events) = Default::default();
        let service = Self { calls, endpoint, gateway_of, rates, node, events };
        let serving = service.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                Server::builder()
                    .add_service(RouterServer::new(serving.clone()))
                    .add_service(IngressServer::new(serving.clone()))
                    .add_service(AuthenticatorServer::new(serving.clone()))
                    .add_service(AdmissionServer::new(serving.clone()))
                    .add_service(LimiterServer::new(serving.clone()))
                    .add_service(HopServer::new(serving.clone()))
                    .add_service(ObserverServer::new(serving.clone()))
                    .add_service(RecorderServer::new(serving))
                    .serve_with_incoming(TcpIncoming::from(listener))
                    .await
                    .unwrap();
            });
        });
        service
    }

    /// What it was asked, with the token, in order.
    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    /// Limits to these rates from now on: in and out, in bytes a second.
    #[allow(dead_code, reason = "each test program uses its part")]
    pub fn limit(&self, rates: [i64; 2]) {
        *self.rates.lock().unwrap() = rates;
    }

    /// Names this node from now on, as JSON; none at first.
    #[allow(dead_code, reason = "each test program uses its part")]
    pub fn name_node(&self, node: &str) {
        node.clone_into(&mut self.node.lock().unwrap());
    }

    /// What it was informed of, in the form of an HTTP observer's JSON.
    #[allow(dead_code, reason = "each test program uses its part")]
    pub fn events(&self) -> Vec<Value> {
        self.events.lock().unwrap().clone()
    }

    fn note<T>(&self, request: &Request<T>, words: &[&str]) {
        let token = request.metadata().get("token").map(|token| token.to_str().unwrap());
        let call = format!("{token:?} {words:?}");
        self.calls.lock().unwrap().push(call);
    }
}

#[tonic::async_trait]
impl Router for Grpc {
    async fn get_route(
        &self,
        request: Request<RouteRequest>,
    ) -> Result<Response<RouteReply>, Status> {
        let RouteRequest { dst, id } = request.get_ref();
        self.note(&request, &["route", dst, id]);
        let dst = request.into_inner().dst;
        let gateway = (self.gateway_of)(&dst).to_owned();
        Ok(Response::new(RouteReply { dst, gateway }))
    }
}

#[tonic::async_trait]
impl Ingress for Grpc {
    async fn get_rule(&self, request: Request<RuleRequest>) -> Result<Response<RuleReply>, Status> {
        let RuleRequest { host, service } = request.get_ref();
        self.note(&request, &["rule", host, service]);
        Ok(Response::new(RuleReply { endpoint: self.endpoint.to_owned() }))
    }
}

#[tonic::async_trait]
impl Authenticator for Grpc {
    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateReply>, Status> {
        let AuthenticateRequest { username, password, client, service } = request.get_ref();
        self.note(&request, &["user", username, password, client, service]);
        Ok(Response::new(AuthenticateReply { ok: true, id: "somebody".into() }))
    }
}

#[tonic::async_trait]
impl Admission for Grpc {
    async fn admit(&self, request: Request<AdmitRequest>) -> Result<Response<AdmitReply>, Status> {
        let AdmitRequest { addr, service } = request.get_ref();
        self.note(&request, &["admit", addr, service]);
        Ok(Response::new(AdmitReply { ok: true }))
    }
}

#[tonic::async_trait]
impl Limiter for Grpc {
    async fn limit(&self, request: Request<LimitRequest>) -> Result<Response<LimitReply>, Status> {
        let LimitRequest { network, addr, client, src, service, scope } = request.get_ref();
        self.note(&request, &["limit", network, addr, client, src, service, scope]);
        let [r#in, out] = *self.rates.lock().unwrap();
        Ok(Response::new(LimitReply { r#in, out }))
    }
}

#[tonic::async_trait]
impl Hop for Grpc {
    async fn select(
        &self,
        request: Request<SelectRequest>,
    ) -> Result<Response<SelectReply>, Status> {
        let SelectRequest { network, addr, host, client, path, src } = request.get_ref();
        self.note(&request, &["node", network, addr, host, client, path, src]);
        let node = self.node.lock().unwrap().clone().into_bytes();
        Ok(Response::new(SelectReply { node }))
    }
}

#[tonic::async_trait]
impl Observer for Grpc {
    async fn observe(
        &self,
        request: Request<ObserveRequest>,
    ) -> Result<Response<ObserveReply>, Status> {
        self.note(&request, &["observe"]);
        for event in request.into_inner().events {
            let mut words =
                json!({"kind": event.kind, "service": event.service, "type": event.r#type});
            if !event.client.is_empty() {
                words["client"] = event.client.into();
            }
            if let Some(it) = event.stats {
                words["stats"] = json!({
                    "totalConns": it.total_conns,
                    "currentConns": it.current_conns,
                    "inputBytes": it.input_bytes,
                    "outputBytes": it.output_bytes,
                    "totalErrs": it.total_errs,
                });
            }
            if let Some(it) = event.status {
                words["status"] = json!({"state": it.state, "msg": it.msg});
            }
            self.events.lock().unwrap().push(words);
        }
        Ok(Response::new(ObserveReply { ok: true }))
    }
}

#[tonic::async_trait]
impl Recorder for Grpc {
    async fn record(
        &self,
        request: Request<RecordRequest>,
    ) -> Result<Response<RecordReply>, Status> {
        let RecordRequest { data, metadata } = request.get_ref();
        let [data, metadata] = [data, metadata].map(|it| String::from_utf8_lossy(it));
        self.note(&request, &["record", &data, &metadata]);
        Ok(Response::new(RecordReply { ok: true }))
    }
}
