//! What every transport's stream does, whatever carries it.

use std::{
    io::{self, IoSlice},
    sync::Arc,
    time::{Duration, Instant},
};

use rtun_transport::Stream;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(60);
const CHUNK: usize = 64 * 1024;

/// The two ends of one stream.
pub(crate) type Ends = (Arc<dyn Stream>, Arc<dyn Stream>);

/// What a transport can do besides carrying bytes.
#[derive(Clone, Copy)]
pub(crate) struct Abilities {
    /// Whether each direction can be ended on its own.
    pub(crate) half_close: bool,
}

/// All there is to hold on to; `make` makes the ends of a new stream each time.
pub(crate) async fn battery(abilities: Abilities, make: impl AsyncFn() -> Ends) {
    within("single bytes", single_bytes_stay_in_order(make().await)).await;
    within("pieces", pieces_are_taken_in_order(make().await)).await;
    within("chunks", large_chunks_cross_in_both_directions(make().await)).await;
    within("frames", frames_of_64_kib_arrive_whole_under_random_reads(make().await)).await;
    match abilities.half_close {
        true => within("ends", each_direction_ends_on_its_own(make().await)).await,
        false => within("ends", an_end_is_read_behind_all_bytes(make().await)).await,
    }
    within("back pressure", a_reader_that_waits_holds_the_writer(make().await)).await;
    within("a stall", a_stalled_direction_leaves_the_other_alone(make().await)).await;
    within("abrupt end", an_abrupt_end_is_noticed(make().await)).await;
    for sides in [Sides::First, Sides::Second, Sides::Both] {
        within("close", a_close_is_read_after_all_that_was_written(&make, sides)).await;
    }
    within("unanswered", a_close_that_nobody_answers_is_bounded(make().await)).await;
}

async fn within(what: &str, check: impl Future<Output = ()>) {
    assert!(timeout(PATIENCE, check).await.is_ok(), "{what}: not done in {PATIENCE:?}");
}

async fn single_bytes_stay_in_order((a, b): Ends) {
    let sent = pattern(5000, 1);
    a.write_all(&sent).await.unwrap();
    for expected in &sent {
        let mut byte = [0];
        b.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte[0], *expected);
    }
    let write = async {
        for byte in &sent[..500] {
            b.write_all(&[*byte]).await.unwrap();
        }
    };
    let mut received = vec![0; 500];
    let (read, ()) = tokio::join!(a.read_exact(&mut received), write);
    read.unwrap();
    assert_eq!(received, sent[..500]);
}

async fn pieces_are_taken_in_order((a, b): Ends) {
    let sent = pattern(200_000, 7);
    let write = async {
        let mut at = 0;
        while at < sent.len() {
            let rest = &sent[at..];
            // Empty and uneven pieces.
            let cuts = [0, 1, 1, 700, 20_000, rest.len()].map(|cut| cut.min(rest.len()));
            let pieces: Vec<_> =
                cuts.windows(2).map(|cut| IoSlice::new(&rest[cut[0]..cut[1]])).collect();
            a.writable().await.unwrap();
            match a.try_write_vectored(&pieces) {
                Ok(written) => at += written,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        a.flush().await.unwrap();
        assert!(!a.has_buffered());
    };
    let mut received = vec![0; sent.len()];
    let (read, ()) = tokio::join!(b.read_exact(&mut received), write);
    read.unwrap();
    assert!(received == sent);
}

async fn large_chunks_cross_in_both_directions((a, b): Ends) {
    const CHUNKS: usize = 40;
    async fn exchange(stream: &dyn Stream, own: u8, other: u8) {
        let write = async {
            for _ in 0..CHUNKS {
                stream.write_all(&pattern(CHUNK, own)).await.unwrap();
            }
        };
        let read = async {
            let mut received = vec![0; CHUNK];
            for _ in 0..CHUNKS {
                stream.read_exact(&mut received).await.unwrap();
                assert!(received == pattern(CHUNK, other));
            }
        };
        tokio::join!(write, read);
    }
    tokio::join!(exchange(&*a, 1, 2), exchange(&*b, 2, 1));
}

/// As the tunnel uses it: a length, then as many bytes; the reader takes whatever is there in sizes of its own.
async fn frames_of_64_kib_arrive_whole_under_random_reads((a, b): Ends) {
    let lengths = [65_535, 1, 1420, 65_535, 16_384, 16_385, 40, 65_535, 2, 65_534];
    let frames: Vec<u8> = lengths
        .iter()
        .flat_map(|&length| {
            let frame = pattern(length, 3);
            (length as u16).to_be_bytes().into_iter().chain(frame)
        })
        .collect();
    let read = async {
        let mut received = Vec::new();
        let mut sizes = [1, 3, 4096, 17, 65_536, 262_144, 2, 1000].into_iter().cycle();
        while received.len() < frames.len() {
            let mut buffer = vec![0; sizes.next().unwrap()];
            let read = b.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0, "the stream ends early");
            received.extend_from_slice(&buffer[..read]);
        }
        received
    };
    let (received, written) = tokio::join!(read, a.write_all(&frames));
    written.unwrap();
    assert!(received == frames);
}

async fn each_direction_ends_on_its_own((a, b): Ends) {
    a.write_all(b"question").await.unwrap();
    a.shutdown().await.unwrap();
    assert_eq!(to_end(&*b).await.unwrap(), b"question");
    b.write_all(b"answer").await.unwrap();
    b.shutdown().await.unwrap();
    assert_eq!(to_end(&*a).await.unwrap(), b"answer");
    assert!(a.write_all(b"more").await.is_err());
}

async fn an_end_is_read_behind_all_bytes((a, b): Ends) {
    a.write_all(b"last words").await.unwrap();
    a.shutdown().await.unwrap();
    assert_eq!(to_end(&*b).await.unwrap(), b"last words");
    assert!(a.write_all(b"more").await.is_err());
}

async fn a_reader_that_waits_holds_the_writer((a, b): Ends) {
    let chunk = pattern(CHUNK, 1);
    let sent = fill(&*a, &chunk).await;
    let drained = async {
        let mut buffer = vec![0; CHUNK];
        let mut received = 0;
        while received < sent + CHUNK {
            let read = b.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0);
            received += read;
        }
        received
    };
    let (received, written) = tokio::join!(drained, a.write_all(&chunk));
    written.unwrap();
    assert_eq!(received, sent + CHUNK);
}

async fn a_stalled_direction_leaves_the_other_alone((a, b): Ends) {
    let chunk = pattern(CHUNK, 1);
    fill(&*a, &chunk).await;
    for _ in 0..20 {
        let mut received = vec![0; 10_000];
        let sent = pattern(10_000, 5);
        let (read, written) = tokio::join!(a.read_exact(&mut received), b.write_all(&sent));
        read.unwrap();
        written.unwrap();
        assert!(received == sent);
    }
}

async fn an_abrupt_end_is_noticed((a, b): Ends) {
    b.write_all(b"last words").await.unwrap();
    a.write_all(b"never read").await.unwrap();
    drop(b);
    if let Ok(rest) = to_end(&*a).await {
        assert!(b"last words".starts_with(&rest[..]));
    }
    // A first write may still be taken; soon none is.
    while a.write_all(&pattern(CHUNK, 1)).await.is_ok() {}
}

/// Who begins to close.
#[derive(Clone, Copy)]
enum Sides {
    First,
    Second,
    Both,
}

/// What is held in layers is handed on first, what nobody has read of the other direction destroys nothing, and afterwards no
/// task of the stream is left.
async fn a_close_is_read_after_all_that_was_written(make: &impl AsyncFn() -> Ends, sides: Sides) {
    const WITHIN: Duration = Duration::from_secs(1);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let (a, b) = make().await;
    let (a, b) = match sides {
        Sides::First | Sides::Both => (a, b),
        Sides::Second => (b, a),
    };
    let chunk = pattern(CHUNK, 3);
    let mut sent = 0;
    b.write_all(b"never read").await.unwrap();
    while sent < 4 * CHUNK && !a.has_buffered() {
        match a.try_write(&chunk[sent % CHUNK..]) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    let other = async {
        let received = match sides {
            Sides::Both => None,
            Sides::First | Sides::Second => Some(to_end(&*b).await.unwrap()),
        };
        b.close(WITHIN).await.unwrap();
        received
    };
    let start = Instant::now();
    let (closed, received) = tokio::join!(a.close(WITHIN), other);
    closed.unwrap();
    assert!(start.elapsed() < WITHIN, "{:?}", start.elapsed());
    if let Some(received) = received {
        assert!(received == chunk.repeat(4)[..sent], "{} of {sent}", received.len());
    }
    drop((a, b));
    while tasks() > before {
        sleep(Duration::from_millis(5)).await;
    }
}

async fn a_close_that_nobody_answers_is_bounded((a, b): Ends) {
    const SHORT: Duration = Duration::from_millis(100);
    a.write_all(b"last words").await.unwrap();
    let start = Instant::now();
    let outcome = a.close(SHORT).await;
    assert!(start.elapsed() < SHORT + Duration::from_secs(1));
    drop(a);
    // Some transports end both directions at once.
    if let Err(error) = outcome {
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    }
    assert_eq!(to_end(&*b).await.unwrap(), b"last words");
}

/// Writes until nothing more is taken for a while; how much was.
async fn fill(stream: &dyn Stream, chunk: &[u8]) -> usize {
    const BOUND: usize = 64 << 20;
    let mut sent = 0;
    while timeout(Duration::from_millis(200), stream.writable()).await.is_ok() {
        match stream.try_write(chunk) {
            Ok(written) => sent += written,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        assert!(sent < BOUND, "the stream swallows everything");
    }
    sent
}

async fn to_end(stream: &dyn Stream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut buffer = [0; 1000];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(all),
            read => all.extend_from_slice(&buffer[..read]),
        }
    }
}

/// Bytes that differ by their place.
pub(crate) fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|i| (i as u8).wrapping_mul(seed).wrapping_add((i >> 8) as u8)).collect()
}
