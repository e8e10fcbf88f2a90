//! What a server decides by: the rules of its configuration and its clients.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use ipnet::IpNet;
use rtun_core::{
    AddressList, Credentials,
    udp_tunnel::{
        AddressRules, ClientId, ClientLimits, ClientTable, DatagramDrop, GatewayRoute,
        GatewayRoutes, NextHop, RegisterRefusal, Registration, TunnelRouting,
    },
};
use rtun_proto::{
    packet::Packet,
    udp_tunnel::{FromClient, Register, encode_reply, looks_like_message},
};
use rtun_settings::{ClientNetwork, Named, UdpServerRules, User};
use rtun_transport::udp::DatagramRun;
use tracing::{info, warn};

use crate::runtime::events::{EventLog, NodeEventKind};

use super::{
    super::{
        access::{admissions, admits},
        gather::DatagramDestination,
        limits::{LimitedPath, TunnelLimits},
        service::say_of_client,
    },
    refusals::RegisterRefusals,
};

/// Everything behind the server's lock.
pub(super) struct ServerDecisions {
    pub(super) routing: TunnelRouting,
    pub(super) refusals: RegisterRefusals,
    /// What the rest is compiled from.
    pub(super) rules: Arc<UdpServerRules>,
    authers: Option<Vec<Credentials>>,
    admissions: Vec<AddressList>,
}

/// What has happened that is to be said.
pub(super) enum ServerNotice {
    Registered { client: SocketAddr, addresses: Vec<IpAddr>, registration: Registration },
    Refused { client: SocketAddr, refusal: RegisterRefusal, since_last: u64 },
}

/// What one datagram of a client leads to.
pub(super) enum DatagramOutcome {
    /// Its packet, of this many bytes, goes to the device.
    Device(usize),
    /// Its packet, of this many bytes, goes to a client.
    Client(DatagramDestination, usize),
    /// Its packet, of this many bytes, has to wait for a limit.
    Waits(usize),
    /// It is a register, and this is the answer.
    Reply([u8; rtun_proto::udp_tunnel::REPLY]),
}

/// The last packet that was judged: those of one flow mostly follow on each other.
#[derive(Clone, Copy)]
pub(super) struct JudgedFlow {
    ends: (IpAddr, IpAddr),
    outcome: Result<NextHop, DatagramDrop>,
}

impl ServerDecisions {
    pub(super) fn new(own: &[IpNet], rules: UdpServerRules) -> Self {
        let clients = ClientTable::new(ClientLimits::default());
        Self {
            routing: TunnelRouting {
                rules: AddressRules::new(own, &rules.allowed),
                routes: routes(&rules),
                point_to_point: rules.point_to_point,
                clients,
            },
            refusals: RegisterRefusals::default(),
            authers: users(&rules),
            admissions: admissions(&rules.admissions),
            rules: Arc::new(rules),
        }
    }

    /// Goes by other rules, whose users are `users`; whose registration these do not allow are forgotten and named.
    pub(super) fn replace(
        &mut self,
        own: &[IpNet],
        rules: UdpServerRules,
        users: Option<Vec<Credentials>>,
    ) -> Vec<SocketAddr> {
        self.routing.rules = AddressRules::new(own, &rules.allowed);
        self.routing.routes = routes(&rules);
        self.authers = users;
        self.admissions = admissions(&rules.admissions);
        self.rules = Arc::new(rules);
        let Self { routing, authers, admissions, .. } = self;
        let TunnelRouting { rules, clients, .. } = routing;
        clients.keep_only(|client| {
            let holds = |address: &IpAddr| {
                address.is_unspecified()
                    || rules.check(*address).is_ok()
                        && proves(authers.as_deref(), *address, client.passphrase.as_bytes())
            };
            admits(admissions, client.outer.ip()) && client.addresses.iter().all(holds)
        })
    }

    /// Where a packet of the device goes; counts it for its receiver.
    pub(super) fn of_device(
        &mut self,
        packet: &[u8],
        packets: u64,
    ) -> Result<DatagramDestination, DatagramDrop> {
        if looks_like_message(packet) {
            return Err(DatagramDrop::Malformed);
        }
        let ip = Packet::parse(packet).map_err(|_| DatagramDrop::Malformed)?;
        match self.routing.target(None, ip.destination())? {
            NextHop::Client(id) => {
                let client = self.routing.clients.get_mut(id);
                client.sent.add(packets, packet.len() as u64);
                Ok(DatagramDestination { to: client.outer, local: client.local })
            }
            NextHop::Device => Err(DatagramDrop::NoRoute),
        }
    }

    /// What becomes of a datagram of `run`, whose sender is `sender` if it is registered. `last` is for the run's next one.
    #[allow(clippy::too_many_arguments, reason = "what a datagram is judged by")]
    pub(super) fn of_client(
        &mut self,
        run: &DatagramRun,
        sender: &mut Option<ClientId>,
        last: &mut Option<JudgedFlow>,
        datagram: &[u8],
        limits: &TunnelLimits,
        now: Instant,
        say: &mut Vec<ServerNotice>,
    ) -> Result<DatagramOutcome, DatagramDrop> {
        match FromClient::decode(datagram) {
            Ok(FromClient::Packet(packet)) => {
                let Some(client) = *sender else { return Err(DatagramDrop::Unregistered) };
                if limits.is_over_quota() {
                    self.count_drop(client, DatagramDrop::QuotaExceeded);
                    return Err(DatagramDrop::QuotaExceeded);
                }
                if limits.holds(LimitedPath::In, run.from) {
                    return Ok(DatagramOutcome::Waits(packet.len()));
                }
                self.of_packet(client, &packet, last, now)
            }
            Ok(FromClient::Register(register)) => {
                let reply = self.register(run, register, now, say);
                // Everybody's place may be another one now.
                (*sender, *last) = (self.routing.clients.sender(run.from), None);
                reply.map(DatagramOutcome::Reply)
            }
            Err(error) => {
                if let Some(client) = *sender {
                    self.count_drop(client, error.into());
                }
                Err(error.into())
            }
        }
    }

    /// What becomes of a packet that has waited for a limit of its sender.
    pub(super) fn of_waited(
        &mut self,
        from: SocketAddr,
        packet: &[u8],
        last: &mut Option<JudgedFlow>,
        now: Instant,
    ) -> Result<DatagramOutcome, DatagramDrop> {
        let client = self.routing.clients.sender(from).ok_or(DatagramDrop::Unregistered)?;
        let packet = Packet::parse(packet).map_err(|_| DatagramDrop::Malformed)?;
        self.of_packet(client, &packet, last, now)
    }

    /// The way to a client that is still registered from there.
    pub(super) fn towards(&self, client: SocketAddr) -> Option<DatagramDestination> {
        let client = self.routing.clients.get(self.routing.clients.sender(client)?);
        Some(DatagramDestination { to: client.outer, local: client.local })
    }

    fn of_packet(
        &mut self,
        sender: ClientId,
        packet: &Packet<'_>,
        last: &mut Option<JudgedFlow>,
        now: Instant,
    ) -> Result<DatagramOutcome, DatagramDrop> {
        let ends = (packet.source(), packet.destination());
        let routing = &mut self.routing;
        let client = routing.clients.get_mut(sender);
        client.received.add(1, packet.len() as u64);
        client.data = now;
        let outcome = match last {
            Some(last) if last.ends == ends => last.outcome,
            _ => {
                let outcome = routing
                    .check_source(sender, ends.0)
                    .and_then(|()| routing.target(Some(sender), ends.1));
                *last = Some(JudgedFlow { ends, outcome });
                outcome
            }
        };
        match outcome {
            Ok(NextHop::Device) => Ok(DatagramOutcome::Device(packet.len())),
            Ok(NextHop::Client(to)) => {
                let client = routing.clients.get_mut(to);
                client.sent.add(1, packet.len() as u64);
                let destination = DatagramDestination { to: client.outer, local: client.local };
                Ok(DatagramOutcome::Client(destination, packet.len()))
            }
            Err(reason) => {
                self.count_drop(sender, reason);
                Err(reason)
            }
        }
    }

    fn register(
        &mut self,
        run: &DatagramRun,
        register: Register<'_>,
        now: Instant,
        say: &mut Vec<ServerNotice>,
    ) -> Result<[u8; rtun_proto::udp_tunnel::REPLY], DatagramDrop> {
        let Self { routing, authers, admissions, refusals, .. } = self;
        let also = routing.also();
        let TunnelRouting { rules, clients, .. } = routing;
        let mut prove = |address| proves(authers.as_deref(), address, register.passphrase());
        let prove: Option<&mut dyn FnMut(IpAddr) -> bool> =
            if authers.is_some() { Some(&mut prove) } else { None };
        let registered = if admits(admissions, run.from.ip()) {
            clients.register(run.from, register.addresses(), also, rules, prove, now)
        } else {
            Err(DatagramDrop::Auth.into())
        };
        match registered {
            Ok(registration) => {
                if let Some(id) = clients.sender(run.from) {
                    let client = clients.get_mut(id);
                    client.local = run.to;
                    client.passphrase = register.presented();
                }
                if registration.is_new || !registration.moved.is_empty() {
                    let addresses = register.addresses().collect();
                    say.push(ServerNotice::Registered {
                        client: run.from,
                        addresses,
                        registration,
                    });
                }
                Ok(encode_reply(run.from.ip()))
            }
            Err(refusal) => {
                if let Some(id) = clients.sender(run.from) {
                    clients.get_mut(id).drops[refusal.reason.index()] += 1;
                }
                if let Some(since_last) = refusals.note(run.from, refusal, now) {
                    say.push(ServerNotice::Refused { client: run.from, refusal, since_last });
                }
                Err(refusal.reason)
            }
        }
    }

    fn count_drop(&mut self, client: ClientId, reason: DatagramDrop) {
        self.routing.clients.get_mut(client).drops[reason.index()] += 1;
    }
}

fn proves(authers: Option<&[Credentials]>, address: IpAddr, passphrase: &[u8]) -> bool {
    let user = address.to_string();
    let knows = |it: &Credentials| it.prove(user.as_bytes(), passphrase).is_some();
    authers.is_none_or(|authers| authers.iter().any(knows))
}

/// The users of rules that have all of them.
pub(super) fn users(rules: &UdpServerRules) -> Option<Vec<Credentials>> {
    let credentials = |auther: &Named<User>| {
        let mut credentials = Credentials::new();
        for user in auther.inline() {
            // However an address is spelt, it is one.
            let address = user.name.parse::<IpAddr>().map(|address| address.to_canonical());
            let name = address.map_or_else(|_| user.name.clone(), |address| address.to_string());
            credentials.insert(&name, user.password.expose(), None);
        }
        credentials
    };
    Some(rules.authers.as_ref()?.iter().map(credentials).collect())
}

fn routes(rules: &UdpServerRules) -> GatewayRoutes {
    GatewayRoutes::new(rules.client_networks().map(|row| {
        let ClientNetwork { prefix, gateway } = row.value;
        GatewayRoute { prefix, gateway }
    }))
}

impl ServerNotice {
    /// Writes it to the log, and to the events who has come and gone.
    pub(super) fn say(self, service: &str, events: &EventLog) {
        match self {
            Self::Registered { client, addresses, registration } => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                let addresses = addresses.join(" ");
                for (address, former) in &registration.moved {
                    info!(service, client = %client, former = %former, "{address} has moved to another client");
                    let text = format!("{address} has moved to {client}");
                    say_of_client(events, service, NodeEventKind::HostLeft, *former, &text);
                }
                for gone in &registration.evicted {
                    let text = "it made room for another client";
                    say_of_client(events, service, NodeEventKind::HostLeft, *gone, text);
                    warn!(
                        service,
                        client = %gone,
                        "the client that has been silent for longest makes room: as many addresses are registered as may be"
                    );
                }
                if registration.is_new {
                    let text = format!("registered {addresses}");
                    say_of_client(events, service, NodeEventKind::HostJoined, client, &text);
                    info!(service, client = %client, addresses, "a client has registered");
                }
            }
            Self::Refused { client, refusal, since_last } => {
                let reason = refusal.reason.as_str();
                let RegisterRefusal { address, incumbent, .. } = refusal;
                let address = address.map(|address| address.to_string());
                let incumbent = incumbent.map(|incumbent| incumbent.to_string());
                warn!(
                    service,
                    client = %client,
                    reason,
                    address,
                    incumbent,
                    since_last,
                    "a client may not register; it is not answered"
                );
            }
        }
    }
}
