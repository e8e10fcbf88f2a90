//! Each fault on each transport: packets pass again in the promised time, and afterwards nothing spins, nothing is left
//! behind and the books balance.
//!
//! By default a part: each fault, and each transport at least twice. `RTUN_FAULTS=all` is the whole; a fault, a transport
//! or both (`quic`, `host-killed`, `host-killed:quic`), several of them behind each other with commas, is that part of it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unreachable_pub, reason = "each module of a test is its own")]

#[path = "../common/mod.rs"]
mod common;
mod fault;
mod middle;
mod network;
mod quic_error;

use std::{
    any::Any,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use common::World;
use fault::Fault;
use network::{Account, Network, Outcome};

/// Those of routing tunnels, two kinds of proxies before the hub, then the variants of UDP and Ethernet tunnels.
const TRANSPORTS: [&str; 19] = [
    "tcp",
    "tls",
    "ws",
    "wss",
    "quic",
    "mtcp",
    "mtls",
    "mws",
    "mwss",
    "h2",
    "h2c",
    "grpc",
    "through-socks4",
    "through-relay",
    "udp",
    "relay+tls",
    "relay+wss",
    "relay+quic",
    "tap",
];

/// Networks at a time: nearly all of a fault's time is waiting.
const AT_ONCE: usize = 14;

/// What is run without a word: the longest first.
const SOME: &[(Fault, &[&str])] = &[
    (Fault::Silence30, &["h2", "udp"]),
    (Fault::HostStopped, &["tcp", "mwss", "through-relay", "udp", "relay+wss"]),
    (Fault::HostKilled, &["quic", "mtls", "through-socks4", "udp", "relay+tls", "tap"]),
    (Fault::SilentPeer, &["mtcp", "h2c", "quic", "relay+wss"]),
    (Fault::HubStopped, &["wss", "h2", "udp", "relay+tls"]),
    (Fault::TransportError, &["quic", "grpc", "wss", "udp", "relay+quic", "relay+tls"]),
    (Fault::AddressChanged, &["quic", "grpc", "udp", "relay+quic", "tap"]),
    (Fault::Crowd, &["mtcp", "h2c", "relay+tls"]),
    (Fault::HubKilled, &["tls", "mws", "through-relay", "udp", "relay+wss", "tap"]),
    (Fault::Silence3, &["ws", "mwss", "through-socks4", "relay+tls", "tap"]),
    (Fault::HalfClose, &["ws", "mws", "through-socks4", "relay+wss"]),
    (Fault::Reset, &["tls", "mtls", "through-relay", "relay+tls"]),
    (Fault::InterfaceDown, &["tcp", "quic", "udp", "relay+tls", "tap"]),
    (Fault::DeviceDeleted, &["tcp", "udp", "relay+quic", "tap"]),
];

type Cell = (Fault, &'static str);

/// What came of it, or why it failed.
type Row = (Cell, Result<Account, String>);

#[test]
fn after_every_fault_on_every_transport_all_is_as_it_was() {
    if World::new().is_none() {
        return;
    }
    let wanted = std::env::var("RTUN_FAULTS").ok();
    let whole = wanted.is_some();
    let cells = chosen(wanted.as_deref());
    assert!(!cells.is_empty(), "RTUN_FAULTS names no fault and no transport: {wanted:?}");
    // What fails is reported below, in order.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let begin = Instant::now();
    let (count, rest) = (cells.len(), Mutex::new(cells.into_iter()));
    let rows = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    // Locked for the taking only.
                    let Some((fault, transport)) = rest.lock().unwrap().next() else { break };
                    let cell = AssertUnwindSafe(|| try_one(fault, transport, whole));
                    let result = catch_unwind(cell).map_err(|panic| message(&*panic));
                    rows.lock().unwrap().push(((fault, transport), result));
                }
            });
        }
    });
    std::panic::set_hook(usual);
    let mut rows = rows.into_inner().unwrap();
    rows.sort_by_key(|((fault, transport), _)| {
        let place = Fault::ALL.iter().position(|one| one == fault);
        (place, TRANSPORTS.iter().position(|one| one == transport))
    });
    let failed: Vec<_> =
        rows.iter().filter_map(|(cell, row)| Some((cell, row.as_ref().err()?))).collect();
    if whole || !failed.is_empty() {
        // Past the test harness, which shows the output of failed tests only.
        let _ = std::io::stderr().write_all((matrix(&rows) + "\n" + &table(&rows)).as_bytes());
    }
    for ((fault, transport), why) in &failed {
        eprintln!("\n{}:{transport}: {why}", fault.name());
    }
    let took = begin.elapsed();
    assert!(failed.is_empty(), "{} of {count} failed, after {took:?}", failed.len());
    eprintln!("{count} in {took:?}");
}

fn try_one(fault: Fault, transport: &'static str, whole: bool) -> Account {
    let mut network = Network::new(World::new().unwrap(), transport, fault.needs_middle());
    let outcome = fault.happen(&mut network, whole);
    network.settle(outcome)
}

fn chosen(wanted: Option<&str>) -> Vec<Cell> {
    let Some(wanted) = wanted else {
        return SOME.iter().flat_map(|(fault, on)| on.iter().map(|it| (*fault, *it))).collect();
    };
    let all = Fault::ALL.iter().flat_map(|fault| TRANSPORTS.map(|transport| (*fault, transport)));
    let all = all.filter(|(fault, transport)| fault.can_happen(transport));
    let is_wanted = |(fault, transport): &Cell| {
        wanted.split(',').any(|word| {
            let both = format!("{}:{transport}", fault.name());
            [&both, fault.name(), transport, "all"].contains(&word)
        })
    };
    all.filter(is_wanted).collect()
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

/// Seconds until packets passed again, and before it until the fault was noticed where an end has to.
fn matrix(rows: &[Row]) -> String {
    let is_there = |transport: &&str| rows.iter().any(|((_, on), _)| on == transport);
    let columns: Vec<_> = TRANSPORTS.into_iter().filter(|it| is_there(it)).collect();
    let mut text =
        format!("| Fault | {} |\n|---{}|\n", columns.join(" | "), "|---".repeat(columns.len()));
    for fault in Fault::ALL {
        let cell = |transport: &&str| {
            let row = rows.iter().find(|(cell, _)| *cell == (fault, *transport));
            match row.map(|(_, row)| row.as_ref().map(|account| account.outcome)) {
                None => String::new(),
                Some(Err(_)) => "failed".into(),
                Some(Ok(Outcome { noticed: None, back })) => format!("{:.1}", back.as_secs_f64()),
                Some(Ok(Outcome { noticed: Some(noticed), back })) => {
                    format!("{:.1}, {:.1}", noticed.as_secs_f64(), back.as_secs_f64())
                }
            }
        };
        let cells: Vec<_> = columns.iter().map(cell).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            text += &format!("| {} | {} |\n", fault.name(), cells.join(" | "));
        }
    }
    text
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| Fault | Transport | Noticed, s | Back, s | Load, % | Descriptors | Tasks | Memory, KiB |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for ((fault, transport), row) in rows {
        text += &format!("| {} | {transport} | ", fault.name());
        text += &match row {
            Ok(account) => described(account),
            Err(why) => format!("failed: {}", why.lines().next().unwrap_or_default()),
        };
        text += " |\n";
    }
    text
}

/// Load: the most of any process. Descriptors, tasks and memory: of the hub and both hosts, the change.
fn described(account: &Account) -> String {
    let seconds = |time: Duration| format!("{:.2}", time.as_secs_f64());
    let noticed = account.outcome.noticed.map_or("-".into(), seconds);
    let load = account.after.iter().map(|rest| rest.load).fold(0.0, f64::max);
    let changes = |value: fn(&common::vitals::Vitals) -> i64| {
        let change = |(before, after): (_, &common::vitals::Rest)| {
            format!("{:+}", value(&after.holds) - value(before))
        };
        let all: Vec<_> = account.before.iter().zip(&account.after).map(change).collect();
        all.join(" ")
    };
    format!(
        "{noticed} | {} | {:.1} | {} | {} | {}",
        seconds(account.outcome.back),
        load * 100.0,
        changes(|it| it.descriptors as i64),
        changes(|it| it.tasks as i64),
        changes(|it| it.memory as i64 / 1024)
    )
}
