//! What a host that has stopped reading costs the others.

use std::{
    io, iter,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rtun_lab::tools::{TcpLoad, UdpSource};

use super::{
    BenchError, CONGESTION_CONTROL,
    figure::{Figure, warm_up},
    phase::PhaseCount,
    raw::{PING_EVERY, RawHost},
    world::World,
};

/// The third host's load: datagrams per second, and bytes of each.
const RATE: f64 = 20_000.0;
const PAYLOAD: usize = 1200;

/// How long the third host waits for something to read or to do.
const POLL: Duration = Duration::from_millis(10);

/// What happens next to the streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StallPhase {
    /// Nothing.
    Alone,
    /// The second host sends to a third, which reads.
    Reading,
    /// The same to a third that does not read.
    Stalled,
}

/// In an order that cancels a steady drift.
const PHASES: [StallPhase; 6] = [
    StallPhase::Alone,
    StallPhase::Reading,
    StallPhase::Stalled,
    StallPhase::Stalled,
    StallPhase::Reading,
    StallPhase::Alone,
];

/// Four streams and an echo between two hosts: rates and echo times of each phase, and what the third host's not
/// reading changes. It sends the same datagrams in both, so that making them costs the same.
pub(super) fn measure(world: &World, during: Duration) -> Result<Vec<Figure>, BenchError> {
    let third = Third::start(world)?;
    let load = TcpLoad::start(&[world.flow(0, 1, false); 4], CONGESTION_CONTROL)?;
    thread::sleep(warm_up(during));
    let mut counts: [PhaseCount; 3] = Default::default();
    for phase in PHASES {
        third.reads.store(phase != StallPhase::Stalled, Ordering::Relaxed);
        let _source = match phase {
            StallPhase::Alone => None,
            _ => {
                let (from, _) = world.machine(1);
                Some(UdpSource::start(from, world.inner_address(2), PAYLOAD, RATE)?)
            }
        };
        counts[phase as usize].add(world, &load, during / 2);
    }
    load.stop()?;
    third.stop()?;
    Ok(figures(&counts))
}

fn figures(counts: &[PhaseCount; 3]) -> Vec<Figure> {
    let [alone, reading, stalled] = counts.each_ref().map(PhaseCount::rate);
    let [alone99, reading99, stalled99] = counts.each_ref().map(PhaseCount::p99);
    vec![
        Figure::new("alone", "Gbit/s", alone),
        Figure::new("reading", "Gbit/s", reading),
        Figure::new("stalled", "Gbit/s", stalled),
        Figure::derived("kept", "%", 100.0 * stalled / reading.max(f64::MIN_POSITIVE)),
        Figure::new("alone p99", "ms", alone99),
        Figure::new("reading p99", "ms", reading99),
        Figure::new("stalled p99", "ms", stalled99),
        Figure::derived("added p99", "ms", stalled99 - reading99),
    ]
}

/// The third host: it is a connection only, so that reading costs hardly anything.
struct Third {
    reads: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Third {
    fn start(world: &World) -> Result<Self, BenchError> {
        let (machine, hub) = world.machine(2);
        let name = "host-3";
        let joined = machine.run(|| {
            let mut host = RawHost::ask(hub, name)?;
            host.join().map(|()| host)
        })?;
        let mut host =
            joined.map_err(|source| BenchError::Refused { host: name.into(), source })?;
        let (reads, ends) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let (read, end) = (Arc::clone(&reads), Arc::clone(&ends));
        let work = move || {
            let mut buffer = vec![0; 256 * 1024];
            let mut pinged = Instant::now();
            for () in iter::repeat(()).take_while(|()| !end.load(Ordering::Relaxed)) {
                match read.load(Ordering::Relaxed) {
                    true => host.skip(&mut buffer, POLL)?,
                    false => thread::sleep(POLL),
                }
                if pinged.elapsed() >= PING_EVERY {
                    host.ping()?;
                    pinged = Instant::now();
                }
            }
            Ok(())
        };
        let thread = thread::Builder::new().name("third host".into()).spawn(work)?;
        Ok(Self { reads, ends, thread: Some(thread) })
    }

    /// Fails if the hub had ended the connection.
    fn stop(mut self) -> Result<(), BenchError> {
        Ok(self.end()?)
    }

    fn end(&mut self) -> io::Result<()> {
        self.ends.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(ended) => ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            None => Ok(()),
        }
    }
}

impl Drop for Third {
    fn drop(&mut self) {
        // Who wants to know how it went calls `stop`.
        let _ = self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stalled_host_is_compared_with_one_that_reads() {
        let count =
            |bytes| PhaseCount { bytes, elapsed: Duration::from_secs(1), ..PhaseCount::default() };
        let figures = figures(&[count(2_000_000_000), count(1_000_000_000), count(990_000_000)]);
        let value = |name: &str| figures.iter().find(|it| it.name == name).unwrap().value;
        assert_eq!(value("alone"), 16.0);
        assert_eq!(value("kept"), 99.0);
        assert_eq!(value("added p99"), 0.0);
    }
}
