//! Recorders: each connection is one record, in every kind of target, as GOST writes it; and a target that is away holds
//! nothing up.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;
#[path = "common/grpc.rs"]
mod grpc;

use std::{
    fs,
    io::Read,
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use common::{
    HUB, SOON, World, gost,
    raw::{RawHost, udp},
    services::{Http, Manner, Redis},
    wait_until,
};
use grpc::Grpc;
use nix::sys::signal::Signal;
use rtun_lab::NetNamespace;

/// What the log says of records that are lost.
const LOST: &str = "records are lost: their recorder has not taken them";

const ZERO: &str = "00000000-0000-0000-0000-000000000000";

/// A recorder of each kind, by name, with its target; `$` is the name of the program.
const TARGETS: [(&str, &str); 9] = [
    ("lines", "file: {path: $/more/lines, sep: \"\\n\"}"),
    ("run", "file: {path: $/run}"),
    ("list", "redis: {addr: '127.0.0.1:6399', db: 3, key: $-list, type: list}"),
    ("set", "redis: {addr: '127.0.0.1:6399', key: $-set, type: set}"),
    ("sset", "redis: {addr: '127.0.0.1:6399', key: $-sset, type: sset}"),
    ("http", "http: {url: '127.0.0.1:8601/$', header: {X-Site: north}}"),
    ("tcp", "tcp: {addr: '127.0.0.1:8602'}"),
    ("posted", "plugin: {type: http, addr: 'http://127.0.0.1:8603/$', token: t0ken}"),
    ("called", "plugin: {addr: '127.0.0.1:8604', token: t0ken}"),
];

/// A hub for each recorder, on ports from 8443: GOST gives the records of one service to one recorder only.
fn hubs(program: &str) -> String {
    let (mut services, mut recorders) = (String::new(), String::new());
    for (n, (name, target)) in TARGETS.iter().enumerate() {
        let port = 8443 + n;
        let more = if name.len() == 6 { ", metadata: {site: north, level: 2}" } else { "" };
        services += &format!(
            "- name: {name}
  addr: :{port}
  recorders: [{{name: {name}, record: recorder.service.client.address{more}}}]
  handler: {{type: router, metadata: {{router: main}}}}
  listener: {{type: tcp}}
"
        );
        recorders += &format!("- name: {name}\n  {}\n", target.replace('$', program));
    }
    format!("services:\n{services}routers:\n- name: main\nrecorders:\n{recorders}")
}

/// Connects to `port` of the hub.
fn connect(machine: &NetNamespace, port: u16) -> TcpStream {
    machine.run(move || TcpStream::connect((HUB, port))).unwrap().unwrap()
}

/// What each connection to 127.0.0.1:8602 has said until its end.
fn server(machine: &NetNamespace) -> Arc<Mutex<Vec<String>>> {
    let listener = machine.run(|| TcpListener::bind("127.0.0.1:8602")).unwrap().unwrap();
    let said = Arc::new(Mutex::new(Vec::new()));
    let saying = Arc::clone(&said);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut text = String::new();
            stream.unwrap().read_to_string(&mut text).unwrap();
            saying.lock().unwrap().push(text);
        }
    });
    said
}

/// Path, content type, what the configuration adds, and body of each request.
fn posts(http: &Http) -> Vec<String> {
    let posts = http.heads().into_iter().map(|request| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let of = |name: &str| {
            let mut lines = head.lines().filter(|line| line.to_lowercase().starts_with(name));
            lines.next().unwrap_or_default().to_lowercase()
        };
        format!("{} {} {} {body}", head.lines().next().unwrap(), of("content-type"), of("x-site"))
    });
    posts.collect()
}

#[test]
fn records_are_those_of_gost_in_every_target() {
    let Some(world) = World::new() else { return };
    let Some(redis) = Redis::start(&world, &world.hub) else { return };
    let posted = Http::start(&world.hub, 8601, Manner::Says("taken".into()));
    let said = server(&world.hub);
    let plugin = Http::start(&world.hub, 8603, Manner::Says("{\"ok\": true}".into()));
    let grpc = Grpc::start(&world.hub, 8604, ZERO, |_| "");
    let machines = ["one", "two"].map(|name| world.machine(name));
    let mut all = Vec::new();
    for program in ["rtun", "gost"] {
        let text = hubs(program);
        let running = match program {
            "rtun" => {
                let hub = world.hub(&text);
                hub.wait_for_nth("hub listens", TARGETS.len());
                Ok(hub)
            }
            _ => {
                fs::create_dir(world.path("gost")).unwrap();
                let text = text.replace("path: ", &format!("path: {}/", world.path("").display()));
                let file = world.file("gost.yaml", &text);
                let Some(gost) = gost::start(&world, &world.hub, &["-C", file.to_str().unwrap()])
                else {
                    return;
                };
                wait_until("GOST", || {
                    let log = fs::read_to_string(world.path("gost-hub.log")).unwrap();
                    log.matches("listening on").count() == TARGETS.len()
                });
                Err(gost)
            }
        };
        // One connection after the other, so that all programs write them in this order.
        let before = (posted.heads().len(), said.lock().unwrap().len(), plugin.heads().len());
        let called = || {
            let calls = grpc.calls().into_iter().filter(|call| call.contains("record"));
            calls.collect::<Vec<_>>()
        };
        let calls_before = called().len();
        let redis = |db: u8, text: &str| {
            let get = format!("redis.call('SELECT', {db}) local it = redis.call({text})");
            redis.tell(&format!(
                "EVAL \"{get} return redis.status_reply(type(it) == 'table' and table.concat(it, ' ') or tostring(it))\" 0"
            ))
        };
        for (round, machine) in [0, 1, 0].into_iter().enumerate() {
            for n in 0..TARGETS.len() as u16 {
                drop(connect(&machines[machine], 8443 + n));
            }
            let n = round + 1;
            wait_until("records", || {
                let text = |name: &str| {
                    fs::read_to_string(world.path(&format!("{program}/{name}"))).unwrap_or_default()
                };
                let lines = text("more/lines").lines().count();
                let list = redis(3, &format!("'LLEN', '{program}-list'"));
                lines == n
                    && text("run").matches("10.0").count() == n
                    && list.trim() == format!("+{n}")
                    && posted.heads().len() == before.0 + n
                    && said.lock().unwrap().len() == before.1 + n
                    && plugin.heads().len() == before.2 + n
                    && called().len() == calls_before + n
            });
        }
        let sset = format!("'ZRANGE', '{program}-sset', 0, -1, 'WITHSCORES'");
        wait_until("the sorted set", || redis(0, &sset).ends_with(" 2\r\n"));
        let texts = [
            fs::read_to_string(world.path(&format!("{program}/more/lines"))).unwrap(),
            fs::read_to_string(world.path(&format!("{program}/run"))).unwrap(),
            redis(3, &format!("'LRANGE', '{program}-list', 0, -1")),
            redis(0, &format!("'SORT', '{program}-set', 'ALPHA'")),
            redis(0, &sset),
            posts(&posted)[before.0..].join("\n"),
            said.lock().unwrap()[before.1..].join("\n"),
            posts(&plugin)[before.2..].join("\n"),
            called()[calls_before..].join("\n"),
        ];
        all.push(texts.map(|text| text.replace(program, "PROGRAM")));
        match running {
            Ok(hub) => {
                let status = hub.status();
                for recorder in status["recorders"].as_array().unwrap() {
                    let [records, answered] =
                        ["records", "answered"].map(|it| recorder[it].clone());
                    assert_eq!((records, answered), (3.into(), 3.into()), "{recorder}");
                }
                hub.stop();
                assert_eq!(
                    all[0][..5],
                    [
                        "10.0.0.3\n10.0.0.4\n10.0.0.3\n",
                        "10.0.0.310.0.0.410.0.0.3",
                        "+10.0.0.3 10.0.0.4 10.0.0.3\r\n",
                        "+10.0.0.3 10.0.0.4\r\n",
                        "+10.0.0.4 1 10.0.0.3 2\r\n",
                    ]
                );
            }
            Err(gost) => gost.signal(Signal::SIGKILL).unwrap(),
        }
    }
    assert_eq!(all[0], all[1]);
}

/// A hub whose recorders are these, by name.
fn hub_with(recorders: &[(&str, &str)]) -> String {
    let uses: Vec<_> = recorders
        .iter()
        .map(|(name, _)| format!("{{name: {name}, record: recorder.service.client.address}}"))
        .collect();
    let recorders: String =
        recorders.iter().map(|(name, target)| format!("- name: {name}\n  {target}\n")).collect();
    format!(
        "
services:
- name: service-0
  addr: :8443
  recorders: [{}]
  handler: {{type: router, metadata: {{router: router-0}}}}
  listener: {{type: tcp}}
routers:
- name: router-0
  routes: [{{dst: 192.168.123.1, gateway: host-1}}, {{dst: 192.168.123.2, gateway: host-2}}]
metrics: {{addr: '127.0.0.1:9000'}}
recorders:
{recorders}",
        uses.join(", ")
    )
}

#[test]
fn a_target_that_is_away_holds_nothing_up_and_gets_what_waited() {
    let Some(world) = World::new() else { return };
    // A file in the place of the folder.
    let blocked = world.file("disk", "");
    let hub = world.hub(&hub_with(&[("disk", "file: {path: disk/records, sep: \"\\n\"}")]));
    let machine = world.machine("hosts");
    let mut two = RawHost::join(&machine, "host-2");
    let mut one = RawHost::join(&machine, "host-1");
    let mut passes = || {
        let packet = udp("192.168.123.1", "192.168.123.2", &[7; 100]);
        one.send(&packet);
        assert_eq!(two.receive(), packet);
    };
    let of = |name: &str, count: &str| {
        let status = hub.status();
        let recorders = status["recorders"].as_array().unwrap();
        recorders.iter().find(|it| it["name"] == name).map(|it| it[count].as_u64().unwrap())
    };
    wait_until("a failure", || of("disk", "failed") > Some(0));
    let begin = Instant::now();
    for _ in 0..4200 {
        drop(connect(&machine, 8443));
    }
    passes();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    wait_until("all counted", || of("disk", "records") == Some(4202));
    let counts = ["dropped", "waiting", "answered"].map(|count| of("disk", count).unwrap());
    assert_eq!(counts, [4202 - 4096, 4096, 0]);
    let page = world.hub.run(|| {
        let mut stream = TcpStream::connect("127.0.0.1:9000").unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        std::io::Write::write_all(&mut stream, request).unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    });
    let page = page.unwrap();
    for (series, count) in [
        ("gost_recorder_records_total", "4202"),
        ("rtun_recorder_dropped_total", "106"),
        ("rtun_plugin_waiting", "4096.0"),
    ] {
        let is_there = |line: &str| {
            line.starts_with(series) && line.contains("\"disk\"") && line.ends_with(count)
        };
        assert!(page.lines().any(is_there), "{series} {page}");
    }
    hub.wait_for(LOST);
    let shown = world.start_quietly(&world.hub, &["status"]);
    shown.process.wait(SOON).unwrap();
    assert!(shown.log().contains("recorder disk: cannot be written"), "{}", shown.log());

    // The folder can be made now. Its file is moved away while records come, as logrotate does.
    fs::remove_file(blocked).unwrap();
    let count = |name: &str| {
        let text = fs::read_to_string(world.path(name)).unwrap_or_default();
        assert!(text.lines().all(|line| line == "10.0.0.3"), "{text}");
        text.lines().count()
    };
    wait_until("what waited", || count("disk/records") == 4096);
    fs::rename(world.path("disk/records"), world.path("disk/records.1")).unwrap();
    drop(connect(&machine, 8443));
    wait_until("a new file", || count("disk/records") == 1);
    assert_eq!(count("disk/records.1"), 4096);

    // Recorders change while hosts stay: one goes elsewhere, one comes, and two come whose targets hang.
    let http = Http::start(&world.hub, 8601, Manner::Hangs);
    let plugin = Http::start(&world.hub, 8603, Manner::Hangs);
    world.file(
        "hub.yaml",
        &hub_with(&[
            ("url", "http: {url: 'http://127.0.0.1:8601/', timeout: 1s}"),
            ("plugin", "plugin: {type: http, addr: 'http://127.0.0.1:8603/', timeout: 1s}"),
            ("disk", "file: {path: elsewhere, sep: \"\\n\"}"),
            ("new", "file: {path: new, sep: ';'}"),
        ]),
    );
    hub.process.signal(Signal::SIGHUP).unwrap();
    hub.wait_for("configuration read again");
    for _ in 0..3 {
        drop(connect(&machine, 8443));
    }
    wait_until("the others", || {
        let new = fs::read_to_string(world.path("new")).unwrap_or_default();
        count("elsewhere") == 3 && new == "10.0.0.3;".repeat(3)
    });
    assert_eq!(["url", "plugin"].map(|name| of(name, "waiting")), [Some(3); 2]);
    assert_eq!(count("disk/records"), 1);
    passes();

    // They answer badly, then well.
    let no = "{\"ok\": false}".to_owned();
    for (of_url, of_plugin) in
        [(Manner::Status(503), Manner::Says(no)), (Manner::Refuses, Manner::Nonsense)]
    {
        http.now(of_url);
        plugin.now(of_plugin);
        let before = [&http, &plugin].map(|it| it.heads().len());
        wait_until("asked in vain", || {
            http.heads().len() > before[0] + 1 && plugin.heads().len() > before[1] + 1
        });
    }
    http.now(Manner::Says("taken".into()));
    plugin.now(Manner::Says("{\"ok\": true}".into()));
    wait_until("what waited", || ["url", "plugin"].iter().all(|it| of(it, "waiting") == Some(0)));
    let taken = http.answered_with("taken");
    assert!(taken.iter().all(|request| request.ends_with("\r\n\r\n10.0.0.3")), "{taken:?}");
    assert_eq!((taken.len(), plugin.answered_with("{\"ok\": true}").len()), (3, 3));
    assert_eq!(["url", "plugin"].map(|name| of(name, "dropped")), [Some(0); 2]);

    // What it does not take before the end is said.
    http.now(Manner::Hangs);
    drop(connect(&machine, 8443));
    wait_until("one that waits", || of("url", "waiting") == Some(1));
    let lost = hub.said(LOST).len();
    hub.stop();
    let lines = hub.said(LOST);
    assert_eq!(lines.len(), lost + 1, "{lines:?}");
    assert_eq!((&lines[lost]["name"], &lines[lost]["records"]), (&"url".into(), &1.into()));
}
