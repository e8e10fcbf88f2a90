//! Listing hosts: answers to the parts of a list share a sample and its order.

use std::sync::Arc;

use super::{
    hosts::{HostList, HostQuery, HostView},
    paging::ListPage,
    service::WatchedService,
    state::ServiceWatch,
};

impl ServiceWatch {
    /// The hosts that `query` asks for.
    pub(crate) fn hosts(
        &self,
        services: &[WatchedService<'_>],
        query: &HostQuery,
    ) -> ListPage<HostView> {
        let sampled = self.sampled_lately(services);
        let known = self.state().listed.clone();
        let known = known.filter(|list| list.answers(query, &sampled.now));
        let list = known.unwrap_or_else(|| {
            let list = Arc::new(HostList::new(sampled, query));
            self.state().listed = Some(Arc::clone(&list));
            list
        });
        list.part(query.part, services)
    }
}
