//! Asking name servers of a configuration: by UDP, TCP, TLS or HTTPS, through sockets like those of the connections that are wanted.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hickory_resolver::{
    Resolver,
    config::{
        ConnectionConfig, LookupIpStrategy, NameServerConfig, ProtocolConfig, ResolveHosts,
        ResolverConfig, ResolverOpts,
    },
    net::runtime::{RuntimeProvider, TokioHandle, TokioTime, iocompat::AsyncIoTokioAsStd},
};
use rtun_settings::{
    AddressFamilies, DialTls, DnsProtocol, DnsTls, NameServer, ResolverSettings, SocketOptions,
    Verification,
};
use rtun_tls::Connector;
use socket2::{Protocol, SockRef, Type};
use tokio::{
    net::{TcpSocket, TcpStream, UdpSocket},
    time::timeout,
};

use super::{
    names::{ADDRESSES_MAX, split},
    socket::{bindings, open_towards},
};

/// Names whose answers are kept; past it those that are no longer valid are forgotten, then all.
const CACHE_MAX: usize = 256;

/// The longest that an answer counts, whatever it says.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// The name servers of a resolver, and their answers for as long as these count.
pub struct NameServers {
    resolver: ResolverSettings,
    sockets: SocketOptions,
    answers: Mutex<HashMap<String, CachedAnswer>>,
}

struct CachedAnswer {
    addresses: Vec<SocketAddr>,
    until: Instant,
}

impl NameServers {
    /// The servers of `resolver`, which are asked through sockets like `sockets` says.
    pub fn new(resolver: ResolverSettings, sockets: SocketOptions) -> Self {
        Self { resolver, sockets, answers: Mutex::default() }
    }

    /// Looks `name` up; blocks. Each server is asked once, in order, until one knows an address: it takes as long as all their limits
    /// together at most. What the questions open is closed with the answer.
    pub fn look_up(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        if let Some(answer) = self.answers().get(name).filter(|it| it.until > Instant::now()) {
            return Ok(answer.addresses.clone());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (addresses, lifetime) = runtime.block_on(self.ask(name))?;
        // What a server has not answered in time is not waited for.
        runtime.shutdown_background();
        self.keep(name, &addresses, lifetime.min(LIFETIME_MAX));
        Ok(addresses)
    }

    async fn ask(&self, name: &str) -> io::Result<(Vec<SocketAddr>, Duration)> {
        let mut failures = Vec::new();
        for server in &self.resolver.servers {
            let asked = timeout(server.timeout, self.ask_one(server, name)).await;
            match asked.unwrap_or_else(|_| Err(io::Error::other("no answer"))) {
                Ok(found) => return Ok(found),
                Err(error) => failures.push(format!("{}: {error}", server.addr)),
            }
        }
        Err(io::Error::other(failures.join("; ")))
    }

    async fn ask_one(
        &self,
        server: &NameServer,
        name: &str,
    ) -> io::Result<(Vec<SocketAddr>, Duration)> {
        let (host, port) = split(&server.addr)
            .ok_or_else(|| io::Error::other("the name server's address is malformed"))?;
        let ip = match host.parse::<IpAddr>() {
            Ok(ip) => ip,
            Err(_) => {
                let found = (host, port).to_socket_addrs()?.next();
                found.ok_or_else(|| io::Error::other("the name server has no address"))?.ip()
            }
        };
        let mut connection = ConnectionConfig::new(protocol(&server.protocol));
        connection.port = port;
        let mut connections = vec![connection];
        if server.protocol == DnsProtocol::Udp {
            let mut tcp = ConnectionConfig::tcp();
            tcp.port = port;
            connections.push(tcp);
        }
        let config =
            ResolverConfig::from_name_servers(vec![NameServerConfig::new(ip, true, connections)]);
        let sockets =
            ResolverSockets { options: self.sockets.clone(), handle: TokioHandle::default() };
        let mut builder = Resolver::builder_with_config(config, sockets);
        if let Some(tls) = tls_of(&server.protocol) {
            builder = builder.with_tls_config(tls_config(tls)?);
        }
        *builder.options_mut() = options(server);
        let resolver = builder.build().map_err(io::Error::other)?;
        // A dot at the end: the name is whole, and no search list counts.
        let answer = resolver.lookup_ip(format!("{}.", name.trim_end_matches('.'))).await;
        let answer = answer.map_err(io::Error::other)?;
        let mut addresses: Vec<SocketAddr> =
            answer.iter().map(|ip| SocketAddr::new(ip, 0)).collect();
        if addresses.is_empty() {
            return Err(io::Error::other("the name has no address"));
        }
        addresses.truncate(ADDRESSES_MAX);
        let valid = answer.valid_until().saturating_duration_since(Instant::now());
        Ok((addresses, server.lifetime.unwrap_or(valid)))
    }

    fn keep(&self, name: &str, addresses: &[SocketAddr], lifetime: Duration) {
        let now = Instant::now();
        let mut answers = self.answers();
        if answers.len() >= CACHE_MAX {
            answers.retain(|_, answer| answer.until > now);
        }
        if answers.len() >= CACHE_MAX {
            answers.clear();
        }
        let answer = CachedAnswer { addresses: addresses.to_vec(), until: now + lifetime };
        answers.insert(name.to_owned(), answer);
    }

    /// A poisoned lock still guards whole answers: each change is one call.
    fn answers(&self) -> MutexGuard<'_, HashMap<String, CachedAnswer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn protocol(protocol: &DnsProtocol) -> ProtocolConfig {
    match protocol {
        DnsProtocol::Udp => ProtocolConfig::Udp,
        DnsProtocol::Tcp => ProtocolConfig::Tcp,
        DnsProtocol::Tls(tls) => ProtocolConfig::Tls { server_name: (&*tls.name).into() },
        DnsProtocol::Https { path, tls } => {
            ProtocolConfig::Https { server_name: (&*tls.name).into(), path: (&**path).into() }
        }
    }
}

fn tls_of(protocol: &DnsProtocol) -> Option<&DnsTls> {
    match protocol {
        DnsProtocol::Tls(tls) | DnsProtocol::Https { tls, .. } => Some(tls),
        DnsProtocol::Udp | DnsProtocol::Tcp => None,
    }
}

fn tls_config(tls: &DnsTls) -> io::Result<rustls::ClientConfig> {
    let verification = match tls.verify {
        true => Verification::Full { ca: None },
        false => Verification::Off,
    };
    let settings = DialTls { verification, ..DialTls::default() };
    let connector = Connector::new(&settings, &[]).map_err(io::Error::other)?;
    Ok(connector.library_config())
}

fn options(server: &NameServer) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    // A question or an answer may be lost: there is time for three.
    options.timeout = server.timeout / 3;
    options.attempts = 2;
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = 0;
    options.ip_strategy = match server.families {
        AddressFamilies::Ipv4First => LookupIpStrategy::Ipv4thenIpv6,
        AddressFamilies::Ipv6First => LookupIpStrategy::Ipv6thenIpv4,
        AddressFamilies::Ipv4 => LookupIpStrategy::Ipv4Only,
        AddressFamilies::Ipv6 => LookupIpStrategy::Ipv6Only,
    };
    options
}

/// Opens the sockets of questions.
#[derive(Clone)]
struct ResolverSockets {
    options: SocketOptions,
    handle: TokioHandle,
}

impl RuntimeProvider for ResolverSockets {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = UdpSocket;
    type Tcp = AsyncIoTokioAsStd<TcpStream>;

    fn create_handle(&self) -> TokioHandle {
        self.handle.clone()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        _: Option<SocketAddr>,
        within: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Tcp>>>> {
        let options = self.options.clone();
        Box::pin(async move {
            let socket = opened(&options, server, Type::STREAM, Protocol::TCP)?;
            let socket = TcpSocket::from_std_stream(socket.into());
            socket.set_nodelay(true)?;
            let connected = match within {
                Some(within) => timeout(within, socket.connect(server)).await?,
                None => socket.connect(server).await,
            };
            Ok(AsyncIoTokioAsStd(connected?))
        })
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<UdpSocket>>>> {
        let options = self.options.clone();
        Box::pin(async move {
            let socket = opened(&options, server, Type::DGRAM, Protocol::UDP)?;
            // Where the options bind it to an address the system gives it a port with it.
            if SockRef::from(&socket).local_addr()?.as_socket().is_none_or(|it| it.port() == 0) {
                socket.bind(&local.into())?;
            }
            UdpSocket::from_std(socket.into())
        })
    }
}

/// A socket towards `server`, bound to the first interface that works.
fn opened(
    options: &SocketOptions,
    server: SocketAddr,
    kind: Type,
    protocol: Protocol,
) -> io::Result<socket2::Socket> {
    let mut failure = io::Error::other("no interface has an address of the name server's family");
    for interface in bindings(options, server) {
        match open_towards(server, kind, protocol, options, interface) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
