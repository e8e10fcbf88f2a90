//! What happens in a run, drawn from its seed.

use std::time::Duration;

use crate::{link::Side, setup::MACHINES};

/// Something that happens to the network, its nodes, or what these depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The host of a machine is started, or stopped as a service manager does.
    Start(usize),
    Stop(usize),
    /// The machine vanishes with its host, and neither says anything more.
    Vanish(usize),
    /// Nothing reaches a machine and nothing leaves it.
    Cut(usize),
    /// A machine reads nothing of what comes to it.
    Stall(usize),
    /// The connections of a machine are reset.
    Reset(usize),
    /// A machine gets another address; its connections fall silent.
    Move(usize),
    /// What reads of a machine's connection panics, at the host or at the hub.
    Panic(usize, Side),
    /// What accepts the hub's next connection panics.
    PanicAtAccept,
    /// The hub's configuration sends the prefix that moves to the other host.
    Reroute,
    /// The user of a machine is taken out of the configuration, or put back.
    Revoke(usize),
    Admit(usize),
    /// The hub ends as a service manager ends it, or is killed, and is started again this much later.
    RestartHub(Duration),
    KillHub(Duration),
    /// Nothing reaches the hub.
    CutHub,
    /// The source of a table gives another text, or fails, or hangs, or is empty.
    RerouteSource,
    FailSource,
    HangSource,
    EmptySource,
    /// The plugin knows another route, or fails, or hangs.
    ReroutePlugin,
    FailPlugin,
    HangPlugin,
    PanicPlugin,
    /// A machine sends this many long packets at once.
    Burst(usize, usize),
    /// Intruders connect, and say nothing, or nonsense, or half a request.
    Intruders(Intruder, usize),
    /// Everything works again, and is looked at.
    Settle,
}

/// What an intruder does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intruder {
    Silent,
    Nonsense,
    HalfRequest,
    Leaves,
}

/// What happens next, and how long after what happened before.
pub(crate) fn next(random: &mut fastrand::Rng) -> (Duration, Step) {
    let machine = random.usize(1..=MACHINES);
    let a_while = Duration::from_millis(random.u64(0..15_000));
    let side = if random.bool() { Side::Host } else { Side::Hub };
    let step = match random.u32(0..120) {
        0..12 => Step::Start(machine),
        12..17 => Step::Stop(machine),
        17..21 => Step::Vanish(machine),
        21..29 => Step::Cut(machine),
        29..35 => Step::Stall(machine),
        35..40 => Step::Reset(machine),
        40..45 => Step::Move(machine),
        45..50 => Step::Panic(machine, side),
        50 => Step::PanicAtAccept,
        51..55 => Step::Reroute,
        55..58 => Step::Revoke(machine),
        58..60 => Step::Admit(machine),
        60..63 => Step::RestartHub(a_while),
        63..66 => Step::KillHub(a_while),
        66..69 => Step::CutHub,
        69..72 => Step::RerouteSource,
        72..75 => Step::FailSource,
        75..77 => Step::HangSource,
        77..79 => Step::EmptySource,
        79..82 => Step::ReroutePlugin,
        82..85 => Step::FailPlugin,
        85 => Step::HangPlugin,
        86 => Step::PanicPlugin,
        87..91 => Step::Burst(machine, random.usize(20..400)),
        91..95 => {
            let intruder = *random
                .choice(&[
                    Intruder::Silent,
                    Intruder::Nonsense,
                    Intruder::HalfRequest,
                    Intruder::Leaves,
                ])
                .expect("there are some");
            Step::Intruders(intruder, random.usize(1..100))
        }
        _ => Step::Settle,
    };
    let pause = match random.u32(0..4) {
        0 => 0,
        1 => random.u64(0..300),
        2 => random.u64(0..2_000),
        _ => random.u64(0..8_000),
    };
    (Duration::from_millis(pause), step)
}
