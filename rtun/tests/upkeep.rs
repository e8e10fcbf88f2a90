//! What a running rtun reads, writes and keeps on its machine, while others change it and take it away.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;
#[path = "upkeep/site.rs"]
mod site;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use common::raw::request_as;
use nix::sys::signal::Signal;
use rtun_core::NamespaceId;
use serde_json::Value;
use site::{Running, SOON, Site, wait_until};

fn holds(path: &Path, text: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|content| content.contains(text))
}

fn utf16(text: &str) -> Vec<u8> {
    std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

fn marked(text: &str) -> Vec<u8> {
    format!("\u{feff}{text}").into()
}

const TCP: &str = "{type: tcp}";

#[test]
fn a_reload_opens_the_log_again_and_changes_all_of_it() {
    let site = Site::new();
    let log = site.path("rtun.log");
    let keys = |rest: &str| format!("log: {{output: {}{rest}}}\n", log.display());
    let hub = site.start(&site.hub(TCP, &keys("")));
    wait_until("a log", || holds(&log, "hub listens"));
    assert!(!holds(&log, "DEBUG"));

    // As logrotate does it.
    let moved = site.path("rtun.log.1");
    fs::rename(&log, &moved).unwrap();
    hub.signal(Signal::SIGHUP);
    wait_until("a new file", || holds(&log, "configuration read again"));
    assert!(!holds(&moved, "configuration read again"), "nothing is written to the old one");

    site.file("rtun.yaml", site.hub(TCP, &keys(", level: debug, format: text")));
    hub.signal(Signal::SIGHUP);
    wait_until("the change", || {
        holds(&log, "level=info msg=\"the log has changed as configured\"")
    });
    drop(TcpStream::connect(site.address()).unwrap());
    wait_until("lines at level debug", || holds(&log, "level=debug msg=\"not admitted"));

    let other = site.path("other.log");
    site.file("rtun.yaml", site.hub(TCP, &keys("").replace("rtun.log", "other.log")));
    hub.signal(Signal::SIGHUP);
    wait_until("another file", || holds(&other, "\"message\":\"configuration read again\""));

    // One that cannot be opened changes nothing, which is said.
    site.file("rtun.yaml", site.hub(TCP, &keys("").replace("rtun.log", "rtun.yaml/rtun.log")));
    hub.signal(Signal::SIGHUP);
    wait_until("a complaint", || holds(&other, "the log stays where it was"));
    assert!(holds(&other, "log.output"));
}

#[test]
fn a_log_file_that_goes_is_made_again_and_that_is_said_once() {
    let site = Site::new();
    let log = site.path("rtun.log");
    let hub = site.start(&site.hub(TCP, &format!("log: {{output: {}}}\n", log.display())));
    wait_until("a log", || holds(&log, "hub listens"));
    fs::remove_file(&log).unwrap();
    wait_until("a new file", || holds(&log, "the log's file had gone and is made again"));
    hub.signal(Signal::SIGUSR1);
    wait_until("lines in it", || holds(&log, "hub report"));
    let said = fs::read_to_string(&log).unwrap().matches("made again").count();
    assert_eq!(said, 1);
}

#[test]
fn an_unknown_level_or_format_starts_as_gost_does_and_is_said() {
    let site = Site::new();
    let mut hub = site.hub_with(TCP, "log: {level: verbose, format: xml}\n");
    for text in ["`verbose` is not known, `info` is taken", "`xml` is not known, `json` is taken"] {
        let line: Value = serde_json::from_str(&hub.wait_for(text)).unwrap();
        assert_eq!((&line["level"], line["msg"].is_string()), (&"warn".into(), true), "{line}");
    }
}

#[test]
fn every_text_is_read_in_every_encoding() {
    let site = Site::new();
    for (name, encode) in [
        ("utf-8", (|text: &str| text.into()) as fn(&str) -> Vec<u8>),
        ("marked utf-8", marked),
        ("utf-16", utf16),
    ] {
        for end in ["\n", "\r\n"] {
            let lines = |lines: &[&str]| encode(&(lines.join(end) + end));
            let id = "e87f56dd-fd57-4921-9ab8-a0847662daae";
            site.file("routes.txt", lines(&["10.0.0.0/8 host-1", "10.1.0.0/16 nowhere"]));
            site.file("users.txt", lines(&["alice s3cret", "bob s3cret"]));
            site.file("ingress.txt", lines(&[&format!("host-1 {id}"), &format!("host-2 {id}")]));
            site.file("sources.txt", lines(&["127.0.0.1", "10.0.0.0/8"]));
            let config = format!(
                "services:
- name: service-0
  addr: 127.0.0.1:{}
  admission: peers
  handler: {{type: router, auther: users, metadata: {{ingress: hosts}}}}
  listener: {{type: tcp}}
routers:
- {{name: {id}, file: {{path: routes.txt}}}}
authers:
- {{name: users, file: {{path: users.txt}}}}
ingresses:
- {{name: hosts, file: {{path: ingress.txt}}}}
admissions:
- {{name: peers, whitelist: true, file: {{path: sources.txt}}}}
",
                site.port
            );
            site.file("hub.yaml", encode(&config.replace('\n', end)));
            let (_, said) = site.output(&["check", "--reach", "hub.yaml"]);
            assert!(!said.contains("error") && !said.contains("is left out"), "{name}: {said}");
            assert!(!said.contains("C15"), "{name}: {said}");
            let mut hub = site.spawn(site.command(&["-C", "hub.yaml"]));
            hub.wait_for("hub listens");
            assert!(admits(site.address(), "alice"), "{name}, the first user: {}", hub.said());
            assert!(admits(site.address(), "bob"), "{name}: {}", hub.said());
        }
    }
    site.file("hub.yaml", b"services: []\nlog: {output: b\xfc.log}\n");
    let (status, said) = site.output(&["check", "hub.yaml"]);
    assert_eq!(status, Some(78));
    assert!(said.contains("hub.yaml:2:16") && said.contains("save it as UTF-8"), "{said}");
}

/// Whether a hub admits this user with the password of all.
fn admits(hub: SocketAddr, user: &str) -> bool {
    let host = if user == "alice" { "host-1" } else { "host-2" };
    answer_to(hub, host, user, "s3cret") == Some(0)
}

/// The status that a hub answers to somebody who wants to join, if it answers.
fn answer_to(hub: SocketAddr, host: &str, user: &str, password: &str) -> Option<u8> {
    let id: NamespaceId = "e87f56dd-fd57-4921-9ab8-a0847662daae".parse().unwrap();
    let mut stream = TcpStream::connect(hub).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(&request_as(Some((user, password)), host, *id.as_bytes())).unwrap();
    let mut head = [0; 2];
    stream.read_exact(&mut head).ok()?;
    Some(head[1])
}

#[test]
fn a_configuration_from_a_url_is_read_from_there_and_nowhere_else() {
    let site = Site::new();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = elsewhere.local_addr().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: http://{to}/x.yaml\r\nContent-Length: 0\r\n\r\n"
        )
        .unwrap();
    });
    let mut command = site.command(&["check", &format!("http://u:s3cret@{at}/hub.yaml")]);
    // A proxy of the environment is not asked either.
    command.env("http_proxy", format!("http://{to}")).env("HTTP_PROXY", format!("http://{to}"));
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("status 302") && said.contains("redirects are not followed"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
    serving.join().unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    assert!(elsewhere.accept().is_err(), "nobody came");
}

const TLS: &str = "{type: tls}";

/// What a hub shows to hosts.
fn fingerprint(hub: &mut Running) -> String {
    let line: Value = serde_json::from_str(&hub.wait_for("certificate of the hub")).unwrap();
    line["fingerprint"].as_str().unwrap().to_owned()
}

#[test]
fn a_certificate_that_is_made_stays_whoever_the_hub_runs_as() {
    let site = Site::new();
    // Neither HOME nor a directory of systemd's: as a unit with a user of its own.
    let first = fingerprint(&mut site.hub_with(TLS, ""));
    let mut hub = site.hub_with(TLS, "");
    assert_eq!(fingerprint(&mut hub), first);
    let mode = |name: &str| fs::metadata(site.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("state"), 0o700);
    assert_eq!(mode("state/auto-ca-key.pem"), 0o600);

    // The directory that goes is made again, with what was in it.
    fs::remove_dir_all(site.path("state")).unwrap();
    let said = "the state directory had gone and is made again";
    hub.wait_for(said);
    let key = site.path("state/auto-ca-key.pem");
    wait_until("the key", || key.exists() && site.path("state/auto-ca-cert.pem").exists());
    assert_eq!(hub.said().matches(said).count(), 1);
    drop(hub);
    assert_eq!(fingerprint(&mut site.hub_with(TLS, "")), first);

    // Who wants another one removes it.
    fs::remove_file(&key).unwrap();
    assert_ne!(fingerprint(&mut site.hub_with(TLS, "")), first);
}

#[test]
fn a_certificate_that_gost_has_made_is_shown_still() {
    let site = Site::new();
    let made = fingerprint(&mut site.hub_with(TLS, ""));
    fs::rename(site.path("state"), site.path(".gost")).unwrap();
    let file = site.file("rtun.yaml", site.hub(TLS, ""));
    let mut command = site.command(&["-C", file.to_str().unwrap()]);
    command.env("HOME", site.folder.path());
    assert_eq!(fingerprint(&mut site.spawn(command)), made);
}

#[test]
fn state_that_others_may_write_is_refused_with_the_reason() {
    let site = Site::new();
    let (state, key) = (site.path("state"), site.path("state/auto-ca-key.pem"));
    let made = fingerprint(&mut site.hub_with(TLS, ""));
    let refused = |reason: &str| {
        let mut hub = site.hub_with(TLS, "");
        hub.wait_for(reason);
        assert_ne!(fingerprint(&mut hub), made, "{reason}: not used");
    };
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
    refused("may be written by others (mode 0777)");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();

    let kept = site.path("kept");
    fs::rename(&key, &kept).unwrap();
    std::os::unix::fs::symlink(&kept, &key).unwrap();
    refused("is a symbolic link");
    fs::remove_file(&key).unwrap();
    nix::unistd::mkfifo(&key, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused("is a pipe (FIFO)");
    fs::remove_file(&key).unwrap();
    fs::rename(&kept, &key).unwrap();
    assert_eq!(fingerprint(&mut site.hub_with(TLS, "")), made);

    fs::rename(&state, &kept).unwrap();
    std::os::unix::fs::symlink(&kept, &state).unwrap();
    refused("is a symbolic link");
    fs::remove_file(&state).unwrap();
    fs::write(&state, "").unwrap();
    refused("is no directory");
}

#[test]
fn rows_are_kept_in_the_same_directory_and_kept_again_when_it_goes() {
    let site = Site::new();
    site.file("routes.txt", "10.0.0.0/8 host-1\n");
    let config = site.hub(TCP, "").replace(
        "routes: [{dst: 192.168.123.1, gateway: host-1}]",
        "reload: 1s\n  file: {path: routes.txt}",
    );
    let mut hub = site.start(&config);
    hub.wait_for("hub listens");
    let snapshots = || {
        let entries = fs::read_dir(site.path("state")).into_iter().flatten();
        entries.filter(|it| it.as_ref().is_ok_and(|it| !it.path().ends_with(".new"))).count()
    };
    wait_until("a snapshot", || snapshots() == 1);
    fs::remove_dir_all(site.path("state")).unwrap();
    wait_until("another", || snapshots() == 1);
}

#[test]
fn the_control_socket_is_made_again() {
    let site = Site::new();
    let mut hub = site.hub_with(TCP, "");
    hub.wait_for("control socket is open");
    let status = || {
        let output = site.command(&["status"]).output().unwrap();
        output.status.success() && String::from_utf8(output.stdout).unwrap().contains("service-0")
    };
    wait_until("an answer", status);
    fs::remove_dir_all(site.path("run")).unwrap();
    hub.wait_for("the control socket had gone and is made again");
    assert!(status());
}

#[test]
fn few_descriptors_are_said_before_and_while_they_are_used_up() {
    let site = Site::new();
    let file = site.file("rtun.yaml", site.hub(TCP, ""));
    // The soft limit would not do, the hard one does.
    let limited = |limits: &str| {
        let program = env!("CARGO_BIN_EXE_rtun");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{limits} && exec {program} -C {}", file.display()));
        shell.current_dir(&site.folder).env_clear().stdin(Stdio::null());
        shell.env("RUNTIME_DIRECTORY", site.path("run"));
        site.spawn(shell)
    };
    let mut hub = limited("ulimit -Sn 40 && ulimit -Hn 5000");
    hub.wait_for("hub listens");
    let limits = fs::read_to_string(format!("/proc/{}/limits", hub.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("5000"), "{files}");
    assert!(!hub.said().contains("C24"), "{}", hub.said());
    drop(hub);

    let mut hub = limited("ulimit -n 64");
    let said: Value = serde_json::from_str(&hub.wait_for("C24")).unwrap();
    assert!(said["message"].as_str().unwrap().contains("the limit of open files, 64,"), "{said}");
    hub.wait_for("control socket is open");
    // More connections than there are descriptors, all of them silent.
    let flood = || (0..300).map_while(|_| TcpStream::connect(site.address()).ok());
    let mut held: Vec<_> = flood().collect();
    let asked = || {
        let output = site.command(&["status"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        held.extend(flood());
        assert!(asked().contains("service-0"), "`status` is answered all the time");
    }
    let said = hub.said();
    let complaints = said.matches("there is no descriptor left").count();
    assert!(complaints <= 1, "{complaints} lines");
    if complaints == 1 {
        assert!(asked().contains("all 64 descriptors are in use"), "{}", asked());
    }
    drop(held);
    wait_until("a host that joins", || answer_to(site.address(), "host-1", "", "") == Some(0));
}

#[test]
fn slow_readers_of_metrics_keep_nobody_out() {
    let site = Site::new();
    let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _hub = site.hub_with(TCP, &format!("metrics: {{addr: '{metrics}'}}\n"));
    wait_until("metrics", || TcpStream::connect(metrics).is_ok());
    // Half of them never ask, half of them ask and take nothing.
    let mut slow = Vec::new();
    for n in 0..100 {
        let mut stream = TcpStream::connect(metrics).unwrap();
        if n % 2 == 0 {
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        slow.push(stream);
    }
    let start = Instant::now();
    let mut stream = TcpStream::connect(metrics).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.contains("# EOF"), "{page}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    // Who says nothing is closed before long.
    let mut silent = TcpStream::connect(metrics).unwrap();
    silent.set_read_timeout(Some(SOON)).unwrap();
    let start = Instant::now();
    let _ = silent.read_to_end(&mut Vec::new());
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
}

#[test]
fn wrong_passwords_are_answered_ever_later_and_right_ones_at_once() {
    let site = Site::new();
    let id = "e87f56dd-fd57-4921-9ab8-a0847662daae";
    let config = format!(
        "services:
- name: service-0
  addr: 127.0.0.1:{}
  handler: {{type: router, auther: users}}
  listener: {{type: tcp}}
routers:
- {{name: {id}, routes: [{{dst: 10.0.0.1, gateway: host-1}}]}}
authers:
- {{name: users, auths: [{{username: alice, password: s3cret}}, {{username: bob, password: s3cret}}]}}
",
        site.port
    );
    let mut hub = site.start(&config);
    hub.wait_for("hub listens");
    let timed = |user: &str, password: &str| {
        let start = Instant::now();
        let answer = answer_to(site.address(), &format!("of-{user}"), user, password);
        (answer, start.elapsed())
    };
    let quick = Duration::from_millis(400);
    for guess in 0..5 {
        let (answer, took) = timed("alice", &format!("guess {guess}"));
        assert!(answer.is_some_and(|it| it != 0) && took < quick, "{answer:?} {took:?}");
    }
    let (_, sixth) = timed("alice", "guess 6");
    let (_, seventh) = timed("alice", "guess 7");
    assert!(sixth >= quick && seventh > sixth, "{sixth:?} {seventh:?}");
    let (answer, took) = timed("alice", "s3cret");
    assert_eq!(answer, Some(0));
    assert!(took < quick, "{took:?}");
    // Of another user, from the address of the wrong attempts.
    let (_, took) = timed("bob", "guess");
    assert!(took >= quick, "{took:?}");
    assert_eq!(timed("bob", "s3cret").0, Some(0));
}

#[test]
fn a_crash_leaves_no_dump_unless_asked_for() {
    let site = Site::new();
    let file = site.file("rtun.yaml", site.hub(TCP, ""));
    for (asked, allowed) in [(false, false), (true, true)] {
        let mut shell = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_rtun");
        let line = format!("ulimit -c unlimited && exec {program} -C {}", file.display());
        shell.arg("-c").arg(line).current_dir(&site.folder).stdin(Stdio::null());
        shell.env_clear().env("RUNTIME_DIRECTORY", site.path("run"));
        if asked {
            shell.env("RTUN_CORE_DUMPS", "1");
        }
        let mut hub = site.spawn(shell);
        hub.wait_for("control socket is open");
        let limits = fs::read_to_string(format!("/proc/{}/limits", hub.pid())).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        let soft = core.split_whitespace().nth(4);
        assert_eq!(soft, Some(if allowed { "unlimited" } else { "0" }), "{core}");
        hub.signal(Signal::SIGABRT);
        let ended = hub.child.wait().unwrap();
        let dumped = std::os::unix::process::ExitStatusExt::core_dumped(&ended);
        // Where dumps go, and whether any do, is up to the system.
        assert!(allowed || !dumped, "{ended:?}");
    }
}

/// Makes files as people do.
fn openssl(folder: &Path, line: &str) {
    let output = Command::new("openssl").args(line.split(' ')).current_dir(folder).output();
    let output = output.unwrap();
    assert!(output.status.success(), "openssl {line}: {output:?}");
}

#[test]
fn a_certificate_or_key_that_is_something_else_is_named_with_what_mends_it() {
    let site = Site::new();
    let folder = site.folder.path();
    let curve = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";
    for name in ["ca", "leaf"] {
        openssl(folder, &format!("genpkey {curve} -out {name}.key"));
    }
    openssl(folder, "req -x509 -key ca.key -subj /CN=authority -days 100 -out ca.pem");
    openssl(folder, "req -new -key leaf.key -subj /CN=hub.example -out leaf.csr");
    site.file("leaf.ext", "subjectAltName=DNS:hub.example\n");
    openssl(
        folder,
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 90 -extfile leaf.ext -out leaf.pem",
    );
    openssl(folder, "req -new -key leaf.key -subj /CN=old -out old.csr");
    // Without extensions the old program writes version 1.
    openssl(folder, "x509 -req -in old.csr -signkey leaf.key -days 90 -out maybe-v1.pem");
    openssl(folder, "pkey -in leaf.key -aes128 -passout pass:hunter2 -out encrypted.key");
    openssl(folder, "ec -in leaf.key -aes128 -passout pass:hunter2 -out legacy.key");
    openssl(folder, "x509 -in leaf.pem -outform DER -out leaf.der");
    openssl(folder, "pkey -in leaf.key -outform DER -out leaf-key.der");
    openssl(
        folder,
        "pkcs12 -export -in leaf.pem -inkey leaf.key -passout pass:hunter2 -out leaf.p12",
    );
    openssl(folder, "pkey -in leaf.key -pubout -out public.key");
    let read = |name: &str| fs::read_to_string(site.path(name)).unwrap();
    site.file("turned.pem", read("ca.pem") + &read("leaf.pem"));
    site.file("chain.pem", read("leaf.pem") + &read("ca.pem"));
    site.file("marked.pem", marked(&read("chain.pem")));
    site.file("utf16.pem", utf16(&read("chain.pem")));
    site.file("cut.pem", &read("leaf.pem")[..300]);
    site.file("empty.pem", "");
    for name in ["leaf.key", "encrypted.key", "legacy.key", "leaf-key.der", "leaf.p12", "ca.key"] {
        fs::set_permissions(site.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let look = |certificate: &str, key: &str| {
        let tls = format!("{{type: tls, tls: {{certFile: {certificate}, keyFile: {key}}}}}");
        site.file("hub.yaml", site.hub(&tls, ""));
        site.output(&["check", "hub.yaml"])
    };
    let (status, said) = look("chain.pem", "leaf.key");
    assert_eq!(status, Some(0), "{said}");
    for (certificate, key, words) in [
        ("chain.pem", "encrypted.key", &["encrypted with a passphrase", "openssl pkey -in"][..]),
        ("chain.pem", "legacy.key", &["encrypted with a passphrase", "openssl pkey -in"]),
        ("turned.pem", "leaf.key", &["its certificate 2 of 2 (CN=hub.example)", "that one first"]),
        ("marked.pem", "leaf.key", &["byte order mark", "sed -i"]),
        ("utf16.pem", "leaf.key", &["UTF-16", "iconv -f UTF-16"]),
        ("leaf.der", "leaf.key", &["DER form", "openssl x509 -inform DER"]),
        ("leaf.pem", "leaf-key.der", &["DER form", "openssl pkey -inform DER"]),
        ("leaf.p12", "leaf.key", &["PKCS #12", "openssl pkcs12"]),
        ("leaf.csr", "leaf.key", &["request for a certificate", "have an authority sign it"]),
        ("leaf.key", "leaf.pem", &["a private key, but no certificate", "certFile"]),
        ("leaf.pem", "ca.pem", &["a certificate, but no private key", "keyFile"]),
        ("leaf.pem", "public.key", &["public key only", "private key"]),
        ("leaf.pem", "ca.key", &["does not belong", "put the key there"]),
        ("cut.pem", "leaf.key", &["is damaged", "copy it again"]),
        ("empty.pem", "leaf.key", &["is empty", "put the certificate there"]),
    ] {
        let (status, said) = look(certificate, key);
        assert_eq!(status, Some(78), "{certificate} {key}: {said}");
        for word in words {
            assert!(said.contains(word), "{certificate} {key}, {word:?}: {said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
        // The program that is started says the same.
        let (status, started) = site.output(&["-C", "hub.yaml"]);
        assert_eq!(status, Some(78), "{started}");
        assert!(started.contains(words[0]), "{started}");
    }
    // What this openssl writes without extensions is of version 1, or else refused by none.
    if openssl_version(&site, "maybe-v1.pem") == "1" {
        let (status, said) = look("maybe-v1.pem", "leaf.key");
        assert_eq!(status, Some(78), "{said}");
        assert!(said.contains("X.509 version 1") && said.contains("-extfile"), "{said}");
    }
}

/// The version of a certificate.
fn openssl_version(site: &Site, name: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-text", "-in", name]).current_dir(&site.folder);
    let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let line = text.lines().find(|line| line.contains("Version:")).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}
