//! The live connections of one host name, and which of them carries a packet.

/// The most connections under one name. One is active, the others stand by. One more replaces the oldest, so that a host
/// that reconnects again and again over dead links cannot collect connections.
pub const MAX_HOST_CONNECTIONS: usize = 4;

/// How packets are shared among the connections of one name, and among the hosts that one prefix is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// The newest connection carries all packets, the others stand by until it ends. Of the hosts, the first one that is
    /// connected carries all.
    #[default]
    Newest,
    /// Each flow stays on one of them as long as that one is connected.
    Flow,
}

/// The connections of one host name in one namespace, newest first; never empty, at most [`MAX_HOST_CONNECTIONS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConnections<A> {
    newest_first: Vec<A>,
}

impl<A: Clone> HostConnections<A> {
    /// The first connection of a name.
    pub fn new(first: A) -> Self {
        Self { newest_first: vec![first] }
    }

    /// The same with `newest` first, and the connection that it replaces.
    pub fn with(&self, newest: A) -> (Self, Option<A>) {
        let mut newest_first = Vec::with_capacity(MAX_HOST_CONNECTIONS + 1);
        newest_first.push(newest);
        newest_first.extend(self.newest_first.iter().cloned());
        let evicted =
            if newest_first.len() > MAX_HOST_CONNECTIONS { newest_first.pop() } else { None };
        (Self { newest_first }, evicted)
    }

    /// The same without those for which `gone` is true; `None` if no connection is left.
    pub fn without(&self, gone: impl Fn(&A) -> bool) -> Option<Self> {
        let newest_first: Vec<A> =
            self.newest_first.iter().filter(|connection| !gone(connection)).cloned().collect();
        if newest_first.is_empty() { None } else { Some(Self { newest_first }) }
    }

    /// The connection that carries a packet of the flow with this hash.
    pub fn for_flow(&self, sharing: Sharing, flow_hash: impl FnOnce() -> u64) -> &A {
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
        let (connections, evicted) = HostConnections::new(1).with(2);
        assert_eq!(evicted, None);
        assert_eq!(*connections.for_flow(Sharing::Newest, || 77), 2);
        let connections = connections.without(|connection| *connection == 2).unwrap();
        assert_eq!(*connections.for_flow(Sharing::Newest, || 77), 1);
        assert_eq!(connections.without(|connection| *connection == 1), None);
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut connections = HostConnections::new(0);
        for n in 1..MAX_HOST_CONNECTIONS {
            let (next, evicted) = connections.with(n);
            assert_eq!(evicted, None);
            connections = next;
        }
        let (connections, evicted) = connections.with(MAX_HOST_CONNECTIONS);
        assert_eq!(evicted, Some(0));
        assert_eq!(connections.iter().copied().collect::<Vec<_>>(), [4, 3, 2, 1]);
    }

    #[test]
    fn flows_are_spread_and_stay_where_they_are() {
        let connections = HostConnections::new(1).with(2).0.with(3).0;
        let chosen: Vec<_> =
            (0..6).map(|hash| *connections.for_flow(Sharing::Flow, || hash)).collect();
        assert_eq!(chosen, [3, 2, 1, 3, 2, 1]);
    }
}
