//! A service as those who watch it see it.

use crate::{hub::HubServiceView, report::KindReport};

/// A service that is watched.
pub(crate) struct WatchedService<'a> {
    /// Of this run of the service.
    pub(crate) id: u64,
    pub(crate) name: &'a str,
    pub(crate) kind: WatchedKind<'a>,
}

/// A hub itself, or the report of any other service.
pub(crate) enum WatchedKind<'a> {
    Hub(&'a HubServiceView),
    Other(Box<KindReport>),
}
