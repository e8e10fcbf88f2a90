//! The page of metrics as a scraper gets it: its form, its counts, who may read it, and that unauthenticated
//! peers cannot make it grow.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use common::{ask_to_join, hub_with, located, table};
use rtun_core::NamespaceId;
use rtun_node::Node;
use rtun_settings::{Config, HubRules, MetricsSettings, Named, Provider, Rows, Secret, User};

const NAMED: NamespaceId = NamespaceId::from_bytes([7; 16]);

/// Samples of a page: series with its labels to value.
type Samples = BTreeMap<String, f64>;

/// A hub with one named namespace and a default router, and metrics.
fn config(metrics: &MetricsSettings) -> Config {
    let rules = HubRules {
        namespaces: [(NAMED, table("named", &[("10.0.0.1/32", "a"), ("10.0.0.2/32", "b")]))].into(),
        default_router: Some(table("default", &[("10.0.0.0/8", "a")])),
        gso_frames: true,
        queue_budget: 16 * 1024 * 1024,
        ..HubRules::default()
    };
    let mut config = Config { metrics: Some(metrics.clone()), ..hub_with(rules) };
    config.services[0].name = "service-0".into();
    config
}

fn open_to_all() -> MetricsSettings {
    MetricsSettings { addr: "127.0.0.1:0".into(), path: "/metrics".into(), auther: None }
}

fn ask(mut stream: impl Read + Write, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn get(address: SocketAddr, path: &str, headers: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    ask(TcpStream::connect(address).unwrap(), &request)
}

async fn page(address: SocketAddr) -> String {
    let got = tokio::task::spawn_blocking(move || get(address, "/metrics", ""));
    let (head, body) = got.await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    body
}

/// Reads a page strictly: each sample belongs to the family described last, none comes twice, the end is marked.
fn samples(page: &str) -> Samples {
    let mut samples = Samples::new();
    let (mut family, mut kind) = ("", "");
    let mut families = BTreeSet::new();
    let lines = page.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("no end: {page}"));
    for line in lines.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().unwrap();
            assert!(families.insert(family), "described twice: {line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, its_kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, family, "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&its_kind), "{line}");
            kind = its_kind;
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("stray {line}"));
            let allowed: &[&str] = match kind {
                "counter" => &["_total"],
                "gauge" => &[""],
                _ => &["_bucket", "_sum", "_count"],
            };
            assert!(allowed.contains(&suffix), "{line} in a {kind}");
            let known = samples.insert(series.to_owned(), value.parse().unwrap());
            assert!(known.is_none(), "twice: {line}");
        }
    }
    samples
}

async fn wait_for(address: SocketAddr, series: &str, value: f64) -> Samples {
    let start = Instant::now();
    loop {
        let now = samples(&page(address).await);
        if now.get(series) == Some(&value) {
            return now;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{series} is {:?}", now.get(series));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn value(samples: &Samples, series: &str) -> f64 {
    *samples.get(series).unwrap_or_else(|| panic!("no {series} in {samples:#?}"))
}

/// An IPv4 packet of 28 bytes, after its length.
fn frame(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(source);
    packet.extend(destination);
    packet.extend([0; 8]);
    [&28u16.to_be_bytes()[..], &packet].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_and_what_does_not_is_on_the_page() {
    let node = Node::start(&config(&open_to_all()), None).await.unwrap();
    let (hub, address) = (node.hub_address("service-0").unwrap(), node.metrics_address().unwrap());

    let begin = samples(&page(address).await);
    assert_eq!(value(&begin, "rtun_sessions{transport=\"tcp\"}"), 0.0);
    let named = format!("rtun_route_entries{{ns=\"{NAMED}\"}}");
    assert_eq!(value(&begin, &named), 3.0, "its own table and the default one");
    let version = format!("rtun_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(value(&begin, &version), 1.0);
    assert!(value(&begin, "process_open_fds") > 3.0);
    assert!(value(&begin, "process_start_time_seconds") > 1e9);

    let (mut a, _) = ask_to_join(hub, "a", *NAMED.as_bytes());
    let (_b, _) = ask_to_join(hub, "b", *NAMED.as_bytes());
    assert_eq!(ask_to_join(hub, "not printable\n", *NAMED.as_bytes()).1, 6);
    a.write_all(&frame([10, 0, 0, 1], [10, 0, 0, 2])).unwrap();
    a.write_all(&frame([10, 0, 0, 1], [11, 0, 0, 2])).unwrap();
    let traffic = |name: &str, direction: &str| {
        format!("{name}_total{{ns=\"{NAMED}\",direction=\"{direction}\"}}")
    };
    wait_for(address, &traffic("rtun_packets", "in"), 2.0).await;
    let dropped =
        format!("rtun_drop_packets_total{{ns=\"{NAMED}\",stage=\"route\",reason=\"no_route\"}}");
    let now = wait_for(address, &dropped, 1.0).await;
    assert_eq!(value(&now, &traffic("rtun_packets", "out")), 1.0);
    assert_eq!(value(&now, &traffic("rtun_bytes", "in")), 56.0);
    assert_eq!(value(&now, &traffic("rtun_bytes", "out")), 28.0);
    assert_eq!(value(&now, "rtun_sessions{transport=\"tcp\"}"), 2.0);
    assert_eq!(value(&now, "rtun_admission_total{result=\"ok\"}"), 2.0);
    assert_eq!(value(&now, "rtun_admission_total{result=\"name_invalid\"}"), 1.0);
    assert_eq!(value(&now, "rtun_packets_total{ns=\"other\",direction=\"in\"}"), 0.0);

    drop(a);
    let ended = "rtun_session_end_total{reason=\"peer_closed\"}";
    let now = wait_for(address, ended, 1.0).await;
    let of_gost = |name: &str, client: &str| {
        let mut found = now.iter().filter(|(series, _)| {
            series.starts_with(&format!("{name}{{host=\""))
                && series.contains("service=\"service-0\"")
                && series.contains(&format!("client=\"{client}\""))
        });
        let (_, value) = found.next().unwrap_or_else(|| panic!("no {name} in {now:#?}"));
        assert!(found.next().is_none());
        *value
    };
    // The one that was refused is no client of its own.
    for (name, client, other) in [
        ("gost_service_requests_total", 2.0, 1.0),
        ("gost_service_requests_in_flight", 1.0, 0.0),
        ("gost_service_transfer_input_bytes_total", 56.0, 0.0),
        ("gost_service_transfer_output_bytes_total", 28.0, 0.0),
    ] {
        assert_eq!(of_gost(name, "127.0.0.1"), client, "{name}");
        assert_eq!(of_gost(name, "other"), other, "{name}");
    }
    assert_eq!(of_gost("gost_service_handler_errors_total", ""), 1.0);
    assert_eq!(value(&now, "rtun_log_lines_lost_total"), 0.0);
    let lasted = now
        .iter()
        .find(|(series, _)| series.starts_with("gost_service_request_duration_seconds_count{"));
    assert_eq!(lasted.map(|(_, count)| *count), Some(2.0), "the refused one and the one that left");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unauthenticated_peers_do_not_make_the_page_grow() {
    let node = Node::start(&config(&open_to_all()), None).await.unwrap();
    let (hub, address) = (node.hub_address("service-0").unwrap(), node.metrics_address().unwrap());
    let before: BTreeSet<_> = samples(&page(address).await).into_keys().collect();
    let packets = "rtun_packets_total{ns=\"other\",direction=\"in\"}";
    for round in 0..4u8 {
        let peers: Vec<_> = (0..250u8)
            .map(|n| {
                let mut namespace = [round + 1; 16];
                namespace[15] = n;
                let (mut stream, status) =
                    ask_to_join(hub, &format!("unnamed-{round}-{n}"), namespace);
                assert_eq!(status, 0);
                stream.write_all(&frame([192, 168, round, n], [192, 168, n, round])).unwrap();
                stream
            })
            .collect();
        wait_for(address, packets, 250.0 * f64::from(round + 1)).await;
        drop(peers);
    }
    // What they counted stays when their namespaces are gone.
    wait_for(address, "rtun_namespaces", 1.0).await;
    let page = page(address).await;
    // All of them come from one address, which is a client.
    assert!(!page.contains("unnamed") && page.matches("127.0.0.1").count() == 4, "{page}");
    let after = samples(&page);
    assert_eq!(value(&after, packets), 1000.0);
    let new = after.keys().filter(|series| !before.contains(*series)).count();
    assert!(new <= 14, "{new} new series in {page}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_go_on_over_a_reload_and_so_does_the_listener() {
    let mut metrics = open_to_all();
    let mut node = Node::start(&config(&metrics), None).await.unwrap();
    let (hub, address) = (node.hub_address("service-0").unwrap(), node.metrics_address().unwrap());
    let _a = ask_to_join(hub, "a", *NAMED.as_bytes());
    let admitted = "rtun_admission_total{result=\"ok\"}";
    wait_for(address, admitted, 1.0).await;

    // Another hub in its place.
    let mut other = config(&metrics);
    other.services[0].name = "service-1".into();
    node.apply(&other).await.unwrap();
    assert_eq!(node.metrics_address(), Some(address), "nothing has changed for metrics");
    let _b = ask_to_join(node.hub_address("service-1").unwrap(), "a", *NAMED.as_bytes());
    wait_for(address, admitted, 2.0).await;

    // The same address with another path: the listener stays.
    metrics.path = "/elsewhere".into();
    other.metrics = Some(metrics.clone());
    node.apply(&other).await.unwrap();
    assert_eq!(node.metrics_address(), Some(address));
    let got = move |path: &'static str| tokio::task::spawn_blocking(move || get(address, path, ""));
    assert!(got("/metrics").await.unwrap().0.starts_with("HTTP/1.1 404"));
    assert!(got("/elsewhere").await.unwrap().0.starts_with("HTTP/1.1 200"));

    // An address that cannot be had changes nothing.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    metrics.addr = taken.local_addr().unwrap().to_string();
    other.metrics = Some(metrics);
    let refused = node.apply(&other).await.unwrap_err().to_string();
    assert!(refused.starts_with("metrics: "), "{refused}");
    assert!(got("/elsewhere").await.unwrap().0.starts_with("HTTP/1.1 200"));

    other.metrics = None;
    node.apply(&other).await.unwrap();
    assert_eq!(node.metrics_address(), None);
    let start = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(5), "it still listens");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_those_who_may_read_it_and_only_by_get() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("metrics.sock");
    let user = User {
        name: "prometheus".into(),
        password: Secret::new("it's a secret: yes"),
        hosts: None,
    };
    let auther = Named {
        name: "scrapers".into(),
        provider: Provider::Rows(Rows::inline(vec![located(user)])),
    };
    let metrics = MetricsSettings {
        addr: format!("unix://{}", socket.display()),
        path: "/metrics".into(),
        auther: Some(auther),
    };
    let node = Node::start(&config(&metrics), None).await.unwrap();
    let answers = {
        let socket = socket.clone();
        tokio::task::spawn_blocking(move || {
            let ask = |request: &str| ask(UnixStream::connect(&socket).unwrap(), request);
            let get = |authorization: &str| {
                ask(&format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{authorization}\r\n"))
            };
            [
                get(""),
                get("Authorization: Basic cHJvbWV0aGV1czp3cm9uZw==\r\n"),
                get("Authorization: Basic !!\r\n"),
                get("Authorization: basic cHJvbWV0aGV1czppdCdzIGEgc2VjcmV0OiB5ZXM=\r\n"),
                ask("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
                ask("nonsense\r\n\r\n"),
            ]
        })
        .await
        .unwrap()
    };
    let statuses: Vec<_> = answers.iter().map(|(head, _)| &head[9..12]).collect();
    assert_eq!(statuses, ["401", "401", "401", "200", "405", "400"]);
    assert!(answers[0].1.is_empty() && answers[0].0.contains("Basic realm"), "{:?}", answers[0]);
    assert!(!samples(&answers[3].1).is_empty());
    node.stop().await;
    assert!(!socket.exists());
}
