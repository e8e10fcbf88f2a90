//! Observers: who is informed of what services count, and of their states.

use std::time::Duration;

use super::{Context, DocumentNames, plugins};
use crate::{
    location::quote,
    schema::{
        Any, Field, OneText, Timespan, handler, observer, router_handler, service, service_metadata,
    },
    value::Cursor,
};
use rtun_settings::{ObserverSettings, Observing, ServiceKind, ServiceObservers};

/// Least time between two reports.
const MIN_PERIOD: Duration = Duration::from_secs(1);

/// All observers, in order. One without a plugin is none.
pub(super) fn read(names: &DocumentNames<'_>) -> Vec<ObserverSettings> {
    let read = |(name, at): &(String, Cursor<'_>)| {
        let Some(plugin) = at.filled(&observer::PLUGIN) else {
            let message = format!("the observer {} has no plugin: nobody is informed", quote(name));
            at.warning(message).help("add `plugin:` with its type and address");
            return None;
        };
        Some(ObserverSettings { name: name.clone(), plugin: plugins::read_observer(&plugin)? })
    };
    names.observers.list.iter().filter_map(read).collect()
}

/// Those of the service at `at`, which is of this kind.
pub(super) fn of_service(
    at: &Cursor<'_>,
    kind: &ServiceKind,
    context: &Context<'_>,
) -> ServiceObservers {
    let stats = at.or_default(&service_metadata::ENABLE_STATS);
    let service = named(at, &service::OBSERVER, context).map(|observer| Observing {
        observer,
        period: period(at, &service_metadata::OBSERVER_PERIOD),
        reset_traffic: at.or_default(&service_metadata::RESET_TRAFFIC),
        stats,
    });
    let of_counts =
        [service_metadata::OBSERVER_PERIOD.any(), service_metadata::RESET_TRAFFIC.any()];
    if at.filled(&service::OBSERVER).is_none() {
        without_effect(at, &of_counts, "the service names no observer");
    } else if !stats {
        without_effect(at, &of_counts, "counts are reported only with `enableStats: true`");
    }
    let Some(handler) = at.get(&service::HANDLER) else {
        return ServiceObservers { service, handler: None };
    };
    ServiceObservers { service, handler: of_handler(&handler, kind, context) }
}

fn of_handler(
    handler: &Cursor<'_>,
    kind: &ServiceKind,
    context: &Context<'_>,
) -> Option<Observing> {
    let is_hub = matches!(kind, ServiceKind::Hub(_));
    let named = named(handler, &handler::OBSERVER, context);
    match handler.filled(&handler::OBSERVER) {
        Some(at) if !is_hub => {
            at.key()
                .info("the observer of a handler has no effect here: only hubs count by host")
                .help("name it in the service itself, with `enableStats: true` in its metadata");
            return None;
        }
        Some(_) => {}
        None if is_hub => {
            let keys = [router_handler::OBSERVER_PERIOD.any(), router_handler::RESET_TRAFFIC.any()];
            without_effect(handler, &keys, "the handler names no observer");
        }
        None => {}
    }
    Some(Observing {
        observer: named?,
        period: period(handler, &router_handler::OBSERVER_PERIOD),
        reset_traffic: handler.or_default(&router_handler::RESET_TRAFFIC),
        stats: true,
    })
}

/// Says of each of these keys that is there that it has no effect, and why.
fn without_effect(at: &Cursor<'_>, keys: &[Field<Any>], why: &str) {
    for field in keys {
        if let Some(at) = at.filled(field) {
            at.key().info(format!("`{}` has no effect: {why}", field.name()));
        }
    }
}

fn named(
    at: &Cursor<'_>,
    field: &Field<OneText>,
    context: &Context<'_>,
) -> Option<ObserverSettings> {
    let reference = at.filled(field)?;
    let (name, observer) = context.names.observers.resolve(&reference)?;
    if observer.filled(&observer::PLUGIN).is_none() {
        let message = format!("the observer {} informs nobody: it has no plugin", quote(name));
        return reference.refuse(message, "add `plugin:` to it, or name no observer");
    }
    context.observers.iter().find(|observer| observer.name == *name).cloned()
}

fn period(at: &Cursor<'_>, field: &Field<Timespan>) -> Duration {
    let period = at.or_default(field);
    if period < MIN_PERIOD {
        at.place_of(field).info("the period is raised to 1s, the least there is");
    }
    period.max(MIN_PERIOD)
}
