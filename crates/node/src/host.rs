//! The host service: its TUN device, which stays, and its connection to a hub, which is made again when it is lost.

mod asked_hops;
mod downlink;
mod limiter;
mod ping;
mod progress;
mod reach;
mod reconnect;
mod session;
mod uplink;

use std::{io, net::IpAddr, sync::Arc};

use rtun_control::PluginSetupError;
use rtun_settings::{HostLimits, HostSettings};
use rtun_system::tun::{Offload, PacketDevice, Tun};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use uuid::Uuid;

pub(crate) use self::{
    limiter::HostLimiter,
    progress::{HostProgress, HubNodeHistory},
    reach::NextHubs,
};
use self::{
    reach::{HubPlan, HubSteering, HubsInForce},
    reconnect::HostConnector,
    session::Introduction,
};
use crate::{
    counters::CountedAt,
    device::{
        DeviceError, DeviceHistory, DeviceMaker, DevicePort, DeviceTask, DeviceUser, PeerChanges,
    },
    dial::SetupError,
    feeds::Feeds,
    hooks::{HookError, HookFacts, Hooks},
    limiters::ServiceMeters,
    runtime::{duties::Duty, machine::Machine, surroundings::Surroundings, workers::WorkerSlot},
};

/// A running host.
pub(crate) struct HostService {
    service: String,
    progress: Arc<HostProgress>,
    /// As they were at the start: commands for the end undo what those for the start have done.
    facts: HookFacts,
    /// The hubs in force.
    steering: Arc<HubSteering>,
    stop: CancellationToken,
    /// Keeps it connected to a hub.
    connecting: Duty,
    /// Asks the plugin of its limiter.
    limiting: Duty,
    keeping: DeviceTask,
    _slot: WorkerSlot,
}

/// A host cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A hub or a proxy cannot be used as configured.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The device cannot be made or set up.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A command that has to succeed first has failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The plugin of a hop cannot be asked.
    #[error("hop {name:?}: {source}")]
    Hop {
        /// The hop's name.
        name: String,
        /// Why not.
        source: PluginSetupError,
    },
    /// The plugin of its limiter cannot be asked.
    #[error("limiter {name:?}: {source}")]
    Limiter {
        /// Whose plugin it is.
        name: String,
        /// Why not.
        source: PluginSetupError,
    },
}

impl HostService {
    /// Makes the device with its addresses and routes, runs the hooks, then keeps the device connected to a hub in the
    /// background. All of its packets are moved on the worker that `slot` is on.
    pub(crate) async fn start(
        service: &str,
        config: &HostSettings,
        hooks: Hooks<'_>,
        limiter: HostLimiter,
        feeds: &Feeds,
        machine: &Machine,
        slot: WorkerSlot,
    ) -> Result<Self, HostError> {
        let counted = CountedAt {
            samples: Arc::clone(&machine.drop_samples),
            service: service.into(),
            namespace: None,
            host: Some(config.name.clone()),
        };
        let (reach, peers) = HubPlan::new(service, config, feeds, machine, None)?.next()?;
        let asked = Arc::clone(&reach.plan.asked);
        if let Surroundings::Twin(twin) = &machine.surroundings {
            let name = config.device.name.as_deref().unwrap_or(service);
            let device = Arc::new(twin.device(name, config.device.mtu));
            let progress =
                Arc::new(HostProgress::new(config, name, device.mtu(), limiter, asked, counted));
            let take_away = CancellationToken::new();
            let (tun, its_progress, ended) =
                (Arc::clone(&device), Arc::clone(&progress), take_away.clone());
            let keeping = async move {
                let HostProgress { session, sent, .. } = &*its_progress;
                ended.run_until_cancelled(uplink::run(&*tun, session, sent)).await;
            };
            let keeping = DeviceTask {
                task: AbortOnDropHandle::new(tokio::spawn(keeping)),
                take_away,
                look_again: Arc::default(),
                peers: PeerChanges::of_nobody(),
            };
            return Ok(Self::connect(
                service, config, reach, device, progress, keeping, machine, slot,
            ));
        }
        let mut maker = DeviceMaker {
            service: service.to_owned(),
            host: Some(config.name.clone()),
            config: config.device.clone(),
            ethernet: None,
            peers,
            packets: slot.handle().clone(),
        };
        let made = maker.make(config.device.name.as_deref()).await?;
        let facts = HookFacts::of_host(config, made.tun().name());
        let made = maker.run_hooks(made, hooks, &facts).await?;
        let device = Arc::new(DevicePort::like(made.tun()));
        let mtu = config.device.mtu;
        let progress = HostProgress::new(config, device.name(), mtu, limiter, asked, counted);
        let progress = Arc::new(progress);
        let keeping = DeviceTask::start(maker, made, Arc::clone(&device), Arc::clone(&progress));
        Ok(Self::connect(service, config, reach, device, progress, keeping, machine, slot))
    }

    /// Keeps a device connected to one of the hubs of `reach` in the background.
    #[expect(clippy::too_many_arguments, reason = "it is the second half of `start`")]
    fn connect<D: PacketDevice>(
        service: &str,
        config: &HostSettings,
        reach: HubsInForce,
        device: Arc<D>,
        progress: Arc<HostProgress>,
        keeping: DeviceTask,
        machine: &Machine,
        slot: WorkerSlot,
    ) -> Self {
        let rtun_settings::DeviceSettings { addresses, mtu, gso_frames, .. } = &config.device;
        let stop = CancellationToken::new();
        let steering = HubSteering::new(reach, keeping.peers.clone(), Arc::clone(&progress));
        let steering = Arc::new(steering);
        let connector = Arc::new(HostConnector {
            service: service.to_owned(),
            introduction: Introduction {
                name: config.name.clone(),
                source: addresses.first().map_or(IpAddr::from([0; 4]), |net| net.addr()),
                mtu: *mtu,
                instance: Uuid::new_v4().into_bytes(),
                // A device without offload takes no more than single packets.
                gso_frames: *gso_frames && device.offload() != Offload::None,
            },
            steering: Arc::clone(&steering),
            progress: Arc::clone(&progress),
            device,
            stop: stop.clone(),
        });
        let name = format!("{service}: connecting to a hub");
        let connecting =
            machine.duties.keep(slot.handle(), name, move || Arc::clone(&connector).run());
        let name = format!("{service}: following its limits");
        let service = service.to_owned();
        let facts = HookFacts::of_host(config, progress.device_name());
        let (limited, its_service, stopped) =
            (Arc::clone(&progress), service.clone(), stop.clone());
        let limiting = machine.duties.keep(slot.handle(), name, move || {
            let (progress, service, stop) =
                (Arc::clone(&limited), its_service.clone(), stopped.clone());
            async move {
                let following = progress.limiter.follow(&service);
                stop.run_until_cancelled(following).await;
            }
        });
        Self {
            service,
            progress,
            facts,
            steering,
            stop,
            connecting,
            limiting,
            keeping,
            _slot: slot,
        }
    }

    /// The host as reports see it. Keeps neither the device nor the connection.
    pub(crate) fn view(&self) -> Arc<HostProgress> {
        Arc::clone(&self.progress)
    }

    /// What its hooks are informed of.
    pub(crate) fn hook_facts(&self) -> HookFacts {
        self.facts.clone()
    }

    /// What [`HostService::steer`] needs, of a configuration that is not in force yet.
    pub(crate) fn next_hubs(
        &self,
        config: &HostSettings,
        feeds: &Feeds,
        machine: &Machine,
    ) -> Result<NextHubs, HostError> {
        let before = self.steering.plan();
        HubPlan::new(&self.service, config, feeds, machine, Some(&before))?.next()
    }

    /// Changes the hubs. The device stays, and so does the session if its hub is still one of them.
    pub(crate) async fn steer(&self, next: NextHubs) {
        self.steering.steer(next).await;
    }

    /// Saves the nodes that plugins of its hops have named, if they are not saved. Not to be called where tasks run.
    pub(crate) fn save_nodes(&self) {
        self.steering.plan().asked.save();
    }

    /// Changes what limits its traffic. Its session goes on.
    pub(crate) fn limit(
        &self,
        limits: &HostLimits,
        meters: ServiceMeters,
    ) -> Result<(), HostError> {
        if self.progress.limiter.apply(limits.traffic.as_ref(), meters)?
            && let Some(session) = &*self.progress.session.load()
        {
            self.progress.limit(session);
        }
        Ok(())
    }

    /// Writes the report to the log.
    pub(crate) fn log_report(&self) {
        self.progress.report().log(&self.service);
    }

    /// Checks the device now, and makes it again if it is gone.
    pub(crate) fn look_at_device(&self) {
        self.keeping.look_again();
    }

    /// Disconnects and removes the device with all that was set up for it.
    pub(crate) async fn stop(self) {
        let Self { stop, connecting, limiting, keeping, .. } = self;
        stop.cancel();
        connecting.end().await;
        limiting.end().await;
        keeping.end().await;
    }
}

/// Whether the device and the name stay.
pub(crate) fn differ_in_hubs_only(old: &HostSettings, new: &HostSettings) -> bool {
    let HostSettings { name, device, .. } = old.clone();
    HostSettings { name, device, ..new.clone() } == *new
}

impl DeviceUser for HostProgress {
    fn history(&self) -> &DeviceHistory {
        &self.device
    }

    fn is_connected(&self) -> bool {
        self.session.load().is_some()
    }

    async fn carry(self: Arc<Self>, device: Arc<Tun>) -> io::Error {
        uplink::run(&*device, &self.session, &self.sent).await
    }
}
