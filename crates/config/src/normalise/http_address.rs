//! Where rtun's own HTTP servers listen.

use crate::{address, location::quote, report::At};

/// The address and where it is written: `host:port`, or `unix://` and a path; `None` after an error was reported.
pub(super) fn read((addr, at): (String, At<'_>)) -> Option<String> {
    let wrong = match addr.strip_prefix("unix://") {
        Some("") => Some("it has no path".to_owned()),
        Some(_) => None,
        None => address::check(&addr).err().map(|error| error.to_string()),
    };
    if let Some(wrong) = wrong {
        let message = format!("{} is no address to listen on: {wrong}", quote(&addr));
        let help = "write for example 127.0.0.1:9000 or unix:///run/rtun.sock";
        return at.refuse(message, help);
    }
    Some(addr)
}

/// Whether only this machine can connect to an address.
pub(super) fn is_local(addr: &str) -> bool {
    addr.starts_with("unix://")
        || address::split_host_port(addr).is_some_and(|(host, _)| address::is_loopback(host))
}
