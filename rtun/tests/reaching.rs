//! How a host finds its hub and reaches it: addresses with zones, name servers that are silent, ways that lose large packets.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use common::{
    HUB, Rtun, THREE_HOSTS, World, at,
    dns::{self, HTTPS, TCP, TLS, UDP, answer},
    pings,
    programs::Certificate,
    reaches, route_plugin, wait_until,
};
use rtun_lab::{Direction, NetNamespace, Wan, tools};

const SERVICE: &str = "tun:///host-1?net=192.168.123.1/24";

/// Waits for a line of the log that has all of these texts in it.
fn wait_for_text(rtun: &Rtun, texts: &[&str]) {
    let has = |line: &str| texts.iter().all(|text| line.contains(text));
    let start = Instant::now();
    while !rtun.log().replace("\\\"", "\"").lines().any(has) {
        assert!(start.elapsed() < common::SOON, "no {texts:?} in:\n{}", rtun.log());
        thread::sleep(Duration::from_millis(20));
    }
}

/// A proxy for CONNECT on port 3128 of all addresses of a machine, for as long as the process lives. It tells the first line
/// of each request.
fn connect_proxy(machine: &NetNamespace) -> mpsc::Receiver<String> {
    let (tell, targets) = mpsc::channel();
    let listener = machine.run(|| TcpListener::bind("[::]:3128")).unwrap().unwrap();
    let pass = move |mut client: TcpStream| -> io::Result<()> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte)? == 1 {
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let line = head.lines().next().unwrap_or_default().to_owned();
        let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let _ = tell.send(line);
        let (host, port) = target.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
        let port: u16 = port.parse().map_err(io::Error::other)?;
        let found: Vec<_> = (host.trim_matches(['[', ']']), port).to_socket_addrs()?.collect();
        let hub = TcpStream::connect(found.as_slice())?;
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        let (mut from, mut to) = (hub.try_clone()?, client.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
        let _ = io::copy(&mut client, &mut &hub);
        hub.shutdown(std::net::Shutdown::Both)
    };
    machine
        .thread(move || {
            for client in listener.incoming().flatten() {
                let _ = pass(client);
            }
        })
        .unwrap();
    targets
}

#[test]
fn a_link_local_hub_is_reached_by_its_zone() {
    let Some(world) = World::new() else { return };
    world.hub.addr_add("eth0", "fe80::1/64").unwrap();
    let (one, two) = (world.machine("one"), world.machine("two"));
    two.addr_add("eth0", "fe80::2/64").unwrap();
    let questions = route_plugin(&two, "[::]:8000", |_, _| {
        r#"{"net": "0.0.0.0/0", "gateway": "host-2"}"#.into()
    });
    // The hub's own addresses, its plugin's and that of its metrics.
    let hub = world.hub(
        "
services:
- name: service-0
  addr: '[fe80::1%eth0]:8443'
  handler: {type: router, metadata: {router: router-0}}
  listener: {type: tcp}
  listeners:
  - {type: quic, addr: '[fe80::1%eth0]:8444'}
routers:
- name: router-0
  plugin: {type: http, addr: 'http://[fe80::2%25eth0]:8000'}
metrics:
  addr: '[fe80::1%eth0]:9000'
",
    );
    let number = one.run(|| nix::net::if_::if_nametoindex("eth0")).unwrap().unwrap();
    for node in [
        "router://[fe80::1%25eth0]:8443".to_owned(),
        format!("router://[fe80::1%{number}]:8443"),
        "router+quic://[fe80::1%eth0]:8444".to_owned(),
    ] {
        let host = world.start(&one, &["-L", SERVICE, "-F", &node]);
        host.wait_for("joined the hub");
        host.stop();
    }
    // The proxy's address has a zone, and the hub's one that is the proxy's.
    let asked = connect_proxy(&two);
    let (proxy, node) = ("http://[fe80::2%25eth0]:3128", "router://[fe80::1%25eth0]:8443");
    let host = world.start(&one, &["-L", SERVICE, "-F", proxy, "-F", node]);
    host.wait_for("joined the hub");
    assert_eq!(asked.recv().unwrap(), "CONNECT [fe80::1%eth0]:8443 HTTP/1.1");
    // The source check asks the plugin.
    let _ = pings(&one, "192.168.123.9");
    wait_until("a question to the plugin", || questions.load(Ordering::SeqCst) > 0);
    host.stop();
    let metrics = two.run(|| {
        let addr = ("fe80::1%eth0", 9000).to_socket_addrs()?.next().unwrap();
        let mut stream = TcpStream::connect(addr)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    });
    let metrics = metrics.unwrap().unwrap();
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("gost_"), "{metrics}");
    // Names that lead nowhere are reported.
    let lost = world.start(&one, &["-L", SERVICE, "-F", "router://[fe80::1%25none0]:8443"]);
    wait_for_text(&lost, &["this machine has no interface \"none0\""]);
    lost.stop();
    let bare = world.start(&one, &["-L", SERVICE, "-F", "router://[fe80::1]:8443"]);
    wait_for_text(&bare, &["a link-local address needs its interface"]);
    bare.stop();
    hub.stop();
}

/// A name server that knows `hub.test`, on port 53 of an address, for as long as the process lives; it is silent while the
/// flag is set.
fn name_server(machine: &NetNamespace, address: SocketAddr) -> Arc<AtomicBool> {
    let silent = Arc::new(AtomicBool::new(false));
    let is_silent = Arc::clone(&silent);
    let socket = machine.run(|| UdpSocket::bind(address)).unwrap().unwrap();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            if is_silent.load(Ordering::SeqCst) {
                continue;
            }
            let Some(answer) = answer(&query[..length]) else { continue };
            let _ = socket.send_to(&answer, from);
        }
    });
    silent
}

#[test]
fn a_silent_name_server_costs_its_time_once() {
    let Some(world) = World::new() else { return };
    let (machine, names) = (world.machine("host-1"), world.machine("names"));
    names.addr_add("eth0", "10.0.0.53/16").unwrap();
    let silent = name_server(&names, at("10.0.0.53", 53));
    // The first server is there and never answers.
    machine.name_servers(&["10.0.0.54", "10.0.0.53"]);
    names.addr_add("eth0", "10.0.0.54/16").unwrap();
    let _never_read = names.run(|| UdpSocket::bind("10.0.0.54:53")).unwrap().unwrap();

    let hub = world.hub(THREE_HOSTS);
    let impatient = format!("{SERVICE}&dialTimeout=1s");
    let start = Instant::now();
    let host = world.start(&machine, &["-L", &impatient, "-F", "router://hub.test:8443"]);
    host.wait_for("joined the hub");
    // glibc asks the second server after 5 s.
    assert!(start.elapsed() >= Duration::from_secs(4), "{:?}", start.elapsed());
    let stage = "cannot find hub.test: no answer from the name servers within 1 s";
    assert!(host.log().contains(stage), "{}", host.log());

    // From now on none answers, and the hub goes and comes back.
    silent.store(true, Ordering::SeqCst);
    hub.stop();
    wait_for_text(&host, &["10.0.0.1:8443: Connection refused", "known from before", "hub.test"]);
    let start = Instant::now();
    let _hub = world.hub(THREE_HOSTS);
    host.wait_for_nth("joined the hub", 2);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    host.stop();
    // So it is for a host that starts anew.
    let start = Instant::now();
    let host = world.start(&machine, &["-L", SERVICE, "-F", "router://hub.test:8443"]);
    host.wait_for("joined the hub");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    host.stop();
}

#[test]
fn names_are_looked_up_at_the_name_servers_of_the_configuration() {
    let Some(world) = World::new() else { return };
    let (machine, names) = (world.machine("host-1"), world.machine("names"));
    names.addr_add("eth0", "10.0.0.53/16").unwrap();
    let certificate = Certificate::new(&world, "dns.test");
    let server = dns::start(&names, "10.0.0.53", &certificate);
    let hub = world.hub(THREE_HOSTS);
    let node = |resolver: &str| format!("router://hub.test:8443?resolver={resolver}");
    for resolver in [
        format!("10.0.0.53:{UDP}"),
        format!("tcp://10.0.0.53:{TCP}"),
        format!("tls://10.0.0.53:{TLS}"),
        format!("https://10.0.0.53:{HTTPS}/dns-query"),
        // The first does not know, or is not there.
        format!("10.0.0.53:5399,10.0.0.53:{UDP}"),
    ] {
        let before = server.questions.load(Ordering::SeqCst);
        let host = world.start(&machine, &["-L", SERVICE, "-F", &node(&resolver)]);
        host.wait_for("joined the hub");
        assert!(server.questions.load(Ordering::SeqCst) > before, "{resolver}");
        host.stop();
        fs::remove_dir_all(world.path("state")).unwrap();
    }
    // One that cannot show that it is the server of this name is not trusted.
    let file = format!(
        "
services:
- name: host
  handler: {{type: tun, chain: hub}}
  listener: {{type: tun, metadata: {{net: 192.168.123.1/24}}}}
  forwarder: {{nodes: [{{addr: host-1}}]}}
chains:
- name: hub
  hops:
  - resolver: encrypted
    nodes: [{{addr: 'hub.test:8443', connector: {{type: router}}}}]
resolvers:
- name: encrypted
  nameservers: [{{addr: 'tls://10.0.0.53:{TLS}', hostname: dns.test}}]
"
    );
    let host = world.host(&machine, &file);
    wait_for_text(&host, &["cannot find hub.test: ", &format!("10.0.0.53:{TLS}: ")]);
    assert_eq!(host.said("joined the hub").len(), 0, "{}", host.log());
    host.stop();
    // A name server that is silent later costs nothing: the last address is used.
    let host = world.start(&machine, &["-L", SERVICE, "-F", &node(&format!("10.0.0.53:{UDP}"))]);
    host.wait_for("joined the hub");
    server.silent.store(true, Ordering::SeqCst);
    hub.stop();
    wait_for_text(&host, &["10.0.0.1:8443: Connection refused"]);
    let _hub = world.hub(THREE_HOSTS);
    host.wait_for_nth("joined the hub", 2);
    host.stop();
}

#[test]
fn a_table_of_names_is_followed_as_it_changes() {
    let Some(world) = World::new() else { return };
    let machine = world.machine("host-1");
    let hub = world.hub(THREE_HOSTS);
    // The first of two addresses is nobody's.
    let table = world.file("hosts", "10.0.0.77 hub.example\n10.0.0.1 other.example\n");
    let file = |addr: &str, before: &str| {
        format!(
            "
services:
- name: host
  handler: {{type: tun, chain: hub}}
  listener: {{type: tun, metadata: {{net: 192.168.123.1/24}}}}
  forwarder: {{nodes: [{{addr: host-1}}]}}
  metadata: {{dialTimeout: 1s}}
chains:
- name: hub
  hops:{before}
  - nodes: [{{addr: '{addr}:8443', hosts: names, connector: {{type: router}}}}]
hosts:
- name: names
  mappings: [{{hostname: .inline.example, ip: 10.0.0.1}}]
  file: {{path: '{}'}}
",
            table.display()
        )
    };
    let host = world.host(&machine, &file("a.inline.example", ""));
    host.wait_for("joined the hub");
    host.stop();
    let host = world.host(&machine, &file("hub.example", ""));
    wait_for_text(&host, &["hub.example:8443", "10.0.0.77"]);
    fs::write(&table, "10.0.0.78 hub.example\n10.0.0.1 hub.example\n").unwrap();
    host.wait_for("joined the hub");
    host.stop();
    // A proxy is asked for the address.
    let proxy = world.machine("proxy");
    let asked = connect_proxy(&proxy);
    let before = format!(
        "\n  - nodes: [{{addr: '{}:3128', connector: {{type: http}}}}]",
        common::programs::address(&proxy)
    );
    fs::write(&table, "10.0.0.1 hub.example\n").unwrap();
    let host = world.host(&machine, &file("hub.example", &before));
    host.wait_for("joined the hub");
    assert_eq!(asked.recv().unwrap(), "CONNECT 10.0.0.1:8443 HTTP/1.1");
    host.stop();
    hub.stop();
}

#[test]
fn a_failure_names_its_stage_and_each_address() {
    let Some(world) = World::new() else { return };
    let machine = world.machine("host-1");
    machine.hosts([("two.test", HUB), ("two.test", "fd77::1")]);
    // One that accepts and says nothing.
    let silent = world.hub.run(|| TcpListener::bind((HUB, 7000))).unwrap().unwrap();
    let failing = |node: &str, texts: &[&str]| {
        let service = format!("{SERVICE}&dialTimeout=1s");
        let host = world.start(&machine, &["-L", &service, "-F", node]);
        wait_for_text(&host, texts);
        host.stop();
    };
    failing("router://nowhere.invalid:1", &["cannot find nowhere.invalid: "]);
    failing(
        "router://two.test:7001",
        &[
            "cannot connect to two.test:7001: ",
            "10.0.0.1:7001: Connection refused",
            "[fd77::1]:7001: Connection refused",
        ],
    );
    // Nobody has this address, and nobody says so in time.
    world.hub.route_add_device("10.66.0.0/16", "lo").unwrap();
    machine.route_add("10.66.0.0/16", HUB).unwrap();
    failing("router://10.66.0.1:7001", &["10.66.0.1:7001 within 1 s: 10.66.0.1:7001: no answer"]);
    let slow = "no answer within 1 s, connected to 10.0.0.1:7000";
    failing("router+tls://10.0.0.1:7000", &[&format!("TLS with 10.0.0.1:7000: {slow}")]);
    failing("router+ws://10.0.0.1:7000", &[&format!("WebSocket with 10.0.0.1:7000: {slow}")]);
    failing("router+h2c://10.0.0.1:7000", &[&format!("HTTP/2 with 10.0.0.1:7000: {slow}")]);
    drop(silent);
}

/// A network with a way on which packets of more than 1,280 bytes vanish.
struct Narrow {
    world: World,
    _hub: Rtun,
    host_2: Rtun,
    near: NetNamespace,
    far: NetNamespace,
    way: Wan,
    /// The hub's address on that way.
    hub_ip: String,
}

impl Narrow {
    /// host-1 is at its end, host-2 on the switch.
    fn new() -> Option<Self> {
        let world = World::new()?;
        let (far, way, hub_ip) = world.far("host-1", Duration::from_millis(5));
        for direction in [UP, DOWN] {
            way.change(direction, |impairment| impairment.longest = Some(1280));
        }
        let near = world.machine("host-2");
        // A chain that is longer than a packet.
        let certificate = Certificate::new(&world, "hub.test");
        let chain = [&certificate.file, &certificate.authority]
            .map(|file| fs::read_to_string(file).unwrap())
            .concat();
        let chain = world.file("chain.pem", &[chain.as_str(); 3].concat());
        let files = format!(
            "{{certFile: '{}', keyFile: '{}'}}",
            chain.display(),
            certificate.key.display()
        );
        let more = format!(
            "\n  listeners:\n  - {{type: quic, addr: ':8444'}}\n  - {{type: tls, addr: ':8445', tls: {files}}}\nrouters:"
        );
        let hub = world.hub(&THREE_HOSTS.replace("\nrouters:", &more));
        let host_2 = world.join(&near, 2);
        host_2.wait_for("joined the hub");
        Some(Self { world, _hub: hub, host_2, near, far, way, hub_ip })
    }

    /// Starts host-1, which reaches the hub by this scheme, at this port with these parameters.
    fn join(&self, scheme: &str, port: &str) -> Rtun {
        let node = format!("{scheme}://{}:{port}", self.hub_ip);
        let host = self.world.start(&self.far, &["-L", SERVICE, "-F", &node]);
        host.wait_for("joined the hub");
        reaches(&self.far, "192.168.123.2");
        host
    }

    /// Bytes arrive from one to the other, however long it takes.
    fn carries(&self, upwards: bool, port: u16) -> Duration {
        let start = Instant::now();
        let (from, to, address) = match upwards {
            true => (&self.far, &self.near, "192.168.123.2"),
            false => (&self.near, &self.far, "192.168.123.1"),
        };
        tools::tcp_hash_transfer(from, to, at(address, port), 300_000).unwrap();
        start.elapsed()
    }

    fn stop(self, host: Rtun) {
        for direction in [UP, DOWN] {
            assert_eq!(self.way.counters(direction).failed, 0);
        }
        host.stop();
        self.host_2.stop();
    }
}

const UP: Direction = Direction::BToA;
const DOWN: Direction = Direction::AToB;

const LOST: &str = "are lost in silence on the path to the hub";

#[test]
fn a_way_that_loses_large_packets_up_is_used_with_small_ones() {
    let Some(site) = Narrow::new() else { return };
    let host = site.join("router", "8443");
    let took = site.carries(true, 5001);
    wait_for_text(&host, &[LOST, "at most 1220"]);
    assert!(took < Duration::from_secs(20), "{took:?}: {}", host.log());
    assert!(site.way.counters(UP).too_long > 0);
    // It stays.
    let (joined, too_long) = (host.said("joined the hub").len(), site.way.counters(UP).too_long);
    for port in 5002..5005 {
        let took = site.carries(true, port).max(site.carries(false, port));
        assert!(took < Duration::from_secs(5), "{took:?}: {}", host.log());
    }
    assert_eq!(host.said("joined the hub").len(), joined, "{}", host.log());
    assert_eq!(site.way.counters(UP).too_long, too_long);
    site.stop(host);
}

#[test]
fn a_way_that_loses_large_packets_down_is_used_with_small_ones() {
    let Some(site) = Narrow::new() else { return };
    let host = site.join("router", "8443");
    // The host hears the hub's system and nothing of what it sends; it takes two such connections to be sure, unless
    // something behind what is missing arrives.
    let start = Instant::now();
    for port in 6001.. {
        let address = at("192.168.123.1", port);
        if tools::tcp_hash_transfer(&site.near, &site.far, address, 300_000).is_ok() {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{}", host.log());
    }
    wait_for_text(&host, &[LOST, "at most 1220"]);
    let joined = host.said("joined the hub").len();
    let took = site.carries(false, 5002);
    assert!(took < Duration::from_secs(5), "{took:?}: {}", host.log());
    assert_eq!(host.said("joined the hub").len(), joined, "{}", host.log());
    site.stop(host);
}

#[test]
fn a_handshake_with_large_packets_gets_through_too() {
    let Some(site) = Narrow::new() else { return };
    let start = Instant::now();
    let host = site.join("router+tls", "8445");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}: {}", start.elapsed(), host.log());
    wait_for_text(&host, &["are lost in silence on the path to"]);
    let took = site.carries(true, 5001).max(site.carries(false, 5002));
    assert!(took < Duration::from_secs(5), "{took:?}: {}", host.log());
    site.stop(host);
}

#[test]
fn a_configured_segment_size_or_quic_needs_no_finding_out() {
    let Some(site) = Narrow::new() else { return };
    for (scheme, at, port) in [("router", "8443?mss=1200", 5001), ("router+quic", "8444", 5002)] {
        let host = site.join(scheme, at);
        let took = site.carries(true, port).max(site.carries(false, port));
        assert!(took < Duration::from_secs(5), "{scheme}: {took:?}: {}", host.log());
        assert_eq!(host.said("joined the hub").len(), 1, "{}", host.log());
        host.stop();
    }
    site.host_2.stop();
}
