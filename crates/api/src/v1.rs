//! rtun's own paths: what runs, as `rtun status`, `rtun explain` and `rtun top` know it.

use std::{sync::Arc, time::Duration};

use hyper::StatusCode;
use rtun_node::{
    AskedAddress, Board, ExplainReport, Explained, Inquiry,
    problems::Problem,
    watch::{HostQuery, NamespaceQuery, PageQuery, RouteQuery},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    answer::{ApiAnswer, Form},
    endpoints::ViewAction,
    events, join, openapi, page,
    request::Asked,
};

/// Answers at a path under `/v1`; `role` is that of who asks, `places` are those for streams of events.
pub(crate) fn answer(
    action: ViewAction,
    asked: &Asked,
    prefix: &str,
    role: &str,
    board: &Board,
    places: &Arc<Semaphore>,
) -> ApiAnswer {
    let answer = match action {
        ViewAction::Status => Ok(ApiAnswer::json(&board.status())),
        ViewAction::Explain => explain(asked, board),
        ViewAction::Overview => Ok(overview(role, board)),
        ViewAction::Hosts => hosts(asked).map(|query| ApiAnswer::json(&board.hosts(&query))),
        ViewAction::Namespaces => {
            namespaces(asked).map(|query| ApiAnswer::json(&board.namespaces(&query)))
        }
        ViewAction::Routes => routes(asked).map(|query| ApiAnswer::json(&board.routes(&query))),
        ViewAction::Traffic => {
            asked.parsed("namespace").map(|id| ApiAnswer::json(&board.traffic(id)))
        }
        ViewAction::Drops => Ok(ApiAnswer::json(&board.drops())),
        ViewAction::SampleDrops => sample_drops(asked, board),
        ViewAction::Series => series(asked, board),
        ViewAction::Problems => Ok(all_problems(board)),
        ViewAction::Events => asked.parsed("since").map(|since| follow(since, board, places)),
        ViewAction::Page => Ok(page::file("index.html").unwrap_or_else(no_file)),
        ViewAction::PageFile => Ok(page::file(asked.name("name")).unwrap_or_else(no_file)),
        ViewAction::Join => join::answer(asked, board).map(|answer| ApiAnswer::json(&answer)),
        ViewAction::OpenApi => Ok(ApiAnswer::json(&openapi::description(prefix))),
    };
    answer.unwrap_or_else(|why| ApiAnswer::refusal(Form::Own, StatusCode::BAD_REQUEST, &why))
}

/// A stream of the events after the one of this number, if there is a place for one more.
fn follow(since: Option<u64>, board: &Board, places: &Arc<Semaphore>) -> ApiAnswer {
    match Arc::clone(places).try_acquire_owned() {
        Ok(place) => ApiAnswer::events(events::follow(board, since, place)),
        Err(_) => {
            let why = format!("{} follow the events already: close another page", events::STREAMS);
            ApiAnswer::refusal(Form::Own, StatusCode::SERVICE_UNAVAILABLE, &why)
        }
    }
}

fn no_file() -> ApiAnswer {
    ApiAnswer::refusal(Form::Own, StatusCode::NOT_FOUND, "the page has no such file")
}

fn overview(role: &str, board: &Board) -> ApiAnswer {
    let overview = serde_json::to_value(board.overview()).map(|mut overview| {
        overview["role"] = json!(role);
        overview
    });
    ApiAnswer::json(&overview.unwrap_or(Value::Null))
}

fn hosts(asked: &Asked) -> Result<HostQuery, String> {
    Ok(HostQuery {
        search: asked.text("search"),
        namespace: asked.parsed("namespace")?,
        service: asked.text("service"),
        sort: word(asked, "sort")?.unwrap_or_default(),
        order: word(asked, "order")?,
        part: part(asked)?,
    })
}

fn namespaces(asked: &Asked) -> Result<NamespaceQuery, String> {
    let (search, service) = (asked.text("search"), asked.text("service"));
    Ok(NamespaceQuery { search, service, part: part(asked)? })
}

fn routes(asked: &Asked) -> Result<RouteQuery, String> {
    Ok(RouteQuery {
        search: asked.text("search"),
        namespace: asked.parsed("namespace")?,
        service: asked.text("service"),
        dead: asked.parsed("dead")?.unwrap_or_default(),
        unused_for: match asked.parsed("unused_for")? {
            Some(seconds) => Some(
                Duration::try_from_secs_f64(seconds)
                    .map_err(|_| "`unused_for` is a number of seconds".to_owned())?,
            ),
            None => None,
        },
        part: part(asked)?,
    })
}

/// One of the words of `T`.
fn word<T: DeserializeOwned>(asked: &Asked, name: &str) -> Result<Option<T>, String> {
    let Some(text) = asked.parameter(name) else { return Ok(None) };
    let read = serde_json::from_value(json!(text));
    read.map(Some).map_err(|error| format!("`{name}`: {error}"))
}

fn part(asked: &Asked) -> Result<PageQuery, String> {
    let PageQuery { page, per_page } = PageQuery::default();
    Ok(PageQuery {
        page: asked.parsed("page")?.unwrap_or(page),
        per_page: asked.parsed("per_page")?.unwrap_or(per_page),
    })
}

fn series(asked: &Asked, board: &Board) -> Result<ApiAnswer, String> {
    let names = asked.parameter("names").unwrap_or_default();
    let names = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned);
    let names: Vec<String> = names.collect();
    Ok(ApiAnswer::json(&board.series(&names, asked.parsed("since")?)))
}

fn sample_drops(asked: &Asked, board: &Board) -> Result<ApiAnswer, String> {
    const HELP: &str = "write {\"enabled\": true, \"for\": 600} or {\"enabled\": false}";
    let body: Value = serde_json::from_str(&asked.body).map_err(|_| HELP.to_owned())?;
    let enabled = body["enabled"].as_bool().ok_or_else(|| HELP.to_owned())?;
    let within = match &body["for"] {
        Value::Null => Some(600.0),
        seconds => seconds.as_f64(),
    };
    let within = within.filter(|seconds| (0.0..=3600.0).contains(seconds));
    let within = within.ok_or_else(|| "`for` is at most 3600 seconds".to_owned())?;
    board.sample_drops(enabled.then(|| Duration::from_secs_f64(within)));
    Ok(ApiAnswer::json(&board.drops()))
}

fn all_problems(board: &Board) -> ApiAnswer {
    let shown = |problem: &Problem| {
        // What lasts has to be mended; what is over may come again.
        let level = if problem.ago.is_zero() { "error" } else { "warning" };
        json!({
            "level": level,
            "what": problem.what,
            "where": problem.service,
            "ago": problem.ago.as_secs_f64(),
            "remedy": problem.remedy,
        })
    };
    let problems: Vec<Value> = board.problems().iter().map(shown).collect();
    ApiAnswer::json(&json!({"problems": problems}))
}

fn explain(asked: &Asked, board: &Board) -> Result<ApiAnswer, String> {
    match board.explain(inquiry(asked)?)? {
        Explained::Found(found) => Ok(ApiAnswer::json(&ExplainReport::new(true, found))),
        Explained::Unclear(unclear) => Err(unclear.to_string()),
    }
}

fn inquiry(asked: &Asked) -> Result<Inquiry, String> {
    let address = |name: &str| {
        let address: Option<AskedAddress> = asked.parsed(name)?;
        address.ok_or_else(|| format!("`{name}` is missing: the address of a packet or frame"))
    };
    Ok(Inquiry {
        source: address("source")?,
        destination: address("destination")?,
        from: asked.text("from"),
        namespace: asked.text("namespace"),
        service: asked.text("service"),
        ttl: asked.parsed("ttl")?.unwrap_or(64),
        vlan: asked.parsed("vlan")?.unwrap_or(0),
    })
}
