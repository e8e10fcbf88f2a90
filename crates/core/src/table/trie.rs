//! An immutable multibit trie over the leading bits of 128-bit keys, in one vector.
//!
//! A node with many prefixes below it resolves many bits at once, a node with some resolves six bits, and a third kind
//! skips the bits that all prefixes below it have in common. So depth and size depend on the number of prefixes and not on
//! their length. A node of six bits is like one of Poptrie (Asai and Ohara, SIGCOMM 2015): a bitmap of the slots where the
//! value changes, then the values.

/// Bits that a node with a bitmap resolves.
const STRIDE: u32 = 6;
/// A node with at least this many prefixes below it resolves many bits with one array.
const MANY: usize = 256;
/// The most bits that one node skips: those of a word.
const MAX_SKIP: u32 = u32::BITS;

/// A prefix of keys, and the value of the keys that have no longer prefix.
#[derive(Clone, Copy)]
pub(super) struct Prefix {
    /// The bits, leading, then zeros.
    pub(super) key: u128,
    /// The number of bits that count: 0 to 128.
    pub(super) len: u8,
    /// The value: below [`Trie::MAX_VALUE`].
    pub(super) value: u32,
}

/// The compiled prefixes.
#[derive(Default)]
pub(super) struct Trie {
    root: TrieEntry,
    /// The nodes one after another, those below a node before it. The words of a node by kind:
    ///
    /// - skip: number of bits, the bits, the entry for a key with other bits, the entry for a key with these;
    /// - bitmap: two words, low first, with a bit for every slot whose entry differs from that of the slot before; the
    ///   entries of these slots. The first bit is always set;
    /// - array: number of bits, the entries of all slots.
    words: Box<[u32]>,
}

impl Trie {
    /// Values, and sizes in words, are below this.
    pub(super) const MAX_VALUE: u32 = 1 << 30;

    /// Compiles `prefixes`, which are sorted by key, then by length, and are all different.
    ///
    /// # Panics
    ///
    /// When 4 GiB are not enough: not below 10^8 prefixes.
    pub(super) fn new(prefixes: &[Prefix]) -> Self {
        let mut builder = TrieBuilder::default();
        let root = builder.entry(prefixes, 0, TrieEntry::NOTHING);
        Self { root, words: builder.words.into_boxed_slice() }
    }

    /// The value of the longest prefix of `key`.
    pub(super) fn lookup<K: TrieKey>(&self, mut key: K) -> Option<u32> {
        let words = &*self.words;
        let mut entry = self.root;
        loop {
            let at = entry.payload();
            let (bits, next) = match entry.kind() {
                EntryKind::Leaf => return entry.value(),
                EntryKind::Skip => {
                    let bits = words[at];
                    (bits, if key.leading(bits) == words[at + 1] { at + 3 } else { at + 2 })
                }
                EntryKind::Bitmap => {
                    let starts = u64::from(words[at]) | u64::from(words[at + 1]) << 32;
                    let up_to_here = starts << (63 - key.leading(STRIDE));
                    (STRIDE, at + 1 + up_to_here.count_ones() as usize)
                }
                EntryKind::Array => {
                    let bits = words[at];
                    (bits, at + 1 + key.leading(bits) as usize)
                }
            };
            key = key.rest(bits);
            entry = TrieEntry(words[next]);
        }
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.words)
    }
}

/// Bits that are read from the front.
pub(super) trait TrieKey: Copy {
    /// The first `bits` bits: 1 to 32.
    fn leading(self, bits: u32) -> u32;

    /// What follows them, then zeros.
    fn rest(self, bits: u32) -> Self;
}

impl TrieKey for u64 {
    fn leading(self, bits: u32) -> u32 {
        (self >> (Self::BITS - bits)) as u32
    }

    fn rest(self, bits: u32) -> Self {
        self << bits
    }
}

impl TrieKey for u128 {
    fn leading(self, bits: u32) -> u32 {
        ((self >> 64) as u64).leading(bits)
    }

    fn rest(self, bits: u32) -> Self {
        self << bits
    }
}

/// What a slot leads to: a value, nothing, or a node by its position in the vector.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct TrieEntry(u32);

enum EntryKind {
    Leaf,
    Skip,
    Bitmap,
    Array,
}

impl TrieEntry {
    const NOTHING: Self = Self(0);

    fn leaf(value: u32) -> Self {
        assert!(value < Trie::MAX_VALUE - 1, "more values than entries can tell apart");
        Self((value + 1) << 2)
    }

    fn node(kind: EntryKind, at: usize) -> Self {
        let at = u32::try_from(at).ok().filter(|at| *at < Trie::MAX_VALUE);
        Self(at.expect("a table of less than 4 GiB") << 2 | kind as u32)
    }

    fn kind(self) -> EntryKind {
        match self.0 & 3 {
            0 => EntryKind::Leaf,
            1 => EntryKind::Skip,
            2 => EntryKind::Bitmap,
            _ => EntryKind::Array,
        }
    }

    fn payload(self) -> usize {
        (self.0 >> 2) as usize
    }

    fn value(self) -> Option<u32> {
        (self.0 >> 2).checked_sub(1)
    }
}

#[derive(Default)]
struct TrieBuilder {
    words: Vec<u32>,
}

impl TrieBuilder {
    /// Compiles what is below the first `depth` bits, which all of `prefixes` have in common. `above` is the entry for keys
    /// that have none of them.
    fn entry(&mut self, mut prefixes: &[Prefix], depth: u32, mut above: TrieEntry) -> TrieEntry {
        if let [first, rest @ ..] = prefixes
            && u32::from(first.len) == depth
        {
            above = TrieEntry::leaf(first.value);
            prefixes = rest;
        }
        if prefixes.is_empty() {
            return above;
        }
        let skip = common_len(prefixes) - depth;
        if skip >= STRIDE {
            self.skip(prefixes, depth, skip.min(MAX_SKIP), above)
        } else if prefixes.len() < MANY {
            self.bitmap(prefixes, depth, above)
        } else {
            self.array(prefixes, depth, above)
        }
    }

    fn skip(&mut self, prefixes: &[Prefix], depth: u32, bits: u32, above: TrieEntry) -> TrieEntry {
        let in_common = (prefixes[0].key << depth).leading(bits);
        let below = self.entry(prefixes, depth + bits, above);
        let at = self.words.len();
        self.words.extend([bits, in_common, above.0, below.0]);
        TrieEntry::node(EntryKind::Skip, at)
    }

    fn bitmap(&mut self, prefixes: &[Prefix], depth: u32, above: TrieEntry) -> TrieEntry {
        let mut slots = [above; 1 << STRIDE];
        self.fill(&mut slots, prefixes, depth, STRIDE);
        let at = self.words.len();
        self.words.extend([0; 2]);
        let mut starts = 0_u64;
        let mut before = None;
        for (slot, entry) in slots.into_iter().enumerate() {
            if before != Some(entry) {
                starts |= 1 << slot;
                self.words.push(entry.0);
                before = Some(entry);
            }
        }
        self.words[at] = starts as u32;
        self.words[at + 1] = (starts >> 32) as u32;
        TrieEntry::node(EntryKind::Bitmap, at)
    }

    fn array(&mut self, prefixes: &[Prefix], depth: u32, above: TrieEntry) -> TrieEntry {
        let bits = array_bits(prefixes.len(), depth);
        let mut slots = vec![above; 1 << bits];
        self.fill(&mut slots, prefixes, depth, bits);
        let at = self.words.len();
        self.words.push(bits);
        self.words.extend(slots.into_iter().map(|entry| entry.0));
        TrieEntry::node(EntryKind::Array, at)
    }

    /// Sets the entries of all slots that are not `above`. A prefix that covers slots comes before the prefixes inside these
    /// slots, so that the longer one overwrites the shorter one.
    fn fill(&mut self, slots: &mut [TrieEntry], mut prefixes: &[Prefix], depth: u32, bits: u32) {
        let slot_of = |prefix: &Prefix| (prefix.key << depth).leading(bits) as usize;
        let end = depth + bits;
        while let [first, rest @ ..] = prefixes {
            let slot = slot_of(first);
            let len = u32::from(first.len);
            if len <= end {
                slots[slot..][..1 << (end - len)].fill(TrieEntry::leaf(first.value));
                prefixes = rest;
            } else {
                let inside = prefixes.partition_point(|prefix| slot_of(prefix) == slot);
                slots[slot] = self.entry(&prefixes[..inside], end, slots[slot]);
                prefixes = &prefixes[inside..];
            }
        }
    }
}

/// The number of leading bits that all of `prefixes` have in common. No prefix is shorter than that: it would be the first
/// one.
fn common_len(prefixes: &[Prefix]) -> u32 {
    match prefixes {
        [] => 0,
        [first, .., last] => (first.key ^ last.key).leading_zeros().min(first.len.into()),
        [only] => only.len.into(),
    }
}

/// The bits of an array node: with evenly spread prefixes, two to 128 of them are in a slot. The node ends after a whole
/// number of strides from the top, because most prefixes of the Internet end there too (/24, /48).
fn array_bits(prefixes: usize, depth: u32) -> u32 {
    let bits = prefixes.ilog2() - 1;
    bits - (depth + bits) % STRIDE
}
