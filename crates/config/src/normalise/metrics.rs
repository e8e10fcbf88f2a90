//! Where metrics are served: the `metrics` object, or a service with a `metrics` handler.

use super::{
    Context, access,
    http_server::{self, ServiceWords},
};
use crate::{
    location::quote,
    schema::{Field, OneText, listener_base, metrics, metrics_handler, root, service},
    value::Cursor,
};
use rtun_settings::MetricsSettings;

const WORDS: ServiceWords = ServiceWords {
    served: "metrics are served",
    has_one: "metrics have one auther",
    help: "write `metrics:` with `addr`, `path` and `auther` instead, and remove it",
};

pub(super) fn read(root: &Cursor<'_>, context: &Context<'_>) -> Option<MetricsSettings> {
    let at = root.filled(&root::METRICS)?;
    let auther = access::http_users(&at, (&metrics::AUTHER, &metrics::AUTH), context);
    let path = path(&at, &metrics::PATH);
    let help = "add `addr:`, for example `addr: 127.0.0.1:9000` or `addr: unix:///run/rtun.sock`";
    let addr = at.required(&metrics::ADDR, "the metrics have no address", help)?;
    Some(MetricsSettings { addr: http_server::address(addr)?, path, auther })
}

/// The service at `at`, whose handler is `metrics`; `None` after an error was reported.
pub(super) fn of_service(at: &Cursor<'_>, context: &Context<'_>) -> Option<MetricsSettings> {
    let (handler, listener) = (at.object(&service::HANDLER), at.object(&service::LISTENER));
    if listener.or_default(&listener_base::TYPE) != "tcp" {
        let message = "metrics are served over `tcp` only";
        return listener.place_of(&listener_base::TYPE).refuse(message, WORDS.help);
    }
    let auther = http_server::service_users(at, context, &WORDS)?;
    let path = path(&handler, &metrics_handler::PATH);
    let help = "add `addr:`, for example `addr: 127.0.0.1:9000`";
    let addr = at.required(&service::ADDR, "the metrics have no address", help)?;
    Some(MetricsSettings { addr: http_server::address(addr)?, path, auther })
}

fn path(at: &Cursor<'_>, field: &Field<OneText>) -> String {
    let path = at.or_default(field);
    if !path.starts_with('/') {
        let message = format!("{} is no path of a URL", quote(&path));
        at.place_of(field).error(message).help(format!("write /{path}"));
    }
    path
}
