//! Whole networks over each transport, rtun at both ends.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{SOON, THREE_HOSTS, World, at, ip, reaches, wait_until};
use nix::sys::signal::Signal;
use rtun_lab::tools::{ping, tcp_hash_transfer};

macro_rules! transports {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            carries(stringify!($name));
        })*
    };
}

transports! { tcp tls ws wss quic h2 h2c grpc }

/// Packets of all sizes in both directions, many at once, again after the hub's restart; the books balance.
fn carries(transport: &str) {
    let Some(world) = World::new() else { return };
    let config = THREE_HOSTS.replace("type: tcp", &format!("type: {transport}"));
    let hub = world.hub(&config);
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let node = format!("router+{transport}://server_ip:8443");
    let start = |machine, n| {
        let service = format!("tun:///host-{n}?net=192.168.123.{n}/24");
        world.start(machine, &["-L", &service, "-F", &node])
    };
    let hosts = [start(&one, 1), start(&two, 2)];
    for host in &hosts {
        assert_eq!(host.wait_for("joined the hub")["transport"], transport);
    }
    reaches(&one, "192.168.123.2");
    for payload in [0, 1, 500, 1392] {
        ping(&one, ip("192.168.123.2"), payload, true, SOON).unwrap();
        ping(&two, ip("192.168.123.1"), payload, true, SOON).unwrap();
    }
    ping(&one, ip("192.168.123.2"), 30_000, false, SOON).unwrap();
    tcp_hash_transfer(&one, &two, at("192.168.123.2", 5000), 20 << 20).unwrap();
    tcp_hash_transfer(&two, &one, at("192.168.123.1", 5000), 20 << 20).unwrap();
    hub.stop_balanced();

    let again = world.hub(&config);
    for host in &hosts {
        host.wait_for_nth("joined the hub", 2);
    }
    reaches(&one, "192.168.123.2");
    again.process.signal(Signal::SIGKILL).unwrap();
    again.process.wait(SOON).unwrap();
    let third = world.hub(&config);
    reaches(&two, "192.168.123.1");
    for host in &hosts {
        host.stop();
    }
    wait_until("hosts gone", || third.said("host left").len() == 2);
    third.stop();
}
