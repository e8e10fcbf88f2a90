//! An immutable multibit trie over the leading bits of 128-bit keys, in one vector.
//!
//! Its nodes resolve many bits at once where there are many prefixes, six bits where there are some, and step over what
//! all prefixes below have in common, so that depth and size follow the number of prefixes and not their length. A node
//! of six bits is one of Poptrie's (Asai and Ohara, SIGCOMM 2015): a bitmap of where values change, then the values.

/// Bits that a node with a bitmap resolves.
const STRIDE: u32 = 6;
/// From so many prefixes on a node resolves many bits with one array.
const MANY: usize = 256;
/// Bits that one node steps over at most: as many as a word has.
const MAX_SKIP: u32 = u32::BITS;

/// A prefix of keys and the value of those keys that have no longer one.
#[derive(Clone, Copy)]
pub(super) struct Prefix {
    /// The bits, leading, then zeros.
    pub(super) key: u128,
    /// How many of them count: 0 to 128.
    pub(super) len: u8,
    /// The value: below [`Trie::MAX_VALUE`].
    pub(super) value: u32,
}

/// The compiled prefixes.
#[derive(Default)]
pub(super) struct Trie {
    root: Entry,
    /// The nodes one after another, those below a node before it. By kind:
    ///
    /// - skip: number of bits, the bits, the entry where a key has others, the entry where it has these;
    /// - bitmap: two words, low first, with a bit for every slot whose entry differs from that of the slot before; the
    ///   entries of these slots. The first bit is always set;
    /// - array: number of bits, the entries of all slots.
    words: Box<[u32]>,
}

impl Trie {
    /// Values and sizes in words stay below.
    pub(super) const MAX_VALUE: u32 = 1 << 30;

    /// Compiles `prefixes`, which are sorted by key, then by length, and are all different.
    ///
    /// # Panics
    ///
    /// When 4 GiB are not enough: not below 10^8 prefixes.
    pub(super) fn new(prefixes: &[Prefix]) -> Self {
        let mut builder = Builder::default();
        let root = builder.entry(prefixes, 0, Entry::NOTHING);
        Self { root, words: builder.words.into_boxed_slice() }
    }

    /// The value of the longest prefix of `key`.
    pub(super) fn lookup<K: Key>(&self, mut key: K) -> Option<u32> {
        let words = &*self.words;
        let mut entry = self.root;
        loop {
            let at = entry.payload();
            let (bits, next) = match entry.kind() {
                Kind::Leaf => return entry.value(),
                Kind::Skip => {
                    let bits = words[at];
                    (bits, if key.leading(bits) == words[at + 1] { at + 3 } else { at + 2 })
                }
                Kind::Bitmap => {
                    let starts = u64::from(words[at]) | u64::from(words[at + 1]) << 32;
                    let up_to_here = starts << (63 - key.leading(STRIDE));
                    (STRIDE, at + 1 + up_to_here.count_ones() as usize)
                }
                Kind::Array => {
                    let bits = words[at];
                    (bits, at + 1 + key.leading(bits) as usize)
                }
            };
            key = key.rest(bits);
            entry = Entry(words[next]);
        }
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.words)
    }
}

/// Bits that are looked at from the front.
pub(super) trait Key: Copy {
    /// The first `bits` bits: 1 to 32.
    fn leading(self, bits: u32) -> u32;

    /// What follows them, then zeros.
    fn rest(self, bits: u32) -> Self;
}

impl Key for u64 {
    fn leading(self, bits: u32) -> u32 {
        (self >> (Self::BITS - bits)) as u32
    }

    fn rest(self, bits: u32) -> Self {
        self << bits
    }
}

impl Key for u128 {
    fn leading(self, bits: u32) -> u32 {
        ((self >> 64) as u64).leading(bits)
    }

    fn rest(self, bits: u32) -> Self {
        self << bits
    }
}

/// What a slot leads to: a value, nothing, or a node by its place in the vector.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Entry(u32);

enum Kind {
    Leaf,
    Skip,
    Bitmap,
    Array,
}

impl Entry {
    const NOTHING: Self = Self(0);

    fn leaf(value: u32) -> Self {
        assert!(value < Trie::MAX_VALUE - 1, "more values than entries can tell apart");
        Self((value + 1) << 2)
    }

    fn node(kind: Kind, at: usize) -> Self {
        let at = u32::try_from(at).ok().filter(|at| *at < Trie::MAX_VALUE);
        Self(at.expect("a table of less than 4 GiB") << 2 | kind as u32)
    }

    fn kind(self) -> Kind {
        match self.0 & 3 {
            0 => Kind::Leaf,
            1 => Kind::Skip,
            2 => Kind::Bitmap,
            _ => Kind::Array,
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
struct Builder {
    words: Vec<u32>,
}

impl Builder {
    /// Compiles what lies below the first `depth` bits, which all of `prefixes` have in common; `above` counts where
    /// none of them does.
    fn entry(&mut self, mut prefixes: &[Prefix], depth: u32, mut above: Entry) -> Entry {
        if let [first, rest @ ..] = prefixes
            && u32::from(first.len) == depth
        {
            above = Entry::leaf(first.value);
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

    fn skip(&mut self, prefixes: &[Prefix], depth: u32, bits: u32, above: Entry) -> Entry {
        let in_common = (prefixes[0].key << depth).leading(bits);
        let below = self.entry(prefixes, depth + bits, above);
        let at = self.words.len();
        self.words.extend([bits, in_common, above.0, below.0]);
        Entry::node(Kind::Skip, at)
    }

    fn bitmap(&mut self, prefixes: &[Prefix], depth: u32, above: Entry) -> Entry {
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
        Entry::node(Kind::Bitmap, at)
    }

    fn array(&mut self, prefixes: &[Prefix], depth: u32, above: Entry) -> Entry {
        let bits = array_bits(prefixes.len(), depth);
        let mut slots = vec![above; 1 << bits];
        self.fill(&mut slots, prefixes, depth, bits);
        let at = self.words.len();
        self.words.push(bits);
        self.words.extend(slots.into_iter().map(|entry| entry.0));
        Entry::node(Kind::Array, at)
    }

    /// Sets the entries of all slots that are not what lies above. A prefix that covers slots comes before those that
    /// lie in them, so that the longer overwrites the shorter.
    fn fill(&mut self, slots: &mut [Entry], mut prefixes: &[Prefix], depth: u32, bits: u32) {
        let slot_of = |prefix: &Prefix| (prefix.key << depth).leading(bits) as usize;
        let end = depth + bits;
        while let [first, rest @ ..] = prefixes {
            let slot = slot_of(first);
            let len = u32::from(first.len);
            if len <= end {
                slots[slot..][..1 << (end - len)].fill(Entry::leaf(first.value));
                prefixes = rest;
            } else {
                let inside = prefixes.partition_point(|prefix| slot_of(prefix) == slot);
                slots[slot] = self.entry(&prefixes[..inside], end, slots[slot]);
                prefixes = &prefixes[inside..];
            }
        }
    }
}

/// How many leading bits all of `prefixes` have in common, none of them shorter: a prefix shorter than what the first
/// and the last have in common would be the first.
fn common_len(prefixes: &[Prefix]) -> u32 {
    match prefixes {
        [] => 0,
        [first, .., last] => (first.key ^ last.key).leading_zeros().min(first.len.into()),
        [only] => only.len.into(),
    }
}

/// Two to 128 prefixes to a slot if they lie evenly. Whole strides from the top, because a stride's end is where most
/// prefixes of the Internet end too (/24, /48).
fn array_bits(prefixes: usize, depth: u32) -> u32 {
    let bits = prefixes.ilog2() - 1;
    bits - (depth + bits) % STRIDE
}
