//! What proxies in front of an HTTP listener say about where a client comes from.

use std::net::{IpAddr, SocketAddr};

/// Entries of `X-Forwarded-For` that are kept: the last ones, which the nearest proxies wrote.
pub const ENTRIES_MAX: usize = 16;

/// The addresses that a request's forwarding headers name. Anybody can write them; whether they are trusted is the
/// caller's to decide, from the address the connection came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// Whether there was such a header at all, with an address or not.
    pub present: bool,
    /// Of `CF-Connecting-IP`.
    pub cf_connecting_ip: Option<IpAddr>,
    /// Of `X-Forwarded-For`, each proxy's after those before it; `None` for an entry that is no address. At most
    /// [`ENTRIES_MAX`], the last.
    pub x_forwarded_for: Vec<Option<IpAddr>>,
    /// Of `X-Real-Ip`.
    pub x_real_ip: Option<IpAddr>,
}

impl Forwarded {
    /// Takes what the headers of a request say, by name in any case and value.
    pub fn of<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut forwarded = Self::default();
        for (name, value) in headers {
            forwarded.take(name, value);
        }
        forwarded
    }

    /// The client as GOST sees it: `CF-Connecting-IP`, else the first of `X-Forwarded-For`, else `X-Real-Ip`.
    pub fn client(&self) -> Option<IpAddr> {
        let first = self.x_forwarded_for.first().copied().flatten();
        self.cf_connecting_ip.or(first).or(self.x_real_ip)
    }

    /// The last address of `X-Forwarded-For` that is no trusted proxy's: what a client wrote itself comes before it and
    /// is not trusted. Without the header, as [`Forwarded::client`].
    pub fn client_behind(&self, trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        if self.x_forwarded_for.is_empty() {
            return self.client();
        }
        let untrusted = |entry: &&Option<IpAddr>| !entry.is_some_and(&trusted);
        match self.x_forwarded_for.iter().rev().find(untrusted) {
            Some(entry) => *entry,
            None => self.x_forwarded_for[0],
        }
    }

    fn take(&mut self, name: &str, value: &[u8]) {
        if name.eq_ignore_ascii_case("cf-connecting-ip") {
            self.present = true;
            self.cf_connecting_ip = self.cf_connecting_ip.or(address(value));
        } else if name.eq_ignore_ascii_case("x-real-ip") {
            self.present = true;
            self.x_real_ip = self.x_real_ip.or(address(value));
        } else if name.eq_ignore_ascii_case("x-forwarded-for") {
            self.present = true;
            self.x_forwarded_for.extend(value.split(|byte| *byte == b',').map(address));
            let excess = self.x_forwarded_for.len().saturating_sub(ENTRIES_MAX);
            self.x_forwarded_for.drain(..excess);
        }
    }
}

/// An address, with a port or without.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let address = text.parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&str, &str)]) -> Forwarded {
        Forwarded::of(headers.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn headers_are_read_in_gosts_order() {
        assert_eq!(of(&[("Host", "1.1.1.1")]), Forwarded::default());
        let mut headers = vec![("x-real-ip", " 3.3.3.3 ")];
        assert_eq!(of(&headers).client(), ip("3.3.3.3"));
        headers.push(("X-Forwarded-For", "2.2.2.2:99, ::ffff:9.9.9.9"));
        assert_eq!(of(&headers).client(), ip("2.2.2.2"));
        headers.push(("CF-Connecting-IP", "2001:db8::1"));
        assert_eq!(of(&headers).client(), ip("2001:db8::1"));
        let bad = of(&[("X-Real-Ip", "unknown")]);
        assert!(bad.present);
        assert_eq!(bad.client(), None);
    }

    #[test]
    fn what_a_client_wrote_itself_is_not_believed() {
        let trusted = |address: IpAddr| address.to_string().starts_with("10.");
        let forged =
            of(&[("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "5.5.5.5, 10.0.0.2")]);
        assert_eq!(forged.client_behind(trusted), ip("5.5.5.5"));
        let unreadable = of(&[("X-Forwarded-For", "6.6.6.6, nonsense, 10.0.0.2")]);
        assert_eq!(unreadable.client_behind(trusted), None);
        let inside = of(&[("X-Forwarded-For", "10.0.0.3, 10.0.0.2")]);
        assert_eq!(inside.client_behind(trusted), ip("10.0.0.3"));
        assert_eq!(of(&[("X-Real-Ip", "5.5.5.5")]).client_behind(trusted), ip("5.5.5.5"));
    }

    #[test]
    fn a_long_list_keeps_its_end() {
        let long = "1.1.1.1,".repeat(1000) + "2.2.2.2";
        let forwarded = of(&[("X-Forwarded-For", &long)]);
        assert_eq!(forwarded.x_forwarded_for.len(), ENTRIES_MAX);
        assert_eq!(forwarded.client_behind(|_| false), ip("2.2.2.2"));
    }
}
