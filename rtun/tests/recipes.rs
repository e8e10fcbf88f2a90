//! The recipes of docs/only-443.md for web servers in front of a hub, run as they stand there.
//!
//! ```text
//!   host-1, host-2 --- wss, grpc, h2 ---> hub.example:443 web server --- ws, grpc, h2c ---> hub on 127.0.0.1
//! ```

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{
    World, at,
    programs::{self, Certificate},
    reaches,
};
use rtun_lab::{NetNamespace, Process, tools};

const DOCUMENT: &str = include_str!("../../docs/only-443.md");

/// What hosts call the web server by.
const NAME: &str = "hub.example";

/// More than a limit of 1 MiB lets pass.
const BYTES: u64 = 5 << 20;

/// The block of this language in the recipes' section.
fn recipe(language: &str) -> &'static str {
    let (_, section) = DOCUMENT.split_once("## Behind nginx, HAProxy or Caddy").unwrap();
    let (_, block) = section.split_once(&format!("```{language}\n")).unwrap();
    block.split_once("```").unwrap().0
}

/// Starts a web server; `None` where it is not installed.
type Start = fn(&World, &NetNamespace, &str) -> Option<Process>;

/// Sends some MiB both ways through each transport that the recipe passes on.
fn passes_tunnels(language: &str, start: Start) {
    let Some(world) = World::new() else { return };
    let certificate = Certificate::new(&world, NAME);
    let whole =
        [&certificate.file, &certificate.key].map(|it| std::fs::read_to_string(it).unwrap());
    let bundle = world.file("bundle.pem", &whole.concat());
    let text = recipe(language)
        .replace("/etc/ssl/hub.pem", certificate.file.to_str().unwrap())
        .replace("/etc/ssl/hub.key", certificate.key.to_str().unwrap())
        .replace("/etc/haproxy/hub.pem", bundle.to_str().unwrap());
    let routes =
        "  - {dst: 192.168.123.1, gateway: host-1}\n  - {dst: 192.168.123.2, gateway: host-2}\n";
    let config = recipe("yaml");
    let (config, _) = config.split_once("  - dst:").unwrap();
    let hub = world.hub(&format!("{config}{routes}"));
    let Some(web) = start(&world, &world.hub, &text) else { return };

    let machines = [1, 2].map(|n| world.machine(&format!("host-{n}")));
    let authority = certificate.authority.display();
    let nodes = ["wss://{}:443?path=/tunnel&", "grpc://{}:443?", "h2://{}:443?path=/h2&"];
    // Those that the recipe has something for.
    let nodes = nodes.into_iter().filter(|node| !node.starts_with("h2:") || text.contains("/h2"));
    for node in nodes {
        let node = format!("router+{}secure=true&caFile={authority}", node.replace("{}", NAME));
        let hosts = [0, 1].map(|index| {
            let (machine, n) = (&machines[index], index + 1);
            machine.hosts([(NAME, common::HUB)]);
            let service = format!("tun:///host-{n}?net=192.168.123.{n}/24");
            world.start(machine, &["-L", &service, "-F", &node])
        });
        for host in &hosts {
            host.wait_for("joined the hub");
        }
        reaches(&machines[0], "192.168.123.2");
        for (from, to, address) in [(0, 1, "192.168.123.2"), (1, 0, "192.168.123.1")] {
            let (from, to) = (&machines[from], &machines[to]);
            let moved = tools::tcp_hash_transfer(from, to, at(address, 5001), BYTES);
            assert!(moved.is_ok(), "{language} {node}: {moved:?}: {}", hosts[0].log());
        }
        for host in &hosts {
            let joined = host.said("joined the hub").len();
            assert_eq!(joined, 1, "{language} {node}: it stayed connected: {}", host.log());
            host.stop();
        }
    }
    // The hub saw where hosts come from, not the web server.
    let joined = hub.said("host joined");
    assert!(
        joined.iter().all(|line| line["peer"].as_str().unwrap().starts_with("10.0.")),
        "{joined:?}"
    );
    hub.stop();
    web.kill().unwrap();
}

#[test]
fn nginx_passes_tunnels() {
    passes_tunnels("nginx", programs::nginx_with);
}

#[test]
fn haproxy_passes_tunnels() {
    passes_tunnels("haproxy", programs::haproxy);
}

#[test]
fn caddy_passes_tunnels() {
    passes_tunnels("caddy", programs::caddy);
}
