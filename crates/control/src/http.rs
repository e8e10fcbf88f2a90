//! GOST's HTTP plugins: a question as a GET's query or a POST's JSON object, answered by a JSON object.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use reqwest::{
    Client, RequestBuilder, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue},
};
use rtun_core::{HostName, NamespaceId, observer::ObserverEvent};
use serde::Serialize;

use crate::{
    plugin::{
        Addressed, AdmissionPlugin, Answering, AuthPlugin, AuthQuestion, IngressPlugin,
        LimitQuestion, LimitWords, LimiterPlugin, MAX_ANSWER, NodePlugin, NodeQuestion,
        ObserverPlugin, PluginError, PluginRates, PluginSetupError, RoutePlugin, answer,
        nodes::NodeWords,
        observing, reach,
        recording::{self, Record, Recorder},
        taken,
    },
    zone::{self, take_zone},
};

/// A plugin that speaks HTTP, of every kind. It keeps connections. It follows no redirect, so that the token goes nowhere
/// else, uses no proxy, and takes no compressed answers.
pub struct HttpPlugin {
    client: Client,
    url: Url,
    address: String,
    /// The interface of the address, if it names one.
    zone: Option<String>,
}

impl HttpPlugin {
    /// Prepares the client; nothing is connected yet.
    pub fn new(settings: &rtun_settings::PluginSettings) -> Result<Self, PluginSetupError> {
        // The part before an `@` may be a password.
        let shown = settings.addr.rsplit('@').next().unwrap_or_default();
        let bad_url = || PluginSetupError::Url(shown.to_owned());
        let (addr, zone) = take_zone(&settings.addr);
        let mut url = Url::parse(&addr).map_err(|_| bad_url())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad_url());
        }
        let host = url.host_str().ok_or_else(bad_url)?.to_owned();
        let own = host.trim_matches(['[', ']']);
        match &zone {
            Some(zone) => reach::check_host(&format!("{own}%{zone}"))?,
            None => reach::check_host(own)?,
        };
        let address = without_secrets(&url);

        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(token) = &settings.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                .map_err(|_| PluginSetupError::Token)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }

        let encrypted = url.scheme() == "https";
        let mut alias = None;
        let server_name = settings.tls.as_ref().and_then(|tls| tls.server_name.as_ref());
        if let Some(name) = server_name.filter(|name| encrypted && **name != host) {
            let authority = match url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.clone(),
            };
            headers.insert(HOST, HeaderValue::from_str(&authority).map_err(|_| bad_url())?);
            let bad_name = || PluginSetupError::ServerName(name.clone());
            url.set_host(Some(name)).map_err(|_| bad_name())?;
            alias = Some(host.trim_matches(['[', ']']).to_owned());
        }
        let tls = reach::tls_config(settings.tls.as_ref().filter(|_| encrypted), &[])?;
        let mut client = Client::builder();
        if let Some(zone) = &zone {
            client = client.interface(zone);
        }
        let client = client
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(settings.timeout)
            .pool_max_idle_per_host(4)
            .dns_resolver(Arc::new(PluginResolver { alias }))
            .tls_backend_preconfigured(tls)
            .default_headers(headers)
            .build()
            .map_err(|error| PluginSetupError::Client(error.without_url().to_string()))?;
        Ok(Self { client, url, address, zone })
    }

    fn get(&self, query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.url.clone();
        url.query_pairs_mut().extend_pairs(query);
        self.client.get(url)
    }

    fn post(&self, question: &impl Serialize) -> RequestBuilder {
        let body = serde_json::to_vec(question).expect("texts always make JSON");
        self.client.post(self.url.clone()).body(body)
    }

    /// Sends the question and reads the answer, which is at most [`MAX_ANSWER`] long.
    async fn ask(&self, request: RequestBuilder) -> Result<Vec<u8>, PluginError> {
        let mut response = request.send().await.map_err(|error| self.failure(error))?;
        if response.status() != StatusCode::OK {
            return Err(PluginError::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(PluginError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn failure(&self, error: reqwest::Error) -> PluginError {
        if error.is_timeout() {
            return PluginError::Timeout;
        }
        let cause = reach::root_cause(&error.without_url());
        PluginError::Unreachable(zone::explain(cause, self.zone.as_deref()))
    }
}

fn without_secrets(url: &Url) -> String {
    let mut url = url.clone();
    // Neither can fail: the URL has a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

impl Addressed for HttpPlugin {
    fn address(&self) -> &str {
        &self.address
    }
}

impl RoutePlugin for HttpPlugin {
    fn route(
        &self,
        namespace: NamespaceId,
        destination: IpAddr,
    ) -> Answering<'_, Option<HostName>> {
        let (dst, id) = (destination.to_string(), namespace.to_string());
        let request = self.get(&[("dst", &dst), ("id", &id)]);
        Box::pin(async move { answer::route_json(&self.ask(request).await?, destination) })
    }
}

impl IngressPlugin for HttpPlugin {
    fn namespace(&self, host: &HostName, service: &str) -> Answering<'_, Option<NamespaceId>> {
        let request = self.get(&[("host", host.as_str()), ("service", service)]);
        Box::pin(async move { answer::ingress_json(&self.ask(request).await?) })
    }
}

#[derive(Serialize)]
struct AuthBody<'a> {
    service: &'a str,
    username: &'a str,
    password: &'a str,
    client: String,
}

impl AuthPlugin for HttpPlugin {
    fn authenticate(&self, question: &AuthQuestion) -> Answering<'_, Option<String>> {
        let request = self.post(&AuthBody {
            service: &question.service,
            username: &question.user,
            password: question.password.expose(),
            client: question.client.to_string(),
        });
        Box::pin(async move { answer::auth_json(&self.ask(request).await?) })
    }
}

#[derive(Serialize)]
struct AdmissionBody<'a> {
    service: &'a str,
    network: &'a str,
    addr: String,
}

impl AdmissionPlugin for HttpPlugin {
    fn admit(&self, service: &str, addr: SocketAddr) -> Answering<'_, bool> {
        let request = self.post(&AdmissionBody { service, network: "tcp", addr: addr.to_string() });
        Box::pin(async move { answer::admission_json(&self.ask(request).await?) })
    }
}

#[derive(Serialize)]
struct LimitBody<'a> {
    service: &'a str,
    scope: &'a str,
    network: &'a str,
    addr: &'a str,
    client: &'a str,
    src: &'a str,
}

impl LimiterPlugin for HttpPlugin {
    fn limit(&self, question: &LimitQuestion) -> Answering<'_, PluginRates> {
        let LimitWords { scope, network, client, src } = question.words();
        let service = &question.service;
        let body = LimitBody { service, scope, network, addr: "", client: &client, src: &src };
        let request = self.post(&body);
        Box::pin(async move { answer::rates_json(&self.ask(request).await?) })
    }
}

impl NodePlugin for HttpPlugin {
    fn node(&self, question: &NodeQuestion) -> Answering<'_, Option<String>> {
        let request = self.post(&NodeWords::of(question));
        Box::pin(async move { answer::node(&self.ask(request).await?) })
    }
}

impl ObserverPlugin for HttpPlugin {
    fn observe(&self, events: &[ObserverEvent]) -> Answering<'_, bool> {
        let request = self.post(&observing::body(events));
        Box::pin(async move { answer::taken_json(&self.ask(request).await?) })
    }
}

impl Recorder for HttpPlugin {
    fn record<'a>(&'a self, record: &'a Record) -> Answering<'a, ()> {
        let request = self.post(&recording::body(record));
        Box::pin(async move { taken(answer::taken_json(&self.ask(request).await?)?) })
    }
}

/// Resolves the host's name. Where the URL holds the certificate's name instead, it resolves the alias.
struct PluginResolver {
    alias: Option<String>,
}

impl Resolve for PluginResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = self.alias.clone().unwrap_or_else(|| name.as_str().to_owned());
        Box::pin(async move {
            let addrs = reach::resolve(&host, 0).await?;
            Ok(Box::new(addrs.into_iter()) as Addrs)
        })
    }
}
