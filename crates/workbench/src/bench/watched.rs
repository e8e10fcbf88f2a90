//! What a live page that somebody looks at costs a hub.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rtun_lab::tools::TcpLoad;

use super::{
    BenchError, CONGESTION_CONTROL,
    figure::{Figure, warm_up},
    phase::{PhaseCount, SETTLE},
    web_api::WebApi,
    world::World,
};

/// What the page asks for in each round, all its views together: a browser shows one of them.
const QUESTIONS: [&str; 7] = [
    "/v1/overview",
    "/v1/problems",
    "/v1/traffic",
    "/v1/hosts?sort=traffic&order=desc&per_page=50",
    "/v1/routes?per_page=50",
    "/v1/drops",
    "/v1/series?names=bytes_in,bytes_out,drops,hosts",
];

/// From one round of questions to the next, as in the page.
const PERIOD: Duration = Duration::from_secs(2);

/// How soon the page ends.
const POLL: Duration = Duration::from_millis(50);

/// The idle hub is looked at for this many times the length of a measurement: its CPU time is counted in ticks of 10 ms.
const IDLE: u32 = 5;

/// Whether the page is open, in an order that cancels a steady drift.
const PHASES: [bool; 4] = [false, true, true, false];

/// Four streams and an echo, with and without a page that shows everything and samples dropped packets; and the CPU time of a hub without
/// traffic that the page looks at.
pub(super) fn measure(world: &World, during: Duration) -> Result<Vec<Figure>, BenchError> {
    let page = LivePage::open(world)?;
    thread::sleep(SETTLE);
    let (before, start) = (world.cpu()?, Instant::now());
    thread::sleep(IDLE * during);
    let idle = 100.0 * (world.cpu()?[0] - before[0]) / start.elapsed().as_secs_f64();
    page.close()?;

    let load = TcpLoad::start(&[world.flow(0, 1, false); 4], CONGESTION_CONTROL)?;
    thread::sleep(warm_up(during));
    let mut counts: [PhaseCount; 2] = Default::default();
    for watched in PHASES {
        let page = watched.then(|| LivePage::open(world)).transpose()?;
        counts[usize::from(watched)].add(world, &load, during);
        page.map(LivePage::close).transpose()?;
    }
    load.stop()?;
    Ok(figures(&counts, idle))
}

fn figures(counts: &[PhaseCount; 2], idle: f64) -> Vec<Figure> {
    let [alone, watched] = counts.each_ref().map(PhaseCount::rate);
    let [alone99, watched99] = counts.each_ref().map(PhaseCount::p99);
    vec![
        Figure::new("alone", "Gbit/s", alone),
        Figure::new("watched", "Gbit/s", watched),
        Figure::derived("kept", "%", 100.0 * watched / alone.max(f64::MIN_POSITIVE)),
        Figure::new("alone p99", "ms", alone99),
        Figure::new("watched p99", "ms", watched99),
        Figure::derived("added p99", "ms", watched99 - alone99),
        Figure::derived("idle cpu", "%", idle),
    ]
}

/// A page in a browser: it asks in rounds and holds the stream of events. Ends when it is dropped.
struct LivePage {
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl LivePage {
    /// Fails if the hub has no such page.
    fn open(world: &World) -> Result<Self, BenchError> {
        let (mut asking, mut listening) = (WebApi::connect(world)?, WebApi::connect(world)?);
        if asking.ask("GET", QUESTIONS[0], "")? != 200 {
            return Err(BenchError::NoPage { contender: world.contender().to_owned() });
        }
        asking.ask("POST", "/v1/drops/sampling", r#"{"enabled": true, "for": 3600}"#)?;
        let ends = Arc::new(AtomicBool::new(false));
        let (asks, listens) = (Arc::clone(&ends), Arc::clone(&ends));
        let rounds = move || {
            while !asks.load(Ordering::Relaxed) {
                for question in QUESTIONS {
                    let status = asking.ask("GET", question, "")?;
                    if status != 200 {
                        return Err(io::Error::other(format!("{question} is answered {status}")));
                    }
                }
                let start = Instant::now();
                while start.elapsed() < PERIOD && !asks.load(Ordering::Relaxed) {
                    thread::sleep(POLL);
                }
            }
            Ok(())
        };
        let events = move || listening.listen("/v1/events?since=0", &listens);
        let thread = |name: &str| thread::Builder::new().name(name.to_owned());
        let mut page = Self { ends, threads: vec![thread("page").spawn(rounds)?] };
        page.threads.push(thread("events").spawn(events)?);
        Ok(page)
    }

    /// Fails if the hub has left a question unanswered.
    fn close(mut self) -> Result<(), BenchError> {
        Ok(self.end()?)
    }

    fn end(&mut self) -> io::Result<()> {
        self.ends.store(true, Ordering::Relaxed);
        self.threads.drain(..).try_for_each(|thread| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for LivePage {
    fn drop(&mut self) {
        // Who wants to know how it went calls `close`.
        let _ = self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_the_page_is_compared_to_without() {
        let count =
            |bytes| PhaseCount { bytes, elapsed: Duration::from_secs(1), ..PhaseCount::default() };
        let figures = figures(&[count(1_000_000_000), count(980_000_000)], 0.05);
        let value = |name: &str| figures.iter().find(|it| it.name == name).unwrap().value;
        assert_eq!(value("alone"), 8.0);
        assert_eq!(value("kept"), 98.0);
        assert_eq!(value("added p99"), 0.0);
        assert_eq!(value("idle cpu"), 0.05);
    }
}
