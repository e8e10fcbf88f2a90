//! Memory of a process, as the kernel books it.

use std::{
    fs,
    io::{self, ErrorKind},
};

/// Resident memory of a process in bytes: `VmRSS` of proc(5).
pub(super) fn resident(process: u32) -> io::Result<u64> {
    read(process, "VmRSS:")
}

/// The most that was ever resident, in bytes: `VmHWM` of proc(5).
pub(super) fn peak(process: u32) -> io::Result<u64> {
    read(process, "VmHWM:")
}

fn read(process: u32, key: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    parse(&status, key).ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("no {key}")))
}

fn parse(status: &str, key: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let status = "Name:\thub\nVmHWM:\t    4096 kB\nVmRSS:\t    2048 kB\nRssAnon:\t 1 kB\n";
        assert_eq!(parse(status, "VmRSS:"), Some(2 << 20));
        assert_eq!(parse(status, "VmHWM:"), Some(4 << 20));
        assert_eq!(parse("Name:\tVmRSS: 1 kB\n", "VmRSS:"), None);
        let me = std::process::id();
        assert!(0 < resident(me).unwrap() && resident(me).unwrap() <= peak(me).unwrap());
    }
}
