//! How much a hub holds: the `max...` keys of a `router` handler's metadata.

use crate::{
    schema::{Field, Int, router_handler},
    value::Cursor,
};
use rtun_settings::Quotas;

/// The quotas of the handler at `handler`.
pub(super) fn read(handler: &Cursor<'_>) -> Quotas {
    let get = |field| quota(handler, field);
    let default = Quotas::default();
    Quotas {
        routes_per_router: get(&router_handler::MAX_ROUTES_PER_ROUTER)
            .unwrap_or(default.routes_per_router),
        routes: get(&router_handler::MAX_ROUTES).unwrap_or(default.routes),
        namespaces: get(&router_handler::MAX_NAMESPACES).unwrap_or(default.namespaces),
        hosts: get(&router_handler::MAX_HOSTS).unwrap_or(default.hosts),
        hosts_per_user: get(&router_handler::MAX_HOSTS_PER_USER),
    }
}

fn quota(handler: &Cursor<'_>, field: &Field<Int>) -> Option<usize> {
    let number = handler.read(field)?;
    let quota = usize::try_from(number).ok().filter(|quota| *quota > 0);
    quota.or_else(|| {
        let message = format!("`{}` cannot be {number}", field.name());
        let help = "write a whole number above 0, or leave it out";
        handler.place_of(field).refuse(message, help)
    })
}
