//! `rtun convert`: what passed in a UDP tunnel passes in the routing tunnel that is made of it.

use std::{fs, process::Command};

use rtun_lab::NetNamespace;

use crate::{
    common::{HUB, Rtun, World, does_not_reach, reaches, wait_until},
    support::{is_registered, server},
};

/// The tunnel of these tests: three clients, a network behind two of them and one behind the server.
const SERVER: &str = "
services:
- name: server
  addr: :8421
  handler: {type: tun, auther: clients}
  listener:
    type: tun
    metadata:
      net: 192.168.123.1/24,fd99::1/64
      name: tun0
      routes:
      - 192.168.20.0/24 192.168.123.2
      - 192.168.30.0/24 192.168.123.3
authers:
- name: clients
  auths:
  - {username: 192.168.123.2, password: pass-2}
  - {username: 'fd99::2', password: pass-2}
  - {username: 192.168.123.3, password: pass-3}
  - {username: 192.168.123.4, password: pass-4}
";

fn rtun(world: &World, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_rtun"))
        .args(arguments)
        .current_dir(world.path(""))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// Who reaches whom, in both kinds of tunnel.
fn all_reach_all(
    world: &World,
    [one, two, three]: [&NetNamespace; 3],
    [behind_one, behind_two, beyond]: [&NetNamespace; 3],
) {
    for (from, to) in [
        (one, "192.168.123.1"),
        (one, "fd99::1"),
        (one, "192.168.123.3"),
        (one, "192.168.30.2"),
        (one, "192.168.50.2"),
        (two, "192.168.123.2"),
        (three, "192.168.123.3"),
        (&world.hub, "192.168.123.2"),
        (&world.hub, "fd99::2"),
        (&world.hub, "192.168.123.4"),
        (&world.hub, "192.168.20.2"),
        (behind_one, "192.168.30.2"),
        (behind_two, "192.168.20.2"),
        (beyond, "192.168.123.2"),
    ] {
        reaches(from, to);
    }
    does_not_reach(one, "192.168.123.77");
    does_not_reach(two, "192.168.50.2");
}

#[test]
fn the_same_passes_in_the_routing_tunnel_over_each_transport() {
    let Some(world) = World::new() else { return };
    let machines = ["one", "two", "three"].map(|name| world.machine(name));
    let [one, two, three] = &machines;
    world.hub.forward_packets().unwrap();
    let behind_one = world.behind(one, "192.168.20");
    let behind_two = world.behind(two, "192.168.30");
    let beyond = world.behind(&world.hub, "192.168.50");
    let behind = [&behind_one, &behind_two, &beyond];
    // A machine that has its own default route does not take that into a tunnel.
    let clients = [
        format!("tun://:0/{HUB}:8421?net=192.168.123.2/24,fd99::2/64&passphrase=pass-2&name=tun0&route=192.168.30.0/24,192.168.50.0/24"),
        "tun://:0/[fd77::1]:8421?net=192.168.123.3/24&passphrase=pass-3&name=tun0&route=192.168.20.0/24".to_owned(),
        format!("tun://:0/{HUB}:8421?net=192.168.123.4/24&passphrase=pass-4&name=tun0"),
    ];
    let tunnel = server(&world, SERVER);
    let running = [0, 1, 2].map(|n| world.start(&machines[n], &["-L", &clients[n]]));
    running.iter().for_each(is_registered);
    all_reach_all(&world, machines.each_ref(), behind);
    running.iter().chain([&tunnel]).for_each(Rtun::stop);

    for transport in ["tls", "wss", "quic"] {
        let mut arguments =
            vec!["convert", "server.yaml", "--dir", transport, "--transport", transport];
        for client in &clients {
            arguments.extend(["--", "-L", client]);
        }
        let (status, said, errors) = rtun(&world, &arguments);
        assert_eq!(status, 0, "{errors}");
        assert!(said.contains("made tls/ca.pem") || transport != "tls", "{said}");
        for file in fs::read_dir(world.path(transport)).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|it| it == "yaml") {
                let (status, found, _) = rtun(&world, &["check", path.to_str().unwrap()]);
                assert_eq!(
                    (status, found.lines().next()),
                    (0, Some("nothing to complain of")),
                    "{}\n{found}",
                    path.display()
                );
            }
        }
        let start = |machine, name: &str| {
            let file = world.path(transport).join(format!("{name}.yaml"));
            world.start(machine, &["-C", file.to_str().unwrap()])
        };
        let hub = start(&world.hub, "hub");
        hub.wait_for("hub listens");
        let hosts = [
            start(&world.hub, "server"),
            start(one, "host-192-168-123-2"),
            start(two, "host-192-168-123-3"),
            start(three, "host-192-168-123-4"),
        ];
        for host in &hosts {
            assert_eq!(host.wait_for("joined the hub")["transport"], transport);
        }
        all_reach_all(&world, machines.each_ref(), behind);
        hosts.iter().for_each(Rtun::stop);
        hub.stop_balanced();
    }
}

#[test]
fn a_tunnel_behind_a_relay_becomes_a_hub_where_the_relay_was() {
    let Some(world) = World::new() else { return };
    let one = world.machine("one");
    let (status, _, errors) = rtun(
        &world,
        &[
            "convert",
            "--dir",
            "net",
            "--force",
            "-L",
            "tun://127.0.0.1:8421?net=192.168.123.1/24",
            "-L",
            "relay+wss://:8443",
            "--",
            "-L",
            "tun://:0/:8421?net=192.168.123.2/24",
            "-F",
            &format!("relay+wss://{HUB}:8443"),
        ],
    );
    assert_eq!(status, 0, "{errors}");
    let file = |name: &str| world.path("net").join(name).display().to_string();
    let hub = world.start(&world.hub, &["-C", &file("hub.yaml"), "-C", &file("server.yaml")]);
    let host = world.start(&one, &["-C", &file("host-192-168-123-2.yaml")]);
    host.wait_for("joined the hub");
    wait_until("the server's host", || !hub.said("joined the hub").is_empty());
    reaches(&one, "192.168.123.1");
    host.stop();
    hub.stop();
}

#[test]
fn what_is_printed_says_what_differs_and_what_cannot_be_converted_is_refused() {
    let Some(world) = World::new() else { return };
    world.file("server.yaml", SERVER);
    let (status, text, errors) =
        rtun(&world, &["convert", "server.yaml", "--hub", "hub.example:443"]);
    assert_eq!(status, 0, "{errors}");
    for part in [
        "# hub.yaml: the hub, on the machine of the server; rtun -C hub.yaml\nservices:\n- name: hub\n  addr: :443\n",
        "# server.yaml: the host 192.168.123.1, fd99::1, on the same machine; rtun -C server.yaml\n",
        // One passphrase, an address of each family.
        "# host-192-168-123-2.yaml: the host 192.168.123.2, fd99::2; ",
        "  - dst: 192.168.20.0/24\n    gateway: host-192-168-123-2\n",
        "  - username: host-192-168-123-3\n    password: pass-3\n    hosts:\n    - host-192-168-123-3\n",
        "addr: hub.example:443\n",
        "# - certificates for the hub: rtun gen cert --dir . --hub hub.example; ",
        "# - host-192-168-123-2, host-192-168-123-3, host-192-168-123-4: only the server's configuration names them",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    world.file("tap.yaml", "services: [{name: ether, addr: ':8421', handler: {type: tap}, listener: {type: tap, metadata: {net: 192.168.124.1/24}}}]");
    let client = "tun://:0/192.0.2.1:8421?net=192.168.123.1/24";
    for (arguments, code, why) in [
        (&["tap.yaml"][..], 78, "ether is an Ethernet tunnel"),
        (&["server.yaml", "server.yaml"], 78, "server and server are both servers"),
        (&["server.yaml", "-L", client], 78, "both have the address 192.168.123.1"),
        (&["-L", "router://:8443"], 78, "there is no UDP tunnel in it"),
        (&["missing.yaml"], 78, "missing.yaml"),
        (&["-L", "tun://:8421?net=192.168.123.300/24"], 78, "192.168.123.300/24"),
        (&[], 64, "name the files"),
        (&["server.yaml", "--transport", "tcp"], 64, "tls, wss, quic"),
        (&["server.yaml", "--hub", "a:0"], 64, "the port is no number"),
    ] {
        let (status, _, errors) = rtun(&world, &[&["convert"], arguments].concat());
        assert_eq!(status, code, "{arguments:?}: {errors}");
        assert!(errors.contains(why), "{arguments:?}: {errors}");
    }
    let twice = ["convert", "server.yaml", "--hub", "hub.example", "--dir", "out"];
    assert_eq!(rtun(&world, &twice).0, 0);
    let (status, _, errors) = rtun(&world, &twice);
    assert_eq!(status, 1);
    assert!(errors.contains("hub.yaml is there already; replace it with --force"), "{errors}");
    assert_eq!(rtun(&world, &[&twice[..], &["--force"]].concat()).0, 0);
}
