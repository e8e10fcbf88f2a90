//! The objects of each list by name.

use std::collections::HashMap;

use crate::{
    findings::Code,
    location::quote,
    report::At,
    schema::{
        Field, OneText, Setting, admission, auther, chain, counting_limiter, hop, hosts_table,
        ingress, limiter, logger, observer, recorder, resolver, root, router, service,
        volume_quota,
    },
    suggest,
    value::Cursor,
};

/// The named objects of a document.
pub(crate) struct DocumentNames<'a> {
    pub(crate) services: NamedObjects<'a>,
    pub(crate) chains: NamedObjects<'a>,
    pub(crate) hops: NamedObjects<'a>,
    pub(crate) routers: NamedObjects<'a>,
    pub(crate) ingresses: NamedObjects<'a>,
    pub(crate) authers: NamedObjects<'a>,
    pub(crate) admissions: NamedObjects<'a>,
    pub(crate) loggers: NamedObjects<'a>,
    pub(crate) observers: NamedObjects<'a>,
    pub(crate) recorders: NamedObjects<'a>,
    pub(crate) limiters: NamedObjects<'a>,
    pub(crate) climiters: NamedObjects<'a>,
    pub(crate) rlimiters: NamedObjects<'a>,
    pub(crate) quotas: NamedObjects<'a>,
    pub(crate) resolvers: NamedObjects<'a>,
    pub(crate) hosts: NamedObjects<'a>,
}

/// One list of objects, names unique.
pub(crate) struct NamedObjects<'a> {
    key: &'static str,
    /// One of them.
    what: &'static str,
    /// In order.
    pub(crate) list: Vec<(String, Cursor<'a>)>,
    index: HashMap<String, usize>,
    /// Whether some had no name.
    pub(crate) nameless: bool,
}

impl<'a> DocumentNames<'a> {
    pub(crate) fn collect(root: &Cursor<'a>) -> Self {
        let read = |list: &Field<_>, name, what| {
            NamedObjects::collect(root.items_of(list), list.name(), name, what)
        };
        Self {
            services: read(&root::SERVICES, &service::NAME, "service"),
            chains: read(&root::CHAINS, &chain::NAME, "chain"),
            hops: read(&root::HOPS, &hop::NAME, "hop"),
            routers: read(&root::ROUTERS, &router::NAME, "router"),
            ingresses: read(&root::INGRESSES, &ingress::NAME, "ingress"),
            authers: read(&root::AUTHERS, &auther::NAME, "auther"),
            admissions: read(&root::ADMISSIONS, &admission::NAME, "admission"),
            loggers: read(&root::LOGGERS, &logger::NAME, "logger"),
            observers: read(&root::OBSERVERS, &observer::NAME, "observer"),
            recorders: read(&root::RECORDERS, &recorder::NAME, "recorder"),
            limiters: read(&root::LIMITERS, &limiter::NAME, "limiter"),
            climiters: read(&root::CLIMITERS, &counting_limiter::NAME, "climiter"),
            rlimiters: read(&root::RLIMITERS, &counting_limiter::NAME, "rlimiter"),
            quotas: read(&root::QUOTAS, &volume_quota::NAME, "quota"),
            resolvers: read(&root::RESOLVERS, &resolver::NAME, "resolver"),
            hosts: read(&root::HOSTS, &hosts_table::NAME, "table of names"),
        }
    }
}

impl<'a> NamedObjects<'a> {
    fn collect(
        objects: Vec<Cursor<'a>>,
        key: &'static str,
        name: &Field<OneText>,
        what: &'static str,
    ) -> Self {
        let mut group =
            Self { key, what, list: Vec::new(), index: HashMap::new(), nameless: false };
        let use_of = if what == "service" { "started" } else { "used" };
        for at in objects {
            let Some(written) = at.read(name) else {
                group.nameless = true;
                let message = format!("this {what} has no name and would never be {use_of}");
                at.error(message).help("add `name:` with a name of its own");
                continue;
            };
            if let Some((_, first)) = group.index.get(&written).and_then(|i| group.list.get(*i)) {
                let first = first.shown().unwrap_or_default();
                at.place_of(name)
                    .error(format!("there are two {key} named {}", quote(&written)))
                    .help(format!("the first is at {first}; give one of them another name"));
                continue;
            }
            group.index.insert(written.clone(), group.list.len());
            group.list.push((written, at));
        }
        group
    }

    /// The object named `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&Cursor<'a>> {
        self.index.get(name).and_then(|i| self.list.get(*i)).map(|(_, at)| at)
    }

    /// The object that `reference` names; a name that does not exist is C01.
    pub(crate) fn resolve(
        &self,
        reference: &Setting<'_, OneText>,
    ) -> Option<&(String, Cursor<'a>)> {
        self.find(&reference.read()?, reference)
    }

    /// Like [`NamedObjects::resolve`], with the name already read.
    pub(crate) fn find(&self, name: &str, reference: &At<'_>) -> Option<&(String, Cursor<'a>)> {
        let found = self.index.get(name).and_then(|i| self.list.get(*i));
        if found.is_none() {
            let message = format!("there is no {} named {}", self.what, quote(name));
            reference.coded(Code::C01, message).help_with(|| {
                let names: Vec<&str> = self.list.iter().map(|(name, _)| &**name).collect();
                suggest::name_of(name, self.key, &names)
            });
        }
        found
    }
}
