//! Which of several hubs a host tries next. A node is one configured hub.

use std::time::Duration;

/// The order in which nodes are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// In turn: each attempt starts at the node after the last one.
    #[default]
    Round,
    /// At random, by weight.
    Random,
    /// The first one that is not skipped.
    Fifo,
    /// By a hash of the host, so that the same host always uses the same hub.
    Hash,
    /// All that are not skipped at once; the first to answer serves.
    Parallel,
    /// The one that took the shortest time to connect to last; those that have not been measured come after, in their order.
    LowestLatency,
}

/// How nodes are chosen, and when a failed node is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Selection {
    /// The order.
    pub strategy: Strategy,
    /// Failures in a row after which a node is skipped; at least 1.
    pub max_fails: u32,
    /// How long a node is skipped after its last failure.
    pub fail_timeout: Duration,
    /// A node that took longer than this to connect to is skipped while there is another.
    pub max_latency: Option<Duration>,
}

impl Default for Selection {
    /// GOST's defaults: round, 1 failure, 10 s.
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            max_fails: 1,
            fail_timeout: Duration::from_secs(10),
            max_latency: None,
        }
    }
}

/// How much a node is preferred to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeRank {
    /// With [`Strategy::Random`]: how often it is chosen, relative to the others. 0 counts as 1.
    pub weight: u32,
    /// Whether it is chosen only if every other node is skipped.
    pub backup: bool,
    /// [`Selection::max_fails`] of this node, if it has its own.
    pub max_fails: Option<u32>,
    /// [`Selection::fail_timeout`] of this node, if it has its own.
    pub fail_timeout: Option<Duration>,
}

impl Default for NodeRank {
    fn default() -> Self {
        Self { weight: 1, backup: false, max_fails: None, fail_timeout: None }
    }
}

/// Chooses among nodes, numbered from 0, by the results of earlier attempts.
///
/// Times are durations since any fixed point in time.
#[derive(Debug)]
pub struct Selector {
    selection: Selection,
    nodes: Vec<NodeRecord>,
    next: usize,
    /// Tried since the last success.
    tried: Vec<bool>,
}

#[derive(Debug, Clone, Copy)]
struct NodeRecord {
    rank: NodeRank,
    fails: u32,
    failed_at: Option<Duration>,
    /// How long connecting to it took last.
    latency: Option<Duration>,
}

impl Selector {
    /// Chooses among these nodes. Without one, there is nothing to choose.
    pub fn new(selection: Selection, nodes: impl IntoIterator<Item = NodeRank>) -> Self {
        let node = |rank| NodeRecord { rank, fails: 0, failed_at: None, latency: None };
        let nodes: Vec<_> = nodes.into_iter().map(node).collect();
        Self { selection, next: 0, tried: vec![false; nodes.len()], nodes }
    }

    /// The node to try now. If all would be skipped, it is the one whose last failure is longest ago: a host without a hub
    /// has nothing to lose. There has to be a node. `random` is uniform over all of `u32`; with [`Strategy::Hash`] it is the hash.
    pub fn choose(&mut self, now: Duration, random: u32) -> usize {
        let open = self.open(now);
        let chosen = match (&open[..], self.selection.strategy) {
            ([], _) => self.longest_ago(),
            ([first, ..], Strategy::Fifo | Strategy::Parallel) => *first,
            ([first, ..], Strategy::LowestLatency) => {
                let measured =
                    open.iter().filter_map(|&node| Some((self.nodes[node].latency?, node)));
                measured.min().map_or(*first, |(_, node)| node)
            }
            ([first, ..], Strategy::Round) => {
                *open.iter().find(|&&node| node >= self.next).unwrap_or(first)
            }
            (open, Strategy::Random) => self.by_weight(open, random),
            (open, Strategy::Hash) => {
                // Skipping a node moves only the hosts that were on it.
                let wanted = random as usize % self.nodes.len();
                if open.contains(&wanted) { wanted } else { open[random as usize % open.len()] }
            }
        };
        self.next = (chosen + 1) % self.nodes.len();
        self.tried[chosen] = true;
        chosen
    }

    /// The nodes to try now, at the same time: those that are not skipped with [`Strategy::Parallel`], else the one of
    /// [`Selector::choose`].
    pub fn choose_all(&mut self, now: Duration, random: u32) -> Vec<usize> {
        let open = self.open(now);
        if self.selection.strategy != Strategy::Parallel || open.is_empty() {
            return vec![self.choose(now, random)];
        }
        for &node in &open {
            self.tried[node] = true;
        }
        open
    }

    /// The nodes that are not skipped: of these those that are no backups and not too slow, if there are any.
    fn open(&self, now: Duration) -> Vec<usize> {
        let is_open = |&node: &usize| !self.is_skipped(node, now);
        let (backups, mut open): (Vec<usize>, Vec<usize>) =
            (0..self.nodes.len()).filter(is_open).partition(|&n| self.nodes[n].rank.backup);
        if open.is_empty() {
            open = backups;
        }
        if let Some(max) = self.selection.max_latency {
            let is_quick = |node: &usize| self.nodes[*node].latency.is_none_or(|it| it <= max);
            let quick: Vec<usize> = open.iter().copied().filter(is_quick).collect();
            if !quick.is_empty() {
                return quick;
            }
        }
        open
    }

    /// Records how long connecting to the node took.
    pub fn measured(&mut self, node: usize, latency: Duration) {
        self.nodes[node].latency = Some(latency);
    }

    /// Whether there is an untried node that is not skipped, so that the next attempt need not wait.
    pub fn has_fresh(&self, now: Duration) -> bool {
        (0..self.nodes.len()).any(|node| !self.tried[node] && !self.is_skipped(node, now))
    }

    /// Records a failure: the node was not reached, it refused, or its connection was lost soon.
    pub fn failed(&mut self, node: usize, now: Duration) {
        let NodeRecord { fails, failed_at, .. } = &mut self.nodes[node];
        *fails += 1;
        *failed_at = Some(now);
    }

    /// Records that the node serves. All other nodes count as untried again.
    pub fn succeeded(&mut self, node: usize) {
        self.recovered(node);
        self.tried.fill(false);
        self.tried[node] = true;
    }

    /// Records that a probed node answers: it is no longer skipped.
    pub fn recovered(&mut self, node: usize) {
        let NodeRecord { fails, failed_at, .. } = &mut self.nodes[node];
        (*fails, *failed_at) = (0, None);
    }

    /// Whether the node is skipped now.
    pub fn is_skipped(&self, node: usize, now: Duration) -> bool {
        let NodeRecord { rank, fails, failed_at, .. } = self.nodes[node];
        let max_fails = rank.max_fails.unwrap_or(self.selection.max_fails);
        let fail_timeout = rank.fail_timeout.unwrap_or(self.selection.fail_timeout);
        fails >= max_fails.max(1)
            && failed_at.is_some_and(|at| now.saturating_sub(at) < fail_timeout)
    }

    /// Begins a new round after every node has failed: each node counts as untried again.
    pub fn begin_round(&mut self) {
        self.tried.fill(false);
    }

    fn by_weight(&self, open: &[usize], random: u32) -> usize {
        let weight = |node: usize| u64::from(self.nodes[node].rank.weight.max(1));
        let all: u64 = open.iter().map(|&node| weight(node)).sum();
        let mut left = (u64::from(random) * all) >> 32;
        for &node in open {
            match left.checked_sub(weight(node)) {
                Some(rest) => left = rest,
                None => return node,
            }
        }
        open[0]
    }

    fn longest_ago(&self) -> usize {
        (0..self.nodes.len()).min_by_key(|&node| self.nodes[node].failed_at).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn selector(strategy: Strategy) -> Selector {
        Selector::new(Selection { strategy, ..Selection::default() }, [NodeRank::default(); 3])
    }

    #[test]
    fn nodes_take_turns() {
        let mut round = selector(Strategy::Round);
        let chosen: Vec<_> = (0..5).map(|_| round.choose(seconds(0), 7)).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1]);
        round.failed(2, seconds(0));
        assert_eq!(round.choose(seconds(1), 7), 0, "a failed node is skipped");
    }

    #[test]
    fn the_first_that_serves_is_chosen_and_returned_to() {
        let mut fifo = selector(Strategy::Fifo);
        assert_eq!(fifo.choose(seconds(0), 7), 0);
        fifo.failed(0, seconds(0));
        assert_eq!(fifo.choose(seconds(1), 7), 1);
        fifo.failed(1, seconds(1));
        assert_eq!(fifo.choose(seconds(1), 7), 2);
        assert_eq!(fifo.choose(seconds(10), 7), 0, "it is no longer skipped after 10 s");
    }

    #[test]
    fn a_node_of_more_weight_is_chosen_more_often_and_a_backup_last() {
        let ranks = [(1, false), (3, false), (9, true)].map(|(weight, backup)| NodeRank {
            weight,
            backup,
            ..NodeRank::default()
        });
        let selection = Selection { strategy: Strategy::Random, ..Selection::default() };
        let mut selector = Selector::new(selection, ranks);
        let mut taken = [0; 3];
        for step in 0..4000 {
            taken[selector.choose(seconds(0), (2 * step + 1) * (u32::MAX / 8000))] += 1;
        }
        assert_eq!(taken, [1000, 3000, 0]);
        selector.failed(0, seconds(0));
        assert_eq!(selector.choose(seconds(0), 5), 1);
        selector.failed(1, seconds(0));
        assert_eq!(selector.choose(seconds(0), 5), 2);
    }

    #[test]
    fn several_failures_may_be_allowed() {
        let selection = Selection { max_fails: 2, ..Selection::default() };
        let mut selector = Selector::new(selection, [NodeRank::default(); 2]);
        selector.failed(0, seconds(0));
        assert!(!selector.is_skipped(0, seconds(0)));
        selector.failed(0, seconds(1));
        assert!(selector.is_skipped(0, seconds(1)));
        selector.succeeded(0);
        selector.failed(0, seconds(2));
        assert!(!selector.is_skipped(0, seconds(2)), "a success resets the count");
    }

    #[test]
    fn a_host_keeps_its_hub_while_that_serves() {
        let mut hash = selector(Strategy::Hash);
        for random in 0..30 {
            assert_eq!(hash.choose(seconds(0), random), random as usize % 3);
        }
        hash.failed(1, seconds(0));
        assert_eq!(hash.choose(seconds(0), 3), 0);
        assert_eq!(hash.choose(seconds(0), 5), 2);
        assert_ne!(hash.choose(seconds(0), 4), 1);
    }

    #[test]
    fn without_a_node_that_is_open_the_one_that_failed_first_is_tried() {
        for strategy in [Strategy::Round, Strategy::Random, Strategy::Fifo, Strategy::Hash] {
            let mut selector = selector(strategy);
            for (node, at) in [(0, 3), (1, 1), (2, 2)] {
                selector.failed(node, seconds(at));
            }
            assert_eq!(selector.choose(seconds(4), 12345), 1);
        }
    }

    #[test]
    fn the_quickest_is_chosen_and_those_that_are_too_slow_last() {
        let millis = Duration::from_millis;
        let mut lowest = selector(Strategy::LowestLatency);
        assert_eq!(lowest.choose(seconds(0), 7), 0, "nothing is known");
        lowest.measured(1, millis(30));
        lowest.measured(2, millis(20));
        assert_eq!(lowest.choose(seconds(0), 7), 2, "the one not measured comes after");
        lowest.measured(0, millis(10));
        assert_eq!(lowest.choose(seconds(0), 7), 0);
        lowest.failed(0, seconds(0));
        assert_eq!(lowest.choose(seconds(0), 7), 2);
        let selection = Selection {
            strategy: Strategy::Fifo,
            max_latency: Some(millis(25)),
            ..Selection::default()
        };
        let mut bounded = Selector::new(selection, [NodeRank::default(); 2]);
        bounded.measured(0, millis(26));
        assert_eq!(bounded.choose(seconds(0), 7), 1);
        bounded.measured(1, millis(27));
        assert_eq!(bounded.choose(seconds(0), 7), 0, "a host without a hub has nothing to lose");
    }

    #[test]
    fn all_are_tried_at_once_but_those_that_are_skipped() {
        let mut parallel = selector(Strategy::Parallel);
        assert_eq!(parallel.choose_all(seconds(0), 7), [0, 1, 2]);
        assert!(!parallel.has_fresh(seconds(0)));
        parallel.failed(1, seconds(0));
        assert_eq!(parallel.choose_all(seconds(1), 7), [0, 2]);
        for node in [0, 2] {
            parallel.failed(node, seconds(2));
        }
        assert_eq!(parallel.choose_all(seconds(3), 7), [1], "the one that failed first");
        assert_eq!(selector(Strategy::Round).choose_all(seconds(0), 7), [0]);
    }

    #[test]
    fn a_node_may_have_limits_of_its_own() {
        let own =
            NodeRank { max_fails: Some(2), fail_timeout: Some(seconds(60)), ..NodeRank::default() };
        let mut selector = Selector::new(Selection::default(), [own, NodeRank::default()]);
        selector.failed(0, seconds(0));
        assert!(!selector.is_skipped(0, seconds(0)));
        selector.failed(0, seconds(1));
        assert!(selector.is_skipped(0, seconds(60)) && !selector.is_skipped(0, seconds(61)));
    }

    #[test]
    fn untried_nodes_are_tried_without_waiting() {
        let mut round = selector(Strategy::Round);
        for node in 0..3 {
            assert!(round.has_fresh(seconds(0)));
            assert_eq!(round.choose(seconds(0), 0), node);
            round.failed(node, seconds(0));
        }
        assert!(!round.has_fresh(seconds(0)));
        round.begin_round();
        assert!(!round.has_fresh(seconds(0)), "the others are waited for");
        assert!(round.has_fresh(seconds(10)));
        round.succeeded(1);
        round.failed(1, seconds(11));
        assert!(round.has_fresh(seconds(11)), "the others of a node that served are fresh");
    }
}
