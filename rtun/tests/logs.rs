//! The logs: GOST's names and forms, loggers of services, files that are put aside, moved away or full.
//!
//! Where `RTUN_GOST` names a GOST program, one parser has to read the logs of both.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Read,
    path::Path,
    process::{Command, Stdio},
};

use common::{Rtun, SOON, THREE_HOSTS, World, gost, reaches, wait_until};
use flate2::read::GzDecoder;
use nix::sys::signal::Signal;
use rtun_lab::{NetNamespace, Process};
use serde_json::Value;

/// A hub and a host on it, in one process. `keys` are keys of the hub's service.
fn both(keys: &str, log: &str) -> String {
    format!(
        "services:
- name: the-hub
  addr: 127.0.0.1:8443
{keys}  handler: {{type: router, metadata: {{router: router-0}}}}
  listener: {{type: tls}}
- name: the-host
  handler: {{type: tun, chain: chain-0}}
  listener: {{type: tun, metadata: {{name: tun77, net: 192.168.123.1/24}}}}
  forwarder: {{nodes: [{{name: target, addr: host-1}}]}}
chains:
- name: chain-0
  hops: [{{name: hop-0, nodes: [{{name: node-0, addr: \"127.0.0.1:8443\", connector: {{type: router}}, dialer: {{type: tls}}}}]}}]
routers:
- name: router-0
  routes: [{{dst: 192.168.123.1, gateway: host-1}}]
{log}"
    )
}

/// A line as a fleet's parser reads it: names and values. Of names that come twice the last counts.
type Parsed = BTreeMap<String, String>;

fn parse(line: &str, format: &str) -> Parsed {
    let parsed = match format {
        "json" => parse_json(line),
        _ => parse_text(line),
    };
    let parsed = parsed.unwrap_or_else(|| panic!("no line of {format}: {line}"));
    let levels = ["trace", "debug", "info", "warn", "error", "fatal"];
    assert!(levels.contains(&&*parsed["level"]), "{line}");
    let time: jiff::Timestamp = parsed["time"].parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(time).as_secs().abs() < 3600, "{line}");
    assert!(!parsed["msg"].is_empty(), "{line}");
    parsed
}

fn parse_json(line: &str) -> Option<Parsed> {
    let object: serde_json::Map<String, Value> = serde_json::from_str(line).ok()?;
    let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Some(object.into_iter().map(|(name, value)| (name, text(value))).collect())
}

fn parse_text(line: &str) -> Option<Parsed> {
    let (mut parsed, mut rest) = (Parsed::new(), line);
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let end = match after.strip_prefix('"') {
            Some(quoted) => {
                let mut escaped = false;
                let end = quoted.find(|c| {
                    let ends = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                });
                end? + 2
            }
            None => after.find(' ').unwrap_or(after.len()),
        };
        let value = &after[..end];
        let value = match value.starts_with('"') {
            true => serde_json::from_str(value).ok()?,
            false => value.to_owned(),
        };
        parsed.insert(name.trim().to_owned(), value);
        rest = after[end..].trim_start();
    }
    Some(parsed)
}

fn lines(path: &Path, format: &str) -> Vec<Parsed> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| parse(line, format)).collect()
}

fn holds(path: &Path, text: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|content| content.contains(text))
}

/// Runs a program until its log at `log` holds `text`, then ends it.
fn run(program: &str, machine: &NetNamespace, world: &World, log: &Path, text: &str) {
    let mut command = Command::new(program);
    command.arg("-C").arg(log.with_extension("yaml")).env("HOME", log.parent().unwrap());
    command.env("RTUN_STATE_DIR", log.with_extension("state"));
    let other = File::create(world.file("other.log", "")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(other);
    let process = machine.spawn(command).unwrap();
    wait_until(&format!("{text:?} of {program}"), || holds(log, text));
    end(&process);
}

fn end(process: &Process) {
    process.signal(Signal::SIGTERM).unwrap();
    assert!(process.wait(SOON).unwrap().is_some());
}

/// The handler and listener of each service, as the lines say.
fn types(lines: &[Parsed]) -> BTreeSet<[String; 3]> {
    let of_services = lines.iter().filter(|line| line.contains_key("service"));
    let types = ["service", "handler", "listener"];
    of_services.map(|line| types.map(|name| line[name].clone())).collect()
}

fn values<'a>(lines: &'a [Parsed], name: &str) -> BTreeSet<&'a str> {
    lines.iter().filter_map(|line| line.get(name)).map(|it| &**it).collect()
}

#[test]
fn one_parser_reads_rtun_and_gost() {
    let Some(world) = World::new() else { return };
    let gost = gost::program();
    for format in ["json", "text"] {
        let read = |program: &str, name: &str, joined: &str| {
            let log = world.file(&format!("{name}-{format}.log"), "");
            let keys =
                format!("log: {{level: debug, format: {format}, output: {}}}\n", log.display());
            fs::write(log.with_extension("yaml"), both("", &keys)).unwrap();
            run(program, &world.hub, &world, &log, joined);
            lines(&log, format)
        };
        let ours = read(env!("CARGO_BIN_EXE_rtun"), "rtun", "host joined");
        let expected = [["the-hub", "router", "tls"], ["the-host", "tun", "tun"]];
        let expected: BTreeSet<_> =
            expected.into_iter().map(|line| line.map(str::to_owned)).collect();
        assert_eq!(types(&ours), expected);
        let kinds = ["handler", "listener", "service"];
        assert!(kinds.iter().all(|kind| values(&ours, "kind").contains(kind)), "{ours:?}");
        let joined = ours.iter().find(|line| line["msg"] == "host joined").unwrap();
        assert!(!joined["sid"].is_empty() && joined["remote"].starts_with("127.0.0.1:"));
        assert!(ours.iter().all(|line| line.contains_key("caller")), "as GOST at level debug");
        let Some(gost) = &gost else { continue };
        let theirs = read(gost, "gost", "established");
        assert_eq!(types(&theirs), expected, "the same types");
        for kind in kinds {
            assert!(values(&theirs, "kind").contains(kind), "GOST has it: {kind}");
        }
        assert!(!values(&theirs, "sid").is_empty());
    }
}

#[test]
fn lines_of_a_service_go_to_its_loggers_and_no_others() {
    let Some(world) = World::new() else { return };
    let path = |name: &str| world.file(name, "");
    let (all, json, severe) = (path("all.log"), path("one.log"), path("severe.log"));
    let config = |loggers: &str, level: &str| {
        both(
            loggers,
            &format!(
                "log: {{format: text, output: {}}}
loggers:
- {{name: one, log: {{format: json, level: {level}, output: {}}}}}
- {{name: severe, log: {{format: json, level: error, output: {}}}}}
",
                all.display(),
                json.display(),
                severe.display()
            ),
        )
    };
    let file =
        world.file("both.yaml", &config("  logger: one\n  loggers: [severe, one]\n", "info"));
    let rtun = world.start_quietly(&world.hub, &["-C", file.to_str().unwrap()]);
    wait_until("a host", || holds(&json, "host joined") && holds(&all, "joined the hub"));
    let of_hub = lines(&json, "json");
    assert_eq!(values(&of_hub, "service"), BTreeSet::from(["the-hub"]));
    assert_eq!(values(&of_hub, "logger"), BTreeSet::from(["one"]));
    assert_eq!(of_hub.iter().filter(|line| line["msg"] == "host joined").count(), 1, "once");
    assert_eq!(values(&lines(&all, "text"), "service"), BTreeSet::from(["the-host"]));
    assert_eq!(fs::read_to_string(&severe).unwrap(), "", "nothing is that severe");

    // A reload changes level and loggers without a word lost or a service stopped.
    let reload = |config: &str| {
        let before = fs::read_to_string(&all).unwrap().matches("configuration read again").count();
        fs::write(&file, config).unwrap();
        rtun.process.signal(Signal::SIGHUP).unwrap();
        wait_until("the reload", || {
            let text = fs::read_to_string(&all).unwrap();
            text.matches("configuration read again").count() > before
        });
    };
    reload(&config("  logger: one\n", "debug"));
    let ask = |path: &Path, text: &str| {
        rtun.process.signal(Signal::SIGUSR1).unwrap();
        wait_until(text, || holds(path, text));
    };
    ask(&json, "hub report");
    reload(&config("", "debug"));
    let before = fs::read_to_string(&json).unwrap();
    ask(&all, "hub report");
    assert_eq!(fs::read_to_string(&json).unwrap(), before, "the logger has no service any more");
    assert!(!holds(&json, "host left"), "the host stayed");

    let wrong = config("  logger: on\n", "info");
    fs::write(&file, wrong).unwrap();
    rtun.process.signal(Signal::SIGHUP).unwrap();
    wait_until("a refusal", || holds(&all, "there is no logger named `on`"));
    end(&rtun.process);
}

/// A file that was put aside, as text.
fn content(path: &Path) -> String {
    let mut text = String::new();
    match path.extension().is_some_and(|it| it == "gz") {
        true => GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap(),
        false => File::open(path).unwrap().read_to_string(&mut text).unwrap(),
    };
    text
}

#[test]
fn a_log_that_grows_is_put_aside_and_no_line_is_lost() {
    let Some(world) = World::new() else { return };
    let folder = world.file("x", "").with_file_name("logs");
    let log = folder.join("rtun.log");
    // Each line of a hook is about 1 KiB, each hook 100 lines: 3 MB in all.
    let hook = "sh -c 'i=0; while [ $i -lt 100 ]; do printf \\\"HOOK line %d %0900d\\\\n\\\" $i 0; i=$((i+1)); done'";
    let hooks: Vec<_> =
        (0..24).map(|n| format!("\"{}\"", hook.replace("HOOK", &n.to_string()))).collect();
    let keys = format!("  metadata: {{hookTimeout: 60s, postUp: [{}]}}\n", hooks.join(", "));
    let log_keys = |more: &str| {
        format!(
            "log: {{format: json, output: {}, rotation: {{maxSize: 1, {more}}}}}\n",
            log.display()
        )
    };
    let start = |more: &str| {
        let config = THREE_HOSTS.replace("  addr: :8443\n", &format!("  addr: :8443\n{keys}"));
        let file = world.file("hub.yaml", &format!("{config}{}", log_keys(more)));
        world.start_quietly(&world.hub, &["-C", file.to_str().unwrap()])
    };
    let files = || -> Vec<_> {
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let aside = || files().into_iter().filter(|path| *path != log).collect::<Vec<_>>();
    let hub = start("compress: true");
    wait_until("the end of the hooks", || log.exists() && holds(&log, "control socket is open"));
    wait_until("compressed files", || {
        aside().len() >= 2
            && aside().iter().all(|path| path.extension().is_some_and(|it| it == "gz"))
    });
    hub.stop();
    let name = regex::Regex::new(r"/rtun-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}\.log\.gz$").unwrap();
    let (mut numbers, mut places) = (BTreeSet::new(), 0);
    for path in files() {
        assert!(path == log || name.is_match(path.to_str().unwrap()), "{}", path.display());
        let text = content(&path);
        assert!(text.len() <= 1024 * 1024, "{} has {} bytes", path.display(), text.len());
        for line in text.lines() {
            let line = parse(line, "json");
            if line["msg"] == "hook output" {
                let words: Vec<_> = line["output"].split(' ').collect();
                numbers.insert((words[0].to_owned(), words[2].to_owned()));
                places += 1;
            }
        }
    }
    assert_eq!((numbers.len(), places), (2400, 2400), "each line once");

    // Its end of the hooks is not that of the one before.
    fs::remove_file(&log).unwrap();
    let hub = start("maxBackups: 1");
    wait_until("the end of the hooks", || {
        log.exists()
            && holds(&log, "control socket is open")
            && hub.process.try_wait().unwrap().is_none()
            && aside().len() == 1
    });
    hub.stop();
}

#[test]
fn a_file_that_was_moved_away_is_left_at_either_signal() {
    let Some(world) = World::new() else { return };
    let log = world.file("rtun.log", "");
    let config = format!("{THREE_HOSTS}log: {{output: {}}}\n", log.display());
    let file = world.file("hub.yaml", &config);
    let hub = world.start_quietly(&world.hub, &["-C", file.to_str().unwrap()]);
    wait_until("a hub", || holds(&log, "control socket is open"));
    for (n, (signal, said)) in
        [(Signal::SIGUSR1, "hub report"), (Signal::SIGHUP, "configuration read again")]
            .into_iter()
            .enumerate()
    {
        let moved = log.with_extension(format!("log.{n}"));
        fs::rename(&log, &moved).unwrap();
        hub.process.signal(signal).unwrap();
        wait_until("a new file", || holds(&log, said));
        assert!(!holds(&moved, said), "nothing is written to the old one");
    }
    hub.stop();
}

#[test]
fn a_full_disk_stops_the_log_and_not_the_tunnel() {
    let Some(world) = World::new() else { return };
    let config = format!("{THREE_HOSTS}log: {{output: /dev/full, level: debug}}\n");
    let file = world.file("hub.yaml", &config);
    let hub = world.start_quietly(&world.hub, &["-C", file.to_str().unwrap()]);
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let hosts: Vec<Rtun> = vec![world.join(&one, 1), world.join(&two, 2)];
    hosts.iter().for_each(|host| drop(host.wait_for("joined the hub")));
    reaches(&one, "192.168.123.2");
    hub.stop();
    let said = hub.log();
    assert_eq!(
        said.matches("rtun: log lines are lost: No space left on device").count(),
        1,
        "{said}"
    );
    let count = said.lines().find_map(|line| {
        line.strip_prefix("rtun: ")?.strip_suffix(" log lines are lost: /dev/full")?.parse().ok()
    });
    assert!(count.is_some_and(|count: u32| count >= 4), "{said}");
}

#[test]
fn a_reader_that_does_not_read_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let (path, socket) = (folder.path().join("hub.yaml"), folder.path().join("sock"));
    // More than a pipe holds.
    let many = "sh -c 'i=0; while [ $i -lt 100 ]; do printf \"%01000d\\n\" $i; i=$((i+1)); done'";
    let config = format!(
        "services:
- name: hub
  addr: 127.0.0.1:0
  metadata: {{postUp: ['{}']}}
  handler: {{type: router, metadata: {{router: r}}}}
routers: [{{name: r}}]
",
        many.replace('\'', "''")
    );
    fs::write(&path, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rtun"));
    command.arg("-C").arg(&path).env("RTUN_SOCKET", &socket);
    command.env("RTUN_STATE_DIR", folder.path().join("state")).stdin(Stdio::null());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    wait_until("an answer", || {
        let mut status = Command::new(env!("CARGO_BIN_EXE_rtun"));
        let status = status.args(["status", "--json", "--socket"]).arg(&socket).output().unwrap();
        String::from_utf8(status.stdout).unwrap().contains("\"hub\"")
    });
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    wait_until("its end", || child.try_wait().unwrap().is_some());
    assert!(child.wait().unwrap().success());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.matches("hook output").count() > 40, "it did write: {} bytes", said.len());
    assert!(!said.contains("stopped"), "and the pipe was full: {} bytes", said.len());
}

#[test]
fn levels_error_and_fatal_leave_only_what_is_as_severe() {
    let folder = tempfile::tempdir().unwrap();
    let run = |level: &str, variable: Option<&str>| {
        let config = format!(
            "services: [{{name: hub, addr: '127.0.0.1:0', metadata: {{preUp: /bin/false}}, \
             handler: {{type: router, metadata: {{router: r}}}}}}]
routers: [{{name: r}}]
log: {{level: {level}, format: json, output: stdout}}
"
        );
        let path = folder.path().join("hub.yaml");
        fs::write(&path, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rtun"));
        command.arg("-C").arg(path).env_remove("GOST_LOGGER_LEVEL");
        command.env("RTUN_STATE_DIR", folder.path());
        command.envs(variable.map(|value| ("GOST_LOGGER_LEVEL", value)));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| parse(line, "json")).collect::<Vec<_>>()
    };
    for level in ["error", "fatal"] {
        let lines = run(level, None);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["level"], "fatal");
        assert!(lines[0]["msg"].contains("preUp hook `/bin/false` failed"), "{lines:?}");
    }
    let more = run("fatal", Some("debug"));
    assert!(values(&more, "level").contains("info"), "the variable counts: {more:?}");
    assert!(run("none", None).len() > 1, "an unknown level is info");
}
