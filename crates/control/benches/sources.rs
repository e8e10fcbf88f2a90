//! What it costs to read 10^6 routes from each kind of source, and to put them in force.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has failed")]

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rtun_control::{
    Feed, FeedSpec, FileSource, HttpSource, Loaded, MAX_TEXT, MemorySource, RedisSource, Source,
};
use rtun_core::parse_routes;
use rtun_settings::{self, RedisKind};
use tokio::runtime::Runtime;

const ROWS: usize = 1_000_000;

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(3));
    targets = sources
}
criterion_main!(benches);

fn sources(c: &mut Criterion) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let lines: Vec<String> = (0..ROWS)
        .map(|n| format!("10.{}.{}.{}/32 host-{}", n >> 16, n >> 8 & 255, n & 255, n % 1000))
        .collect();
    let text = lines.join("\n") + "\n";
    assert!(text.len() < MAX_TEXT);

    let path = std::env::temp_dir().join(format!("rtun-bench-{}", std::process::id()));
    fs::write(&path, &text).unwrap();
    let file = FileSource::new(&path);

    let http = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    let url = format!("http://{}/", server(b"\r\n\r\n", http));
    let http = HttpSource::new(&rtun_settings::HttpSourceSettings {
        url,
        timeout: Duration::from_secs(10),
    });

    let strings: String =
        lines.iter().map(|line| format!("${}\r\n{line}\r\n", line.len())).collect();
    let addr = server(b"\r\ngost\r\n", format!("*{ROWS}\r\n{strings}")).to_string();
    let (username, password, tls) = (None, None, None);
    let server = rtun_settings::RedisServer { addr, db: 0, username, password, tls };
    let redis = RedisSource::new(&rtun_settings::RedisSettings {
        server,
        key: "gost".into(),
        kind: RedisKind::Set,
    });

    let runtime = Runtime::new().unwrap();
    let mut group = c.benchmark_group("10^6 routes");
    group.throughput(Throughput::Bytes(text.len() as u64));
    let all: [(&str, Box<dyn Source>); 3] = [
        ("file", Box::new(file)),
        ("http", Box::new(http.unwrap())),
        ("redis", Box::new(redis.unwrap())),
    ];
    for (name, source) in all {
        group.bench_function(name, |b| {
            b.iter(|| match runtime.block_on(source.load()).unwrap() {
                Loaded::Text(read) => assert_eq!(read.len(), text.len()),
                Loaded::Unchanged => panic!("every reading is a whole one"),
            });
        });
    }
    fs::remove_file(&path).unwrap();

    let source = rtun_settings::SourceSettings::File(path);
    let spec = FeedSpec {
        kind: "router",
        name: "east",
        source: &source,
        reload: None,
        max_bytes: MAX_TEXT,
        max_rows: ROWS,
    };
    group.bench_function("text to rows in force", |b| {
        b.iter(|| {
            runtime.block_on(async {
                let memory = Box::new(MemorySource::new(&text, false));
                let feed = Feed::of(memory, &spec, parse_routes, None);
                feed.ready().await;
                assert_eq!(feed.rows().len(), ROWS);
            });
        });
    });
    group.finish();
}

/// Answers each connection, when it has said `question`, with `answer`.
fn server(question: &'static [u8], answer: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut said, mut byte) = (Vec::new(), [0]);
            while !said.ends_with(question) && stream.read(&mut byte).unwrap_or(0) == 1 {
                said.push(byte[0]);
            }
            // A client that has enough is no failure of the server.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}
