//! Other rules while clients are registered.

use std::{fs, path::Path};

use nix::sys::signal::Signal;

use crate::{
    common::{Rtun, World, reaches, wait_until},
    support::{Script, WITH_USERS, client, is_registered, outer_of, server, status},
};

fn reload(server: &Rtun, file: &Path, config: &str) {
    let before = server.log().matches("rules replaced").count();
    fs::write(file, config).unwrap();
    server.process.signal(Signal::SIGHUP).unwrap();
    wait_until("other rules", || server.log().matches("rules replaced").count() > before);
}

#[test]
fn a_client_that_the_new_rules_allow_notices_nothing() {
    let Some(world) = World::new() else { return };
    let server = server(&world, WITH_USERS);
    let file = world.file("server.yaml", WITH_USERS);
    let (one, two) = (world.machine("one"), world.machine("two"));
    let first = client(&world, &one, 2, "");
    is_registered(&first);
    let script = Script::new(&two);
    script.join("pass-3", &["192.168.123.3"]);
    let since = |server: &Rtun| status(server)["clients"][0]["registered"].as_f64().unwrap();
    let before = since(&server);
    // The passphrase of one changes; a network is behind the other.
    let config = WITH_USERS.replace("pass-3", "other").replace(
        "{type: tun, auther: clients}",
        "{type: tun, auther: clients, metadata: {allow: 10.9.0.0/16}}",
    );
    reload(&server, &file, &config);
    assert_eq!(outer_of(&server, "192.168.123.3"), None, "it has shown what is wrong now");
    assert_eq!(script.register("pass-3", &["192.168.123.3"]), None);
    script.join("other", &["192.168.123.3"]);
    assert!(since(&server) > before, "the other one did not have to register again");
    reaches(&one, "192.168.123.1");
    // From there nobody may come any more.
    let closed = format!(
        "{}admissions:\n- name: closed\n  matchers: [10.0.0.4]\n",
        config.replace("addr: :8421", "addr: :8421\n  admission: closed")
    );
    reload(&server, &file, &closed);
    assert_eq!(outer_of(&server, "192.168.123.3"), None);
    assert_eq!(script.register("other", &["192.168.123.3"]), None);
    reaches(&one, "192.168.123.1");
    server.stop();
}

#[test]
fn a_named_device_is_made_anew_with_other_addresses() {
    let Some(world) = World::new() else { return };
    let server = server(&world, WITH_USERS);
    let file = world.file("server.yaml", WITH_USERS);
    let one = world.machine("one");
    let first = client(&world, &one, 2, "&ttl=1");
    is_registered(&first);
    fs::write(&file, WITH_USERS.replace("192.168.123.1/24", "192.168.123.254/24")).unwrap();
    server.process.signal(Signal::SIGHUP).unwrap();
    reaches(&one, "192.168.123.254");
    server.stop();
}
