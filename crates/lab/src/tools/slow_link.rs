//! A cable with a limited rate: the kernel's token bucket with a short queue.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{LabError, NetNamespace};

/// Limits what `device` in `namespace` sends to `mbit` Mbit/s (10^6), in bursts of at most 32 KiB, with a
/// queue of 50 ms that drops new packets when it is full (tc-tbf(8)). Needs the program `tc` and a kernel
/// with `sch_tbf`.
pub fn slow_link(namespace: &NetNamespace, device: &str, mbit: u32) -> Result<(), LabError> {
    let action = || format!("in namespace {}: limiting {device} with tc", namespace.name());
    let failed = |source: std::io::Error| LabError::system(action(), source);
    let mut command = Command::new("tc");
    command.args(["qdisc", "replace", "dev", device, "root", "tbf", "rate"]);
    command.arg(format!("{mbit}mbit")).args(["burst", "32kb", "latency", "50ms"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let process = namespace.spawn(command).map_err(failed)?;
    let mut said = String::new();
    if let Some(mut stderr) = process.stderr() {
        std::io::Read::read_to_string(&mut stderr, &mut said).map_err(failed)?;
    }
    match process.wait(PATIENCE).map_err(failed)? {
        Some(status) if status.success() => Ok(()),
        _ => Err(failed(std::io::Error::other(said.trim().to_owned()))),
    }
}

/// For a program that only talks to the kernel.
const PATIENCE: Duration = Duration::from_secs(10);
