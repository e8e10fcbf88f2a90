//! How much a hub holds: the `max...` keys of a `router` handler's metadata.

use crate::{findings::Report, value::Cursor};
use rtun_settings::Quotas;

/// The quotas in the metadata at `metadata`.
pub(super) fn read(metadata: Option<&Cursor<'_>>, report: &mut Report) -> Quotas {
    let mut get = |key: &str| metadata?.get(key).and_then(|at| quota(&at, key, report));
    let default = Quotas::default();
    Quotas {
        routes_per_router: get("maxRoutesPerRouter").unwrap_or(default.routes_per_router),
        routes: get("maxRoutes").unwrap_or(default.routes),
        namespaces: get("maxNamespaces").unwrap_or(default.namespaces),
        hosts: get("maxHosts").unwrap_or(default.hosts),
        hosts_per_user: get("maxHostsPerUser"),
    }
}

fn quota(at: &Cursor<'_>, key: &str, report: &mut Report) -> Option<usize> {
    let number = report.integer(at)?;
    match usize::try_from(number) {
        Ok(quota) if quota > 0 => Some(quota),
        _ => {
            report
                .error(at, format!("`{key}` cannot be {number}"))
                .help("write a whole number above 0, or leave it out");
            None
        }
    }
}
