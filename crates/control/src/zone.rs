//! Zones of IPv6 addresses: `fe80::1%eth0` is `fe80::1` on this machine's interface `eth0`.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use nix::net::if_::if_indextoname;

/// A URL without the zone of its host, and the name of the interface that the zone means. The zone is not sent to other
/// machines. The zone is written `%25eth0` (RFC 6874), or `%eth0`; it may be the interface's number.
pub fn take_zone(url: &str) -> (String, Option<String>) {
    let none = || (url.to_owned(), None);
    let Some(authority) = url.find("://").map(|at| at + 3) else { return none() };
    let end = url[authority..].find(['/', '?', '#']).map_or(url.len(), |at| authority + at);
    let Some(close) = url[authority..end].rfind(']').map(|at| authority + at) else {
        return none();
    };
    let Some(open) = url[authority..close].rfind('[').map(|at| authority + at) else {
        return none();
    };
    let Some(percent) = url[open..close].find('%').map(|at| open + at) else { return none() };
    let zone = &url[percent + 1..close];
    let zone = zone.strip_prefix("25").filter(|rest| !rest.is_empty()).unwrap_or(zone);
    let by_number = zone.parse().ok().and_then(|number| if_indextoname(number).ok());
    let name = by_number.and_then(|name| name.into_string().ok());
    (format!("{}{}", &url[..percent], &url[close..]), Some(name.unwrap_or_else(|| zone.to_owned())))
}

/// An address, or `None` for a name; and whether it has a zone.
pub(crate) fn literal(host: &str) -> Option<(IpAddr, bool)> {
    match host.split_once('%') {
        None => host.parse().ok().map(|addr| (addr, false)),
        Some((addr, _)) => addr.parse().ok().filter(IpAddr::is_ipv6).map(|addr| (addr, true)),
    }
}

/// `host` without its zone.
pub(crate) fn without_zone(host: &str) -> &str {
    host.split('%').next().unwrap_or(host)
}

/// The addresses of a host, which may have a zone.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match (tokio::net::lookup_host((host, port)).await, host.split_once('%')) {
        (Ok(found), _) => Ok(found.collect()),
        (Err(_), Some((_, zone))) => {
            Err(io::Error::new(io::ErrorKind::NotFound, no_interface(zone)))
        }
        (Err(error), None) => Err(error),
    }
}

/// The meaning of `cause`, why something on the interface `zone` was not reached.
pub(crate) fn explain(cause: String, zone: Option<&str>) -> String {
    let is_no_device = cause.ends_with(&format!("(os error {})", libc::ENODEV));
    zone.filter(|_| is_no_device).map_or(cause, no_interface)
}

fn no_interface(zone: &str) -> String {
    format!("this machine has no interface {zone:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_their_zone() {
        for (url, plain, zone) in [
            ("http://[fe80::1%25eth0]:8000/x", "http://[fe80::1]:8000/x", Some("eth0")),
            ("http://u:p@[fe80::1%eth0]/x?y=%25", "http://u:p@[fe80::1]/x?y=%25", Some("eth0")),
            ("http://[fe80::1%251]", "http://[fe80::1]", Some("lo")),
            ("http://[fe80::1%1]", "http://[fe80::1]", Some("lo")),
            ("http://[::1]:8000/%25", "http://[::1]:8000/%25", None),
            ("http://h/[a%25b]", "http://h/[a%25b]", None),
            ("h:1", "h:1", None),
        ] {
            assert_eq!(take_zone(url), (plain.to_owned(), zone.map(str::to_owned)), "{url}");
        }
    }

    #[tokio::test]
    async fn a_missing_interface_is_named() {
        let error = resolve("fe80::1%none0", 1).await.unwrap_err().to_string();
        assert_eq!(error, "this machine has no interface \"none0\"");
        let found = resolve("fe80::1%lo", 1).await.unwrap();
        assert!(matches!(found[..], [SocketAddr::V6(v6)] if v6.scope_id() == 1), "{found:?}");
        let cause = io::Error::from_raw_os_error(libc::ENODEV).to_string();
        assert_eq!(explain(cause.clone(), Some("e0")), "this machine has no interface \"e0\"");
        assert_eq!(explain(cause.clone(), None), cause);
    }
}
