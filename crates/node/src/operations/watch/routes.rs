//! The routes of all hubs: where each is written, whether its host is connected, and what it has carried.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use rtun_core::{NamespaceId, explain::Origin};
use serde::{Deserialize, Serialize};

use super::{
    paging::{ListPage, PageQuery},
    service::{WatchedKind, WatchedService},
};
use crate::{hub::RouteMoment, json};

/// A route that carried nothing for this long is dead, where nothing else is asked for.
pub const DEFAULT_UNUSED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Which routes are wanted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteQuery {
    /// Part of their prefix or host, or an address that their prefix contains.
    pub search: Option<String>,
    /// Their namespace.
    #[serde(with = "json::maybe_text")]
    pub namespace: Option<NamespaceId>,
    /// Their hub.
    pub service: Option<String>,
    /// Only those that carried nothing lately, or whose host is not connected.
    pub dead: bool,
    /// How long ago lately ends, in seconds; [`DEFAULT_UNUSED_FOR`] where it is not given.
    #[serde(with = "json::maybe_seconds")]
    pub unused_for: Option<Duration>,
    /// The part of the list.
    #[serde(flatten)]
    pub part: PageQuery,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteView {
    /// Its hub.
    pub service: String,
    /// The namespace that routes by it.
    pub namespace: String,
    /// Its destination.
    pub prefix: String,
    /// The host that it leads to.
    pub host: String,
    /// Whether that host is connected.
    pub connected: bool,
    /// Where it is written.
    pub origin: RouteOrigin,
    /// Packets that went by it in this namespace, since the namespace began or the route came.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the last one did, in seconds of Unix time.
    pub last_used: Option<u64>,
}

/// Where a route is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteOrigin {
    /// The router that has it.
    pub list: String,
    /// The kind of its source.
    pub kind: Origin,
    /// The file, URL or key.
    pub source: String,
    /// The line in its source, from 1.
    pub line: u32,
}

/// The routes that `query` asks for, in the order in which they are written. Reads every row.
pub(crate) fn routes(services: &[WatchedService<'_>], query: &RouteQuery) -> ListPage<RouteView> {
    let (skip, take) = query.part.range();
    let search = query.search.as_ref().map(|text| text.to_lowercase());
    let unused_for = query.unused_for.unwrap_or(DEFAULT_UNUSED_FOR);
    let (mut total, mut items) = (0, Vec::new());
    for WatchedService { name, kind, .. } in services {
        let WatchedKind::Hub(hub) = kind else { continue };
        if query.service.as_ref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        hub.each_route(query.namespace, &mut |route| {
            let is_found = search.as_ref().is_none_or(|text| matches(route, text));
            if !is_found || query.dead && !is_dead(route, unused_for) {
                return;
            }
            if total >= skip && items.len() < take {
                items.push(view(name, route));
            }
            total += 1;
        });
    }
    query.part.of(total, items)
}

fn matches(route: &RouteMoment<'_>, text: &str) -> bool {
    match text.parse::<IpAddr>() {
        Ok(addr) => route.prefix.contains(&addr),
        Err(_) => {
            route.host.as_str().to_lowercase().contains(text)
                || route.prefix.to_string().contains(text)
        }
    }
}

fn is_dead(route: &RouteMoment<'_>, unused_for: Duration) -> bool {
    !route.connected() || route.used().ago.is_none_or(|ago| ago >= unused_for)
}

fn view(service: &str, route: &RouteMoment<'_>) -> RouteView {
    let used = route.used();
    let now = json::unix_time(SystemTime::now()) as u64;
    RouteView {
        service: service.to_owned(),
        namespace: route.namespace.to_string(),
        prefix: route.prefix.to_string(),
        host: route.host.to_string(),
        connected: route.connected(),
        origin: RouteOrigin {
            list: route.router.to_owned(),
            kind: route.origin,
            source: route.source.to_owned(),
            line: route.line,
        },
        packets: used.packets,
        bytes: used.bytes,
        last_used: used.ago.map(|ago| now.saturating_sub(ago.as_secs())),
    }
}
