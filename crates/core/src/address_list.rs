//! Which addresses may connect.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::table::PrefixSet;

/// A list of prefixes: only their addresses may connect, or all other addresses may.
///
/// An address that is not in the list is admitted only by a list of excluded prefixes.
#[derive(Default)]
pub struct AddressList {
    prefixes: PrefixSet,
    only: bool,
}

impl AddressList {
    /// Admits only addresses in `prefixes` if `only` is set, otherwise all others.
    pub fn new(prefixes: impl IntoIterator<Item = IpNet>, only: bool) -> Self {
        Self { prefixes: PrefixSet::new(prefixes), only }
    }

    /// Whether `addr` may connect. An IPv4-mapped IPv6 address counts as the IPv4 address.
    pub fn admits(&self, addr: IpAddr) -> bool {
        self.prefixes.contains(addr.to_canonical()) == self.only
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(prefixes: &[&str], only: bool) -> AddressList {
        AddressList::new(prefixes.iter().map(|prefix| prefix.parse().unwrap()), only)
    }

    #[test]
    fn both_kinds_of_list() {
        let prefixes = ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"];
        for (addr, named) in [
            ("10.1.2.3", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::ffff:10.0.0.1", true),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
        ] {
            let addr = addr.parse().unwrap();
            assert_eq!(list(&prefixes, true).admits(addr), named, "{addr}");
            assert_eq!(list(&prefixes, false).admits(addr), !named, "{addr}");
        }
    }

    #[test]
    fn an_empty_list_admits_nobody_or_everybody() {
        let addr = "10.0.0.1".parse().unwrap();
        assert!(!list(&[], true).admits(addr));
        assert!(list(&[], false).admits(addr));
    }

    proptest! {
        #[test]
        fn agrees_with_checking_each_prefix(
            prefixes in prop::collection::vec((any::<u32>(), 0..=32u8), 0..20),
            addrs in prop::collection::vec(any::<u32>(), 1..20),
            only: bool,
        ) {
            let nets: Vec<IpNet> = prefixes
                .iter()
                .map(|(addr, len)| IpNet::new(IpAddr::V4((*addr).into()), *len).unwrap().trunc())
                .collect();
            let list = AddressList::new(nets.clone(), only);
            let near = prefixes.iter().map(|(addr, _)| *addr);
            for addr in addrs.into_iter().chain(near) {
                let addr = IpAddr::V4(addr.into());
                let named = nets.iter().any(|net| net.contains(&addr));
                prop_assert_eq!(list.admits(addr), named == only);
            }
        }
    }
}
