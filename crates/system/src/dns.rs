//! Name servers of a device, set through systemd-resolved's `resolvectl`.

use std::io;
use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// How long `resolvectl` may take: it talks to a local daemon and answers in milliseconds, but a
/// daemon that hangs must not hold up the tunnel.
pub const RESOLVECTL_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the name servers could not be set. The tunnel works without: callers warn.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The program that sets them is not installed.
    #[error(
        "name servers of {device} not set: `resolvectl` was not found; install systemd-resolved \
         or remove `dns`"
    )]
    NoResolvectl {
        /// The device.
        device: String,
    },
    /// The program could not be run, or did not end in time.
    #[error("name servers of {device} not set: running `{command}`: {source}")]
    Run {
        /// The device.
        device: String,
        /// The command line.
        command: String,
        /// What the system answered.
        source: io::Error,
    },
    /// The program refused.
    #[error("name servers of {device} not set: `{command}` failed: {message}")]
    Refused {
        /// The device.
        device: String,
        /// The command line.
        command: String,
        /// What it printed.
        message: String,
    },
}

/// Has the system ask `servers` for names looked up through `device`. The setting goes with the
/// device. No servers: nothing is done.
pub async fn set_servers(device: &str, servers: &[IpAddr]) -> Result<(), DnsError> {
    set("resolvectl", device, servers).await
}

/// Removes that setting from a device that outlives its tunnel.
pub async fn revert(device: &str) -> Result<(), DnsError> {
    run("resolvectl", device, vec!["revert".into(), device.into()]).await
}

async fn set(program: &str, device: &str, servers: &[IpAddr]) -> Result<(), DnsError> {
    if servers.is_empty() {
        return Ok(());
    }
    let mut arguments = vec!["dns".into(), device.into()];
    arguments.extend(servers.iter().map(IpAddr::to_string));
    run(program, device, arguments).await
}

async fn run(program: &str, device: &str, arguments: Vec<String>) -> Result<(), DnsError> {
    let command = format!("{program} {}", arguments.join(" "));
    let device = device.to_owned();
    let output =
        Command::new(program).args(&arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = match tokio::time::timeout(RESOLVECTL_TIMEOUT, output).await {
        Ok(Ok(output)) => output,
        Ok(Err(source)) if source.kind() == io::ErrorKind::NotFound => {
            return Err(DnsError::NoResolvectl { device });
        }
        Ok(Err(source)) => return Err(DnsError::Run { device, command, source }),
        Err(_) => {
            let source = io::ErrorKind::TimedOut.into();
            return Err(DnsError::Run { device, command, source });
        }
    };
    if output.status.success() {
        return Ok(());
    }
    let message = match String::from_utf8_lossy(&output.stderr).trim() {
        "" => output.status.to_string(),
        text => text.to_owned(),
    };
    Err(DnsError::Refused { device, command, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 53))];

    #[tokio::test]
    async fn a_missing_program_is_named_with_what_to_do() {
        let error = set("/nonexistent/resolvectl", "tun0", &SERVER).await.unwrap_err();
        assert!(matches!(error, DnsError::NoResolvectl { .. }));
        assert!(error.to_string().contains("install systemd-resolved"), "{error}");
    }

    #[tokio::test]
    async fn a_refusal_repeats_the_command_line() {
        let error = set("false", "tun0", &SERVER).await.unwrap_err().to_string();
        assert!(error.contains("`false dns tun0 10.0.0.53` failed"), "{error}");
    }

    #[tokio::test]
    async fn success_and_nothing_to_set_are_fine() {
        set("true", "tun0", &SERVER).await.unwrap();
        set("/nonexistent/resolvectl", "tun0", &[]).await.unwrap();
    }
}
