//! UDP and Ethernet tunnels: what passes between a client and the server's device and between two clients, and what a server
//! holds that has as many addresses as it takes.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use rtun_lab::tools::TcpLoad;
use rtun_proto::udp_tunnel::{Passphrase, encode_register};

use super::{
    BenchError, CONGESTION_CONTROL,
    echo::Echoes,
    figure::{Figure, PING_PAUSE, warm_up},
    memory,
    traffic::{tcp, udp},
    world::World,
};

/// Addresses that a server takes at most.
const ADDRESSES: u32 = 65_536;

/// Addresses of one register, of which a server takes 16.
const AT_ONCE: u32 = 16;

/// Registers that a server takes at once from one address of its machine.
const BURST: u32 = 128;

/// How long a register may wait for its answer, and how often it is sent.
const ANSWER: Duration = Duration::from_millis(200);
const TRIES: usize = 20;

/// The first port that registers come from.
const FIRST_PORT: u16 = 20_000;

/// One TCP stream to the server, if there is one, one between two clients, datagrams of 1372 bytes, and an echo while four streams run.
pub(super) fn measure(world: &World, during: Duration) -> Result<Vec<Figure>, BenchError> {
    let mut figures = Vec::new();
    if let Some(flow) = world.server_flow() {
        let server = tcp(world, &[flow], during)?;
        figures.extend(
            server
                .into_iter()
                .filter(|it| it.name == "throughput")
                .map(|figure| Figure { name: "to server".to_owned(), ..figure }),
        );
    }
    figures.extend(tcp(world, &[world.flow(0, 1, false)], during)?);
    let datagrams = udp(world, 1372, during)?;
    figures.extend(datagrams.into_iter().filter(|it| it.name == "rate"));
    if !world.is_relay() {
        let load = TcpLoad::start(&[world.flow(0, 1, false); 4], CONGESTION_CONTROL)?;
        thread::sleep(warm_up(during));
        let echoes = Echoes::during(world, PING_PAUSE, during);
        load.stop()?;
        figures.push(Figure::new("load p50", "ms", echoes.percentile(50.0)?));
        figures.push(Figure::new("load p99", "ms", echoes.percentile(99.0)?));
        figures.push(Figure::derived("lost", "%", echoes.lost_percent()));
    }
    Ok(figures)
}

/// Registers as many addresses as a server takes, from its own machine, and reads its memory.
pub(super) fn addresses(world: &World) -> Result<Vec<Figure>, BenchError> {
    let server = world.hub_id();
    let before = memory::resident(server)?;
    let to = world.machine(0).1.port();
    let begin = Instant::now();
    let registered = world.hub().run(|| register_all(to))??;
    let after = memory::resident(server)?;
    let each = after.saturating_sub(before) as f64 / f64::from(registered.max(1));
    Ok(vec![
        Figure::new("addresses", "", f64::from(registered)),
        Figure::new("memory", "MiB", after as f64 / f64::from(1 << 20)),
        Figure::new("memory each", "bytes", each),
        Figure::new("registered in", "s", begin.elapsed().as_secs_f64()),
    ])
}

/// Registers addresses of the upper half of the network; how many the server has answered.
fn register_all(port: u16) -> std::io::Result<u32> {
    let mut registered = 0;
    for number in 0..ADDRESSES / AT_ONCE {
        let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 1, 1)) + number / BURST);
        let from = FIRST_PORT + u16::try_from(number).expect("there are 4,096 registers");
        let socket = UdpSocket::bind((source, from))?;
        socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        socket.set_read_timeout(Some(ANSWER))?;
        let first = u32::from(Ipv4Addr::new(10, 65, 0, 0)) + number * AT_ONCE;
        let addresses: Vec<IpAddr> =
            (first..first + AT_ONCE).map(|it| IpAddr::from(Ipv4Addr::from(it))).collect();
        let register = encode_register(Passphrase::NONE, &addresses);
        let mut reply = [0; 64];
        for _ in 0..TRIES {
            socket.send(&register)?;
            if socket.recv(&mut reply).is_ok() {
                registered += AT_ONCE;
                break;
            }
        }
    }
    Ok(registered)
}
