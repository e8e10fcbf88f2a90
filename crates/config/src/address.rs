//! `host:port` as Go reads it, with zones of IPv6 addresses, and port ranges.

use std::net::{IpAddr, Ipv6Addr};

/// Most addresses a port range stands for.
const MAX_RANGE: usize = 1024;

/// The longest name of an interface, in bytes.
const MAX_ZONE: usize = 15;

/// `authority`, a part of a URL, with the zone of an IPv6 address in it as it is written elsewhere: `%25eth0` (RFC 6874) is
/// `%eth0`. A zone that is written so in the URL already stays.
pub(crate) fn unescape_zone(authority: &str) -> String {
    let mut text = String::new();
    let mut rest = authority;
    while let Some((before, after)) = rest.split_once("%25") {
        text.push_str(before);
        let in_brackets = text.rfind('[') > text.rfind(']');
        // `[fe80::1%25]` is on the interface with the number 25.
        text.push_str(if in_brackets && !after.starts_with(']') { "%" } else { "%25" });
        rest = after;
    }
    text + rest
}

/// `host` without its zone, which only this machine knows.
pub(crate) fn without_zone(host: &str) -> &str {
    host.split('%').next().unwrap_or(host)
}

/// Host (without brackets) and port text; `None` where Go's `net.SplitHostPort` fails, as for a bare name or
/// IPv6 address.
pub(crate) fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let clean = |text: &str| !text.contains(['[', ']']);
    (clean(host) && clean(port)).then_some((host, port))
}

/// Why a `host:port` cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("it has no port")]
    NoPort,
    #[error("its port is not a number from 0 to 65535")]
    BadPort,
    #[error("an IPv6 address with a port needs brackets, as in [2001:db8::1]:8443")]
    Brackets,
    #[error("it has no host")]
    NoHost,
    #[error("its port range is not of the form 8000-8010, with at most 1024 ports")]
    BadRange,
    #[error(
        "its zone is not the name or number of an interface after an IPv6 address, as in [fe80::1%eth0]:8443"
    )]
    Zone,
    #[error("it contains blanks or other characters no address has")]
    Characters,
}

/// Checks that `text` is `host:port` with a number for a port.
pub(crate) fn check(text: &str) -> Result<(&str, u16), AddressError> {
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@' | ',')) {
        return Err(AddressError::Characters);
    }
    let Some((host, port)) = split_host_port(text) else {
        let colons = text.matches(':').count();
        return Err(if colons > 1 { AddressError::Brackets } else { AddressError::NoPort });
    };
    if let Some((address, zone)) = host.split_once('%')
        && (address.parse::<Ipv6Addr>().is_err() || zone.is_empty() || zone.len() > MAX_ZONE)
    {
        return Err(AddressError::Zone);
    }
    Ok((host, self::port(port)?))
}

/// Whether only this machine has the address `host`, which may be a name or an address without brackets.
pub(crate) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || without_zone(host).parse().is_ok_and(|addr: IpAddr| addr.to_canonical().is_loopback())
}

/// The host of an `http://` or `https://` URL, without user info, brackets and port; `None` for any other text.
pub(crate) fn url_host(url: &str) -> Option<&str> {
    let after = |scheme: &str| {
        let (start, rest) = url.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = after("http://").or_else(|| after("https://"))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let host = match split_host_port(authority) {
        Some((host, text)) => (text.is_empty() || port(text).is_ok()).then_some(host)?,
        None => match authority.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => address,
            None => (!authority.contains([':', '[', ']'])).then_some(authority)?,
        },
    };
    let blank = |c: char| c.is_whitespace() || c.is_control();
    (!host.is_empty() && !url.contains(blank)).then_some(host)
}

fn port(text: &str) -> Result<u16, AddressError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(AddressError::BadPort)
}

/// The addresses that `text` stands for: one for each port of a range `host:a-b`, itself if it has no port.
pub(crate) fn expand(text: &str) -> Result<Vec<String>, AddressError> {
    let Some((host, ports)) = split_host_port(text) else { return Ok(vec![text.to_owned()]) };
    let join = |port: u16| match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let Some((first, last)) = ports.split_once('-') else { return Ok(vec![join(port(ports)?)]) };
    let (Ok(first), Ok(last)) = (port(first), port(last)) else {
        return Err(AddressError::BadRange);
    };
    let range = first..=last;
    if range.is_empty() || range.len() > MAX_RANGE {
        return Err(AddressError::BadRange);
    }
    Ok(range.map(join).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_as_go_does() {
        for (text, split) in [
            ("h:1", Some(("h", "1"))),
            (":1", Some(("", "1"))),
            ("h:", Some(("h", ""))),
            ("[::1]:1", Some(("::1", "1"))),
            ("h", None),
            ("::1", None),
            ("fd00:64::7", None),
            ("[::1]", None),
            ("[::1", None),
            ("a]:1", None),
            ("[a]b:1", None),
        ] {
            assert_eq!(split_host_port(text), split, "{text}");
        }
    }

    #[test]
    fn expands_ranges() {
        let of = |text| expand(text).map(|addrs| addrs.join(" "));
        assert_eq!(of(":8000-8002").as_deref(), Ok(":8000 :8001 :8002"));
        assert_eq!(of("[::1]:1-2").as_deref(), Ok("[::1]:1 [::1]:2"));
        assert_eq!(of("host-1").as_deref(), Ok("host-1"));
        assert_eq!(of("").as_deref(), Ok(""));
        for bad in [":2-1", ":1-", ":1-2-3", ":0-65535"] {
            assert_eq!(of(bad), Err(AddressError::BadRange), "{bad}");
        }
        assert_eq!(of(":http"), Err(AddressError::BadPort));
        assert_eq!(of(":65536"), Err(AddressError::BadPort));
    }

    #[test]
    fn loopback_is_this_machine() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example", "127.0.0.1.example"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn hosts_of_urls() {
        for (url, host) in [
            ("http://h", Some("h")),
            ("HTTPS://h:1/x?y", Some("h")),
            ("http://u:p@h:1", Some("h")),
            ("http://[::1]:80/", Some("::1")),
            ("http://[::1]", Some("::1")),
            ("http://", None),
            ("http:///x", None),
            ("http://h h", None),
            ("http://h:80a/", None),
            ("http://::1/", None),
            ("http://[::1/", None),
            ("ftp://h", None),
            ("h:1", None),
        ] {
            assert_eq!(url_host(url), host, "{url}");
        }
    }

    #[test]
    fn checks_addresses() {
        assert_eq!(check(":8443"), Ok(("", 8443)));
        assert_eq!(check("hub.example:8443"), Ok(("hub.example", 8443)));
        assert_eq!(check("hub"), Err(AddressError::NoPort));
        assert_eq!(check("::1"), Err(AddressError::Brackets));
        assert_eq!(check("h:+1"), Err(AddressError::BadPort));
        assert_eq!(check("h h:1"), Err(AddressError::Characters));
    }

    #[test]
    fn zones_are_interfaces_behind_ipv6_addresses() {
        assert_eq!(check("[fe80::1%eth0]:8443"), Ok(("fe80::1%eth0", 8443)));
        assert_eq!(check("[fe80::1%3]:8443"), Ok(("fe80::1%3", 8443)));
        for bad in
            ["[fe80::1%]:1", "192.0.2.1%eth0:1", "hub%eth0:1", "[fe80::1%a-much-too-long-name]:1"]
        {
            assert_eq!(check(bad), Err(AddressError::Zone), "{bad}");
        }
        for (url, plain) in [
            ("[fe80::1%25eth0]:8443", "[fe80::1%eth0]:8443"),
            ("[fe80::1%eth0]:8443", "[fe80::1%eth0]:8443"),
            ("[fe80::1%25]:8443", "[fe80::1%25]:8443"),
            ("[fe80::1%2525]:8443", "[fe80::1%25]:8443"),
            ("[fe80::1%25a]:1,[fe80::2%25b]:2", "[fe80::1%a]:1,[fe80::2%b]:2"),
            ("hub%25:1", "hub%25:1"),
        ] {
            assert_eq!(unescape_zone(url), plain, "{url}");
        }
        assert!(is_loopback("::1%lo"));
    }
}
