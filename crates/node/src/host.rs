//! The host service: a TUN device that stays, and the connection to a hub that comes and goes.

mod address_book;
mod choice;
mod connection;
mod device;
mod dial;
mod downlink;
mod hubs;
mod progress;
mod proxies;
mod session;
mod uplink;
mod way;
mod wire;

use std::{net::IpAddr, sync::Arc, time::Duration};

use rtun_config::model;
use rtun_net::{
    link::LinkError,
    netns::NetnsError,
    tun::{Device, Offload, TunError},
};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use uuid::Uuid;

pub use self::dial::SetupError;
use self::hubs::Hubs;
pub(crate) use self::progress::Progress;
use self::{
    device::{Ends, Keeper, Maker, Port},
    session::Introduction,
};
use crate::{duties::Duty, machine::Machine, workers::Seat};

/// A running host.
pub(crate) struct Host {
    shared: Arc<Shared<Port>>,
    /// Keeps it connected to a hub.
    connecting: Duty,
    /// Owns the device.
    keeping: AbortOnDropHandle<()>,
    /// Ends the latter, once nothing is connected any more.
    take_away: CancellationToken,
    look_again: Arc<Notify>,
    _seat: Seat,
}

struct Shared<D> {
    service: String,
    introduction: Introduction,
    hubs: Hubs,
    dial_timeout: Option<Duration>,
    device: Arc<D>,
    progress: Arc<Progress>,
    stop: CancellationToken,
}

/// A host cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// What leads to its hubs cannot be used.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The device cannot be made.
    #[error(transparent)]
    Tun(#[from] TunError),
    /// The device's network namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The device cannot be set up.
    #[error(transparent)]
    Link(#[from] LinkError),
}

impl Host {
    /// Makes the device with its addresses and routes, then keeps it connected to a hub in the background.
    /// All of its packets are moved on the worker that `seat` is on.
    pub(crate) async fn start(
        service: &str,
        config: &model::Host,
        seat: Seat,
        machine: &Machine,
    ) -> Result<Self, HostError> {
        let mut config = config.clone();
        let names = Arc::new(address_book::names(machine.state.as_ref()));
        let ends = Ends::mark(service, &mut config, &names);
        let hubs = Hubs::new(&config, names)?;
        let model::Device { addresses, mtu, super_frames, .. } = &config.device;
        let (source, mtu) = (addresses.first().map(|net| net.addr()), *mtu);
        let super_frames = *super_frames;
        let mut maker = Maker {
            service: service.to_owned(),
            host: config.name.clone(),
            config: config.device,
            ends,
            packets: seat.handle().clone(),
        };
        let wanted = maker.config.name.clone();
        let made = maker.make(wanted.as_deref()).await?;
        let device = Arc::new(Port::like(made.tun()));
        let progress = Arc::new(Progress::new(&config.name, device.name(), mtu, &config.hubs));
        let shared = Arc::new(Shared {
            service: service.to_owned(),
            introduction: Introduction {
                name: config.name,
                source: source.unwrap_or(IpAddr::from([0; 4])),
                mtu,
                instance: Uuid::new_v4().into_bytes(),
                // A device without offload takes no more than single packets.
                super_frames: super_frames && device.offload() != Offload::None,
            },
            hubs,
            dial_timeout: config.dial_timeout,
            progress: Arc::clone(&progress),
            device: Arc::clone(&device),
            stop: CancellationToken::new(),
        });
        let (look_again, take_away) = (Arc::<Notify>::default(), CancellationToken::new());
        let keeper = Keeper::new(maker, device, progress, Arc::clone(&look_again));
        let keeping = AbortOnDropHandle::new(tokio::spawn(keeper.run(made, take_away.clone())));
        let connected = Arc::clone(&shared);
        let name = format!("{service}: connecting to a hub");
        let connecting =
            machine.duties.keep(seat.handle(), name, move || Arc::clone(&connected).run());
        Ok(Self { shared, connecting, keeping, take_away, look_again, _seat: seat })
    }

    /// For whoever asks how it goes. Keeps neither the device nor the connection.
    pub(crate) fn view(&self) -> Arc<Progress> {
        Arc::clone(&self.shared.progress)
    }

    /// Writes the report to the log.
    pub(crate) fn log_report(&self) {
        self.shared.progress.report().log(&self.shared.service);
    }

    /// Has the device looked at, and made again if it is gone, at once.
    pub(crate) fn look_at_device(&self) {
        self.look_again.notify_one();
    }

    /// Disconnects and removes the device with all that was set up for it.
    pub(crate) async fn stop(self) {
        let Self { shared, connecting, keeping, take_away, .. } = self;
        shared.stop.cancel();
        connecting.end().await;
        take_away.cancel();
        // A panic has been reported already.
        let _ = keeping.await;
    }
}

impl<D: Device> Shared<D> {
    async fn run(self: Arc<Self>) {
        tokio::select! {
            () = self.keep_connected() => {}
            () = self.hubs.probe() => {}
        }
    }
}
