//! How the names of a chain are looked up, and the tables of names as they change.

use std::{future::pending, sync::Arc};

use arc_swap::ArcSwap;
use rtun_settings::{HostsLine, HostsTable, LookedUpName, Named};
use rtun_transport::{
    name_servers::NameServers,
    names::{NameSource, Names, Resolver},
};

use crate::feeds::{Feeds, any_change};

/// The tables of names that a service uses, and what feeds them.
#[derive(Default)]
pub(crate) struct NameTables {
    tables: Vec<(Named<HostsLine>, Arc<ArcSwap<HostsTable>>)>,
    feeds: Feeds,
}

impl NameTables {
    /// Those of these names, with the rows there are now.
    pub(crate) fn new(lookups: &[LookedUpName], feeds: &Feeds) -> Self {
        let mut tables: Vec<(Named<HostsLine>, Arc<ArcSwap<HostsTable>>)> = Vec::new();
        for table in lookups.iter().filter_map(|name| name.hosts.as_ref()) {
            if tables.iter().all(|(known, _)| known.name != table.name) {
                tables.push((table.clone(), Arc::default()));
            }
        }
        let tables = Self { tables, feeds: feeds.of_lookups(lookups) };
        tables.put_in_force();
        tables
    }

    /// Follows the rows as they change, without end.
    pub(crate) async fn follow(&self) {
        while !self.tables.is_empty() {
            let changes = self.feeds.changes();
            self.put_in_force();
            any_change(changes).await;
        }
        pending().await
    }

    fn put_in_force(&self) {
        for (settings, table) in &self.tables {
            let lines = self.feeds.hosts_lines(settings);
            table.store(Arc::new(HostsTable::new(lines)));
        }
    }

    fn table(&self, name: &str) -> Option<Arc<ArcSwap<HostsTable>>> {
        let found = self.tables.iter().find(|(settings, _)| settings.name == name);
        found.map(|(_, table)| Arc::clone(table))
    }
}

/// `names`, of which those of `lookups` are looked up in their own way.
pub(super) fn with_lookups(names: Names, lookups: &[LookedUpName], tables: &NameTables) -> Names {
    names.with_sources(lookups.iter().map(|LookedUpName { name, hosts, resolver, sockets }| {
        let hosts = hosts.as_ref().and_then(|hosts| tables.table(&hosts.name));
        let servers = resolver.clone().map(|resolver| {
            let servers = NameServers::new(resolver, sockets.clone());
            Arc::new(move |name: &str| servers.look_up(name)) as Arc<Resolver>
        });
        (name.clone(), Arc::new(NameSource { hosts, servers }))
    }))
}
