//! Connections whose dialling side changes its address.

use std::{
    future::poll_fn,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use netlink_packet_route::route::{RouteScope, RouteType};
use nix::sched::{CloneFlags, unshare};
use rtnetlink::{LinkUnspec, RouteMessageBuilder};
use rtun_settings::QuicSettings;
use rtun_transport::{
    Stream,
    quic::{QuicConnection, QuicStream},
};
use tokio::time::timeout;

use super::{
    battery::pattern,
    certificates::{Ca, NAME},
    pair::{PATIENCE, as_stream, bind, connect, first_stream, server},
    relay::{EmulatedPath, Relay},
};

const CHUNK: usize = 10_000;
const CHUNKS: usize = 60;
/// The routing table of the machine's own addresses.
const TABLE_LOCAL: u32 = 255;

/// Moves the dialling side by `change` in the middle of a transfer in both directions; the longest time that one side saw
/// nothing.
async fn transfer(
    client: &Arc<QuicStream>,
    accepted: &Arc<QuicStream>,
    change: impl AsyncFn(),
) -> Duration {
    async fn exchange(stream: &dyn Stream, half: impl AsyncFn()) -> Duration {
        let write = async {
            for number in 0..CHUNKS {
                if number == CHUNKS / 2 {
                    half().await;
                }
                stream.write_all(&pattern(CHUNK, number as u8)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let read = async {
            let mut received = vec![0; CHUNK];
            let mut hole = Duration::ZERO;
            for number in 0..CHUNKS {
                let start = Instant::now();
                stream.read_exact(&mut received).await.unwrap();
                hole = hole.max(start.elapsed());
                assert!(received == pattern(CHUNK, number as u8));
            }
            hole
        };
        tokio::join!(write, read).1
    }
    let both = async {
        tokio::join!(
            exchange(as_stream(client), change),
            exchange(as_stream(accepted), async || {})
        )
    };
    let (a, b) = timeout(PATIENCE, both).await.expect("the transfer ends");
    a.max(b)
}

/// Datagrams still go in both directions.
async fn exchange_datagrams(client: &Arc<QuicStream>, accepted: &Arc<QuicStream>) {
    for (from, to) in [(client, accepted), (accepted, client)] {
        let (from, to) = (from.datagrams().unwrap(), to.datagrams().unwrap());
        poll_fn(|cx| from.poll_sendable(cx)).await.unwrap();
        from.try_send(b"still datagrams").unwrap();
        let mut datagram = Vec::new();
        let recv = poll_fn(|cx| to.poll_recv(cx, &mut datagram));
        timeout(PATIENCE, recv).await.unwrap().unwrap();
        assert_eq!(datagram, b"still datagrams");
    }
}

async fn moves(
    client: &Arc<QuicStream>,
    connection: &QuicConnection,
    to: Ipv4Addr,
    change: impl AsyncFn(),
) {
    let accepted = first_stream(client, connection).await;
    let before = connection.remote();
    let hole = transfer(client, &accepted, change).await;
    let after = connection.remote();
    assert_ne!(before, after);
    assert_eq!(after.ip(), IpAddr::V4(to));
    assert_eq!(accepted.remote(), after);
    exchange_datagrams(client, &accepted).await;
    assert!(hole < Duration::from_secs(1), "a hole of {hole:?}");
}

/// As when an address translator in between forgets, or the host comes from another network.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_from_another_address_takes_the_connection_there() {
    const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    let path = EmulatedPath {
        delay: Duration::from_millis(5),
        loss: 0.0,
        rate: 50e6,
        queue: Duration::from_secs(1),
    };
    let server = server();
    let relay = Relay::start(server.listener.local_addr().unwrap(), path, 3);
    let (addr, settings) = (relay.addr(), QuicSettings::default());
    let (client, connection) = tokio::join!(
        connect(&addr, NAME, server.ca.client(), &settings, PATIENCE),
        server.accept()
    );
    moves(&client.unwrap(), &connection, THERE, async || relay.move_to(THERE)).await;
}

/// As when a host's own address changes: the routes choose another source for the same socket, and nobody tells QUIC.
#[test]
fn a_change_of_the_hosts_own_address_takes_the_connection_along() {
    const HUB: Ipv4Addr = Ipv4Addr::new(10, 5, 0, 1);
    const HERE: Ipv4Addr = Ipv4Addr::new(10, 5, 0, 2);
    const THERE: Ipv4Addr = Ipv4Addr::new(10, 5, 0, 3);
    let thread = std::thread::spawn(|| {
        if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
            eprintln!("skipped: creating a network namespace: {errno}; run as root");
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let (netlink, handle, _) = rtnetlink::new_connection().unwrap();
            tokio::spawn(netlink);
            const LOOPBACK: u32 = 1;
            let up = LinkUnspec::new_with_index(LOOPBACK).up().build();
            handle.link().set(up).execute().await.unwrap();
            for address in [HUB, HERE, THERE] {
                handle.address().add(LOOPBACK, address.into(), 32).execute().await.unwrap();
            }
            let come_from = async |source: Ipv4Addr| {
                let route = RouteMessageBuilder::<Ipv4Addr>::new()
                    .destination_prefix(HUB, 32)
                    .output_interface(LOOPBACK)
                    .pref_source(source)
                    .kind(RouteType::Local)
                    .scope(RouteScope::Host)
                    .table_id(TABLE_LOCAL)
                    .build();
                handle.route().add(route).replace().execute().await.unwrap();
            };
            come_from(HERE).await;
            let (ca, settings) = (Ca::new(), QuicSettings::default());
            let listener = bind(&format!("{HUB}:0"), ca.server(), &settings).unwrap();
            let addr = listener.local_addr().unwrap().to_string();
            let (client, connection) =
                tokio::join!(connect(&addr, NAME, ca.client(), &settings, PATIENCE), async {
                    listener.accept().await.unwrap().accept().await.unwrap()
                });
            assert_eq!(connection.remote().ip(), IpAddr::V4(HERE));
            moves(&client.unwrap(), &connection, THERE, async || come_from(THERE).await).await;
        });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
