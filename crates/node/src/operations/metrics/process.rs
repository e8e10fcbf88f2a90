//! The resources that the process uses, as far as the system reports them cheaply.

use std::{fs, time::Duration};

use nix::sys::{
    resource::{Resource, UsageWho, getrlimit, getrusage},
    time::TimeVal,
};

/// Resources in use; values that cannot be read are absent.
pub(super) struct Usage {
    /// Of all threads, in user and kernel space.
    pub(super) cpu: Option<Duration>,
    /// In bytes.
    pub(super) resident: Option<u64>,
    /// In bytes.
    pub(super) virtual_memory: Option<u64>,
    pub(super) open_descriptors: Option<u64>,
    pub(super) max_descriptors: Option<u64>,
}

impl Usage {
    /// The current values.
    pub(super) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kibibytes = |key: &str| {
            let rest = status.lines().find_map(|line| line.strip_prefix(key))?;
            rest.split_whitespace().next()?.parse::<u64>().ok().map(|value| value * 1024)
        };
        Self {
            cpu: getrusage(UsageWho::RUSAGE_SELF)
                .ok()
                .map(|usage| duration(usage.user_time()) + duration(usage.system_time())),
            resident: kibibytes("VmRSS:"),
            virtual_memory: kibibytes("VmSize:"),
            // One of them is the directory that is being read.
            open_descriptors: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|entries| entries.count().saturating_sub(1) as u64),
            max_descriptors: getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft),
        }
    }
}

fn duration(time: TimeVal) -> Duration {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec()).unwrap_or(0))
}
