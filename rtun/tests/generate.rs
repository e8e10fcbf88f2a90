//! `rtun gen cert`: what it makes, what it never touches, and a network that runs with it as it says.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use common::{HUB, World, reaches, wait_until};
use rtun_lab::NetNamespace;

fn generate(folder: &Path, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rtun"))
        .args(["gen", "cert", "--dir", "certs"])
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .env_clear()
        .output()
        .unwrap()
}

fn made(folder: &Path, arguments: &str) -> String {
    let output = generate(folder, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(folder: &Path, arguments: &str) -> String {
    let output = generate(folder, arguments);
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

/// Name and content of every file there.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(folder.join("certs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn keys_are_for_their_owner_only_and_what_exists_stays() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let said = made(folder, "--hub hub.example,203.0.113.5 --host host-1 --host host-2");
    let first = files(folder);
    let names: Vec<_> = first.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "ca-key.pem",
        "ca.pem",
        "host-1-key.pem",
        "host-1.pem",
        "host-2-key.pem",
        "host-2.pem",
        "hub-key.pem",
        "hub.pem",
    ];
    assert_eq!(names, expected);
    assert_eq!(mode(&folder.join("certs")), 0o700);
    for name in names {
        let wanted = if name.ends_with("-key.pem") { 0o600 } else { 0o644 };
        assert_eq!(mode(&folder.join("certs").join(name)), wanted, "{name}");
    }
    assert_eq!(said.matches("fingerprint ").count(), 4, "{said}");
    assert!(said.contains("made certs/hub.pem: hub.example, 203.0.113.5, until 20"), "{said}");

    let again = refused(folder, "--host host-3 --host host-1");
    assert!(again.contains("certs/host-1.pem is there already"), "{again}");
    assert!(again.contains("leave --host host-1 out"), "{again}");
    let again = refused(folder, "--hub other.example");
    assert!(again.contains("certs/hub.pem is there already; leave --hub out"), "{again}");
    assert_eq!(files(folder), first, "nothing was made, not even in part");

    let said = made(folder, "--host host-3");
    assert!(said.contains("kept certs/ca.pem: "), "{said}");
    assert!(said.contains("router+tls://hub.example:8443?"), "the hub is known: {said}");
    let with_third = files(folder);
    assert_eq!(with_third.len(), first.len() + 2);
    assert!(first.iter().all(|file| with_third.contains(file)), "only files were added");

    made(folder, "--hub hub.example --host host-1 --force");
    let forced = files(folder);
    let same = |name: &str| {
        let of = |files: &[(String, String)]| files.iter().find(|file| file.0 == name).cloned();
        of(&forced) == of(&with_third)
    };
    for name in ["ca.pem", "ca-key.pem", "host-2.pem", "host-3-key.pem"] {
        assert!(same(name), "{name} is no business of this");
    }
    for name in ["hub.pem", "hub-key.pem", "host-1.pem", "host-1-key.pem"] {
        assert!(!same(name), "{name} was to be replaced");
    }
}

#[test]
fn an_authority_that_is_not_whole_or_not_safe_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (arguments, expected) in [
        ("", "name a hub with --hub"),
        ("--host hub", "the name of another file"),
        ("--host ../x", "a name in a certificate"),
        ("--hub hub.example:8443", "no port belongs here"),
        ("--host a --host A", "the host A is named twice"),
        ("--host a --days 0", "0 is not in"),
    ] {
        let said = refused(folder, arguments);
        assert!(said.contains(expected), "{arguments}: {said}");
        assert!(!folder.join("certs").exists());
    }
    made(folder, "--host host-1");
    let certs = folder.join("certs");
    let key = fs::read(certs.join("ca-key.pem")).unwrap();
    fs::remove_file(certs.join("ca-key.pem")).unwrap();
    let said = refused(folder, "--host host-2 --force");
    assert!(said.contains("certs/ca.pem is there, but certs/ca-key.pem is not"), "{said}");
    fs::copy(certs.join("host-1-key.pem"), certs.join("ca-key.pem")).unwrap();
    let said = refused(folder, "--host host-2");
    assert!(
        said.contains("certs/ca-key.pem does not belong to the certificate in certs/ca.pem"),
        "{said}"
    );
    fs::write(certs.join("ca-key.pem"), key).unwrap();
    fs::set_permissions(&certs, fs::Permissions::from_mode(0o777)).unwrap();
    let said = refused(folder, "--host host-2");
    assert!(said.contains("chmod go-w certs"), "{said}");
    fs::set_permissions(&certs, fs::Permissions::from_mode(0o700)).unwrap();
    made(folder, "--host host-2");
    assert!(!certs.join("hub.pem").exists());
}

/// The lines between this one and the next blank one, without the first.
fn block<'t>(text: &'t str, first: &str) -> &'t str {
    let (_, rest) = text.split_once(first).unwrap_or_else(|| panic!("no {first:?} in {text}"));
    rest.split_once("\n\n").unwrap_or((rest, "")).0
}

/// A whole network with mutual TLS, configured by nothing but what was printed.
#[test]
fn a_network_runs_with_what_is_printed() {
    let Some(world) = World::new() else { return };
    let folder = world.file("hub.txt", "").parent().unwrap().to_owned();
    let said = made(&folder, "--hub hub.example,10.0.0.1 --host host-1 --host host-2");
    let listener =
        block(&said, "On the hub, with certs/hub.pem, certs/hub-key.pem and certs/ca.pem:\n\n");
    let hub = world.hub(&format!(
        "
services:
- name: service-0
  addr: :8443
  handler: {{type: router, metadata: {{router: router-0}}}}
{listener}
routers:
- name: router-0
  routes:
  - {{dst: 192.168.123.1, gateway: host-1}}
  - {{dst: 192.168.123.2, gateway: host-2}}
  - {{dst: 192.168.123.3, gateway: host-3}}
"
    ));
    let machine = |name: &str| {
        let machine = world.machine(name);
        machine.hosts([("hub.example", HUB)]);
        machine
    };
    let by_url = |machine: &NetNamespace, said: &str, host: &str, reports: &str| {
        let about = said.split(&format!("\nOn {host}, ")).nth(1).unwrap();
        let url = about.split("-F \"").nth(1).unwrap().split('"').next().unwrap();
        let n = reports.strip_prefix("host-").unwrap();
        let service = format!("tun:///{reports}?net=192.168.123.{n}/24");
        (world.start(machine, &["-L", &service, "-F", url]), url.to_owned(), service)
    };
    let (one, two) = (machine("host-1"), machine("host-2"));
    let (first, url, service) = by_url(&one, &said, "host-1", "host-1");
    let about = said.split("\nOn host-2, ").nth(1).unwrap();
    let node = block(about, ":\n\n").replace('\n', "\n    ");
    let second = world.host(
        &two,
        &format!(
            "
services:
- name: host
  handler: {{type: tun}}
  listener: {{type: tun, metadata: {{net: 192.168.123.2/24}}}}
  forwarder: {{nodes: [{{addr: host-2}}]}}
chains:
- name: hub
  hops:
  - name: hop
    nodes:
    - name: hub
      connector: {{type: router}}
    {node}
"
        ),
    );
    for host in [&first, &second] {
        assert_eq!(host.wait_for("joined the hub")["transport"], "tls");
    }
    reaches(&one, "192.168.123.2");

    // A host that reports another's name with its own certificate.
    let (liar, ..) = by_url(&machine("liar"), &said, "host-1", "host-2");
    wait_until("the liar is informed", || liar.log().contains("refused: "));
    wait_until("the hub says why", || hub.log().contains("\"reason\":\"name_not_permitted\""));
    assert!(liar.said("joined the hub").is_empty());

    // Nobody who has no certificate, or one of somebody else's.
    let (bare, _) = url.split_once("&certFile").unwrap();
    let anonymous = world.start(&machine("anonymous"), &["-L", &service, "-F", bare]);
    wait_until("the host without a certificate is refused", || {
        hub.log().contains("the client shows no certificate")
    });
    wait_until("the host without a certificate knows", || {
        anonymous.log().contains("it wants a client certificate")
    });
    assert!(anonymous.said("joined the hub").is_empty());
    let elsewhere = folder.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    made(&elsewhere, "--hub hub.example --host host-1");
    let other = url
        .replace("certFile=certs", "certFile=elsewhere/certs")
        .replace("keyFile=certs", "keyFile=elsewhere/certs");
    let forger = world.start(&machine("forger"), &["-L", &service, "-F", &other]);
    wait_until("the forger is refused", || hub.log().contains("whose key says no"));
    assert!(forger.said("joined the hub").is_empty());

    // A host that comes later, with no change at the hub.
    let said = made(&folder, "--host host-3");
    let three = machine("host-3");
    let (third, ..) = by_url(&three, &said, "host-3", "host-3");
    third.wait_for("joined the hub");
    reaches(&three, "192.168.123.1");
    for rtun in [&first, &second, &third, &liar, &anonymous, &forger, &hub] {
        rtun.stop();
    }
}
