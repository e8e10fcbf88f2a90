//! Commands that run as services start and stop: when, with what environment, for how long, and what becomes of their failures.
//!
//! Where `RTUN_GOST` names a GOST program, it runs the same files, and the same commands have to run in the same order.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use common::{HUB, Rtun, SOON, World, gost, wait_until};
use nix::sys::signal::Signal;
use rtun_lab::NetNamespace;
use serde_json::Value;

/// Adds a line to a trace: its arguments, whether port 8443 is listened on, whether there is the device tun77, and what the
/// environment says.
const SCRIPT: &str = r#"#!/bin/sh
listens=$(cat /proc/net/tcp /proc/net/tcp6 | grep -c ':20FB [0:]*0 *0A\|:20FB 0*:0000 0A')
device=$(grep -c tun77: /proc/net/dev)
echo "$1 listens=$listens device=$device | $RTUN_HOOK $RTUN_SERVICE $RTUN_DEVICE $RTUN_NET $RTUN_HUB" >> TRACE
echo "said by $1"
"#;

struct Scene {
    world: World,
    script: PathBuf,
    trace: PathBuf,
}

impl Scene {
    fn new() -> Option<Self> {
        let world = World::new()?;
        let trace = world.file("trace", "");
        let script = world.file("hook", &SCRIPT.replace("TRACE", trace.to_str().unwrap()));
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        Some(Self { world, script, trace })
    }

    fn trace(&self) -> Vec<String> {
        fs::read_to_string(&self.trace).unwrap().lines().map(str::to_owned).collect()
    }

    /// A service's metadata with all four hooks; `more` is further keys.
    fn hooks(&self, more: &str) -> String {
        let script = self.script.display();
        let line = |hook: &str| format!("    {hook}: [\"{script} {hook}\"]\n");
        let lines: String = ["preUp", "postUp", "preDown", "postDown"].map(line).concat();
        format!("  metadata:\n{lines}{more}")
    }

    fn hub(&self, metadata: &str) -> String {
        format!(
            "services:
- name: service-0
  addr: :8443
{metadata}  handler: {{type: router, metadata: {{router: router-0}}}}
  listener: {{type: tcp}}
routers:
- name: router-0
  routes: [{{dst: 192.168.123.1, gateway: host-1}}]
"
        )
    }

    fn host(&self, metadata: &str, mtu: u16) -> String {
        format!(
            "services:
- name: service-0
{metadata}  handler: {{type: tun, chain: chain-0}}
  listener: {{type: tun, metadata: {{name: tun77, net: 192.168.123.1/24, mtu: {mtu}}}}}
  forwarder: {{nodes: [{{name: target, addr: host-1}}]}}
chains:
- name: chain-0
  hops: [{{name: hop-0, nodes: [{{name: node-0, addr: \"{HUB}:8443\", connector: {{type: router}}, dialer: {{type: tcp}}}}]}}]
"
        )
    }

    /// Runs GOST with `config` until each of the first two hooks has run, then ends it.
    fn run_gost(&self, gost: &str, machine: &NetNamespace, config: &str) -> Vec<String> {
        fs::write(&self.trace, "").unwrap();
        let file = self.world.file("gost.yaml", config);
        let log = fs::File::create(self.world.file("gost.log", "")).unwrap();
        let mut command = Command::new(gost);
        command.arg("-C").arg(file).env("HOME", self.script.parent().unwrap());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = machine.spawn(command).unwrap();
        wait_until("GOST's first hooks", || self.trace().len() >= 2);
        process.signal(Signal::SIGTERM).unwrap();
        assert!(process.wait(SOON).unwrap().is_some());
        self.trace()
    }
}

/// What stands before the environment.
fn without_environment(line: &str) -> &str {
    line.split(" | ").next().unwrap()
}

fn status(machine: &NetNamespace, rtun: &Rtun, folder: &Path, arguments: &[&str]) -> String {
    let socket = folder.join(format!("run/{}.sock", rtun.process.id()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_rtun"));
    command.arg("status").args(arguments).arg("--socket").arg(socket);
    let output = machine.run(|| command.output()).unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn hooks_run_where_gost_runs_them() {
    let Some(scene) = Scene::new() else { return };
    let world = &scene.world;
    let config = scene.hub(&scene.hooks(""));
    let hub = world.hub(&config);
    hub.wait_for_nth("hook output", 2);
    hub.stop();
    let facts = "service-0   [::]:8443";
    let expected = [
        format!("preUp listens=1 device=0 | preUp {facts}"),
        format!("postUp listens=1 device=0 | postUp {facts}"),
        format!("preDown listens=1 device=0 | preDown {facts}"),
        format!("postDown listens=0 device=0 | postDown {facts}"),
    ];
    assert_eq!(scene.trace(), expected);
    let order: Vec<_> = hub
        .lines()
        .iter()
        .map(|line| line["message"].as_str().unwrap_or_default().to_owned())
        .filter(|message| ["hook runs", "hook output", "hub listens"].contains(&&**message))
        .collect();
    assert_eq!(order[..3], ["hook runs", "hook output", "hub listens"]);
    let said = &hub.said("hook output")[0];
    assert_eq!(
        (&said["service"], &said["hook"], &said["stream"], &said["output"]),
        (&"service-0".into(), &"preUp".into(), &"stdout".into(), &"said by preUp".into())
    );
    let ours = scene.trace();
    if let Some(gost) = gost::program() {
        let theirs = scene.run_gost(&gost, &world.hub, &config);
        let both = [&ours, &theirs]
            .map(|it| it.iter().map(|line| without_environment(line)).collect::<Vec<_>>());
        assert_eq!(both[0], both[1], "the same at the same moments");
    }
}

#[test]
fn the_hooks_of_a_host_know_its_device() {
    let Some(scene) = Scene::new() else { return };
    let world = &scene.world;
    let machine = world.machine("host-1");
    fs::write(&scene.trace, "").unwrap();
    let config = scene.host(&scene.hooks(""), 1400);
    let host = world.host(&machine, &config);
    host.wait_for_nth("hook output", 2);
    host.stop();
    let facts = "service-0 tun77 192.168.123.1/24 10.0.0.1:8443";
    let expected = [
        format!("preUp listens=0 device=1 | preUp {facts}"),
        format!("postUp listens=0 device=1 | postUp {facts}"),
        format!("preDown listens=0 device=1 | preDown {facts}"),
        format!("postDown listens=0 device=0 | postDown {facts}"),
    ];
    assert_eq!(scene.trace(), expected);
    if let Some(gost) = gost::program() {
        let ours = scene.trace();
        let theirs = scene.run_gost(&gost, &machine, &config);
        let names = |trace: &[String]| -> Vec<String> {
            trace.iter().map(|it| it.split(' ').next().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&ours), names(&theirs), "the same order");
        let up = |trace: &[String]| trace[0].contains("device=1") && trace[1].contains("device=1");
        assert!(up(&ours) && up(&theirs), "the device is there: {theirs:?}");
    }
}

#[test]
fn the_server_of_a_udp_tunnel_has_hooks_too() {
    let Some(scene) = Scene::new() else { return };
    let world = &scene.world;
    let config = format!(
        "services:
- name: service-0
  addr: 10.0.0.1:8421
{}  handler: {{type: tun}}
  listener: {{type: tun, metadata: {{name: tun77, net: 192.168.123.1/24}}}}
",
        scene.hooks("")
    );
    let server = world.host(&world.hub, &config);
    server.wait_for_nth("hook output", 2);
    server.stop();
    let facts = "service-0 tun77 192.168.123.1/24 10.0.0.1:8421";
    let expected = ["preUp", "postUp", "preDown", "postDown"].map(|hook| {
        let device = i32::from(hook != "postDown");
        format!("{hook} listens=0 device={device} | {hook} {facts}")
    });
    assert_eq!(scene.trace(), expected);
}

#[test]
fn a_pre_up_that_fails_keeps_the_service_from_starting() {
    let Some(scene) = Scene::new() else { return };
    let world = &scene.world;
    let machine = world.machine("host-1");
    let metadata = format!(
        "  metadata:\n    preUp: [\"sh -c 'echo no key >&2; exit 3'\", \"{0} second\"]\n    postDown: \"{0} postDown\"\n",
        scene.script.display()
    );
    let host = world.host(&machine, &scene.host(&metadata, 1400));
    let status = host.process.wait(SOON).unwrap().unwrap();
    assert_eq!(status.code(), Some(1), "{}", host.log());
    let log = host.log();
    assert!(
        log.contains("preUp hook `sh -c 'echo no key >&2; exit 3'` failed: exit status 3"),
        "{log}"
    );
    assert_eq!(host.said("hook output")[0]["output"], "no key");
    assert_eq!(scene.trace(), [""; 0], "no further command runs");
    assert_eq!(host.said("joined the hub"), Vec::<Value>::new());
    let devices = machine.run(|| fs::read_to_string("/proc/thread-self/net/dev")).unwrap().unwrap();
    assert!(!devices.contains("tun77"), "the device goes again: {devices}");
}

#[test]
fn a_relay_has_hooks_too() {
    let Some(scene) = Scene::new() else { return };
    let world = &scene.world;
    let config = format!(
        "services:
- name: service-0
  addr: :8443
{}  handler: {{type: relay}}
  listener: {{type: tcp}}
  forwarder: {{nodes: [{{name: server, addr: \"127.0.0.1:8421\"}}]}}
",
        scene.hooks("")
    );
    let relay = world.host(&world.hub, &config);
    relay.wait_for("relay listens");
    relay.wait_for_nth("hook output", 2);
    relay.stop();
    let facts = "service-0   [::]:8443";
    let expected = ["preUp", "postUp", "preDown", "postDown"].map(|hook| {
        let listens = i32::from(hook != "postDown");
        format!("{hook} listens={listens} device=0 | {hook} {facts}")
    });
    assert_eq!(scene.trace(), expected);
}

#[test]
fn failures_of_other_hooks_are_logged_and_shown() {
    let Some(scene) = Scene::new() else { return };
    let world = &scene.world;
    let metadata = "  metadata:\n    postUp: [/bin/false, 'no-such-program --flag']\n    preDown: /bin/false\n";
    let hub = world.hub(&scene.hub(metadata));
    wait_until("both failures", || hub.log().matches("a hook fails").count() == 2);
    hub.wait_for("control socket is open");
    let folder = scene.script.parent().unwrap();
    let json: Value = serde_json::from_str(&status(&world.hub, &hub, folder, &["--json"])).unwrap();
    let failed = &json[0]["failed_hooks"][0];
    assert_eq!(
        (&failed["service"], &failed["hook"], &failed["failures"]),
        (&"service-0".into(), &"postUp".into(), &2.into()),
        "{json}"
    );
    let text = status(&world.hub, &hub, folder, &[]);
    assert!(
        text.contains("a hook fails: postUp hook `no-such-program --flag` cannot be started"),
        "{text}"
    );
    hub.stop();
    assert!(hub.log().contains("preDown hook `/bin/false` failed: exit status 1"), "{}", hub.log());
}

/// Whether a process with this number is there, a zombie included.
fn is_there(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

#[test]
fn a_hook_that_takes_too_long_is_killed_with_all_it_has_started() {
    let Some(scene) = Scene::new() else { return };
    let world = &scene.world;
    let pids = world.file("pids", "");
    let stuck = format!(
        "sh -c \\\"trap '' TERM; sleep 1000 & echo $! $$ > {}; wait; sleep 1000\\\"",
        pids.display()
    );
    let metadata = format!("  metadata:\n    hookTimeout: 500ms\n    postUp: [\"{stuck}\"]\n");
    let hub = world.hub(&scene.hub(&metadata));
    wait_until("the end of the hook", || {
        hub.log().contains("took longer than 500ms and was killed")
    });
    let started = fs::read_to_string(&pids).unwrap();
    assert_eq!(started.split_whitespace().count(), 2, "{started}");
    for pid in started.split_whitespace() {
        wait_until("the end of a process", || !is_there(pid));
    }
    hub.wait_for("control socket is open");
    hub.stop();
}

#[test]
fn a_hook_is_killed_when_rtun_is_to_stop() {
    let Some(scene) = Scene::new() else { return };
    let world = &scene.world;
    let pids = world.file("pids", "");
    let stuck = format!("sh -c 'sleep 1000 & echo $! $$ > {}; wait'", pids.display());
    let metadata = format!("  metadata:\n    hookTimeout: 1h\n    preUp: [\"{stuck}\"]\n");
    let file = world.file("hub.yaml", &scene.hub(&metadata));
    let hub = world.start(&world.hub, &["-C", file.to_str().unwrap()]);
    let started = || fs::read_to_string(&pids).unwrap();
    wait_until("the hook", || started().split_whitespace().count() == 2);
    hub.stop();
    for pid in started().split_whitespace() {
        wait_until("the end of a process", || !is_there(pid));
    }
}

#[test]
fn signals_that_come_while_it_starts_are_answered_once_it_runs() {
    let Some(scene) = Scene::new() else { return };
    let (begun, go) = (scene.world.path("begun"), scene.world.path("go"));
    let (begin, end) = (begun.display(), go.display());
    let waits = format!("sh -c 'touch {begin}; until [ -e {end} ]; do sleep 0.02; done'");
    let file = scene.hub(&format!("  metadata: {{preUp: [\"{waits}\"]}}\n"));
    let path = scene.world.file("hub.yaml", &file);
    let hub = scene.world.start(&scene.world.hub, &["-C", path.to_str().unwrap()]);
    wait_until("the hook", || begun.exists());
    hub.process.signal(Signal::SIGHUP).unwrap();
    hub.process.signal(Signal::SIGUSR1).unwrap();
    fs::write(go, "").unwrap();
    hub.wait_for("configuration read again");
    hub.wait_for("hub report");
    hub.stop();
}

#[test]
fn at_a_reload_hooks_run_only_where_a_service_starts_or_stops() {
    let Some(scene) = Scene::new() else { return };
    let world = &scene.world;
    let machine = world.machine("host-1");
    let file = world.file("host.yaml", &scene.host(&scene.hooks(""), 1400));
    let host = world.start(&machine, &["-C", file.to_str().unwrap()]);
    host.wait_for("control socket is open");
    assert_eq!(scene.trace().len(), 2);
    let mut reloads = 0;
    let mut reload = |config: &str| {
        fs::write(&file, config).unwrap();
        host.process.signal(Signal::SIGHUP).unwrap();
        reloads += 1;
        host.wait_for_nth("configuration read again", reloads);
    };
    reload(&scene.host(&scene.hooks(""), 1400));
    let changed = scene.hooks("").replace("hook preDown", "hook changed");
    reload(&scene.host(&changed, 1400));
    assert_eq!(scene.trace().len(), 2, "only the commands have changed");
    reload(&scene.host(&changed, 1300));
    let names: Vec<String> =
        scene.trace().iter().map(|it| it.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(names[2..], ["changed", "postDown", "preUp", "postUp"]);
    // A service that cannot start with its hooks leaves the one before running.
    let wrong = "  metadata: {preUp: /bin/false}\n";
    fs::write(&file, scene.host(wrong, 1200)).unwrap();
    host.process.signal(Signal::SIGHUP).unwrap();
    wait_until("the refusal", || host.log().contains("the new configuration is not applied"));
    assert_eq!(scene.trace().len(), 10, "{:?}", scene.trace());
    host.stop();
}

#[test]
fn output_is_logged_within_bounds() {
    let Some(scene) = Scene::new() else { return };
    let world = &scene.world;
    let many = "sh -c 'i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done'";
    let long = "printf %0100000d 0";
    let metadata = format!("  metadata:\n    postUp: [\"{many}\", \"{long}\"]\n");
    let hub = world.hub(&scene.hub(&metadata));
    hub.wait_for("control socket is open");
    let lines = hub.said("hook output");
    let of_many: Vec<_> =
        lines.iter().filter(|it| it["output"].as_str().unwrap().starts_with("line ")).collect();
    assert_eq!((of_many.len(), &of_many[99]["output"]), (100, &"line 99".into()));
    assert_eq!(hub.said("lines of a hook's output are left out")[0]["lines"], 200);
    let of_long: Vec<_> =
        lines.iter().filter(|it| it["output"].as_str().unwrap().starts_with("00")).collect();
    assert_eq!((of_long.len(), of_long[0]["output"].as_str().unwrap().len()), (1, 1024));
    hub.stop();
}

#[test]
fn check_names_the_commands_and_programs_that_others_can_change() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    let check = |mode: u32, command: &str| {
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
        let service = format!("router://127.0.0.1:8443?preUp={command}&postDown=true");
        let output = Command::new(env!("CARGO_BIN_EXE_rtun"))
            .args(["check", "-L", &service, r#"{"routers":[{"name":"r"}]}"#])
            .current_dir(folder.path())
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let command = format!("{}%20--now", program.display());
    let (_, said) = check(0o755, &command);
    let expected = format!("at preUp{}: {} --now\n", ", as root", program.display());
    let expected = expected.replace(
        ", as root",
        if nix::unistd::Uid::effective().is_root() { ", as root" } else { "" },
    );
    assert!(said.contains(&expected) && said.contains("at postDown"), "{said}");
    assert!(!said.contains("there is no key"), "{said}");
    let (status, said) = check(0o757, &command);
    assert!(
        status == 78 && said.contains("every user of this machine can change this file"),
        "{said}"
    );
    let (status, said) = check(0o644, &command);
    assert!(status == 1 && said.contains("there is no program"), "{said}");
    let (status, said) = check(0o755, "sh%20'x");
    assert!(status == 78 && said.contains("ends within quotes"), "{said}");
}

#[test]
fn a_time_limit_may_be_wide() {
    let Some(scene) = Scene::new() else { return };
    let metadata = "  metadata: {hookTimeout: 20s, postUp: [sleep 1]}\n";
    let hub = scene.world.hub(&scene.hub(metadata));
    hub.wait_for("control socket is open");
    assert_eq!(hub.log().matches("a hook fails").count(), 0);
    assert!(hub.process.wait(Duration::ZERO).unwrap().is_none());
    hub.stop();
}
