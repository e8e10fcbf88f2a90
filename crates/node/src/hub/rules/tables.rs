//! Routing tables, compiled from what is configured and what sources have read.

use std::{collections::HashMap, sync::Arc};

use rtun_core::{RoutingTable, Row};
use rtun_settings::{self, LocatedRow, Named, Provider, Quotas};

use super::RulesError;
use crate::feeds::Feeds;

/// The tables of all routers that are not plugins.
#[derive(Default)]
pub(in crate::hub) struct CompiledTables(HashMap<String, CompiledTable>);

/// One router's table and what it was compiled from.
#[derive(Clone)]
pub(in crate::hub) struct CompiledTable {
    /// What the configuration says, of the least priority.
    pub(in crate::hub) inline: Arc<[LocatedRow<rtun_settings::Route>]>,
    /// What sources have read, in rising order of priority.
    pub(in crate::hub) parts: Vec<Part<rtun_settings::Route>>,
    pub(in crate::hub) compiled: Arc<RoutingTable>,
}

/// The rows of one source.
pub(in crate::hub) struct Part<T> {
    /// The source, for people.
    pub(in crate::hub) label: Arc<str>,
    pub(in crate::hub) rows: Arc<Vec<Row<T>>>,
}

impl CompiledTables {
    /// Compiles the tables of `routers`, which may contain a router more than once. Tables that `before` has compiled from the
    /// same rows are kept.
    pub(super) fn compile<'a>(
        routers: impl Iterator<Item = &'a Named<rtun_settings::Route>>,
        feeds: &Feeds,
        quotas: &Quotas,
        before: Option<&Self>,
    ) -> Result<Self, RulesError> {
        let mut tables = HashMap::new();
        let mut all = 0;
        for router in routers {
            let Provider::Rows(rows) = &router.provider else { continue };
            if tables.contains_key(&router.name) {
                continue;
            }
            let parts: Vec<_> = feeds
                .routes(router)
                .iter()
                .map(|feed| Part { label: feed.label(), rows: feed.rows() })
                .collect();
            let routes =
                rows.inline.len() + parts.iter().map(|part| part.rows.len()).sum::<usize>();
            all += routes;
            let limit = quotas.routes_per_router;
            if routes > limit {
                let router = router.name.clone();
                return Err(RulesError::RouterTooLarge { router, routes, limit });
            }
            let limit = quotas.routes;
            if all > limit {
                return Err(RulesError::TooManyRoutes { routes: all, limit });
            }
            let kept = before.and_then(|before| before.0.get(&router.name));
            let kept = kept.filter(|table| table.is_of(&rows.inline, &parts)).cloned();
            let table = kept.unwrap_or_else(|| CompiledTable::compile(&rows.inline, parts));
            tables.insert(router.name.clone(), table);
        }
        Ok(Self(tables))
    }

    pub(in crate::hub) fn get(&self, router: &str) -> Option<&CompiledTable> {
        self.0.get(router)
    }

    /// The compiled tables that `after` does not have.
    pub(super) fn replaced_by(&self, after: &Self) -> Vec<Arc<RoutingTable>> {
        let stays = |name: &str, table: &CompiledTable| {
            after.get(name).is_some_and(|other| Arc::ptr_eq(&other.compiled, &table.compiled))
        };
        let replaced = self.0.iter().filter(|(name, table)| !stays(name, table));
        replaced.map(|(_, table)| Arc::clone(&table.compiled)).collect()
    }
}

impl CompiledTable {
    fn compile(
        inline: &[LocatedRow<rtun_settings::Route>],
        parts: Vec<Part<rtun_settings::Route>>,
    ) -> Self {
        let sources = parts.iter().rev().flat_map(|part| part.rows.iter().map(|row| &row.value));
        let routes = sources.chain(inline.iter().map(|row| &row.value));
        let compiled = Arc::new(RoutingTable::new(routes));
        Self { inline: inline.into(), parts, compiled }
    }

    fn is_of(
        &self,
        inline: &[LocatedRow<rtun_settings::Route>],
        parts: &[Part<rtun_settings::Route>],
    ) -> bool {
        let same =
            |(a, b): (&Part<_>, &Part<_>)| Arc::ptr_eq(&a.rows, &b.rows) && a.label == b.label;
        self.parts.len() == parts.len()
            && self.parts.iter().zip(parts).all(same)
            && *self.inline == *inline
    }
}

impl<T> Clone for Part<T> {
    fn clone(&self) -> Self {
        Self { label: Arc::clone(&self.label), rows: Arc::clone(&self.rows) }
    }
}
