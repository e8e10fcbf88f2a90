//! The Web API against those who would take it from others: slow, greedy and lying clients, and files that are not what they were.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::symlink,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use socket2::SockRef;

use super::{
    HUB,
    common::{SOON, World, raw::RawHost, wait_until, web::Web},
    routes,
};

/// A connection on which this was sent, whose client takes next to nothing at a time.
fn send(web: &Web<'_>, request: &str) -> TcpStream {
    let (address, request) = (web.address.clone(), request.to_owned());
    let connect = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        SockRef::from(&stream).set_recv_buffer_size(2048).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    web.machine.run(connect).unwrap()
}

const FOLLOW: &str = "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Has the hub log this number of warnings.
fn warnings(web: &Web<'_>, count: usize) {
    for _ in 0..count {
        assert_eq!(web.send("PUT", "/config/routers/nobody", &json!({})).status, 400);
    }
}

#[test]
fn who_is_slow_or_reads_nothing_costs_others_nothing() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(HUB);
    let web = Web::new(&world.hub);
    let half = [
        send(
            &web,
            "POST /config/routers HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
        ),
        send(&web, "GET /config HTTP/1.1\r\nHost: localhost\r\nX-Slow: "),
    ];
    let mut follower = send(&web, FOLLOW);
    let mut stuck: Vec<_> = (1..48).map(|_| send(&web, FOLLOW)).collect();
    // Each has its place before anybody else asks for one.
    for stream in stuck.iter_mut().chain([&mut follower]) {
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert!(status.ends_with(b"200"), "{}", String::from_utf8_lossy(&status));
    }
    wait_until("the streams", || web.ask("HEAD", "/v1/events", &[], "").status == 503);
    assert_eq!(web.get("/config").status, 200, "others are answered");
    // More than the sockets hold: those who read nothing are let go, and those who read are not.
    let start = Instant::now();
    warnings(&web, 300);
    let asked = start.elapsed();
    assert!(asked < Duration::from_secs(20), "{asked:?}: nobody waits for those who do not read");
    let mut events = Vec::new();
    let mut part = [0; 64 * 1024];
    let mut others = Vec::new();
    wait_until("those who read nothing to be let go", || {
        let read = follower.read(&mut part).unwrap();
        events.extend_from_slice(&part[..read]);
        warnings(&web, 1);
        let mut other = send(&web, FOLLOW);
        let mut status = [0; 12];
        other.read_exact(&mut status).unwrap();
        if status.ends_with(b"200") {
            others.push(other);
        }
        others.len() == stuck.len()
    });
    assert!(String::from_utf8_lossy(&events).contains("event: event"));
    drop(stuck);
    let [mut body, mut head] = half;
    let mut answer = String::new();
    body.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    answer.clear();
    let _ = head.read_to_string(&mut answer);
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    hub.stop();
}

#[test]
fn a_thousand_events_at_once_are_shown_or_counted() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(HUB);
    let web = Web::new(&world.hub);
    let mut follower = send(&web, FOLLOW);
    let ids_in = |text: &str| -> Vec<u64> {
        text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
    };
    // The first shows that it is followed.
    warnings(&web, 1);
    let (mut text, mut part) = (String::new(), [0; 256 * 1024]);
    while ids_in(&text).is_empty() {
        let read = follower.read(&mut part).unwrap();
        text.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    let first = ids_in(&text)[0];
    let start = Instant::now();
    warnings(&web, 1_200);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    let last = first + 1_200;
    while !ids_in(&text).contains(&last) {
        let read = follower.read(&mut part).unwrap();
        assert!(read > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    let missed: u64 = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter_map(|data| serde_json::from_str::<Value>(data).unwrap()["count"].as_u64())
        .sum();
    let counted = ids_in(&text).into_iter().filter(|id| (first..=last).contains(id)).count() as u64;
    assert_eq!(counted + missed, 1_201, "{missed} missed");
    hub.stop();
}

#[test]
fn names_and_queries_of_any_kind_are_texts() {
    let Some(world) = World::new() else { return };
    let name = "<img/src=x>&\"'{{7*7}}";
    let hub = world
        .hub(&HUB.replace("gateway: host-2", &format!("gateway: '{}'", name.replace('\'', "''"))));
    let web = Web::new(&world.hub);
    let _host = RawHost::join(&world.machine("host"), name);
    wait_until("the host", || web.get("/v1/hosts").json()["items"][0]["host"] == name);
    let hosts = web.get("/v1/hosts?search=%3Cimg");
    assert_eq!(
        (hosts.content_type(), &hosts.json()["total"]),
        (Some("application/json"), &json!(1))
    );
    assert!(hosts.head.contains("nosniff"), "{hosts:?}");
    assert_eq!(web.get("/v1/routes?search=%3Cimg").json()["items"][0]["host"], name);
    let long = "x".repeat(14_000);
    for query in [
        format!("/v1/hosts?search={long}"),
        format!("/v1/hosts?{}", "search=a&".repeat(1_500)),
        format!("/v1/hosts?{}", "%ff%00=%f0%28&".repeat(900)),
        format!("/v1/hosts?search={}", "%".repeat(5_000)),
        "/v1/hosts?search=%e2%80%ae&page=18446744073709551615&per_page=18446744073709551615"
            .to_owned(),
        "/v1/routes?search=[::ffff:0:0]/0&dead=true&unused_for=1e-9".to_owned(),
        format!("/v1/series?names={}", ",".repeat(9_000)),
        "/v1/series?since=18446744073709551615".to_owned(),
    ] {
        let answer = web.get(&query);
        assert_eq!(answer.status, 200, "{}: {answer:?}", &query[..60.min(query.len())]);
        assert!(answer.body.len() < 100_000, "{}", answer.body.len());
    }
    for query in [
        "/v1/routes?unused_for=1e300",
        "/v1/routes?unused_for=inf",
        "/v1/hosts?page=18446744073709551616",
    ] {
        assert_eq!(web.get(query).status, 400, "{query}");
    }
    assert_eq!(web.get(&format!("/v1/hosts?search={}", "x".repeat(20_000))).status, 431);
    // A name that cannot be one is refused in the answer as it was given, and in the log in one line.
    let lines = hub.lines().len();
    let odd = "/config/routers/%0a%1b%5b2J%22level%22:%22ERROR%22%e2%80%ae";
    let refused = web.send("DELETE", odd, &json!(null));
    assert_eq!((refused.status, refused.error().0), (400, 40004), "{refused:?}");
    wait_until("the log", || hub.lines().len() > lines);
    let log = hub.log();
    assert!(!log.contains('\u{1b}') && !log.contains('\u{202e}'), "{log}");
    hub.stop();
}

#[test]
fn a_file_that_is_not_what_it_was_is_not_overwritten() {
    let Some(world) = World::new() else { return };
    let folder = world.path("etc");
    fs::create_dir(&folder).unwrap();
    let real = folder.join("real.yaml");
    fs::write(&real, HUB).unwrap();
    let link = folder.join("hub.yaml");
    symlink("real.yaml", &link).unwrap();
    let hub = world.start(&world.hub, &["-C", link.to_str().unwrap()]);
    let web = Web::new(&world.hub);
    let change = |gateway: &str| {
        web.done(
            "PUT",
            "/config/routers/main",
            &routes(&[("10.1.0.0/16", gateway), ("10.2.0.0/16", "host-1")]),
        )
    };
    let save = |query: &str| {
        let answer = web.send("POST", &format!("/config{query}"), &json!(null));
        (answer.status, answer.json()["code"].as_u64())
    };
    // A link stays one, and what it leads to is written.
    change("by-link");
    assert_eq!(save(""), (200, None));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains("by-link"));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "nothing is left behind");
    // It leads elsewhere now, to somebody's file.
    let other = world.file("other", "of somebody else");
    fs::remove_file(&link).unwrap();
    symlink(&other, &link).unwrap();
    change("elsewhere");
    assert_eq!(save(""), (409, Some(40005)));
    assert_eq!(fs::read_to_string(&other).unwrap(), "of somebody else");
    // Nowhere, in a circle, to a folder, and no folder at all.
    for target in ["/nonexistent/file", "hub.yaml", "."] {
        fs::remove_file(&link).unwrap();
        symlink(target, &link).unwrap();
        assert_eq!(save(""), (500, Some(40005)), "{target}");
    }
    assert_eq!(save("?force=true"), (500, Some(40005)), "a folder is never replaced");
    let away = world.path("away");
    fs::rename(&folder, &away).unwrap();
    for query in ["", "?force=true"] {
        assert_eq!(save(query), (500, Some(40005)), "{query}");
    }
    fs::rename(&away, &folder).unwrap();
    fs::remove_file(&link).unwrap();
    symlink("real.yaml", &link).unwrap();
    assert_eq!(save(""), (200, None), "what was not saved is still to be saved");
    assert!(fs::read_to_string(&real).unwrap().contains("elsewhere"));
    assert_eq!(web.get("/config/routers/main").json()["data"]["routes"][0]["gateway"], "elsewhere");
    hub.stop();
}
