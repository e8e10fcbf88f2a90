//! Whatever the other side does, a source of streams ends, and nobody is busy afterwards.

use std::time::{Duration, Instant};

use tokio::{
    runtime::Handle,
    time::{sleep, timeout},
};

use super::others::{KINDS, Kind, PATIENCE, Source, connection};

/// How the other side ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum PeerEnd {
    /// As its standard says.
    Closes,
    /// Without a word.
    Vanishes,
    /// With bytes that no standard allows.
    Breaks,
}

/// Serves as a hub does, in the worst of loops: one that goes on after an error.
async fn serve(source: &mut Source) -> usize {
    let mut errors = 0;
    loop {
        match source.next().await {
            Ok(Some(_)) => {}
            Ok(None) => return errors,
            Err(_) => errors += 1,
        }
    }
}

async fn check(kind: Kind, end_kind: PeerEnd) {
    let (mut source, mut other) = connection(kind).await;
    let opened = other.open(b"hello").await;
    let stream = source.next().await.unwrap().unwrap();
    stream.read_exact(&mut [0; 5]).await.unwrap();
    let end = Instant::now();
    let _kept = match end_kind {
        PeerEnd::Closes => {
            drop(opened);
            other.close();
            None
        }
        PeerEnd::Vanishes => {
            other.vanish();
            None
        }
        PeerEnd::Breaks => {
            other.below().try_write(&[9; 100]).unwrap();
            Some((other, opened))
        }
    };
    let errors = timeout(PATIENCE, serve(&mut source)).await;
    let errors = errors.unwrap_or_else(|_| panic!("{kind:?} {end_kind:?}: the source ends"));
    assert!(errors <= 1, "{kind:?} {end_kind:?}: {errors} errors");
    assert!(errors == 0 || end_kind != PeerEnd::Closes, "{kind:?}: a proper end is no error");
    rests(kind, end_kind, &mut source).await;
    // The stream has ended too, and does not come back.
    let read = timeout(PATIENCE, stream.read(&mut [0; 10])).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "{kind:?} {end_kind:?}: {read:?}");
    assert!(end.elapsed() < Duration::from_secs(3), "{kind:?} {end_kind:?}: {:?}", end.elapsed());
}

/// Nothing is ready again and again, and a task that asks once more learns that there is nothing.
async fn rests(kind: Kind, end_kind: PeerEnd, source: &mut Source) {
    for _ in 0..100 {
        assert!(source.next().await.unwrap().is_none(), "{kind:?} {end_kind:?}");
    }
    let metrics = Handle::current().metrics();
    let (busy, parked) = (metrics.worker_total_busy_duration(0), metrics.worker_park_count(0));
    sleep(Duration::from_millis(200)).await;
    let busy = metrics.worker_total_busy_duration(0) - busy;
    assert!(busy < Duration::from_millis(20), "{kind:?} {end_kind:?}: busy for {busy:?}");
    let parked = metrics.worker_park_count(0) - parked;
    assert!(parked < 50, "{kind:?} {end_kind:?}: woken {parked} times");
}

#[tokio::test]
async fn every_source_ends_when_the_other_side_closes() {
    for kind in KINDS {
        check(kind, PeerEnd::Closes).await;
    }
}

/// Reset by its kernel; over QUIC nobody says anything, and silence tells.
#[tokio::test]
async fn every_source_ends_when_the_other_side_is_killed() {
    for kind in KINDS {
        check(kind, PeerEnd::Vanishes).await;
    }
}

#[tokio::test]
async fn every_source_ends_when_the_other_side_breaks_the_protocol() {
    // Nobody can have one say what QUIC does not.
    for kind in KINDS.into_iter().filter(|kind| *kind != Kind::Quic) {
        check(kind, PeerEnd::Breaks).await;
    }
}
