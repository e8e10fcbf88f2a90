//! Rounds as a path shows them, one by one.

use super::*;

const ROUND_TRIP: Duration = Duration::from_millis(50);

fn round(packets: u32, lost: u32, waited: bool) -> RoundCounts {
    let (packets, lost) = (packets.into(), lost.into());
    let (on_way, holding) = (100.0, 120.0);
    RoundCounts {
        packets,
        lost,
        round_trip: ROUND_TRIP,
        waited,
        is_limited: false,
        on_way,
        holding,
    }
}

/// After the beginning.
fn settled() -> CompetingFlows {
    let mut sharing = CompetingFlows::new();
    assert!(!sharing.sent_less(true, 100.0));
    sharing
}

#[test]
fn losses_with_nothing_waiting_are_chance_and_so_are_as_many_while_something_waits() {
    let (mut sharing, now) = (settled(), Instant::now());
    for _ in 0..200 {
        sharing.end_round(now, &round(200, 4, false));
    }
    for lost in [0, 2, 4, 8] {
        sharing.end_round(now, &round(200, lost, true));
        assert_eq!(sharing.window(), None, "{lost} of 200 where 2 % are lost");
    }
    sharing.end_round(now, &round(200, 16, true));
    assert_eq!(sharing.window(), Some(70.0));
}

#[test]
fn one_loss_while_something_waits_tells_of_others_where_none_is_chance() {
    let (mut sharing, now) = (settled(), Instant::now());
    sharing.end_round(now, &round(200, 0, true));
    assert_eq!(sharing.window(), None);
    sharing.end_round(now, &round(200, 1, true));
    assert_eq!(sharing.window(), Some(70.0));
    // The same queue's last losses.
    sharing.end_round(now, &round(200, 1, true));
    assert!(sharing.window() >= Some(70.0), "{sharing:?}");
    sharing.end_round(now, &round(200, 1, true));
    assert!(sharing.window() < Some(50.0), "{sharing:?}");
}

#[test]
fn a_queue_that_stays_tells_of_others_and_one_that_drains_twice_of_their_end() {
    let (mut sharing, now) = (settled(), Instant::now());
    assert!(sharing.sent_less(false, 100.0), "at once again");
    sharing.end_round(now, &round(200, 0, true));
    assert_eq!(sharing.window(), None);
    assert!(!sharing.sent_less(false, 100.0));
    sharing.end_round(now, &round(200, 0, true));
    let window = sharing.window().unwrap();
    assert!((window - 120.0).abs() < 1e-9, "it begins with what keeps its rate: {window}");
    sharing.sent_less(true, 90.0);
    assert!(sharing.window().is_some() && sharing.is_nearly_alone());
    sharing.sent_less(false, 90.0);
    assert!(!sharing.is_nearly_alone());
    sharing.sent_less(true, 90.0);
    sharing.sent_less(true, 130.0);
    assert!(sharing.window().is_some(), "less than fills the path drains it in any case");
    sharing.sent_less(true, 90.0);
    assert_eq!(sharing.window(), None);
}

#[test]
fn what_the_own_start_has_left_tells_of_nobody() {
    let (mut sharing, now) = (CompetingFlows::new(), Instant::now());
    for _ in 0..3 {
        sharing.end_round(now, &round(200, 100, true));
        assert!(sharing.sent_less(false, 100.0));
    }
    assert!(!sharing.sent_less(true, 100.0));
    sharing.end_round(now, &round(200, 0, false));
    assert_eq!(sharing.window(), None);
}

#[test]
fn with_nothing_more_to_send_the_window_does_not_grow() {
    let (mut sharing, start) = (settled(), Instant::now());
    sharing.end_round(start, &round(200, 1, true));
    let later = start + Duration::from_secs(60);
    sharing.end_round(later, &RoundCounts { is_limited: true, ..round(200, 0, true) });
    assert_eq!(sharing.window(), Some(70.0));
    sharing.end_round(later, &round(200, 0, true));
    assert!(sharing.window() > Some(70.0));
}
