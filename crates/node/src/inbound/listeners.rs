//! All listeners of one service: opened together, each accepting by a task of its own.

use std::sync::Arc;

use futures_util::future::join_all;
use rtun_settings::ListenerSettings;
use tokio::runtime::Handle;

use super::{
    connections::{Connections, StreamService},
    listener::{HubListenError, HubListener, ListenerView},
};
use crate::runtime::{duties::Duty, machine::Machine, workers::Workers};

/// The open listeners of a service: at least one.
pub(crate) struct Listeners {
    all: Vec<Arc<HubListener>>,
    /// As reports see them.
    pub(crate) views: Arc<[ListenerView]>,
}

impl Listeners {
    /// Opens all of them, or none.
    pub(crate) fn open<'a>(
        service: &str,
        configs: impl Iterator<Item = &'a ListenerSettings>,
        workers: &Arc<Workers>,
        machine: &Machine,
    ) -> Result<Arc<Self>, HubListenError> {
        let open = |config| HubListener::open(service, config, workers, machine).map(Arc::new);
        let all = configs.map(open).collect::<Result<Vec<_>, _>>()?;
        let views = all.iter().map(|listener| listener.view()).collect();
        Ok(Arc::new(Self { all, views }))
    }

    /// Has `connections` take what arrives at each of them, until it is stopped or a duty is dropped.
    pub(crate) fn accept<S: StreamService>(
        &self,
        connections: &Arc<Connections<S>>,
        workers: &Arc<Workers>,
        machine: &Machine,
    ) -> Vec<Duty> {
        let runtime = Handle::current();
        let accept = |listener: &Arc<HubListener>| {
            let ListenerView { address, transport, .. } = listener.view();
            let (service, transport) = (&connections.service, transport.as_str());
            let name = format!("{service}: accepting connections on {address} ({transport})");
            let (connections, listener, workers) =
                (Arc::clone(connections), Arc::clone(listener), Arc::clone(workers));
            machine.duties.keep(&runtime, name, move || {
                Arc::clone(&connections).accept(Arc::clone(&listener), Arc::clone(&workers))
            })
        };
        self.all.iter().map(accept).collect()
    }

    /// Follows their certificates; never ends.
    pub(crate) async fn follow_certificates(&self, service: &str) {
        join_all(self.all.iter().map(|listener| listener.follow_certificate(service))).await;
    }
}
