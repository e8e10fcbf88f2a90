//! The host service: a TUN device that stays, and the connection to a hub that comes and goes.

mod downlink;
mod session;
mod uplink;

use std::{
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use rtun_config::model::{self, HubNode};
use rtun_core::{Backoff, HostName, Setback};
use rtun_net::{
    dns,
    link::{Link, LinkError, LinkSetup},
    os_route::{InstalledRoutes, OsRoute},
    tun::{Device, Offload, Tun, TunConfig, TunError},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::session::{JoinError, Session};
use crate::{counters::Counters, report::DeviceReport, workers::Seat};

/// The same failure is logged again after this long.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// A running host.
pub(crate) struct Host {
    shared: Arc<Shared<Tun>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    routes: InstalledRoutes,
    _seat: Seat,
}

struct Shared<D> {
    service: String,
    name: HostName,
    hubs: Vec<HubNode>,
    /// The device's first address, which the hub is told.
    source: IpAddr,
    dial_timeout: Option<Duration>,
    device: D,
    session: ArcSwapOption<Session>,
    sent: Counters,
    received: Counters,
}

/// A host cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The device cannot be made.
    #[error(transparent)]
    Tun(#[from] TunError),
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
    ) -> Result<Self, HostError> {
        let model::Device { name, addresses, mtu, routes, dns, offload } = &config.device;
        let wanted = TunConfig { name: name.clone(), mtu: *mtu };
        let device = {
            let _watched_by = seat.handle().enter();
            if *offload { Tun::create_offloading(&wanted)? } else { Tun::create(&wanted)? }
        };
        let link = Link::open(device.name())?;
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
        let shared = Arc::new(Shared {
            service: service.to_owned(),
            name: config.name.clone(),
            hubs: config.hubs.clone(),
            source: addresses.first().map_or(IpAddr::from([0; 4]), |net| net.addr()),
            dial_timeout: config.dial_timeout,
            device,
            session: ArcSwapOption::empty(),
            sent: Counters::default(),
            received: Counters::default(),
        });
        let stop = CancellationToken::new();
        let task = seat.handle().spawn(Arc::clone(&shared).run(stop.clone()));
        Ok(Self { shared, stop, task, routes, _seat: seat })
    }

    pub(crate) fn report(&self) -> DeviceReport {
        let shared = &self.shared;
        DeviceReport {
            device: shared.device.name().to_owned(),
            connected: shared.session.load().is_some(),
            sent: shared.sent.read(),
            received: shared.received.read(),
        }
    }

    /// Writes the report to the log.
    pub(crate) fn log_report(&self) {
        self.report().log(&self.shared.service);
    }

    /// Disconnects and removes the device with all that was set up for it.
    pub(crate) async fn stop(self) {
        let Self { shared, stop, task, routes, _seat } = self;
        stop.cancel();
        // A panic has been reported already; the device goes either way.
        let _ = task.await;
        if let Err(error) = routes.remove_routes().await {
            warn!(service = shared.service, "{error}");
        }
    }
}

impl<D: Device> Shared<D> {
    async fn run(self: Arc<Self>, stop: CancellationToken) {
        let uplink = uplink::run(&self.device, &self.session, &self.sent);
        tokio::select! {
            () = stop.cancelled() => {}
            error = uplink => self.device_failed(&error),
            () = self.keep_connected() => {}
        }
    }

    fn device_failed(&self, error: &io::Error) {
        warn!(
            service = self.service,
            device = self.device.name(),
            "the device no longer works: {error}"
        );
    }

    /// Connects, forwards until the connection ends, and starts over, for ever; each failure goes to the next hub.
    async fn keep_connected(&self) {
        let mut backoff = Backoff::default();
        let mut complaint = Complaint::default();
        for hub in self.hubs.iter().cycle() {
            let opened = Session::open(hub, &self.name, self.source, self.dial_timeout).await;
            let (setback, held) = match opened {
                Ok((session, buffer)) => {
                    complaint = Complaint::default();
                    (Setback::Lost, self.forward(hub, session, buffer).await)
                }
                Err(error) => {
                    let setback = match error {
                        JoinError::Refused(_) => Setback::Refused,
                        _ => Setback::Unreachable,
                    };
                    complaint.about(&self.service, hub, &error);
                    (setback, Duration::ZERO)
                }
            };
            tokio::time::sleep(backoff.next(setback, held, fastrand::u32(..))).await;
        }
    }

    /// Forwards until the session ends; returns how long it lasted.
    async fn forward(
        &self,
        hub: &HubNode,
        session: Session,
        buffer: rtun_proto::frame::FrameBuffer,
    ) -> Duration {
        let (service, host, namespace) = (&self.service, &self.name, hub.namespace);
        let session = Arc::new(session);
        self.session.store(Some(Arc::clone(&session)));
        info!(service, host = %host, hub = hub.addr, namespace = %namespace, "joined the hub");
        downlink::run(&self.device, &session, buffer, &self.received).await;
        self.session.store(None);
        let held = session.since.elapsed();
        warn!(
            service, host = %host, hub = hub.addr, seconds = held.as_secs(),
            "lost the hub: {}", session.cause()
        );
        held
    }
}

fn describe(offload: Offload) -> &'static str {
    match offload {
        Offload::None => "none: one packet at a time",
        Offload::Tcp => "tcp",
        Offload::TcpAndUdp => "tcp and udp",
    }
}

/// Says what is wrong once, not at every attempt.
#[derive(Default)]
struct Complaint {
    last: Option<(String, Instant)>,
}

impl Complaint {
    fn about(&mut self, service: &str, hub: &HubNode, error: &JoinError) {
        let text = error.to_string();
        let fresh = self
            .last
            .as_ref()
            .is_none_or(|(last, when)| *last != text || when.elapsed() >= REPEAT_AFTER);
        if fresh {
            warn!(
                service,
                hub = hub.addr,
                node = hub.name,
                "hub {}: {text}; trying again",
                hub.addr
            );
            self.last = Some((text, Instant::now()));
        }
    }
}
