//! How many hosts a hub holds that do nothing, and what each costs it.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{
    BenchError, cpu,
    figure::Figure,
    memory,
    raw::{PING_EVERY, RawHost},
    web_api::WebApi,
    world::World,
};

/// Hosts that join at once: fewer than the 64 that an rtun hub lets wait from one address.
const BATCH: usize = 32;

/// Descriptors for everything but the hosts.
const SPARE: u64 = 256;

/// Hosts of one answer of the Web API: as many as it gives.
const PER_PAGE: usize = 500;

/// How often the thread that speaks for all of them looks whether it should end.
const POLL: Duration = Duration::from_millis(20);

/// Opens as many of `wanted` associations as this process has descriptors for, and measures the hub's memory before
/// and `during` after, when what joining needed is given back; then its CPU time while they only say that they are
/// alive, for five thirds of that; then how long it takes to list them all over the Web API, if the hub lists hosts there.
pub(super) fn measure(
    world: &World,
    during: Duration,
    wanted: usize,
) -> Result<Vec<Figure>, BenchError> {
    let watched = during * 5 / 3;
    let count = wanted.min(raise_descriptor_limit(wanted)?);
    let hub = world.hub_id();
    let before = memory::resident(hub)?;
    let start = Instant::now();
    let mut hosts = Vec::with_capacity(count);
    while hosts.len() < count {
        let batch = hosts.len()..(hosts.len() + BATCH).min(count);
        // Turn by turn from two machines: neither runs out of ports.
        let (machine, address) = world.machine(hosts.len() / BATCH % 2);
        let joined = machine.run(|| -> Result<Vec<RawHost>, BenchError> {
            let refused = |index, source| BenchError::Refused { host: name(index), source };
            let mut asked = Vec::with_capacity(BATCH);
            for index in batch.clone() {
                let host = RawHost::ask(address, &name(index));
                asked.push(host.map_err(|error| refused(index, error))?);
            }
            for (host, index) in asked.iter_mut().zip(batch) {
                host.join().map_err(|error| refused(index, error))?;
            }
            Ok(asked)
        })??;
        hosts.extend(joined);
    }
    let admitted_in = start.elapsed();
    let ended = AtomicBool::new(false);
    let (hosts, used, listed) = thread::scope(|scope| {
        let speaker = scope.spawn(|| speak(hosts, &ended));
        thread::sleep(during);
        let used = watch(hub, watched);
        let listed = list(world, count);
        ended.store(true, Ordering::Relaxed);
        let hosts = speaker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (hosts, used, listed)
    });
    let ((after, cpu), listed) = (used?, listed?);
    let held = hosts.into_iter().map(|mut host| usize::from(host.is_held())).sum::<usize>();
    let each = after.saturating_sub(before) as f64 / 1024.0 / held.max(1) as f64;
    let mut figures = vec![
        Figure::new("held", "hosts", held as f64),
        Figure::new("memory each", "KiB", each),
        Figure::new("hub before", "MiB", before as f64 / f64::from(1 << 20)),
        Figure::new("hub after", "MiB", after as f64 / f64::from(1 << 20)),
        Figure::new("admitted in", "s", admitted_in.as_secs_f64()),
        Figure::new("cpu hub", "% of a core", 100.0 * cpu / watched.as_secs_f64()),
    ];
    figures.extend(listed);
    Ok(figures)
}

/// The time of a whole listing of `count` hosts, the first after nobody has asked, and by how much the hub grows; nothing if it has no such list.
fn list(world: &World, count: usize) -> Result<Vec<Figure>, BenchError> {
    let mut api = WebApi::connect(world)?;
    let before = memory::resident(world.hub_id())?;
    let start = Instant::now();
    for page in 1..=count.div_ceil(PER_PAGE) {
        let path = format!("/v1/hosts?page={page}&per_page={PER_PAGE}");
        if api.ask("GET", &path, "")? != 200 {
            return Ok(Vec::new());
        }
    }
    let elapsed = start.elapsed();
    let grown = memory::resident(world.hub_id())?.saturating_sub(before);
    Ok(vec![
        Figure::new("listed in", "ms", elapsed.as_secs_f64() * 1000.0),
        Figure::new("list memory", "MiB", grown as f64 / f64::from(1 << 20)),
    ])
}

fn name(index: usize) -> String {
    format!("idle-{}", index + 1)
}

/// The hub's memory in bytes, then the CPU seconds that it uses in the time after.
fn watch(hub: u32, during: Duration) -> io::Result<(u64, f64)> {
    let (memory, before) = (memory::resident(hub)?, cpu::seconds(hub)?);
    thread::sleep(during);
    Ok((memory, cpu::seconds(hub)? - before))
}

/// Has every host say within each [`PING_EVERY`] that it is alive, evenly.
fn speak(mut hosts: Vec<RawHost>, ended: &AtomicBool) -> Vec<RawHost> {
    let start = Instant::now();
    let mut said: usize = 0;
    while !ended.load(Ordering::Relaxed) {
        let part = start.elapsed().as_secs_f64() / PING_EVERY.as_secs_f64();
        let due = (part * hosts.len() as f64) as usize;
        while said < due {
            let index = said % hosts.len();
            // One that the hub has let go is found when those held are counted.
            let _ = hosts[index].ping();
            said += 1;
        }
        thread::sleep(POLL);
    }
    hosts
}

/// Allows this process and those it starts a descriptor for each of `wanted` connections, as far as the system lets
/// it, and answers how many it has room for.
fn raise_descriptor_limit(wanted: usize) -> io::Result<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let needed = wanted as u64 + SPARE;
    for (soft, hard) in [(needed.max(soft), needed.max(hard)), (hard, hard)] {
        if setrlimit(Resource::RLIMIT_NOFILE, soft, hard).is_ok() {
            break;
        }
    }
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(usize::try_from(soft.saturating_sub(SPARE)).unwrap_or(usize::MAX))
}
