//! What a route plugin is asked and may answer, with a twin in memory.

use std::{
    collections::HashMap,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use rtun_core::{HostName, NamespaceId};

/// Names the gateway for a destination, one question at a time.
pub trait RoutePlugin: Send + Sync + 'static {
    /// The host behind which `destination` lies in `namespace`; `Ok(None)`: the plugin knows no route.
    fn route(&self, namespace: NamespaceId, destination: IpAddr) -> RouteFuture<'_>;
}

/// A question under way.
pub type RouteFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Option<HostName>, PluginError>> + Send + 'a>>;

/// Why a question has no answer. Nothing is concluded from it about the route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// The plugin cannot be reached, or the connection broke.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// No whole answer in time.
    #[error("no answer in time")]
    Timeout,
    /// A status other than 200; redirects are not followed.
    #[error("answered with status {0} instead of 200")]
    Status(u16),
    /// More than 64 KiB.
    #[error("the answer is larger than 64 KiB")]
    TooLarge,
    /// Not the JSON object that was asked for.
    #[error("the answer is not understood: {0}")]
    Nonsense(String),
}

/// A plugin in memory: answers from a table and counts the questions.
#[derive(Default)]
pub struct MemoryRoutePlugin {
    routes: Mutex<HashMap<(NamespaceId, IpAddr), HostName>>,
    failure: Mutex<Option<PluginError>>,
    questions: AtomicUsize,
}

impl MemoryRoutePlugin {
    /// Adds or replaces a route.
    pub fn insert(&self, namespace: NamespaceId, destination: IpAddr, gateway: HostName) {
        lock(&self.routes).insert((namespace, destination), gateway);
    }

    /// From now on every question fails so, or with `None` is answered.
    pub fn fail_with(&self, failure: Option<PluginError>) {
        *lock(&self.failure) = failure;
    }

    /// How often it was asked.
    pub fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }
}

impl RoutePlugin for MemoryRoutePlugin {
    fn route(&self, namespace: NamespaceId, destination: IpAddr) -> RouteFuture<'_> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        let answer = match lock(&self.failure).clone() {
            Some(failure) => Err(failure),
            None => Ok(lock(&self.routes).get(&(namespace, destination)).cloned()),
        };
        Box::pin(async move { answer })
    }
}

/// A poisoned lock still guards whole values here: every critical section is one map operation.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
