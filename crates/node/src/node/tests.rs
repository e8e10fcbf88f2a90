use std::time::Duration;

use rtun_proto::relay::{Association, Network, Request, Response};
use rtun_settings::{HubRules, HubSettings, ListenerSettings, MetricsSettings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::*;

fn config() -> Config {
    let hub = HubSettings {
        listener: ListenerSettings::tcp("127.0.0.1:0"),
        more_listeners: Vec::new(),
        rules: HubRules::default(),
        handshake_timeout: Duration::from_secs(10),
    };
    Config {
        services: vec![Service::new("hub", ServiceKind::Hub(hub))],
        metrics: Some(MetricsSettings {
            addr: "127.0.0.1:0".into(),
            path: "/metrics".into(),
            auther: None,
        }),
        ..Config::default()
    }
}

/// Whether the hub answers a host, though it knows no such namespace.
async fn answers(hub: SocketAddr) -> bool {
    let asking = async {
        let mut stream = TcpStream::connect(hub).await.ok()?;
        let request = Request::associate(&Association {
            user: None,
            network: Network::Ip,
            source: None,
            host: "host-1".into(),
            router_id: [7; 16],
        });
        stream.write_all(&request.encode().ok()?).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        Response::decode(&answer).ok()
    };
    timeout(Duration::from_secs(1), asking).await.is_ok_and(|answer| answer.is_some())
}

/// Whether the page of metrics comes.
async fn serves_metrics(address: SocketAddr) -> bool {
    let asking = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.ends_with("# EOF\n").then_some(())
    };
    timeout(Duration::from_secs(5), asking).await.is_ok_and(|answer| answer.is_some())
}

#[tokio::test]
async fn each_task_that_ends_is_shown_and_runs_again() {
    let node = Node::start(&config(), None).await.unwrap();
    let (hub, board) = (node.hub_address("hub").unwrap(), node.board());
    let duties = Arc::clone(&board.machine().duties);
    let begun = async {
        while duties.running().len() < 4 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), begun).await.expect("all run");
    let mut ended = Vec::new();
    for (name, task) in duties.running() {
        assert!(answers(hub).await);
        task.abort();
        let again = async {
            while !board.status().failed_tasks.iter().any(|it| it.task == name && it.running) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(5), again).await.expect("it runs again");
        let failed = board.status().failed_tasks;
        let report = failed.iter().find(|it| it.task == name).unwrap();
        assert_eq!((report.failures, &report.error[..]), (1, "it was cancelled"), "{name}");
        ended.push(name);
    }
    assert!(answers(hub).await);
    assert!(serves_metrics(node.metrics_address().unwrap()).await);
    let expected = ["accepting connections on", "following sources", "metrics: serving on"];
    for what in expected {
        assert!(ended.iter().any(|name| name.contains(what)), "{what}: {ended:?}");
    }
    let stopped = timeout(Duration::from_secs(5), node.stop());
    stopped.await.expect("it stops");
    assert_eq!(board.status().failed_tasks, [], "no duty is left");
}
