//! The flow that a packet belongs to.

use super::{
    Packet, Upper,
    layout::{v4, v6},
    protocol,
};

impl Packet<'_> {
    /// A hash that is equal for the packets of one flow: addresses and protocol, and the ports of TCP and UDP where the
    /// packet is not a fragment. The two directions of a connection differ.
    ///
    /// The same `seed` gives the same hash on every machine. If peers cannot know the seed, they cannot choose flows with
    /// the same hash.
    #[inline]
    pub fn flow_hash(&self, seed: u64) -> u64 {
        let mut hash = seed;
        if self.is_v4() {
            hash = mix(hash ^ u64::from_be_bytes(self.array(v4::SOURCE)));
        } else {
            for word in self.array::<32>(v6::SOURCE).as_chunks().0 {
                hash = mix(hash ^ u64::from_be_bytes(*word));
            }
        }
        let last = match self.upper() {
            Some(Upper {
                protocol: protocol @ (protocol::TCP | protocol::UDP),
                payload: [a, b, c, d, ..],
                fragment: None,
            }) => u64::from(u32::from_be_bytes([*a, *b, *c, *d])) << 8 | u64::from(protocol),
            Some(upper) => u64::from(upper.protocol),
            None => u64::from(self.protocol()),
        };
        mix(mix(hash ^ last))
    }
}

/// Spreads every bit of `x` over the whole word: folds the two halves of its product with an odd constant.
#[inline]
fn mix(x: u64) -> u64 {
    const GOLDEN_RATIO: u128 = 0x9e37_79b9_7f4a_7c15;
    let product = u128::from(x ^ 0xd6e8_feb8_6659_fd93) * GOLDEN_RATIO;
    #[expect(clippy::cast_possible_truncation, reason = "the two halves are wanted")]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}
