//! Several hubs and several ways to one: the next one is taken when one fails, and a better way as soon as it works.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use common::{
    HUB, Rtun, SOON, THREE_HOSTS, World, pings, reaches,
    services::{Http, Manner, Redis},
    wait_until,
};
use nix::sys::signal::Signal;
use rtun_lab::NetNamespace;

/// Two hubs with the same table, and two hosts that know both and prefer the first.
struct Pair {
    hubs: [Rtun; 2],
    machines: [NetNamespace; 2],
    hosts: [Rtun; 2],
    /// Machines and folder, for as long as it runs.
    _ground: (NetNamespace, World),
}

impl Pair {
    fn new(transport: &str) -> Option<Self> {
        let world = World::new()?;
        let second = world.machine("hub-2");
        let file = THREE_HOSTS.replace("type: tcp", &format!("type: {transport}"));
        let hubs = [world.hub(&file), start_hub(&world, &second, &file)];
        let machines = [world.machine("host-1"), world.machine("host-2")];
        let hosts = [0, 1].map(|index| world.host(&machines[index], &host_file(index, transport)));
        reaches(&machines[0], "192.168.123.2");
        Some(Self { hubs, machines, hosts, _ground: (second, world) })
    }

    /// Longest time without an answer to a ping from the first host to the second while `event` happens.
    fn hole(&self, event: impl FnOnce()) -> Duration {
        event();
        let start = Instant::now();
        while !pings(&self.machines[0], "192.168.123.2") {
            assert!(start.elapsed() < SOON, "{}", self.hosts[0].log());
        }
        start.elapsed()
    }

    fn joined_through(&self, hub: &str) -> bool {
        self.hosts
            .iter()
            .all(|host| host.said("joined the hub").last().is_some_and(|line| line["hub"] == hub))
    }
}

/// The second machine on the switch.
const HUB_2: &str = "10.0.0.3";

fn start_hub(world: &World, machine: &NetNamespace, file: &str) -> Rtun {
    let path = world.file("hub-2.yaml", file);
    let hub = world.start(machine, &["-C", path.to_str().unwrap()]);
    hub.wait_for("hub listens");
    hub
}

fn host_file(index: usize, transport: &str) -> String {
    let number = index + 1;
    let node = |name: &str, addr: &str| {
        format!(
            "
    - name: {name}
      addr: {addr}:8443
      connector: {{type: router}}
      dialer: {{type: {transport}}}"
        )
    };
    format!(
        "
services:
- name: service-0
  handler: {{type: tun, chain: chain-0}}
  listener: {{type: tun, metadata: {{net: 192.168.123.{number}/24}}}}
  forwarder: {{nodes: [{{addr: host-{number}}}]}}
chains:
- name: chain-0
  hops:
  - name: hop-0
    selector: {{strategy: fifo, maxFails: 1, failTimeout: 30s}}
    nodes:{}{}
",
        node("hub-1", "10.0.0.1"),
        node("hub-2", HUB_2)
    )
}

#[test]
fn the_next_hub_takes_over_from_a_killed_one() {
    for transport in ["tcp", "tls"] {
        let Some(pair) = Pair::new(transport) else { return };
        assert!(pair.joined_through("10.0.0.1:8443"));
        let hole = pair.hole(|| pair.hubs[0].process.signal(Signal::SIGKILL).unwrap());
        assert!(hole < Duration::from_secs(3), "{transport}: {hole:?}");
        assert!(pair.joined_through("10.0.0.3:8443"));
    }
}

#[test]
fn the_next_hub_takes_over_from_a_silent_one() {
    for transport in ["tcp", "quic"] {
        let Some(pair) = Pair::new(transport) else { return };
        let hole = pair.hole(|| pair.hubs[0].process.signal(Signal::SIGSTOP).unwrap());
        assert!(hole < Duration::from_secs(8), "{transport}: {hole:?}");
        assert!(pair.joined_through("10.0.0.3:8443"));
        pair.hubs[0].process.signal(Signal::SIGCONT).unwrap();
    }
}

#[test]
fn a_hub_that_refuses_is_left_for_the_next() {
    let Some(world) = World::new() else { return };
    let second = world.machine("hub-2");
    let strict = THREE_HOSTS.replace(
        "metadata: {router: router-0}",
        "auth: {username: somebody, password: else}, metadata: {router: router-0}",
    );
    let hubs = [world.hub(&strict), start_hub(&world, &second, THREE_HOSTS)];
    let machines = [world.machine("host-1"), world.machine("host-2")];
    let hosts = [0, 1].map(|index| world.host(&machines[index], &host_file(index, "tcp")));
    let start = Instant::now();
    reaches(&machines[0], "192.168.123.2");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(hosts[0].log().contains("unauthorized"), "{}", hosts[0].log());
    drop(hubs);
}

#[test]
fn a_host_takes_the_way_that_works_and_goes_over_to_the_better_one_later() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(THREE_HOSTS);
    let machines = [world.machine("host-1"), world.machine("host-2")];
    let node = "router+quic://server_ip:8443?fallback=tls,tcp";
    let hosts = [0, 1].map(|index| {
        let number = index + 1;
        let device = format!("tun:///host-{number}?net=192.168.123.{number}/24");
        world.start(&machines[index], &["-L", &device, "-F", node])
    });
    for host in &hosts {
        assert_eq!(host.wait_for("joined the hub")["transport"], "tcp", "the only one there is");
    }
    reaches(&machines[0], "192.168.123.2");

    // The hub also listens for QUIC now, on the same port number; what runs over TCP goes on.
    let file = THREE_HOSTS.replace(
        "  listener: {type: tcp}",
        "  listener: {type: tcp}\n  listeners: [{addr: ':8443', type: quic}]",
    );
    hub.stop();
    let hub = world.hub(&file);
    wait_until("both on QUIC", || {
        hosts.iter().all(|host| {
            host.said("joined the hub").last().is_some_and(|line| line["transport"] == "quic")
        })
    });
    let (mut lost, mut sent) = (0, 0);
    for _ in 0..20 {
        sent += 1;
        lost += u32::from(!pings(&machines[0], "192.168.123.2"));
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(lost, 0, "of {sent}");
    drop(hub);
}

/// The better way leads to another process, so that the connection that is replaced does not end by itself.
#[test]
fn a_connection_that_is_replaced_is_ended_and_nothing_is_lost_meanwhile() {
    let Some(world) = World::new() else { return };
    let before = world.hub(THREE_HOSTS);
    let machine = world.machine("host-1");
    let node = "router+quic://server_ip:8443?fallback=tcp";
    let host = world.start(&machine, &["-L", "tun:///host-1?net=192.168.123.1/24", "-F", node]);
    assert_eq!(host.wait_for("joined the hub")["transport"], "tcp", "the only way there is");

    let file = world.file("quic.yaml", &THREE_HOSTS.replace("type: tcp", "type: quic"));
    let after = world.start(&world.hub, &["-C", file.to_str().unwrap()]);
    assert_eq!(host.wait_for_nth("joined the hub", 2)["transport"], "quic");
    let replaced = Instant::now();
    let left = before.wait_for("host left");
    assert_eq!(left["reason"], "peer_closed", "in order");
    let took = replaced.elapsed();
    assert!(took < Duration::from_secs(3), "the old connection lived on for {took:?}");
    assert_eq!(host.said("lost the hub"), Vec::<serde_json::Value>::new());
    assert!(after.said("host left").is_empty());
}

/// Host 1 with these chains, of which the handler names all, and a selector among them.
fn host_of(chains: &[&str], selector: &str) -> String {
    let names = (0..chains.len()).map(|n| format!("chain-{n}")).collect::<Vec<_>>().join(", ");
    let mut file = format!(
        "
services:
- name: service-0
  handler: {{type: tun, chainGroup: {{chains: [{names}], selector: {selector}}}}}
  listener: {{type: tun, metadata: {{net: 192.168.123.1/24}}}}
  forwarder: {{nodes: [{{addr: host-1}}]}}
chains:"
    );
    for (n, hop) in chains.iter().enumerate() {
        file += &format!("\n- {{name: chain-{n}, hops: [{hop}]}}");
    }
    file
}

#[test]
fn a_group_of_chains_changes_over_to_the_next_chain() {
    let Some(world) = World::new() else { return };
    let (second, machine) = (world.machine("hub-2"), world.machine("host-1"));
    let hubs = [world.hub(THREE_HOSTS), start_hub(&world, &second, THREE_HOSTS)];
    let chains = [HUB, HUB_2]
        .map(|hub| format!("{{nodes: [{{addr: '{hub}:8443', connector: {{type: router}}}}]}}"));
    let file = host_of(&chains.each_ref().map(String::as_str), "{strategy: fifo, failTimeout: 1m}");
    let host = world.host(&machine, &file);
    assert_eq!(host.wait_for("joined the hub")["hub"], "10.0.0.1:8443");
    hubs[0].process.signal(Signal::SIGKILL).unwrap();
    assert_eq!(host.wait_for_nth("joined the hub", 2)["hub"], "10.0.0.3:8443");
    // And back, when the second is gone too.
    let _first = world.hub(THREE_HOSTS);
    hubs[1].process.signal(Signal::SIGKILL).unwrap();
    assert_eq!(host.wait_for_nth("joined the hub", 3)["hub"], "10.0.0.1:8443");
    host.stop();
}

#[test]
fn hubs_tried_at_once_cost_no_time_where_one_is_silent() {
    let Some(world) = World::new() else { return };
    let machine = world.machine("host-1");
    let hub = world.hub(THREE_HOSTS);
    // Nobody answers at the first.
    world.hub.route_add_device("10.66.0.0/16", "lo").unwrap();
    machine.route_add("10.66.0.0/16", HUB).unwrap();
    let nodes = ["10.66.0.1", HUB]
        .map(|hub| format!("{{addr: '{hub}:8443', connector: {{type: router}}}}"))
        .join(", ");
    let hop = format!("{{selector: {{strategy: parallel}}, nodes: [{nodes}]}}");
    let start = Instant::now();
    let host = world.host(&machine, &host_of(&[&hop], "{}"));
    assert_eq!(host.wait_for("joined the hub")["hub"], "10.0.0.1:8443");
    assert!(start.elapsed() < Duration::from_millis(2_500), "{:?}", start.elapsed());
    host.stop();
    hub.stop();
}

#[test]
fn the_hub_that_answers_soonest_is_taken() {
    let Some(world) = World::new() else { return };
    let (machine, way, slow) = world.far("host-1", Duration::from_millis(60));
    let quick = world.cable(&machine, "quick", "10.88.0.2/24", "10.88.0.1/24");
    let hubs = [world.hub(THREE_HOSTS), start_hub(&world, &quick, THREE_HOSTS)];
    let node = |hub: &str| {
        let probe = "probe: {addr: any, interval: 200ms}";
        format!("{{addr: '{hub}:8443', connector: {{type: router}}, {probe}}}")
    };
    let nodes = [node(&slow), node("10.88.0.1")].join(", ");
    let hop = format!("{{selector: {{strategy: lowestlatency}}, nodes: [{nodes}]}}");
    let host = world.host(&machine, &host_of(&[&hop], "{}"));
    host.wait_for("joined the hub");
    // Both are measured within this time. Whichever hub it is on goes; the quick one serves next.
    thread::sleep(Duration::from_millis(600));
    hubs[0].stop();
    let _hub = world.hub(THREE_HOSTS);
    wait_until("the quick one", || {
        let joined = host.said("joined the hub");
        joined.last().is_some_and(|line| line["hub"] == "10.88.0.1:8443")
    });
    host.stop();
    drop((hubs, way));
}

/// A hub that a probe finds unfit is left out, and one that it finds fit serves again, whatever came of connections.
#[test]
fn probes_say_which_hub_serves_next() {
    let Some(world) = World::new() else { return };
    let (second, machine) = (world.machine("hub-2"), world.machine("host-1"));
    let file = THREE_HOSTS.replace("type: tcp", "type: ws");
    let hubs = [world.hub(&file), start_hub(&world, &second, &file)];
    let (flag, runs) = (world.file("fit", ""), world.path("runs"));
    let command = format!("echo run >> {}; test -e {}", runs.display(), flag.display());
    let node = |hub: &str, probe: &str| {
        format!(
            "{{addr: '{hub}:8443', connector: {{type: router}}, dialer: {{type: ws}}, \
             probe: {{addr: any, interval: 100ms, {probe}}}}}"
        )
    };
    // A hub over WebSocket has no other page.
    let nodes = [
        node("10.0.0.1", &format!("type: cmd, command: '{command}'")),
        node(HUB_2, "type: http, httpPath: /other, expectedStatus: 404"),
    ]
    .join(", ");
    let hop = format!("{{selector: {{strategy: fifo, failTimeout: 1h}}, nodes: [{nodes}]}}");
    let host = world.host(&machine, &host_of(&[&hop], "{}"));
    assert_eq!(host.wait_for("joined the hub")["hub"], "10.0.0.1:8443");
    let count = || std::fs::read_to_string(&runs).unwrap_or_default().lines().count();
    let a_probe_more = || {
        let before = count();
        wait_until("two more probes", || count() >= before + 2);
    };
    std::fs::remove_file(&flag).unwrap();
    a_probe_more();
    hubs[0].stop();
    let _first = world.hub(&file);
    assert_eq!(host.wait_for_nth("joined the hub", 2)["hub"], "10.0.0.3:8443");
    std::fs::write(&flag, "").unwrap();
    a_probe_more();
    hubs[1].process.signal(Signal::SIGKILL).unwrap();
    assert_eq!(host.wait_for_nth("joined the hub", 3)["hub"], "10.0.0.1:8443");
    host.stop();
    // Nothing that a probe has started is left.
    let runs = count();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(count(), runs);
}

#[test]
fn a_changed_list_of_hubs_costs_no_device_and_no_session_of_a_hub_that_stays() {
    let Some(world) = World::new() else { return };
    let second = world.machine("hub-2");
    let hubs = [world.hub(THREE_HOSTS), start_hub(&world, &second, THREE_HOSTS)];
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let both = host_file(0, "tcp");
    let host = world.host(&one, &both);
    let other = world.host(&two, &host_file(1, "tcp"));
    reaches(&one, "192.168.123.2");
    let change = |text: &str, nth: usize| {
        world.file("host-1.yaml", text);
        host.process.signal(Signal::SIGHUP).unwrap();
        host.wait_for_nth("hubs replaced", nth);
    };
    let joined = || {
        let lines = host.said("joined the hub").into_iter();
        lines.map(|line| line["hub"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let index = || {
        let text = one.run(|| std::fs::read_to_string("/proc/thread-self/net/dev_snmp6/tun0"));
        text.unwrap().unwrap_or_default().lines().next().map(str::to_owned)
    };
    let before = index();
    assert!(before.is_some(), "{}", host.log());
    let first = format!("{HUB}:8443");

    // The hub stays, under another name and with a new one before it.
    let at = both.find("    - name: hub-1").unwrap();
    let more = both[at..].replace("hub-1", "newer").replace("10.0.0.1", HUB_2);
    change(&format!("{}{more}", both[..at].to_owned() + &both[at..].replace("hub-1", "older")), 1);
    reaches(&one, "192.168.123.2");
    assert_eq!(joined(), [&*first]);
    assert_eq!(hubs[0].said("host joined").len(), 2, "{}", hubs[0].log());

    // It goes: the other one is joined at once.
    let begin = Instant::now();
    change(&both.replace("10.0.0.1:", &format!("{HUB_2}:")), 2);
    host.wait_for("the hub is no longer listed: another one is joined");
    wait_until("the other hub", || joined().len() == 2);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(joined()[1], format!("{HUB_2}:8443"));

    // Nobody is there; then the first one is listed again, long before the next attempt would be.
    change(
        &both
            .replace("10.0.0.1:8443", "10.0.0.1:9")
            .replace(&format!("{HUB_2}:8443"), "10.0.0.1:9"),
        3,
    );
    host.wait_for_nth("the hub is no longer listed: another one is joined", 2);
    wait_until("failures", || host.status()["services"][0]["failed"].as_u64().unwrap() > 3);
    change(&both, 4);
    wait_until("the first hub", || joined().len() == 3);
    assert_eq!(joined()[2], first);
    reaches(&one, "192.168.123.2");
    assert_eq!((host.said("device is up").len(), index()), (1, before), "{}", host.log());
    for rtun in [&host, &other, &hubs[0], &hubs[1]] {
        rtun.stop();
    }
}

/// What the log says when a source begins to fail.
const FAILS: &str = "a source fails; its last good rows stay";

#[test]
fn hubs_from_a_file_redis_and_a_url_change_and_fail_without_cost() {
    let Some(world) = World::new() else { return };
    let second = world.machine("hub-2");
    let hubs = [world.hub(THREE_HOSTS), start_hub(&world, &second, THREE_HOSTS)];
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let Some(redis) = Redis::start(&world, &one) else { return };
    let http = Http::start(&one, 8100, Manner::Status(500));
    let other = world.host(&two, &host_file(1, "tcp"));
    let nodes = world.path("nodes.json");
    let listed = |names: &[(&str, &str)]| {
        let node = |(name, host): &(&str, &str)| {
            format!(
                r#"{{"name": "{name}", "addr": "{host}:8443", "connector": {{"type": "router"}}, "dialer": {{"type": "tcp"}}}}"#
            )
        };
        format!("[{}]", names.iter().map(node).collect::<Vec<_>>().join(", "))
    };
    let write = |text: &str| std::fs::write(&nodes, text).unwrap();
    let text = host_file(0, "tcp");
    let hop = format!(
        "reload: 1s\n    file: {{path: {}}}\n    redis: {{addr: '127.0.0.1:6399', key: hubs}}\n    http: {{url: 'http://127.0.0.1:8100/hubs', timeout: 1s}}\n",
        nodes.display()
    );
    let text = text[..text.find("nodes:\n    - name: hub-1").unwrap()].to_owned() + &hop;
    let joined = |host: &Rtun| {
        let lines = host.said("joined the hub").into_iter();
        lines.map(|line| line["hub"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let index = || {
        let text = one.run(|| std::fs::read_to_string("/proc/thread-self/net/dev_snmp6/tun0"));
        text.unwrap().unwrap_or_default().lines().next().map(str::to_owned)
    };
    let addresses = [HUB, HUB_2].map(|host| format!("{host}:8443"));

    // All are down at the start: the device is there, and waits.
    let host = world.host(&one, &text);
    host.wait_for("no hub is known yet: the sources of its hop have no node");
    host.wait_for("device is up");
    let before = index();
    write(&listed(&[("a", HUB)]));
    host.wait_for("joined the hub");
    reaches(&one, "192.168.123.2");

    // A hub that stays keeps its session, whatever comes before it.
    write(&listed(&[("b", HUB_2), ("a", HUB)]));
    host.wait_for_nth("hubs replaced", 2);
    reaches(&one, "192.168.123.2");
    assert_eq!(joined(&host), addresses[..1]);

    // It goes, and the next one is joined.
    write(&listed(&[("b", HUB_2)]));
    host.wait_for("the hub is no longer listed: another one is joined");
    host.wait_for_nth("joined the hub", 2);
    assert_eq!(joined(&host), addresses);

    // Redis and the URL come after the file.
    redis.tell(&format!("SET hubs '{}'", listed(&[("r", HUB_2)])));
    host.wait_for_nth("hubs replaced", 4);
    http.now(Manner::Says(listed(&[("h", HUB_2)])));
    host.wait_for_nth("hubs replaced", 5);

    // What fails, is empty, cut short or nonsense leaves what was known.
    let failed = host.said(FAILS).len();
    write(&listed(&[("a", HUB)])[..40]);
    redis.tell("DEL hubs");
    http.now(Manner::Status(500));
    wait_until("three failures", || host.said(FAILS).len() >= failed + 3);
    http.now(Manner::Says("[{name: h, addr: nowhere, connector: {type: router}}]".into()));
    wait_until("a node that is none", || host.log().contains("gives no nodes: line 1"));
    http.now(Manner::Says(
        listed(&[("h", HUB)]).replace("}]", r#", "probe": {"type": "cmd", "command": "reboot"}}]"#),
    ));
    wait_until("a command", || host.log().contains("may not run a command"));
    redis.kill();
    assert_eq!((host.said("hubs replaced").len(), joined(&host).len()), (5, 2), "{}", host.log());

    // The first good text counts again, whatever waits in the configuration's file.
    world.file("host-1.yaml", "services: [");
    host.process.signal(Signal::SIGHUP).unwrap();
    host.wait_for("the new configuration is not applied: it has errors");
    http.now(Manner::Says(listed(&[("h", HUB), ("i", HUB)])));
    host.wait_for_nth("hubs replaced", 6);
    write(&listed(&[("a", HUB)]));
    host.wait_for_nth("hubs replaced", 7);
    assert!(!host.log().contains("lost the hub"), "{}", host.log());
    assert_eq!((host.said("device is up").len(), index()), (1, before), "{}", host.log());
    for rtun in [&host, &other, &hubs[0], &hubs[1]] {
        rtun.stop();
    }
}

#[test]
fn hubs_from_a_url_show_in_the_status_and_are_known_after_a_restart() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(THREE_HOSTS);
    let one = world.machine("host-1");
    let node = format!(
        r#"[{{"name": "a", "addr": "{HUB}:8443", "connector": {{"type": "router"}}, "dialer": {{"type": "tcp"}}}}]"#
    );
    let http = Http::start(&one, 8100, Manner::Says(node.clone()));
    let text = host_file(0, "tcp");
    let hop = "reload: 1s\n    http: {url: 'http://127.0.0.1:8100/hubs', timeout: 1s}\n";
    let text = text[..text.find("nodes:\n    - name: hub-1").unwrap()].to_owned() + hop;
    let source = |host: &Rtun| host.status()["sources"][0].clone();
    let is = |host: &Rtun, state: &str, problem: &str| {
        wait_until(&format!("{state}: {problem}"), || {
            let source = source(host);
            let text = source["problem"]["text"].as_str().unwrap_or_default();
            source["state"] == state && text.contains(problem)
        });
    };
    let screen = |host: &Rtun| {
        let socket = host.wait_for("control socket is open")["path"].as_str().unwrap().to_owned();
        let mut status = Command::new(env!("CARGO_BIN_EXE_rtun"));
        let output = status.args(["status", "--socket", &socket]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };

    let host = world.host(&one, &text);
    host.wait_for("control socket is open");
    host.wait_for("joined the hub");
    is(&host, "fresh", "");
    let shown = source(&host);
    let words = [&shown["kind"], &shown["name"], &shown["source"]];
    assert_eq!(words, ["hop", "hop-0", "http://127.0.0.1:8100/hubs"]);
    assert_eq!((&shown["rows"], &shown["from_snapshot"]), (&1.into(), &false.into()), "{shown}");
    assert!(!screen(&host).contains("Problems"), "{}", screen(&host));

    // What cannot be used is a problem, with what to do about it.
    let wrong = "[{name: h, addr: nowhere, connector: {type: router}}]";
    http.now(Manner::Says(wrong.into()));
    is(&host, "failing", "line 1: ");
    let text_of_status = screen(&host);
    for words in ["hop hop-0  source fails for ", "correct its address or file"] {
        assert!(text_of_status.contains(words), "{words}: {text_of_status}");
    }
    // No more is read than counts.
    http.now(Manner::Endless);
    is(&host, "failing", "is larger than 1 MiB");
    http.now(Manner::Status(503));
    is(&host, "failing", "status 503");
    assert_eq!(source(&host)["rows"], 1);
    host.stop();

    // The hub is known from the run before, also where what came last was wrong.
    for manner in [Manner::Status(503), Manner::Says(wrong.into())] {
        http.now(manner);
        let again = world.host(&one, &text);
        again.wait_for("control socket is open");
        again.wait_for("joined the hub");
        is(&again, "failing", "");
        let shown = source(&again);
        assert_eq!((&shown["rows"], &shown["from_snapshot"]), (&1.into(), &true.into()), "{shown}");
        let log = again.log();
        assert!(log.contains("http://127.0.0.1:8100/hubs gives no nodes: "), "{log}");
        assert!(log.contains("the nodes that it gave before count until it does"), "{log}");
        http.now(Manner::Says(node.clone()));
        is(&again, "fresh", "");
        wait_until("nodes of this run", || source(&again)["from_snapshot"] == false);
        assert!(again.said("hubs replaced").is_empty(), "{}", again.log());
        again.stop();
    }
    hub.stop();
}
