//! `rtun routes`: the routes of running hubs, and what each has carried.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args as ClapArgs;
use rtun_core::NamespaceId;
use rtun_node::{
    control_socket::ControlRequest,
    units::{bytes, count, printable, seconds},
    watch::{ListPage, MAX_PER_PAGE, PageQuery, RouteQuery, RouteView},
};

use crate::{EXIT_FAILURE, asking::AskedProcesses, complain, say, table::table};

/// The routes of the running hubs of this machine: what each has carried, and when last
///
/// Exit status: 0, or 1 when there is no running rtun that this user may ask.
#[derive(ClapArgs)]
pub(crate) struct Routes {
    #[command(flatten)]
    asked: AskedProcesses,
    /// Only those that carried nothing lately, or whose host is not connected
    #[arg(long)]
    dead: bool,
    /// With --dead, how long ago lately ends: 90s, 30m, 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = time)]
    unused_for: Duration,
    /// Only of this namespace
    #[arg(long, value_name = "ID")]
    namespace: Option<NamespaceId>,
    /// Only of this hub
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Print one JSON object for each route, a line each
    #[arg(long)]
    json: bool,
    /// Only those with this in their prefix or host, or that contain this address
    search: Option<String>,
}

impl Routes {
    pub(crate) fn run(self) -> ExitCode {
        match self.all() {
            Ok(routes) if self.json => print_json(&routes),
            Ok(routes) => say(&text(&routes)),
            Err(status) => status,
        }
    }

    /// All parts of the list.
    fn all(&self) -> Result<Vec<RouteView>, ExitCode> {
        let mut all = Vec::new();
        let mut part = PageQuery { page: 1, per_page: MAX_PER_PAGE };
        loop {
            let query = RouteQuery {
                search: self.search.clone(),
                namespace: self.namespace,
                service: self.service.clone(),
                dead: self.dead,
                unused_for: Some(self.unused_for),
                part,
            };
            let pages = self.asked.ask::<ListPage<RouteView>>(&ControlRequest::Routes(query))?;
            let more = pages.iter().any(|it| it.total > part.page * part.per_page);
            all.extend(pages.into_iter().flat_map(|it| it.items));
            if !more {
                return Ok(all);
            }
            part.page += 1;
        }
    }
}

/// Each on a line of its own.
pub(crate) fn print_json<T: serde::Serialize>(items: &[T]) -> ExitCode {
    let mut text = String::new();
    for item in items {
        match serde_json::to_string(item) {
            Ok(json) => text.extend([&*json, "\n"]),
            Err(error) => {
                complain(&format!("rtun: {error}"));
                return ExitCode::from(EXIT_FAILURE);
            }
        }
    }
    say(&text)
}

fn text(routes: &[RouteView]) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let head = ["PREFIX", "HOST", "", "PACKETS", "BYTES", "LAST USED", "WRITTEN IN"];
    let rows = routes.iter().map(|route| {
        let away = if route.connected { "" } else { "away" };
        let last = route.last_used.map_or("never".to_owned(), |at| {
            format!("{} ago", seconds(now.saturating_sub(at) as f64))
        });
        vec![
            route.prefix.clone(),
            printable(&route.host),
            away.to_owned(),
            count(route.packets as f64),
            bytes(route.bytes as f64),
            last,
            format!("{}:{}", printable(&route.origin.source), route.origin.line),
        ]
    });
    let head = head.map(str::to_owned).to_vec();
    table("", "lllrrll", std::iter::once(head).chain(rows).collect())
}

/// `90s`, `30m`, `24h`, `7d`; a bare number is seconds.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(['s', 'm', 'h', 'd']);
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("a number and one of s, m, h, d".into()),
    };
    let number: u64 = digits.parse().map_err(|_| "a number and one of s, m, h, d".to_owned())?;
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(|| "too long".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_unit() {
        for (text, expected) in
            [("90s", 90), ("5", 5), ("30m", 1800), ("24h", 86_400), ("7d", 604_800)]
        {
            assert_eq!(time(text), Ok(Duration::from_secs(expected)));
        }
        for text in
            ["", "h", "1hh", "-1s", "1.5h", "99999999999999999999d", "18446744073709551615d"]
        {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
