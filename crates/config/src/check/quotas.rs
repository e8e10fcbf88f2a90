//! Routes of the configuration that are more than a hub may hold.

use crate::{
    location::quote,
    normalise::{Context, HubView, RouterTable},
};

/// Reports the routes past the quotas of one hub.
pub(super) fn check(hub: &HubView<'_>, context: &Context<'_>) {
    let quotas = &hub.quotas;
    let default = hub.default_router.as_ref().map(|(name, _)| name);
    let used = |table: &&RouterTable<'_>| table.id.is_some() || default == Some(&table.router.name);
    let mut all = 0;
    for table in context.tables.routers.iter().filter(used) {
        let count = table.routes().count();
        all += count;
        if let Some((_, place)) = table.routes().nth(quotas.routes_per_router) {
            let limit = quotas.routes_per_router;
            let name = quote(&table.router.name);
            place
                .dst
                .error(format!("{name} has {count} routes, `maxRoutesPerRouter` is {limit}"))
                .help("remove routes, or raise the limit in the handler's metadata");
        }
    }
    if all > quotas.routes {
        let at = hub.max_routes.clone().unwrap_or(context.report.whole());
        let limit = quotas.routes;
        at.error(format!("the routers have {all} routes together, `maxRoutes` is {limit}"))
            .help("remove routes, or raise the limit");
    }
}
