//! A hub's configured rules, compiled: what admission and routing look things up in.

use std::{collections::HashMap, sync::Arc, time::Duration};

use rtun_config::model::{self, HubRules, Named, Plugin as PluginSettings, Provider};
use rtun_control::{AnswerLimits, PluginSetupError, Released, RouteAnswers, connect_route_plugin};
use rtun_core::{
    AccessRules, Credentials, Ingress, NamespaceId, PluginId, Router, Routing, RoutingTable,
    Sharing, SourceCheck,
};

use super::association::Parked;

/// A plugin's answers, with the packets that wait for one.
pub(super) type Plugin = RouteAnswers<Parked>;

/// Everything a hub decides by, ready for use. Replaced whole when the configuration changes.
pub(super) struct Rules {
    pub(super) access: AccessRules,
    pub(super) sharing: Sharing,
    pub(super) takes_hops: bool,
    pub(super) super_frames: bool,
    /// In bytes.
    pub(super) queue_budget: usize,
    pub(super) plugins: Arc<[Arc<Plugin>]>,
    routers: HashMap<NamespaceId, Router>,
    default_router: Option<Router>,
    source_check: SourceCheck,
    plugin_settings: Vec<(String, PluginSettings)>,
}

/// Time between looks whether replaced rules are still in use.
const RETIREMENT_CHECK: Duration = Duration::from_millis(500);

/// A configured plugin cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("router {router:?}: {source}")]
pub struct RulesError {
    router: String,
    source: PluginSetupError,
}

impl Rules {
    /// Compiles `rules`. Plugins that `before` has with the same settings are kept with what they have answered.
    pub(super) fn compile(rules: &HubRules, before: Option<&Self>) -> Result<Self, RulesError> {
        let mut compiler = Compiler { before, plugins: Vec::new(), settings: Vec::new() };
        let mut routers = HashMap::new();
        for (namespace, router) in &rules.namespaces {
            routers.insert(*namespace, compiler.router(router)?);
        }
        let default_router = match &rules.default_router {
            Some(router) => Some(compiler.router(router)?),
            None => None,
        };
        Ok(Self {
            access: access(rules),
            sharing: rules.sharing,
            takes_hops: rules.ttl,
            super_frames: rules.super_frames,
            queue_budget: rules.queue_budget,
            plugins: compiler.plugins.into(),
            routers,
            default_router,
            source_check: rules.source_check,
            plugin_settings: compiler.settings,
        })
    }

    /// How `namespace` routes: by its own router, then by the default one.
    pub(super) fn routing(&self, namespace: NamespaceId) -> Routing {
        let own = self.routers.get(&namespace);
        let routers = own.into_iter().chain(&self.default_router).cloned().collect();
        Routing::new(namespace, routers, self.source_check)
    }
}

/// Frees replaced rules here, once nobody routes by their tables any more: large ones take long, and whoever let go of
/// them last would have packets wait for that. Forwarders let go at their next packet, or after a quiet second.
pub(super) async fn retire(rules: Arc<Rules>) {
    let routed_by = |router: &Router| match router {
        Router::Table(table) => Arc::strong_count(table) > 1,
        Router::Plugin(_) => false,
    };
    while rules.routers.values().chain(&rules.default_router).any(routed_by) {
        tokio::time::sleep(RETIREMENT_CHECK).await;
    }
}

fn access(rules: &HubRules) -> AccessRules {
    let credentials = rules.authers.as_ref().map(|authers| {
        let mut credentials = Credentials::new();
        for user in authers.iter().flat_map(rows) {
            credentials.insert(&user.name, user.password.expose(), user.hosts.clone());
        }
        credentials
    });
    let ingress = rules.ingress.as_ref().map(|ingress| {
        Ingress::new(rows(ingress).map(|rule| (rule.pattern.as_str(), rule.namespace)))
    });
    AccessRules {
        credentials,
        ingress,
        any_namespace: rules.default_router.is_some(),
        namespaces: rules.namespaces.keys().copied().collect(),
    }
}

fn rows<T>(named: &Named<T>) -> impl Iterator<Item = &T> {
    let rows = match &named.provider {
        Provider::Rows(rows) => rows.inline.as_slice(),
        Provider::Plugin(_) => &[],
    };
    rows.iter().map(|row| &row.value)
}

struct Compiler<'a> {
    before: Option<&'a Rules>,
    plugins: Vec<Arc<Plugin>>,
    settings: Vec<(String, PluginSettings)>,
}

impl Compiler<'_> {
    fn router(&mut self, router: &Named<model::Route>) -> Result<Router, RulesError> {
        match &router.provider {
            Provider::Rows(_) => Ok(Router::Table(Arc::new(RoutingTable::new(rows(router))))),
            Provider::Plugin(settings) => self.plugin(&router.name, settings),
        }
    }

    fn plugin(&mut self, router: &str, settings: &PluginSettings) -> Result<Router, RulesError> {
        let key = (router.to_owned(), settings.clone());
        let kept = self.before.and_then(|before| {
            let position = before.plugin_settings.iter().position(|other| *other == key)?;
            before.plugins.get(position).cloned()
        });
        let plugin = match kept {
            Some(plugin) => plugin,
            None => Arc::new(connect(router, settings)?),
        };
        self.plugins.push(plugin);
        self.settings.push(key);
        Ok(Router::Plugin(PluginId(self.plugins.len() - 1)))
    }
}

fn connect(router: &str, settings: &PluginSettings) -> Result<Plugin, RulesError> {
    let plugin = connect_route_plugin(settings)
        .map_err(|source| RulesError { router: router.to_owned(), source })?;
    let limits = AnswerLimits { deadline: settings.timeout, ..AnswerLimits::default() };
    Ok(RouteAnswers::new(router.to_owned(), plugin, limits, release))
}

fn release(packets: Vec<Parked>, why: Released) {
    for packet in packets {
        match why {
            Released::Answered => packet.go_on(),
            Released::TimedOut => packet.give_up(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn replaced_tables_are_freed_once_nobody_routes_by_them() {
        let namespace = NamespaceId::from_bytes([1; 16]);
        let provider = Provider::Rows(model::Rows::inline(Vec::new()));
        let router = Named { name: "table".into(), provider };
        let config = HubRules { namespaces: [(namespace, router)].into(), ..HubRules::default() };
        let Ok(rules) = Rules::compile(&config, None) else { panic!("a table always compiles") };
        let routing = rules.routing(namespace);
        let mut retiring = tokio::spawn(retire(Arc::new(rules)));
        let early = timeout(RETIREMENT_CHECK + RETIREMENT_CHECK / 2, &mut retiring).await;
        assert!(early.is_err(), "freed while somebody routes by it");
        drop(routing);
        let freed = timeout(Duration::from_secs(10), retiring).await;
        assert!(freed.is_ok(), "kept for ever");
    }
}
