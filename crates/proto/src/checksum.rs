//! The Internet checksum (RFC 1071) of headers, ICMP messages, and TCP and UDP with their pseudo-headers.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A running one's complement sum. Parts may be added in any order; each must begin at an even offset of all bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Checksum {
    /// The sum with its carries not yet folded; each part adds less than 2^37, so 2^27 parts fit. In this machine's
    /// byte order: one's complement addition works in any order (RFC 1071 section 2 B), so bytes are swapped once, at the end.
    sum: u64,
}

impl Checksum {
    /// The sum of no bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `bytes`; an odd last byte counts as if a zero followed, so only the last part may have odd length.
    #[must_use]
    #[inline]
    pub fn add_bytes(mut self, bytes: &[u8]) -> Self {
        let mut rest = bytes;
        if bytes.len() >= 2 * BLOCK {
            let (blocks, after) = bytes.as_chunks();
            self.sum += sum_of_blocks(blocks);
            rest = after;
        }
        let (words, mut rest) = rest.as_chunks();
        self.sum += fold(words.iter().map(|word| u128::from(u64::from_ne_bytes(*word))).sum());
        if let Some((word, last)) = rest.split_first_chunk() {
            self.sum += u64::from(u32::from_ne_bytes(*word));
            rest = last;
        }
        let last = match *rest {
            [a] => [a, 0, 0, 0],
            [a, b] => [a, b, 0, 0],
            [a, b, c] => [a, b, c, 0],
            _ => [0; 4],
        };
        self.sum += u64::from(u32::from_ne_bytes(last));
        self
    }

    /// Adds two bytes, the value's big-endian ones.
    #[must_use]
    #[inline]
    pub fn add_word(mut self, value: u16) -> Self {
        self.sum += u64::from(value.to_be());
        self
    }

    /// Adds the pseudo-header of IPv4 (RFC 9293 section 3.1); `len` is that of the upper-layer header and data.
    #[must_use]
    pub fn pseudo_header_v4(self, from: Ipv4Addr, to: Ipv4Addr, protocol: u8, len: u16) -> Self {
        let [high, low] = len.to_be_bytes();
        self.add_bytes(&from.octets()).add_bytes(&to.octets()).add_bytes(&[0, protocol, high, low])
    }

    /// Adds the pseudo-header of IPv6 (RFC 8200 section 8.1); `len` is that of the upper-layer header and data.
    #[must_use]
    pub fn pseudo_header_v6(self, from: Ipv6Addr, to: Ipv6Addr, protocol: u8, len: u32) -> Self {
        self.add_bytes(&from.octets())
            .add_bytes(&to.octets())
            .add_bytes(&len.to_be_bytes())
            .add_bytes(&[0, 0, 0, protocol])
    }

    /// The checksum field for what was added with that field zero; 0 when what was added holds a correct checksum.
    pub fn finish(self) -> u16 {
        let mut sum = self.sum;
        while let carry @ 1.. = sum >> 16 {
            sum = (sum & 0xffff) + carry;
        }
        !u16::try_from(sum).expect("the loop ends below 2^16").to_be()
    }
}

/// The bytes that are added together.
const BLOCK: usize = 32;

/// The sum of blocks, folded.
#[inline]
fn sum_of_blocks(blocks: &[[u8; BLOCK]]) -> u64 {
    // Independent sums use more than one adder of the processor.
    let mut sums = [0_u128; BLOCK / 8];
    for block in blocks {
        for (sum, word) in sums.iter_mut().zip(block.as_chunks::<8>().0) {
            *sum += u128::from(u64::from_ne_bytes(*word));
        }
    }
    sums.into_iter().map(fold).sum()
}

/// A number below 2^35 that equals this sum of at most 2^32 words of 64 bits in one's complement.
#[inline]
fn fold(sum: u128) -> u64 {
    const LOW: u128 = 0xffff_ffff;
    let folded = (sum & LOW) + (sum >> 32 & LOW) + (sum >> 64);
    u64::try_from(folded).expect("three parts of 32 bits")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Adds words of 16 bits, and the carry after each (RFC 1071 section 1).
    fn slow(bytes: &[u8]) -> u16 {
        let mut sum: u16 = 0;
        for word in bytes.chunks(2) {
            let word = u16::from(word[0]) << 8 | word.get(1).map_or(0, |low| u16::from(*low));
            let (next, carry) = sum.overflowing_add(word);
            sum = next + u16::from(carry);
        }
        !sum
    }

    #[test]
    fn example_of_rfc_1071_section_3() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Checksum::new().add_bytes(&bytes).finish(), !0xddf2);
    }

    #[test]
    fn a_header_with_its_checksum_sums_to_zero() {
        let header =
            b"\x45\x00\x00\x1c\x00\x01\x40\x00\x40\x01\xc3\x8b\xc0\xa8\x7b\x01\xc0\xa8\x7b\x02";
        assert_eq!(Checksum::new().add_bytes(header).finish(), 0);
    }

    #[test]
    fn the_largest_input_does_not_overflow() {
        let bytes = vec![0xff; 65_535];
        assert_eq!(Checksum::new().add_bytes(&bytes).finish(), slow(&bytes));
    }

    proptest! {
        #[test]
        fn equals_the_slow_sum(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(Checksum::new().add_bytes(&bytes).finish(), slow(&bytes));
        }

        #[test]
        fn a_word_is_two_bytes(word: u16, bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let both = Checksum::new().add_word(word).add_bytes(&bytes).finish();
            prop_assert_eq!(both, slow(&[&word.to_be_bytes()[..], &bytes].concat()));
        }

        #[test]
        fn parts_of_even_length_sum_as_one(
            words in prop::collection::vec(any::<[u8; 2]>(), 0..300),
            cut in any::<prop::sample::Index>(),
            last in prop::option::of(any::<u8>()),
        ) {
            let bytes = [words.as_flattened(), last.as_slice()].concat();
            let (head, tail) = bytes.split_at(2 * cut.index(words.len() + 1));
            prop_assert_eq!(Checksum::new().add_bytes(head).add_bytes(tail).finish(), slow(&bytes));
        }
    }
}
