//! The host service: a TUN device that stays, and the connection to a hub that comes and goes.

mod downlink;
mod progress;
mod session;
mod uplink;

use std::{
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rtun_config::model::{self, HubNode};
use rtun_core::{Backoff, Setback};
use rtun_net::{
    dns,
    link::{Link, LinkError, LinkSetup},
    os_route::{InstalledRoutes, OsRoute},
    tun::{Device, Offload, Tun, TunConfig, TunError},
};
use rtun_proto::frame::FrameBuffer;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

pub(crate) use self::progress::Progress;
use self::session::{Introduction, JoinError, Session};
use crate::workers::Seat;

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
    introduction: Introduction,
    hubs: Vec<HubNode>,
    dial_timeout: Option<Duration>,
    device: D,
    progress: Arc<Progress>,
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
        let model::Device { name, addresses, mtu, routes, dns, offload, super_frames, .. } =
            &config.device;
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
            introduction: Introduction {
                name: config.name.clone(),
                source: addresses.first().map_or(IpAddr::from([0; 4]), |net| net.addr()),
                mtu: *mtu,
                instance: Uuid::new_v4().into_bytes(),
                // A device without offload takes no more than single packets.
                super_frames: *super_frames && device.offload() != Offload::None,
            },
            hubs: config.hubs.clone(),
            dial_timeout: config.dial_timeout,
            progress: Arc::new(Progress::new(&config.name, device.name(), *mtu, &config.hubs)),
            device,
        });
        let stop = CancellationToken::new();
        let task = seat.handle().spawn(Arc::clone(&shared).run(stop.clone()));
        Ok(Self { shared, stop, task, routes, _seat: seat })
    }

    /// For whoever asks how it goes. Keeps neither the device nor the connection.
    pub(crate) fn view(&self) -> Arc<Progress> {
        Arc::clone(&self.shared.progress)
    }

    /// Writes the report to the log.
    pub(crate) fn log_report(&self) {
        self.shared.progress.report().log(&self.shared.service);
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
        let me = Arc::clone(&self);
        let mut uplink = tokio::spawn(async move {
            let Progress { session, sent, .. } = &*me.progress;
            uplink::run(&me.device, session, sent).await
        });
        tokio::select! {
            () = stop.cancelled() => {}
            failed = &mut uplink => {
                if let Ok(error) = failed {
                    self.device_failed(&error);
                }
                return;
            }
            () = self.keep_connected() => {}
        }
        uplink.abort();
        // Cancelled or done: either way it has let go of the device.
        let _ = uplink.await;
        self.progress.end_session();
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
            let dialled = Instant::now();
            let opened = Session::open(hub, &self.introduction, self.dial_timeout).await;
            let (setback, held) = match opened {
                Ok((session, buffer)) => {
                    self.progress.connected(hub, dialled.elapsed());
                    complaint = Complaint::default();
                    let session = Arc::new(session);
                    let held = self.forward(hub, &session, buffer).await;
                    backoff.spread_over(session.reply.get().map(|reply| reply.reconnect_window));
                    let setback =
                        if session.was_refused() { Setback::Refused } else { Setback::Lost };
                    (setback, held)
                }
                Err(error) => {
                    let setback = match error {
                        JoinError::Refused(_) => Setback::Refused,
                        _ => Setback::Unreachable,
                    };
                    if let JoinError::Connect(_) = error {
                        self.progress.unreachable(hub);
                    }
                    self.progress.failed(hub, error.to_string());
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
        session: &Arc<Session>,
        buffer: FrameBuffer,
    ) -> Duration {
        let (service, host) = (&self.service, &self.introduction.name);
        let namespace = hub.namespace;
        self.progress.joined(hub, session);
        info!(service, host = %host, hub = hub.addr, namespace = %namespace, "joined the hub");
        tokio::select! {
            () = downlink::run(&self.device, session, buffer, &self.progress.received) => {}
            () = session.drain(&self.progress.sent) => {}
        }
        self.progress.end_session();
        let held = session.since.elapsed();
        let cause = session.cause();
        warn!(
            service, host = %host, hub = hub.addr, seconds = held.as_secs(),
            "lost the hub: {cause}"
        );
        self.progress.failed(hub, cause);
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
