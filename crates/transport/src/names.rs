//! Finding the addresses of `host:port`: zones of IPv6 addresses, one lookup of a name at a time, answers kept.
//!
//! The system's resolver may be silent for long: with a first name server that does not answer, glibc takes 5 s to ask the
//! second. So nobody waits for longer than they want to, a lookup goes on without them, and its late answer is there for
//! the next who ask. What a name led to last is kept and used while a lookup takes long or fails.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use nix::net::if_::{if_indextoname, if_nametoindex};
use rtun_settings::HostsTable;
use rtun_system::netns;
use tokio::{sync::watch, time::timeout};

/// How long a lookup may take before the addresses known from before are used: longer than name servers usually take.
pub const KNOWN_AFTER: Duration = Duration::from_millis(250);

/// The most addresses of one name that are kept and tried; further ones are ignored, so that a name with thousands cannot
/// open thousands of sockets.
pub const ADDRESSES_MAX: usize = 16;

/// Most names whose addresses are kept. Past it those that have none yet are looked up each time by each who asks.
const NAMES_MAX: usize = 256;

/// Where something is, once it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedAddr {
    /// What was to be found, `host:port`.
    pub addr: String,
    /// In the order to be tried: at least one, the families taking turns (RFC 8305 section 4).
    pub addresses: Vec<SocketAddr>,
    /// Where they are known from before: how the lookup goes.
    pub outdated: Option<String>,
}

impl From<SocketAddr> for ResolvedAddr {
    fn from(address: SocketAddr) -> Self {
        Self { addr: address.to_string(), addresses: vec![address], outdated: None }
    }
}

/// Why no address was found.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// It is not `host:port`.
    #[error("{0:?} is no address; write it as host:port, 192.0.2.1:port or [2001:db8::1]:port")]
    Malformed(String),
    /// The system has no interface as the address's zone says.
    #[error("cannot use {addr}: this machine has no interface {zone:?}")]
    Zone {
        /// The address.
        addr: String,
        /// Its zone.
        zone: String,
    },
    /// The resolver's answer is none.
    #[error("cannot find {name}: {reason}")]
    Failed {
        /// What was looked up.
        name: String,
        /// What the resolver said.
        reason: Arc<str>,
    },
    /// The name servers take long. The lookup goes on.
    #[error("cannot find {name}: no answer from the name servers within {} s, still waiting for it", .after.as_secs_f32())]
    Silent {
        /// What is looked up.
        name: String,
        /// How long this caller has waited.
        after: Duration,
    },
}

/// The host, an IPv6 address without its brackets but with its zone, and the port of `host:port`. The host of `:port` is
/// `localhost`.
pub fn split(addr: &str) -> Option<(&str, u16)> {
    let (host, port) = addr.rsplit_once(':')?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| digits)?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    Some((if host.is_empty() { "localhost" } else { host }, port))
}

/// The host of `host:port` as others know it: without brackets, and without the zone, which only this machine knows
/// (RFC 6874 section 4).
pub fn host_of(addr: &str) -> &str {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.split('%').next().unwrap_or(host)
}

/// `host:port` without the zone of its host.
pub fn without_zone(addr: &str) -> String {
    match (addr.find('%'), addr.find(']')) {
        (Some(start), Some(end)) if start < end => format!("{}{}", &addr[..start], &addr[end..]),
        _ => addr.to_owned(),
    }
}

/// The address that `host:port` is, if its host is no name. A zone is that of an interface where `netns` is, by its name
/// or number, as it is now.
pub fn literal(addr: &str, netns: Option<&Path>) -> Result<Option<SocketAddr>, NameError> {
    let (host, port) = split(addr).ok_or_else(|| NameError::Malformed(addr.to_owned()))?;
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(Some(SocketAddr::new(ip, port)));
    }
    let Some((ip, zone)) = host.split_once('%') else { return Ok(None) };
    let ip = ip.parse::<Ipv6Addr>().map_err(|_| NameError::Malformed(addr.to_owned()))?;
    let by_number = || zone.parse().ok().filter(|number| if_indextoname(*number).is_ok());
    let index = || if_nametoindex(zone).ok().or_else(by_number);
    match netns::within(netns, index).ok().flatten() {
        Some(index) => Ok(Some(SocketAddrV6::new(ip, port, 0, index).into())),
        None => Err(NameError::Zone { addr: addr.to_owned(), zone: zone.to_owned() }),
    }
}

/// `error`, which the system had with `address`; says what is missing from a link-local address without a zone.
pub(crate) fn explain(address: SocketAddr, error: io::Error) -> io::Error {
    match address {
        SocketAddr::V6(v6)
            if v6.ip().is_unicast_link_local()
                && v6.scope_id() == 0
                && error.kind() == io::ErrorKind::InvalidInput =>
        {
            let hint = "a link-local address needs its interface, as in [fe80::1%eth0]:8443";
            io::Error::new(error.kind(), hint)
        }
        _ => error,
    }
}

/// Where what names led to is kept beyond the life of [`Names`]. Both may block for a file.
pub trait Memory: Send + Sync {
    /// What was kept of `name`.
    fn recall(&self, name: &str) -> Vec<IpAddr>;

    /// `name` leads to these addresses, and did not before.
    fn keep(&self, name: &str, addresses: &[IpAddr]);
}

/// Looks a name up; blocks.
pub type Resolver = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// How a name is looked up, if not as everywhere on the system.
#[derive(Default)]
pub struct NameSource {
    /// What is known without asking. It comes before name servers, and may change.
    pub hosts: Option<Arc<ArcSwap<HostsTable>>>,
    /// Who is asked; `None`: the system's resolver.
    pub servers: Option<Arc<Resolver>>,
}

impl NameSource {
    fn hosted(&self, name: &str) -> Vec<IpAddr> {
        self.hosts.as_ref().map(|hosts| hosts.load().lookup(name).to_vec()).unwrap_or_default()
    }
}

/// Names and what they lead to. Dropping it leaves lookups that are under way to themselves: their threads end with the
/// system's answer, which it gives within half a minute, or with the process.
pub struct Names {
    resolver: Arc<Resolver>,
    names: Mutex<HashMap<String, Arc<Name>>>,
    /// By name.
    sources: HashMap<String, Arc<NameSource>>,
    memory: Option<Arc<dyn Memory>>,
}

/// A name.
#[derive(Default)]
struct Name(Mutex<NameState>);

#[derive(Default)]
struct NameState {
    /// What the last lookup that succeeded answered; the ports are 0.
    known: Vec<SocketAddr>,
    /// The lookup under way; `None` is sent while it is.
    running: Option<watch::Receiver<Option<LookupAnswer>>>,
}

type LookupAnswer = Result<Vec<SocketAddr>, Arc<str>>;

impl Default for Names {
    /// Asks the system's resolver.
    fn default() -> Self {
        Self::asking(|name| Ok((name, 0).to_socket_addrs()?.collect()))
    }
}

impl Names {
    fn asking(
        resolver: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            resolver: Arc::new(resolver),
            names: Mutex::default(),
            sources: HashMap::new(),
            memory: None,
        }
    }

    /// These names are looked up in ways of their own.
    pub fn with_sources(
        self,
        sources: impl IntoIterator<Item = (String, Arc<NameSource>)>,
    ) -> Self {
        Self { sources: sources.into_iter().collect(), ..self }
    }

    /// Whether the host of `addr`, `host:port`, is looked up in a way of its own.
    pub fn has_source(&self, addr: &str) -> bool {
        split(addr).is_some_and(|(name, _)| self.sources.contains_key(name))
    }

    /// What is known stays in `memory` and comes from there at first.
    pub fn remembering(self, memory: Arc<dyn Memory>) -> Self {
        Self { memory: Some(memory), ..self }
    }

    /// The addresses of `addr`, `host:port`; where it holds a zone, in the network namespace `netns`. Waits at most `within`
    /// for the name servers, and less where addresses are known from before.
    pub async fn find(
        &self,
        addr: &str,
        netns: Option<&Path>,
        within: Duration,
    ) -> Result<ResolvedAddr, NameError> {
        if let Some(address) = literal(addr, netns)? {
            return Ok(ResolvedAddr { addr: addr.to_owned(), ..address.into() });
        }
        let (name, port) = split(addr).ok_or_else(|| NameError::Malformed(addr.to_owned()))?;
        let at_port = |mut address: SocketAddr| {
            address.set_port(port);
            address
        };
        let hosted = self.sources.get(name).map(|source| source.hosted(name)).unwrap_or_default();
        if !hosted.is_empty() {
            let addresses = hosted.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
            let addresses = take_turns(addresses);
            return Ok(ResolvedAddr { addr: addr.to_owned(), addresses, outdated: None });
        }
        let (mut running, known) = self.look_up(name);
        let wait = if known.is_empty() { within } else { within.min(KNOWN_AFTER) };
        let answer = timeout(wait, running.wait_for(Option::is_some)).await;
        let (addresses, outdated) = match answer.map(|answer| answer.ok().and_then(|it| it.clone()))
        {
            Ok(Some(Ok(fresh))) => (fresh, None),
            Ok(failed) => {
                let reason = match failed {
                    Some(Err(reason)) => reason,
                    // Its thread has failed.
                    _ => "the lookup failed".into(),
                };
                if known.is_empty() {
                    return Err(NameError::Failed { name: name.to_owned(), reason });
                }
                (known, Some(format!("cannot find {name} again: {reason}")))
            }
            Err(_) if known.is_empty() => {
                return Err(NameError::Silent { name: name.to_owned(), after: wait });
            }
            Err(_) => (known, Some(format!("still looking {name} up"))),
        };
        let addresses = addresses.into_iter().map(at_port).collect();
        Ok(ResolvedAddr { addr: addr.to_owned(), addresses, outdated })
    }

    /// The lookup of `name` that is under way, or a new one; and what it led to before.
    fn look_up(&self, name: &str) -> (watch::Receiver<Option<LookupAnswer>>, Vec<SocketAddr>) {
        let entry = {
            let mut names = lock(&self.names);
            match names.get(name) {
                Some(entry) => Arc::clone(entry),
                None if names.len() >= NAMES_MAX => Arc::default(),
                None => {
                    let known = self.memory.as_ref().map(|memory| memory.recall(name));
                    let at = |ip| SocketAddr::new(ip, 0);
                    let known = known.unwrap_or_default().into_iter().map(at).collect();
                    let entry = Arc::new(Name(Mutex::new(NameState { known, running: None })));
                    Arc::clone(names.entry(name.to_owned()).or_insert(entry))
                }
            }
        };
        let mut state = lock(&entry.0);
        if let Some(running) = &state.running {
            return (running.clone(), state.known.clone());
        }
        let (answer, running) = watch::channel(None);
        let (resolver, asked, its_entry) =
            (Arc::clone(&self.resolver), name.to_owned(), Arc::clone(&entry));
        let source = self.sources.get(name).cloned();
        let memory = self.memory.clone();
        // A thread of its own: one of tokio's would hold up the end of the process.
        let thread = std::thread::Builder::new().name("lookup".into()).spawn(move || {
            let servers = source.as_ref().and_then(|source| source.servers.as_ref());
            let looked_up = match servers {
                Some(servers) => servers(&asked),
                None => resolver(&asked),
            };
            let found = match looked_up.map(take_turns) {
                Ok(found) if found.is_empty() => Err("the name has no address".into()),
                Ok(found) => Ok(found),
                Err(error) => Err(reason(&error).into()),
            };
            let mut state = lock(&its_entry.0);
            let mut news = None;
            if let Ok(found) = &found {
                news = Some(found.iter().map(SocketAddr::ip).collect::<Vec<_>>())
                    .filter(|_| state.known != *found);
                state.known.clone_from(found);
            }
            state.running = None;
            drop(state);
            // Those who have given up waiting do not hear it.
            let _ = answer.send(Some(found));
            if let (Some(memory), Some(news)) = (memory, news) {
                memory.keep(&asked, &news);
            }
        });
        if thread.is_ok() {
            state.running = Some(running.clone());
        }
        (running, state.known.clone())
    }
}

/// What a resolver's error says, without the words that all of them begin with.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.strip_prefix("failed to lookup address information: ");
    end.map_or_else(|| text.clone(), str::to_owned)
}

/// Keeps the resolver's order within each family and lets the families take turns, beginning with the one the resolver
/// put first.
fn take_turns(mut found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_ipv6 = found.first().is_some_and(SocketAddr::is_ipv6);
    found.dedup();
    let (first, second): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| address.is_ipv6() == first_is_ipv6);
    let mut second = second.into_iter();
    let mut turns = Vec::new();
    for address in first {
        turns.push(address);
        turns.extend(second.next());
    }
    turns.extend(second);
    turns.truncate(ADDRESSES_MAX);
    turns
}

/// A poisoned lock still guards whole values: each critical section is a few assignments.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use rtun_settings::HostsLine;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_from_the_resolvers_first() {
        let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"]);
        let turns = addresses(&["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"]);
        assert_eq!(take_turns(found), turns);
        let found = addresses(&["1.0.0.1:1", "[::1]:1", "[::2]:1"]);
        assert_eq!(take_turns(found.clone()), found);
        let many = (0..100).map(|n| SocketAddr::from(([10, 0, 0, n], 1))).collect();
        assert_eq!(take_turns(many).len(), ADDRESSES_MAX);
        assert_eq!(take_turns(Vec::new()), []);
    }

    #[test]
    fn what_an_address_is_made_of() {
        for (addr, parts) in [
            ("hub.example:8443", Some(("hub.example", 8443))),
            (":1", Some(("localhost", 1))),
            ("[::1]:1", Some(("::1", 1))),
            ("[fe80::1%eth0]:1", Some(("fe80::1%eth0", 1))),
            ("hub", None),
            ("::1", None),
            ("hub:+1", None),
            ("[::1:1", None),
        ] {
            assert_eq!(split(addr), parts, "{addr}");
        }
        assert_eq!(host_of("[fe80::1%eth0]:1"), "fe80::1");
        assert_eq!(host_of("hub.example:1"), "hub.example");
        assert_eq!(without_zone("[fe80::1%eth0]:1"), "[fe80::1]:1");
        assert_eq!(without_zone("[::1]:1"), "[::1]:1");
    }

    #[test]
    fn a_zone_is_an_interface_of_this_machine_by_name_or_number() {
        // Every system has `lo`, and it is the first.
        for addr in ["[fe80::1%lo]:7", "[fe80::1%1]:7"] {
            let Ok(Some(SocketAddr::V6(address))) = literal(addr, None) else { panic!("{addr}") };
            assert_eq!((address.scope_id(), address.port()), (1, 7), "{addr}");
        }
        assert_eq!(literal("localhost:7", None).unwrap(), None);
        let error = literal("[fe80::1%none0]:7", None).unwrap_err().to_string();
        assert!(error.contains("no interface \"none0\""), "{error}");
        assert!(matches!(literal("::1", None), Err(NameError::Malformed(_))));
    }

    /// A resolver that answers what it is sent, and how often it was asked.
    fn scripted() -> (Names, mpsc::Sender<io::Result<Vec<SocketAddr>>>, Arc<AtomicUsize>) {
        let (answers, script) = mpsc::channel();
        let (script, asked) = (Mutex::new(script), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        let names = Names::asking(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            lock(&script).recv().unwrap_or_else(|_| Ok(Vec::new()))
        });
        (names, answers, asked)
    }

    #[tokio::test]
    async fn a_lookup_goes_on_without_those_who_have_given_up() {
        let (names, answers, asked) = scripted();
        let short = Duration::from_millis(10);
        for _ in 0..3 {
            let error = names.find("hub.example:8443", None, short).await.unwrap_err();
            assert!(matches!(error, NameError::Silent { .. }), "{error}");
        }
        let waiting = tokio::join!(
            names.find("hub.example:8443", None, LONG),
            names.find("hub.example:443", None, LONG),
            async { answers.send(Ok(addresses(&["192.0.2.1:0"]))).unwrap() }
        );
        assert_eq!(waiting.0.unwrap().addresses, addresses(&["192.0.2.1:8443"]));
        assert_eq!(waiting.1.unwrap().addresses, addresses(&["192.0.2.1:443"]));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_was_known_serves_while_the_lookup_takes_long_or_fails() {
        let (names, answers, asked) = scripted();
        answers.send(Ok(addresses(&["192.0.2.1:0"]))).unwrap();
        let first = names.find("hub.example:1", None, LONG).await.unwrap();
        assert_eq!(first.outdated, None);
        let slow = names.find("hub.example:1", None, LONG).await.unwrap();
        assert_eq!(slow.addresses, first.addresses);
        assert!(slow.outdated.unwrap().contains("still looking"));
        answers.send(Err(io::Error::other("no such name"))).unwrap();
        let failed = names.find("hub.example:1", None, LONG).await.unwrap();
        assert_eq!(failed.addresses, first.addresses);
        answers.send(Ok(addresses(&["192.0.2.2:0"]))).unwrap();
        // The answer comes at its time, and counts from then on.
        loop {
            let found = names.find("hub.example:1", None, LONG).await.unwrap();
            if found.addresses == addresses(&["192.0.2.2:1"]) {
                break;
            }
        }
        assert!(asked.load(Ordering::SeqCst) >= 3);
    }

    #[tokio::test]
    async fn a_table_comes_before_the_name_servers_and_may_change() {
        let (names, answers, asked) = scripted();
        let line = |address: &str| HostsLine {
            address: address.parse().unwrap(),
            names: vec![".example".to_owned()],
        };
        let table = |lines: &[&str]| Arc::new(HostsTable::new(lines.iter().map(|it| line(it))));
        let hosts = Arc::new(ArcSwap::new(table(&["192.0.2.1", "2001:db8::1", "192.0.2.2"])));
        let source = NameSource { hosts: Some(Arc::clone(&hosts)), servers: None };
        let names = names.with_sources([("hub.example".to_owned(), Arc::new(source))]);
        assert!(names.has_source("hub.example:7") && !names.has_source("other.example:7"));
        let found = names.find("hub.example:7", None, LONG).await.unwrap().addresses;
        assert_eq!(found, addresses(&["192.0.2.1:7", "[2001:db8::1]:7", "192.0.2.2:7"]));
        hosts.store(table(&["192.0.2.3"]));
        let found = names.find("hub.example:7", None, LONG).await.unwrap().addresses;
        assert_eq!(found, addresses(&["192.0.2.3:7"]));
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        hosts.store(Arc::default());
        answers.send(Ok(addresses(&["192.0.2.4:0"]))).unwrap();
        let found = names.find("hub.example:7", None, LONG).await.unwrap().addresses;
        assert_eq!(found, addresses(&["192.0.2.4:7"]));
    }

    #[tokio::test]
    async fn a_name_without_address_says_so() {
        let (names, answers, _) = scripted();
        answers.send(Ok(Vec::new())).unwrap();
        let error = names.find("hub.example:1", None, LONG).await.unwrap_err().to_string();
        assert_eq!(error, "cannot find hub.example: the name has no address");
    }
}
