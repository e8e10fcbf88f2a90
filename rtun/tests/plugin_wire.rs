//! What plugins are asked, by rtun and, where `RTUN_GOST` names a GOST program, by GOST: the same.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "common/grpc.rs"]
mod grpc;

mod common;

use std::{
    collections::BTreeSet,
    net::TcpStream,
    process::{Command, Stdio},
};

use common::{
    World, gost,
    raw::{Answer, RawHost, request_as, udp},
    services::{Http, Manner},
    wait_until,
};
use grpc::Grpc;
use serde_json::Value;

const NS: [u8; 16] = [0xab; 16];

const ID: &str = "abababab-abab-abab-abab-abababababab";

/// A hub that asks plugins about everything. The source check is rtun's own: without it both ask about destinations.
fn config(plugin: impl Fn(u16) -> String) -> String {
    let [router, auther, ingress, admission] = [8101, 8102, 8103, 8104].map(plugin);
    format!(
        "
services:
- name: service-0
  addr: :8443
  admission: peers
  handler:
    type: router
    auther: users
    metadata: {{router: routes, ingress: places, sourceCheck: off}}
  listener: {{type: tcp}}
routers:
- name: routes
  plugin: {router}
authers:
- name: users
  plugin: {auther}
ingresses:
- name: places
  plugin: {ingress}
admissions:
- name: peers
  plugin: {admission}
"
    )
}

fn gateway_of(destination: &str) -> &'static str {
    if destination == "192.168.123.2" { "host-2" } else { "host-1" }
}

/// Two hosts join, and one sends the other a packet.
fn talk(world: &World, name: &str) {
    let machine = world.machine(name);
    let join = |host: &str, user: &str| {
        let mut raw = RawHost::connect(&machine);
        let answer = raw.ask(&request_as(Some((user, "pä ss")), host, NS));
        assert_eq!(answer, Answer::Status(0), "{host}");
        raw
    };
    let (mut one, mut two) = (join("host-1", "alice"), join("host-2", "bob"));
    let packet = udp("192.168.123.1", "192.168.123.2", b"by way of plugins");
    one.send(&packet);
    assert_eq!(two.receive(), packet);
}

/// Calls without what differs from run to run: the clients' addresses and ports.
fn same_in_every_run(calls: Vec<String>) -> BTreeSet<String> {
    let without = |call: String| {
        let parts = call.split('"').map(|part| match part.parse::<std::net::SocketAddr>() {
            Ok(_) => "IP:PORT".to_owned(),
            Err(_) => part.to_owned(),
        });
        parts.collect::<Vec<_>>().join("\"")
    };
    calls.into_iter().map(without).collect()
}

/// What of an HTTP request a plugin looks at.
fn essence(request: &str) -> String {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let line = lines.next().unwrap();
    let wanted = ["authorization", "content-type"];
    let mut headers: Vec<String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value))
        .filter(|(name, _)| wanted.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    headers.sort();
    let (method, rest) = line.split_once(' ').unwrap();
    let (path, query) = rest.split_once(' ').unwrap().0.split_once('?').unwrap_or((rest, ""));
    let mut query: Vec<&str> = query.split('&').collect();
    query.sort_unstable();
    let path = path.split(' ').next().unwrap();
    // With its keys in order.
    let body = match body {
        "" => String::new(),
        body => serde_json::from_str::<Value>(body).unwrap().to_string(),
    };
    format!("{method} {path} {query:?} {headers:?} {body}")
}

/// Starts a hub, GOST's or rtun's, has hosts talk through it, and ends it.
fn with_hub(world: &World, config: &str, gost: Option<&str>, name: &str) {
    match gost {
        None => {
            let hub = world.hub(config);
            talk(world, name);
            hub.stop();
        }
        Some(gost) => {
            let file = world.file("gost.yaml", config);
            let mut command = Command::new(gost);
            command.arg("-C").arg(file);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let hub = world.hub.spawn(command).unwrap();
            let listens = || world.hub.run(|| TcpStream::connect(("127.0.0.1", 8443))).unwrap();
            wait_until("GOST listening", || listens().is_ok());
            talk(world, name);
            hub.signal(nix::sys::signal::Signal::SIGKILL).unwrap();
            hub.wait(common::SOON).unwrap();
        }
    }
}

#[test]
fn http_plugins_are_asked_in_the_same_words() {
    let Some(world) = World::new() else { return };
    let says = |text: &str| Manner::Says(text.into());
    let services = [
        Http::start(&world.hub, 8101, says(r#"{"dst": "192.168.123.2/32", "gateway": "host-2"}"#)),
        Http::start(&world.hub, 8102, says(r#"{"ok": true, "id": "somebody"}"#)),
        Http::start(&world.hub, 8103, says(&format!(r#"{{"endpoint": "{ID}"}}"#))),
        Http::start(&world.hub, 8104, says(r#"{"ok": true}"#)),
    ];
    let config = config(|port| {
        format!("{{type: http, addr: 'http://127.0.0.1:{port}/ask?x=1', token: t0ken}}")
    });
    let mut before = 0;
    let mut asked = || {
        let all: Vec<_> =
            services.iter().flat_map(Http::heads).map(|head| essence(&head)).collect();
        let calls = same_in_every_run(all);
        let new = services.iter().flat_map(Http::heads).count() - before;
        before += new;
        (calls, new)
    };
    with_hub(&world, &config, None, "ours");
    let (ours, _) = asked();
    assert_eq!(ours.len(), 6, "{ours:#?}");
    if let Some(gost) = gost::program() {
        with_hub(&world, &config, Some(&gost), "theirs");
        let (both, new) = asked();
        assert!(new > 0, "GOST has asked");
        assert_eq!(both, ours, "GOST's questions add nothing new");
    }
}

#[test]
fn grpc_plugins_are_asked_in_the_same_words() {
    let Some(world) = World::new() else { return };
    let ours = [8101, 8102, 8103, 8104].map(|port| Grpc::start(&world.hub, port, ID, gateway_of));
    let config = config(|port| format!("{{type: grpc, addr: '127.0.0.1:{port}', token: t0ken}}"));
    with_hub(&world, &config, None, "ours");
    let calls = |services: &[Grpc]| {
        same_in_every_run(services.iter().flat_map(Grpc::calls).collect::<Vec<_>>())
    };
    let asked = calls(&ours);
    assert_eq!(asked.len(), 6, "{asked:#?}");
    for call in &asked {
        assert!(call.starts_with("Some(\"t0ken\") "), "{call}");
    }
    if let Some(gost) = gost::program() {
        with_hub(&world, &config, Some(&gost), "theirs");
        assert!(ours.iter().flat_map(Grpc::calls).count() > asked.len(), "GOST has asked");
        assert_eq!(calls(&ours), asked, "GOST's questions add nothing new");
    }
}
