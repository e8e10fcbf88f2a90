//! A hub's rules, compiled for lookups by admission and routing.

mod access;
mod plugins;
mod tables;

use std::{sync::Arc, time::Duration};

use rtun_control::{PluginSetupError, in_background};
use rtun_core::{AccessRules, NamespaceId, Router, Routing};
use rtun_settings::{self, HubRules, Named, Provider};

pub(super) use self::{
    access::{AddressAdmission, ResolvedNames},
    plugins::RoutePluginAnswers,
    tables::CompiledTable,
};
use self::{plugins::Plugins, tables::CompiledTables};
use crate::feeds::Feeds;

/// All rules of a hub, compiled. Replaced as a whole when the configuration or a source changes.
pub(super) struct Rules {
    /// As configured.
    pub(super) config: Arc<HubRules>,
    pub(super) access: AccessRules,
    /// From where hosts may connect.
    pub(super) addresses: AddressAdmission,
    /// Routing tables by the name of their router.
    pub(super) tables: CompiledTables,
    pub(super) plugins: Plugins,
    /// The generations of the feeds' rows that were compiled.
    generations: Vec<u64>,
}

/// How often it is checked whether replaced tables are still in use.
const RETIREMENT_CHECK: Duration = Duration::from_millis(500);

/// A hub's rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// A configured plugin cannot be asked.
    #[error("{kind} {name:?}: {source}")]
    Plugin {
        /// `router`, `ingress`, `auther`, `admission` or `limiter`.
        kind: &'static str,
        /// Whose plugin it is.
        name: String,
        /// Why not.
        source: PluginSetupError,
    },
    /// A router has more routes than it may have.
    #[error(
        "router {router:?} has {routes} routes, at most {limit} are allowed (maxRoutesPerRouter)"
    )]
    RouterTooLarge {
        /// Its name.
        router: String,
        /// From all its sources.
        routes: usize,
        /// The quota.
        limit: usize,
    },
    /// All routers together have more routes than they may have.
    #[error("the routers have {routes} routes in all, at most {limit} are allowed (maxRoutes)")]
    TooManyRoutes {
        /// From all sources.
        routes: usize,
        /// The quota.
        limit: usize,
    },
}

impl Rules {
    /// Compiles `config` with what `feeds` have read. Tables that `before` has compiled from the same rows are kept, and so are
    /// its plugins that are unchanged, with their cached answers.
    pub(super) fn compile(
        config: &Arc<HubRules>,
        feeds: &Feeds,
        names: &ResolvedNames,
        before: Option<&Self>,
    ) -> Result<Self, RulesError> {
        let generations = feeds.generations();
        let tables = CompiledTables::compile(
            config.routers(),
            feeds,
            &config.quotas,
            before.map(|b| &b.tables),
        )?;
        let plugins =
            Plugins::connect(config, feeds.surroundings(), before.map(|before| &before.plugins))?;
        Ok(Self {
            access: access::access(config, feeds),
            addresses: AddressAdmission::new(config, feeds, names),
            config: Arc::clone(config),
            tables,
            plugins,
            generations,
        })
    }

    /// Whether the rows of `feeds` are still those that these rules were compiled from.
    pub(super) fn is_of(&self, feeds: &Feeds) -> bool {
        self.generations == feeds.generations()
    }

    /// How `namespace` routes: by its own router, then by the default one.
    pub(super) fn routing(&self, namespace: NamespaceId) -> Routing {
        let routers = self.routers(namespace).filter_map(|router| self.router(router)).collect();
        Routing::new(namespace, routers, self.config.source_check, self.config.sharing)
    }

    /// The routers that `namespace` asks, in turn.
    pub(super) fn routers(
        &self,
        namespace: NamespaceId,
    ) -> impl Iterator<Item = &Named<rtun_settings::Route>> {
        let own = self.config.namespaces.get(&namespace);
        own.into_iter().chain(&self.config.default_router)
    }

    fn router(&self, router: &Named<rtun_settings::Route>) -> Option<Router> {
        match &router.provider {
            Provider::Rows(_) => self
                .tables
                .get(&router.name)
                .map(|table| Router::Table(Arc::clone(&table.compiled))),
            Provider::Plugin(_) => self.plugins.route_plugin(&router.name).map(Router::Plugin),
        }
    }
}

/// Frees replaced rules in the background, after no forwarder uses those of their tables that `after` does not have. Freeing a
/// large table takes long, and the last forwarder to release it would delay packets. Forwarders release tables at their next
/// packet, or after a quiet second.
pub(super) fn retire(before: Arc<Rules>, after: &Rules) -> impl Future<Output = ()> + use<> {
    let replaced = before.tables.replaced_by(&after.tables);
    async move {
        // Two references are the one here and the one of the rules before.
        while replaced.iter().any(|table| Arc::strong_count(table) > 2) {
            tokio::time::sleep(RETIREMENT_CHECK).await;
        }
        in_background(move || drop((before, replaced))).await;
    }
}

#[cfg(test)]
mod tests {
    use rtun_settings::{LocatedRow, Rows};
    use tokio::time::timeout;

    use super::*;

    const NAMESPACE: NamespaceId = NamespaceId::from_bytes([1; 16]);

    /// With one table of one route to `gateway`.
    fn rules(gateway: &str, before: Option<&Rules>) -> Rules {
        let (prefix, gateway) = ("10.0.0.0/8".parse().unwrap(), gateway.parse().unwrap());
        let value = rtun_settings::Route::new(prefix, gateway);
        let row = LocatedRow { value, file: "test".into(), line: 1 };
        let provider = Provider::Rows(Rows::inline(vec![row]));
        let router = Named { name: "table".into(), provider };
        let config =
            Arc::new(HubRules { namespaces: [(NAMESPACE, router)].into(), ..HubRules::default() });
        let compiled =
            Rules::compile(&config, &Feeds::default(), &ResolvedNames::default(), before);
        compiled.ok().unwrap()
    }

    #[tokio::test]
    async fn replaced_tables_are_freed_once_nobody_routes_by_them() {
        let before = Arc::new(rules("host-1", None));
        let after = rules("host-2", Some(&before));
        let routing = before.routing(NAMESPACE);
        let table = Arc::downgrade(&before.tables.get("table").unwrap().compiled);
        let mut retiring = tokio::spawn(retire(before, &after));
        let early = timeout(RETIREMENT_CHECK + RETIREMENT_CHECK / 2, &mut retiring).await;
        assert!(early.is_err(), "freed while it is in use");
        drop(routing);
        let freed = timeout(Duration::from_secs(10), retiring).await;
        assert!(freed.is_ok(), "never freed");
        assert_eq!(table.strong_count(), 0);
    }

    #[tokio::test]
    async fn a_table_of_the_same_rows_is_kept() {
        let before = Arc::new(rules("host-1", None));
        let after = rules("host-1", Some(&before));
        let table = |rules: &Rules| Arc::clone(&rules.tables.get("table").unwrap().compiled);
        assert!(Arc::ptr_eq(&table(&before), &table(&after)));
        let retired = timeout(Duration::from_secs(10), retire(before, &after)).await;
        assert!(retired.is_ok(), "nothing is replaced");
    }
}
