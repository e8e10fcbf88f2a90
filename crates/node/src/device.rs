//! The owner of a service's device: makes it, looks after it, makes it again when it is gone, and takes it away at the end.
//!
//! A [`DeviceKeeper`] is one task. It ends on request, and with it go the device and all that the system was given for it.
//! Each device that it makes has an uplink of its own, which ends with the device. The session to the hub knows nothing of
//! this: it hands packets to a [`DevicePort`], which has a device or none.

mod contest;
mod history;
mod peers;
mod port;
mod task;

use std::{
    collections::HashSet,
    io,
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use nix::errno::Errno;
use rtun_core::HostName;
use rtun_proto::ethernet::MacAddress;
use rtun_settings::{Hook, NetworkNamespace};
use rtun_system::{
    changes::{Change, Changes},
    dns,
    installation::{Installation, Item, Restored},
    link::{LinkSetup, SystemLink},
    netlink::LinkError,
    netns::{self, NetnsError},
    os_route::OsRoute,
    placement::{Apart, OwnPackets},
    tun::{Offload, PacketDevice, Tun, TunConfig, TunError},
};
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{info, warn};

use self::{contest::DeviceContest, task::NewPeers};
pub(crate) use self::{
    history::DeviceHistory,
    peers::{TunnelPeers, mark_own},
    port::DevicePort,
    task::{DeviceTask, PeerChanges},
};
use crate::hooks::{HookError, HookFacts, Hooks};

/// Changes of the system come in groups; what they have done is looked at this long after the first.
const SETTLE: Duration = Duration::from_millis(200);

/// How often what no message tells of is looked at: the namespace's file, the connection, name servers.
const TICK: Duration = Duration::from_secs(1);

/// What the system refuses is tried again this often.
const RETRY: Duration = Duration::from_secs(2);

/// The longest pause before a device is made again.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A device that has lived this long is made again at once when it is gone.
const LIVED: Duration = Duration::from_secs(60);

const DELETED: &str = "somebody has deleted it";

/// Who a device is kept for.
pub(crate) trait DeviceUser: Send + Sync + 'static {
    /// How the device has fared.
    fn history(&self) -> &DeviceHistory;

    /// Whether its packets have somewhere to go.
    fn is_connected(&self) -> bool;

    /// Takes the device's packets, until it fails.
    fn carry(self: Arc<Self>, device: Arc<Tun>) -> impl Future<Output = io::Error> + Send;
}

/// A device cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// By the system.
    #[error(transparent)]
    Tun(#[from] TunError),
    /// Its network namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// It cannot be set up.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Makes a service's device as often as it is needed.
pub(crate) struct DeviceMaker {
    pub(crate) service: String,
    /// The name that the host reports, if it is one.
    pub(crate) host: Option<HostName>,
    pub(crate) config: rtun_settings::DeviceSettings,
    /// The hardware address, if the device is to be one of Ethernet frames.
    pub(crate) ethernet: Option<MacAddress>,
    pub(crate) peers: TunnelPeers,
    /// The event loop that moves the packets.
    pub(crate) packets: Handle,
}

/// A device and all that belongs to it; dropped without [`DeviceMaker::unmake`] it leaves what does not go with the device to the
/// next one that is made.
pub(crate) struct MadeDevice {
    tun: Arc<Tun>,
    installation: Installation,
    changes: Changes,
    netns: Option<netns::NetnsIdentity>,
    /// Whether the system drops what comes by another way than answers would take.
    strict_paths: bool,
    /// What the system refused, as it was said.
    failing: Vec<String>,
    /// The routes that stand in a table of their own, as it was said.
    apart: Vec<Apart>,
    since: Instant,
}

/// Keeps a service's device.
pub(crate) struct DeviceKeeper<U> {
    maker: DeviceMaker,
    port: Arc<DevicePort>,
    user: Arc<U>,
    look_again: Arc<Notify>,
    next_peers: mpsc::Receiver<NewPeers>,
    contest: DeviceContest,
    own: OwnPackets,
    /// What the system refuses, as it was said last.
    failing: Vec<String>,
    refused: HashSet<Item>,
    looked_up: Instant,
    lookup: Option<JoinHandle<peers::NameAnswers>>,
}

/// Why a device is no longer kept.
enum DeviceEnd {
    Stopped,
    Gone(String),
}

impl DeviceMaker {
    /// Makes the device with its addresses and routes, named `name` if that is given. Either all of it is there afterwards,
    /// or nothing.
    pub(crate) async fn make(&mut self, name: Option<&str>) -> Result<MadeDevice, DeviceError> {
        let rtun_settings::DeviceSettings { addresses, mtu, routes, dns, offload, .. } =
            &self.config;
        let wanted = TunConfig { name: name.map(str::to_owned), mtu: *mtu };
        let route = |it: &rtun_settings::DeviceRoute| OsRoute {
            destination: it.prefix,
            gateway: it.gateway,
        };
        let setup = LinkSetup {
            mtu: *mtu,
            addresses: addresses.clone(),
            routes: routes.iter().map(route).collect(),
        };
        let path = self.netns();
        let identity = path.as_deref().map(netns::identity).transpose()?;
        self.peers.look_up_first().await;
        let open = || -> Result<_, DeviceError> {
            let tun = {
                let _watched_by = self.packets.enter();
                match self.ethernet {
                    Some(address) if *offload => Tun::create_ethernet_offloading(&wanted, address)?,
                    Some(address) => Tun::create_ethernet(&wanted, address)?,
                    None if *offload => Tun::create_offloading(&wanted)?,
                    None => Tun::create(&wanted)?,
                }
            };
            let link = SystemLink::open(tun.name())?;
            let changes = Changes::follow(link.index(), &setup)?;
            let strict_paths = peers::paths_are_strict(tun.name());
            Ok((tun, link, changes, strict_paths))
        };
        let there = match name {
            Some(name) => netns::within(path.as_deref(), || SystemLink::open(name).ok())?,
            None => None,
        };
        if let Some(link) = &there {
            Installation::announce(link).await?;
        }
        let opened = netns::within(path.as_deref(), open)?;
        if let (Err(_), Some(link)) = (&opened, &there) {
            // The failure is what the caller must hear of.
            let _ = Installation::withdraw(link).await;
        }
        let (tun, link, changes, strict_paths) = opened?;
        let mut installation = Installation::prepare(link, setup).await?;
        let own = self.peers.own_packets(false, strict_paths);
        let outcome = match installation.restore(&own, &mut |_| true).await {
            Ok(outcome) => outcome,
            Err(error) => return Err(abandon(installation, error).await),
        };
        let has_ipv4 = addresses.iter().any(|address| address.addr().is_ipv4());
        let Restored { failed, ipv6_off, apart, .. } = outcome;
        let refused = failed.into_iter().map(|(_, error)| error).next();
        let mut failing = Vec::new();
        let refused = match (refused, ipv6_off) {
            (None, Some(error)) if has_ipv4 => {
                failing.push(without_ipv6(&error));
                None
            }
            (refused, ipv6_off) => refused.or(ipv6_off),
        };
        if let Some(error) = refused {
            return Err(abandon(installation, error).await);
        }
        for what in &failing {
            warn!(service = self.service, device = tun.name(), "{what}");
        }
        if let Err(error) = dns::set_servers(tun.name(), dns).await {
            warn!(service = self.service, "{error}");
        }
        let shown: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        info!(
            service = self.service,
            host = self.host.as_ref().map(tracing::field::display),
            device = tun.name(),
            mtu,
            addresses = shown.join(" "),
            mac = self.ethernet.map(tracing::field::display),
            offload = describe(tun.offload()),
            "device is up"
        );
        say_apart(&self.service, tun.name(), &apart, &[]);
        let (tun, since) = (Arc::new(tun), Instant::now());
        Ok(MadeDevice {
            tun,
            installation,
            changes,
            netns: identity,
            strict_paths,
            failing,
            apart,
            since,
        })
    }

    /// Runs the commands for a service whose device is there. When one that has to succeed fails, the device goes again.
    pub(crate) async fn run_hooks(
        &self,
        made: MadeDevice,
        hooks: Hooks<'_>,
        facts: &HookFacts,
    ) -> Result<MadeDevice, HookError> {
        if let Err(error) = hooks.pre_up(facts).await {
            self.unmake(made).await;
            return Err(error);
        }
        hooks.run(Hook::PostUp, facts).await;
        Ok(made)
    }

    /// Takes a device away, with all that the system was given for it.
    async fn unmake(&self, made: MadeDevice) {
        let MadeDevice { tun, installation, .. } = made;
        let is_to_stay = installation.is_persistent();
        if let Err(error) = installation.remove().await {
            warn!(service = self.service, "{error}");
        }
        if is_to_stay
            && !self.config.dns.is_empty()
            && let Err(error) = dns::revert(tun.name()).await
        {
            warn!(service = self.service, "{error}");
        }
    }

    fn netns(&self) -> Option<PathBuf> {
        self.config.netns.as_ref().map(NetworkNamespace::path)
    }
}

impl MadeDevice {
    pub(crate) fn tun(&self) -> &Arc<Tun> {
        &self.tun
    }
}

/// After a failure the device goes, with what it was given so far.
async fn abandon(installation: Installation, error: LinkError) -> DeviceError {
    // The refusal is what the caller must hear of; a failure to tidy up after it would hide it.
    let _ = installation.remove().await;
    error.into()
}

impl<U: DeviceUser> DeviceKeeper<U> {
    /// Keeps a device that has been made; `look_again` has it looked at, and made again, at once.
    pub(crate) fn new(
        maker: DeviceMaker,
        port: Arc<DevicePort>,
        user: Arc<U>,
        look_again: Arc<Notify>,
        next_peers: mpsc::Receiver<NewPeers>,
    ) -> Self {
        let (contest, own) = (DeviceContest::default(), OwnPackets::default());
        Self {
            maker,
            port,
            user,
            look_again,
            next_peers,
            contest,
            own,
            failing: Vec::new(),
            refused: HashSet::new(),
            looked_up: Instant::now(),
            lookup: None,
        }
    }

    /// Keeps the device until `stop`.
    pub(crate) async fn run(mut self, mut made: MadeDevice, stop: CancellationToken) {
        let mut pause = Duration::ZERO;
        loop {
            let ended = AssertUnwindSafe(self.keep(&mut made, &stop)).catch_unwind().await;
            self.port.take_away();
            let lived = made.since.elapsed();
            self.maker.unmake(made).await;
            let why = match ended {
                Ok(DeviceEnd::Stopped) => return,
                Ok(DeviceEnd::Gone(why)) => why,
                Err(_reported) => "a bug in rtun: please report it".to_owned(),
            };
            let name = self.port.name().to_owned();
            warn!(service = self.maker.service, device = name, "the device is gone: {why}");
            self.user.history().gone(why);
            if lived >= LIVED {
                pause = Duration::ZERO;
            }
            made = match self.make_again(&name, &mut pause, &stop).await {
                Some(made) => made,
                None => return,
            };
            self.user.history().is_back();
        }
    }

    /// Makes the device again, with growing pauses; none: `stop` was cancelled.
    async fn make_again(
        &mut self,
        name: &str,
        pause: &mut Duration,
        stop: &CancellationToken,
    ) -> Option<MadeDevice> {
        let mut said = String::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return None,
                () = sleep(*pause) => {}
                () = self.look_again.notified() => {}
            }
            *pause = (*pause * 2).clamp(Duration::from_secs(1), PAUSE_MAX);
            match self.maker.make(Some(name)).await {
                Ok(made) => return Some(made),
                Err(DeviceError::Tun(TunError::NameInUse { .. }))
                    if self.maker.config.name.is_none() =>
                {
                    // The system chose the name, and somebody else has it now.
                    if let Ok(made) = self.maker.make(None).await {
                        return Some(made);
                    }
                }
                Err(error) => {
                    let text = error.to_string();
                    if text != said {
                        let service = &self.maker.service;
                        warn!(
                            service,
                            device = name,
                            "the device cannot be made again: {text}; trying on"
                        );
                        self.user.history().cannot_be_made(text.clone());
                        said = text;
                    }
                }
            }
        }
    }

    /// Moves packets and looks after one device until it is gone.
    async fn keep(&mut self, made: &mut MadeDevice, stop: &CancellationToken) -> DeviceEnd {
        self.contest = DeviceContest::default();
        self.failing = made.failing.clone();
        self.user.history().failing(self.failing.clone());
        self.own = self.own_packets(made);
        self.port.put(Arc::clone(&made.tun));
        let (tun, user) = (Arc::clone(&made.tun), Arc::clone(&self.user));
        let mut uplink = AbortOnDropHandle::new(self.maker.packets.spawn(user.carry(tun)));
        let end = self.watch(made, &mut uplink, stop).await;
        uplink.abort();
        if !uplink.is_finished() {
            // It has let go of the device afterwards.
            let _ = uplink.await;
        }
        end
    }

    async fn watch(
        &mut self,
        made: &mut MadeDevice,
        uplink: &mut AbortOnDropHandle<io::Error>,
        stop: &CancellationToken,
    ) -> DeviceEnd {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut due = None;
        loop {
            let is_due = async {
                match due {
                    Some(when) => sleep_until(when).await,
                    None => std::future::pending().await,
                }
            };
            let soon = || Some(tokio::time::Instant::now() + SETTLE);
            tokio::select! {
                () = stop.cancelled() => return DeviceEnd::Stopped,
                ended = &mut *uplink => return DeviceEnd::Gone(match ended {
                    Ok(error) if error.raw_os_error() == Some(Errno::EBADFD as i32) => DELETED.into(),
                    Ok(error) => error.to_string(),
                    Err(_reported) => "a bug in rtun: please report it".into(),
                }),
                change = made.changes.next() => match change {
                    Ok(Change::Gone) => return DeviceEnd::Gone(DELETED.into()),
                    Ok(change) => {
                        if change == Change::Surroundings {
                            made.installation.surroundings_changed();
                        }
                        due = due.or_else(soon);
                    }
                    Err(error) => {
                        return DeviceEnd::Gone(format!("the system's changes cannot be followed: {error}"));
                    }
                },
                () = is_due => {
                    due = None;
                    if let Some(end) = self.put_right(made).await {
                        return end;
                    }
                    if !self.failing.is_empty() {
                        due = Some(tokio::time::Instant::now() + RETRY);
                    }
                }
                Some((peers, done)) = self.next_peers.recv() => {
                    self.maker.peers = peers;
                    self.lookup = self.maker.peers.look_up();
                    self.own = self.own_packets(made);
                    if let Some(end) = self.put_right(made).await {
                        return end;
                    }
                    // It may wait no longer.
                    let _ = done.send(());
                }
                () = self.look_again.notified() => {
                    self.contest = DeviceContest::default();
                    made.installation.surroundings_changed();
                    due = soon();
                }
                answers = peers::answers(&mut self.lookup) => {
                    self.lookup = None;
                    self.maker.peers.learn(answers);
                }
                _ = ticks.tick() => {
                    if let Some(path) = self.maker.netns()
                        && netns::identity(&path).ok() != made.netns
                    {
                        let path = path.display();
                        return DeviceEnd::Gone(format!("the network namespace {path} was removed"));
                    }
                    self.look_up_if_needed();
                    let own = self.own_packets(made);
                    if own != self.own {
                        self.own = own;
                        due = due.or_else(soon);
                    }
                }
            }
        }
    }

    /// Puts back what is missing; how the device has ended, if it has.
    async fn put_right(&mut self, made: &mut MadeDevice) -> Option<DeviceEnd> {
        if let Err(error) = self.restore(made).await {
            if error.is_device_gone() {
                return Some(DeviceEnd::Gone(DELETED.into()));
            }
            self.says_failing(vec![error.to_string()]);
        }
        None
    }

    /// Names of hubs are looked up again while there is no connection: their addresses may have changed.
    fn look_up_if_needed(&mut self) {
        let is_time = self.looked_up.elapsed() >= peers::LOOK_UP_EVERY;
        if self.lookup.is_none() && is_time && !self.is_connected() {
            self.looked_up = Instant::now();
            self.lookup = self.maker.peers.look_up();
        }
    }

    fn own_packets(&self, made: &MadeDevice) -> OwnPackets {
        self.maker.peers.own_packets(self.is_connected(), made.strict_paths)
    }

    fn is_connected(&self) -> bool {
        self.user.is_connected()
    }

    /// Puts back what is missing.
    async fn restore(&mut self, made: &mut MadeDevice) -> Result<(), LinkError> {
        let Self { contest, own, .. } = self;
        let now = Instant::now();
        let mut may = |item: &Item| contest.may(item, now);
        let outcome = made.installation.restore(own, &mut may).await?;
        let Restored { back, left, failed, ipv6_off, apart, .. } = outcome;
        let (service, device) = (&self.maker.service, self.port.name());
        // What could not be put there before is no fight.
        let back: Vec<&Item> = back.iter().filter(|item| !self.refused.contains(item)).collect();
        if !back.is_empty() {
            let what = list(&back);
            warn!(service, device, what, "what somebody has taken from the device is put back");
            self.user.history().put_back(what);
            for item in contest::taken(&back) {
                contest.was_put_back(item, now);
            }
        }
        let given_up: Vec<&Item> = left.iter().filter(|item| !contest.has_left(item)).collect();
        if !given_up.is_empty() {
            let what = list(&given_up);
            warn!(
                service,
                device,
                what,
                "somebody takes this from the device again and again: it is left so until the next reload (SIGHUP)"
            );
        }
        contest.leave(&left);
        self.user.history().left(left.iter().map(ToString::to_string).collect());
        let mut failing: Vec<String> = failed.iter().map(|(_, error)| error.to_string()).collect();
        failing.extend(ipv6_off.as_ref().map(without_ipv6));
        self.refused = failed.into_iter().map(|(item, _)| item).collect();
        self.says_failing(failing);
        say_apart(&self.maker.service, self.port.name(), &apart, &made.apart);
        made.apart = apart;
        Ok(())
    }

    fn says_failing(&mut self, failing: Vec<String>) {
        let (service, device) = (&self.maker.service, self.port.name());
        for what in failing.iter().filter(|what| !self.failing.contains(what)) {
            warn!(service, device, "the device is not as it should be: {what}; trying on");
        }
        self.user.history().failing(failing.clone());
        self.failing = failing;
    }
}

/// Names the routes that stand in a table of their own and did not `before`.
fn say_apart(service: &str, device: &str, now: &[Apart], before: &[Apart]) {
    for Apart { route, reason } in now.iter().filter(|apart| !before.contains(apart)) {
        let route = route.to_string();
        info!(service, device, route, "the route stands in a table of its own: {reason}");
    }
}

fn without_ipv6(error: &LinkError) -> String {
    format!("IPv6 is left out, all else works: {error}")
}

/// At most this many items of a list are named.
const NAMED: usize = 8;

fn list(items: &[&Item]) -> String {
    let mut named: Vec<String> = items.iter().take(NAMED).map(ToString::to_string).collect();
    if items.len() > NAMED {
        named.push(format!("and {} more", items.len() - NAMED));
    }
    named.join(", ")
}

fn describe(offload: Offload) -> &'static str {
    match offload {
        Offload::None => "none: one packet at a time",
        Offload::Tcp => "tcp",
        Offload::TcpAndUdp => "tcp and udp",
    }
}
