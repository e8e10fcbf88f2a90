//! From which addresses hosts may connect, as which users, and into which namespaces.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use ipnet::IpNet;
use rtun_control::Feed;
use rtun_core::{AccessRules, AddressList, Credentials, HostName, Ingress, Placement, Users};
use rtun_settings::{HubRules, IngressRule, Matcher, Named, Provider, Rows, User};
use tokio::{
    net::lookup_host,
    time::{sleep, timeout},
};
use tracing::warn;

use crate::feeds::Feeds;

/// Limit for resolving one name of an admission.
const RESOLVING: Duration = Duration::from_secs(5);

/// Limit for resolving all names. Those that are not resolved by then keep the addresses they had, if any.
const RESOLVING_ALL: Duration = Duration::from_secs(10);

/// The most names that are resolved at a time.
const RESOLVED_AT_ONCE: usize = 32;

/// Which users and hosts a hub admits, and into which namespaces, by `config` and by what `feeds` have read.
pub(super) fn access(config: &HubRules, feeds: &Feeds) -> AccessRules {
    let users = config.authers.as_ref().map(|authers| {
        let is_plugin = |auther: &Named<User>| matches!(auther.provider, Provider::Plugin(_));
        Users {
            asked: authers.iter().any(is_plugin),
            lists: authers.iter().filter_map(|auther| credentials(auther, feeds)).collect(),
            exempt: config.skip_auth.clone(),
        }
    });
    let ingress = config.ingress.as_ref().map(|ingress| match &ingress.provider {
        Provider::Plugin(_) => Placement::Asked,
        Provider::Rows(rows) => {
            let mut rules = Ingress::default();
            for_each_row(rows, &feeds.rules(ingress), |rule: &IngressRule| rules.insert(rule));
            Placement::Rules(rules)
        }
    });
    AccessRules {
        users,
        ingress,
        any_namespace: config.default_router.is_some(),
        namespaces: config.namespaces.keys().copied().collect(),
    }
}

/// The users of one auther. A later source may change a user's password; the host names that an earlier source binds the user
/// to stay until a later one names others.
fn credentials(auther: &Named<User>, feeds: &Feeds) -> Option<Credentials> {
    let Provider::Rows(rows) = &auther.provider else { return None };
    let mut bound: HashMap<String, Vec<HostName>> = HashMap::new();
    let mut credentials = Credentials::new();
    for_each_row(rows, &feeds.users(auther), |user: &User| {
        if let Some(hosts) = &user.hosts {
            bound.insert(user.name.clone(), hosts.clone());
        }
        let hosts = bound.get(&user.name).cloned();
        credentials.insert(&user.name, user.password.expose(), hosts);
    });
    Some(credentials)
}

/// Visits the rows of the configuration, then those of each source, in rising order of priority.
fn for_each_row<T: Send + Sync + 'static>(
    rows: &Rows<T>,
    feeds: &[Arc<Feed<T>>],
    mut visit: impl FnMut(&T),
) {
    rows.inline.iter().for_each(|row| visit(&row.value));
    for feed in feeds {
        feed.rows().iter().for_each(|row| visit(&row.value));
    }
}

/// From where hosts may connect: each of these lists has to admit an address.
pub(in crate::hub) struct AddressAdmission(Vec<AddressList>);

impl AddressAdmission {
    pub(super) fn new(config: &HubRules, feeds: &Feeds, names: &ResolvedNames) -> Self {
        let mut lists = Vec::new();
        for admission in &config.admissions {
            let Provider::Rows(rows) = &admission.matchers.provider else { continue };
            let mut prefixes = Vec::new();
            let matchers = feeds.matchers(&admission.matchers);
            for_each_row(rows, &matchers, |matcher: &Matcher| match matcher {
                Matcher::Prefix(prefix) => prefixes.push(*prefix),
                Matcher::Name(name) => prefixes.extend(names.prefixes(name)),
            });
            lists.push(AddressList::new(prefixes, admission.whitelist));
        }
        Self(lists)
    }

    /// Whether every list admits `addr`.
    pub(in crate::hub) fn admit(&self, addr: IpAddr) -> bool {
        self.0.iter().all(|list| list.admits(addr))
    }
}

/// The addresses of the names in admissions.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::hub) struct ResolvedNames(HashMap<String, Vec<IpAddr>>);

impl ResolvedNames {
    /// Resolves the names of all admissions that are not resolved yet, or with `again` every one. A name that cannot be
    /// resolved keeps the addresses it had.
    pub(in crate::hub) async fn resolve(
        &self,
        config: &HubRules,
        feeds: &Feeds,
        again: bool,
    ) -> Self {
        let mut names = BTreeSet::new();
        for admission in &config.admissions {
            let Provider::Rows(rows) = &admission.matchers.provider else { continue };
            for_each_row(rows, &feeds.matchers(&admission.matchers), |matcher| {
                if let Matcher::Name(name) = matcher {
                    names.insert(name.clone());
                }
            });
        }
        let known = |name: &String| self.0.get(name).map(|addrs| (name.clone(), addrs.clone()));
        let mut resolved: HashMap<_, _> = names.iter().filter_map(known).collect();
        names.retain(|name| again || !resolved.contains_key(name));
        let asked = stream::iter(names)
            .map(|name| async { (addresses_of(&name).await, name) })
            .buffer_unordered(RESOLVED_AT_ONCE)
            .take_until(Box::pin(sleep(RESOLVING_ALL)));
        let mut asked = Box::pin(asked);
        while let Some((addresses, name)) = asked.next().await {
            match addresses {
                Ok(addresses) => {
                    resolved.insert(name, addresses);
                }
                Err(why) => {
                    warn!(
                        name,
                        "an admission's name cannot be resolved, so it keeps the addresses it had: {why}"
                    );
                    resolved.entry(name).or_default();
                }
            }
        }
        Self(resolved)
    }

    fn prefixes(&self, name: &str) -> impl Iterator<Item = IpNet> {
        self.0.get(name).into_iter().flatten().map(|addr| IpNet::from(*addr))
    }
}

async fn addresses_of(name: &str) -> Result<Vec<IpAddr>, String> {
    let found = timeout(RESOLVING, lookup_host((name, 0))).await;
    let found = found.map_err(|_| "no answer in time".to_owned())?;
    let found = found.map_err(|error| error.to_string())?;
    let mut addresses: Vec<_> = found.map(|addr| addr.ip().to_canonical()).collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}
