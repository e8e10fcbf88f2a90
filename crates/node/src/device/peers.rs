//! Where a host's own packets go, and how the system distinguishes them from those that belong into the tunnel.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use rtun_settings::{
    DeviceSettings, HubNode, LookedUpName, NetworkNamespace, ProxyHop, SocketOptions,
    TransportStack,
};
use rtun_system::{
    netns,
    placement::{OWN_SO_MARK, OwnPackets},
};
use rtun_transport::{names::Names, socket::may_set_so_mark};
use tokio::{task::JoinHandle, time::timeout};
use tracing::warn;

/// How often names are looked up while there is no connection.
pub(super) const LOOK_UP_EVERY: Duration = Duration::from_secs(5);

/// How long name servers may take before the next look.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(30);

/// How long the device may wait for the first answer; until it is there every route stands apart.
const FIRST_ANSWER: Duration = Duration::from_secs(2);

/// Addresses of one name that are remembered. When it has changed so often, the old ones are forgotten.
const ADDRESSES_MAX: usize = 64;

/// Where the system says whom it asks for addresses, its own stub left out.
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// The network namespace that rtun runs in.
const OWN_NAMESPACE: &str = "/proc/self/ns/net";

/// Names, each with the addresses it has, as far as it could be looked up.
pub(super) type NameAnswers = Vec<(String, Vec<IpAddr>)>;

/// The other ends of a host's connections: hubs, or the proxies before them.
pub(crate) struct TunnelPeers {
    addresses: BTreeSet<IpAddr>,
    /// Names, as `host:port`, with the addresses they have had.
    names: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Looks them up, for the connections too: nobody asks twice at a time.
    lookups: Arc<Names>,
    so_marks: Vec<u32>,
    /// Whether all connections are marked.
    all_marked: bool,
}

impl TunnelPeers {
    /// Those of a service that dials through chains. From now on its sockets have a `SO_MARK`, if the system allows it.
    /// Connections that are made in another network namespace than the device is in cannot enter it and are left out.
    pub(crate) fn of_chains<'a>(
        service: &str,
        chains: impl IntoIterator<Item = (&'a mut [HubNode], &'a mut [ProxyHop])>,
        names: &[LookedUpName],
        device: &DeviceSettings,
        lookups: &Arc<Names>,
    ) -> Self {
        let mut peers = Self::none(lookups);
        let netns = namespace(device.netns.as_ref());
        let is_there = |sockets: &SocketOptions| namespace(sockets.netns.as_ref()) == netns;
        for (hubs, proxies) in chains {
            let has_proxies = !proxies.is_empty();
            for hub in hubs.iter_mut().filter(|hub| is_there(&hub.sockets)) {
                // QUIC goes past proxies.
                let direct = |endpoint: &&rtun_settings::Endpoint| {
                    !has_proxies || matches!(endpoint.stack, TransportStack::Quic { .. })
                };
                let addrs: Vec<&str> =
                    hub.endpoints.iter().filter(direct).map(|endpoint| &*endpoint.addr).collect();
                peers.add(&addrs);
                peers.give_so_mark(&mut hub.sockets);
            }
            for (place, hop) in proxies.iter_mut().enumerate() {
                for node in hop.nodes.iter_mut().filter(|node| is_there(&node.sockets)) {
                    if place == 0 {
                        peers.add(&[&node.addr]);
                    }
                    peers.give_so_mark(&mut node.sockets);
                }
            }
        }
        for name in names.iter().filter(|name| is_there(&name.sockets)) {
            let servers = name.resolver.iter().flat_map(|resolver| &resolver.servers);
            peers.add(&servers.map(|server| &*server.addr).collect::<Vec<_>>());
            peers.note_so_mark(name.sockets.so_mark);
        }
        if !peers.all_marked && !device.routes.is_empty() {
            warn!(
                service,
                "the tunnel's own packets cannot be marked (CAP_NET_ADMIN, or CAP_NET_RAW since Linux 5.17): they are \
                 kept out of its routes by the addresses they go to"
            );
        }
        peers
    }

    /// Those of a service whose sockets are all bound, and nothing is dialled: they have `so_mark`, or rtun's own if there is none and the system allows it.
    pub(crate) fn of_listener(so_mark: &mut Option<u32>, netns: Option<&NetworkNamespace>) -> Self {
        let mut peers = Self::none(&Arc::default());
        let mut sockets =
            SocketOptions { so_mark: *so_mark, netns: netns.cloned(), ..SocketOptions::default() };
        peers.give_so_mark(&mut sockets);
        *so_mark = sockets.so_mark;
        peers
    }

    /// Those of a service that dials `addrs` through `sockets`, which have a `SO_MARK` as those of [`TunnelPeers::of_chains`] do.
    pub(crate) fn of_dialler(
        addrs: &[&str],
        sockets: &mut SocketOptions,
        device: &DeviceSettings,
        lookups: &Arc<Names>,
    ) -> Self {
        let mut peers = Self::none(lookups);
        if namespace(sockets.netns.as_ref()) == namespace(device.netns.as_ref()) {
            peers.add(addrs);
            peers.give_so_mark(sockets);
        }
        peers
    }

    /// Those of a service that connects to nobody.
    pub(crate) fn none(lookups: &Arc<Names>) -> Self {
        Self {
            addresses: BTreeSet::new(),
            names: BTreeMap::new(),
            lookups: Arc::clone(lookups),
            so_marks: Vec::new(),
            all_marked: true,
        }
    }

    fn add(&mut self, addrs: &[&str]) {
        for addr in addrs {
            let host = addr.rsplit_once(':').map_or(*addr, |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let bare = host.split('%').next().unwrap_or_default();
            match bare.parse() {
                Ok(address) => {
                    self.addresses.insert(address);
                }
                Err(_) if bare.is_empty() => {}
                Err(_) => {
                    self.names.entry((*addr).to_owned()).or_default();
                }
            }
        }
    }

    fn give_so_mark(&mut self, sockets: &mut SocketOptions) {
        mark_own_socket(sockets);
        self.note_so_mark(sockets.so_mark);
    }

    fn note_so_mark(&mut self, so_mark: Option<u32>) {
        match so_mark {
            Some(so_mark) if !self.so_marks.contains(&so_mark) => self.so_marks.push(so_mark),
            Some(_) => {}
            None => self.all_marked = false,
        }
    }

    /// The packets as they are now.
    pub(super) fn own_packets(&self, is_connected: bool, strict_paths: bool) -> OwnPackets {
        let mut peers = self.addresses.clone();
        peers.extend(self.names.values().flatten());
        let mut let_past = BTreeSet::new();
        if !self.all_marked || strict_paths {
            let_past.extend(&peers);
        }
        // A host that is not connected has to reach its name servers.
        if !is_connected && !self.names.is_empty() {
            let_past.extend(
                RESOLVERS
                    .iter()
                    .flat_map(|path| name_servers(&fs::read_to_string(path).unwrap_or_default())),
            );
        }
        OwnPackets {
            so_marks: self.so_marks.clone(),
            peers,
            may_go_anywhere: self.names.values().any(BTreeSet::is_empty),
            let_past,
        }
    }

    /// Looks names up that have no address yet, for a while.
    pub(super) async fn look_up_first(&mut self) {
        if !self.names.values().any(BTreeSet::is_empty) {
            return;
        }
        let Some(lookup) = self.look_up() else { return };
        if let Ok(Ok(answers)) = timeout(FIRST_ANSWER, lookup).await {
            self.learn(answers);
        }
    }

    /// Begins to look all names up, if there are any.
    pub(super) fn look_up(&self) -> Option<JoinHandle<NameAnswers>> {
        let names: Vec<String> = self.names.keys().cloned().collect();
        if names.is_empty() {
            return None;
        }
        let lookups = Arc::clone(&self.lookups);
        Some(tokio::spawn(async move {
            let find = |name: String| {
                let lookups = &lookups;
                async move {
                    let found = lookups.find(&name, None, LOOK_UP_LIMIT).await;
                    let found =
                        found.map(|found| found.addresses.iter().map(SocketAddr::ip).collect());
                    (name, found.unwrap_or_default())
                }
            };
            join_all(names.into_iter().map(find)).await
        }))
    }

    /// Remembers addresses, in addition to those that were known: a connection may still go there.
    pub(super) fn learn(&mut self, answers: NameAnswers) {
        for (name, found) in answers {
            let Some(known) = self.names.get_mut(&name) else { continue };
            if known.len() + found.len() > ADDRESSES_MAX {
                known.clear();
            }
            known.extend(found.into_iter().take(ADDRESSES_MAX));
        }
    }
}

/// Has the sockets of questions to name servers marked as those of connections are.
pub(crate) fn mark_own(names: &mut [LookedUpName]) {
    names.iter_mut().for_each(|name| mark_own_socket(&mut name.sockets));
}

/// Gives sockets without a `SO_MARK` rtun's own, if the system allows it.
fn mark_own_socket(sockets: &mut SocketOptions) {
    if sockets.so_mark.is_none_or(|so_mark| so_mark == 0) {
        let netns = sockets.netns.as_ref().map(NetworkNamespace::path);
        sockets.so_mark = may_set_so_mark(netns.as_deref()).then_some(OWN_SO_MARK);
    }
}

/// A network namespace, however it is written; its path where there is none.
fn namespace(config: Option<&NetworkNamespace>) -> Result<netns::NetnsIdentity, PathBuf> {
    let path = config.map_or_else(|| PathBuf::from(OWN_NAMESPACE), NetworkNamespace::path);
    netns::identity(&path).map_err(|_| path)
}

/// What comes of a lookup that goes on; never ready without one.
pub(super) async fn answers(lookup: &mut Option<JoinHandle<NameAnswers>>) -> NameAnswers {
    match lookup {
        Some(lookup) => lookup.await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

/// The servers in a resolv.conf that are not on this machine.
fn name_servers(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        words.next()?.split('%').next()?.parse::<IpAddr>().ok()
    });
    servers.filter(|server| !server.is_loopback()).collect()
}

/// Whether, in the network namespace of the calling thread, a device other than `own` drops packets that come by another
/// way than answers to them would take (`rp_filter` 1): answers to marked packets would be among them.
pub(super) fn paths_are_strict(own: &str) -> bool {
    const FOLDER: &str = "/proc/sys/net/ipv4/conf";
    let filter = |device: &str| {
        let text = fs::read_to_string(format!("{FOLDER}/{device}/rp_filter")).unwrap_or_default();
        text.trim().parse::<u8>().unwrap_or_default()
    };
    let all = filter("all");
    let devices = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let mut names = devices.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .any(|name| !["all", "default", "lo", own].contains(&&*name) && filter(&name).max(all) == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_a_resolv_conf_are_those_elsewhere() {
        let text = "# nameserver 9.9.9.9\nnameserver 192.0.2.53\nnameserver 127.0.0.53\nsearch example\n\
                    nameserver fe80::1%eth0\nnameserver\nnameserver x\n";
        let found: Vec<String> = name_servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.53", "fe80::1"]);
    }

    #[test]
    fn a_name_without_an_address_may_lead_anywhere_and_known_ones_are_kept() {
        let mut hubs = TunnelPeers {
            addresses: BTreeSet::new(),
            names: BTreeMap::new(),
            lookups: Arc::default(),
            so_marks: vec![1],
            all_marked: true,
        };
        hubs.add(&["hub.example:443", "[2001:db8::1]:443", "192.0.2.1:8443", ":8443"]);
        assert!(hubs.own_packets(true, false).may_go_anywhere);
        let answer =
            |last: u8| vec![("hub.example:443".to_owned(), vec![IpAddr::from([10, 0, 0, last])])];
        hubs.learn(answer(1));
        hubs.learn(answer(2));
        hubs.learn(vec![("hub.example:443".to_owned(), Vec::new())]);
        let own = hubs.own_packets(true, false);
        assert!(!own.may_go_anywhere && own.let_past.is_empty());
        let peers: Vec<String> = own.peers.iter().map(ToString::to_string).collect();
        assert_eq!(peers, ["10.0.0.1", "10.0.0.2", "192.0.2.1", "2001:db8::1"]);
        assert_eq!(hubs.own_packets(true, true).let_past, own.peers);
        for last in 3..=200 {
            hubs.learn(answer(last));
        }
        assert!(hubs.own_packets(true, false).peers.len() <= ADDRESSES_MAX + 2);
    }
}
