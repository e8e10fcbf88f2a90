//! `rtun hosts`: the hosts of running hubs, by traffic.

use std::process::ExitCode;

use clap::{Args as ClapArgs, ValueEnum};
use rtun_core::NamespaceId;
use rtun_node::{
    control_socket::ControlRequest,
    units::{bytes, count, duration, printable, short},
    watch::{HostQuery, HostSort, HostView, ListPage, MAX_PER_PAGE, PageQuery},
};

use crate::{asking::AskedProcesses, routes::print_json, say, table::table};

/// The hosts of the running hubs of this machine, the one with the most traffic first
///
/// Exit status: 0, or 1 when there is no running rtun that this user may ask.
#[derive(ClapArgs)]
pub(crate) struct HostsCommand {
    #[command(flatten)]
    asked: AskedProcesses,
    /// Only of this namespace
    #[arg(long, value_name = "ID")]
    namespace: Option<NamespaceId>,
    /// Only of this hub
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// What they are sorted by
    #[arg(long, value_enum, default_value = "traffic")]
    sort: SortBy,
    /// Print one JSON object for each host, a line each
    #[arg(long)]
    json: bool,
    /// Only those with this in their name, address or namespace
    search: Option<String>,
}

/// What hosts are sorted by.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortBy {
    Traffic,
    Name,
    Age,
    Queue,
    Drops,
}

impl SortBy {
    /// As it is written in the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Traffic => "traffic",
            Self::Name => "name",
            Self::Age => "age",
            Self::Queue => "queue",
            Self::Drops => "drops",
        }
    }

    pub(crate) fn sort(self) -> HostSort {
        match self {
            Self::Traffic => HostSort::Traffic,
            Self::Name => HostSort::Name,
            Self::Age => HostSort::Age,
            Self::Queue => HostSort::Queue,
            Self::Drops => HostSort::Drops,
        }
    }
}

impl HostsCommand {
    pub(crate) fn run(self) -> ExitCode {
        match self.all() {
            Ok(hosts) if self.json => print_json(&hosts),
            Ok(hosts) => say(&text(&hosts)),
            Err(status) => status,
        }
    }

    /// All parts of the list.
    fn all(&self) -> Result<Vec<HostView>, ExitCode> {
        let mut all = Vec::new();
        let mut part = PageQuery { page: 1, per_page: MAX_PER_PAGE };
        loop {
            let query = HostQuery {
                search: self.search.clone(),
                namespace: self.namespace,
                service: self.service.clone(),
                sort: self.sort.sort(),
                order: None,
                part,
            };
            let pages = self.asked.ask::<ListPage<HostView>>(&ControlRequest::Hosts(query))?;
            let more = pages.iter().any(|it| it.total > part.page * part.per_page);
            all.extend(pages.into_iter().flat_map(|it| it.items));
            if !more {
                return Ok(all);
            }
            part.page += 1;
        }
    }
}

/// The hosts, a line each, under a line of what the columns are.
pub(crate) fn text(hosts: &[HostView]) -> String {
    let head =
        ["HOST", "FROM", "FOR", "IN/s", "OUT/s", "IN", "OUT", "QUEUED", "DROPS", "RTT", "PROGRAM"];
    let rows = hosts.iter().map(|host| {
        let standby = if host.carries { "" } else { " (standby)" };
        let drops: u64 = host.drops.values().sum();
        let round_trip = host
            .round_trip
            .map_or("-".to_owned(), |it| format!("{:.2}ms", it.as_secs_f64() * 1000.0));
        vec![
            short(&host.host) + standby,
            host.peer.to_string(),
            duration(host.connected),
            bytes(host.rate.input.bytes),
            bytes(host.rate.output.bytes),
            bytes(host.input.bytes as f64),
            bytes(host.output.bytes as f64),
            bytes(host.queued.bytes as f64),
            count(drops as f64),
            round_trip,
            host.software.as_deref().map_or("-".into(), printable),
        ]
    });
    let head = head.map(str::to_owned).to_vec();
    table("", "lllrrrrrrrl", std::iter::once(head).chain(rows).collect())
}
