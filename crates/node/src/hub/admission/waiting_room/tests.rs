use tokio::time::{advance, sleep};

use super::*;

fn source(n: usize) -> IpAddr {
    IpAddr::from([10, 0, (n / 256) as u8, (n % 256) as u8])
}

fn room() -> Arc<WaitingRoom> {
    WaitingRoom::new(u64::MAX)
}

fn enter(room: &Arc<WaitingRoom>, n: usize) -> WaitingSlot {
    room.enter(source(n)).expect("there is room")
}

fn is_turned_out(slot: &WaitingSlot) -> bool {
    slot.turned_out.is_cancelled()
}

#[tokio::test(start_paused = true)]
async fn the_oldest_of_a_crowded_source_makes_room() {
    let room = room();
    let other = enter(&room, 2);
    let slots: Vec<_> = (0..=SLOTS).map(|_| enter(&room, 1)).collect();
    assert!(is_turned_out(&slots[0]));
    assert!(!slots[1..].iter().any(is_turned_out));
    assert!(!is_turned_out(&other));
    assert_eq!(room.len(), SLOTS + 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_proven_something_keeps_its_place_for_longer_than_a_round_trip() {
    for proven in [ProofLevel::Speech, ProofLevel::Transport] {
        let room = room();
        let proving = |room: &Arc<WaitingRoom>| {
            let slot = enter(room, 1);
            slot.proves(proven);
            slot
        };
        let first: Vec<_> = (0..SLOTS).map(|_| proving(&room)).collect();
        let late = proving(&room);
        assert!(is_turned_out(&late), "all others have been there for less than the grace");
        let silent = enter(&room, 1);
        assert!(!first.iter().chain([&silent]).any(is_turned_out));
        advance(GRACE).await;
        let late = proving(&room);
        assert!(!is_turned_out(&late));
        assert!(is_turned_out(&first[0]) && !first[1..].iter().any(is_turned_out));
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_full_house_the_source_with_the_most_makes_room() {
    let room = room();
    let few: Vec<_> = (0..WAITING - 10).map(|n| enter(&room, 100 + n)).collect();
    let many: Vec<_> = (0..10).map(|_| enter(&room, 1)).collect();
    for slot in &many[5..] {
        slot.proves(ProofLevel::Speech);
    }
    let newcomer = enter(&room, 2);
    assert!(is_turned_out(&many[0]), "the oldest of those that have proven least");
    let turned_out = few.iter().chain(&many).chain([&newcomer]).filter(|it| is_turned_out(it));
    assert_eq!(turned_out.count(), 1);
    assert_eq!(room.len(), WAITING);
}

#[tokio::test(start_paused = true)]
async fn among_equal_sources_the_new_one_takes_the_place_of_one_that_has_proven_nothing() {
    let room = room();
    let slots: Vec<_> = (0..WAITING).map(|n| enter(&room, n)).collect();
    let newcomer = enter(&room, WAITING);
    assert_eq!(slots.iter().filter(|it| is_turned_out(it)).count(), 1);
    drop(newcomer);
    drop(slots);
    assert_eq!(room.len(), 0);
    assert!(room.state().by_source.is_empty());

    let slots: Vec<_> = (0..WAITING).map(|n| enter(&room, n)).collect();
    slots.iter().for_each(|slot| slot.proves(ProofLevel::Speech));
    assert!(room.enter(source(WAITING)).is_none(), "everybody else is busy");
    advance(GRACE).await;
    assert!(room.enter(source(WAITING)).is_some());
}

#[tokio::test]
async fn few_descriptors_make_few_places() {
    let room = WaitingRoom::new(64);
    let slots: Vec<_> = (0..64).filter_map(|n| room.enter(source(n))).collect();
    assert_eq!(room.len(), 16);
    drop(slots);
    let slots: Vec<_> = (0..64).filter_map(|_| room.enter(source(1))).collect();
    assert_eq!(room.len(), 8);
    drop(slots);
}

/// A host with 200 ms of round trip that tries again within 1.5 s, while others come at `rate` a second from `sources`
/// addresses and stop after `stop`: when it is admitted.
async fn admitted_after(rate: u32, sources: usize, own: usize, stop: ProofLevel) -> Duration {
    let room = room();
    let flood = async {
        let mut held = VecDeque::new();
        for n in 0.. {
            if let Some(slot) = room.enter(source(n % sources)) {
                slot.proves(stop);
                held.push_back(slot);
            }
            // A connection that is turned out ends.
            held.retain(|slot| !is_turned_out(slot));
            sleep(Duration::from_secs(1) / rate).await;
        }
    };
    let mut random = fastrand::Rng::with_seed(7);
    let host = async {
        let begin = Instant::now();
        loop {
            if let Some(slot) = room.enter(source(own)) {
                let joining = async {
                    for proven in [ProofLevel::Speech, ProofLevel::Transport] {
                        sleep(Duration::from_millis(5)).await;
                        slot.proves(proven);
                        sleep(Duration::from_millis(200)).await;
                    }
                };
                tokio::select! {
                    () = slot.turned_out() => {}
                    () = joining => return begin.elapsed(),
                }
            }
            sleep(Duration::from_millis(random.u64(..1500))).await;
        }
    };
    tokio::select! {
        () = flood => unreachable!(),
        took = host => took,
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_host_gets_in_through_a_flood() {
    for stop in [ProofLevel::Nothing, ProofLevel::Speech, ProofLevel::Transport] {
        let (apart, within) =
            (admitted_after(8_000, 60, 1_000, stop).await, admitted_after(500, 1, 0, stop).await);
        assert!(apart < Duration::from_secs(1), "{stop:?}: {apart:?}");
        assert!(within < Duration::from_secs(10), "{stop:?}: {within:?}");
    }
}

#[test]
fn a_64_counts_as_one_source_and_a_mapped_address_as_itself() {
    let addr = |text: &str| group(text.parse().unwrap());
    assert_eq!(addr("2001:db8::1"), addr("2001:db8::ffff:1"));
    assert_ne!(addr("2001:db8::1"), addr("2001:db8:0:1::1"));
    assert_eq!(addr("::ffff:10.0.0.1"), addr("10.0.0.1"));
}
