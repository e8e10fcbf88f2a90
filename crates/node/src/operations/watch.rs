//! Watching the services of a process: what passes now, who talks to whom, which routes are used, what is lost and why.
//!
//! A `ServiceWatch` keeps the last two samples, from which rates are, and the series of the last hour. It samples every ten seconds,
//! and when it is asked.

mod drop_ledger;
mod drops;
mod hosts;
mod listing;
mod namespaces;
mod overview;
mod paging;
mod pairs;
mod problem_events;
mod routes;
mod sample;
mod series;
mod service;
mod state;
mod traffic;

pub use self::{
    drops::{DropReasonView, DropsView},
    hosts::{HostQuery, HostSort, HostView},
    namespaces::{NamespaceQuery, NamespaceView},
    overview::{Overview, ServiceOverview},
    paging::{ListPage, MAX_PER_PAGE, PageQuery, SortOrder},
    routes::{DEFAULT_UNUSED_FOR, RouteOrigin, RouteQuery, RouteView},
    sample::{PacketRate, ServiceRate, TrafficRates},
    series::{MAX_POINTS, SERIES_NAMES, STEP, SeriesView},
    traffic::{MAX_PAIRS, TrafficFlow, TrafficView},
};
pub(crate) use self::{
    routes::routes,
    service::{WatchedKind, WatchedService},
    state::ServiceWatch,
};
pub use crate::{
    counters::{DropSample, MAX_SAMPLING, SamplingLease},
    hub::Amounts,
    runtime::{
        events::{EventFacts, EventFollower, Followed, NodeEvent, NodeEventKind},
        live_log::{FollowedLine, LineLevel, LiveLogLine, LogFollower},
    },
};
