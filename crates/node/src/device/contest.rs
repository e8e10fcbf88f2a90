//! How often something that is removed from a device is put back before it is left as it is.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use rtun_system::installation::Item;

/// Something is put back this many times
const TIMES: usize = 3;

/// within this long; then it is left.
const WITHIN: Duration = Duration::from_secs(60);

/// What was put back when, and what is left.
#[derive(Default)]
pub(super) struct DeviceContest {
    /// At most [`TIMES`] of each item, and there are as many items as a device is given.
    put_back: HashMap<Item, VecDeque<Instant>>,
    left: HashSet<Item>,
}

impl DeviceContest {
    /// Whether an item that is missing may be put back.
    pub(super) fn may(&mut self, item: &Item, now: Instant) -> bool {
        if self.left.contains(item) {
            return false;
        }
        let Some(times) = self.put_back.get_mut(item) else { return true };
        while times.front().is_some_and(|first| now.duration_since(*first) >= WITHIN) {
            times.pop_front();
        }
        times.len() < TIMES
    }

    /// It has been put back.
    pub(super) fn was_put_back(&mut self, item: &Item, now: Instant) {
        let times = self.put_back.entry(item.clone()).or_default();
        times.push_back(now);
        if times.len() > TIMES {
            times.pop_front();
        }
    }

    /// Whether it was left already.
    pub(super) fn has_left(&self, item: &Item) -> bool {
        self.left.contains(item)
    }

    /// All items that are missing and left; an item that is there again is not left any more.
    pub(super) fn leave(&mut self, left: &[Item]) {
        self.left = left.iter().cloned().collect();
    }
}

/// Of missing items, those that were removed themselves: routes go with addresses, and both with a device that is set down.
pub(super) fn taken<'a>(missing: &[&'a Item]) -> Vec<&'a Item> {
    let depth = |item: &Item| match item {
        Item::Mtu | Item::Up => 0,
        Item::Address(_) => 1,
        Item::Rules | Item::Route(_) => 2,
    };
    let roots = missing.iter().filter(|item| ***item != Item::Mtu).map(|item| depth(item)).min();
    let is_root = |item: &&&Item| **item == &Item::Mtu || Some(depth(item)) == roots;
    missing.iter().filter(is_root).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_along_with_something_else_was_not_taken() {
        let (address, route) = (
            Item::Address("10.0.0.1/24".parse().unwrap()),
            Item::Route(rtun_system::os_route::OsRoute {
                destination: "10.0.0.0/8".parse().unwrap(),
                gateway: None,
            }),
        );
        assert_eq!(taken(&[&address, &Item::Up, &route]), [&Item::Up]);
        assert_eq!(taken(&[&Item::Mtu, &address, &route]), [&Item::Mtu, &address]);
        assert_eq!(taken(&[&Item::Rules, &route]), [&Item::Rules, &route]);
    }

    fn after(begin: Instant, seconds: u64) -> Instant {
        begin + Duration::from_secs(seconds)
    }

    #[test]
    fn the_fourth_time_within_a_minute_is_left_until_the_item_is_there_again() {
        let (mut contest, begin) = (DeviceContest::default(), Instant::now());
        for seconds in [0, 10, 20] {
            assert!(contest.may(&Item::Up, after(begin, seconds)));
            contest.was_put_back(&Item::Up, after(begin, seconds));
        }
        assert!(!contest.may(&Item::Up, after(begin, 30)));
        assert!(contest.may(&Item::Mtu, after(begin, 30)), "each for itself");
        contest.leave(&[Item::Up]);
        assert!(contest.has_left(&Item::Up));
        assert!(!contest.may(&Item::Up, after(begin, 3000)), "left is left");
        contest.leave(&[]);
        assert!(contest.may(&Item::Up, after(begin, 3000)));
    }

    #[test]
    fn what_goes_every_half_minute_is_always_put_back() {
        let (mut contest, begin) = (DeviceContest::default(), Instant::now());
        for round in 0..100 {
            let now = after(begin, round * 30);
            assert!(contest.may(&Item::Up, now));
            contest.was_put_back(&Item::Up, now);
        }
    }
}
