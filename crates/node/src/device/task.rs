//! The task that keeps a device, and how it is informed.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{DeviceKeeper, DeviceMaker, DevicePort, DeviceUser, MadeDevice, TunnelPeers};

/// How long a change of peers is waited for.
const APPLIED_WITHIN: Duration = Duration::from_secs(2);

/// The task that keeps a device. Dropped, it ends at once, and what the system was given stays until the next start.
pub(crate) struct DeviceTask {
    pub(crate) task: AbortOnDropHandle<()>,
    /// Ends the task, once nothing needs the device any more.
    pub(crate) take_away: CancellationToken,
    pub(crate) look_again: Arc<Notify>,
    pub(crate) peers: PeerChanges,
}

/// The other ends of a service's connections from now on, and who waits for the device to be as these need it.
pub(super) type NewPeers = (TunnelPeers, oneshot::Sender<()>);

/// Informs the task that keeps a device of other peers.
#[derive(Clone)]
pub(crate) struct PeerChanges(mpsc::Sender<NewPeers>);

impl PeerChanges {
    fn new() -> (Self, mpsc::Receiver<NewPeers>) {
        let (sender, receiver) = mpsc::channel(1);
        (Self(sender), receiver)
    }

    /// Informs nobody: no route leads into the device.
    pub(crate) fn of_nobody() -> Self {
        Self::new().0
    }

    /// Changes the other ends of the connections; returns once the routes keep packets to these out of the device, or after a
    /// while, as where the device is gone.
    pub(crate) async fn change(&self, peers: TunnelPeers) {
        let (done, is_done) = oneshot::channel();
        let changed = async {
            if self.0.send((peers, done)).await.is_ok() {
                // A task that has ended needs no routes.
                let _ = is_done.await;
            }
        };
        let _ = timeout(APPLIED_WITHIN, changed).await;
    }
}

impl DeviceTask {
    /// Keeps `made` for `user`, whose packets go to `port`.
    pub(crate) fn start<U: DeviceUser>(
        maker: DeviceMaker,
        made: MadeDevice,
        port: Arc<DevicePort>,
        user: Arc<U>,
    ) -> Self {
        let (look_again, take_away) = (Arc::<Notify>::default(), CancellationToken::new());
        // What arrives before the task runs has somewhere to go.
        port.put(Arc::clone(&made.tun));
        let (peers, next_peers) = PeerChanges::new();
        let keeper = DeviceKeeper::new(maker, port, user, Arc::clone(&look_again), next_peers);
        let task = AbortOnDropHandle::new(tokio::spawn(keeper.run(made, take_away.clone())));
        Self { task, take_away, look_again, peers }
    }

    /// Has the device looked at, and made again if it is gone, at once.
    pub(crate) fn look_again(&self) {
        self.look_again.notify_one();
    }

    /// Takes the device away, with all that the system was given for it.
    pub(crate) async fn end(self) {
        self.take_away.cancel();
        // A panic has been reported already.
        let _ = self.task.await;
    }
}
