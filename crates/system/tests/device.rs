//! What every TUN device does, checked on each kind.

#![allow(clippy::unwrap_used)]

mod common;

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use rtun_system::installation::Installation;
use rtun_system::link::{LinkSetup, SystemLink};
use rtun_system::placement::OwnPackets;
use rtun_system::tun::memory::{self, MemoryTun, System};
use rtun_system::tun::{PacketDevice, Tun, TunConfig};
use tokio::net::UdpSocket;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(5);
const MTU: u16 = 1420;
const HEADERS: usize = 28;
const HERE: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 7, 0, 1), 4000);
const THERE: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 7, 0, 2), 5000);

/// A device and the system around it. The system sends and receives UDP datagrams over IPv4.
trait World {
    type Device: PacketDevice;
    fn device(&self) -> &Self::Device;
    /// Has the system send a datagram into the device, if it takes one.
    fn emit(&self, payload: &[u8]);
    /// The next datagram the system received from the device.
    async fn absorb(&self) -> Vec<u8>;
    /// Takes the device away.
    async fn delete(&mut self);
}

async fn battery<W: World>(make: impl AsyncFn() -> W) {
    packets_arrive_whole_and_in_order(&make().await).await;
    an_idle_device_waits_and_wakes(&make().await).await;
    a_short_buffer_cuts_one_packet_only(&make().await).await;
    what_is_not_ip_is_refused_alone(&make().await).await;
    overload_loses_packets_but_nothing_else(&make().await).await;
    a_deleted_device_fails(make().await).await;
}

async fn packets_arrive_whole_and_in_order(world: &impl World) {
    let longest = usize::from(MTU) - HEADERS;
    assert_eq!(world.device().mtu(), MTU);
    for length in [0, 1, 100, longest - 1, longest] {
        world.emit(&payload(length));
    }
    for length in [0, 1, 100, longest - 1, longest] {
        assert_eq!(receive(world.device()).await, payload(length));
    }
    for length in [0, 1, 100, longest - 1, longest] {
        send(world.device(), &payload(length)).await;
        assert_eq!(timeout(PATIENCE, world.absorb()).await.unwrap(), payload(length));
    }
}

async fn an_idle_device_waits_and_wakes(world: &impl World) {
    let nothing = timeout(Duration::from_millis(50), receive(world.device())).await;
    assert!(nothing.is_err(), "{nothing:?}");
    let (received, ()) = tokio::join!(receive(world.device()), async {
        tokio::task::yield_now().await;
        world.emit(b"wake");
    });
    assert_eq!(received, b"wake");
}

async fn a_short_buffer_cuts_one_packet_only(world: &impl World) {
    world.emit(&payload(500));
    world.emit(b"next");
    let mut short = [0; 40];
    timeout(PATIENCE, async {
        loop {
            world.device().readable().await.unwrap();
            match world.device().try_recv(&mut short) {
                Ok(length) if datagram(&short).is_some() => break assert_eq!(length, short.len()),
                _ => {}
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(short[HEADERS..], payload(500)[..40 - HEADERS]);
    assert_eq!(receive(world.device()).await, b"next");
}

async fn what_is_not_ip_is_refused_alone(world: &impl World) {
    for nonsense in [&[][..], &[0x10; 60], &[0xf5; 60]] {
        let error = world.device().try_send(nonsense).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    }
    send(world.device(), b"fine").await;
    assert_eq!(timeout(PATIENCE, world.absorb()).await.unwrap(), b"fine");
}

async fn overload_loses_packets_but_nothing_else(world: &impl World) {
    for number in 0..3000_u32 {
        world.emit(&number.to_be_bytes());
    }
    world.device().readable().await.unwrap();
    let mut last = None;
    let mut buffer = [0; 2000];
    loop {
        match world.device().try_recv(&mut buffer) {
            Ok(length) => {
                let Some(payload) = datagram(&buffer[..length]) else { continue };
                let number = u32::from_be_bytes(payload.try_into().unwrap());
                assert!(last < Some(number), "{last:?} before {number}");
                last = Some(number);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(last.is_some());
    world.emit(b"after");
    assert_eq!(receive(world.device()).await, b"after");
}

async fn a_deleted_device_fails(mut world: impl World) {
    world.delete().await;
    let end = async {
        loop {
            world.device().readable().await.unwrap();
            match world.device().try_recv(&mut [0; 100]) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => break,
                _ => {}
            }
        }
    };
    timeout(PATIENCE, end).await.expect("the wait ends");
    let error = world.device().try_send(&packet(THERE, HERE, b"x")).unwrap_err();
    assert_ne!(error.kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn the_memory_device_passes() {
    battery(async || {
        let (device, system) = memory::device("tun0", MTU, 500);
        Memory { device, system: Some(system) }
    })
    .await;
}

#[test]
fn the_linux_device_passes() {
    common::in_namespace(|| battery(Linux::make));
}

struct Memory {
    device: MemoryTun,
    system: Option<System>,
}

impl World for Memory {
    type Device = MemoryTun;

    fn device(&self) -> &MemoryTun {
        &self.device
    }

    fn emit(&self, payload: &[u8]) {
        // A full queue drops it, which is what a system does.
        let _ = self.system.as_ref().unwrap().send(&packet(HERE, THERE, payload));
    }

    async fn absorb(&self) -> Vec<u8> {
        let packet = self.system.as_ref().unwrap().recv().await.unwrap();
        datagram(&packet).unwrap().to_vec()
    }

    async fn delete(&mut self) {
        self.system = None;
    }
}

struct Linux {
    device: Tun,
    link: SystemLink,
    socket: UdpSocket,
}

impl Linux {
    async fn make() -> Linux {
        let device = Tun::create(&TunConfig { name: None, mtu: MTU }).unwrap();
        let link = SystemLink::open(device.name()).unwrap();
        let setup = LinkSetup {
            mtu: MTU,
            addresses: vec!["10.7.0.1/24".parse().unwrap()],
            routes: Vec::new(),
        };
        let mut installation = Installation::prepare(link.clone(), setup).await.unwrap();
        installation.restore(&OwnPackets::default(), &mut |_| true).await.unwrap();
        let socket = UdpSocket::bind(HERE).await.unwrap();
        Linux { device, link, socket }
    }
}

impl World for Linux {
    type Device = Tun;

    fn device(&self) -> &Tun {
        &self.device
    }

    fn emit(&self, payload: &[u8]) {
        let socket = socket2::SockRef::from(&self.socket);
        // A full queue refuses or drops it.
        let _ = socket.send_to(payload, &std::net::SocketAddr::from(THERE).into());
    }

    async fn absorb(&self) -> Vec<u8> {
        let mut buffer = [0; 2000];
        let (length, from) = self.socket.recv_from(&mut buffer).await.unwrap();
        assert_eq!(from, THERE.into());
        buffer[..length].to_vec()
    }

    async fn delete(&mut self) {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        handle.link().del(self.link.index()).execute().await.unwrap();
    }
}

/// The payload of the next UDP datagram the device hands over; a system also sends packets of
/// its own accord, which are passed by.
async fn receive(device: &impl PacketDevice) -> Vec<u8> {
    let mut buffer = [0; 2000];
    let next = async {
        loop {
            device.readable().await.unwrap();
            match device.try_recv(&mut buffer) {
                Ok(length) => {
                    if let Some(payload) = datagram(&buffer[..length]) {
                        return payload.to_vec();
                    }
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}"),
            }
        }
    };
    timeout(PATIENCE, next).await.expect("a packet comes")
}

async fn send(device: &impl PacketDevice, payload: &[u8]) {
    let packet = packet(THERE, HERE, payload);
    device.writable().await.unwrap();
    assert_eq!(device.try_send(&packet).unwrap(), packet.len());
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 % 256) as u8).collect()
}

/// An IPv4 packet with a UDP datagram, which needs no checksum of its own (RFC 768).
fn packet(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0];
    packet.extend(from.0.octets());
    packet.extend(to.0.octets());
    let length = (HEADERS + payload.len()) as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    let sum =
        packet.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(from.1.to_be_bytes());
    packet.extend(to.1.to_be_bytes());
    packet.extend((length - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

/// The payload, if `packet` is a UDP datagram over IPv4.
fn datagram(packet: &[u8]) -> Option<&[u8]> {
    (packet.first() == Some(&0x45) && packet.get(9) == Some(&17)).then(|| &packet[HEADERS..])
}
