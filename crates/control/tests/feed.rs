//! When a feed reads its source and what becomes of the text, on a clock that is not waited for.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rtun_control::{Feed, FeedSpec, FeedState, MAX_TEXT, MemorySource, SourceError};
use rtun_core::{Parsed, Route, TooManyRows, User, parse_routes, parse_users};
use rtun_state::StateDir;
use tokio::time::{Instant, sleep, timeout};

/// Not read: the feeds here have sources in memory.
fn nowhere() -> rtun_settings::SourceSettings {
    rtun_settings::SourceSettings::File("/nonexistent".into())
}

fn spec(source: &rtun_settings::SourceSettings, reload: Option<Duration>) -> FeedSpec<'_> {
    FeedSpec { kind: "router", name: "east", source, reload, max_bytes: MAX_TEXT, max_rows: 1000 }
}

/// A feed of `source`, after its first reading.
async fn feed(source: &MemorySource, reload: Option<u64>) -> Arc<Feed<Route>> {
    let reload = reload.map(Duration::from_secs);
    let feed = Feed::of(Box::new(source.clone()), &spec(&nowhere(), reload), parse_routes, None);
    feed.ready().await;
    feed
}

/// A table of this many routes.
fn table(rows: usize) -> String {
    (0..rows).map(|n| format!("10.{}.{}.0/24 host-{n}\n", n / 256, n % 256)).collect()
}

/// Waits until `what` holds. The clock is advanced only as fast as nothing else is to be done.
async fn until(what: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(600), "waited for ten minutes");
        sleep(Duration::from_millis(10)).await;
    }
    start.elapsed()
}

/// Fails on some texts as no program should.
fn defective(text: &str, max_rows: usize) -> Result<Parsed<Route>, TooManyRows> {
    assert!(!text.contains("host-7"), "on purpose");
    parse_routes(text, max_rows)
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_panics_changes_nothing_and_is_tried_again() {
    let source = MemorySource::new(&table(3), true);
    let feed = Feed::of(Box::new(source.clone()), &spec(&nowhere(), None), defective, None);
    feed.ready().await;
    source.set(&table(8));
    until(|| feed.status().problem.is_some()).await;
    let problem = feed.status().problem.unwrap().text;
    assert!(problem.contains("defect of this program: on purpose"), "{problem}");
    assert_eq!((feed.rows().len(), feed.status().state), (3, FeedState::Failing));
    source.set(&table(4));
    until(|| feed.rows().len() == 4).await;
    assert_eq!(feed.status().state, FeedState::Fresh);
}

#[tokio::test(start_paused = true)]
async fn a_followed_source_is_read_soon_after_it_has_come_to_rest() {
    let source = MemorySource::new(&table(3), true);
    let feed = feed(&source, None).await;
    assert_eq!(feed.rows().len(), 3);
    let before = feed.rows();
    let mut changes = feed.changes();
    let seen = *changes.borrow_and_update();

    sleep(Duration::from_secs(3600)).await;
    assert_eq!(source.loads(), 1, "looking is not reading");
    assert!(Arc::ptr_eq(&before, &feed.rows()));

    source.set(&table(4));
    let took = until(|| feed.rows().len() == 4).await;
    assert!((200..1300).contains(&took.as_millis()), "{took:?}");
    assert!(changes.has_changed().unwrap());
    assert!(*changes.borrow_and_update() > seen);
    assert_eq!(source.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_same_text_again_is_no_change() {
    let source = MemorySource::new(&table(3), false);
    let feed = feed(&source, Some(2)).await;
    let before = feed.rows();
    let changes = feed.changes();
    until(|| source.loads() == 10).await;
    sleep(Duration::from_millis(1)).await;
    assert!(Arc::ptr_eq(&before, &feed.rows()));
    assert!(!changes.has_changed().unwrap());
    assert_eq!(feed.status().loads_ok, 10);
}

#[tokio::test(start_paused = true)]
async fn a_period_is_kept_and_is_at_least_a_second() {
    for (period, reads) in [(Some(10), 6), (Some(0), 60), (None, 0)] {
        let source = MemorySource::new(&table(3), false);
        let _feed = feed(&source, period).await;
        sleep(Duration::from_millis(60_500)).await;
        assert_eq!(source.loads() - 1, reads, "{period:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn asked_to_reload_it_reads_at_most_once_a_second() {
    let source = MemorySource::new(&table(3), false);
    let feed = feed(&source, None).await;
    for _ in 0..1000 {
        feed.reload();
        sleep(Duration::from_millis(10)).await;
    }
    assert!((9..=12).contains(&source.loads()), "{}", source.loads());
    source.set(&table(5));
    feed.reload();
    assert!(until(|| feed.rows().len() == 5).await <= Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_failing_source_leaves_the_last_good_rows_and_says_so() {
    for problem in [
        SourceError::Status(500),
        SourceError::Unreachable("connection refused".into()),
        SourceError::NotText(rtun_core::text::decode(vec![0xff]).unwrap_err()),
        SourceError::TooLarge(MAX_TEXT),
    ] {
        let source = MemorySource::new(&table(3), false);
        let feed = feed(&source, Some(1)).await;
        let before = feed.rows();
        source.fail(problem.clone());
        until(|| feed.status().state == FeedState::Failing).await;
        sleep(Duration::from_secs(600)).await;
        let status = feed.status();
        assert!(Arc::ptr_eq(&before, &feed.rows()), "ten minutes later the rows are the same");
        let reported = status.problem.unwrap();
        assert_eq!(reported.text, problem.to_string());
        assert!(reported.failing_for.unwrap() >= 600.0, "{reported:?}");
        assert!(reported.age < 31.0, "{reported:?}");
        assert!(status.last_success.unwrap() >= 600.0);

        source.set(&table(4));
        let back = until(|| feed.rows().len() == 4).await;
        assert!(back <= Duration::from_secs(2), "{back:?}");
        let status = feed.status();
        assert_eq!(status.state, FeedState::Fresh);
        assert_eq!(status.problem.unwrap().failing_for, None, "the last error is still reported");
    }
}

#[tokio::test(start_paused = true)]
async fn a_text_that_is_no_table_counts_as_a_failure() {
    let too_many = table(1001);
    for (text, problem) in [
        ("", "is empty; an empty table on purpose has a comment"),
        (&too_many, "has more than the 1000 rows that are allowed"),
        ("<html>\n<body>Out of order</body>\n", "has no good line; line 1: \"<html>\" is neither"),
    ] {
        let source = MemorySource::new(&table(3), true);
        let feed = feed(&source, None).await;
        source.set(text);
        until(|| feed.status().state == FeedState::Failing).await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(feed.rows().len(), 3, "{problem}");
        assert!(feed.status().problem.unwrap().text.starts_with(problem), "{:?}", feed.status());
    }
}

#[tokio::test(start_paused = true)]
async fn a_text_of_comments_is_an_empty_table_on_purpose() {
    let source = MemorySource::new("10.0.0.0/8 host-1\n", true);
    let feed = feed(&source, None).await;
    source.set("# nobody\n\n# at all\n");
    until(|| feed.rows().is_empty()).await;
    assert_eq!(feed.status().state, FeedState::Fresh);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_neither_blocks_nor_loses_anything() {
    let source = MemorySource::new(&table(3), false);
    let feed = feed(&source, Some(1)).await;
    source.hang();
    until(|| feed.status().state == FeedState::Failing).await;
    assert_eq!(feed.rows().len(), 3);
    assert_eq!(feed.status().problem.unwrap().text, "was not read within 5 s");
}

#[tokio::test(start_paused = true)]
async fn a_table_that_shrinks_by_more_than_half_is_read_twice() {
    for (followed, reload, seconds) in
        [(true, None, 1.0), (false, Some(1), 1.0), (false, Some(60), 5.0), (false, None, 5.0)]
    {
        let source = MemorySource::new(&table(10), followed);
        let feed = feed(&source, reload).await;
        source.set(&table(4));
        feed.reload();
        until(|| feed.status().state == FeedState::Failing).await;
        assert_eq!(feed.rows().len(), 10);
        let reported = feed.status().problem.unwrap().text;
        assert_eq!(reported, "has 4 rows instead of 10: waiting to read it again");
        let took = until(|| feed.rows().len() == 4).await.as_secs_f64();
        assert!((seconds - 0.1..seconds + 0.1).contains(&took), "{took} s, not {seconds} s");
        assert_eq!(feed.status().state, FeedState::Fresh);
    }
}

#[tokio::test(start_paused = true)]
async fn two_readings_that_differ_confirm_nothing() {
    let source = MemorySource::new(&table(10), false);
    let feed = feed(&source, Some(2)).await;
    for n in 0..8 {
        source.set(&table(n % 4 + 1));
        let loads = source.loads();
        until(|| source.loads() > loads).await;
        sleep(Duration::from_millis(1)).await;
        assert_eq!(feed.rows().len(), 10);
    }
    let loads = source.loads();
    source.fail(SourceError::Status(503));
    until(|| source.loads() > loads).await;
    source.set(&table(4));
    until(|| feed.status().problem.unwrap().text.starts_with("has 4 rows")).await;
    let loads = source.loads();
    source.fail(SourceError::Status(503));
    until(|| source.loads() > loads).await;
    source.set(&table(4));
    let loads = source.loads();
    until(|| source.loads() > loads).await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(feed.rows().len(), 10, "a failure between two readings begins the count again");
    until(|| feed.rows().len() == 4).await;
}

#[tokio::test(start_paused = true)]
async fn half_of_the_rows_may_go_at_once() {
    let source = MemorySource::new(&table(10), true);
    let feed = feed(&source, None).await;
    source.set(&table(5));
    until(|| feed.rows().len() == 5).await;
    assert_eq!(feed.status().loads_failed, 0);
    source.set(&table(1));
    until(|| feed.rows().len() == 1).await;
    source.set("# none\n");
    until(|| feed.rows().is_empty()).await;
    assert_eq!(feed.status().loads_failed, 1, "from 5 to 1, but not from 1 to none");
}

#[tokio::test(start_paused = true)]
async fn a_source_without_period_is_tried_again_ever_less_often() {
    let source = MemorySource::new("", false);
    source.fail(SourceError::Status(500));
    let feed = feed(&source, None).await;
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let loads = source.loads();
        pauses.push(until(|| source.loads() > loads).await.as_secs_f64().round() as u64);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
    source.set(&table(2));
    assert!(until(|| feed.rows().len() == 2).await <= Duration::from_secs(30));
    let loads = source.loads();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(source.loads(), loads, "it is left alone again");
}

#[tokio::test(start_paused = true)]
async fn bad_lines_are_counted_and_the_first_ten_reported() {
    let text = format!("{}10.0.0.0/8\n", "nonsense host\n\n".repeat(12)) + &table(3);
    let feed = feed(&MemorySource::new(&text, false), None).await;
    let status = feed.status();
    assert_eq!((status.rows, status.bad_lines, status.first_bad_lines.len()), (3, 13, 10));
    assert_eq!(status.first_bad_lines[1].line, 3);
    assert_eq!(
        status.first_bad_lines[1].text,
        "\"nonsense\" is neither an address nor a prefix; write for example 192.168.100.0/24"
    );
    assert_eq!(feed.rows()[0].line, 26);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_feed_reads_no_more() {
    let source = MemorySource::new(&table(3), false);
    let feed = feed(&source, Some(1)).await;
    drop(feed);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(source.loads(), 1);
}

/// A directory of its own that is removed when dropped.
struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rtun-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn with_snapshots(source: &MemorySource, directory: &Path) -> Arc<Feed<Route>> {
    let snapshots = Arc::new(StateDir::open(directory).unwrap());
    let source = Box::new(source.clone());
    Feed::of(source, &spec(&nowhere(), Some(Duration::from_secs(1))), parse_routes, Some(snapshots))
}

#[tokio::test(start_paused = true)]
async fn rows_of_an_earlier_run_serve_while_the_source_is_down() {
    let directory = TempDir::new("earlier-run");
    let snapshots = directory.join("snapshots");
    let source = MemorySource::new(&table(10), false);
    let feed = with_snapshots(&source, &snapshots);
    feed.ready().await;
    assert!(!feed.status().from_snapshot);
    drop(feed);

    source.hang();
    let start = Instant::now();
    let feed = with_snapshots(&source, &snapshots);
    feed.ready().await;
    assert_eq!(start.elapsed().as_secs(), 1, "nothing waits for a source that hangs");
    assert_eq!(feed.rows().len(), 10);
    let status = feed.status();
    assert_eq!((status.state, status.from_snapshot), (FeedState::Snapshot, true));
    assert_eq!(status.last_success, None);
    until(|| feed.status().state == FeedState::Failing).await;
    assert!(feed.status().from_snapshot);

    let (before, changes) = (feed.rows(), feed.changes());
    source.set(&table(10));
    until(|| feed.status().state == FeedState::Fresh).await;
    assert!(!feed.status().from_snapshot);
    assert!(Arc::ptr_eq(&before, &feed.rows()) && !changes.has_changed().unwrap());
    source.set(&table(4));
    until(|| feed.status().state == FeedState::Failing).await;
    assert_eq!(feed.rows().len(), 10, "they are the last good rows like any other");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_snapshot_is_not_used() {
    let directory = TempDir::new("damaged");
    let source = MemorySource::new(&table(10), false);
    let feed = with_snapshots(&source, &directory.0);
    feed.ready().await;
    drop(feed);
    source.fail(SourceError::Status(500));
    let file = fs::read_dir(&directory.0).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    for damage in [0, 20, whole.len() / 2, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[damage] ^= 1;
        fs::write(&file, bytes).unwrap();
        let feed = with_snapshots(&source, &directory.0);
        feed.ready().await;
        assert_eq!(feed.rows().len(), 0, "byte {damage}");
    }
    for left in [0, 10, whole.len() - 1] {
        fs::write(&file, &whole[..left]).unwrap();
        let feed = with_snapshots(&source, &directory.0);
        feed.ready().await;
        assert_eq!(feed.rows().len(), 0, "{left} bytes left");
    }
    fs::write(&file, whole).unwrap();
    let feed = with_snapshots(&source, &directory.0);
    feed.ready().await;
    assert_eq!(feed.rows().len(), 10);
}

#[tokio::test]
async fn a_snapshot_is_its_owners_alone() {
    let directory = TempDir::new("private");
    let users = directory.join("users");
    fs::write(&users, "alice s3cret\n").unwrap();
    let snapshots = Arc::new(StateDir::open(directory.join("a/b")).unwrap());
    let source = rtun_settings::SourceSettings::File(users);
    let spec = FeedSpec { kind: "auther", name: "../the users", ..spec(&source, None) };
    let feed: Arc<Feed<User>> = Feed::start(&spec, parse_users, Some(snapshots)).unwrap();
    feed.ready().await;
    assert_eq!(feed.rows()[0].value.password.expose(), "s3cret");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory.join("a/b")), 0o700);
    let files: Vec<_> =
        fs::read_dir(directory.join("a/b")).unwrap().map(|e| e.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    assert_eq!(mode(file), 0o600);
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("auther-___the_users-"), "{name}");
}

/// The rows of a file feed become `expected` within `limit` of real time.
async fn becomes(feed: &Feed<Route>, expected: usize, limit: Duration) {
    let mut changes = feed.changes();
    let waiting = async {
        while feed.rows().len() != expected {
            changes.changed().await.unwrap();
        }
    };
    timeout(limit, waiting).await.unwrap_or_else(|_| panic!("{:?}", feed.status()));
}

const SOON: Duration = Duration::from_secs(3);

fn file_feed(path: &Path) -> Arc<Feed<Route>> {
    Feed::start(&spec(&rtun_settings::SourceSettings::File(path.into()), None), parse_routes, None)
        .unwrap()
}

#[tokio::test]
async fn a_file_is_followed_whichever_way_it_is_changed() {
    let directory = TempDir::new("followed");
    let path = directory.join("routes.txt");
    let feed = file_feed(&path);
    feed.ready().await;
    assert_eq!(feed.status().state, FeedState::Failing, "it is not there");

    fs::write(&path, table(4)).unwrap();
    becomes(&feed, 4, SOON).await;
    fs::write(directory.join("new"), table(5)).unwrap();
    fs::rename(directory.join("new"), &path).unwrap();
    becomes(&feed, 5, SOON).await;
    fs::write(&path, table(6)).unwrap();
    becomes(&feed, 6, SOON).await;
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&table(7).as_bytes()[table(6).len()..]).unwrap();
    becomes(&feed, 7, SOON).await;

    let before = feed.rows();
    fs::remove_file(&path).unwrap();
    timeout(SOON, async {
        while feed.status().state != FeedState::Failing {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    assert!(Arc::ptr_eq(&before, &feed.rows()));
    fs::write(&path, table(8)).unwrap();
    becomes(&feed, 8, SOON).await;
}

#[tokio::test]
async fn a_file_reached_by_links_is_followed_as_kubernetes_swaps_them() {
    let directory = TempDir::new("links");
    for (version, rows) in [("..v1", 3), ("..v2", 4)] {
        fs::create_dir(directory.join(version)).unwrap();
        fs::write(directory.join(version).join("routes"), table(rows)).unwrap();
    }
    symlink("..v1", directory.join("..data")).unwrap();
    symlink("..data/routes", directory.join("routes")).unwrap();
    let feed = file_feed(&directory.join("routes"));
    feed.ready().await;
    assert_eq!(feed.rows().len(), 3);
    symlink("..v2", directory.join("..new")).unwrap();
    fs::rename(directory.join("..new"), directory.join("..data")).unwrap();
    becomes(&feed, 4, SOON).await;
}
