//! The host service: a TUN device that stays, and the connection to a hub that comes and goes.

mod choice;
mod connection;
mod dial;
mod downlink;
mod hubs;
mod progress;
mod proxies;
mod session;
mod uplink;
mod way;

use std::{io, net::IpAddr, panic::resume_unwind, sync::Arc, time::Duration};

use rtun_config::model;
use rtun_net::{
    dns,
    link::{Link, LinkError, LinkSetup},
    netns::{self, NetnsError},
    os_route::{InstalledRoutes, OsRoute},
    tun::{Device, Offload, Tun, TunConfig, TunError},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{info, warn};
use uuid::Uuid;

pub use self::dial::SetupError;
use self::hubs::Hubs;
pub(crate) use self::progress::Progress;
use self::session::Introduction;
use crate::{duties::Duty, machine::Machine, sockets, surroundings::Surroundings, workers::Seat};

/// A running host.
pub(crate) struct Host {
    service: String,
    progress: Arc<Progress>,
    stop: CancellationToken,
    /// Has it connected, and forwards.
    duty: Duty,
    /// None where the device has none of the system's.
    routes: Option<InstalledRoutes>,
    _seat: Seat,
}

struct Shared<D> {
    service: String,
    introduction: Introduction,
    hubs: Hubs,
    dial_timeout: Option<Duration>,
    device: D,
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
        machine: &Machine,
        seat: Seat,
    ) -> Result<Self, HostError> {
        let hubs = Hubs::new(config, &machine.surroundings)?;
        if let Surroundings::Twin(twin) = &machine.surroundings {
            let name = config.device.name.as_deref().unwrap_or(service);
            let device = twin.device(name, config.device.mtu);
            return Ok(Self::run(service, config, hubs, device, None, machine, seat));
        }
        let model::Device { name, addresses, mtu, routes, dns, offload, netns, .. } =
            &config.device;
        let wanted = TunConfig { name: name.clone(), mtu: *mtu };
        let netns = netns.as_ref().map(sockets::netns);
        let make = || -> Result<(Tun, Link), HostError> {
            let device = {
                let _watched_by = seat.handle().enter();
                if *offload { Tun::create_offloading(&wanted)? } else { Tun::create(&wanted)? }
            };
            let link = Link::open(device.name())?;
            Ok((device, link))
        };
        let (device, link) = netns::within(netns.as_deref(), make)??;
        let routes: Vec<_> = routes
            .iter()
            .map(|route| OsRoute { destination: route.prefix, gateway: route.gateway })
            .collect();
        let setup = LinkSetup { mtu: *mtu, addresses: addresses.clone(), routes };
        let routes = link.apply(&setup).await?;
        if let Err(error) = dns::set_servers(device.name(), dns).await {
            warn!(service, "{error}");
        }
        let shown: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        info!(
            service, host = %config.name, device = device.name(), mtu,
            addresses = shown.join(" "), offload = describe(device.offload()), "device is up"
        );
        Ok(Self::run(service, config, hubs, device, Some(routes), machine, seat))
    }

    /// Keeps `device` connected to one of `hubs` in the background.
    fn run<D: Device>(
        service: &str,
        config: &model::Host,
        hubs: Hubs,
        device: D,
        routes: Option<InstalledRoutes>,
        machine: &Machine,
        seat: Seat,
    ) -> Self {
        let model::Device { addresses, mtu, super_frames, .. } = &config.device;
        let shared = Arc::new(Shared {
            service: service.to_owned(),
            introduction: Introduction {
                name: config.name.clone(),
                source: addresses.first().map_or(IpAddr::from([0; 4]), |net| net.addr()),
                mtu: *mtu,
                instance: Uuid::new_v4().into_bytes(),
                // A device without offload takes no more than single packets.
                super_frames: *super_frames && device.offload() != Offload::None,
            },
            hubs,
            dial_timeout: config.dial_timeout,
            progress: Arc::new(Progress::new(&config.name, device.name(), *mtu, &config.hubs)),
            device,
            stop: CancellationToken::new(),
        });
        let (service, progress) = (shared.service.clone(), Arc::clone(&shared.progress));
        let stop = shared.stop.clone();
        let name = format!("{service}: connecting, and forwarding");
        let duty = machine.duties.keep(seat.handle(), name, move || Arc::clone(&shared).run());
        Self { service, progress, stop, duty, routes, _seat: seat }
    }

    /// For whoever asks how it goes. Keeps neither the device nor the connection.
    pub(crate) fn view(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Writes the report to the log.
    pub(crate) fn log_report(&self) {
        self.progress.report().log(&self.service);
    }

    /// Disconnects and removes the device with all that was set up for it.
    pub(crate) async fn stop(self) {
        let Self { service, progress: _, stop, duty, routes, _seat } = self;
        stop.cancel();
        duty.end().await;
        if let Some(routes) = routes
            && let Err(error) = routes.remove_routes().await
        {
            warn!(service, "{error}");
        }
    }
}

impl<D: Device> Shared<D> {
    async fn run(self: Arc<Self>) {
        let me = Arc::clone(&self);
        let mut uplink = AbortOnDropHandle::new(tokio::spawn(async move {
            let Progress { session, sent, .. } = &*me.progress;
            uplink::run(&me.device, session, sent).await
        }));
        tokio::select! {
            failed = &mut uplink => match failed {
                Ok(error) => self.device_failed(&error),
                Err(failed) => {
                    if let Ok(panic) = failed.try_into_panic() {
                        resume_unwind(panic);
                    }
                }
            },
            () = self.keep_connected() => {}
            () = self.hubs.probe() => {}
        }
    }

    fn device_failed(&self, error: &io::Error) {
        warn!(
            service = self.service,
            device = self.device.name(),
            "the device no longer works: {error}"
        );
    }
}

fn describe(offload: Offload) -> &'static str {
    match offload {
        Offload::None => "none: one packet at a time",
        Offload::Tcp => "tcp",
        Offload::TcpAndUdp => "tcp and udp",
    }
}
