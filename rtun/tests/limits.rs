//! Limits of traffic, connections, requests and volume, between machines: what passes, and what `rtun status` says.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it measured"
)]

mod common;
#[path = "limits/flood.rs"]
mod flood;
#[path = "common/grpc.rs"]
mod grpc;
#[path = "limits/said.rs"]
mod said;
#[path = "limits/shared.rs"]
mod shared;

use std::{
    fs,
    net::TcpStream,
    process::{Command, Stdio},
    sync::{PoisonError, RwLock, RwLockReadGuard},
    thread,
    time::{Duration, Instant},
};

use common::{
    HUB, Rtun, SOON, World, at, gost,
    programs::address,
    raw::{Answer, RawHost, request, udp},
    reaches,
    services::{Http, Manner, Redis},
    wait_until,
};
use flood::{Flood, Pair, hub, join, routers, service};
use grpc::Grpc;
use nix::sys::signal::Signal;
use rtun_lab::{NetNamespace, tools::UdpSource};
use said::{reload, status, status_text, wait_for_limits};
use serde_json::Value;

const MBIT: u64 = 125_000;

/// A limiter `$$` and a service for each limit, in this direction.
fn limited_services(limits: &[(u64, &str, u16)]) -> String {
    let (mut services, mut limiters) = (String::new(), "limiters:\n".to_owned());
    for (mbit, direction, port) in limits {
        let name = format!("{direction}-{mbit}");
        services += &service(&name, *port, &format!("  limiter: {name}\n"));
        let rates = if *direction == "in" { "" } else { "0 " };
        limiters += &format!("- {{name: {name}, limits: ['$$ {rates}{}B']}}\n", mbit * MBIT);
    }
    format!("services:\n{services}{}{limiters}", routers())
}

/// The frames of a limit's flood: longer ones for more, so that it takes little work.
fn packet_of(mbit: u64) -> usize {
    if mbit >= 1000 { 16_000 } else { 1400 }
}

const LIMITS: [(u64, &str, u16); 8] = [
    (1, "in", 8441),
    (1, "out", 8442),
    (10, "in", 8443),
    (10, "out", 8444),
    (100, "in", 8445),
    (100, "out", 8446),
    (1000, "in", 8447),
    (1000, "out", 8448),
];

/// Held by tests while packets pass; by the one that needs the whole machine alone.
static MACHINE: RwLock<()> = RwLock::new(());

fn beside_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn rates_from_1_to_100_mbit_are_exact_to_3_percent() {
    let _shared = beside_others();
    rates_are_exact(&LIMITS[..6]);
}

#[test]
fn a_rate_of_1000_mbit_is_exact_to_3_percent() {
    let _alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
    rates_are_exact(&LIMITS[6..7]);
    rates_are_exact(&LIMITS[7..]);
}

/// All at the same time, through one hub.
fn rates_are_exact(limits: &[(u64, &str, u16)]) {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&limited_services(limits));
    hub.wait_for_nth("hub listens", limits.len());
    let machines = [world.machine("sender"), world.machine("receiver")];
    thread::scope(|scope| {
        for (mbit, direction, port) in limits {
            let (limit, machines) = (mbit * MBIT, &machines);
            scope.spawn(move || {
                let flood = Flood::start(machines, *port, packet_of(*mbit), limit * 5 / 4);
                let what = format!("{direction} {mbit} Mbit/s");
                flood.keeps_to(&what, limit, limit / 100 + 64 * 1024);
            });
        }
    });
    wait_until("hosts to leave", || hub.said("host left").len() == 2 * limits.len());
    let all = hub.said("host left");
    let count = |reason| all.iter().map(|line| common::count_of(line, reason)).sum::<u64>();
    // A receiver that this machine keeps from reading loses packets too.
    let others = ["queue_full_oldest", "queue_too_old", "queue_codel", "queue_budget"].map(count);
    let limited = count("rate_limited");
    assert!(limited > others.iter().sum(), "{limited} lost to limits, {others:?} in queues");
    hub.stop();
}

#[test]
fn gost_and_rtun_keep_to_the_same_limit() {
    let _shared = beside_others();
    let Some(world) = World::new() else { return };
    let Some(gost) = gost::program() else { return };
    let machines = [world.machine("sender"), world.machine("receiver")];
    // GOST does not get beyond what its loop carries.
    let limits = &LIMITS[..6];
    let floods = |whose: &str, burst: fn(u64) -> u64| {
        thread::scope(|scope| {
            for (mbit, direction, port) in limits {
                let (limit, machines) = (mbit * MBIT, &machines);
                let what = format!("{whose} {direction} {mbit} Mbit/s");
                scope.spawn(move || {
                    let flood = Flood::start(machines, *port, 1400, limit * 5 / 4);
                    flood.keeps_to(&what, limit, burst(limit));
                });
            }
        });
    };
    let file = world.file("gost.yaml", &limited_services(limits));
    let mut command = Command::new(gost);
    command.arg("-C").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let theirs = world.hub.spawn(command).unwrap();
    let listens =
        |port| world.hub.run(move || TcpStream::connect(("127.0.0.1", port))).unwrap().is_ok();
    wait_until("GOST listening", || limits.iter().all(|(.., port)| listens(*port)));
    // Its burst is what passes in a second.
    floods("GOST", |limit| limit + limit / 10 + 64 * 1024);
    theirs.signal(Signal::SIGKILL).unwrap();
    theirs.wait(SOON).unwrap();
    let ours = world.hub(&limited_services(limits));
    ours.wait_for_nth("hub listens", limits.len());
    floods("rtun", |limit| limit / 100 + 64 * 1024);
    ours.stop();
}

#[test]
fn a_shared_limit_is_fair_and_changes_live_without_a_disconnection() {
    let _shared = beside_others();
    let Some(world) = World::new() else { return };
    let limited = |limit: &str| {
        hub("  limiter: all\n", &format!("limiters:\n- {{name: all, limits: ['{limit}']}}\n"))
    };
    let hub = world.hub(&limited("$ 0 2MB"));
    let machine = world.machine("hosts");
    // Each pair has hosts of its own, so that one sends ten times as much as the other.
    let pair = |a: u8, b: u8, pace: u64| {
        let streams = [
            join(&machine, 8443, &format!("host-{a}")),
            join(&machine, 8443, &format!("host-{b}")),
        ];
        Pair::start(streams, a, b, pace)
    };
    let pairs = [pair(1, 2, 20 << 20), pair(3, 4, 2 << 20)];
    let both = |limit: f64| {
        let mut seen = Vec::new();
        let started = Instant::now();
        loop {
            let before = pairs.each_ref().map(Pair::arrived);
            let begun = Instant::now();
            thread::sleep(Duration::from_secs(2));
            let time = begun.elapsed().as_secs_f64();
            let [one, other] = [0, 1].map(|n| (pairs[n].arrived() - before[n]) as f64 / time);
            seen.push((one / limit, other / limit));
            if ((one + other) / limit - 1.0).abs() <= 0.03 && (one / limit - 0.5).abs() <= 0.03 {
                return;
            }
            assert!(started.elapsed() < 2 * SOON, "{seen:?} of {limit}");
        }
    };
    both(f64::from(2 << 20));
    wait_for_limits(&hub, "host-2", &["service null 2097152"]);
    world.file("hub.yaml", &limited("$ 0 1MB"));
    reload(&hub);
    wait_for_limits(&hub, "host-2", &["service null 1048576"]);
    both(f64::from(1 << 20));
    let text = status_text(&hub);
    assert!(text.contains("out 1.0 MiB/s for all together (limiter)"), "{text}");
    assert!(hub.said("host left").is_empty(), "nobody is disconnected");
}

#[test]
fn a_flow_that_could_be_told_is_told_of_a_limit_by_ce_marks() {
    let _shared = beside_others();
    let Some(world) = World::new() else { return };
    let hub = world.hub(&hub("  limiter: all\n", "limiters:\n- {name: all, limits: ['$$ 1MB']}\n"));
    let machine = world.machine("hosts");
    let streams = [join(&machine, 8443, "host-1"), join(&machine, 8443, "host-2")];
    let mut receiver = RawHost { stream: streams[1].try_clone().unwrap() };
    let mut packet = udp("192.168.123.1", "192.168.123.2", &[0x5a; 1372]);
    // ECT(0), with the header\'s checksum.
    packet[1] = 2;
    packet[10..12].fill(0);
    let sum = rtun_proto::checksum::Checksum::new().add_bytes(&packet[..20]).finish();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let _flood = Flood::sending(&streams, packet, 4 << 20);
    wait_until("a CE mark", || receiver.receive()[1] & 3 == 3);
    hub.stop();
}

#[test]
fn a_connection_limit_of_a_command_line_refuses_and_the_hub_goes_on() {
    let _shared = beside_others();
    let Some(world) = World::new() else { return };
    let rows = world.file("routes.txt", "192.168.123.0/24 host-1\n");
    let config = world.file(
        "router.yaml",
        &format!("routers:\n- {{name: router-0, file: {{path: {}}}}}\n", rows.display()),
    );
    let arguments =
        ["-C", config.to_str().unwrap(), "-L", "router://:8443?router=router-0&climiter=2"];
    let hub = world.start(&world.hub, &arguments);
    hub.wait_for("hub listens");
    let machine = world.machine("hosts");
    for _ in 0..3 {
        let admitted = [RawHost::join(&machine, "host-1"), RawHost::join(&machine, "host-2")];
        let mut third = RawHost::connect(&machine);
        assert_eq!(third.ask(&request("host-3", [0; 16])), Answer::Closed);
        drop(admitted);
        wait_until("room for two again", || status(&hub)["connections"] == 0);
    }
    assert_eq!(status(&hub)["refused"]["limit_connections"]["count"], 3);
    hub.stop();
}

#[test]
fn a_limit_of_requests_refuses_and_lets_in_later() {
    let _shared = beside_others();
    let Some(world) = World::new() else { return };
    let hub = world.hub(&hub(
        "  rlimiter: slow\n",
        "rlimiters:\n- {name: slow, limits: [\'$$ 0.5\', \'10.0.0.1 0\']}\n",
    ));
    let machine = world.machine("hosts");
    let ask = || {
        let mut raw = RawHost::connect(&machine);
        raw.ask(&request("host-1", [0; 16]))
    };
    assert_eq!(ask(), Answer::Status(0));
    wait_until("a refusal", || ask() == Answer::Closed);
    wait_until("a token", || ask() == Answer::Status(0));
    assert!(status(&hub)["refused"]["limit_rate"]["count"].as_u64().unwrap() > 0);
    // The own row of the address of this machine has no limit.
    let free = || {
        let stream = world.hub.run(|| TcpStream::connect((HUB, 8443))).unwrap().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        RawHost { stream }.ask(&request("host-2", [0; 16]))
    };
    assert!((0..5).all(|_| free() == Answer::Status(0)));
    hub.stop();
}

#[test]
fn rows_come_from_the_configuration_a_file_redis_and_http() {
    let _shared = beside_others();
    let Some(world) = World::new() else { return };
    let Some(redis) = Redis::start(&world, &world.hub) else { return };
    let http = Http::start(&world.hub, 8100, Manner::Says("# none yet\n".into()));
    let file = world.file("limits.txt", "");
    let objects = "limiters:\n- name: all\n  reload: 1s\n  limits: ['$ 1MB', '$$ 2MB 3MB']\n  file: {path: limits.txt}\n  \
                   redis: {addr: '127.0.0.1:6399', key: limits}\n  http: {url: 'http://127.0.0.1:8100/limits'}\n";
    let hub = world.hub(&hub("  limiter: all\n", objects));
    let machine = world.machine("hosts");
    let _host = RawHost::join(&machine, "host-1");
    let own = address(&machine);
    let each = "connection 2097152 3145728";
    wait_for_limits(&hub, "host-1", &["service 1048576 null", each]);
    fs::write(&file, "# ours\n$ 5MB # more\n$ 7\n").unwrap();
    wait_for_limits(&hub, "host-1", &["service 5242880 null", each]);
    assert_eq!(hub.said("a line is left out").len(), 1, "a number without a unit: {}", hub.log());
    redis.tell("SADD limits '$ 6MB'");
    wait_for_limits(&hub, "host-1", &["service 6291456 null", each]);
    http.now(Manner::Says(format!("$ 7MB\n{own} 0 1KB\n10.0.0.0/8 9KB")));
    wait_for_limits(&hub, "host-1", &["service 7340032 null", "address null 1024", each]);
    redis.kill();
    http.now(Manner::Refuses);
    fs::write(&file, "$ 1KB\n").unwrap();
    hub.wait_for_nth("a source fails; its last good rows stay", 2);
    wait_for_limits(&hub, "host-1", &["service 7340032 null", "address null 1024", each]);
    hub.stop();
}

#[test]
fn plugins_say_the_rates_of_services_connections_and_hosts() {
    let _shared = beside_others();
    let Some(world) = World::new() else { return };
    let http = Http::start(&world.hub, 8101, Manner::Says("{\"in\": 1048576, \"out\": 0}".into()));
    let grpc = Grpc::start(&world.hub, 8102, "", |_| "");
    grpc.limit([2048, -1]);
    let config = format!(
        "services:\n- name: service-0\n  addr: :8443\n  limiter: http\n  handler: {{type: router, limiter: grpc, metadata: \
         {{router: router-0, limiter.refreshInterval: 1s}}}}\n  listener: {{type: tcp}}\n  metadata: \
         {{limiter.refreshInterval: 1s}}\n{}limiters:\n- name: http\n  plugin: {{type: http, addr: 'http://127.0.0.1:8101/ask'}}\n- \
         name: grpc\n  plugin: {{addr: '127.0.0.1:8102', token: t0ken}}\n",
        routers()
    );
    let hub = world.hub(&config);
    let machine = world.machine("hosts");
    let host = RawHost::join(&machine, "host-1");
    let seen = ["service 1048576 null", "connection 1048576 null", "host 2048 null"];
    wait_for_limits(&hub, "host-1", &seen);
    let peer = host.stream.local_addr().unwrap();
    let asked = |scope: &str| {
        let words = format!("\"scope\":\"{scope}\"");
        http.heads().into_iter().find(|head| head.contains(&words)).unwrap()
    };
    assert!(asked("service").contains("\"service\":\"service-0\""));
    assert!(asked("conn").contains(&format!("\"src\":\"{peer}\"")));
    let calls = grpc.calls();
    let zero = "00000000-0000-0000-0000-000000000000";
    let client = format!("\"ip\", \"\", \"host-1@{zero}\", \"{peer}\", \"service-0\", \"client\"]");
    assert!(calls[0].starts_with("Some(\"t0ken\")") && calls[0].ends_with(&client), "{calls:?}");

    grpc.limit([4096, 8192]);
    wait_for_limits(&hub, "host-1", &[seen[0], seen[1], "host 4096 8192"]);
    http.now(Manner::Status(500));
    wait_until("a failure in the status", || status_text(&hub).contains("plugin http"));
    wait_for_limits(&hub, "host-1", &[seen[0], seen[1], "host 4096 8192"]);
    assert!(hub.said("host left").is_empty(), "nobody is disconnected");
}

#[test]
fn hosts_and_namespaces_have_limits_of_their_own() {
    let _shared = beside_others();
    let Some(world) = World::new() else { return };
    let zero = "00000000-0000-0000-0000-000000000000";
    let config = format!(
        "services:\n- name: service-0\n  addr: :8443\n  handler:\n    type: router\n    limiter: hosts\n    limits:\n    \
         - {{host: host-1, in: 1MB, out: 2MB, burst: 64KB}}\n    - {{namespace: {zero}, out: 3MB}}\n    metadata: {{router: router-0}}\n  \
         listener: {{type: tcp}}\n{}limiters:\n- {{name: hosts, limits: ['$$ 4MB', '$ 5MB']}}\n",
        routers()
    );
    let hub = world.hub(&config);
    let machine = world.machine("hosts");
    let _hosts = [RawHost::join(&machine, "host-1"), RawHost::join(&machine, "host-2")];
    let shared = ["service 5242880 null", "namespace null 3145728"];
    wait_for_limits(&hub, "host-1", &[shared[0], shared[1], "host 1048576 2097152"]);
    wait_for_limits(&hub, "host-2", &[shared[0], shared[1], "host 4194304 null"]);
    let socket = hub.wait_for("control socket is open")["path"].as_str().unwrap().to_owned();
    let output = Command::new(env!("CARGO_BIN_EXE_rtun"))
        .args(["explain", "192.168.123.1", "192.168.123.2", "--socket", &socket])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("what host-1 sends: 1048576 bytes/s for the host by its handler.limiter"),
        "{text}"
    );
    assert!(text.contains("what is sent to host-2: 3145728 bytes/s for the namespace"), "{text}");
    hub.stop();
}

#[test]
fn a_host_limits_what_passes_its_device() {
    let _shared = beside_others();
    let Some(world) = World::new() else { return };
    let _hub = world.hub(&hub("", ""));
    let machines = [world.machine("host-1"), world.machine("host-2")];
    let limit = 5 * MBIT;
    let up = format!("tun:///host-1?net=192.168.123.1/24&limiter.in={limit}B");
    let down = format!("tun:///host-2?net=192.168.123.2/24&limiter.out={limit}B");
    let node = ["-F", "router://server_ip:8443"];
    let hosts = [
        world.start(&machines[0], &["-L", &up, node[0], node[1]]),
        world.start(&machines[1], &["-L", &down, node[0], node[1]]),
    ];
    reaches(&machines[0], "192.168.123.2");
    // From the limited device, then from the hub to the limited one: host-3 has no limit.
    let third = world.machine("host-3");
    let _third = world.join(&third, 3);
    reaches(&third, "192.168.123.2");
    for (from, to, address) in
        [(&machines[0], &third, "192.168.123.3"), (&third, &machines[1], "192.168.123.2")]
    {
        let receiver = to.run(|| std::net::UdpSocket::bind(at(address, 7000))).unwrap().unwrap();
        receiver.set_read_timeout(Some(SOON)).unwrap();
        let payload = 1200;
        let pace = 2.0 * limit as f64 / payload as f64;
        let _source = UdpSource::start(from, at(address, 7000), payload, pace).unwrap();
        let mut seen = Vec::new();
        let started = Instant::now();
        loop {
            let (begun, mut bytes, mut buffer) = (Instant::now(), 0, [0; 2048]);
            while begun.elapsed() < Duration::from_secs(2) {
                // The headers of IP and UDP, and the length before the packet.
                bytes += receiver.recv(&mut buffer).unwrap() + 28 + 2;
            }
            let rate = bytes as f64 / begun.elapsed().as_secs_f64() / limit as f64;
            seen.push(rate);
            assert!(rate < 1.2, "to {address}: {seen:?}");
            if (rate - 1.0).abs() <= 0.03 {
                println!("to {address}: {seen:?} of {limit} bytes/s");
                break;
            }
            assert!(started.elapsed() < 2 * SOON, "to {address}: {seen:?} of {limit} bytes/s");
        }
    }
    for (host, direction, drops) in [(&hosts[0], "in", "sent"), (&hosts[1], "out", "received")] {
        let status = status(host);
        assert_eq!(status["limits"][0][direction], limit, "{status}");
        assert!(status[drops]["drops"]["rate_limited"].as_u64().unwrap() > 0, "{status}");
    }
    let text = status_text(&hosts[0]);
    assert!(text.contains("limit        in 610 KiB/s (limiter)"), "{text}");
}

#[test]
fn a_used_up_quota_lets_nothing_pass_survives_a_restart_and_is_raised_live() {
    let _shared = beside_others();
    let Some(world) = World::new() else { return };
    let limited = |limit: &str| {
        hub(
            "  quotas: [month]\n",
            &format!("quotas:\n- {{name: month, limit: {limit}, flush: 1s}}\n"),
        )
    };
    let file = world.file("hub.yaml", &limited("1MB"));
    let arguments = ["-C", file.to_str().unwrap()];
    let first = world.start(&world.hub, &arguments);
    first.wait_for("hub listens");
    let machine = world.machine("hosts");
    let flood = |n: usize| {
        let streams = [join(&machine, 8443, "host-1"), join(&machine, 8443, "host-2")];
        let flood = Pair::start(streams, 1, 2, 4 << 20);
        wait_until("the quota to be used up", || status(&first)["quotas"][0]["exceeded"] == true);
        first.wait_for_nth("the quota is used up, so nothing passes", n);
        flood
    };
    let running = flood(1);
    first.wait_for_drops("quota_exceeded", 100);
    let used = status(&first)["quotas"][0]["used"].as_u64().unwrap();
    assert!((1 << 20..2 << 20).contains(&used), "{used}");
    let text = status_text(&first);
    assert!(text.contains("the quota month is used up, so nothing passes"), "{text}");
    let mut other = RawHost::connect(&machine);
    assert_eq!(other.ask(&request("host-3", [0; 16])), Answer::Status(5), "unavailable");
    let socket = first.wait_for("control socket is open")["path"].as_str().unwrap().to_owned();
    let explained = Command::new(env!("CARGO_BIN_EXE_rtun"))
        .args(["explain", "192.168.123.1", "192.168.123.2", "--socket", &socket])
        .output()
        .unwrap();
    let text = String::from_utf8(explained.stdout).unwrap();
    assert!(text.contains("dropped: quota_exceeded"), "{text}");

    // More of it: the same connections go on.
    world.file("hub.yaml", &limited("100MB"));
    reload(&first);
    let before = running.arrived();
    wait_until("packets to pass again", || running.arrived() > before + 100_000);
    assert!(first.said("host left").is_empty(), "nobody is disconnected");
    drop(running);
    wait_until("hosts to leave", || first.said("host left").len() == 2);
    first.stop();

    let used = |rtun: &Rtun| status(rtun)["quotas"][0]["used"].as_u64().unwrap();
    let saved = fs::read_to_string(world.path("state").join("quotas.json")).unwrap();
    let saved: Value = serde_json::from_str(&saved).unwrap();
    let saved = saved["month"]["used"].as_u64().unwrap();
    assert!(saved > 1 << 20, "{saved}");
    let second = world.start(&world.hub, &arguments);
    second.wait_for("hub listens");
    assert_eq!(used(&second), saved);
    second.process.signal(Signal::SIGKILL).unwrap();
    second.process.wait(SOON).unwrap();

    // Another window begins at 0; this one has ended, so nothing counts and all passes.
    let ended = hub(
        "  quotas: [month]\n",
        "quotas:\n- {name: month, limit: 1B, expiresAt: '2026-01-01T00:00:00Z'}\n",
    );
    world.file("hub.yaml", &ended);
    let third = world.start(&world.hub, &arguments);
    third.wait_for("hub listens");
    let streams = [join(&machine, 8443, "host-1"), join(&machine, 8443, "host-2")];
    let running = Pair::start(streams, 1, 2, 1 << 20);
    wait_until("packets to pass", || running.arrived() > 100_000);
    assert_eq!(used(&third), 0);
    third.stop();
}

/// The services that a host's quota and limiter are in.
fn host_config(limit: &str, quota: &str) -> String {
    format!(
        "services:\n- name: tun\n  limiter: all\n  quotas: [few]\n  handler: {{type: tun}}\n  listener: {{type: tun, metadata: \
         {{net: 192.168.123.1/24}}}}\n  forwarder: {{nodes: [{{addr: host-1}}]}}\nlimiters:\n- {{name: all, limits: \
         ['{limit}'], file: {{path: host-limits.txt}}}}\nquotas:\n- {{name: few, limit: {quota}, direction: in}}\nchains:\n- \
         name: hub\n  hops: [{{nodes: [{{addr: 'server_ip:8443', connector: {{type: router}}}}]}}]\n"
    )
}

#[test]
fn a_host_changes_its_limits_and_quotas_and_stays_connected() {
    let _shared = beside_others();
    let Some(world) = World::new() else { return };
    let _hub = world.hub(&hub("", ""));
    let machines = [world.machine("host-1"), world.machine("host-2")];
    let _other = world.join(&machines[1], 2);
    let rows = world.file("host-limits.txt", "# none\n");
    let host = world.host(&machines[0], &host_config("$ 1MB", "1GB"));
    reaches(&machines[0], "192.168.123.2");
    let wait_for = |expected: [u64; 2]| {
        let expected = expected.map(|rate| if rate > 0 { Value::from(rate) } else { Value::Null });
        wait_until("a limit of the host", || {
            let status = status(&host);
            [&status["limits"][0]["in"], &status["limits"][0]["out"]] == expected.each_ref()
        });
    };
    wait_for([1 << 20, 0]);
    fs::write(&rows, "$ 2MB 3MB\n").unwrap();
    wait_for([2 << 20, 3 << 20]);
    let name = format!("{}.yaml", machines[0].name());
    // A ping takes 84 bytes: a few pass before the quota is used up.
    world.file(&name, &host_config("$ 4MB", "1KB"));
    fs::write(&rows, "# none\n").unwrap();
    reload(&host);
    wait_for([4 << 20, 0]);
    wait_until("the quota to be used up", || {
        let _ = common::pings(&machines[0], "192.168.123.2");
        status(&host)["quotas"][0]["exceeded"] == true
    });
    common::does_not_reach(&machines[0], "192.168.123.2");
    let report = status(&host);
    assert!(report["sent"]["drops"]["quota_exceeded"].as_u64().unwrap() > 0, "{report}");
    world.file(&name, &host_config("$ 4MB", "1GB"));
    reload(&host);
    reaches(&machines[0], "192.168.123.2");
    assert_eq!(
        (status(&host)["joined"].as_u64(), status(&host)["failed"].as_u64()),
        (Some(1), Some(0))
    );
    host.stop();
}

#[test]
fn each_stream_of_a_trusted_proxys_connection_counts_for_the_climiter() {
    let _shared = beside_others();
    let Some(world) = World::new() else { return };
    let config = format!(
        "services:\n- name: service-0\n  addr: :8443\n  climiter: one\n  handler: {{type: router, metadata: {{router: \
         router-0}}}}\n  listener: {{type: mtcp, metadata: {{trustedProxies: 10.0.0.0/16}}}}\n  metadata: {{proxyProtocol: \
         1}}\n{}climiters:\n- {{name: one, limits: [$ 1]}}\n",
        routers()
    );
    let hub = world.hub(&config);
    let start = |n: u8, machine: &NetNamespace| {
        let service = format!("tun:///host-{n}?net=192.168.123.{n}/24");
        let node = "router+mtcp://server_ip:8443?proxyProtocol=1";
        world.start(machine, &["-L", &service, "-F", node])
    };
    let machines = [world.machine("host-1"), world.machine("host-2")];
    let first = start(1, &machines[0]);
    hub.wait_for("host joined");
    let _second = start(2, &machines[1]);
    let refused = || status(&hub)["refused"]["limit_connections"]["count"].as_u64();
    wait_until("a refusal", || refused().is_some_and(|count| count > 0));
    assert_eq!(hub.said("host joined").len(), 1);
    first.stop();
    let joined = hub.wait_for_nth("host joined", 2);
    assert_eq!(joined["host"], "host-2");
}
