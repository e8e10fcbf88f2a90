//! The gateways of a table: each name once, and each group of gateways that share prefixes once.

use std::{collections::HashMap, mem};

use ipnet::IpNet;

use super::{MAX_COPIES, MAX_GATEWAYS, trie::Prefix};
use crate::{HostName, route::prefix_is_for_many};

/// The hosts of some prefixes: each of the prefixes is behind all of these hosts.
pub(super) struct GatewayGroup {
    /// The position of the first one among the gateways of the table.
    pub(super) first: u32,
    pub(super) len: u32,
    /// One of the prefixes.
    pub(super) example: IpNet,
    /// The number of prefixes.
    pub(super) prefixes: usize,
}

/// Groups of gateways, each once, in the order of their first appearance.
#[derive(Default)]
pub(super) struct GatewayGroups {
    pub(super) list: Vec<GatewayGroup>,
    /// The members of all groups, as positions among the gateways.
    pub(super) members: Vec<u32>,
    /// Of the groups of prefixes for many, and of the others.
    positions: [HashMap<Box<[u32]>, u32>; 2],
    /// The gateways of the current prefix.
    gathered: Vec<u32>,
}

impl GatewayGroups {
    /// Keeps one of equal prefixes. If it is behind several gateways, its value becomes the position of its group plus
    /// `single`, the number of gateways.
    pub(super) fn join_equal(
        &mut self,
        prefixes: &mut Vec<Prefix>,
        single: usize,
        net: impl Fn(u128, u8) -> IpNet,
    ) {
        let mut kept = 0;
        let mut at = 0;
        while let Some(&first) = prefixes.get(at) {
            let equal =
                prefixes[at..].iter().take_while(|p| (p.key, p.len) == (first.key, first.len));
            let mut gathered = mem::take(&mut self.gathered);
            gathered.clear();
            let net = net(first.key, first.len);
            let most = if prefix_is_for_many(net) { MAX_COPIES } else { MAX_GATEWAYS };
            for prefix in equal {
                at += 1;
                if gathered.len() < most && !gathered.contains(&prefix.value) {
                    gathered.push(prefix.value);
                }
            }
            let value = match *gathered {
                [one] => one,
                _ => self.intern(&gathered, single, net),
            };
            self.gathered = gathered;
            prefixes[kept] = Prefix { value, ..first };
            kept += 1;
        }
        prefixes.truncate(kept);
    }

    /// The position of a group plus `single`.
    fn intern(&mut self, gateways: &[u32], single: usize, example: IpNet) -> u32 {
        let position =
            |number: usize| u32::try_from(number).expect("fewer than 2^32 fit in memory");
        let positions = &mut self.positions[usize::from(prefix_is_for_many(example))];
        if let Some(group) = positions.get(gateways) {
            self.list[*group as usize].prefixes += 1;
            return position(single) + group;
        }
        let group = position(self.list.len());
        self.list.push(GatewayGroup {
            first: position(single + self.members.len()),
            len: position(gateways.len()),
            example,
            prefixes: 1,
        });
        self.members.extend_from_slice(gateways);
        positions.insert(gateways.into(), group);
        position(single) + group
    }
}

/// Names, each once, in the order of their first appearance.
#[derive(Default)]
pub(super) struct GatewayNames<'a> {
    pub(super) list: Vec<HostName>,
    positions: HashMap<&'a HostName, u32>,
}

impl<'a> GatewayNames<'a> {
    pub(super) fn intern(&mut self, gateway: &'a HostName) -> u32 {
        *self.positions.entry(gateway).or_insert_with(|| {
            self.list.push(gateway.clone());
            u32::try_from(self.list.len() - 1).expect("fewer than 2^32 names fit in memory")
        })
    }
}
