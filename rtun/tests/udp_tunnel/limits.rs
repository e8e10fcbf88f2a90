//! What limits of a configuration let through: of clients, of a client's device, of a relay's clients, and in all.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpStream, UdpSocket},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rtun_proto::{
    frame::write_frame,
    relay::{AddrFeature, Request},
    udp_tunnel::{Passphrase, encode_register},
};

use crate::{
    common::{HUB, Rtun, SOON, World, at, wait_until},
    support::{Script, drops, echo, is_registered, server, service_status, status},
};

/// Of the limits, in bytes a second.
const LIMIT: f64 = 102_400.0;

/// How much more is sent than that.
const TIMES: f64 = 4.0;

/// The packets of a flood.
const PAYLOAD: usize = 1000;

/// For how long it is looked at, after half a second.
const WINDOW: Duration = Duration::from_secs(2);

/// Sends until `ended`, at a pace above the limit.
fn flood(ended: &AtomicBool, bytes: usize, mut send: impl FnMut()) {
    let (start, mut sent) = (Instant::now(), 0.0);
    while !ended.load(Ordering::Relaxed) {
        while sent < start.elapsed().as_secs_f64() * LIMIT * TIMES {
            send();
            sent += bytes as f64;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Bytes a second that `receive` gives, none for nothing now.
fn rate(mut receive: impl FnMut() -> Option<usize>) -> f64 {
    let start = Instant::now() + Duration::from_millis(500);
    let mut bytes = 0;
    while start.elapsed() < WINDOW {
        let len = receive().unwrap_or(0);
        bytes += if Instant::now() >= start { len } else { 0 };
    }
    bytes as f64 / start.elapsed().as_secs_f64()
}

fn is_limited(what: &str, rate: f64) {
    // On a busy machine less passes: what was not sent in time is not made up for.
    assert!((0.5..1.1).contains(&(rate / LIMIT)), "{what}: {rate} bytes/s of {LIMIT}");
}

fn reload(rtun: &Rtun, file: &std::path::Path, config: &str) {
    let said = |rtun: &Rtun| rtun.log().matches(" replaced").count();
    let before = said(rtun);
    fs::write(file, config).unwrap();
    rtun.process.signal(Signal::SIGHUP).unwrap();
    wait_until("other limits", || said(rtun) > before);
}

fn status_text(rtun: &Rtun) -> String {
    let socket = rtun.wait_for("control socket is open")["path"].as_str().unwrap().to_owned();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rtun"));
    let output = command.args(["status", "--socket", &socket]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

const SERVER: &str = "
services:
- name: server
  addr: :8421
  limiter: clients
  handler: {type: tun}
  listener: {type: tun, metadata: {net: 192.168.123.1/24, name: tun0}}
limiters:
- name: clients
  limits:
  - 10.0.0.3 100KB
  - 10.0.0.4 0 100KB
";

#[test]
fn a_server_keeps_to_the_limits_of_each_client_in_both_directions() {
    let Some(world) = World::new() else { return };
    let rows = world.file("limits.txt", "10.0.0.4 0 100KB\n");
    let source = format!("  file: {{path: {}}}\n", rows.display());
    let config = SERVER.replace("  - 10.0.0.4 0 100KB\n", &source);
    let server = server(&world, &config);
    let file = world.file("server.yaml", &config);
    let machines = ["a", "b", "c"].map(|name| world.machine(name));
    // From a limited sender, to a limited receiver, and between others.
    let ends = [(0, 2), (2, 1), (2, 2)];
    let flows: Vec<(Script, Script, Vec<u8>)> = (0..)
        .zip(ends)
        .map(|(n, (from, to))| {
            let addresses = [10 + 2 * n, 11 + 2 * n].map(|n| format!("192.168.123.{n}"));
            let (one, other) = (Script::new(&machines[from]), Script::new(&machines[to]));
            one.join("", &[&addresses[0]]);
            other.join("", &[&addresses[1]]);
            (one, other, echo(&addresses[0], &addresses[1], PAYLOAD))
        })
        .collect();
    let rates = || -> Vec<f64> {
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let threads: Vec<_> = flows
                .iter()
                .map(|(from, to, packet)| {
                    let ended = &ended;
                    scope.spawn(move || flood(ended, packet.len(), || from.send(packet)));
                    scope.spawn(move || rate(|| to.receive().map(|packet| packet.len())))
                })
                .collect();
            let rates = threads.into_iter().map(|it| it.join().unwrap()).collect();
            ended.store(true, Ordering::Relaxed);
            rates
        })
    };
    let limited = rates();
    is_limited("in", limited[0]);
    is_limited("out", limited[1]);
    assert!(limited[2] > 2.0 * LIMIT, "nobody limits these: {limited:?}");
    let said = status(&server);
    for direction in ["received", "sent"] {
        let lost = said[direction]["drops"]["rate_limited"].as_u64().unwrap_or(0);
        assert!(lost > 100, "{direction}: {said}");
    }
    let text = status_text(&server);
    assert!(text.contains("in 100 KiB/s for each address (limiter): 192.168.123.10"), "{text}");
    // Other limits apply at once, to what waits too, and nobody registers again.
    let registered = |it: &Rtun| status(it)["clients"].as_array().unwrap().len();
    let before = registered(&server);
    fs::write(&rows, "10.0.0.4 0 10MB\n").unwrap();
    server.wait_for("limits replaced: a source has changed");
    reload(&server, &file, &config.replace("100KB", "10MB"));
    let free = rates();
    assert!(free.iter().all(|rate| *rate > 2.0 * LIMIT), "{free:?}");
    assert_eq!(registered(&server), before);
    server.stop();
}

#[test]
fn a_client_keeps_to_the_limits_of_its_device_directly_and_through_a_relay() {
    let Some(world) = World::new() else { return };
    let site = world.start(
        &world.hub,
        &[
            "-L",
            "tun://:8421?net=192.168.123.1/24&name=tun0",
            "-L",
            "relay+tcp://:8443/127.0.0.1:8421",
        ],
    );
    site.wait_for("relay listens");
    let machines = [world.machine("direct"), world.machine("relayed")];
    let clients: Vec<Rtun> = (2..)
        .zip(&machines)
        .map(|(n, machine)| {
            let target = if n == 2 { format!("{HUB}:8421") } else { ":8421".to_owned() };
            let url = format!(
                "tun://:0/{target}?net=192.168.123.{n}/24&name=tun0&limiter.in=100KB&limiter.out=100KB"
            );
            let chain = format!("relay+tcp://{HUB}:8443");
            let mut arguments = vec!["-L", &url];
            if n == 3 {
                arguments.extend(["-F", &chain]);
            }
            world.start(machine, &arguments)
        })
        .collect();
    clients.iter().for_each(is_registered);
    let bind = |machine: &rtun_lab::NetNamespace, address: String| {
        let socket = machine.run(|| UdpSocket::bind(address)).unwrap().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        socket
    };
    // Each client sends to the server's machine and gets from there.
    let mut flows = Vec::new();
    for (n, machine) in (2..).zip(&machines) {
        let outside = bind(machine, format!("192.168.123.{n}:5000"));
        let inside = bind(&world.hub, format!("192.168.123.1:500{n}"));
        let (there, here) = (inside.local_addr().unwrap(), outside.local_addr().unwrap());
        flows.push((outside.try_clone().unwrap(), there, inside.try_clone().unwrap()));
        flows.push((inside, here, outside));
    }
    let ended = AtomicBool::new(false);
    let rates: Vec<f64> = thread::scope(|scope| {
        let threads: Vec<_> = flows
            .iter()
            .map(|(from, to, receiver)| {
                let ended = &ended;
                // With the headers of UDP and IP.
                let send = move || drop(from.send_to(&[7; PAYLOAD], to));
                scope.spawn(move || flood(ended, PAYLOAD + 28, send));
                let receive = || receiver.recv(&mut [0; 2 * PAYLOAD]).ok().map(|len| len + 28);
                scope.spawn(move || rate(receive))
            })
            .collect();
        let rates = threads.into_iter().map(|it| it.join().unwrap()).collect();
        ended.store(true, Ordering::Relaxed);
        rates
    });
    for (what, rate) in ["in", "out", "in, relayed", "out, relayed"].into_iter().zip(rates) {
        is_limited(what, rate);
    }
    for client in &clients {
        let said = status(client);
        assert_eq!(
            (&said["limits"][0]["in"], &said["limits"][0]["out"]),
            (&102_400.into(), &102_400.into())
        );
        assert!(drops(client, "rate_limited") > 100, "{said}");
        client.stop();
    }
    site.stop();
}

#[test]
fn what_a_quota_leaves_no_room_for_is_lost_until_it_is_raised() {
    let Some(world) = World::new() else { return };
    let config = SERVER.replace("limiter: clients", "quotas: [few]")
        + "quotas: [{name: few, limit: 20KB, direction: in}]\n";
    let server = server(&world, &config);
    let file = world.file("server.yaml", &config);
    let machine = world.machine("a");
    let script = Script::new(&machine);
    script.join("", &["192.168.123.9"]);
    let packet = echo("192.168.123.9", "192.168.123.1", PAYLOAD);
    (0..40).for_each(|_| script.send(&packet));
    wait_until("a quota that is used up", || drops(&server, "quota_exceeded") > 0);
    while script.receive().is_some() {}
    script.send(&packet);
    assert_eq!(script.receive(), None, "nothing passes");
    script.join("", &["192.168.123.9"]);
    assert_eq!(status(&server)["quotas"][0]["exceeded"], true);
    reload(&server, &file, &config.replace("20KB", "20MB"));
    script.send(&packet);
    script.expect_packet();
    server.stop();
}

#[test]
fn a_relay_keeps_to_the_limits_of_its_connections() {
    let Some(world) = World::new() else { return };
    let connections = world.file("connections.txt", "$ 2\n");
    let config = "
services:
- {name: server, addr: '127.0.0.1:8421', handler: {type: tun}, listener: {type: tun, metadata: {net: 192.168.123.1/24, name: tun0}}}
- name: relay
  addr: :8443
  limiter: clients
  climiter: few
  handler: {type: relay}
  listener: {type: tcp}
limiters: [{name: clients, limits: ['$$ 100KB 100KB']}]
climiters: [{name: few, file: {path: CONNECTIONS}}]
";
    let config = &config.replace("CONNECTIONS", &connections.display().to_string());
    let site = server(&world, config);
    site.wait_for("relay listens");
    let machine = world.machine("clients");
    let connect = |address: &str| {
        let connect = || TcpStream::connect((HUB, 8443));
        let mut stream = machine.run(connect).unwrap().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let request = Request::datagrams_to(AddrFeature::from_text(":8421"), None);
        let mut bytes = request.encode().unwrap();
        let register = encode_register(Passphrase::NONE, &[address.parse().unwrap()]);
        write_frame(&register, &mut bytes).unwrap();
        stream.write_all(&bytes).unwrap();
        // Status 0, then the reply; or nothing.
        let mut answer = [0; 26];
        let is_served = stream.read_exact(&mut answer).is_ok();
        (stream, is_served)
    };
    let (mut from, is_served) = connect("192.168.123.2");
    assert!(is_served);
    let (mut to, is_served) = connect("192.168.123.3");
    assert!(is_served);
    let (_refused, is_served) = connect("192.168.123.4");
    assert!(!is_served, "a third connection is closed");
    let refused =
        || service_status(&site, "relay")["refused"]["limit_connections"]["count"].clone();
    assert_eq!(refused(), 1);
    fs::write(&connections, "$ 3\n").unwrap();
    site.wait_for("limits replaced: a source has changed");
    let (_third, is_served) = connect("192.168.123.4");
    assert!(is_served, "the file says so");
    let packet = echo("192.168.123.2", "192.168.123.3", PAYLOAD);
    let mut frame = Vec::new();
    write_frame(&packet, &mut frame).unwrap();
    to.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut measured = || {
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| flood(&ended, frame.len(), || from.write_all(&frame).unwrap()));
            let mut buffer = [0; 65_536];
            let rate = rate(|| to.read(&mut buffer).ok());
            ended.store(true, Ordering::Relaxed);
            rate
        })
    };
    is_limited("through the relay", measured());
    let clients = service_status(&site, "relay")["clients"].clone();
    let lost = clients
        .as_array()
        .unwrap()
        .iter()
        .map(|client| client["received"]["drops"]["rate_limited"].as_u64().unwrap_or(0));
    assert!(lost.sum::<u64>() > 100, "{clients}");
    // Clients keep to the limiter that the relay names now.
    let other = config.replace("limiter: clients\n", "limiter: other\n");
    let other = other.replace("limiters: [{name: clients", "limiters: [{name: other");
    reload(&site, &world.file("server.yaml", config), &other.replace("100KB", "10MB"));
    let free = measured();
    assert!(free > 2.0 * LIMIT, "{free}");
    site.stop();
}

const TWO: &str = "
services:
- name: one
  addr: :8421
  limiter: all
  handler: {type: tun}
  listener: {type: tun, metadata: {net: 192.168.123.1/24, name: tun0}}
- name: other
  addr: :8422
  limiter: all
  handler: {type: tun}
  listener: {type: tun, metadata: {net: 192.168.124.1/24, name: tun1}}
limiters: [{name: all, limits: [$ 100KB]}]
metrics: {addr: '127.0.0.1:9000'}
";

#[test]
fn two_servers_share_the_limiter_that_both_name() {
    let Some(world) = World::new() else { return };
    let server = server(&world, TWO);
    let file = world.file("server.yaml", TWO);
    wait_until("both listen", || server.log().matches("listening on").count() == 2);
    let machine = world.machine("clients");
    let flows: Vec<(Script, Script, Vec<u8>)> = [(8421, 123), (8422, 124)]
        .into_iter()
        .map(|(port, net)| {
            let addresses = [10, 11].map(|n| format!("192.168.{net}.{n}"));
            let scripts = addresses.each_ref().map(|address| {
                let script = Script::towards(&machine, at(HUB, port));
                script.join("", &[address]);
                script
            });
            let [from, to] = scripts;
            (from, to, echo(&addresses[0], &addresses[1], PAYLOAD))
        })
        .collect();
    let rates = || -> Vec<f64> {
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let threads: Vec<_> = flows
                .iter()
                .map(|(from, to, packet)| {
                    let ended = &ended;
                    scope.spawn(move || flood(ended, packet.len(), || from.send(packet)));
                    scope.spawn(move || rate(|| to.receive().map(|packet| packet.len())))
                })
                .collect();
            let rates = threads.into_iter().map(|it| it.join().unwrap()).collect();
            ended.store(true, Ordering::Relaxed);
            rates
        })
    };
    let shared = rates();
    is_limited("both together", shared.iter().sum());
    assert!(shared.iter().all(|rate| *rate > 0.3 * LIMIT), "each has a share: {shared:?}");
    let page = metrics(&world);
    for service in ["one", "other"] {
        for series in [
            format!(
                "rtun_limit_bytes_per_second{{service=\"{service}\",limiter=\"limiter\",direction=\"in\"}} 102400.0"
            ),
            format!(
                "rtun_limited_connections{{service=\"{service}\",limiter=\"limiter\",scope=\"service\"}} 2.0"
            ),
        ] {
            assert!(page.contains(&series), "{series} in\n{page}");
        }
    }
    // One of them changes over to a limiter of its own.
    let own = TWO.replace(":8422\n  limiter: all", ":8422\n  limiter: own");
    let own = own.replace("[{name: all,", "[{name: own, limits: [$ 10MB]}, {name: all,");
    reload(&server, &file, &own);
    let apart = rates();
    is_limited("alone", apart[0]);
    assert!(apart[1] > 2.0 * LIMIT, "nobody limits this: {apart:?}");
    server.stop();
}

/// The page of metrics.
fn metrics(world: &World) -> String {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", 9000))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    };
    world.hub.run(ask).unwrap().unwrap()
}
