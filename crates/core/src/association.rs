//! The live connections of one host name: which of them carries its packets.

/// At most this many connections stand under one name: one active, the others standing by. One more pushes the
/// oldest out, so that a host that keeps reconnecting over dead links cannot pile them up.
pub const MAX_CLAIMS: usize = 4;

/// How packets are shared out among the connections of one name, and among the hosts that one prefix is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// The newest connection carries all, the others stand by until it ends; of the hosts the first one that is connected.
    #[default]
    Newest,
    /// Each flow stays on one of them, as long as that one is connected.
    Flow,
}

/// The connections of one host name in one namespace, newest first; never empty, at most [`MAX_CLAIMS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims<A> {
    newest_first: Vec<A>,
}

impl<A: Clone> Claims<A> {
    /// A name with its first connection.
    pub fn new(first: A) -> Self {
        Self { newest_first: vec![first] }
    }

    /// The same with `newest` in front, and the connection that had to make room.
    pub fn with(&self, newest: A) -> (Self, Option<A>) {
        let mut newest_first = Vec::with_capacity(MAX_CLAIMS + 1);
        newest_first.push(newest);
        newest_first.extend(self.newest_first.iter().cloned());
        let evicted = if newest_first.len() > MAX_CLAIMS { newest_first.pop() } else { None };
        (Self { newest_first }, evicted)
    }

    /// The same without those that `gone` names; `None` when nobody is left.
    pub fn without(&self, gone: impl Fn(&A) -> bool) -> Option<Self> {
        let newest_first: Vec<A> =
            self.newest_first.iter().filter(|claim| !gone(claim)).cloned().collect();
        if newest_first.is_empty() { None } else { Some(Self { newest_first }) }
    }

    /// The connection that carries a packet of the flow with this hash.
    pub fn carrier(&self, sharing: Sharing, flow_hash: impl FnOnce() -> u64) -> &A {
        let position = match sharing {
            Sharing::Flow if self.newest_first.len() > 1 => {
                (flow_hash() % self.newest_first.len() as u64) as usize
            }
            Sharing::Flow | Sharing::Newest => 0,
        };
        &self.newest_first[position]
    }

    /// All connections, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &A> {
        self.newest_first.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_carries_and_the_older_takes_over_when_it_ends() {
        let (claims, evicted) = Claims::new(1).with(2);
        assert_eq!(evicted, None);
        assert_eq!(*claims.carrier(Sharing::Newest, || 77), 2);
        let claims = claims.without(|claim| *claim == 2).unwrap();
        assert_eq!(*claims.carrier(Sharing::Newest, || 77), 1);
        assert_eq!(claims.without(|claim| *claim == 1), None);
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut claims = Claims::new(0);
        for n in 1..MAX_CLAIMS {
            let (next, evicted) = claims.with(n);
            assert_eq!(evicted, None);
            claims = next;
        }
        let (claims, evicted) = claims.with(MAX_CLAIMS);
        assert_eq!(evicted, Some(0));
        assert_eq!(claims.iter().copied().collect::<Vec<_>>(), [4, 3, 2, 1]);
    }

    #[test]
    fn flows_are_spread_and_stay_where_they_are() {
        let claims = Claims::new(1).with(2).0.with(3).0;
        let carriers: Vec<_> = (0..6).map(|hash| *claims.carrier(Sharing::Flow, || hash)).collect();
        assert_eq!(carriers, [3, 2, 1, 3, 2, 1]);
    }
}
