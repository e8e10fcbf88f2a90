//! Sets and maps of prefixes of both families.

use std::net::IpAddr;

use ipnet::IpNet;

use super::trie::{Prefix, Trie};

/// A set of prefixes.
#[derive(Default)]
pub(crate) struct PrefixSet(Tries);

impl PrefixSet {
    pub(crate) fn new(prefixes: impl IntoIterator<Item = IpNet>) -> Self {
        let (mut v4, mut v6) = by_family(prefixes.into_iter().map(|prefix| (prefix, 0)));
        for prefixes in [&mut v4, &mut v6] {
            prefixes.dedup_by_key(|prefix| (prefix.key, prefix.len));
        }
        Self(Tries::new(&v4, &v6))
    }

    pub(crate) fn contains(&self, addr: IpAddr) -> bool {
        self.0.lookup(addr).is_some()
    }
}

/// A value for each of some prefixes; the longest one that contains an address counts.
#[derive(Default)]
pub(crate) struct PrefixMap(Tries);

impl PrefixMap {
    /// Of prefixes that are all different, with values below 2^30.
    pub(crate) fn new(prefixes: impl IntoIterator<Item = (IpNet, u32)>) -> Self {
        let (v4, v6) = by_family(prefixes);
        Self(Tries::new(&v4, &v6))
    }

    #[inline]
    pub(crate) fn lookup(&self, addr: IpAddr) -> Option<u32> {
        self.0.lookup(addr)
    }
}

/// Values by prefix, for both families.
#[derive(Default)]
pub(super) struct Tries {
    pub(super) v4: Trie,
    pub(super) v6: Trie,
    /// The number of prefixes.
    pub(super) len: usize,
}

impl Tries {
    /// Compiles prefixes that are sorted and all different.
    pub(super) fn new(v4: &[Prefix], v6: &[Prefix]) -> Self {
        Self { v4: Trie::new(v4), v6: Trie::new(v6), len: v4.len() + v6.len() }
    }

    pub(super) fn lookup(&self, addr: IpAddr) -> Option<u32> {
        match addr {
            IpAddr::V4(addr) => self.v4.lookup(u64::from(addr.to_bits()) << 32),
            IpAddr::V6(addr) => self.v6.lookup(addr.to_bits()),
        }
    }
}

/// IPv4 and IPv6 prefixes, sorted as tries need them. Equal ones keep their order.
pub(super) fn by_family(
    prefixes: impl IntoIterator<Item = (IpNet, u32)>,
) -> (Vec<Prefix>, Vec<Prefix>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (prefix, value) in prefixes {
        let len = prefix.prefix_len();
        match prefix {
            IpNet::V4(net) => {
                let key = u128::from(net.network().to_bits()) << 96;
                v4.push(Prefix { key, len, value });
            }
            IpNet::V6(net) => v6.push(Prefix { key: net.network().to_bits(), len, value }),
        }
    }
    for prefixes in [&mut v4, &mut v6] {
        prefixes.sort_by_key(|prefix| (prefix.key, prefix.len));
    }
    (v4, v6)
}
