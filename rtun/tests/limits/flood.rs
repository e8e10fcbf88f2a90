//! Hubs whose hosts flood each other, and what arrives.

#![allow(unreachable_pub, reason = "a test program is no library")]

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rtun_lab::NetNamespace;

use super::common::{
    HUB, SOON,
    raw::{Answer, RawHost, request, udp},
};

/// Routes of `sender`, `receiver`, and of `host-1` to `host-9`.
pub fn routers() -> String {
    let rows = (1..=9).map(|n| format!("  - {{dst: 192.168.123.{n}, gateway: host-{n}}}\n"));
    let more = "  - {dst: 10.1.0.1, gateway: sender}\n  - {dst: 10.1.0.2, gateway: receiver}\n";
    format!("routers:\n- name: router-0\n  routes:\n{more}{}", rows.collect::<String>())
}

/// A hub's service, with more keys of its own.
pub fn service(name: &str, port: u16, more: &str) -> String {
    format!(
        "- name: {name}\n  addr: :{port}\n  handler: {{type: router, metadata: {{router: router-0}}}}\n  \
         listener: {{type: tcp}}\n{more}"
    )
}

/// A hub with one service.
pub fn hub(more: &str, objects: &str) -> String {
    format!("services:\n{}{}{objects}", service("service-0", 8443, more), routers())
}

pub fn join(machine: &NetNamespace, port: u16, name: &str) -> TcpStream {
    let mut raw =
        RawHost { stream: machine.run(|| TcpStream::connect((HUB, port))).unwrap().unwrap() };
    raw.stream.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(raw.ask(&request(name, [0; 16])), Answer::Status(0));
    raw.stream
}

/// A flood from one host to another through a hub's port, at a pace above the limit. Ends when dropped.
pub struct Flood {
    begun: Instant,
    pub arrived: Arc<AtomicU64>,
    streams: [TcpStream; 2],
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    /// `packet` bytes each, `pace` bytes a second in all.
    pub fn start(machines: &[NetNamespace; 2], port: u16, packet: usize, pace: u64) -> Self {
        let streams = [join(&machines[0], port, "sender"), join(&machines[1], port, "receiver")];
        Self::between(streams, packet, pace)
    }

    pub fn between(streams: [TcpStream; 2], packet: usize, pace: u64) -> Self {
        Self::of(streams, udp("10.1.0.1", "10.1.0.2", &vec![0x5a; packet - 28]), pace)
    }

    /// Packets like this one.
    pub fn of(streams: [TcpStream; 2], packet: Vec<u8>, pace: u64) -> Self {
        let mut flood = Self::sending(&streams, packet, pace);
        let (mut receiver, counter) = (streams[1].try_clone().unwrap(), Arc::clone(&flood.arrived));
        flood.threads.push(thread::spawn(move || {
            let mut buffer = vec![0; 1 << 20];
            while let Ok(read @ 1..) = receiver.read(&mut buffer) {
                counter.fetch_add(read as u64, Ordering::Relaxed);
            }
        }));
        flood
    }

    /// The same, and somebody else receives them.
    pub fn sending(streams: &[TcpStream; 2], packet: Vec<u8>, pace: u64) -> Self {
        let frame = [&(packet.len() as u16).to_be_bytes()[..], &packet].concat();
        let streams = streams.each_ref().map(|it| it.try_clone().unwrap());
        let mut sender = streams[0].try_clone().unwrap();
        let (arrived, begun) = (Arc::<AtomicU64>::default(), Instant::now());
        let sending = thread::spawn(move || {
            let mut sent = 0;
            loop {
                let due = (begun.elapsed().as_secs_f64() * pace as f64) as u64;
                let frames = due.saturating_sub(sent).div_ceil(frame.len() as u64).min(256);
                if sender.write_all(&frame.repeat(frames as usize)).is_err() {
                    return;
                }
                // What was not sent in time is not made up for.
                sent = due.max(sent);
                thread::sleep(Duration::from_millis(2));
            }
        });
        Self { begun, arrived, streams, threads: vec![sending] }
    }

    /// Waits for a time in which the limit passes to 3 %, since this machine has other things to do; it never passes more than
    /// that and `burst` bytes.
    pub fn keeps_to(&self, what: &str, limit: u64, burst: u64) {
        keep_to(&[self], what, limit, burst);
    }
}

/// The same of floods that have one limit together; the parts of it that each had at last.
pub fn keep_to(floods: &[&Flood], what: &str, limit: u64, burst: u64) -> Vec<f64> {
    let arrived = || -> Vec<u64> {
        floods.iter().map(|flood| flood.arrived.load(Ordering::Relaxed)).collect()
    };
    let begun = floods.iter().map(|flood| flood.begun).min().unwrap();
    let since = Instant::now();
    let mut seen = Vec::new();
    loop {
        let (start, before) = (Instant::now(), arrived());
        thread::sleep(Duration::from_secs(2));
        let (took, after) = (start.elapsed().as_secs_f64(), arrived());
        let parts = before.iter().zip(&after).map(|(before, after)| (after - before) as f64);
        let parts: Vec<f64> = parts.map(|bytes| bytes / took / limit as f64).collect();
        let (time, total) = (begun.elapsed(), arrived().iter().sum::<u64>());
        let most = 1.01 * limit as f64 * time.as_secs_f64() + burst as f64;
        assert!(total as f64 <= most, "{what}: {total} bytes in {time:?}, {limit} a second");
        let rate: f64 = parts.iter().sum();
        seen.push((rate * 1000.0).round() / 1000.0);
        if (rate - 1.0).abs() <= 0.03 {
            println!("{what}: {seen:?} of {limit} bytes/s");
            return parts;
        }
        assert!(since.elapsed() < 3 * SOON, "{what}: {seen:?} of {limit} bytes/s");
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        for stream in &self.streams {
            let _ = stream.shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Two hosts, the first of which sends to the second.
pub struct Pair(pub Flood);

impl Pair {
    pub fn start(streams: [TcpStream; 2], from: u8, to: u8, pace: u64) -> Self {
        let packet =
            udp(&format!("192.168.123.{from}"), &format!("192.168.123.{to}"), &[0x5a; 1372]);
        Self(Flood::of(streams, packet, pace))
    }

    pub fn arrived(&self) -> u64 {
        self.0.arrived.load(Ordering::Relaxed)
    }
}
