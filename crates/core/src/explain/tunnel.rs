//! Why a packet goes where it goes at the server of a UDP tunnel: the decision of [`TunnelRouting`], and what it follows from.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
    time::Instant,
};

use rtun_proto::packet::{destination_is_never_routed, source_is_never_valid};
use serde::{Deserialize, Serialize};

use super::{
    AppliedLimit, Listed, Listing, PassedOver, Special, TableRow,
    candidates::{self, AddressRole, RowCandidates},
    special,
};
use crate::{
    HostName,
    udp_tunnel::{AddressRules, ClientId, DatagramDrop, NextHop, TunnelClient, TunnelRouting},
};

/// The packet to explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelQuestion {
    /// Who sends it; `None`: the end that its source is at.
    pub sender: Option<TunnelSender>,
    /// Its source address.
    pub source: IpAddr,
    /// Its destination address, of the same family.
    pub destination: IpAddr,
}

/// Who sends a packet to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelSender {
    /// The server's own device.
    Device,
    /// Who sends from there.
    Outer(SocketAddr),
    /// The client that has registered this address.
    Address(IpAddr),
}

/// A text names no sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} sends nothing to a server: write `device`, an address of a client, or where it sends from, as 192.0.2.1:4000"
)]
pub struct TunnelSenderError(String);

impl FromStr for TunnelSender {
    type Err = TunnelSenderError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = || text.parse().map(Self::Address);
        match text {
            "device" => Ok(Self::Device),
            _ => text
                .parse()
                .map(Self::Outer)
                .or_else(|_| address())
                .map_err(|_| TunnelSenderError(text.to_owned())),
        }
    }
}

/// What a decision depends on.
pub struct TunnelScene<'a> {
    /// The server's service name.
    pub service: &'a str,
    /// Makes the decision.
    pub routing: &'a TunnelRouting,
    /// Whether a client that has this address may register it, as far as users go.
    pub has_user: &'a dyn Fn(IpAddr) -> bool,
    /// Whether the clients are registered; else they are [assumed](assume_clients).
    pub is_live: bool,
    /// The time.
    pub now: Instant,
}

/// The rows about networks behind clients that contain the source or the destination of a packet.
pub struct NetworkRows<'a>([RowCandidates<'a>; 2]);

/// What happens to a packet at the server of a UDP tunnel, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelExplanation {
    /// The server's service name.
    pub service: String,
    /// Whether everything goes to one client.
    pub point_to_point: bool,
    /// Who sends the packet.
    pub sender: TunnelEnd,
    /// Where the source is.
    pub source: TunnelAddress,
    /// Where the destination is.
    pub destination: TunnelAddress,
    /// Who gets the packet.
    pub receiver: Option<TunnelEnd>,
    /// What happens to it.
    pub conclusion: TunnelConclusion,
    /// Registers of these addresses, and of the gateways of their networks, that were refused lately.
    pub refused: Vec<RefusedRegister>,
    /// The limits that it has to keep to.
    #[serde(default)]
    pub limits: Vec<AppliedLimit>,
}

/// An end of a UDP tunnel, as its server sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum TunnelEnd {
    /// The server's own device.
    Device,
    /// A client.
    Client(ClientView),
    /// Who is not registered.
    Unregistered {
        /// The address that nobody has registered, or from where nobody has.
        address: String,
    },
}

/// A registered client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientView {
    /// What it has registered.
    pub addresses: Vec<IpAddr>,
    /// Where it is; `None`: no running server was asked.
    pub live: Option<LiveClient>,
}

/// Where a client is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveClient {
    /// From where it sends.
    pub outer: SocketAddr,
    /// Since its first register from there, in seconds.
    pub seconds: u64,
    /// Since anything has come from it, in seconds.
    pub silent: u64,
}

/// What a server knows about an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelAddress {
    /// The address.
    pub address: IpAddr,
    /// The kind of special address, if packets from it, or to it, go to no client.
    pub special: Option<Special>,
    /// Where it is.
    #[serde(rename = "where")]
    pub place: TunnelPlace,
    /// The client that has it, or the network that it is in.
    pub client: Option<ClientView>,
    /// The row that names the gateway; none unless it is in a network behind clients.
    pub row: Option<TableRow>,
    /// Other rows that contain the address, the best first.
    pub passed_over: Vec<PassedOver>,
    /// How many more there are.
    pub passed_over_more: u64,
    /// Whether nobody can register it, or the gateway, since no user has it.
    pub has_no_user: bool,
}

/// Where an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TunnelPlace {
    /// It is the server's own.
    Own,
    /// A client has registered it.
    Registered,
    /// It is in a network behind a client.
    Behind,
    /// It is in a network behind clients that are not registered.
    BehindUnregistered,
    /// It is one that clients register, and nobody has.
    Unregistered,
    /// It is no client's, and in no network of one.
    Elsewhere,
}

/// What becomes of a packet or frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum TunnelConclusion {
    /// It is sent there. If no running server was asked: once that client is registered.
    Delivered {
        /// `device`, or where the client sends from; without a running server its first address.
        to: String,
    },
    /// It is sent to all but its sender.
    Flooded {
        /// How many clients that are.
        clients: usize,
        /// Whether the server's own device gets it too.
        device: bool,
    },
    /// It is dropped, and counted under this reason.
    Dropped {
        /// Its fixed word.
        reason: DatagramDrop,
    },
}

/// A register that was not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRegister {
    /// The address that it was about.
    pub address: IpAddr,
    /// Why.
    pub reason: DatagramDrop,
    /// From where it came.
    pub outer: SocketAddr,
    /// The client that has the address.
    pub incumbent: Option<SocketAddr>,
    /// How long ago, in seconds.
    pub seconds: u64,
}

impl TunnelConclusion {
    /// Whether anybody gets it.
    pub fn is_delivered(&self) -> bool {
        matches!(self, Self::Delivered { .. } | Self::Flooded { .. })
    }
}

impl<'a> NetworkRows<'a> {
    /// Finds them among `rows`, which are in order of preference. Reads each once.
    pub fn containing(
        source: IpAddr,
        destination: IpAddr,
        rows: impl Iterator<Item = Listed<'a>> + 'a,
    ) -> Self {
        let rows: Option<Box<dyn Iterator<Item = Listed<'a>> + 'a>> = Some(Box::new(rows));
        let listing = Listing { name: "", is_default: false, rows, not_read: Vec::new() };
        Self(candidates::gather([(source, false), (destination, false)], vec![listing]))
    }
}

/// Explains what a server decides. It makes that decision itself; the rows only say where it is written.
pub fn explain_tunnel(
    scene: &TunnelScene<'_>,
    rows: NetworkRows<'_>,
    question: &TunnelQuestion,
) -> TunnelExplanation {
    let TunnelScene { service, routing, .. } = *scene;
    let TunnelQuestion { source, destination, .. } = *question;
    let NetworkRows([source_rows, destination_rows]) = rows;
    let from = sender(routing, question);
    let decided = match &from {
        Ok(Some(client)) => routing
            .check_source(*client, source)
            .and_then(|()| routing.target(Some(*client), destination)),
        Ok(None) => routing.target(None, destination),
        Err(_) => Err(DatagramDrop::Unregistered),
    };
    let view = |client: ClientId| client_view(routing.clients.get(client), scene);
    let receiver = decided.ok().map(|next| match next {
        NextHop::Client(client) => TunnelEnd::Client(view(client)),
        NextHop::Device => TunnelEnd::Device,
    });
    let conclusion = match (decided, &receiver) {
        (Err(reason), _) => TunnelConclusion::Dropped { reason },
        (Ok(_), Some(TunnelEnd::Client(client))) => {
            let outer = client.live.as_ref().map(|live| live.outer.to_string());
            let first = || client.addresses.first().map(ToString::to_string).unwrap_or_default();
            TunnelConclusion::Delivered { to: outer.unwrap_or_else(first) }
        }
        (Ok(_), _) => TunnelConclusion::Delivered { to: "device".to_owned() },
    };
    let never = |is_never: bool, address| special(address).filter(|_| is_never);
    let never_valid = never(source_is_never_valid(source), source);
    let never_routed = never(destination_is_never_routed(destination), destination);
    let as_destination =
        AddressRole::Destination { sender: None, share_flows: false, copies: false };
    TunnelExplanation {
        service: service.to_owned(),
        point_to_point: routing.point_to_point,
        sender: match from {
            Ok(Some(client)) => TunnelEnd::Client(view(client)),
            Ok(None) => TunnelEnd::Device,
            Err(address) => TunnelEnd::Unregistered { address },
        },
        source: located(scene, source, never_valid, source_rows, AddressRole::Source),
        destination: located(scene, destination, never_routed, destination_rows, as_destination),
        receiver,
        conclusion,
        refused: Vec::new(),
        limits: Vec::new(),
    }
}

/// The client that sends, none for the device; the error is who is not registered.
fn sender(routing: &TunnelRouting, question: &TunnelQuestion) -> Result<Option<ClientId>, String> {
    let TunnelQuestion { sender, source, .. } = *question;
    let clients = &routing.clients;
    match sender {
        Some(TunnelSender::Device) => Ok(None),
        Some(TunnelSender::Outer(outer)) => {
            clients.sender(outer).map(Some).ok_or_else(|| outer.to_string())
        }
        Some(TunnelSender::Address(address)) => {
            clients.owner(address).map(Some).ok_or_else(|| address.to_string())
        }
        None => match place(routing, source) {
            (TunnelPlace::Registered | TunnelPlace::Behind, client, _) => Ok(client),
            (TunnelPlace::Own | TunnelPlace::Elsewhere, ..) => Ok(None),
            (TunnelPlace::BehindUnregistered, _, gateway) => {
                Err(gateway.unwrap_or(source).to_string())
            }
            (TunnelPlace::Unregistered, ..) => Err(source.to_string()),
        },
    }
}

/// Where an address is, the client that has it or its network, and the gateway of that network.
fn place(
    routing: &TunnelRouting,
    address: IpAddr,
) -> (TunnelPlace, Option<ClientId>, Option<IpAddr>) {
    let TunnelRouting { rules, routes, clients, .. } = routing;
    if rules.is_own(address) {
        return (TunnelPlace::Own, None, None);
    }
    if let Some(owner) = clients.owner(address) {
        return (TunnelPlace::Registered, Some(owner), None);
    }
    let gateways = routes.gateways(address);
    let there = gateways.iter().find_map(|gateway| Some((clients.owner(*gateway)?, *gateway)));
    match (there, gateways.first()) {
        (Some((owner, gateway)), _) => (TunnelPlace::Behind, Some(owner), Some(gateway)),
        (None, Some(gateway)) => (TunnelPlace::BehindUnregistered, None, Some(*gateway)),
        (None, None) if rules.check(address).is_ok() => (TunnelPlace::Unregistered, None, None),
        (None, None) => (TunnelPlace::Elsewhere, None, None),
    }
}

fn located(
    scene: &TunnelScene<'_>,
    address: IpAddr,
    special: Option<Special>,
    rows: RowCandidates<'_>,
    role: AddressRole<'_>,
) -> TunnelAddress {
    let (place, client, gateway) = place(scene.routing, address);
    let named = gateway.and_then(|gateway| HostName::new(&gateway.to_string()).ok());
    let answering = gateway.map(|_| 0);
    let (row, passed_over, passed_over_more) = rows.judge(answering, named.as_ref(), role, &[]);
    let wanted = match place {
        TunnelPlace::BehindUnregistered => gateway,
        TunnelPlace::Unregistered => Some(address),
        _ => None,
    };
    TunnelAddress {
        address,
        special,
        place,
        client: client.map(|client| client_view(scene.routing.clients.get(client), scene)),
        row,
        passed_over,
        passed_over_more,
        has_no_user: wanted.is_some_and(|wanted| !(scene.has_user)(wanted)),
    }
}

fn client_view(client: &TunnelClient, scene: &TunnelScene<'_>) -> ClientView {
    let registered = client.addresses.iter().copied().filter(|it| !it.is_unspecified());
    let mut addresses: Vec<IpAddr> = registered.collect();
    addresses.sort_unstable();
    let since = |at| scene.now.saturating_duration_since(at).as_secs();
    let live = scene.is_live.then(|| LiveClient {
        outer: client.outer,
        seconds: since(client.since),
        silent: since(client.seen()),
    });
    ClientView { addresses, live }
}

/// Registers clients as they would be there if all were: one for each of the two addresses of a packet and for each gateway of
/// their networks that may be registered.
pub fn assume_clients(
    routing: &mut TunnelRouting,
    question: &TunnelQuestion,
    has_user: impl Fn(IpAddr) -> bool,
    now: Instant,
) {
    let sender = match question.sender {
        Some(TunnelSender::Address(address)) => Some(address),
        Some(TunnelSender::Device | TunnelSender::Outer(_)) | None => None,
    };
    // In a point-to-point tunnel the last one is the client: the sender, if one is.
    let ends = [Some(question.destination), Some(question.source), sender];
    let mut wanted: Vec<IpAddr> = Vec::new();
    for address in ends.into_iter().flatten() {
        wanted.extend_from_slice(routing.routes.gateways(address));
        wanted.push(address);
    }
    let also = routing.also();
    let TunnelRouting { rules, clients, .. } = routing;
    let may = |rules: &AddressRules, address| rules.check(address).is_ok() && has_user(address);
    for (address, port) in wanted.into_iter().zip(1..=u16::MAX) {
        if may(rules, address) && clients.owner(address).is_none() {
            let outer = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
            // What is refused is not there, and that is what is said.
            let _ = clients.register(outer, std::iter::once(address), also, rules, None, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Because, Origin},
        *,
    };
    use crate::{
        Route,
        udp_tunnel::{ClientLimits, ClientTable, GatewayRoute, GatewayRoutes},
    };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// `192.168.123.1/24` with networks behind `.3`, `.2` and `.9`; `.2` and `.3` are registered unless clients are assumed.
    struct ExplainedServer {
        routing: TunnelRouting,
        rows: Vec<Route>,
        start: Instant,
    }

    impl ExplainedServer {
        fn new(registered: &[(&str, u16)]) -> Self {
            let rows: Vec<Route> = [
                ("10.0.0.0/8", "192.168.123.2"),
                ("10.1.0.0/16", "192.168.123.9"),
                ("10.1.0.0/16", "192.168.123.3"),
                ("10.2.0.0/16", "192.168.123.9"),
            ]
            .map(|(prefix, gateway)| {
                Route::new(prefix.parse().unwrap(), HostName::new(gateway).unwrap())
            })
            .into();
            let routes = rows
                .iter()
                .map(|row| GatewayRoute { prefix: row.prefix, gateway: ip(row.gateway.as_str()) });
            let mut routing = TunnelRouting {
                rules: AddressRules::new(&["192.168.123.1/24".parse().unwrap()], &[]),
                routes: GatewayRoutes::new(routes),
                point_to_point: false,
                clients: ClientTable::new(ClientLimits::default()),
            };
            let start = Instant::now();
            for (address, port) in registered {
                let outer = SocketAddr::from(([10, 77, 0, 1], *port));
                let addresses = std::iter::once(ip(address));
                let TunnelRouting { rules, clients, .. } = &mut routing;
                clients.register(outer, addresses, None, rules, None, start).unwrap();
            }
            Self { routing, rows, start }
        }

        fn explain(&self, is_live: bool, question: &TunnelQuestion) -> TunnelExplanation {
            let TunnelQuestion { source, destination, .. } = *question;
            let listed = self.rows.iter().zip(1..).map(|(route, line)| Listed {
                route,
                origin: Origin::Inline,
                source: "server.yaml",
                line,
            });
            let scene = TunnelScene {
                service: "server",
                routing: &self.routing,
                has_user: &|address| address != ip("192.168.123.9"),
                is_live,
                now: self.start + std::time::Duration::from_secs(7),
            };
            let rows = NetworkRows::containing(source, destination, listed);
            explain_tunnel(&scene, rows, question)
        }
    }

    fn question(from: Option<&str>, source: &str, destination: &str) -> TunnelQuestion {
        let sender = from.map(|from| from.parse().unwrap());
        TunnelQuestion { sender, source: ip(source), destination: ip(destination) }
    }

    #[test]
    fn the_verdict_is_that_of_the_server() {
        let server = ExplainedServer::new(&[("192.168.123.2", 2), ("192.168.123.3", 3)]);
        let dropped = |reason| TunnelConclusion::Dropped { reason };
        let delivered = |to: &str| TunnelConclusion::Delivered { to: to.to_owned() };
        for (from, source, destination, expected) in [
            (None, "192.168.123.2", "192.168.123.3", delivered("10.77.0.1:3")),
            (None, "192.168.123.2", "192.168.123.1", delivered("device")),
            (None, "192.168.123.2", "10.1.0.1", delivered("10.77.0.1:3")),
            (None, "10.3.0.1", "192.168.123.3", delivered("10.77.0.1:3")),
            (None, "192.168.123.1", "10.3.0.1", delivered("10.77.0.1:2")),
            (None, "192.168.123.1", "10.2.0.1", dropped(DatagramDrop::NoRoute)),
            (None, "192.168.123.2", "10.2.0.1", delivered("device")),
            (None, "192.168.123.2", "10.3.0.1", dropped(DatagramDrop::NoRoute)),
            (None, "192.168.123.7", "192.168.123.2", dropped(DatagramDrop::Unregistered)),
            (None, "10.2.0.1", "192.168.123.2", dropped(DatagramDrop::Unregistered)),
            (None, "8.8.8.8", "192.168.123.2", delivered("10.77.0.1:2")),
            (None, "192.168.123.1", "169.254.1.1", dropped(DatagramDrop::Local)),
            (Some("10.77.0.1:3"), "192.168.123.2", "192.168.123.1", dropped(DatagramDrop::Spoofed)),
            (Some("192.168.123.3"), "8.8.8.8", "192.168.123.2", dropped(DatagramDrop::Spoofed)),
            (Some("10.77.0.1:9"), "8.8.8.8", "192.168.123.2", dropped(DatagramDrop::Unregistered)),
            (Some("device"), "192.168.123.2", "192.168.123.3", delivered("10.77.0.1:3")),
        ] {
            let said = server.explain(true, &question(from, source, destination));
            assert_eq!(said.conclusion, expected, "{from:?} {source} {destination}");
        }
    }

    #[test]
    fn each_address_is_found_with_its_row() {
        let server = ExplainedServer::new(&[("192.168.123.2", 2), ("192.168.123.3", 3)]);
        let said = server.explain(true, &question(None, "192.168.123.2", "10.1.0.1"));
        assert_eq!(said.source.place, TunnelPlace::Registered);
        let live = said.source.client.unwrap().live.unwrap();
        assert_eq!((live.outer.port(), live.seconds, live.silent), (2, 7, 7));
        let there = said.destination;
        let row = there.row.unwrap();
        assert_eq!((there.place, row.line), (TunnelPlace::Behind, 3));
        assert_eq!((&*row.gateway, &*row.source), ("192.168.123.3", "server.yaml"));
        let passed: Vec<_> = there.passed_over.iter().map(|it| (it.row.line, it.because)).collect();
        assert_eq!(passed, [(2, Because::Away), (1, Because::ShorterPrefix)]);
        let said = server.explain(true, &question(None, "192.168.123.1", "10.2.0.1"));
        let there = said.destination;
        assert_eq!(there.place, TunnelPlace::BehindUnregistered);
        assert!(there.has_no_user && there.client.is_none() && there.row.unwrap().line == 4);
    }

    #[test]
    fn without_a_running_server_those_that_may_register_are_taken_as_there() {
        let assumed = |point_to_point, asked: &TunnelQuestion| {
            let mut server = ExplainedServer::new(&[]);
            server.routing.point_to_point = point_to_point;
            let has_user = |address| address != ip("192.168.123.9");
            assume_clients(&mut server.routing, asked, has_user, server.start);
            server.explain(false, asked)
        };
        let said = assumed(false, &question(None, "192.168.123.2", "10.1.0.1"));
        assert_eq!(said.conclusion, TunnelConclusion::Delivered { to: "192.168.123.3".into() });
        assert_eq!(said.destination.client.unwrap().live, None);
        let said = assumed(false, &question(None, "192.168.123.2", "192.168.123.9"));
        assert!(said.destination.has_no_user);
        assert_eq!(said.conclusion, TunnelConclusion::Delivered { to: "device".into() });
        let said = assumed(true, &question(None, "192.168.123.1", "8.8.8.8"));
        assert!(matches!(
            said.conclusion,
            TunnelConclusion::Dropped { reason: DatagramDrop::NoRoute }
        ));
        let said = assumed(true, &question(None, "192.168.123.1", "192.168.123.2"));
        assert_eq!(said.conclusion, TunnelConclusion::Delivered { to: "192.168.123.2".into() });
    }
}
