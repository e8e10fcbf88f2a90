//! The network in memory: machines with an address each, where they listen, the connections between them, and what happens
//! to these.

use std::{
    collections::{BTreeMap, HashMap},
    io, iter,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use rtun_control::{Addressed, Answering, MemoryPlugin, MemorySource, RoutePlugin, Source};
use rtun_core::{HostName, NamespaceId};
use rtun_node::{Twin, TwinListener};
use rtun_system::tun::memory::{self, MemoryTun, System};
use rtun_transport::{
    Stream,
    race::Tried,
    tcp::{ConnectError, ListenError},
};
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    link::{self, Link, Pace, Side},
    panics::panic_as_asked,
};

/// When a system says again that it wants to connect, after the first time (RFC 6298 section 2).
const SYN_AGAIN: [u64; 4] = [1, 3, 7, 15];

/// Packets that a device holds in each direction.
const DEVICE_QUEUE: usize = 256;

/// The other end of a new connection, and where it comes from.
type Caller = (Arc<dyn Stream>, SocketAddr);

/// All machines and what is between them.
#[derive(Clone)]
pub(crate) struct Network(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    listeners: HashMap<SocketAddr, mpsc::UnboundedSender<Caller>>,
    machines: BTreeMap<usize, Machine>,
    next_port: u16,
    door_panics: bool,
}

struct Machine {
    addr: IpAddr,
    pace: Pace,
    /// Whether nothing reaches it and nothing leaves it.
    cut: bool,
    stalled: bool,
    links: Vec<Link>,
    /// The system's side of its devices, newest last.
    devices: Vec<System>,
}

/// A machine as a node sees it that runs on it.
pub(crate) struct OnMachine {
    network: Network,
    machine: usize,
    sources: Sources,
}

/// What is read and asked outside of the network of streams.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) routes: MemorySource,
    pub(crate) plugin: Arc<MemoryPlugin>,
    /// Whether each question to the plugin panics.
    pub(crate) plugin_panics: Arc<AtomicBool>,
}

impl Network {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Inner { next_port: 10_000, ..Inner::default() })))
    }

    /// Adds a machine with an address of its own.
    pub(crate) fn add(&self, number: usize, pace: Pace) {
        let machine = Machine {
            addr: address(number, 0),
            pace,
            cut: false,
            stalled: false,
            links: Vec::new(),
            devices: Vec::new(),
        };
        self.inner().machines.insert(number, machine);
    }

    /// The surroundings of a node on this machine.
    pub(crate) fn on(&self, machine: usize, sources: &Sources) -> OnMachine {
        OnMachine { network: self.clone(), machine, sources: sources.clone() }
    }

    /// From now on nothing leaves the machine or reaches it, or everything does that was held up.
    pub(crate) fn cut(&self, machine: usize, cut: bool) {
        self.with(machine, |it| {
            it.cut = cut;
            it.links.iter().for_each(|link| link.cut(cut));
        });
    }

    /// From now on the machine reads nothing of what comes to it, or reads again.
    pub(crate) fn stall(&self, machine: usize, stalled: bool) {
        self.with(machine, |it| {
            it.stalled = stalled;
            it.links.iter().for_each(|link| link.stall(Side::Host, stalled));
        });
    }

    /// Ends the machine's connections at both ends.
    pub(crate) fn reset(&self, machine: usize) {
        self.with(machine, |it| it.links.iter().for_each(Link::reset));
    }

    /// The machine's connections fall silent for good; with another address it can connect anew.
    pub(crate) fn move_away(&self, machine: usize, times: u8) {
        self.with(machine, |it| {
            it.addr = address(machine, times);
            it.links.drain(..).for_each(|link| link.cut(true));
        });
    }

    /// The next read of one of the machine's connections on this side panics.
    pub(crate) fn panic(&self, machine: usize, side: Side) {
        self.with(machine, |it| it.links.iter().for_each(|link| link.panic(side)));
    }

    /// The next call that accepts a connection panics.
    pub(crate) fn panic_at_door(&self) {
        self.inner().door_panics = true;
    }

    fn take_door_panics(&self) -> bool {
        std::mem::take(&mut self.inner().door_panics)
    }

    /// The machine's connections that somebody still holds an end of.
    pub(crate) fn connections(&self) -> usize {
        let mut inner = self.inner();
        let machines = inner.machines.values_mut();
        machines
            .map(|machine| {
                machine.links.retain(|link| !link.is_over());
                machine.links.len()
            })
            .sum()
    }

    /// Has the machine's system send a packet; whether its device took it.
    pub(crate) fn send(&self, machine: usize, packet: &[u8]) -> bool {
        let inner = self.inner();
        inner.machines[&machine].devices.last().is_some_and(|device| device.send(packet))
    }

    /// The packets that the machine's system was handed, and which it takes now.
    pub(crate) fn received(&self, machine: usize) -> Vec<Vec<u8>> {
        let inner = self.inner();
        let devices = inner.machines[&machine].devices.iter();
        devices.flat_map(|device| iter::from_fn(|| device.try_recv())).collect()
    }

    fn with(&self, machine: usize, change: impl FnOnce(&mut Machine)) {
        change(self.inner().machines.get_mut(&machine).expect("it was added"));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nothing panics with it")
    }

    /// A connection as TCP makes it: what is asked is answered, or asked again.
    async fn connect(&self, machine: usize, to: SocketAddr) -> io::Result<Arc<dyn Stream>> {
        let begin = Instant::now();
        for again in SYN_AGAIN {
            let (cut, Pace { latency, .. }) = {
                let inner = self.inner();
                let machine = &inner.machines[&machine];
                (machine.cut, machine.pace)
            };
            if !cut {
                sleep(2 * latency).await;
                if let Some(answer) = self.open(machine, to) {
                    return answer;
                }
            }
            sleep_until(begin + Duration::from_secs(again)).await;
        }
        Err(io::Error::from_raw_os_error(110))
    }

    /// None if the way has been cut.
    fn open(&self, number: usize, to: SocketAddr) -> Option<io::Result<Arc<dyn Stream>>> {
        let mut inner = self.inner();
        let Inner { listeners, machines, next_port, .. } = &mut *inner;
        let machine = machines.get_mut(&number).expect("it was added");
        if machine.cut {
            return None;
        }
        let refused = || Some(Err(io::ErrorKind::ConnectionRefused.into()));
        let Some(listener) = listeners.get(&to) else { return refused() };
        let (link, here, there) = link::connection(machine.pace);
        *next_port = next_port.checked_add(1).unwrap_or(10_000);
        if listener.send((Arc::new(there), SocketAddr::new(machine.addr, *next_port))).is_err() {
            return refused();
        }
        link.stall(Side::Host, machine.stalled);
        machine.links.retain(|link| !link.is_over());
        machine.links.push(link);
        Some(Ok(Arc::new(here)))
    }
}

/// Where a machine is after it has moved so often.
fn address(machine: usize, moved: u8) -> IpAddr {
    let machine = u8::try_from(machine).expect("there are few machines");
    Ipv4Addr::new(192, 0, machine, moved + 1).into()
}

impl Twin for OnMachine {
    fn listen(&self, addr: &str) -> Result<Box<dyn TwinListener>, ListenError> {
        let address: SocketAddr = addr.parse().expect("addresses here are numbers");
        let (listener, callers) = mpsc::unbounded_channel();
        let mut inner = self.network.inner();
        if inner.listeners.contains_key(&address) {
            let source = io::ErrorKind::AddrInUse.into();
            return Err(ListenError::Bind { addr: addr.to_owned(), source });
        }
        inner.listeners.insert(address, listener);
        let network = self.network.clone();
        Ok(Box::new(Listening { network, address, callers: AsyncMutex::new(callers) }))
    }

    fn connect<'a>(
        &'a self,
        addr: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn Stream>, ConnectError>> {
        Box::pin(async move {
            let address: SocketAddr = addr.parse().expect("addresses here are numbers");
            let failed = |error| ConnectError::Failed {
                addr: addr.to_owned(),
                tried: Tried { attempts: vec![(address, Some(error))], outdated: None },
            };
            self.network.connect(self.machine, address).await.map_err(failed)
        })
    }

    fn device(&self, name: &str, mtu: u16) -> MemoryTun {
        let (device, system) = memory::device(name, mtu, DEVICE_QUEUE);
        self.network.with(self.machine, |it| it.devices.push(system));
        device
    }

    fn source(&self, _: &rtun_settings::SourceSettings) -> Box<dyn Source> {
        Box::new(self.sources.routes.clone())
    }

    fn route_plugin(&self, _: &rtun_settings::PluginSettings) -> Arc<dyn RoutePlugin> {
        Arc::new(self.sources.clone())
    }
}

impl Addressed for Sources {
    fn address(&self) -> &str {
        self.plugin.address()
    }
}

impl RoutePlugin for Sources {
    fn route(
        &self,
        namespace: NamespaceId,
        destination: IpAddr,
    ) -> Answering<'_, Option<HostName>> {
        if self.plugin_panics.load(Ordering::Relaxed) {
            return Box::pin(async { panic_as_asked() });
        }
        self.plugin.route(namespace, destination)
    }
}

struct Listening {
    network: Network,
    address: SocketAddr,
    callers: AsyncMutex<mpsc::UnboundedReceiver<Caller>>,
}

impl TwinListener for Listening {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn accept(&self) -> BoxFuture<'_, Caller> {
        Box::pin(async {
            let caller = self.callers.lock().await.recv().await;
            if self.network.take_door_panics() {
                panic_as_asked();
            }
            match caller {
                Some(caller) => caller,
                None => std::future::pending().await,
            }
        })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.network.inner().listeners.remove(&self.address);
    }
}
