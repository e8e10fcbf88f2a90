//! Networks of Linux namespaces on one machine, for the demo, the benchmarks and the tests.
//!
//! ```text
//!   namespace "hub"        namespace "h1"        namespace "h2"
//!     eth0 10.0.0.1/24       eth0 10.0.0.2/24      eth0 10.0.0.3/24
//!       |                      |                     |
//!     port1 ---------------- port2 --------------- port3     Switch (a bridge in its own namespace)
//! ```
//!
//! A [`Lab`] makes [`NetNamespace`]s and [`Switch`]es. Programs started in a namespace end with the lab,
//! and the kernel removes the namespaces, devices and routes when nothing uses them. Nothing outside
//! changes: no names under `/run/netns`, no settings of this machine.

use std::io;
use std::sync::Arc;

use nix::sched::{CloneFlags, unshare};
use rtun_system::tun::{Tun, TunConfig};

mod error;
mod namespace;
mod process;
mod removal;
mod switch;
pub mod tools;
mod user_namespace;
mod wan;

pub use error::LabError;
pub use namespace::NetNamespace;
pub use process::Process;
pub use switch::Switch;
pub use user_namespace::{UserNamespaceError, enter_user_namespace};
pub use wan::{Direction, Impairment, Rate, Reorder, Wan, WanConfig, WanCounters};

use process::Processes;

/// Whether this process may build a lab: make network namespaces and mount namespaces. The text
/// says why not and what would help. Tests print it as `skipped: REASON`.
pub fn available() -> Result<(), String> {
    Lab::new().map(drop).map_err(|error| error.to_string())
}

/// Whether a lab and TUN devices in its namespaces can be made.
pub fn tun_available() -> Result<(), String> {
    let probe = Lab::new().and_then(|lab| lab.namespace("probe"));
    let made = probe.and_then(|probe| {
        probe.block_on(async { Tun::create(&TunConfig { name: None, mtu: 1420 }).map(drop) })
    });
    made.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// A network on this machine. Dropping it kills the programs that still run in its namespaces, each by
/// its own process id, and waits for them. Remaining clones of namespaces start no further programs.
/// If this process is killed (SIGKILL), its programs continue to run.
#[derive(Debug)]
pub struct Lab {
    processes: Arc<Processes>,
}

impl Lab {
    /// An empty network. Fails if this process may not make namespaces.
    pub fn new() -> Result<Lab, LabError> {
        // On a thread that ends, and the namespaces with it.
        on_own_thread(|| Ok(unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?))
            .flatten()
            .map_err(|error| LabError::system("creating network namespaces", error))?;
        Ok(Lab { processes: Arc::default() })
    }

    /// Makes a namespace: a machine with nothing but its loopback device, which is up. `name` is
    /// for messages only.
    pub fn namespace(&self, name: &str) -> Result<NetNamespace, LabError> {
        NetNamespace::create(name, self.processes.clone())
    }

    /// Makes a switch, to which any number of namespaces can be attached.
    pub fn switch(&self) -> Result<Switch, LabError> {
        Switch::create(self.namespace("switch")?)
    }

    /// Connects two namespaces by a cable: `a_device` in `a`, `b_device` in `b`, both up, without
    /// addresses.
    pub fn veth(
        &self,
        a: &NetNamespace,
        a_device: &str,
        b: &NetNamespace,
        b_device: &str,
    ) -> Result<(), LabError> {
        switch::cable(a, a_device, b, b_device)
    }

    /// Connects two namespaces by a long path: `a_device` in `a`, `b_device` in `b`, both up,
    /// without addresses. They are point-to-point devices, not Ethernet: every packet routed to one
    /// leaves at the other, without neighbour discovery. The connection lasts as long as its handle.
    pub fn wan(
        &self,
        a: &NetNamespace,
        a_device: &str,
        b: &NetNamespace,
        b_device: &str,
        config: &WanConfig,
    ) -> Result<Wan, LabError> {
        Wan::start(a, a_device, b, b_device, config)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.processes.end_all();
    }
}

/// Runs `work` on a thread of its own, which may change its namespaces without an effect on others.
/// Returns the result of `work`; a panic in `work` continues in the caller.
fn on_own_thread<R: Send>(work: impl FnOnce() -> R + Send) -> io::Result<R> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("lab".into()).spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
