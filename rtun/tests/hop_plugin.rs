//! Hops whose node a plugin names for each connection: right, changing, silent, wrong, away.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;
#[path = "common/grpc.rs"]
mod grpc;

use std::{fs, sync::atomic::Ordering};

use common::{
    HUB, Rtun, THREE_HOSTS, World, gost, reaches,
    services::{Http, Manner},
    vitals::{Vitals, calm},
    wait_until,
    web::Web,
};
use grpc::Grpc;
use nix::sys::signal::Signal;
use rtun_lab::NetNamespace;

/// The second machine on the switch.
const HUB_2: &str = "10.0.0.3";

/// What a host asks, as GOST writes it.
const QUESTION: &str = r#"{"network":"ip","addr":"host-1","host":"host-1","path":"","client":"","src":"192.168.123.1"}"#;

/// A host whose last hop is this.
fn host_file(number: u8, routes: &str, hops: &str) -> String {
    format!(
        "
services:
- name: service-0
  handler: {{type: tun, chain: chain-0}}
  listener: {{type: tun, metadata: {{name: tun0, net: 192.168.123.{number}/24, routes: [{routes}]}}}}
  forwarder: {{nodes: [{{addr: host-{number}}}]}}
chains:
- name: chain-0
  hops:
{hops}
"
    )
}

fn asking(port: u16) -> String {
    format!(
        "  - name: hop-0\n    plugin: {{type: http, addr: 'http://127.0.0.1:{port}/hop', token: t0ken, timeout: 1s}}\n"
    )
}

fn node(addr: &str) -> String {
    format!(
        r#"{{"name":"named","addr":"{addr}","connector":{{"type":"router"}},"dialer":{{"type":"tcp"}}}}"#
    )
}

fn start_hub(world: &World, machine: &NetNamespace) -> Rtun {
    let path = world.file("hub-2.yaml", THREE_HOSTS);
    let hub = world.start(machine, &["-C", path.to_str().unwrap()]);
    hub.wait_for("hub listens");
    hub
}

fn joined(host: &Rtun) -> Vec<String> {
    let lines = host.said("joined the hub").into_iter();
    lines.map(|line| line["hub"].as_str().unwrap().to_owned()).collect()
}

fn plugin_of(host: &Rtun) -> serde_json::Value {
    host.status()["services"][0]["plugins"][0].clone()
}

#[test]
fn each_connection_goes_to_the_hub_that_the_plugin_names() {
    let Some(world) = World::new() else { return };
    let second = world.machine("hub-2");
    let (first, second) = (world.hub(THREE_HOSTS), start_hub(&world, &second));
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let fixed = format!(
        "  - name: hop-0\n    selector: {{strategy: fifo}}\n    nodes: [{}, {}]\n",
        node(&format!("{HUB}:8443")),
        node(&format!("{HUB_2}:8443"))
    );
    let other = world.host(&two, &host_file(2, "", &fixed));
    let plugin = Http::start(&one, 8100, Manner::Hangs);

    // Most destinations lead into the tunnel; the hub's address does not, whichever is named.
    let text =
        host_file(1, "'0.0.0.0/1 192.168.123.2', '128.0.0.0/1 192.168.123.2'", &asking(8100));
    let text = format!("{text}metrics: {{addr: '127.0.0.1:9000'}}\n");
    let host = world.host(&one, &text);
    host.wait_for("control socket is open");
    wait_until("a silent plugin", || {
        let error = &host.status()["services"][0]["last_error"];
        error["error"] == "the plugin of the hop: no answer in time"
            && error["hub"] == "http://127.0.0.1:8100/hop"
    });
    assert_eq!(joined(&host).len(), 0, "without an answer nobody is connected to");
    plugin.now(Manner::Says("{}".into()));
    host.wait_for(
        "no hub is known: the plugin of the hop knows no node for this host; trying again",
    );
    plugin.now(Manner::Says(node(HUB)));
    wait_until("a node without a port", || host.log().contains("cannot be used: addr: "));
    plugin.now(Manner::Says(node(&format!("{HUB}:8443"))));
    host.wait_for("joined the hub");
    reaches(&one, "192.168.123.2");
    let asked = plugin.answered_with(&node(&format!("{HUB}:8443")));
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].ends_with(QUESTION), "{asked:?}");
    assert!(asked[0].to_lowercase().contains("authorization: bearer t0ken\r\n"), "{asked:?}");

    // A session stays, whatever the plugin would say by now, and over a reload.
    plugin.now(Manner::Says(node(&format!("{HUB_2}:8443"))));
    world.file("host-1.yaml", &text.replace("chain: chain-0", "chain: chain-0, retries: 2"));
    host.process.signal(Signal::SIGHUP).unwrap();
    host.wait_for("hubs replaced");
    reaches(&one, "192.168.123.2");
    assert_eq!(joined(&host).len(), 1, "{}", host.log());

    // The next connection goes where it says then.
    first.process.signal(Signal::SIGKILL).unwrap();
    host.wait_for_nth("joined the hub", 2);
    reaches(&one, "192.168.123.2");
    assert_eq!(joined(&host), [format!("{HUB}:8443"), format!("{HUB_2}:8443")]);
    let named = plugin_of(&host);
    assert_eq!((&named["kind"], &named["name"]), (&"hop".into(), &"hop-0".into()));

    let metrics = Web::at(&one, "127.0.0.1:9000").get("/metrics").body;
    for line in [
        r#"rtun_plugin_total{service="service-0",kind="hop",name="hop-0",result="answered"}"#,
        r#"rtun_plugin_total{service="service-0",kind="hop",name="hop-0",result="failed"}"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }

    // A plugin that fails costs nothing: what it named last counts.
    plugin.now(Manner::Status(500));
    let failed = named["failed"].as_u64().unwrap();
    second.process.signal(Signal::SIGSTOP).unwrap();
    wait_until("a failed question", || plugin_of(&host)["failed"].as_u64().unwrap() > failed);
    second.process.signal(Signal::SIGCONT).unwrap();
    host.wait_for_nth("joined the hub", 3);
    reaches(&one, "192.168.123.2");
    assert_eq!(joined(&host)[2], format!("{HUB_2}:8443"));
    assert_eq!(host.said("device is up").len(), 1, "{}", host.log());
    for rtun in [&host, &other, &second] {
        rtun.stop();
    }
}

#[test]
fn a_plugin_that_fails_in_any_manner_costs_the_host_nothing() {
    let Some(world) = World::new() else { return };
    let (hub, one) = (world.hub(THREE_HOSTS), world.machine("host-1"));
    let right = Manner::Says(node(&format!("{HUB}:8443")));
    let plugin = Http::start(&one, 8100, right.clone());
    let host = world.host(&one, &host_file(1, "", &asking(8100)));
    host.wait_for("joined the hub");
    let before = calm(&[("the host", &host)], None)[0].holds;
    hub.stop();
    for manner in [
        Manner::Hangs,
        Manner::Refuses,
        Manner::Redirects,
        Manner::Endless,
        Manner::Nonsense,
        Manner::Truncated(node(&format!("{HUB}:8443"))),
        Manner::Status(500),
    ] {
        plugin.now(manner.clone());
        let failed = || plugin_of(&host)["failed"].as_u64().unwrap();
        let known = failed();
        // The one under way when it changed may still have been answered as before.
        wait_until(&format!("{manner:?}"), || failed() >= known + 2);
    }
    assert_eq!(plugin.redirected.load(Ordering::SeqCst), 0, "the token goes nowhere else");
    let hub = world.hub(THREE_HOSTS);
    host.wait_for_nth("joined the hub", 2);
    let most = Vitals {
        descriptors: before.descriptors + 1,
        // One looks after connections that the client keeps, if there were any.
        tasks: before.tasks + 1,
        memory: before.memory + (8 << 20),
    };
    calm(&[("the host", &host)], Some(&[most]));

    // It ends at once, whatever it waits for.
    plugin.now(Manner::Hangs);
    hub.stop();
    let asked = plugin.requests.load(Ordering::SeqCst);
    wait_until("a question", || plugin.requests.load(Ordering::SeqCst) > asked);
    host.stop();
}

#[test]
fn a_host_that_starts_again_uses_the_node_of_before_while_its_plugin_is_away() {
    let Some(world) = World::new() else { return };
    let (hub, one) = (world.hub(THREE_HOSTS), world.machine("host-1"));
    let plugin = Http::start(&one, 8100, Manner::Says(node(&format!("{HUB}:8443"))));
    let start = || world.host(&one, &host_file(1, "", &asking(8100)));
    let host = start();
    host.wait_for("joined the hub");
    host.process.signal(Signal::SIGKILL).unwrap();
    plugin.now(Manner::Refuses);
    let host = start();
    host.wait_for("joined the hub");
    let said = host.log();
    assert!(said.contains("the node that it named in an earlier run is used"), "{said}");

    // Who removes the state directory does not remove that.
    let saved = || -> Vec<String> {
        let files = fs::read_dir(world.path("state")).into_iter().flatten();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("node-service-0_hop-0-")).collect()
    };
    assert_eq!(saved().len(), 1);
    fs::remove_dir_all(world.path("state")).unwrap();
    wait_until("the node to be saved again", || saved().len() == 1);

    // What it says once it is back counts, also that there is none.
    plugin.now(Manner::Says("{}".into()));
    hub.stop();
    host.wait_for(
        "no hub is known: the plugin of the hop knows no node for this host; trying again",
    );
    host.stop();
    plugin.now(Manner::Refuses);
    let host = start();
    host.wait_for("control socket is open");
    wait_until("a plugin that is away", || plugin_of(&host)["failed"].as_u64() > Some(1));
    assert!(host.log().contains("no hub is known"), "{}", host.log());
    host.stop();
}

#[test]
fn a_plugin_speaks_grpc_and_names_proxies_too() {
    let Some(world) = World::new() else { return };
    let (hub, one) = (world.hub(THREE_HOSTS), world.machine("host-1"));
    let proxy_at = world.machine("proxy");
    let address = common::programs::address(&proxy_at);
    common::proxy_server::start(&proxy_at, 1080, "tcp", common::proxy_server::Speaks::Connect);
    let grpc = Grpc::start(&one, 8101, "", |_| "");
    grpc.name_node(&format!(r#"{{"addr":"{address}:1080","connector":{{"type":"http"}}}}"#));
    let plugin = Http::start(&one, 8100, Manner::Says(node("hub.test:8443")));
    let proxies =
        "  - name: proxies\n    plugin: {type: grpc, addr: '127.0.0.1:8101', token: t0ken}\n";
    let host = world.host(&one, &host_file(1, "", &format!("{proxies}{}", asking(8100))));
    host.wait_for("joined the hub");
    let question =
        "Some(\"t0ken\") [\"node\", \"ip\", \"host-1\", \"host-1\", \"\", \"\", \"192.168.123.1\"]";
    assert_eq!(grpc.calls(), [question]);
    assert_eq!(plugin.heads().len(), 1);
    assert_eq!(hub.said("host joined").len(), 1);
    host.stop();
    hub.stop();
}

#[test]
fn gost_asks_the_same() {
    let Some(world) = World::new() else { return };
    let one = world.machine("host-1");
    let hub = world.hub(THREE_HOSTS);
    let plugin = Http::start(&one, 8100, Manner::Says(node(&format!("{HUB}:8443"))));
    let path = world.file("gost.yaml", &host_file(1, "", &asking(8100)));
    let Some(host) = gost::start(&world, &one, &["-C", path.to_str().unwrap()]) else { return };
    hub.wait_for("host joined");
    let asked = plugin.heads();
    assert!(asked[0].ends_with(QUESTION), "{asked:?}");
    assert!(asked[0].to_lowercase().contains("authorization: bearer t0ken\r\n"), "{asked:?}");
    drop(host);
    hub.stop();
}
