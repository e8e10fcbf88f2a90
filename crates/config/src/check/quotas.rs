//! Routes of the configuration that are more than a hub may hold.

use crate::{
    findings::Report,
    location::quote,
    normalise::{Context, HubView, RouterTable},
};

/// Reports the routes past the quotas of one hub.
pub(super) fn check(hub: &HubView, context: &Context<'_>, report: &mut Report) {
    let quotas = &hub.quotas;
    let default = hub.default_router.as_ref().map(|(name, _)| name);
    let used = |table: &&RouterTable| table.id.is_some() || default == Some(&table.router.name);
    let mut all = 0;
    for table in context.tables.routers.iter().filter(used) {
        let count = table.rows.len();
        all += count;
        if let Some(row) = table.rows.get(quotas.routes_per_router) {
            let limit = quotas.routes_per_router;
            let name = quote(&table.router.name);
            report
                .error(
                    row.dst.clone(),
                    format!("{name} has {count} routes, `maxRoutesPerRouter` is {limit}"),
                )
                .help("remove routes, or raise the limit in the handler's metadata");
        }
    }
    if all > quotas.routes {
        let at = hub.max_routes.clone().unwrap_or_default();
        let limit = quotas.routes;
        report
            .error(at, format!("the routers have {all} routes together, `maxRoutes` is {limit}"))
            .help("remove routes, or raise the limit");
    }
}
