//! Every kind of plugin, in memory.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rtun_core::{HostName, NamespaceId};

use super::{
    Addressed, AdmissionPlugin, Answering, AuthPlugin, AuthQuestion, IngressPlugin, LimitQuestion,
    LimiterPlugin, NodePlugin, NodeQuestion, PluginError, PluginRates, RoutePlugin,
};

/// A plugin of every kind in memory: answers from tables, and counts the questions.
#[derive(Default)]
pub struct MemoryPlugin {
    tables: Mutex<MemoryTables>,
    questions: AtomicUsize,
}

#[derive(Default)]
struct MemoryTables {
    failure: Option<PluginError>,
    hangs: bool,
    takes: Duration,
    routes: HashMap<(NamespaceId, IpAddr), HostName>,
    rules: HashMap<HostName, NamespaceId>,
    users: HashMap<String, (String, String)>,
    admitted: HashSet<IpAddr>,
    rates: PluginRates,
    nodes: HashMap<NodeQuestion, String>,
}

impl MemoryPlugin {
    /// Adds or replaces a route.
    pub fn insert_route(&self, namespace: NamespaceId, destination: IpAddr, gateway: HostName) {
        self.tables().routes.insert((namespace, destination), gateway);
    }

    /// From now on `host` may join `namespace`, or with `None` no namespace.
    pub fn bind(&self, host: HostName, namespace: Option<NamespaceId>) {
        match namespace {
            Some(namespace) => self.tables().rules.insert(host, namespace),
            None => self.tables().rules.remove(&host),
        };
    }

    /// Adds or replaces a user whose clients have the id `id`.
    pub fn insert_user(&self, user: &str, password: &str, id: &str) {
        self.tables().users.insert(user.into(), (password.into(), id.into()));
    }

    /// From now on clients at `addr` may connect, or may not.
    pub fn set_admitted(&self, addr: IpAddr, admitted: bool) {
        match admitted {
            true => self.tables().admitted.insert(addr),
            false => self.tables().admitted.remove(&addr),
        };
    }

    /// From now on every limit is this.
    pub fn set_rates(&self, rates: PluginRates) {
        self.tables().rates = rates;
    }

    /// Adds or replaces the node, as JSON, for a question.
    pub fn insert_node(&self, question: NodeQuestion, node: &str) {
        self.tables().nodes.insert(question, node.to_owned());
    }

    /// From now on every question fails with this error; with `None` it is answered.
    pub fn fail_with(&self, failure: Option<PluginError>) {
        self.tables().failure = failure;
    }

    /// Whether questions asked from now on are never answered.
    pub fn hang(&self, hangs: bool) {
        self.tables().hangs = hangs;
    }

    /// From now on every answer takes this long.
    pub fn take(&self, time: Duration) {
        self.tables().takes = time;
    }

    /// How often it was asked.
    pub fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }

    fn answer<T: Send + 'static>(
        &self,
        look_up: impl FnOnce(&MemoryTables) -> T,
    ) -> Answering<'_, T> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        let tables = self.tables();
        if tables.hangs {
            return Box::pin(std::future::pending());
        }
        let answer = tables.failure.clone().map_or_else(|| Ok(look_up(&tables)), Err);
        let takes = tables.takes;
        Box::pin(async move {
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            answer
        })
    }

    /// A poisoned lock still guards whole values: every critical section is one operation on a table.
    fn tables(&self) -> MutexGuard<'_, MemoryTables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Addressed for MemoryPlugin {
    fn address(&self) -> &str {
        "memory"
    }
}

impl RoutePlugin for MemoryPlugin {
    fn route(
        &self,
        namespace: NamespaceId,
        destination: IpAddr,
    ) -> Answering<'_, Option<HostName>> {
        self.answer(|tables| tables.routes.get(&(namespace, destination)).cloned())
    }
}

impl IngressPlugin for MemoryPlugin {
    fn namespace(&self, host: &HostName, _service: &str) -> Answering<'_, Option<NamespaceId>> {
        self.answer(|tables| tables.rules.get(host).copied())
    }
}

impl AuthPlugin for MemoryPlugin {
    fn authenticate(&self, question: &AuthQuestion) -> Answering<'_, Option<String>> {
        self.answer(|tables| {
            let (password, id) = tables.users.get(&question.user)?;
            (password == question.password.expose()).then(|| id.clone())
        })
    }
}

impl AdmissionPlugin for MemoryPlugin {
    fn admit(&self, _service: &str, addr: SocketAddr) -> Answering<'_, bool> {
        self.answer(|tables| tables.admitted.contains(&addr.ip()))
    }
}

impl LimiterPlugin for MemoryPlugin {
    fn limit(&self, _question: &LimitQuestion) -> Answering<'_, PluginRates> {
        self.answer(|tables| tables.rates)
    }
}

impl NodePlugin for MemoryPlugin {
    fn node(&self, question: &NodeQuestion) -> Answering<'_, Option<String>> {
        self.answer(|tables| tables.nodes.get(question).cloned())
    }
}
