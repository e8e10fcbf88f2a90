//! A gRPC server with GOST's plugins that remembers what it was asked.

#![allow(unreachable_pub, reason = "a test program is no library")]

use std::{
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

use rtun_lab::NetNamespace;
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
    AdmitReply, AdmitRequest, AuthenticateReply, AuthenticateRequest, RouteReply, RouteRequest,
    RuleReply, RuleRequest,
    admission_server::{Admission, AdmissionServer},
    authenticator_server::{Authenticator, AuthenticatorServer},
    ingress_server::{Ingress, IngressServer},
    router_server::{Router, RouterServer},
};

/// Answers yes, with one namespace, and routes by one function; for as long as the process lives.
#[derive(Clone)]
pub struct Grpc {
    calls: Arc<Mutex<Vec<String>>>,
    endpoint: &'static str,
    gateway_of: fn(&str) -> &'static str,
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
        let service = Self { calls: Arc::default(), endpoint, gateway_of };
        let serving = service.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                Server::builder()
                    .add_service(RouterServer::new(serving.clone()))
                    .add_service(IngressServer::new(serving.clone()))
                    .add_service(AuthenticatorServer::new(serving.clone()))
                    .add_service(AdmissionServer::new(serving))
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
