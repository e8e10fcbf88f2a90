//! Questions that are asked when a host joins, or about its limits: the caller waits for the answer, off the packet path.

mod ask_once;
#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rtun_core::{HostName, NamespaceId};

pub use self::ask_once::{AskError, QuestionLimits};
use self::ask_once::{AskOnce, PluginLabel};
use crate::plugin::{
    AdmissionPlugin, AuthPlugin, AuthQuestion, IngressPlugin, LimitQuestion, LimiterPlugin,
    PluginRates,
    status::{PluginKind, PluginStatus},
};

/// The answers of an ingress plugin, cached; equal questions at the same time share one call.
///
/// Questions are asked on the runtime that [`IngressQuestions::new`] is called on, on whatever runtime the caller is.
pub struct IngressQuestions {
    questions: Arc<AskOnce<(HostName, String), Option<NamespaceId>>>,
    plugin: Arc<dyn IngressPlugin>,
}

impl IngressQuestions {
    /// Nothing asked yet; `name` is the ingress's.
    pub fn new(name: String, plugin: Arc<dyn IngressPlugin>, limits: QuestionLimits) -> Self {
        let address = plugin.address().to_owned();
        let label = PluginLabel { kind: PluginKind::Ingress, name, address };
        Self { questions: AskOnce::new(label, limits, Option::is_some), plugin }
    }

    /// The namespace that `host` may join at the hub `service`; `Ok(None)`: there is no rule for it. The caller may stop
    /// waiting at any time, as with the other kinds.
    pub async fn ask(
        &self,
        host: &HostName,
        service: &str,
    ) -> Result<Option<NamespaceId>, AskError> {
        let plugin = Arc::clone(&self.plugin);
        let key = (host.clone(), service.to_owned());
        let (host, service) = key.clone();
        let question = async move { plugin.namespace(&host, &service).await };
        self.questions.ask(key, Box::pin(question)).await
    }

    /// The state of the plugin.
    pub fn status(&self) -> PluginStatus {
        self.questions.status()
    }
}

/// The answers of an auth plugin, asked anew for every connection: nothing is cached.
///
/// Questions are asked on the runtime that [`AuthQuestions::new`] is called on, on whatever runtime the caller is.
pub struct AuthQuestions {
    questions: Arc<AskOnce<AuthQuestion, Option<String>>>,
    plugin: Arc<dyn AuthPlugin>,
}

impl AuthQuestions {
    /// Nothing asked yet; `name` is the auther's.
    pub fn new(name: String, plugin: Arc<dyn AuthPlugin>, limits: QuestionLimits) -> Self {
        let limits =
            QuestionLimits { positive: Duration::ZERO, negative: Duration::ZERO, ..limits };
        let address = plugin.address().to_owned();
        let label = PluginLabel { kind: PluginKind::Auther, name, address };
        Self { questions: AskOnce::new(label, limits, Option::is_some), plugin }
    }

    /// The id of the client, which may be empty; `Ok(None)`: refused.
    pub async fn ask(&self, question: AuthQuestion) -> Result<Option<String>, AskError> {
        let plugin = Arc::clone(&self.plugin);
        let key = question.clone();
        let question = async move { plugin.authenticate(&question).await };
        self.questions.ask(key, Box::pin(question)).await
    }

    /// The state of the plugin.
    pub fn status(&self) -> PluginStatus {
        self.questions.status()
    }
}

/// The answers of an admission plugin, cached; connections from one address at the same time share one call.
///
/// Questions are asked on the runtime that [`AdmissionQuestions::new`] is called on, on whatever runtime the caller is.
pub struct AdmissionQuestions {
    questions: Arc<AskOnce<(IpAddr, String), bool>>,
    plugin: Arc<dyn AdmissionPlugin>,
}

impl AdmissionQuestions {
    /// Nothing asked yet; `name` is the admission's.
    pub fn new(name: String, plugin: Arc<dyn AdmissionPlugin>, limits: QuestionLimits) -> Self {
        let address = plugin.address().to_owned();
        let label = PluginLabel { kind: PluginKind::Admission, name, address };
        Self { questions: AskOnce::new(label, limits, |admitted| *admitted), plugin }
    }

    /// Whether the client at `addr` may connect to the hub `service`. The answer holds for all ports of its address.
    pub async fn ask(&self, service: &str, addr: SocketAddr) -> Result<bool, AskError> {
        let plugin = Arc::clone(&self.plugin);
        let key = (addr.ip(), service.to_owned());
        let service = service.to_owned();
        let question = async move { plugin.admit(&service, addr).await };
        self.questions.ask(key, Box::pin(question)).await
    }

    /// The state of the plugin.
    pub fn status(&self) -> PluginStatus {
        self.questions.status()
    }
}

/// The answers of a limiter plugin, cached for the time after which a limit is refreshed.
///
/// Questions are asked on the runtime that [`LimiterQuestions::new`] is called on, on whatever runtime the caller is.
pub struct LimiterQuestions {
    questions: Arc<AskOnce<LimitQuestion, PluginRates>>,
    plugin: Arc<dyn LimiterPlugin>,
    refresh: Duration,
}

impl LimiterQuestions {
    /// Nothing asked yet; `name` is the limiter's. An answer is used for `refresh`, at least 1 s.
    pub fn new(
        name: String,
        plugin: Arc<dyn LimiterPlugin>,
        refresh: Duration,
        limits: QuestionLimits,
    ) -> Self {
        let refresh = refresh.max(Duration::from_secs(1));
        let limits = QuestionLimits { positive: refresh, negative: refresh, ..limits };
        let address = plugin.address().to_owned();
        let label = PluginLabel { kind: PluginKind::Limiter, name, address };
        Self { questions: AskOnce::new(label, limits, |_| true), plugin, refresh }
    }

    /// The rates for what the question is about.
    pub async fn ask(&self, question: LimitQuestion) -> Result<PluginRates, AskError> {
        let plugin = Arc::clone(&self.plugin);
        let key = question.clone();
        let question = async move { plugin.limit(&question).await };
        self.questions.ask(key, Box::pin(question)).await
    }

    /// After this time an answer is asked for again.
    pub fn refresh(&self) -> Duration {
        self.refresh
    }

    /// The state of the plugin.
    pub fn status(&self) -> PluginStatus {
        self.questions.status()
    }
}
