//! Where metrics are served: the `metrics` object, or a service with a `metrics` handler.

use super::{Context, access, http_address};
use crate::{
    location::quote,
    schema::{
        Field, OneText, listener_base, metrics, metrics_handler, root, service, service_metadata,
    },
    value::Cursor,
};
use rtun_settings::MetricsSettings;

pub(super) fn read(root: &Cursor<'_>, context: &Context<'_>) -> Option<MetricsSettings> {
    let at = root.filled(&root::METRICS)?;
    let auther = access::http_users(&at, (&metrics::AUTHER, &metrics::AUTH), context);
    let path = path(&at, &metrics::PATH);
    let help = "add `addr:`, for example `addr: 127.0.0.1:9000` or `addr: unix:///run/rtun.sock`";
    let addr = at.required(&metrics::ADDR, "the metrics have no address", help)?;
    Some(MetricsSettings { addr: http_address::read(addr)?, path, auther })
}

/// The service at `at`, whose handler is `metrics`; `None` after an error was reported.
pub(super) fn of_service(at: &Cursor<'_>, context: &Context<'_>) -> Option<MetricsSettings> {
    const HELP: &str = "write `metrics:` with `addr`, `path` and `auther` instead, and remove it";
    let (handler, listener) = (at.object(&service::HANDLER), at.object(&service::LISTENER));
    if listener.or_default(&listener_base::TYPE) != "tcp" {
        let message = "metrics are served over `tcp` only";
        return listener.place_of(&listener_base::TYPE).refuse(message, HELP);
    }
    let promises = [
        at.filled(&service::ADMISSION).map(|at| at.key()),
        at.filled(&service::ADMISSIONS).map(|at| at.key()),
        at.filled(&service::LISTENERS).map(|at| at.key()),
        at.filled(&service_metadata::NETNS).map(|at| at.key()),
        at.filled(&service_metadata::PROXY_PROTOCOL).map(|at| at.key()),
    ];
    for key in promises.into_iter().flatten() {
        key.error("this is not supported where metrics are served").help(HELP);
    }
    let authers = access::authers(&handler, context).unwrap_or_default();
    if authers.len() > 1 {
        return handler.refuse("metrics have one auther", "put all users into one");
    }
    let path = path(&handler, &metrics_handler::PATH);
    let help = "add `addr:`, for example `addr: 127.0.0.1:9000`";
    let addr = at.required(&service::ADDR, "the metrics have no address", help)?;
    Some(MetricsSettings {
        addr: http_address::read(addr)?,
        path,
        auther: authers.into_iter().next(),
    })
}

fn path(at: &Cursor<'_>, field: &Field<OneText>) -> String {
    let path = at.or_default(field);
    if !path.starts_with('/') {
        let message = format!("{} is no path of a URL", quote(&path));
        at.place_of(field).error(message).help(format!("write /{path}"));
    }
    path
}
