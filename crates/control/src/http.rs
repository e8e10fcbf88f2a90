//! GOST's HTTP route plugin: `GET ?dst=<ip>&id=<namespace>`, answered by `{"dst", "gateway"}`
//! (spec: tables.md section 5).

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use reqwest::{
    Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue},
};
use rtun_core::{HostName, NamespaceId};
use serde::Deserialize;

use crate::{PluginError, RoutePlugin, plugin::RouteFuture};

/// The largest answer that is read.
const MAX_ANSWER: usize = 64 * 1024;

/// How to reach an HTTP plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpPluginSettings<'a> {
    /// `http://` or `https://` URL; its query is kept and added to.
    pub url: &'a str,
    /// Sent as `Authorization: Bearer`.
    pub token: Option<&'a str>,
    /// Limit for one question, from connecting to the last byte.
    pub timeout: Duration,
    /// Whether the server's certificate is verified.
    pub verify: bool,
    /// The name expected in the certificate, if not the URL's.
    pub server_name: Option<&'a str>,
}

/// An HTTP route plugin. Keeps connections; follows no redirect, so that the token goes nowhere else.
pub struct HttpRoutePlugin {
    client: Client,
    url: Url,
}

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HttpPluginError {
    /// Not an http or https URL with a host.
    #[error("{0:?} is not an http:// or https:// URL")]
    Url(String),
    /// The token holds characters that no header can.
    #[error("the token holds characters that cannot be sent in a header")]
    Token,
    /// The system refused, most likely its trust store.
    #[error("cannot set up the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

impl HttpRoutePlugin {
    /// Prepares the client; nothing is connected yet.
    pub fn new(settings: &HttpPluginSettings<'_>) -> Result<Self, HttpPluginError> {
        let bad_url = || HttpPluginError::Url(settings.url.to_owned());
        let mut url = Url::parse(settings.url).map_err(|_| bad_url())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad_url());
        }
        let host = url.host_str().ok_or_else(bad_url)?.to_owned();

        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(token) = settings.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| HttpPluginError::Token)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }

        let mut client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(settings.timeout)
            .pool_max_idle_per_host(4);
        if url.scheme() == "https" {
            client = client.tls_danger_accept_invalid_certs(!settings.verify);
            if let Some(name) = settings.server_name.filter(|name| *name != host) {
                let authority = match url.port() {
                    Some(port) => format!("{host}:{port}"),
                    None => host.clone(),
                };
                headers.insert(HOST, HeaderValue::from_str(&authority).map_err(|_| bad_url())?);
                url.set_host(Some(name)).map_err(|_| bad_url())?;
                client = client.dns_resolver(Arc::new(Alias { real: host }));
            }
        }
        Ok(Self { client: client.default_headers(headers).build()?, url })
    }
}

impl RoutePlugin for HttpRoutePlugin {
    fn route(&self, namespace: NamespaceId, destination: IpAddr) -> RouteFuture<'_> {
        let mut url = self.url.clone();
        url.query_pairs_mut()
            .append_pair("dst", &destination.to_string())
            .append_pair("id", &namespace.to_string());
        let request = self.client.get(url);
        Box::pin(async move {
            let mut response = request.send().await.map_err(failure)?;
            if response.status() != reqwest::StatusCode::OK {
                return Err(PluginError::Status(response.status().as_u16()));
            }
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(failure)? {
                if body.len() + chunk.len() > MAX_ANSWER {
                    return Err(PluginError::TooLarge);
                }
                body.extend_from_slice(&chunk);
            }
            read_answer(&body, destination)
        })
    }
}

fn failure(error: reqwest::Error) -> PluginError {
    if error.is_timeout() {
        return PluginError::Timeout;
    }
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    PluginError::Unreachable(text)
}

/// A plugin's answer; `net` is the older name of `dst`.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    net: String,
    #[serde(default)]
    dst: String,
    #[serde(default)]
    gateway: String,
}

/// Reads the body of an answer about `destination`. The prefix it names must contain the destination: an answer to
/// another question is no answer.
fn read_answer(body: &[u8], destination: IpAddr) -> Result<Option<HostName>, PluginError> {
    let nonsense = |text: String| PluginError::Nonsense(text);
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| nonsense(error.to_string()))?;
    let prefix = if answer.dst.is_empty() { &answer.net } else { &answer.dst };
    if prefix.is_empty() || answer.gateway.is_empty() {
        return Ok(None);
    }
    let covers = prefix
        .parse::<IpNet>()
        .or_else(|_| prefix.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| nonsense(format!("{prefix:?} is neither an address nor a prefix")))?
        .contains(&destination);
    if !covers {
        return Err(nonsense(format!(
            "{prefix} does not contain {destination}, which was asked for"
        )));
    }
    HostName::new(&answer.gateway).map(Some).map_err(|error| nonsense(error.to_string()))
}

/// Resolves whatever is asked to the addresses of one host: the URL names the certificate, this the machine.
struct Alias {
    real: String,
}

impl Resolve for Alias {
    fn resolve(&self, _: Name) -> Resolving {
        let real = self.real.clone();
        Box::pin(async move {
            let addrs: Vec<_> = tokio::net::lookup_host((real.as_str(), 0)).await?.collect();
            Ok(Box::new(addrs.into_iter()) as Addrs)
        })
    }
}
