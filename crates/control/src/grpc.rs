//! GOST's gRPC plugins: unary calls of the package `proto`.

mod connect;

/// Written by `proto/generate` from `proto/plugins.proto`.
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, clippy::all)]
#[path = "grpc/generated/proto.rs"]
mod generated;

use std::{
    error::Error,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http_body_util::{LengthLimitError, Limited};
use rtun_core::{HostName, NamespaceId, observer::ObserverEvent};
use tokio::time::Instant;
use tonic::{
    Code, ConnectError, Request, Response, Status,
    body::Body,
    codegen::http,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};
use tower::util::MapResponse;

use self::{
    connect::GrpcConnector,
    generated::{
        AdmitRequest, AuthenticateRequest, LimitRequest, ObserveRequest, ObservedEvent,
        RecordRequest, RouteRequest, RuleRequest, SelectRequest, ServiceStatus, Stats,
        admission_client::AdmissionClient, authenticator_client::AuthenticatorClient,
        hop_client::HopClient, ingress_client::IngressClient, limiter_client::LimiterClient,
        observer_client::ObserverClient, recorder_client::RecorderClient,
        router_client::RouterClient,
    },
};
use crate::plugin::{
    Addressed, AdmissionPlugin, Answering, AuthPlugin, AuthQuestion, IngressPlugin, LimitQuestion,
    LimitWords, LimiterPlugin, MAX_ANSWER, NodePlugin, NodeQuestion, ObserverPlugin, PluginError,
    PluginRates, PluginSetupError, RoutePlugin, answer, excerpt,
    nodes::NodeWords,
    observing::{EventWords, words},
    reach,
    recording::{Record, Recorder},
    taken,
};

/// A plugin that speaks gRPC, of every kind. Keeps one connection, made for the first question and again when it is lost;
/// takes no compressed answers.
pub struct GrpcPlugin {
    channel: MapResponse<Channel, LimitBody>,
    connector: Arc<GrpcConnector>,
    token: Option<MetadataValue<Ascii>>,
    timeout: Duration,
    address: String,
}

type LimitBody = fn(http::Response<Body>) -> http::Response<Body>;

/// Limits a response to one message with its five bytes of framing: tonic reads until the end of the body.
fn limit(response: http::Response<Body>) -> http::Response<Body> {
    response.map(|body| Body::new(Limited::new(body, MAX_ANSWER + 5)))
}

impl GrpcPlugin {
    /// Prepares the client; nothing is connected yet. Call this on the runtime that serves the connection.
    pub fn new(settings: &rtun_settings::PluginSettings) -> Result<Self, PluginSetupError> {
        let token = match &settings.token {
            Some(token) => {
                let parsed = MetadataValue::try_from(token.expose());
                let mut value = parsed.map_err(|_| PluginSetupError::Token)?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        let connector = Arc::new(GrpcConnector::new(settings)?);
        let channel = MapResponse::new(connector.channel()?, limit as LimitBody);
        let address = settings.addr.clone();
        Ok(Self { channel, connector, token, timeout: settings.timeout, address })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }

    /// Makes the call. If it fails with an attempt to connect that began before the call, makes it once more.
    async fn ask<Q, A, F>(
        &self,
        question: Q,
        call: impl Fn(Request<Q>) -> F,
    ) -> Result<A, PluginError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let start = Instant::now();
        let answer = async {
            let first = call(self.request(question.clone())).await;
            match first {
                Err(status)
                    if comes_from::<ConnectError>(&status)
                        && self.connector.tried_before(start) =>
                {
                    call(self.request(question)).await
                }
                answer => answer,
            }
        };
        let answer = tokio::time::timeout(self.timeout, answer).await;
        answer.map_err(|_| PluginError::Timeout)?.map(Response::into_inner).map_err(failure)
    }
}

fn comes_from<E: Error + 'static>(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<E>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The error for a status. A status from the plugin has no source; for tonic's own errors about an answer only the text
/// says what they are.
fn failure(status: Status) -> PluginError {
    if comes_from::<LengthLimitError>(&status) {
        return PluginError::TooLarge;
    }
    if let Some(error) = status.source() {
        return PluginError::Unreachable(reach::root_cause(error));
    }
    let text = status.message();
    match status.code() {
        Code::OutOfRange if text.starts_with("Error, decoded message length too large") => {
            PluginError::TooLarge
        }
        Code::Internal if text.starts_with("failed to decode Protobuf message") => {
            PluginError::nonsense(text)
        }
        code => PluginError::Grpc { code: code.into(), message: excerpt(text) },
    }
}

/// A client of the service with the limits that all have.
macro_rules! client {
    ($client:ident, $plugin:expr) => {
        $client::new($plugin.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    };
}

impl Addressed for GrpcPlugin {
    fn address(&self) -> &str {
        &self.address
    }
}

impl RoutePlugin for GrpcPlugin {
    fn route(
        &self,
        namespace: NamespaceId,
        destination: IpAddr,
    ) -> Answering<'_, Option<HostName>> {
        let question = RouteRequest { dst: destination.to_string(), id: namespace.to_string() };
        Box::pin(async move {
            let call = |request| async { client!(RouterClient, self).get_route(request).await };
            let reply = self.ask(question, call).await?;
            answer::route(&reply.dst, &reply.gateway, destination)
        })
    }
}

impl IngressPlugin for GrpcPlugin {
    fn namespace(&self, host: &HostName, service: &str) -> Answering<'_, Option<NamespaceId>> {
        let question = RuleRequest { host: host.to_string(), service: service.to_owned() };
        Box::pin(async move {
            let call = |request| async { client!(IngressClient, self).get_rule(request).await };
            answer::ingress(&self.ask(question, call).await?.endpoint)
        })
    }
}

impl AuthPlugin for GrpcPlugin {
    fn authenticate(&self, question: &AuthQuestion) -> Answering<'_, Option<String>> {
        let question = AuthenticateRequest {
            username: question.user.clone(),
            password: question.password.expose().to_owned(),
            client: question.client.to_string(),
            service: question.service.clone(),
        };
        Box::pin(async move {
            let call =
                |request| async { client!(AuthenticatorClient, self).authenticate(request).await };
            let reply = self.ask(question, call).await?;
            answer::auth(reply.ok, reply.id)
        })
    }
}

impl AdmissionPlugin for GrpcPlugin {
    fn admit(&self, service: &str, addr: SocketAddr) -> Answering<'_, bool> {
        let question = AdmitRequest { addr: addr.to_string(), service: service.to_owned() };
        Box::pin(async move {
            let call = |request| async { client!(AdmissionClient, self).admit(request).await };
            Ok(self.ask(question, call).await?.ok)
        })
    }
}

impl LimiterPlugin for GrpcPlugin {
    fn limit(&self, question: &LimitQuestion) -> Answering<'_, PluginRates> {
        let LimitWords { scope, network, client, src } = question.words();
        let question = LimitRequest {
            network: network.to_owned(),
            addr: String::new(),
            client,
            src,
            service: question.service.clone(),
            scope: scope.to_owned(),
        };
        Box::pin(async move {
            let call = |request| async { client!(LimiterClient, self).limit(request).await };
            let reply = self.ask(question, call).await?;
            Ok(answer::rates(reply.r#in, reply.out))
        })
    }
}

impl NodePlugin for GrpcPlugin {
    fn node(&self, question: &NodeQuestion) -> Answering<'_, Option<String>> {
        let NodeWords { network, addr, host, path, client, src } = NodeWords::of(question);
        let question = SelectRequest {
            network: network.to_owned(),
            addr,
            host,
            client: client.to_owned(),
            path: path.to_owned(),
            src,
        };
        Box::pin(async move {
            let call = |request| async { client!(HopClient, self).select(request).await };
            answer::node(&self.ask(question, call).await?.node)
        })
    }
}

impl ObserverPlugin for GrpcPlugin {
    fn observe(&self, events: &[ObserverEvent]) -> Answering<'_, bool> {
        let question = ObserveRequest { events: events.iter().map(event).collect() };
        Box::pin(async move {
            let call = |request| async { client!(ObserverClient, self).observe(request).await };
            Ok(self.ask(question, call).await?.ok)
        })
    }
}

impl Recorder for GrpcPlugin {
    fn record<'a>(&'a self, record: &'a Record) -> Answering<'a, ()> {
        let question = RecordRequest {
            data: record.text().into_bytes(),
            metadata: record.metadata().as_bytes().to_vec(),
        };
        Box::pin(async move {
            let call = |request| async { client!(RecorderClient, self).record(request).await };
            taken(self.ask(question, call).await?.ok)
        })
    }
}

fn event(event: &ObserverEvent) -> ObservedEvent {
    let EventWords { kind, service, client, r#type, stats, status } = words(event);
    ObservedEvent {
        kind: kind.to_owned(),
        service: service.to_owned(),
        client: client.unwrap_or_default().to_owned(),
        r#type: r#type.to_owned(),
        stats: stats.map(|stats| Stats {
            total_conns: stats.total_conns,
            current_conns: stats.current_conns,
            input_bytes: stats.input_bytes,
            output_bytes: stats.output_bytes,
            total_errs: stats.total_errs,
        }),
        status: status
            .map(|status| ServiceStatus { state: status.state.to_owned(), msg: status.msg }),
    }
}
