//! How a host's connection shares a bottleneck, with a plain TCP stream and with another host's, and what it leaves waiting there.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use rtun_lab::tools::{self, LoadFlow, TcpLoad, UdpLoad, UdpSource, udp_load};

use super::{
    BenchError, CONGESTION_CONTROL,
    echo::Echoes,
    emulated_path::{self, SHARED_BDP, SHARED_RATE, set_shared_queue},
    figure::Figure,
    world::World,
};

/// The bottleneck's queues, in hundredths of [`SHARED_BDP`], and their names in figures.
const QUEUES: [(usize, &str); 3] = [(25, "0.25"), (100, "1"), (400, "4")];

/// Connections find their shares before anything is counted. The warm-up takes this many times the measured time.
const WARM_UP: f64 = 1.25;

/// What a tunnel is offered: bytes of each datagram, and a fifth more per second than the bottleneck carries.
const PAYLOAD: usize = 1372;
const OFFERED: f64 = 1.2 * SHARED_RATE as f64 / 8.0 / PAYLOAD as f64;

/// Between two echoes.
const PAUSE: Duration = Duration::from_millis(10);

/// The port at the hub that the plain stream goes to, and those that datagrams go to; nobody takes what warms a tunnel up.
const PLAIN: u16 = 6002;
const PORTS: [u16; 2] = [6000, 6001];
const NOBODY: u16 = 6009;

/// For each queue: the tunnel alone and how much longer an echo outside of it takes; its share next to a plain TCP stream; and the
/// smaller share of two tunnels.
pub(super) fn measure(world: &World, during: Duration) -> Result<Vec<Figure>, BenchError> {
    let wan = world.wan().ok_or(BenchError::Late { contender: "the link".to_owned() })?;
    // The shortest: on a machine with much to do most are longer than the link, while nothing waits on it.
    let idle = echoes(world, during / 4).percentile(1.0)?;
    let mut figures = Vec::new();
    for (hundredths, name) in QUEUES {
        set_shared_queue(wan, SHARED_BDP * hundredths / 100);
        let (mut waits, own) = (Echoes::default(), [tunnel(world, 0)]);
        let [alone] = loaded(own, during, || waits = echoes(world, during))?;
        let plain = plain(world);
        let load = TcpLoad::start(&[plain], CONGESTION_CONTROL)?;
        let mut plain_rate = 0.0;
        let [own] = loaded(own, during, || {
            let (before, start) = (load.arrived(), Instant::now());
            thread::sleep(during);
            plain_rate = (load.arrived() - before) as f64 * 8.0 / start.elapsed().as_secs_f64();
        })?;
        load.stop()?;
        let two = loaded([tunnel(world, 0), tunnel(world, 1)], during, || thread::sleep(during))?;
        let [less, more] = [two[0].min(two[1]), two[0].max(two[1])];
        let mut add = |what: &str, unit, value| {
            figures.push(Figure::derived(&format!("{what} {name}"), unit, value));
        };
        add("alone", "Mbit/s", alone / 1e6);
        add("added p50", "ms", waits.percentile_of_all(50.0) - idle);
        add("share", "%", 100.0 * own / (own + plain_rate).max(1.0));
        add("both", "Mbit/s", (own + plain_rate) / 1e6);
        add("twins", "%", 100.0 * less / (less + more).max(1.0));
    }
    emulated_path::check(wan)?;
    Ok(figures)
}

/// What arrives per second through each tunnel, in bits of payload, once all have run for a while.
fn loaded<const N: usize>(
    tunnels: [UdpLoad<'_>; N],
    during: Duration,
    meanwhile: impl FnOnce(),
) -> Result<[f64; N], BenchError> {
    let start = |load: &UdpLoad<'_>| {
        let nobody = SocketAddr::new(load.connect.ip(), NOBODY);
        UdpSource::start(load.client, nobody, PAYLOAD, OFFERED)
    };
    let warm = tunnels.iter().map(start).collect::<Result<Vec<_>, _>>()?;
    thread::sleep(during.mul_f64(WARM_UP));
    thread::scope(|scope| {
        let runs = tunnels.map(|load| scope.spawn(move || udp_load(&UdpLoad { during, ..load })));
        drop(warm);
        meanwhile();
        let mut rates = [0.0; N];
        for (rate, run) in rates.iter_mut().zip(runs) {
            let run = run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            *rate = run.rate() * PAYLOAD as f64 * 8.0;
        }
        Ok(rates)
    })
}

/// Datagrams of the first host, or of the second one on its machine, to host 2.
fn tunnel(world: &World, which: usize) -> UdpLoad<'_> {
    let (client, server) = (world.machine(0).0, world.machine(1).0);
    let mut connect = match which {
        0 => world.inner_address(1),
        _ => world.twin_address(),
    };
    connect.set_port(PORTS[which]);
    let listen = (Ipv4Addr::UNSPECIFIED, PORTS[which]).into();
    let during = Duration::ZERO;
    UdpLoad { client, server, connect, listen, payload: PAYLOAD, rate: OFFERED, during }
}

/// A TCP stream from the first host's machine to the hub's, outside of the tunnel.
fn plain(world: &World) -> LoadFlow<'_> {
    let (client, mut connect) = world.machine(0);
    connect.set_port(PLAIN);
    let listen = (Ipv4Addr::UNSPECIFIED, PLAIN).into();
    LoadFlow { client, server: world.hub(), connect, listen, reverse: false }
}

/// From the first host's machine to the hub's, outside of the tunnel.
fn echoes(world: &World, during: Duration) -> Echoes {
    let (machine, hub) = world.machine(0);
    let ping = |within| tools::ping(machine, hub.ip(), 56, false, within).ok();
    Echoes::of(ping, PAUSE, during)
}
