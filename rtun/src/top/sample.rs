//! What one look at the running rtuns shows.

use std::{collections::BTreeMap, process::ExitCode};

use rtun_node::{
    control_socket::ControlRequest,
    watch::{
        DropsView, HostQuery, HostView, ListPage, MAX_PER_PAGE, Overview, PageQuery, TrafficFlow,
        TrafficView,
    },
};
use serde::Serialize;

use super::keys::{HostKey, TopState};
use crate::asking::AskedProcesses;

/// Answers of all rtuns that were asked.
#[derive(Serialize)]
pub(super) struct TopSample {
    /// Of each.
    pub(super) overviews: Vec<Overview>,
    /// How many hosts there are of those that are searched for.
    pub(super) total: usize,
    /// The first of them, as they are sorted.
    pub(super) hosts: Vec<HostView>,
    /// Packets lost since the services started, by reason.
    pub(super) drops: BTreeMap<String, u64>,
    /// Of the host that is looked at: to whom and from whom.
    #[serde(skip)]
    pub(super) flows: Vec<TrafficFlow>,
}

impl TopSample {
    /// Asks for the first hosts, at most this many and [`MAX_PER_PAGE`] of each.
    pub(super) fn ask(
        asked: &AskedProcesses,
        state: &TopState,
        hosts: usize,
    ) -> Result<Self, ExitCode> {
        let search = Some(state.search.clone()).filter(|text| !text.is_empty());
        let part = PageQuery { page: 1, per_page: hosts.clamp(1, MAX_PER_PAGE) };
        let sort = state.sort.sort();
        let query = HostQuery { search, sort, part, ..HostQuery::default() };
        let overviews = asked.ask::<Overview>(&ControlRequest::Overview)?;
        let pages = asked.ask::<ListPage<HostView>>(&ControlRequest::Hosts(query))?;
        let mut drops = BTreeMap::new();
        for view in asked.ask::<DropsView>(&ControlRequest::Drops)? {
            for reason in view.reasons {
                *drops.entry(reason.reason).or_default() += reason.packets;
            }
        }
        let flows = match &state.opened {
            Some(host) => flows(asked, host)?,
            None => Vec::new(),
        };
        let total = pages.iter().map(|it| it.total).sum();
        Ok(Self {
            overviews,
            total,
            hosts: pages.into_iter().flat_map(|it| it.items).collect(),
            drops,
            flows,
        })
    }
}

fn flows(asked: &AskedProcesses, of: &HostKey) -> Result<Vec<TrafficFlow>, ExitCode> {
    let request = ControlRequest::Traffic { namespace: of.namespace.parse().ok() };
    let all = asked.ask::<TrafficView>(&request)?.into_iter().flat_map(|it| it.flows);
    let is_of = |flow: &TrafficFlow| {
        flow.service == of.service
            && (flow.from == of.host || flow.to.as_deref() == Some(of.host.as_str()))
    };
    Ok(all.filter(is_of).collect())
}
