//! What `rtun explain` says of a running server, over its socket and over the Web API: what becomes of the packet, as its counters
//! show.

use std::process::Command;

use serde_json::Value;

use crate::{
    common::{Rtun, World, wait_until, web::Web},
    support::{Script, drops, echo, is_answer, server},
};

const NETWORKS: &str = "
api: {addr: 127.0.0.1:18080}
services:
- name: server
  addr: :8421
  handler: {type: tun, auther: clients}
  listener:
    type: tun
    metadata:
      net: 192.168.123.1/24
      name: tun0
      routes:
      - 10.20.0.0/16 192.168.123.3
      - 10.20.5.0/24 192.168.123.4
authers:
- name: clients
  auths:
  - {username: 192.168.123.2, password: pass-2}
  - {username: 192.168.123.3, password: pass-3}
  - {username: 192.168.123.4, password: pass-4}
";

fn explain(server: &Rtun, arguments: &[&str]) -> (Value, String) {
    let socket = server.wait_for("control socket is open")["path"].as_str().unwrap().to_owned();
    let run = |json: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rtun"));
        command.args(["explain", "--socket", &socket]).args(json).args(arguments);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let json: Value = serde_json::from_str(&run(&["--json"])).unwrap();
    (json["tunnels"][0].clone(), run(&[]))
}

#[test]
fn it_says_to_whom_and_why_not_as_the_counters_do() {
    let Some(world) = World::new() else { return };
    let server = server(&world, NETWORKS);
    let machine = world.machine("clients");
    let [two, three] = [Script::new(&machine), Script::new(&machine)];
    two.join("pass-2", &["192.168.123.2"]);
    three.join("pass-3", &["192.168.123.3"]);
    for (source, destination) in
        [("192.168.123.2", "192.168.123.3"), ("192.168.123.2", "10.20.1.1")]
    {
        let (said, text) = explain(&server, &[source, destination]);
        assert_eq!(said["conclusion"]["verdict"], "delivered", "{text}");
        let to = said["conclusion"]["to"].as_str().unwrap();
        assert!(to.ends_with(&format!(":{}", three.port())), "{to}");
        two.send(&echo(source, destination, 10));
        three.expect_packet();
    }
    let (said, text) = explain(&server, &["192.168.123.2", "10.20.1.1"]);
    let row = &said["destination"]["row"];
    assert_eq!((&row["line"], &row["gateway"]), (&13.into(), &"192.168.123.3".into()), "{text}");
    assert!(text.contains("server.yaml:13  10.20.0.0/16 -> 192.168.123.3"), "{text}");
    // What is lost is lost for the reason that was given.
    for (arguments, sender, source, destination, reason) in [
        (vec!["--from", "192.168.123.2"], Some(&two), "192.168.123.3", "192.168.123.1", "spoofed"),
        (vec!["--from", "192.168.123.2"], Some(&two), "192.168.123.2", "192.168.123.2", "no_route"),
        (vec![], Some(&two), "192.168.123.2", "169.254.0.1", "local"),
        (vec!["--from", "10.0.0.99:9"], None, "192.168.123.2", "192.168.123.3", "unregistered"),
        (vec![], None, "192.168.123.4", "192.168.123.3", "unregistered"),
        (vec![], None, "192.168.123.1", "10.20.5.1", "no_route"),
    ] {
        let asked = [arguments, vec![source, destination]].concat();
        let (said, text) = explain(&server, &asked);
        assert_eq!(said["conclusion"]["reason"], reason, "{asked:?}: {text}");
        if let Some(sender) = sender {
            let before = drops(&server, reason);
            sender.send(&echo(source, destination, 10));
            wait_until("a counted loss", || drops(&server, reason) > before);
        }
    }
    // A register that is refused is named where its address is asked about.
    assert_eq!(three.register("wrong", &["192.168.123.4"]), None);
    let (said, text) = explain(&server, &["192.168.123.2", "10.20.5.1"]);
    assert_eq!(said["destination"]["where"], "behind_unregistered", "{text}");
    assert_eq!(said["refused"][0]["reason"], "auth", "{text}");
    assert!(text.contains("which wanted 192.168.123.4") && text.contains(": auth"), "{text}");
    let path = "/v1/explain?source=192.168.123.2&destination=192.168.123.3";
    let answer = Web::new(&world.hub).get(path).json();
    assert_eq!(answer["tunnels"][0]["conclusion"]["verdict"], "delivered", "{answer}");
    assert_eq!(answer["status"], 0);
    let packet = echo("192.168.123.2", "192.168.123.1", 10);
    two.send(&packet);
    assert!(is_answer(&two.expect_packet()));
    server.stop();
}
