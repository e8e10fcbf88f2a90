//! A bounded amount that askers share, so that none of them can take all of it.

use std::collections::HashMap;

use rtun_core::{HostName, NamespaceId};

/// A host in a namespace that wants a share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asker {
    pub(super) namespace: NamespaceId,
    /// `None`: the hub itself, which refreshes a cached answer.
    pub(super) host: Option<HostName>,
}

/// An asker may have half of what is left, a namespace all of what is left. Alone, that is a third and a half of all. A
/// namespace that has nothing gets something as long as there is any. An asker that has nothing, in a namespace that has its
/// share, gets something down to the last quarter, which is for other namespaces.
#[derive(Debug)]
pub(super) struct Shares {
    limit: usize,
    used: usize,
    by_namespace: HashMap<NamespaceId, usize>,
    by_asker: HashMap<Asker, usize>,
}

impl Shares {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, used: 0, by_namespace: HashMap::new(), by_asker: HashMap::new() }
    }

    /// Whether `asker` may have `amount` more.
    pub(super) fn may_take(&self, asker: &Asker, amount: usize) -> bool {
        let free = self.limit - self.used;
        let asker_has = self.by_asker.get(asker).copied().unwrap_or(0);
        let namespace_has = self.by_namespace.get(&asker.namespace).copied().unwrap_or(0);
        let begins = asker_has == 0 && free > self.limit / 4;
        amount <= free
            && (asker_has == 0 || asker_has + amount <= free / 2)
            && (namespace_has == 0 || namespace_has + amount <= free || begins)
    }

    /// Gives `asker` the amount if it may have it.
    pub(super) fn take(&mut self, asker: &Asker, amount: usize) -> bool {
        let may = self.may_take(asker, amount);
        if may && amount > 0 {
            self.used += amount;
            *self.by_namespace.entry(asker.namespace).or_default() += amount;
            *self.by_asker.entry(asker.clone()).or_default() += amount;
        }
        may
    }

    /// Takes back what `asker` was given.
    pub(super) fn give_back(&mut self, asker: &Asker, amount: usize) {
        if amount == 0 {
            return;
        }
        self.used -= amount;
        reduce(&mut self.by_namespace, &asker.namespace, amount);
        reduce(&mut self.by_asker, asker, amount);
    }
}

/// Removes entries that reach zero.
fn reduce<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, usize>, key: &K, amount: usize) {
    if let Some(count) = counts.get_mut(key) {
        *count -= amount;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(namespace: u8, host: &str) -> Asker {
        let host = Some(HostName::new(host).unwrap());
        Asker { namespace: NamespaceId::from_bytes([namespace; 16]), host }
    }

    fn takes_all(shares: &mut Shares, asker: &Asker) -> usize {
        (0..10_000).take_while(|_| shares.take(asker, 1)).count()
    }

    #[test]
    fn no_asker_takes_all_and_each_gets_some() {
        let mut shares = Shares::new(1024);
        assert_eq!(takes_all(&mut shares, &asker(1, "a")), 341);
        assert_eq!(takes_all(&mut shares, &asker(1, "b")), 171, "the namespace has half");
        let crowd = |n: usize| asker(1, &format!("h{n}"));
        let begun = (0..1024).take_while(|n| takes_all(&mut shares, &crowd(*n)) == 1).count();
        assert_eq!(begun, 256, "one each, down to the last quarter");
        assert_eq!(takes_all(&mut shares, &asker(2, "a")), 85);
        for namespace in 3..14 {
            assert!(takes_all(&mut shares, &asker(namespace, "a")) > 0, "{namespace}");
        }
        for _ in 0..341 {
            shares.give_back(&asker(1, "a"), 1);
        }
        assert!(takes_all(&mut shares, &asker(1, "b")) < 3, "it has enough");
        assert!(takes_all(&mut shares, &asker(20, "a")) > 100);
        assert!(!shares.by_asker.contains_key(&asker(1, "a")), "an asker with nothing is removed");
    }

    #[test]
    fn an_amount_fits_or_does_not() {
        let mut shares = Shares::new(1000);
        assert!(!shares.take(&asker(1, "a"), 1001));
        assert!(shares.take(&asker(1, "a"), 1000), "an asker that has nothing may have all");
        assert!(!shares.take(&asker(2, "a"), 1));
        shares.give_back(&asker(1, "a"), 1000);
        assert!(shares.take(&asker(1, "a"), 300));
        assert!(!shares.take(&asker(1, "a"), 60), "360 is more than half of 700");
        assert!(shares.take(&asker(1, "a"), 50));
    }
}
