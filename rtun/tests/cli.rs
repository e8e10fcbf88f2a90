//! The program from outside: flags, exit statuses, where a configuration comes from.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
};

const ROUTES: &str = include_str!("tutorial/server-routes.yaml");

fn rtun(folder: &Path, arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rtun"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that reads nothing may have ended already.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn version_help_and_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| rtun(folder.path(), arguments, "");
    let version = text(&run(&["-V"]).stdout);
    assert!(
        version.starts_with(concat!("rtun ", env!("CARGO_PKG_VERSION"), " (linux/")),
        "{version}"
    );
    let help = text(&run(&["-h"]).stdout);
    assert!(help.contains("-L URL") && help.contains("rtun check"), "{help}");

    let unknown = run(&["-l", "x"]);
    assert_eq!(unknown.status.code(), Some(64));
    assert!(text(&unknown.stderr).contains("did you mean `-L`"), "{}", text(&unknown.stderr));

    for command in ["bench", "demo"] {
        let moved = run(&[command, "--rounds", "1"]);
        assert_eq!(moved.status.code(), Some(64));
        let said = text(&moved.stderr);
        assert!(said.contains(&format!("rtun-workbench {command}\n")), "{said}");
        assert!(!help.contains(&format!("rtun {command}")), "{help}");
    }

    let nothing = run(&[]);
    assert_eq!(nothing.status.code(), Some(78));
    assert!(text(&nothing.stderr).contains("rtun.yaml"), "{}", text(&nothing.stderr));

    let no_service = run(&["-C", "{}"]);
    assert_eq!(no_service.status.code(), Some(78));
    assert!(text(&no_service.stderr).contains("no service"), "{}", text(&no_service.stderr));
}

#[test]
fn a_wrong_file_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = ROUTES.replace("router: router-0", "router: router-1");
    std::fs::write(folder.path().join("hub.yaml"), wrong).unwrap();
    for arguments in [&["-C", "hub.yaml"][..], &["check", "hub.yaml"]] {
        let refused = rtun(folder.path(), arguments, "");
        assert_eq!(refused.status.code(), Some(78));
        let said = text(&refused.stderr) + &text(&refused.stdout);
        assert!(said.contains("hub.yaml:7:"), "{said}");
        assert!(said.contains("did you mean `router-0`"), "{said}");
        assert!(!said.contains("listens"), "{said}");
    }
    let json = rtun(folder.path(), &["check", "--json", "hub.yaml"], "");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["status"], &json["findings"][0]["code"]), (&78.into(), &"C01".into()));
}

#[test]
fn an_address_in_use_is_said_and_ends_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = format!("router://{}?router=r", holder.local_addr().unwrap());
    let table = r#"{"routers": [{"name": "r", "routes": []}]}"#;
    let failed = rtun(folder.path(), &["-C", table, "-L", &service], "");
    assert_eq!(failed.status.code(), Some(1), "{}", text(&failed.stderr));
    assert!(text(&failed.stderr).contains("in use"), "{}", text(&failed.stderr));
}

#[test]
fn printing_a_configuration_asks_nobody_for_hubs() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/hubs", listener.local_addr().unwrap());
    let hop = format!(r#"{{"name": "hop", "http": {{"url": "{url}"}}}}"#);
    let config = format!(r#"{{"chains": [{{"name": "hub", "hops": [{hop}]}}]}}"#);
    let host = ["-L", "tun:///host-1?net=192.168.123.1/24"];
    let printed = rtun(folder.path(), &[&["-C", &config, "-O", "json"], &host[..]].concat(), "");
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    assert!(text(&printed.stdout).contains(&url), "{}", text(&printed.stdout));
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn every_source_gives_the_same_configuration() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rtun.yaml"), ROUTES).unwrap();
    let print = |arguments: &[&str], stdin: &str| {
        let output = rtun(folder.path(), &[arguments, &["-O", "json"]].concat(), stdin);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let file = print(&["-C", "rtun.yaml"], "");
    assert_eq!(file["services"][0]["name"], "service-0");
    assert_eq!(print(&[], ""), file, "the default file");
    assert_eq!(print(&["-C", "-"], ROUTES), file, "the standard input");
    assert_eq!(print(&["-C", "-"], &file.to_string()), file, "JSON on the standard input");
    assert_eq!(print(&["-C", &file.to_string()], ""), file, "inline");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        for path in ["/gone", "/hub"] {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            let status = if path == "/gone" { "404 Not Found" } else { "200 OK" };
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: application/yaml\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{ROUTES}",
                ROUTES.len()
            )
            .unwrap();
        }
    });
    let gone = rtun(folder.path(), &["-C", &format!("http://{address}/gone")], "");
    assert_eq!(gone.status.code(), Some(78));
    assert!(text(&gone.stderr).contains("404"), "{}", text(&gone.stderr));
    assert_eq!(print(&["-C", &format!("http://{address}/hub")], ""), file, "a URL");
    server.join().unwrap();
}

#[test]
fn files_that_others_may_change_or_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let users = ROUTES.replace("type: router\n", "type: router\n      auther: users\n")
        + "authers:\n- name: users\n  auths: [{username: u, password: p}]\n";
    let check = |config: &str, mode: u32| {
        let path = folder.path().join("hub.yaml");
        std::fs::write(&path, config).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let checked = rtun(folder.path(), &["check", "hub.yaml"], "");
        (checked.status.code().unwrap(), text(&checked.stdout))
    };
    for (config, mode, status, said) in [
        (&users, 0o600, 1, None),
        (&users, 0o644, 1, Some("can read the secrets")),
        (&users, 0o660, 1, Some("its whole group can change")),
        (&users, 0o646, 78, Some("can change this file")),
        (&ROUTES.to_owned(), 0o644, 1, None),
    ] {
        let (code, output) = check(config, mode);
        assert_eq!(code, status, "{mode:o}: {output}");
        assert_eq!(output.contains("C08"), said.is_some(), "{mode:o}: {output}");
        assert!(output.contains(said.unwrap_or("")), "{mode:o}: {output}");
    }
    check(ROUTES, 0o666);
    let refused = rtun(folder.path(), &["-C", "hub.yaml"], "");
    assert_eq!(refused.status.code(), Some(78), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("chmod o-w hub.yaml"), "{}", text(&refused.stderr));
}

#[test]
fn keys_and_certificates_are_looked_over() {
    let folder = tempfile::tempdir().unwrap();
    let made = rtun(
        folder.path(),
        &["gen", "cert", "--dir", ".", "--hub", "hub.example", "--host", "host-1"],
        "",
    );
    assert!(made.status.success(), "{}", text(&made.stderr));
    let hub = ROUTES.replace(
        "type: tcp",
        "type: tls\n      tls: {certFile: hub.pem, keyFile: hub-key.pem, caFile: ca.pem}",
    );
    assert_ne!(hub, ROUTES);
    std::fs::write(folder.path().join("hub.yaml"), &hub).unwrap();
    let dialer = "certFile=host-1.pem&keyFile=host-1-key.pem&caFile=ca.pem&secure=true";
    let node = format!("router+tls://hub.example:8443?{dialer}");
    let host = ["check", "-L", "tun:///host-1?net=10.0.0.1/24", "-F", &node];
    let hub = ["check", "hub.yaml"];
    let check = |arguments: &[&str]| {
        let checked = rtun(folder.path(), arguments, "");
        (checked.status.code().unwrap(), text(&checked.stdout))
    };
    let c08 = |output: &str| {
        let lines = output.lines().filter(|line| line.contains("[C08]"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    for (arguments, file, mode, status, said) in [
        (&hub[..], "hub-key.pem", 0o600, 0, None),
        (&hub, "hub-key.pem", 0o644, 1, Some("warning[C08]: every user of this machine can read")),
        (&hub, "hub-key.pem", 0o620, 1, Some("warning[C08]: its whole group can change this file")),
        (&hub, "hub-key.pem", 0o602, 78, Some("error[C08]: every user of this machine can change")),
        (&hub, "hub.pem", 0o644, 0, None),
        (&hub, "hub.pem", 0o646, 78, Some("error[C08]: every user of this machine can change")),
        (&hub, "ca.pem", 0o666, 78, Some("error[C08]: every user of this machine can change")),
        (&host, "host-1-key.pem", 0o644, 1, Some("warning[C08]: every user")),
        (&host, "host-1.pem", 0o664, 1, Some("warning[C08]: its whole group")),
        (&host, "ca.pem", 0o646, 78, Some("error[C08]: every user of this machine can change")),
        (&host, "ca.pem", 0o644, 0, None),
    ] {
        let path = folder.path().join(file);
        let before = std::fs::metadata(&path).unwrap().permissions();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let (code, output) = check(arguments);
        std::fs::set_permissions(&path, before).unwrap();
        let found = c08(&output);
        assert_eq!(found.len(), usize::from(said.is_some()), "{file} {mode:o}: {output}");
        for (line, said) in found.iter().zip(said) {
            assert!(line.starts_with(&format!("{file}:1:1: {said}")), "{mode:o}: {line}");
        }
        assert_eq!(code, status, "{file} {mode:o}: {output}");
    }
    std::fs::copy(folder.path().join("host-1-key.pem"), folder.path().join("hub-key.pem")).unwrap();
    for arguments in [&hub[..], &["-C", "hub.yaml"]] {
        let refused = rtun(folder.path(), arguments, "");
        assert_eq!(refused.status.code(), Some(78));
        let said = text(&refused.stdout) + &text(&refused.stderr);
        assert!(
            said.contains("the key in hub-key.pem does not belong to the certificate in hub.pem"),
            "{said}"
        );
    }
}

#[test]
fn files_of_rows_are_looked_over() {
    let folder = tempfile::tempdir().unwrap();
    let config = ROUTES.replace("    routes:\n", "    file: {path: routes.txt}\n    routes:\n");
    assert_ne!(config, ROUTES, "the tutorial's table has a file too");
    std::fs::write(folder.path().join("hub.yaml"), config).unwrap();
    let check = || text(&rtun(folder.path(), &["check", "hub.yaml"], "").stdout);
    assert!(check().contains("routes.txt:1:1: warning: this file of rows cannot be used"));
    let rows = "# ours\n\n10.0.0.0/8 host-1\n10.0.0.0/33 host-1\n";
    std::fs::write(folder.path().join("routes.txt"), rows).unwrap();
    let output = check();
    assert!(
        output.contains("routes.txt:4:1: warning: the line is left out: \"10.0.0.0/33\""),
        "{output}"
    );
    assert_eq!(output.matches("routes.txt").count(), 1, "{output}");
    let relay = "services:
- {name: relay, addr: ':8443', climiter: few, handler: {type: relay, auther: users}, listener: {type: tls}, forwarder: {nodes: [{addr: ':8421'}]}}
authers: [{name: users, file: {path: users.txt}}]
climiters: [{name: few, file: {path: few.txt}}]
";
    std::fs::write(folder.path().join("hub.yaml"), relay).unwrap();
    std::fs::write(folder.path().join("users.txt"), "nobody\n").unwrap();
    let output = check();
    assert!(output.contains("users.txt:1:1: warning: the line is left out"), "{output}");
    assert!(output.contains("few.txt:1:1: warning: this file of rows cannot be used"), "{output}");
}
