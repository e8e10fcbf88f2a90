//! Listing hosts: answers to the parts of a list share a sample and its order.

use std::sync::Arc;

use super::{
    hosts::{HostList, HostQuery, HostView},
    paging::ListPage,
    service::WatchedService,
    state::{APART, ServiceWatch},
};

impl ServiceWatch {
    /// The hosts that `query` asks for.
    pub(crate) fn hosts(
        &self,
        services: &[WatchedService<'_>],
        query: &HostQuery,
    ) -> ListPage<HostView> {
        let known = self.state().listed.clone();
        // Although hosts have joined or left since its first part: none is then on two parts, or between them.
        let goes_on =
            known.filter(|list| !query.part.is_first() && list.is_of(query) && list.age() < APART);
        let list = goes_on.unwrap_or_else(|| self.list(services, query));
        list.part(query.part, services)
    }

    /// The list of now, which may be that of an answer before.
    fn list(&self, services: &[WatchedService<'_>], query: &HostQuery) -> Arc<HostList> {
        let sampled = self.sampled_lately(services);
        let known = self.state().listed.clone();
        let known = known.filter(|list| list.answers(query, &sampled.now));
        known.unwrap_or_else(|| {
            let list = Arc::new(HostList::new(sampled, query));
            self.state().listed = Some(Arc::clone(&list));
            list
        })
    }
}
