//! A host as a guest on its machine: nothing of anybody's is lost, what is taken away from it comes back, and its own
//! packets never enter the tunnel.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use common::{HUB, Rtun, SOON, World, pings, programs, reaches, wait_until};
use nix::sys::signal::Signal;
use rtun_lab::{NetNamespace, Process};
use serde_json::Value;

/// Over TCP and over QUIC, for two hosts.
const HUB_CONFIG: &str = "
services:
- name: service-0
  addr: :8443
  handler: {type: router, metadata: {router: router-0, sourceCheck: 'off'}}
  listener: {type: tcp}
  listeners: [{type: quic, addr: ':8444'}]
routers:
- name: router-0
  routes:
  - {dst: 192.168.123.1, gateway: host-1}
  - {dst: 192.168.123.2, gateway: host-2}
  - {dst: 203.0.113.0/24, gateway: host-2}
  - {dst: 'fd99::1/128', gateway: host-1}
  - {dst: 'fd99::2/128', gateway: host-2}
  - {dst: '2001:db8::/32', gateway: host-2}
";

/// Somebody else must have put it back by then.
const PUT_BACK_WITHIN: Duration = Duration::from_secs(2);

/// Runs `ip` on a machine.
fn try_ip(machine: &NetNamespace, arguments: &str) -> Result<String, String> {
    let words: Vec<&str> = arguments.split(' ').collect();
    let output = machine.run(|| Command::new("ip").args(&words).output()).unwrap().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn ip(machine: &NetNamespace, arguments: &str) -> String {
    try_ip(machine, arguments).unwrap_or_else(|error| panic!("ip {arguments}: {error}"))
}

/// All that somebody can see of a machine's devices, addresses, routes and rules, once it is at rest. Multicast is left
/// out: the system gives it a route on each device that any program has ever held.
fn everything(machine: &NetNamespace) -> String {
    wait_until("addresses that are in use", || !ip(machine, "address").contains("tentative"));
    let commands =
        ["address", "route show table all", "-6 route show table all", "rule", "-6 rule"];
    let text = commands.map(|command| ip(machine, command)).join("\n");
    text.lines()
        .filter(|line| !line.starts_with("multicast ff00::/8 "))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Waits until a machine is as it was: the system says some things a little later, as that no program holds a device.
fn is_again(machine: &NetNamespace, before: &str) {
    let start = Instant::now();
    loop {
        let now = everything(machine);
        if now == before {
            return;
        }
        let is_news = |line: &&str| !before.lines().any(|it| it == *line);
        let is_lost = |line: &&str| !now.lines().any(|it| it == *line);
        let news: Vec<&str> = now.lines().filter(is_news).collect();
        let lost: Vec<&str> = before.lines().filter(is_lost).collect();
        assert!(start.elapsed() < SOON, "new: {news:#?}, lost: {lost:#?}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn goes_through(machine: &NetNamespace, to: &str, device: &str) {
    let route = ip(machine, &format!("route get {to}"));
    assert!(route.contains(&format!("dev {device} ")), "{route}");
}

/// What a host says of its device.
fn health(host: &Rtun) -> Value {
    device(host)["health"].take()
}

fn device(host: &Rtun) -> Value {
    let socket: PathBuf = host.wait_for("control socket is open")["path"].as_str().unwrap().into();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rtun"));
    command.args(["status", "--json", "--socket"]).arg(&socket);
    let output = command.output().unwrap();
    let mut all: Value = serde_json::from_slice(&output.stdout).unwrap();
    all[0]["services"][0].take()
}

/// A hub on the switch with host-2 that has joined, and a machine behind a router.
///
/// ```text
///   machine (192.168.100.2, fd88::2) --- router --- switch --- hub (10.0.0.1, fd77::1), host-2
/// ```
struct Site {
    world: World,
    hub: Rtun,
    machine: NetNamespace,
    host_2: Rtun,
    outside: NetNamespace,
}

impl Site {
    fn new() -> Option<Self> {
        let world = World::new()?;
        let hub = world.hub(HUB_CONFIG);
        let (router, outside) = (world.machine("router"), world.machine("host-2"));
        let machine = world.behind(&router, "192.168.100");
        let cable = ip(&router, "-o link").lines().find_map(|line| {
            let name = line.split(' ').nth(1)?.split('@').next()?;
            name.starts_with("lan").then(|| name.to_owned())
        });
        router.addr_add(&cable.unwrap(), "fd88::1/64").unwrap();
        machine.addr_add("eth0", "fd88::2/64").unwrap();
        machine.route_add("::/0", "fd88::1").unwrap();
        for server in [&world.hub, &outside] {
            let gateway = programs::address(&router).to_string();
            server.route_add("192.168.100.0/24", &gateway).unwrap();
            let v6 = ip(&router, "-6 -o address show dev eth0 scope global");
            let v6 = v6.split_whitespace().find_map(|word| word.strip_suffix("/64")).unwrap();
            server.route_add("fd88::/64", v6).unwrap();
        }
        wait_until("the hub to be reachable", || {
            pings(&machine, HUB) && pings(&machine, "fd77::1")
        });
        machine.hosts([("hub.test", HUB)]);
        let service =
            "tun:///host-2?net=192.168.123.2/24,fd99::2/64,203.0.113.9/32,2001:db8::9/128";
        let host_2 = world.start(&outside, &["-L", service, "-F", "router://server_ip:8443"]);
        host_2.wait_for("joined the hub");
        Some(Self { world, hub, machine, host_2, outside })
    }

    fn start(&self, routes: &str, chain: &[&str]) -> Rtun {
        let net = "net=192.168.123.1/24,fd99::1/64&name=net0";
        let service = format!("tun:///host-1?{net}&route={routes}");
        let mut arguments = vec!["-L", &service];
        arguments.extend(chain.iter().flat_map(|node| ["-F", node]));
        self.world.start(&self.machine, &arguments)
    }

    fn restart_hub(&mut self) {
        self.hub.process.kill().unwrap();
        self.hub = self.world.hub(HUB_CONFIG);
    }

    fn end(self) {
        self.host_2.stop();
        self.hub.stop();
    }
}

/// Joins with routes that cover the hub's address, is reached through the tunnel, comes back after the hub does, and
/// leaves the machine as it was after SIGTERM, and after SIGKILL and one more start and stop.
fn never_enters_itself(site: &mut Site, routes: &str, chain: &[&str], inside: &str) {
    let before = everything(&site.machine);
    let host = site.start(routes, chain);
    host.wait_for("joined the hub");
    reaches(&site.machine, inside);
    goes_through(&site.machine, inside, "net0");
    site.restart_hub();
    host.wait_for_nth("joined the hub", 2);
    reaches(&site.machine, inside);
    host.process.kill().unwrap();
    wait_until("the device to go", || try_ip(&site.machine, "link show net0").is_err());
    let again = site.start(routes, chain);
    again.wait_for("joined the hub");
    reaches(&site.machine, inside);
    assert!(again.said("lost the hub").is_empty(), "{}", again.log());
    again.stop();
    is_again(&site.machine, &before);
}

/// An HTTP proxy on port 3128 of a machine that connects anybody to anywhere, for as long as the process lives.
fn connecting_proxy(machine: &NetNamespace) {
    fn pass(mut from: TcpStream, mut to: TcpStream) {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    }
    let listener = machine.run(|| TcpListener::bind(("0.0.0.0", 3128))).unwrap().unwrap();
    let serve = move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let Some(target) = head.split(' ').nth(1) else { continue };
            let Ok(hub) = TcpStream::connect(target) else { continue };
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let ends = [client.try_clone().unwrap(), hub.try_clone().unwrap()];
            thread::spawn(move || pass(client, hub));
            let [client, hub] = ends;
            thread::spawn(move || pass(hub, client));
        }
    };
    machine.thread(serve).unwrap();
}

const TCP: &str = "router://10.0.0.1:8443";
const QUIC: &str = "router+quic://10.0.0.1:8444";

#[test]
fn a_default_route_does_not_swallow_the_tunnel() {
    let Some(mut site) = Site::new() else { return };
    never_enters_itself(&mut site, "0.0.0.0/0", &[TCP], "203.0.113.9");
    never_enters_itself(&mut site, "0.0.0.0/0", &[QUIC], "203.0.113.9");
    never_enters_itself(&mut site, "0.0.0.0/0", &["router://hub.test:8443"], "203.0.113.9");
    site.end();
}

#[test]
fn nor_do_its_halves_or_a_prefix_or_the_hubs_own_address() {
    let Some(mut site) = Site::new() else { return };
    never_enters_itself(&mut site, "0.0.0.0/1,128.0.0.0/1", &[TCP], "203.0.113.9");
    never_enters_itself(&mut site, "10.0.0.0/24,203.0.113.0/24", &[QUIC], "203.0.113.9");
    never_enters_itself(&mut site, "10.0.0.1/32,203.0.113.0/24", &[TCP], "203.0.113.9");
    site.end();
}

#[test]
fn nor_does_the_default_route_of_ipv6() {
    let Some(mut site) = Site::new() else { return };
    never_enters_itself(&mut site, "::/0", &["router://[fd77::1]:8443"], "2001:db8::9");
    never_enters_itself(
        &mut site,
        "::/0,0.0.0.0/0",
        &["router+quic://[fd77::1]:8444"],
        "2001:db8::9",
    );
    site.end();
}

#[test]
fn nor_does_the_way_through_a_proxy_nor_with_a_mark_of_the_users() {
    let Some(mut site) = Site::new() else { return };
    never_enters_itself(
        &mut site,
        "0.0.0.0/0",
        &["router://10.0.0.1:8443?so_mark=77"],
        "203.0.113.9",
    );
    let proxy = site.world.machine("proxy");
    let router = ip(&site.outside, "route show 192.168.100.0/24");
    let gateway = router.split(' ').nth(2).unwrap();
    proxy.route_add("192.168.100.0/24", gateway).unwrap();
    connecting_proxy(&proxy);
    let proxy = format!("http://{}:3128", programs::address(&proxy));
    never_enters_itself(&mut site, "0.0.0.0/0", &[&proxy, TCP], "203.0.113.9");
    site.end();
}

/// A name server on a machine, for as long as the process lives: every name has the IPv4 address that was said last.
fn name_server(machine: &NetNamespace) -> Arc<Mutex<Ipv4Addr>> {
    let address = Arc::new(Mutex::new(Ipv4Addr::UNSPECIFIED));
    let socket = machine.run(|| UdpSocket::bind(("0.0.0.0", 53))).unwrap().unwrap();
    let answer = Arc::clone(&address);
    let serve = move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            // The question is a name, two bytes of type and two of class; what follows it is left out.
            let name = query[12..length].iter().position(|byte| *byte == 0).unwrap();
            let question = &query[12..12 + name + 5];
            let is_a = question[name + 1..name + 3] == [0, 1];
            let mut reply =
                [&query[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]].concat();
            reply.extend_from_slice(question);
            if is_a {
                reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                reply.extend_from_slice(&answer.lock().unwrap().octets());
            }
            socket.send_to(&reply, client).unwrap();
        }
    };
    machine.thread(serve).unwrap();
    address
}

#[test]
fn a_hub_that_moves_is_found_by_name_though_everything_leads_into_the_tunnel() {
    let Some(mut site) = Site::new() else { return };
    let before = everything(&site.machine);
    let names = name_server(&site.outside);
    *names.lock().unwrap() = Ipv4Addr::new(10, 0, 0, 1);
    let server = programs::address(&site.outside);
    let service = "tun:///host-1?net=192.168.123.1/24&name=net0&route=0.0.0.0/0";
    let arguments = ["-L", service, "-F", "router://moving.test:8443"];
    let host = site.world.start_asking(&site.machine, server, &arguments);
    host.wait_for("joined the hub");
    reaches(&site.machine, "203.0.113.9");
    // Only while there is no connection do packets to the name server pass the tunnel by.
    let passes_by = format!("to {server} ");
    wait_until("the way to the name server to close", || {
        !ip(&site.machine, "rule").contains(&passes_by)
    });
    *names.lock().unwrap() = Ipv4Addr::new(10, 0, 7, 7);
    site.hub.process.kill().unwrap();
    site.world.hub.sysctl("ipv4/conf/eth0/promote_secondaries", "1").unwrap();
    ip(&site.world.hub, "address add 10.0.7.7/16 dev eth0");
    ip(&site.world.hub, "address del 10.0.0.1/16 dev eth0");
    let route = ip(&site.outside, "route show 192.168.100.0/24");
    site.world.hub.route_add("192.168.100.0/24", route.split(' ').nth(2).unwrap()).unwrap();
    wait_until("the rule for the name server", || ip(&site.machine, "rule").contains(&passes_by));
    site.hub = site.world.hub(HUB_CONFIG);
    host.wait_for_nth("joined the hub", 2);
    wait_until("the peer", || {
        let sockets = site.machine.run(|| std::fs::read_to_string("/proc/thread-self/net/tcp"));
        // 10.0.7.7:8443, established.
        sockets.unwrap().unwrap().contains("0707000A:20FB 01")
    });
    host.stop();
    let taken = host.said("what somebody has taken from the device is put back");
    assert_eq!(taken, [] as [Value; 0], "nobody has taken anything");
    is_again(&site.machine, &before);
    site.host_2.process.kill().unwrap();
    site.hub.stop();
}

#[test]
fn a_system_that_is_strict_about_paths_lets_the_tunnel_live() {
    let Some(mut site) = Site::new() else { return };
    for device in ["all", "eth0"] {
        site.machine.sysctl(&format!("ipv4/conf/{device}/rp_filter"), "1").unwrap();
    }
    never_enters_itself(&mut site, "0.0.0.0/0", &[TCP], "203.0.113.9");
    site.end();
}

#[test]
fn routes_that_are_there_stay_and_are_named() {
    let Some(site) = Site::new() else { return };
    ip(&site.machine, "route add 203.0.113.0/24 via 192.168.100.1 metric 7");
    let before = everything(&site.machine);
    let host = site.start("203.0.113.0/24,0.0.0.0/0,198.51.100.0/24", &[TCP]);
    host.wait_for("joined the hub");
    reaches(&site.machine, "203.0.113.9");
    let main = ip(&site.machine, "route");
    for line in ip(&site.machine, "route").lines().filter(|line| line.contains("eth0")) {
        assert!(before.contains(line), "{line}");
    }
    assert!(main.contains("default via 192.168.100.1 dev eth0"), "{main}");
    assert!(main.contains("203.0.113.0/24 via 192.168.100.1 dev eth0 metric 7"), "{main}");
    assert!(main.contains("198.51.100.0/24 dev net0 proto 114"), "{main}");
    let said = host.log();
    let existing = "203.0.113.0/24 via 192.168.100.1 through eth0";
    assert!(said.contains(&format!("the system has {existing} already, which stays")), "{said}");

    // Somebody adds one to the same destination, and takes it away again.
    ip(&site.machine, "route add 198.51.100.0/24 via 192.168.100.1");
    wait_until("ours before it", || {
        ip(&site.machine, "route get 198.51.100.1").contains("dev net0 ")
    });
    ip(&site.machine, "route del 198.51.100.0/24 via 192.168.100.1");
    wait_until("ours where it was", || {
        ip(&site.machine, "route").contains("198.51.100.0/24 dev net0 proto 114")
    });
    let taken = host.said("what somebody has taken from the device is put back");
    assert_eq!(taken, [] as [Value; 0], "nobody has taken anything");
    host.stop();
    is_again(&site.machine, &before);
    site.end();
}

#[test]
fn what_is_taken_from_the_device_is_put_back_and_what_is_fought_over_is_left() {
    let Some(site) = Site::new() else { return };
    let before = everything(&site.machine);
    let host = site.start("198.51.100.0/24,0.0.0.0/0,2001:db8:1::/48,192.0.2.0/24", &[TCP]);
    host.wait_for("joined the hub");
    let whole = everything(&site.machine);
    let said = "what somebody has taken from the device is put back";
    for (n, takes) in [
        "link set net0 down",
        "address flush dev net0",
        "route del 198.51.100.0/24",
        "link set net0 mtu 1300",
        "rule del priority 20000",
        "-6 route del 2001:db8:1::/48",
        "route del 192.168.123.0/24 dev net0",
    ]
    .into_iter()
    .enumerate()
    {
        ip(&site.machine, takes);
        let start = Instant::now();
        if takes.contains("del 192.168.123.0") {
            // It comes back as rtun's own instead of the system's.
            wait_until(takes, || ip(&site.machine, "route").contains("192.168.123.0/24 dev net0"));
        } else {
            wait_until(takes, || sorted(&everything(&site.machine)) == sorted(&whole));
        }
        assert!(start.elapsed() < PUT_BACK_WITHIN * 2, "{takes}: {:?}", start.elapsed());
        host.wait_for_nth(said, n + 1);
    }
    assert_eq!(host.said(said).len(), 7, "each said once: {}", host.log());
    reaches(&site.machine, "203.0.113.9");
    assert_eq!(device(&host)["joined"], 1, "the session went on");
    assert_eq!(health(&host)["times_put_back"], 7);

    let fought = "route del 192.0.2.0/24 dev net0";
    for n in 1..=3 {
        ip(&site.machine, fought);
        host.wait_for_nth(said, 7 + n);
    }
    ip(&site.machine, fought);
    let left = host.wait_for(
        "somebody takes this from the device again and again: it is left so until the next reload (SIGHUP)",
    );
    assert_eq!(left["what"], "route 192.0.2.0/24");
    assert_eq!(health(&host)["left"][0], "route 192.0.2.0/24");
    assert!(!ip(&site.machine, "route").contains("192.0.2.0/24"));
    host.process.signal(Signal::SIGHUP).unwrap();
    wait_until("the route", || ip(&site.machine, "route").contains("192.0.2.0/24"));
    wait_until("status", || health(&host)["left"] == Value::Array(Vec::new()));
    host.stop();
    is_again(&site.machine, &before);
    site.end();
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_deleted_device_is_made_again_and_the_session_goes_on() {
    let Some(site) = Site::new() else { return };
    let before = everything(&site.machine);
    let host = site.start("0.0.0.0/0,198.51.100.0/24", &[TCP]);
    host.wait_for("joined the hub");
    for n in 1..=2 {
        ip(&site.machine, "link del net0");
        host.wait_for_nth("device is up", n + 1);
        reaches(&site.machine, "203.0.113.9");
        wait_until("both ways", || pings(&site.outside, "192.168.123.1"));
    }
    assert!(ip(&site.machine, "route").contains("198.51.100.0/24 dev net0 proto 114"));
    assert_eq!(device(&host)["joined"], 1, "the session went on");
    assert_eq!(health(&host)["times_gone"], 2);
    let name_taken = "link add net0 type veth peer name net1";
    ip(&site.machine, "link del net0");
    // Both orders are right: it is made again at once, or when the name is free again.
    if try_ip(&site.machine, name_taken).is_ok() {
        wait_until("the report", || health(&host)["missing"].is_object());
        ip(&site.machine, "link del net0");
        host.process.signal(Signal::SIGHUP).unwrap();
    }
    host.wait_for_nth("device is up", 4);
    reaches(&site.machine, "203.0.113.9");
    assert!(health(&host)["missing"].is_null());
    host.stop();
    is_again(&site.machine, &before);
    site.end();
}

/// Holds a machine's network namespace open under a path, as `ip netns` does.
fn hold(machine: &NetNamespace) -> Process {
    let mut command = Command::new("sleep");
    command.arg("600").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    machine.spawn(command).unwrap()
}

#[test]
fn a_namespace_that_goes_takes_the_device_until_it_is_back() {
    let Some(site) = Site::new() else { return };
    let path = site.world.file("blue", "");
    let point_to = |process: &Process| {
        let _ = std::fs::remove_file(&path);
        std::os::unix::fs::symlink(format!("/proc/{}/ns/net", process.id()), &path).unwrap();
    };
    let (first, second) = (site.world.machine("first"), site.world.machine("second"));
    let holders = [hold(&first), hold(&second)];
    point_to(&holders[0]);
    let service = format!(
        "tun:///host-1?net=192.168.123.1/24&name=net0&route=0.0.0.0/0&netns={}",
        path.display()
    );
    let host = site.world.start(&site.machine, &["-L", &service, "-F", TCP]);
    host.wait_for("joined the hub");
    reaches(&first, "203.0.113.9");
    std::fs::remove_file(&path).unwrap();
    wait_until("the report", || health(&host)["missing"]["what"].is_string());
    let what = health(&host)["missing"]["what"].as_str().unwrap().to_owned();
    assert!(what.contains("network namespace"), "{what}");
    point_to(&holders[1]);
    wait_until("the device in the other", || try_ip(&second, "link show net0").is_ok());
    reaches(&second, "203.0.113.9");
    assert!(try_ip(&first, "link show net0").is_err());
    assert_eq!(ip(&first, "rule").lines().count(), 3, "{}", ip(&first, "rule"));
    host.stop();
    site.end();
}

#[test]
fn an_underlay_that_goes_and_comes_back_brings_everything_back() {
    let Some(site) = Site::new() else { return };
    // The second route leads through the underlay itself.
    let config = site.world.file(
        "underlay.yaml",
        &format!(
            "
services:
- name: host
  handler: {{type: tun, chain: hub}}
  listener:
    type: tun
    metadata:
      net: 192.168.123.1/24
      name: net0
      routes: ['203.0.113.0/24', '198.51.100.0/24 192.168.100.1']
  forwarder: {{nodes: [{{addr: host-1}}]}}
chains:
- name: hub
  hops:
  - name: hub
    interface: eth0!
    nodes: [{{name: hub, addr: '{HUB}:8443', connector: {{type: router}}, dialer: {{type: tcp}}}}]
"
        ),
    );
    let host = site.world.start(&site.machine, &["-C", config.to_str().unwrap()]);
    host.wait_for("joined the hub");
    reaches(&site.machine, "203.0.113.9");
    let through = |machine: &NetNamespace| {
        ip(machine, "route").contains("198.51.100.0/24 via 192.168.100.1 dev eth0 proto 114")
    };
    assert!(through(&site.machine), "{}", ip(&site.machine, "route"));
    ip(&site.machine, "link set eth0 down");
    wait_until("the report", || health(&host)["failing"][0].is_string());
    assert!(!through(&site.machine));
    ip(&site.machine, "link set eth0 up");
    ip(&site.machine, "route add default via 192.168.100.1");
    wait_until("the route", || through(&site.machine));
    reaches(&site.machine, "203.0.113.9");
    wait_until("no complaint", || health(&host)["failing"] == Value::Array(Vec::new()));
    ip(&site.machine, "link set eth0 name eth7");
    host.process.kill().unwrap();
    let named = site.world.start(&site.machine, &["-C", config.to_str().unwrap()]);
    wait_until("the interface's name", || named.log().contains("interface eth0: "));
    ip(&site.machine, "link set eth7 name eth0");
    named.wait_for("joined the hub");
    named.stop();
    assert!(!through(&site.machine));
    site.end();
}

#[test]
fn without_ipv6_all_else_works_and_one_warning_says_so() {
    let Some(site) = Site::new() else { return };
    site.machine.sysctl("ipv6/conf/all/disable_ipv6", "1").unwrap();
    site.machine.sysctl("ipv6/conf/default/disable_ipv6", "1").unwrap();
    let host = site.start("0.0.0.0/0,2001:db8::/32,::/0", &[TCP]);
    host.wait_for("joined the hub");
    reaches(&site.machine, "203.0.113.9");
    let without = |host: &Rtun| {
        host.lines()
            .iter()
            .filter(|line| line["message"].as_str().unwrap_or("").contains("IPv6 is left out"))
            .count()
    };
    // Looked at again some times by now.
    wait_until("status", || health(&host)["failing"][0].is_string());
    host.process.signal(Signal::SIGHUP).unwrap();
    host.wait_for("configuration read again");
    assert_eq!(without(&host), 1, "{}", host.log());
    for which in ["all", "default", "net0"] {
        site.machine.sysctl(&format!("ipv6/conf/{which}/disable_ipv6"), "0").unwrap();
    }
    wait_until("IPv6", || ip(&site.machine, "-6 address show dev net0").contains("fd99::1/64"));
    host.stop();
    site.end();
}

#[test]
fn a_persistent_device_stays_as_it_was() {
    let Some(site) = Site::new() else { return };
    ip(&site.machine, "tuntap add net0 mode tun");
    ip(&site.machine, "link set net0 up");
    ip(&site.machine, "address add 172.16.0.1/24 dev net0");
    ip(&site.machine, "route add 172.17.0.0/16 dev net0");
    let before = everything(&site.machine);
    let routes = "172.17.0.0/16,0.0.0.0/0,198.51.100.0/24";
    let host = site.start(routes, &[TCP]);
    host.wait_for("joined the hub");
    reaches(&site.machine, "192.168.123.2");
    goes_through(&site.machine, "203.0.113.9", "net0");
    host.stop();
    is_again(&site.machine, &before);
    let killed = site.start(routes, &[TCP]);
    killed.wait_for("joined the hub");
    killed.process.kill().unwrap();
    let again = site.start(routes, &[TCP]);
    again.wait_for("joined the hub");
    again.stop();
    is_again(&site.machine, &before);
    site.end();
}
