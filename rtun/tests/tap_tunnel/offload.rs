//! Streams between devices that exchange many frames at once and devices that do not.

use rtun_lab::tools::tcp_hash_transfer;

use crate::{
    common::{Rtun, World, at},
    support::{CLEAR, SEALED, client_url, drops, is_answered, server_url},
};

fn start(world: &World, machine: &rtun_lab::NetNamespace, url: &str, offload: bool) -> Rtun {
    let rtun = world.start(machine, &["-L", &format!("{url}&offload={offload}")]);
    let up = rtun.wait_for("device is up");
    let joins = up["offload"].as_str().unwrap().starts_with("tcp");
    assert_eq!(joins, offload, "{up}");
    rtun
}

#[test]
fn streams_arrive_whole_with_offload_at_any_end() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.machine("one"), world.machine("two"));
    for (cipher, at_server, at_first) in
        [(CLEAR, true, true), (SEALED, true, true), (CLEAR, true, false), (SEALED, false, true)]
    {
        let server = start(&world, &world.hub, &server_url(cipher), at_server);
        let clients = [
            start(&world, &one, &client_url(cipher, 2), at_first),
            start(&world, &two, &client_url(cipher, 3), true),
        ];
        clients.iter().for_each(is_answered);
        for (from, to, address) in [
            (&one, &world.hub, "192.168.124.1"),
            (&world.hub, &two, "fd99::3"),
            (&one, &two, "192.168.124.3"),
            (&two, &one, "fd99::2"),
        ] {
            tcp_hash_transfer(from, to, at(address, 5001), 5_000_000).unwrap();
        }
        for end in [&server, &clients[0], &clients[1]] {
            for reason in ["malformed", "too_big", "undecryptable", "device"] {
                assert_eq!(drops(end, reason), 0, "{reason}");
            }
        }
        clients.iter().for_each(Rtun::stop);
        server.stop();
    }
}
