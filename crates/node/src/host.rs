//! The host service: a TUN device that stays, and the connection to a hub that comes and goes.

mod choice;
mod device;
mod dial;
mod downlink;
mod hubs;
mod progress;
mod proxies;
mod session;
mod uplink;
mod way;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use rtun_config::model::{self, HubNode};
use rtun_core::{Backoff, Setback};
use rtun_net::{
    link::LinkError,
    netns::NetnsError,
    tun::{Device, Offload, TunError},
};
use rtun_proto::frame::FrameBuffer;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

pub use self::dial::SetupError;
use self::hubs::{Hub, Hubs};
pub(crate) use self::progress::Progress;
use self::{
    device::{Ends, Keeper, Maker, Port},
    session::{Introduction, JoinError, Session},
};
use crate::workers::Seat;

/// How long a connection that has been replaced by a better one is still read from.
const LINGER: Duration = Duration::from_secs(1);

/// The same failure is logged again after this long.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// A running host.
pub(crate) struct Host {
    shared: Arc<Shared<Port>>,
    stop: CancellationToken,
    /// Keeps it connected to a hub.
    connecting: JoinHandle<()>,
    /// Owns the device.
    keeping: JoinHandle<()>,
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
        let mut config = config.clone();
        let ends = Ends::mark(service, &mut config);
        let hubs = Hubs::new(&config)?;
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
        });
        let (stop, look_again) = (CancellationToken::new(), Arc::new(Notify::new()));
        let keeper = Keeper::new(maker, device, progress, Arc::clone(&look_again));
        let keeping = tokio::spawn(keeper.run(made, stop.clone()));
        let connecting = seat.handle().spawn(Arc::clone(&shared).run(stop.clone()));
        Ok(Self { shared, stop, connecting, keeping, look_again, _seat: seat })
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
        let Self { stop, connecting, keeping, .. } = self;
        stop.cancel();
        // A panic has been reported already.
        let _ = connecting.await;
        let _ = keeping.await;
    }
}

impl<D: Device> Shared<D> {
    async fn run(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep_connected() => {}
            () = self.hubs.probe() => {}
        }
        self.progress.end_session();
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
                    () = downlink::run(&*self.device, &carrying, buffer, received) => {}
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
