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
mod tests;
