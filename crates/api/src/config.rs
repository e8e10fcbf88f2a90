//! GOST's paths: the configuration that runs, and its changes.

use hyper::StatusCode;
use rtun_config::{Document, EditError, StatusOf, cli::OutputFormat, known_group};
use rtun_node::Board;
use serde_json::Value;

use crate::{
    answer::{ApiAnswer, Form, JSON},
    desk::{Desk, Order, OrderAction, OrderError},
    endpoints::ConfigAction,
    request::Asked,
    status,
};

/// GOST's code of a body or configuration that is wrong.
const INVALID: u32 = 40001;
const EXISTS: u32 = 40002;
const FAILED: u32 = 40003;
const NOT_FOUND: u32 = 40004;
const NOT_SAVED: u32 = 40005;

/// Answers at a path under `/config`.
pub(crate) async fn answer(
    action: ConfigAction,
    method: &str,
    asked: &Asked,
    desk: &Desk,
    board: &Board,
) -> ApiAnswer {
    let group = asked.name("group");
    if !group.is_empty()
        && let Err(error) = known_group(group)
    {
        return failure(OrderError::Edit(error));
    }
    let title = || {
        let name = match asked.name("name") {
            "" => String::new(),
            name => format!("/{name}"),
        };
        format!("{method} /config/{group}{name}")
    };
    let change = |action| Order::Change { group: group.to_owned(), action, title: title() };
    let (name, body) = (asked.name("name").trim().to_owned(), asked.body.clone());
    let order = match action {
        ConfigAction::Create => change(OrderAction::Create(body)),
        ConfigAction::Replace => change(OrderAction::Replace(name, body)),
        ConfigAction::Delete => change(OrderAction::Delete(name)),
        ConfigAction::Reload => Order::Reload,
        ConfigAction::ResetQuota => match used(&asked.body) {
            Ok(used) => Order::ResetQuota { name, used },
            Err(why) => {
                return ApiAnswer::error(Form::Gost, StatusCode::BAD_REQUEST, INVALID, &why);
            }
        },
        ConfigAction::SaveConfig => match save(asked) {
            Ok(order) => order,
            Err(why) => return ApiAnswer::error(Form::Gost, StatusCode::BAD_REQUEST, INVALID, why),
        },
        ConfigAction::List => {
            return shown(desk, board, |document, status| {
                let (count, list) = document.show_list(group, status);
                ApiAnswer::data(&format!("{{\"count\":{count},\"list\":{list}}}"))
            });
        }
        ConfigAction::Show => {
            return shown(desk, board, |document, status| {
                let object = document.show_object(group, asked.name("name"), status);
                ApiAnswer::data(object.as_deref().unwrap_or("null"))
            });
        }
        ConfigAction::ShowConfig => {
            return shown(desk, board, |document, status| match asked.parameter("format") {
                Some("yaml") => {
                    ApiAnswer::text("text/x-yaml", document.show(OutputFormat::Yaml, status))
                }
                // As GOST does, any other format is JSON.
                _ => ApiAnswer::text(JSON, document.show(OutputFormat::Json, status)),
            });
        }
    };
    match desk.order(order).await {
        Ok(done) => ApiAnswer::ok(&done.findings),
        Err(error) => failure(error),
    }
}

/// What a quota is to have counted.
fn used(body: &str) -> Result<u64, String> {
    if body.trim().is_empty() {
        return Ok(0);
    }
    let body: Value = serde_json::from_str(body).map_err(|error| format!("not JSON: {error}"))?;
    match body.get("used") {
        None | Some(Value::Null) => Ok(0),
        Some(used) => used
            .as_u64()
            .ok_or_else(|| "`used` is a whole number of bytes, as {\"used\": 0}".to_owned()),
    }
}

fn save(asked: &Asked) -> Result<Order, &'static str> {
    if asked.parameter("path").is_some() {
        return Err(
            "`path` is refused: changes are written into the files that the configuration comes from; GET /config?format=yaml has all of it as one file",
        );
    }
    match asked.parameter("force") {
        None | Some("false" | "0") => Ok(Order::Save { force: false }),
        Some("true" | "1") => Ok(Order::Save { force: true }),
        Some(_) => Err("`force` is true or false"),
    }
}

/// Shows the configuration that runs; its services and quotas with their status.
fn shown(
    desk: &Desk,
    board: &Board,
    show: impl FnOnce(&Document, StatusOf<'_>) -> ApiAnswer,
) -> ApiAnswer {
    let Some(document) = desk.document() else {
        let message = "the process starts: ask again";
        return ApiAnswer::refusal(Form::Gost, StatusCode::SERVICE_UNAVAILABLE, message);
    };
    let states = board.running_states();
    show(&document, &|group, name| status::of(&states, group, name))
}

/// What is said of an order that was not carried out.
fn failure(error: OrderError) -> ApiAnswer {
    let message = error.to_string();
    let new = |status, code| ApiAnswer::error(Form::Gost, status, code, &message);
    match error {
        OrderError::Edit(EditError::Body(findings)) | OrderError::Wrong(findings) => {
            ApiAnswer::wrong(&findings)
        }
        OrderError::Edit(EditError::Group(_)) => new(StatusCode::NOT_FOUND, 404),
        OrderError::Edit(EditError::Exists { .. }) => new(StatusCode::BAD_REQUEST, EXISTS),
        OrderError::Edit(EditError::NotFound { .. }) | OrderError::NoQuota(_) => {
            new(StatusCode::BAD_REQUEST, NOT_FOUND)
        }
        OrderError::Failed(_) => new(StatusCode::INTERNAL_SERVER_ERROR, FAILED),
        OrderError::Rewrite(_) | OrderError::Save(_) => {
            new(StatusCode::INTERNAL_SERVER_ERROR, NOT_SAVED)
        }
        OrderError::Outdated(_) => new(StatusCode::CONFLICT, NOT_SAVED),
        OrderError::Ending => new(StatusCode::SERVICE_UNAVAILABLE, 503),
    }
}
