//! GOST's `status` of services and quotas.

use rtun_node::{QuotaState, RunningState};
use serde_json::{Map, Value, json};

/// The last events of a service that are shown, as GOST keeps them.
const EVENTS: usize = 20;

/// The status of the object of `group` named `name`, if it is in use.
pub(crate) fn of(states: &[RunningState], group: &str, name: &str) -> Option<Value> {
    match group {
        "quotas" => {
            let mut quotas = states.iter().flat_map(|it| &it.quotas);
            quotas.find(|it| it.report.name == name).map(|quota| Value::Object(of_quota(quota)))
        }
        _ => states.iter().find(|it| it.name == name).map(of_service),
    }
}

fn of_service(service: &RunningState) -> Value {
    let RunningState { name, since, state, stats, quotas, events } = service;
    let state = state.as_str();
    let mut shown: Vec<Value> = events
        .iter()
        .map(|event| json!({"time": event.time as i64, "msg": format!("service {name}: {}", event.text)}))
        .collect();
    shown.drain(..shown.len().saturating_sub(EVENTS));
    if shown.is_empty() {
        // What happened then is not kept any more.
        shown.push(json!({"time": since, "msg": format!("service {name}: started")}));
    }
    let mut status = json!({
        "createTime": since,
        "state": state,
        "events": shown,
        "stats": {
            "totalConns": stats.total_conns,
            "currentConns": stats.current_conns,
            "totalErrs": stats.total_errs,
            "inputBytes": stats.input_bytes,
            "outputBytes": stats.output_bytes,
        },
    });
    // GOST leaves out what is empty.
    if !quotas.is_empty() {
        let named = quotas.iter().map(|quota| {
            let mut shown = of_quota(quota);
            shown.insert("name".into(), json!(quota.report.name));
            Value::Object(shown)
        });
        status["quotas"] = named.collect();
    }
    if quotas.iter().any(|quota| quota.report.exceeded) {
        status["stoppedByLimit"] = json!(true);
    }
    status
}

fn of_quota(quota: &QuotaState) -> Map<String, Value> {
    let QuotaState { report, active, expired } = quota;
    let mut shown = Map::new();
    shown.insert("used".into(), json!(report.used));
    shown.insert("limit".into(), json!(report.limit));
    for (key, time) in [("startsAt", report.starts), ("expiresAt", report.expires)] {
        if let Some(time) = time {
            shown.insert(key.into(), json!(time));
        }
    }
    shown.insert("active".into(), json!(active));
    if *expired {
        shown.insert("expired".into(), json!(true));
    }
    shown.insert("blocked".into(), json!(report.exceeded));
    shown.insert("direction".into(), json!(report.direction));
    shown
}
