//! How observers are informed: GOST's words for events, and the calls.

use std::{sync::Arc, time::Duration};

use rtun_core::observer::ObserverEvent;
use serde::Serialize;

use super::{
    ObserverPlugin,
    caller::{CallLimits, PluginCaller},
    status::{PluginKind, PluginStatus},
    taken,
};

/// Calls one observer; services that name it share this.
pub struct ObserverCalls {
    caller: PluginCaller,
    plugin: Arc<dyn ObserverPlugin>,
}

impl ObserverCalls {
    /// Nothing is sent yet; `name` is the observer's, `deadline` is for one call.
    pub fn new(name: String, plugin: Arc<dyn ObserverPlugin>, deadline: Duration) -> Self {
        // The reporting task waits between failures anyway.
        let limits =
            CallLimits { deadline, failures: 5, pause: Duration::ZERO, refusals_count: true };
        let address = plugin.address().to_owned();
        Self { caller: PluginCaller::new(PluginKind::Observer, name, address, limits), plugin }
    }

    /// Informs the observer; whether it has taken the events. A failure is logged and counted.
    pub async fn observe(&self, events: &[ObserverEvent]) -> bool {
        let call = async { taken(self.plugin.observe(events).await?) };
        self.caller.call(None, call).await.is_ok()
    }

    /// The state of the observer; `waiting` events are not taken yet.
    pub fn status(&self, waiting: usize) -> PluginStatus {
        self.caller.status(waiting, 0)
    }
}

/// An event in GOST's words, as JSON has them.
#[derive(Serialize)]
pub(crate) struct EventWords<'a> {
    pub(crate) kind: &'static str,
    pub(crate) service: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<&'a str>,
    pub(crate) r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stats: Option<StatsWords>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<StatusWords>,
}

/// Counts in GOST's words.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatsWords {
    pub(crate) total_conns: u64,
    pub(crate) current_conns: u64,
    pub(crate) input_bytes: u64,
    pub(crate) output_bytes: u64,
    pub(crate) total_errs: u64,
}

/// A state in GOST's words.
#[derive(Serialize)]
pub(crate) struct StatusWords {
    pub(crate) state: &'static str,
    pub(crate) msg: String,
}

/// The body of a request over HTTP.
#[derive(Serialize)]
pub(crate) struct ObserveBody<'a> {
    events: Vec<EventWords<'a>>,
}

pub(crate) fn body(events: &[ObserverEvent]) -> ObserveBody<'_> {
    ObserveBody { events: events.iter().map(words).collect() }
}

pub(crate) fn words(event: &ObserverEvent) -> EventWords<'_> {
    match event {
        ObserverEvent::Status { service, state } => {
            let state = state.as_str();
            let msg = format!("service {service} is {state}");
            EventWords {
                kind: "service",
                service,
                client: None,
                r#type: "status",
                stats: None,
                status: Some(StatusWords { state, msg }),
            }
        }
        ObserverEvent::Stats { service, client, stats } => EventWords {
            kind: if client.is_some() { "handler" } else { "service" },
            service,
            client: client.as_deref(),
            r#type: "stats",
            stats: Some(StatsWords {
                total_conns: stats.total_conns,
                current_conns: stats.current_conns,
                input_bytes: stats.input_bytes,
                output_bytes: stats.output_bytes,
                total_errs: stats.total_errs,
            }),
            status: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use rtun_core::observer::{ObservedStats, ServiceState};

    use super::*;

    #[test]
    fn events_are_written_as_gost_writes_them() {
        let stats = ObservedStats {
            total_conns: 1,
            current_conns: 2,
            input_bytes: 3,
            output_bytes: 4,
            total_errs: 5,
        };
        let service = "hub".to_owned();
        let client = Some("host-1@00000000-0000-0000-0000-000000000000".to_owned());
        let events = [
            ObserverEvent::Status { service: service.clone(), state: ServiceState::Ready },
            ObserverEvent::Stats { service: service.clone(), client: None, stats },
            ObserverEvent::Stats { service, client, stats },
        ];
        let counts =
            r#"{"totalConns":1,"currentConns":2,"inputBytes":3,"outputBytes":4,"totalErrs":5}"#;
        assert_eq!(
            serde_json::to_string(&body(&events)).unwrap(),
            format!(
                r#"{{"events":[{{"kind":"service","service":"hub","type":"status","status":{{"state":"ready","msg":"service hub is ready"}}}},{{"kind":"service","service":"hub","type":"stats","stats":{counts}}},{{"kind":"handler","service":"hub","client":"host-1@00000000-0000-0000-0000-000000000000","type":"stats","stats":{counts}}}]}}"#
            )
        );
    }
}
