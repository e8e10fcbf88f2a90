//! A compiled, immutable routing table with longest prefix match.

mod groups;
mod prefixes;
mod trie;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    slice,
};

use ipnet::IpNet;

pub(crate) use self::prefixes::{PrefixMap, PrefixSet};
use self::{
    groups::{GatewayGroup, GatewayGroups, GatewayNames},
    prefixes::{Tries, by_family},
    trie::Prefix,
};
use crate::{HostName, Route, route::prefix_is_for_many};

/// The most hosts that one prefix is behind; further routes with the same prefix are ignored.
pub const MAX_GATEWAYS: usize = 16;

/// The same for a prefix [for many](prefix_is_for_many): each of the hosts gets a copy.
pub const MAX_COPIES: usize = 64;

/// An immutable set of routes. The longest prefix that contains an address is used.
///
/// Several routes with equal prefixes are one prefix behind several hosts, in the order of the routes. A table is built as
/// a whole and replaced as a whole, so that a reader never sees half of a change. It has few allocations for any number of
/// routes, so that freeing an old table takes no time either.
#[derive(Default)]
pub struct RoutingTable {
    tries: Tries,
    /// The lengths of the prefixes.
    lengths: Tries,
    /// Every gateway once, then the gateways of one group after the other. A value of the tries is a position in the
    /// first part, or past it the position of a group.
    gateways: Box<[HostName]>,
    /// All different.
    groups: Box<[GatewayGroup]>,
}

/// Prefixes that are behind the same hosts, at least two, in the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedPrefixes<'a> {
    /// The hosts, in order of preference: at least two, at most [`MAX_GATEWAYS`], or [`MAX_COPIES`] of a prefix for many.
    pub gateways: &'a [HostName],
    /// One of the prefixes: all of them are [for many](prefix_is_for_many), or none is.
    pub example: IpNet,
    /// The number of prefixes.
    pub prefixes: usize,
}

impl RoutingTable {
    /// Compiles `routes`, in order of preference.
    ///
    /// # Panics
    ///
    /// When the compiled routes of one family need more than 4 GiB: not below 10^8 routes.
    pub fn new<'a>(routes: impl IntoIterator<Item = &'a Route>) -> Self {
        let mut names = GatewayNames::default();
        let routes = routes.into_iter();
        let prefixes = routes.map(|route| (route.prefix, names.intern(&route.gateway)));
        let (mut v4, mut v6) = by_family(prefixes);
        let [lengths4, lengths6] = [&v4, &v6].map(|prefixes| lengths(prefixes));
        let mut groups = GatewayGroups::default();
        let single = names.list.len();
        groups.join_equal(&mut v4, single, |key, len| {
            IpNet::new_assert(Ipv4Addr::from_bits((key >> 96) as u32).into(), len)
        });
        groups.join_equal(&mut v6, single, |key, len| {
            IpNet::new_assert(Ipv6Addr::from_bits(key).into(), len)
        });
        let mut list = names.list;
        list.reserve_exact(groups.members.len());
        for member in groups.members {
            list.push(list[member as usize].clone());
        }
        Self {
            tries: Tries::new(&v4, &v6),
            lengths: Tries::new(&lengths4, &lengths6),
            gateways: list.into(),
            groups: groups.list.into(),
        }
    }

    /// The longest prefix that contains `addr`.
    pub fn matched(&self, addr: IpAddr) -> Option<IpNet> {
        let len = u8::try_from(self.lengths.lookup(addr)?).ok()?;
        IpNet::new(addr, len).ok().map(|net| net.trunc())
    }

    /// The hosts that `addr` is behind, in order of preference: one or more, all of the same prefix. Cost: one walk down
    /// a trie, in most tables two or three nodes.
    pub fn lookup(&self, addr: IpAddr) -> Option<&[HostName]> {
        let value = self.tries.lookup(addr)? as usize;
        let single = self.groups.first().map_or(self.gateways.len(), |group| group.first as usize);
        Some(match value.checked_sub(single) {
            None => slice::from_ref(&self.gateways[value]),
            Some(group) => self.members(&self.groups[group]),
        })
    }

    /// The same for an address [for many](rtun_proto::packet::destination_is_for_many): of a prefix that is for many too.
    pub fn lookup_for_many(&self, addr: IpAddr) -> Option<&[HostName]> {
        self.matched(addr)
            .filter(|prefix| prefix_is_for_many(*prefix))
            .and_then(|_| self.lookup(addr))
    }

    /// The prefixes that are behind several hosts.
    pub fn shared(&self) -> impl ExactSizeIterator<Item = SharedPrefixes<'_>> {
        self.groups.iter().map(|group| SharedPrefixes {
            gateways: self.members(group),
            example: group.example,
            prefixes: group.prefixes,
        })
    }

    fn members(&self, group: &GatewayGroup) -> &[HostName] {
        &self.gateways[group.first as usize..][..group.len as usize]
    }

    /// The number of distinct prefixes.
    pub fn len(&self) -> usize {
        self.tries.len
    }

    /// Whether there is no route.
    pub fn is_empty(&self) -> bool {
        self.tries.len == 0
    }
}

/// The different ones of these sorted prefixes, each with its length as its value.
fn lengths(prefixes: &[Prefix]) -> Vec<Prefix> {
    let mut lengths: Vec<_> =
        prefixes.iter().map(|it| Prefix { value: it.len.into(), ..*it }).collect();
    lengths.dedup_by_key(|prefix| (prefix.key, prefix.len));
    lengths
}

#[cfg(test)]
mod tests;
