//! What is done to a network, and what is promised for it.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rtun_transport::Stream;
use tokio::{runtime, task::JoinSet};

use crate::{
    common::{HUB, at, peer, programs::address, vitals::calm},
    middle::{Harm, Towards},
    network::{BUSY, DEVICE, Network, Outcome},
    quic_error::connect_and_fail,
};

/// Something that happens to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    HostKilled,
    HostStopped,
    HubKilled,
    HubStopped,
    Silence3,
    Silence30,
    Reset,
    TransportError,
    HalfClose,
    SilentPeer,
    Crowd,
    DeviceDeleted,
    AddressChanged,
    InterfaceDown,
}

/// Silence after which rtun ends give each other up, and what a look takes.
const NOTICED: Duration = Duration::from_secs(7);

/// After the end of a fault that everybody has noticed.
const BACK: Duration = Duration::from_secs(2);

/// After silence: until a retransmission, or a connection is tried again.
const BACK_AFTER_SILENCE: Duration = Duration::from_secs(5);

/// Between the frames by which a client of an Ethernet tunnel says that it is there.
const ETHERNET_INTERVAL: Duration = Duration::from_secs(10);

/// Three intervals of a client of a UDP tunnel, and of an Ethernet tunnel's.
const TUNNEL_NOTICED: Duration = Duration::from_secs(3);
const ETHERNET_NOTICED: Duration = Duration::from_secs(30);

/// The longest pause of a client before it tries again.
const TUNNEL_PAUSE: Duration = Duration::from_secs(5);

/// For how long an interface is down.
const DOWN: Duration = Duration::from_secs(3);

/// By when somebody who asks for nothing is closed (`readTimeout`).
const CLOSED: Duration = Duration::from_secs(10);

/// How many come and say nothing.
const SILENT_PEERS: usize = 8;

/// Of a crowd, at a time and in all.
const CROWD_AT_ONCE: usize = 40;
const CROWD: usize = 240;

impl Fault {
    pub const ALL: [Self; 14] = [
        Self::Silence30,
        Self::HostStopped,
        Self::HostKilled,
        Self::HubKilled,
        Self::HubStopped,
        Self::Silence3,
        Self::Reset,
        Self::TransportError,
        Self::HalfClose,
        Self::SilentPeer,
        Self::Crowd,
        Self::DeviceDeleted,
        Self::AddressChanged,
        Self::InterfaceDown,
    ];

    /// As in the table, and in `RTUN_FAULTS`.
    pub fn name(self) -> &'static str {
        match self {
            Self::HostKilled => "host-killed",
            Self::HostStopped => "host-stopped",
            Self::HubKilled => "hub-killed",
            Self::HubStopped => "hub-stopped",
            Self::Silence3 => "silence-3s",
            Self::Silence30 => "silence-30s",
            Self::Reset => "reset",
            Self::TransportError => "transport-error",
            Self::HalfClose => "half-close",
            Self::SilentPeer => "silent-peer",
            Self::Crowd => "crowd",
            Self::DeviceDeleted => "device-deleted",
            Self::AddressChanged => "address-changed",
            Self::InterfaceDown => "interface-down",
        }
    }

    /// Whether somebody in the middle does it.
    pub fn needs_middle(self) -> bool {
        matches!(self, Self::Reset | Self::TransportError | Self::HalfClose)
    }

    /// Whether it can happen to a network over this transport.
    pub fn can_happen(self, transport: &str) -> bool {
        let has_connections = !matches!(transport, "udp" | "tap");
        match self {
            Self::Reset | Self::HalfClose => has_connections && transport != "relay+quic",
            Self::SilentPeer | Self::Crowd => has_connections,
            _ => true,
        }
    }

    /// Does it, ends it, and waits until packets pass again. Panics when that takes longer than promised. With `whole` a
    /// host stands still for as long as a minute.
    pub fn happen(self, network: &mut Network, whole: bool) -> Outcome {
        let quic = network.connections() == "quic";
        let noticed_within = match network.transport {
            "tap" => ETHERNET_NOTICED,
            _ if network.is_tunnel() => TUNNEL_NOTICED,
            _ => NOTICED,
        };
        let back_after_silence = match network.is_tunnel() {
            true => TUNNEL_PAUSE + BACK_AFTER_SILENCE,
            false => BACK_AFTER_SILENCE,
        };
        match self {
            Self::HostKilled => host_killed(network),
            Self::HostStopped => {
                let begin = Instant::now();
                signal(network, 1, Signal::SIGSTOP);
                let noticed = left(network, "host-2", NOTICED);
                let stopped = Duration::from_secs(if whole { 60 } else { 8 });
                network.try_for(stopped.saturating_sub(begin.elapsed()));
                signal(network, 1, Signal::SIGCONT);
                Outcome { noticed, back: network.back_within(BACK) }
            }
            Self::HubKilled => {
                network.hub.process.kill().unwrap();
                let begin = Instant::now();
                network.restart_hub();
                // UDP does not tell that the process has ended.
                let promised = match network.transport {
                    "udp" => TUNNEL_NOTICED + BACK,
                    // The server learns of a client that is asked for nothing when that says that it is there.
                    "tap" => ETHERNET_INTERVAL + BACK,
                    _ if quic => NOTICED + BACK,
                    _ => BACK,
                };
                network.back_within(promised);
                Outcome { noticed: None, back: begin.elapsed() }
            }
            Self::HubStopped => {
                network.hub.process.signal(Signal::SIGSTOP).unwrap();
                let noticed = Some(network.hub_lost_within(noticed_within));
                network.hub.process.signal(Signal::SIGCONT).unwrap();
                Outcome { noticed, back: network.back_within(BACK) }
            }
            Self::Silence3 => {
                network.world.switch.cut(&network.machines[1]).unwrap();
                network.try_for(Duration::from_secs(3));
                network.world.switch.restore(&network.machines[1]).unwrap();
                Outcome { noticed: None, back: network.back_within(back_after_silence) }
            }
            Self::Silence30 => {
                let begin = Instant::now();
                network.world.switch.cut(&network.machines[1]).unwrap();
                let noticed = left(network, "host-2", NOTICED);
                network.try_for(Duration::from_secs(30).saturating_sub(begin.elapsed()));
                network.world.switch.restore(&network.machines[1]).unwrap();
                Outcome { noticed, back: network.back_within(back_after_silence) }
            }
            Self::Reset => {
                harm(network, Harm::Reset);
                let back = network.back_within(BACK);
                if !network.is_tunnel() {
                    with_peer(network, async |stream| drop(stream));
                }
                Outcome { noticed: None, back }
            }
            Self::TransportError => transport_error(network),
            Self::HalfClose => {
                harm(network, Harm::HalfClose(Towards::Hub));
                let back = network.back_within(BACK);
                harm(network, Harm::HalfClose(Towards::Host));
                let back = back.max(network.back_within(BACK));
                if !network.is_tunnel() {
                    with_peer(network, async |stream| {
                        stream.shutdown().await.unwrap();
                        assert!(peer::ends_within(&*stream, BACK + BUSY).await, "answered in kind");
                    });
                }
                Outcome { noticed: None, back }
            }
            Self::SilentPeer => silent_peers(network),
            Self::Crowd => crowd(network),
            Self::DeviceDeleted => {
                network.machines[1].device_remove(DEVICE).unwrap();
                if network.is_tunnel() {
                    network.world.hub.device_remove(DEVICE).unwrap();
                }
                Outcome { noticed: None, back: network.back_within(BACK) }
            }
            Self::AddressChanged => {
                let machine = &network.machines[1];
                let before = address(machine);
                machine.addr_remove("eth0", &format!("{before}/16")).unwrap();
                machine.addr_add("eth0", "10.0.9.9/16").unwrap();
                // A QUIC connection goes on from the new address, any other has to be noticed to be dead.
                // The client of a tunnel cannot send from the old one, and notices that within an interval.
                let promised = match network.transport {
                    "tap" => ETHERNET_INTERVAL + BACK,
                    _ if quic => BACK,
                    _ => noticed_within + BACK,
                };
                Outcome { noticed: None, back: network.back_within(promised) }
            }
            Self::InterfaceDown => {
                let machine = &network.machines[1];
                machine.device_down("eth0").unwrap();
                network.try_for(DOWN);
                machine.device_up("eth0").unwrap();
                Outcome { noticed: None, back: network.back_within(back_after_silence) }
            }
        }
    }
}

fn signal(network: &Network, host: usize, signal: Signal) {
    network.hosts[host].process.signal(signal).unwrap();
}

/// How long it took until the hub said that this host left; the server of a tunnel says nothing.
fn left(network: &Network, host: &str, promised: Duration) -> Option<Duration> {
    (!network.is_tunnel()).then(|| network.host_left_within(host, 1, promised))
}

fn harm(network: &Network, harm: Harm) {
    network.middle.as_ref().unwrap().harm(harm);
}

fn host_killed(network: &mut Network) -> Outcome {
    network.hosts[1].process.kill().unwrap();
    // Over TCP the system of the host tells.
    let promised = if network.transport == "quic" { NOTICED } else { BACK };
    let noticed = left(network, "host-2", promised);
    calm(&[("the hub without host 2", &network.hub)], None);
    network.restart_host(1);
    Outcome { noticed, back: network.back_within(BACK) }
}

fn transport_error(network: &mut Network) -> Outcome {
    let begin = Instant::now();
    harm(network, Harm::Garbage(Towards::Hub));
    network.back_within(NOTICED + BACK);
    let back = begin.elapsed();
    // Over plain TCP what comes after garbage is garbage too, until that is noticed.
    if network.connections() == "tcp" {
        network.hosts[0].wait_for_nth("joined the hub", 2);
        network.hosts[1].wait_for_nth("joined the hub", 2);
    }
    let begin = Instant::now();
    harm(network, Harm::Garbage(Towards::Host));
    network.back_within(NOTICED + BACK);
    let back = back.max(begin.elapsed());
    if network.transport == "quic" {
        let failing = || {
            event_loop().block_on(async {
                for _ in 0..4 {
                    connect_and_fail(at(HUB, 8443)).await;
                }
            })
        };
        network.peers.run(failing).unwrap();
    }
    Outcome { noticed: None, back }
}

fn event_loop() -> runtime::Runtime {
    runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Joins as host 3, does `work` with the stream, and waits until the hub knows that it has gone.
fn with_peer(network: &Network, work: impl AsyncFnOnce(Arc<dyn Stream>) + Send) {
    let transport = network.connections();
    let joining = move || {
        event_loop().block_on(async move {
            let stream = peer::connect(transport, 8443).await.unwrap();
            assert!(peer::join(&*stream, "host-3", [0; 16]).await.unwrap(), "admitted");
            work(stream).await;
            // What its drop has begun, a task may have to end.
            tokio::time::sleep(Duration::from_millis(100)).await;
        })
    };
    network.peers.run(joining).unwrap();
    network.host_left_within("host-3", 1, BACK);
}

/// Each is closed in time, and the network notices nothing.
fn silent_peers(network: &Network) -> Outcome {
    let transport = network.connections();
    let waiting = network.peers.thread(move || {
        event_loop().block_on(async {
            let mut all = JoinSet::new();
            for _ in 0..SILENT_PEERS {
                all.spawn(async move {
                    let stream = peer::connect(transport, 8443).await.unwrap();
                    let begin = Instant::now();
                    let in_time = peer::ends_within(&*stream, CLOSED + 2 * BUSY).await;
                    assert!(in_time, "a silent peer is not closed");
                    begin.elapsed()
                });
            }
            all.join_all().await.into_iter().max().unwrap()
        })
    });
    let back = network.is_undisturbed();
    let waiting = waiting.unwrap();
    while !waiting.is_finished() {
        // Packets pass meanwhile.
        network.is_undisturbed();
        thread::sleep(Duration::from_millis(200));
    }
    Outcome { noticed: Some(waiting.join().unwrap().unwrap()), back }
}

/// They come and go while a host has to join.
fn crowd(network: &mut Network) -> Outcome {
    let transport = network.connections();
    network.hosts[1].process.kill().unwrap();
    let crowd = network.peers.thread(move || {
        event_loop().block_on(async {
            let mut all = JoinSet::new();
            for _ in 0..CROWD {
                if all.len() >= CROWD_AT_ONCE {
                    all.join_next().await;
                }
                all.spawn(async move {
                    // Whom the hub turns out early is as good.
                    if let Ok(stream) = peer::connect(transport, 8443).await {
                        peer::ends_within(&*stream, Duration::from_millis(500)).await;
                    }
                });
            }
            all.join_all().await;
        });
    });
    // Some are there already.
    thread::sleep(Duration::from_millis(500));
    network.restart_host(1);
    let back = network.back_within(CLOSED);
    crowd.unwrap().join().unwrap().unwrap();
    Outcome { noticed: None, back }
}
