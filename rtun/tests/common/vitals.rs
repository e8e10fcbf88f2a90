//! What running processes take at rest: processor time by thread, descriptors, tasks, memory; and whether their books
//! balance.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use rtun_node::control_socket::{ControlRequest, ask};
use serde_json::Value;

use super::Rtun;

/// For how long processor time is counted.
const WINDOW: Duration = Duration::from_secs(2);

/// A process or thread that rests takes less than this share of a core.
const RESTS_BELOW: f64 = 0.02;

/// How long it may take until everything rests: connections that were given up say goodbye, names that were refused are
/// waited for, caches are swept.
const CALM_WITHIN: Duration = Duration::from_secs(25);

/// What a process holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vitals {
    pub descriptors: usize,
    pub tasks: u64,
    /// Resident, in bytes.
    pub memory: u64,
}

/// A process at rest.
#[derive(Debug, Clone, Copy)]
pub struct Rest {
    /// The share of a core that its busiest thread took, or all of it if that is more.
    pub load: f64,
    pub holds: Vitals,
}

impl Rtun {
    /// What `rtun status --json` says of this process.
    pub fn status(&self) -> Value {
        self.try_status().unwrap_or_else(|error| panic!("no status: {error}"))
    }

    fn try_status(&self) -> Result<Value, String> {
        let socket = format!("{}.sock", self.process.id());
        let path = self.log.with_file_name("run").join(socket);
        ask(&path, &ControlRequest::Status).map_err(|error| error.to_string())
    }

    /// What it holds now.
    pub fn vitals(&self) -> Result<Vitals, String> {
        let id = self.process.id();
        let failed = |error: std::io::Error| format!("process {id}: {error}");
        // Before it is asked, which needs one.
        let descriptors = fs::read_dir(format!("/proc/{id}/fd")).map_err(failed)?.count();
        let tasks = &self.try_status()?["tasks"];
        let workers = tasks["workers"].as_array().ok_or("no tasks in the status")?;
        let tasks = workers.iter().chain([&tasks["main"]]).filter_map(Value::as_u64).sum();
        let status = fs::read_to_string(format!("/proc/{id}/status")).map_err(failed)?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory = memory.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(Vitals { descriptors, tasks, memory: memory.unwrap_or(0) * 1024 })
    }

    /// The processor time that each of its threads has taken, by number, with the thread's name.
    fn threads(&self) -> BTreeMap<u64, (String, Duration)> {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.process.id())) else {
            return BTreeMap::new();
        };
        let read = |entry: fs::DirEntry| {
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let (head, rest) = stat.rsplit_once(')')?;
            let (number, name) = head.split_once(" (")?;
            // From the third field on; user and system time are the 14th and 15th (proc(5)), in hundredths of a second.
            let fields: Vec<_> = rest.split_whitespace().collect();
            let ticks: u64 =
                fields.get(11..13)?.iter().filter_map(|it| it.parse::<u64>().ok()).sum();
            Some((number.parse().ok()?, (name.to_owned(), Duration::from_millis(ticks * 10))))
        };
        threads.flatten().filter_map(read).collect()
    }

    /// Why its books do not balance: every packet that came in went out, was counted as lost, or waits.
    fn imbalance(&self) -> Option<String> {
        let status = match self.try_status() {
            Ok(status) => status,
            Err(error) => return Some(error),
        };
        let services = status["services"].as_array()?;
        services.iter().find_map(|service| match service["kind"].as_str() {
            Some("hub") => {
                let namespaces = service["namespaces"].as_array()?;
                let waiting = service["waiting_for_plugins"].as_u64()?;
                let queued = namespaces.iter().flat_map(|it| it["hosts"].as_array()).flatten();
                let queued: u64 =
                    queued.filter_map(|host| host["queued"]["packets"].as_u64()).sum();
                let traffic = namespaces.iter().map(|it| &it["traffic"]).chain([&service["gone"]]);
                unbalanced("hub", traffic, queued + waiting)
            }
            kind => {
                let clients = service["clients"].as_array().into_iter().flatten();
                let waiting = clients.chain([service]).map(|it| &it["queued"]["packets"]);
                let queued: u64 = waiting.filter_map(Value::as_u64).sum();
                let parts = [("sent", queued), ("received", 0)];
                parts.into_iter().find_map(|(part, queued)| {
                    let traffic = &service[part];
                    match kind {
                        // A switch makes several frames of one that is for all.
                        Some("tap_server") if copies(traffic)? => None,
                        _ => unbalanced(part, [traffic], queued),
                    }
                })
            }
        })
    }
}

/// Whether at least as much went on or was lost as came.
fn copies(traffic: &Value) -> Option<bool> {
    let (came, went, lost) = counts(traffic)?;
    Some(went + lost >= came)
}

fn counts(traffic: &Value) -> Option<(u64, u64, u64)> {
    let lost = traffic["drops"].as_object()?.values().filter_map(Value::as_u64).sum();
    // Only a hub makes copies.
    let came = traffic["packets_in"].as_u64()? + traffic["copies"].as_u64().unwrap_or(0);
    Some((came, traffic["packets_out"].as_u64()?, lost))
}

fn unbalanced<'a>(
    what: &str,
    traffic: impl IntoIterator<Item = &'a Value>,
    queued: u64,
) -> Option<String> {
    let (mut came, mut went, mut lost) = (0, 0, 0);
    for traffic in traffic {
        let one = counts(traffic)?;
        (came, went, lost) = (came + one.0, went + one.1, lost + one.2);
    }
    (came != went + lost + queued)
        .then(|| format!("{what}: {came} in, {went} out, {lost} lost, {queued} waiting"))
}

/// Waits until all of these rest and none holds more than `most` of its place, if that is given; what each takes then.
/// Panics with what keeps them from it.
pub fn calm(processes: &[(&str, &Rtun)], most: Option<&[Vitals]>) -> Vec<Rest> {
    let begin = Instant::now();
    let mut last: Option<Vec<Vitals>> = None;
    loop {
        let unrest = match look(processes, most) {
            // Without a bound twice the same is what it is.
            Ok(rest) if most.is_some() => return rest,
            Ok(rest) => {
                let now: Vec<_> = rest.iter().map(|rest| rest.holds).collect();
                let counts = |all: &[Vitals]| -> Vec<_> {
                    all.iter().map(|it| (it.descriptors, it.tasks)).collect()
                };
                if last.as_deref().map(counts) == Some(counts(&now)) {
                    return rest;
                }
                last = Some(now);
                "it changes still".to_owned()
            }
            Err(unrest) => unrest,
        };
        assert!(begin.elapsed() < CALM_WITHIN, "no rest after {CALM_WITHIN:?}: {unrest}");
    }
}

fn look(processes: &[(&str, &Rtun)], most: Option<&[Vitals]>) -> Result<Vec<Rest>, String> {
    let before: Vec<_> = processes.iter().map(|(_, process)| process.threads()).collect();
    let begin = Instant::now();
    std::thread::sleep(WINDOW);
    let took = begin.elapsed();
    let after: Vec<_> = processes.iter().map(|(_, process)| process.threads()).collect();
    let mut all = Vec::new();
    for (number, (name, process)) in processes.iter().enumerate() {
        if let Ok(Some(status)) = process.process.try_wait() {
            return Err(format!("{name} has ended: {status}"));
        }
        let shares = after[number].iter().map(|(thread, (thread_name, time))| {
            let earlier = before[number].get(thread).map_or(Duration::ZERO, |(_, time)| *time);
            let share = (time.saturating_sub(earlier)).as_secs_f64() / took.as_secs_f64();
            (thread_name.as_str(), share)
        });
        let shares: Vec<_> = shares.collect();
        let busiest = shares.iter().max_by(|one, other| one.1.total_cmp(&other.1));
        let load: f64 = shares.iter().map(|(_, share)| share).sum();
        if load >= RESTS_BELOW {
            return Err(format!(
                "{name} takes {:.1} % of a core, most in {busiest:?}",
                load * 100.0
            ));
        }
        let holds = process.vitals().map_err(|error| format!("{name}: {error}"))?;
        if let Some(most) = most.map(|most| most[number])
            && (holds.descriptors > most.descriptors
                || holds.tasks > most.tasks
                || holds.memory > most.memory)
        {
            return Err(format!("{name} holds {holds:?}, more than {most:?}"));
        }
        if let Some(imbalance) = process.imbalance() {
            return Err(format!("the books of {name} do not balance: {imbalance}"));
        }
        all.push(Rest { load, holds });
    }
    Ok(all)
}
