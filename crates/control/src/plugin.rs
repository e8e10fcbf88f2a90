//! What plugins are asked and may answer, for all protocols.

pub(crate) mod answer;
mod breaker;
pub(crate) mod cache;
pub(crate) mod caller;
pub(crate) mod memory;
pub(crate) mod nodes;
pub(crate) mod observing;
pub(crate) mod reach;
pub(crate) mod recording;
pub(crate) mod status;

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, SocketAddr},
    num::NonZeroU64,
    pin::Pin,
};

use rtun_core::{HostName, NamespaceId, Secret, observer::ObserverEvent};

use crate::source_error::SourceSetupError;

/// The largest answer that is read, in bytes.
pub(crate) const MAX_ANSWER: usize = 64 * 1024;

/// A question under way. An error is never a permission, and a refusal is never an error.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, PluginError>> + Send + 'a>>;

/// A plugin at an address.
pub trait Addressed: Send + Sync + 'static {
    /// Where it is asked, for people: without secrets.
    fn address(&self) -> &str;
}

/// Names the gateway for a destination, one question at a time.
pub trait RoutePlugin: Addressed {
    /// The host that leads to `destination` in `namespace`; `Ok(None)`: the plugin knows no route.
    fn route(&self, namespace: NamespaceId, destination: IpAddr)
    -> Answering<'_, Option<HostName>>;
}

/// Says which namespace a host belongs to.
pub trait IngressPlugin: Addressed {
    /// The namespace that `host` may join at the hub `service`; `Ok(None)`: there is no rule for it.
    fn namespace(&self, host: &HostName, service: &str) -> Answering<'_, Option<NamespaceId>>;
}

/// Knows users and their passwords.
pub trait AuthPlugin: Addressed {
    /// The id of the client, which may be empty; `Ok(None)`: refused.
    fn authenticate(&self, question: &AuthQuestion) -> Answering<'_, Option<String>>;
}

/// Says who may connect at all.
pub trait AdmissionPlugin: Addressed {
    /// Whether the client at `addr` may connect to the hub `service` over TCP.
    fn admit(&self, service: &str, addr: SocketAddr) -> Answering<'_, bool>;
}

/// Sets the rates of traffic.
pub trait LimiterPlugin: Addressed {
    /// The rates for what the question is about.
    fn limit(&self, question: &LimitQuestion) -> Answering<'_, PluginRates>;
}

/// Is informed of what services count, and of their states.
pub trait ObserverPlugin: Addressed {
    /// Informs it of these; `Ok(false)`: it has not taken them.
    fn observe(&self, events: &[ObserverEvent]) -> Answering<'_, bool>;
}

/// Names the node of each connection through a hop.
pub trait NodePlugin: Addressed {
    /// The node for a connection, as GOST's JSON has it; `Ok(None)`: the plugin knows none.
    fn node(&self, question: &NodeQuestion) -> Answering<'_, Option<String>>;
}

/// What a [`NodePlugin`] is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeQuestion {
    /// The host that is about to connect.
    pub host: HostName,
    /// The first address of its device.
    pub source: IpAddr,
}

/// What a [`LimiterPlugin`] is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LimitQuestion {
    /// The name of the service.
    pub service: String,
    /// What of the service is limited.
    pub scope: PluginScope,
}

/// What a limiter plugin sets rates for, by GOST's names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PluginScope {
    /// `service`: all connections together.
    Service,
    /// `conn`: the connection of this client.
    Connection(SocketAddr),
    /// `client`: a host, over all its connections.
    Client {
        /// The host's name.
        host: HostName,
        /// The host's namespace.
        namespace: NamespaceId,
        /// Where the client connected from.
        src: SocketAddr,
    },
}

/// The answer of a [`LimiterPlugin`], in bytes per second. `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PluginRates {
    /// What the service receives.
    pub input: Option<NonZeroU64>,
    /// What the service sends.
    pub output: Option<NonZeroU64>,
}

impl LimitQuestion {
    /// GOST's words for it.
    pub(crate) fn words(&self) -> LimitWords {
        let (scope, network, client, src) = match &self.scope {
            PluginScope::Service => ("service", "tcp", String::new(), String::new()),
            PluginScope::Connection(src) => ("conn", "tcp", String::new(), src.to_string()),
            PluginScope::Client { host, namespace, src } => {
                ("client", "ip", format!("{host}@{namespace}"), src.to_string())
            }
        };
        LimitWords { scope, network, client, src }
    }
}

/// A [`LimitQuestion`] as it is sent.
pub(crate) struct LimitWords {
    pub(crate) scope: &'static str,
    pub(crate) network: &'static str,
    pub(crate) client: String,
    pub(crate) src: String,
}

/// What an [`AuthPlugin`] is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthQuestion {
    /// As sent by the client.
    pub user: String,
    /// As sent by the client.
    pub password: Secret,
    /// Where the client connected from.
    pub client: SocketAddr,
    /// The hub's name.
    pub service: String,
}

impl Hash for AuthQuestion {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.user.hash(state);
        self.password.expose().hash(state);
        self.client.hash(state);
        self.service.hash(state);
    }
}

/// Why a question has no answer. It is neither a permission nor a refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// The plugin cannot be reached, or the connection broke.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// No whole answer in time.
    #[error("no answer in time")]
    Timeout,
    /// HTTP: a status other than 200; redirects are not followed.
    #[error("answered with status {0} instead of 200")]
    Status(u16),
    /// gRPC: a status other than OK, from the plugin or on its behalf.
    #[error("answered with gRPC status {code}: {message:?}")]
    Grpc {
        /// The status as a number, 1 to 16 (grpc/grpc: doc/statuscodes.md).
        code: i32,
        /// What the plugin says of it, cut short.
        message: String,
    },
    /// More than 64 KiB.
    #[error("the answer is larger than 64 KiB")]
    TooLarge,
    /// Not the answer to what was asked.
    #[error("the answer is not understood: {0}")]
    Nonsense(String),
    /// A file: what the system says.
    #[error("cannot be written: {0}")]
    NotWritten(String),
    /// redis: the server's error text.
    #[error("is refused by redis: {0}")]
    Refused(String),
    /// It answers that it has not taken what was sent.
    #[error("has not taken what was sent: its answer is not `ok`")]
    NotTaken,
}

impl PluginError {
    /// Whether it concerns the plugin rather than the question. A plugin that says 401 or `PERMISSION_DENIED` to a wrong
    /// password works; a client that tries passwords must not make the hub pause its calls.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Status(status) => !matches!(status, 400..=499) || matches!(status, 408 | 429),
            // INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, FAILED_PRECONDITION, OUT_OF_RANGE, UNAUTHENTICATED.
            Self::Grpc { code, .. } => !matches!(code, 3 | 5 | 7 | 9 | 11 | 16),
            Self::Unreachable(_)
            | Self::Timeout
            | Self::TooLarge
            | Self::Nonsense(_)
            | Self::NotWritten(_)
            | Self::Refused(_)
            | Self::NotTaken => true,
        }
    }

    /// An answer that is not understood; `text` may hold parts of it and is cut short.
    pub(crate) fn nonsense(text: impl fmt::Display) -> Self {
        Self::Nonsense(excerpt(&text.to_string()))
    }
}

/// The settings of a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PluginSetupError {
    /// Not an http or https URL with a host.
    #[error("{0:?} is not an http:// or https:// URL")]
    Url(String),
    /// Not `host:port`.
    #[error("{0:?} is not host:port")]
    Addr(String),
    /// No plugin runs there, but a cloud's credential service may.
    #[error("{0} is a link-local address; plugins are not asked there")]
    LinkLocal(IpAddr),
    /// The token holds characters that no header can.
    #[error("the token holds characters that cannot be sent in a header")]
    Token,
    /// Not a header that can be sent.
    #[error("the header {0:?} cannot be sent")]
    Header(String),
    /// The name expected in the certificate is none.
    #[error("{0:?} cannot be the name in a certificate")]
    ServerName(String),
    /// The system refused, most likely its trust store.
    #[error("cannot set up the client: {0}")]
    Client(String),
}

impl From<SourceSetupError> for PluginSetupError {
    fn from(error: SourceSetupError) -> Self {
        match error {
            SourceSetupError::Url(url) => Self::Url(url),
            SourceSetupError::ServerName(name) => Self::ServerName(name),
            SourceSetupError::System(cause) => Self::Client(cause),
        }
    }
}

/// The outcome of what was sent, by the plugin's `ok`.
pub(crate) fn taken(ok: bool) -> Result<(), PluginError> {
    if ok { Ok(()) } else { Err(PluginError::NotTaken) }
}

/// At most 200 characters of a text from outside.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_printed() {
        let question = AuthQuestion {
            user: "u".into(),
            password: Secret::new("hidden"),
            client: ([127, 0, 0, 1], 5).into(),
            service: "s".into(),
        };
        assert!(!format!("{question:?}").contains("hidden"));
    }

    #[test]
    fn a_refusal_by_status_is_no_outage() {
        let grpc = |code| PluginError::Grpc { code, message: String::new() };
        for refusal in [PluginError::Status(401), PluginError::Status(404), grpc(7), grpc(16)] {
            assert!(!refusal.is_outage(), "{refusal}");
        }
        let outages =
            [PluginError::Status(302), PluginError::Status(429), PluginError::Status(503)];
        for outage in outages.into_iter().chain([grpc(14), grpc(4), PluginError::Timeout]) {
            assert!(outage.is_outage(), "{outage}");
        }
    }
}
