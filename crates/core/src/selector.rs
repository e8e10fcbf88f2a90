//! Which of several hubs a host tries next.

use std::time::Duration;

/// In which order nodes are tried (spec: config.md section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// In turn: each attempt begins behind the last.
    #[default]
    Round,
    /// Any.
    Random,
    /// The first that is not marked.
    Fifo,
    /// By a hash of who asks, so that the same host comes to the same hub.
    Hash,
}

/// How nodes are chosen, and when one that fails is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Selection {
    /// The order.
    pub strategy: Strategy,
    /// Failures in a row after which a node is marked; at least 1.
    pub max_fails: u32,
    /// How long a marked node is passed over.
    pub fail_timeout: Duration,
}

impl Default for Selection {
    /// Round, 1 failure, 10 s (spec: config.md section 3).
    fn default() -> Self {
        Self { strategy: Strategy::default(), max_fails: 1, fail_timeout: Duration::from_secs(10) }
    }
}

/// What a node is among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeWeight {
    /// With [`Strategy::Random`], how often it is taken compared to the others; 0 counts as 1.
    pub weight: u32,
    /// Whether it is only taken when no other can be.
    pub backup: bool,
}

impl Default for NodeWeight {
    fn default() -> Self {
        Self { weight: 1, backup: false }
    }
}

/// Chooses among nodes numbered from 0, by what has become of them before.
///
/// Time is given as what has passed since any fixed moment.
#[derive(Debug)]
pub struct Selector {
    selection: Selection,
    nodes: Vec<Node>,
    next: usize,
    /// Tried since the last success.
    tried: Vec<bool>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    weight: NodeWeight,
    fails: u32,
    failed_at: Option<Duration>,
}

impl Selector {
    /// Of these nodes, at least one.
    pub fn new(selection: Selection, nodes: impl IntoIterator<Item = NodeWeight>) -> Self {
        let node = |weight| Node { weight, fails: 0, failed_at: None };
        let nodes: Vec<_> = nodes.into_iter().map(node).collect();
        debug_assert!(!nodes.is_empty(), "there is something to choose");
        Self { selection, next: 0, tried: vec![false; nodes.len()], nodes }
    }

    /// The node to try now. Where all are marked it is the one whose failure is longest ago, since a host without a hub
    /// has nothing to lose. `random` is uniform over all of `u32`; of strategy `hash` it is the hash.
    pub fn choose(&mut self, now: Duration, random: u32) -> usize {
        let is_open = |&node: &usize| !self.is_marked(node, now);
        let (backups, mut open): (Vec<usize>, Vec<usize>) =
            (0..self.nodes.len()).filter(is_open).partition(|&n| self.nodes[n].weight.backup);
        if open.is_empty() {
            open = backups;
        }
        let chosen = match (&open[..], self.selection.strategy) {
            ([], _) => self.longest_ago(),
            ([first, ..], Strategy::Fifo) => *first,
            ([first, ..], Strategy::Round) => {
                *open.iter().find(|&&node| node >= self.next).unwrap_or(first)
            }
            (open, Strategy::Random) => self.by_weight(open, random),
            (open, Strategy::Hash) => {
                // Passing over a marked node moves only the hosts that were on it.
                let wanted = random as usize % self.nodes.len();
                if open.contains(&wanted) { wanted } else { open[random as usize % open.len()] }
            }
        };
        self.next = (chosen + 1) % self.nodes.len();
        self.tried[chosen] = true;
        chosen
    }

    /// Whether an untried node is left that is not marked: the next attempt need not wait.
    pub fn has_fresh(&self, now: Duration) -> bool {
        (0..self.nodes.len()).any(|node| !self.tried[node] && !self.is_marked(node, now))
    }

    /// The node did not serve: it was not reached, it refused, or its connection was lost soon.
    pub fn failed(&mut self, node: usize, now: Duration) {
        let Node { fails, failed_at, .. } = &mut self.nodes[node];
        *fails += 1;
        *failed_at = Some(now);
    }

    /// The node serves. It is no failure to have been tried before it.
    pub fn succeeded(&mut self, node: usize) {
        self.recovered(node);
        self.tried.fill(false);
        self.tried[node] = true;
    }

    /// The node has been tried without need and answers: it is no longer marked.
    pub fn recovered(&mut self, node: usize) {
        let Node { fails, failed_at, .. } = &mut self.nodes[node];
        (*fails, *failed_at) = (0, None);
    }

    /// Whether the node is passed over now.
    pub fn is_marked(&self, node: usize, now: Duration) -> bool {
        let Node { fails, failed_at, .. } = self.nodes[node];
        fails >= self.selection.max_fails.max(1)
            && failed_at.is_some_and(|at| now.saturating_sub(at) < self.selection.fail_timeout)
    }

    /// Attempts in a row have all failed: from here on each node counts as untried again.
    pub fn begin_round(&mut self) {
        self.tried.fill(false);
    }

    fn by_weight(&self, open: &[usize], random: u32) -> usize {
        let weight = |node: usize| u64::from(self.nodes[node].weight.weight.max(1));
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
        Selector::new(Selection { strategy, ..Selection::default() }, [NodeWeight::default(); 3])
    }

    #[test]
    fn nodes_take_turns() {
        let mut round = selector(Strategy::Round);
        let chosen: Vec<_> = (0..5).map(|_| round.choose(seconds(0), 7)).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1]);
        round.failed(2, seconds(0));
        assert_eq!(round.choose(seconds(1), 7), 0, "a marked node is passed over");
    }

    #[test]
    fn the_first_that_serves_is_taken_and_is_come_back_to() {
        let mut fifo = selector(Strategy::Fifo);
        assert_eq!(fifo.choose(seconds(0), 7), 0);
        fifo.failed(0, seconds(0));
        assert_eq!(fifo.choose(seconds(1), 7), 1);
        fifo.failed(1, seconds(1));
        assert_eq!(fifo.choose(seconds(1), 7), 2);
        assert_eq!(fifo.choose(seconds(10), 7), 0, "the mark is gone after 10 s");
    }

    #[test]
    fn a_heavier_node_is_taken_more_often_and_a_backup_last() {
        let weights = [(1, false), (3, false), (9, true)]
            .map(|(weight, backup)| NodeWeight { weight, backup });
        let selection = Selection { strategy: Strategy::Random, ..Selection::default() };
        let mut selector = Selector::new(selection, weights);
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
        let mut selector = Selector::new(selection, [NodeWeight::default(); 2]);
        selector.failed(0, seconds(0));
        assert!(!selector.is_marked(0, seconds(0)));
        selector.failed(0, seconds(1));
        assert!(selector.is_marked(0, seconds(1)));
        selector.succeeded(0);
        selector.failed(0, seconds(2));
        assert!(!selector.is_marked(0, seconds(2)), "what serves begins anew");
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
    fn untried_nodes_are_tried_without_waiting() {
        let mut round = selector(Strategy::Round);
        for node in 0..3 {
            assert!(round.has_fresh(seconds(0)));
            assert_eq!(round.choose(seconds(0), 0), node);
            round.failed(node, seconds(0));
        }
        assert!(!round.has_fresh(seconds(0)));
        round.begin_round();
        assert!(!round.has_fresh(seconds(0)), "marked ones are waited for");
        assert!(round.has_fresh(seconds(10)));
        round.succeeded(1);
        round.failed(1, seconds(11));
        assert!(round.has_fresh(seconds(11)), "the others of a node that served are fresh");
    }
}
