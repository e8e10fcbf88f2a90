//! The host service: a TUN device that stays, and the connection to a hub that comes and goes.

mod choice;
mod dial;
mod downlink;
mod hubs;
mod progress;
mod proxies;
mod session;
mod uplink;
mod way;

use std::{
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use rtun_config::model::{self, HubNode};
use rtun_core::{Backoff, Setback};
use rtun_net::{
    dns,
    link::{Link, LinkError, LinkSetup},
    netns::{self, NetnsError},
    os_route::{InstalledRoutes, OsRoute},
    tun::{Device, Offload, Tun, TunConfig, TunError},
};
use rtun_proto::frame::FrameBuffer;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

pub use self::dial::SetupError;
use self::hubs::{Hub, Hubs};
pub(crate) use self::progress::Progress;
use self::session::{Introduction, JoinError, Session};
use crate::{sockets, workers::Seat};

/// How long a connection that has been replaced by a better one is still read from.
const LINGER: Duration = Duration::from_secs(1);

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
    hubs: Hubs,
    dial_timeout: Option<Duration>,
    device: D,
    progress: Arc<Progress>,
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
    ) -> Result<Self, HostError> {
        let hubs = Hubs::new(config)?;
        let model::Device { name, addresses, mtu, routes, dns, offload, super_frames, netns } =
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
            () = self.hubs.probe() => {}
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
        loop {
            let node = self.hubs.choice.choose();
            let hub = &self.hubs.nodes[node];
            let (setback, held) = match self.connect(hub).await {
                Ok((session, buffer)) => {
                    self.hubs.choice.succeeded(node);
                    complaint = Complaint::default();
                    let last = self.forward(hub, Arc::new(session), buffer).await;
                    backoff.spread_over(last.reply.get().map(|reply| reply.reconnect_window));
                    let setback = if last.was_refused() { Setback::Refused } else { Setback::Lost };
                    (setback, last.since.elapsed())
                }
                Err(error) => {
                    let setback = match error {
                        JoinError::Refused(_) => Setback::Refused,
                        _ => Setback::Unreachable,
                    };
                    if let JoinError::Connect(_) = error {
                        self.progress.unreachable(&hub.config);
                    }
                    self.progress.failed(&hub.config, error.to_string());
                    complaint.about(&self.service, &hub.config, &error);
                    (setback, Duration::ZERO)
                }
            };
            self.hubs.choice.failed(node);
            let fresh = self.hubs.choice.has_fresh();
            if fresh && setback == Setback::Unreachable {
                continue;
            }
            if !fresh {
                self.hubs.choice.begin_round();
            }
            tokio::time::sleep(backoff.next(setback, held, fastrand::u32(..))).await;
        }
    }

    /// Connects to a hub and joins.
    async fn connect(&self, hub: &Hub) -> Result<(Session, FrameBuffer), JoinError> {
        let dialled = Instant::now();
        let connected = hub.ways.connect(&self.hubs.proxies, self.dial_timeout).await?;
        let joined = Session::join(connected, &hub.config, &self.introduction).await?;
        self.progress.connected(&hub.config, dialled.elapsed());
        Ok(joined)
    }

    /// Forwards until the session ends, and then the one by a better way that may have taken its place; returns the last.
    fn forward<'a>(
        &'a self,
        hub: &'a Hub,
        session: Arc<Session>,
        buffer: FrameBuffer,
    ) -> BoxFuture<'a, Arc<Session>> {
        Box::pin(async move {
            let (service, host, addr) = (&self.service, &self.introduction.name, &hub.config.addr);
            let (namespace, transport) = (hub.config.namespace, session.transport.as_str());
            self.progress.joined(&hub.config, &session);
            info!(service, host = %host, hub = addr, namespace = %namespace, transport, "joined the hub");
            let carrying = Arc::clone(&session);
            let carry = async move {
                let Progress { sent, received, .. } = &*self.progress;
                tokio::select! {
                    () = downlink::run(&self.device, &carrying, buffer, received) => {}
                    () = carrying.drain(sent) => {}
                }
            };
            tokio::pin!(carry);
            let better = tokio::select! {
                () = &mut carry => None,
                better = self.join_better(hub, session.way) => Some(better),
            };
            if let Some((next, buffer)) = better {
                // What is on its way on the old connection still arrives.
                let rest = async {
                    let _ = tokio::time::timeout(LINGER, carry).await;
                    session.close(&self.progress.sent);
                };
                let ((), last) = tokio::join!(rest, self.forward(hub, Arc::new(next), buffer));
                return last;
            }
            self.progress.end_session();
            let (seconds, cause) = (session.since.elapsed().as_secs(), session.cause());
            warn!(service, host = %host, hub = addr, seconds, transport, "lost the hub: {cause}");
            self.progress.failed(&hub.config, cause);
            session
        })
    }

    /// Joins the hub once more, when a way works that is preferred to the one in use.
    async fn join_better(&self, hub: &Hub, way: usize) -> (Session, FrameBuffer) {
        loop {
            let ways = &hub.ways;
            let better = ways.connect_better(way, &self.hubs.proxies, self.dial_timeout).await;
            match Session::join(better, &hub.config, &self.introduction).await {
                Ok(joined) => return joined,
                Err(error) => {
                    let (service, hub) = (&self.service, &hub.config.addr);
                    debug!(service, hub, "a better way is open, but: {error}");
                }
            }
        }
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
