//! How a client connects through a proxy, and how a proxy gives the client's address to a server.
//!
//! | Module | Subject |
//! |---|---|
//! | [`http_connect`] | the CONNECT method of HTTP/1.1 |
//! | [`socks4`] | SOCKS versions 4 and 4A |
//! | [`socks5`] | SOCKS version 5, with a user and a password or without |
//! | [`header`] | the PROXY protocol, versions 1 and 2 |
//!
//! The decoders need whole messages and ask only for bytes of a message. A caller that reads as many bytes as they ask for
//! leaves the bytes after the message unread.

pub mod header;
pub mod http_connect;
pub mod socks4;
pub mod socks5;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// The host and port to connect to through a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    host: TargetHost,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum TargetHost {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    /// With a zone of the proxy, 1 to 15 bytes.
    Zoned(Ipv6Addr, String),
    /// 1 to 255 bytes.
    Name(String),
}

/// Why a text is no target. The configuration is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// There is no port, or it is not 1 to 65535.
    #[error("{0:?} has no port of 1 to 65535; write it as host:port")]
    Port(String),
    /// The host is neither an address nor a name of letters, digits, `.`, `-` and `_`.
    #[error(
        "{0:?} has no host a proxy can be asked for; write it as name:port, 192.0.2.1:port or [2001:db8::1]:port"
    )]
    Host(String),
}

impl FromStr for Target {
    type Err = TargetError;

    /// Reads `host:port`, an IPv6 address in brackets.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let no_port = || TargetError::Port(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(no_port)?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port > 0).ok_or_else(no_port)?;
        let host = TargetHost::parse(host).ok_or_else(|| TargetError::Host(text.to_owned()))?;
        Ok(Self { host, port })
    }
}

impl TargetHost {
    fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if let Some(address) = text.strip_prefix('[') {
            let address = address.strip_suffix(']')?;
            let Some((address, zone)) = address.split_once('%') else {
                return address.parse().ok().map(Self::V6);
            };
            let is_zone = (1..=15).contains(&zone.len()) && zone.bytes().all(allowed);
            return address.parse().ok().filter(|_| is_zone).map(|it| Self::Zoned(it, zone.into()));
        }
        if let Ok(address) = text.parse() {
            return Some(Self::V4(address));
        }
        let is_name = (1..=255).contains(&text.len()) && text.bytes().all(allowed);
        is_name.then(|| Self::Name(text.to_owned()))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            TargetHost::V4(address) => write!(f, "{address}:{}", self.port),
            TargetHost::V6(address) => write!(f, "[{address}]:{}", self.port),
            TargetHost::Zoned(address, zone) => write!(f, "[{address}%{zone}]:{}", self.port),
            TargetHost::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl Target {
    /// Whether it is an IPv4 address.
    pub fn is_ipv4(&self) -> bool {
        matches!(self.host, TargetHost::V4(_))
    }
}

impl From<(IpAddr, u16)> for Target {
    fn from((address, port): (IpAddr, u16)) -> Self {
        let host = match address {
            IpAddr::V4(address) => TargetHost::V4(address),
            IpAddr::V6(address) => TargetHost::V6(address),
        };
        Self { host, port }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_written_as_they_are_read() {
        for text in [
            "hub.example:8421",
            "192.0.2.1:1",
            "[2001:db8::1]:65535",
            "[fe80::1%eth0]:7",
            "a_b-c.:9",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        let long = format!("{}:1", "a".repeat(255));
        assert_eq!(long.parse::<Target>().unwrap().to_string(), long);
        let address = (IpAddr::from([192, 0, 2, 1]), 7);
        assert_eq!(Target::from(address), "192.0.2.1:7".parse().unwrap());
    }

    #[test]
    fn a_text_that_no_proxy_accepts_is_no_target() {
        for text in ["", "hub", "hub:", "hub:0", "hub:65536", "hub:+1", "hub:1 "] {
            assert!(matches!(text.parse::<Target>(), Err(TargetError::Port(_))), "{text}");
        }
        let long = format!("{}:1", "a".repeat(256));
        for text in [
            ":1",
            "::1:1",
            "[::1:1",
            "[192.0.2.1]:1",
            "a b:1",
            "a\r\nX: y:1",
            "ä:1",
            "a/b:1",
            &long,
        ] {
            assert!(matches!(text.parse::<Target>(), Err(TargetError::Host(_))), "{text}");
        }
    }
}
