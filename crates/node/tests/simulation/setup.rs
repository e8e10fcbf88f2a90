//! The network that is simulated: one hub, three namespaces with the same names and addresses, three machines in each.
//!
//! | NetNamespace | Its table is |
//! |---|---|
//! | 0 | in the hub's configuration |
//! | 1 | read from a source |
//! | 2 | known to a plugin; nobody has configured the namespace |

use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

use rtun_core::{HostName, NamespaceId};
use rtun_settings::{
    ChainGroup, Config, DeviceSettings, Endpoint, GrpcSettings, HostLimits, HostSettings,
    Http2Settings, HubNode, HubRules, HubSettings, ListenerSettings, LocatedRow, Login,
    MuxSettings, MuxVersion, Named, PluginProtocol, PluginSettings, Provider, Route, Rows, Secret,
    Selection, Service, ServiceKind, SourceSettings, TransportStack, User, WebSocketSettings,
};

use crate::link::Pace;

/// Machines with hosts are numbered from 1.
pub(crate) const MACHINES: usize = 9;

/// The machine of the hub.
pub(crate) const HUB: usize = 100;

/// The machine of peers that do not belong to the network.
pub(crate) const INTRUDER: usize = 101;

/// The memory in bytes that the hub's queues may hold together.
const QUEUE_BUDGET: usize = 16 * 1024 * 1024;

/// Which namespace a machine's host is in.
pub(crate) fn namespace_of(machine: usize) -> usize {
    (machine - 1) / 3
}

/// The number of a machine's host within its namespace, from 1.
pub(crate) fn number_of(machine: usize) -> u8 {
    u8::try_from((machine - 1) % 3 + 1).expect("there are three")
}

pub(crate) fn id_of(namespace: usize) -> NamespaceId {
    NamespaceId::from_bytes([u8::try_from(namespace).expect("there are three") + 1; 16])
}

/// The address of a host, in each namespace the same.
pub(crate) fn address_of(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

/// An address that lies behind host 1 or host 2, as the table says at the time.
pub(crate) const MOVING: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);

pub(crate) fn name_of(number: u8) -> HostName {
    format!("host-{number}").parse().expect("a name")
}

/// The rows of a table in which [`MOVING`] lies behind this host.
fn rows(behind: u8) -> Vec<(String, HostName)> {
    let mut rows: Vec<_> = (1..=3).map(|n| (format!("{}/32", address_of(n)), name_of(n))).collect();
    rows.push(("10.0.1.0/24".into(), name_of(behind)));
    rows
}

/// The same as a source's text.
pub(crate) fn text(behind: u8) -> String {
    rows(behind).iter().map(|(prefix, host)| format!("{prefix} {host}\n")).collect()
}

/// What carries the connections of machines, in turn.
fn stacks<T>() -> Vec<TransportStack<T>> {
    let ws = || WebSocketSettings {
        path: "/ws".into(),
        host: None,
        headers: Vec::new(),
        ping_every: None,
    };
    let mux = |version| MuxSettings {
        version,
        keepalive: Some(Duration::from_secs(10)),
        keepalive_timeout: Duration::from_secs(30),
        max_frame: 32_768,
        receive_buffer: 4 * 1024 * 1024,
        stream_buffer: 64 * 1024,
    };
    let http = Http2Settings { path: None, host: None, headers: Vec::new() };
    let grpc = GrpcSettings { path: "/GostTunel/Tunnel".into(), authority: None };
    vec![
        TransportStack::tcp(),
        TransportStack::Tcp { tls: None, ws: Some(ws()), mux: None },
        TransportStack::Tcp { tls: None, ws: None, mux: Some(mux(MuxVersion::Two)) },
        TransportStack::Tcp { tls: None, ws: Some(ws()), mux: Some(mux(MuxVersion::One)) },
        TransportStack::Http2 { tls: None, http },
        TransportStack::Grpc { tls: None, grpc },
    ]
}

fn listen_address(stack: usize) -> String {
    format!("192.0.100.1:{}", 8443 + stack)
}

/// The addresses that intruders connect to: with each of the transports.
pub(crate) fn listen_addresses() -> Vec<String> {
    (0..stacks::<()>().len()).map(listen_address).collect()
}

fn named<T>(name: &str, provider: Provider<T>) -> Named<T> {
    Named { name: name.into(), provider }
}

fn located<T>(value: T) -> LocatedRow<T> {
    LocatedRow { value, file: "simulation".into(), line: 1 }
}

fn user(machine: usize) -> String {
    format!("user-{machine}")
}

/// The hub's configuration: in namespace 0 [`MOVING`] lies `behind` this host.
pub(crate) fn hub(behind: u8, revoked: &BTreeSet<usize>) -> Config {
    let route = |(prefix, host): (String, HostName)| {
        located(Route::new(prefix.parse().expect("a prefix"), host))
    };
    let inline = Rows::inline(rows(behind).into_iter().map(route).collect());
    let read = Rows {
        inline: Vec::new(),
        sources: vec![SourceSettings::File("/routes".into())],
        reload: None,
    };
    let asked = PluginSettings {
        protocol: PluginProtocol::Http,
        addr: "http://192.0.2.1".into(),
        token: None,
        timeout: Duration::from_secs(2),
        tls: None,
    };
    let users = (1..=MACHINES).filter(|machine| !revoked.contains(machine)).map(|machine| {
        let (name, password) = (user(machine), Secret::new("secret"));
        located(User { name, password, hosts: None })
    });
    let rules = HubRules {
        namespaces: [
            (id_of(0), named("inline", Provider::Rows(inline))),
            (id_of(1), named("read", Provider::Rows(read))),
        ]
        .into(),
        default_router: Some(named("asked", Provider::Plugin(asked))),
        authers: Some(vec![named("users", Provider::Rows(Rows::inline(users.collect())))]),
        gso_frames: true,
        queue_budget: QUEUE_BUDGET,
        ..HubRules::default()
    };
    let mut listeners = stacks().into_iter().enumerate().map(|(number, stack)| ListenerSettings {
        stack,
        ..ListenerSettings::tcp(listen_address(number))
    });
    let hub = HubSettings {
        listener: listeners.next().expect("there is TCP"),
        more_listeners: listeners.collect(),
        rules,
        handshake_timeout: Duration::from_secs(10),
    };
    config("hub", ServiceKind::Hub(hub))
}

/// The configuration of a machine's host, connected by one of the stacks.
pub(crate) fn host(machine: usize, stack: usize) -> Config {
    let number = number_of(machine);
    let mut stacks = stacks();
    let stack = stack % stacks.len();
    let addr = listen_address(stack);
    let hub = HubNode {
        endpoints: vec![Endpoint {
            addr: addr.clone(),
            stack: stacks.swap_remove(stack),
            segment_max: None,
        }],
        namespace: id_of(namespace_of(machine)),
        auth: Some(Login { user: user(machine), password: Secret::new("secret"), file: None }),
        ..HubNode::tcp(addr)
    };
    let address = format!("{}/24", address_of(number)).parse().expect("an address");
    let host = HostSettings {
        name: name_of(number),
        device: DeviceSettings {
            name: Some(format!("tun{machine}")),
            addresses: vec![address],
            mtu: 1420,
            routes: Vec::new(),
            dns: Vec::new(),
            offload: true,
            gso_frames: true,
            netns: None,
        },
        hubs: vec![hub],
        selector: Selection::default(),
        plugin: None,
        proxies: Vec::new(),
        group: ChainGroup::default(),
        lookups: Vec::new(),
        retries: 0,
        dial_timeout: None,
        limits: HostLimits::default(),
    };
    config("host", ServiceKind::Host(host))
}

fn config(name: &str, kind: ServiceKind) -> Config {
    Config { services: vec![Service::new(name, kind)], ..Config::default() }
}

/// What the way of a machine is like.
pub(crate) fn pace(random: &mut fastrand::Rng) -> Pace {
    Pace {
        latency: Duration::from_millis(random.u64(1..100)),
        rate: *random.choice(&[200_000, 1_000_000, 100_000_000]).expect("there are some"),
        capacity: *random.choice(&[4_096, 16_384, 65_536]).expect("there are some"),
    }
}
