//! The live page in a real browser: in front of a hub that is made up, and of a real one. `crates/api/page/test` has what is tried.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    fs::{self, File},
    io::{self, Write as _},
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use common::{World, reaches};

const HUB: &str = "
services:
- name: hub
  addr: :8443
  handler: {type: router, metadata: {router: main}}
  listener: {type: tcp}
routers:
- name: main
  routes:
  - {dst: 192.168.123.1, gateway: host-1}
  - {dst: 192.168.123.2, gateway: host-2}
  - {dst: 192.168.123.3, gateway: host-3}
api: {addr: 127.0.0.1:18080, auth: {username: admin, password: secret}}
";

/// Node with these arguments in the folder of the page; `None` where there is no browser, or where the tools of the tests are not
/// installed, unless `RTUN_TESTS_MUST_RUN` is set.
fn node(arguments: &[&str]) -> Option<Command> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/api/page");
    let has = |program: &str| {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|path| path.join(program).is_file())
    };
    let missing = [
        (!has("node"), "node"),
        (!Path::new("/usr/bin/chromium").is_file(), "chromium"),
        (!folder.join("node_modules/puppeteer-core").is_dir(), "puppeteer: run script/page"),
    ];
    if let Some((_, what)) = missing.iter().find(|(is_missing, _)| *is_missing) {
        assert!(std::env::var_os("RTUN_TESTS_MUST_RUN").is_none(), "no {what}");
        // Past the test harness, which shows the output of failed tests only.
        let _ = io::stderr().write_all(format!("skipped: no {what}\n").as_bytes());
        return None;
    }
    let mut command = Command::new("node");
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    Some(command)
}

#[test]
fn the_page_does_what_it_should_in_front_of_a_hub_that_is_made_up() {
    let Some(mut node) = node(&["--test", "test/page.test.mjs"]) else { return };
    let output = node.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_page_shows_a_hub_as_it_is() {
    let Some(mut node) = node(&["--test", "test/hub.test.mjs"]) else { return };
    let Some(world) = World::new() else { return };
    let _hub = world.hub(HUB);
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let service = "tun:///host-1?net=192.168.123.1/24&route=172.16.0.0/16";
    let _first = world.start(&one, &["-L", service, "-F", "router://server_ip:8443"]);
    let second = world.join(&two, 2);
    reaches(&one, "192.168.123.2");
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let sender = one.thread(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        while !stopped.load(Ordering::Relaxed) {
            for to in ["192.168.123.2:9", "172.16.0.9:9"] {
                // Answered by an ICMP error, which the next call returns.
                let _ = socket.send_to(&[0; 400], to);
            }
            thread::sleep(Duration::from_millis(50));
        }
    });
    let said = world.path("node.log");
    let output = File::create(&said).unwrap();
    node.stdout(output.try_clone().unwrap()).stderr(output);
    node.env("PAGE", "http://admin:secret@127.0.0.1:18080/");
    node.env("LEAVES", second.process.id().to_string());
    let file = world.path("host-9.yaml");
    node.env("FILE", &file);
    // Where the hub is, so that the browser has nothing else to reach.
    let browser = world.hub.spawn(node).unwrap();
    let status = browser.wait(Duration::from_secs(150)).unwrap();
    stop.store(true, Ordering::Relaxed);
    sender.unwrap().join().unwrap().unwrap();
    let is_well = status.is_some_and(|status| status.success());
    assert!(is_well, "{status:?}: {}", fs::read_to_string(&said).unwrap());
    let checked =
        Command::new(env!("CARGO_BIN_EXE_rtun")).arg("check").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
    assert!(said.contains("runs: host `host-9`"), "{said}");
}
