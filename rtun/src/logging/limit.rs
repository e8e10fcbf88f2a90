//! How many log lines of a kind are written: [`PER_SECOND`] of each, and how many more there were.

use std::{
    collections::{BTreeMap, HashMap, hash_map::RandomState},
    fmt::{self, Debug, Write as _},
    hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rtun_node::ASKED;
use tracing::{
    Event, Level, Metadata, Subscriber, callsite::Identifier, debug, field::Field, field::Visit,
    info, warn,
};
use tracing_subscriber::layer::{Context, Filter};

/// Lines of one kind and about one thing that are written within a second.
const PER_SECOND: u32 = 10;

/// A second.
const WINDOW: Duration = Duration::from_secs(1);

/// Things that lines are counted for at a time, about 64 bytes each. More of a kind share one count until
/// the second is over.
const MAX_KEYS: usize = 4096;

/// Characters that are kept of the first line that was left out.
const EXAMPLE: usize = 120;

/// Fields that say how something is, not what the line is about.
const NO_KEYS: [&str; 4] = ["error", "help", "drops", "older"];

/// Lets the first lines of a kind pass; clones count together.
#[derive(Clone, Default)]
pub(super) struct Limit(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    seed: RandomState,
    /// By a hash of the place in the program and of what the line is about.
    windows: HashMap<u64, CountWindow>,
    left_out: HashMap<Identifier, LeftOut>,
}

struct CountWindow {
    since: Instant,
    lines: u32,
}

/// Lines of one kind.
struct LeftOut {
    lines: u64,
    level: Level,
    /// The message of the first.
    like: String,
}

impl Limit {
    /// Says how many lines were left out since this was called last.
    pub(super) fn tell(&self) {
        let left_out = {
            let mut counts = self.counts();
            let now = Instant::now();
            counts.windows.retain(|_, window| now.duration_since(window.since) < WINDOW);
            std::mem::take(&mut counts.left_out)
        };
        let by_text: BTreeMap<_, _> =
            left_out.into_values().map(|left| (left.like, (left.level, left.lines))).collect();
        for (like, (level, lines)) in by_text {
            match level {
                Level::ERROR | Level::WARN => warn!(like, lines, "log lines are left out"),
                Level::INFO => info!(like, lines, "log lines are left out"),
                _ => debug!(like, lines, "log lines are left out"),
            }
        }
    }

    /// A poisoned lock still guards usable counts.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Whether one more line of `key`, or of all its `kind` where too much is counted, passes at `now`.
    fn passes(&mut self, kind: u64, key: u64, now: Instant) -> bool {
        let full = self.windows.len() >= MAX_KEYS && !self.windows.contains_key(&key);
        let key = if full { kind } else { key };
        let window = self.windows.entry(key).or_insert(CountWindow { since: now, lines: 0 });
        if now.duration_since(window.since) >= WINDOW {
            *window = CountWindow { since: now, lines: 0 };
        }
        window.lines = window.lines.saturating_add(1);
        window.lines <= PER_SECOND
    }
}

impl<S: Subscriber> Filter<S> for Limit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        if event.metadata().target() == ASKED {
            return true;
        }
        let mut counts = self.counts();
        let mut about = About { hasher: counts.seed.build_hasher(), message: String::new() };
        let kind = event.metadata().callsite();
        kind.hash(&mut about.hasher);
        let kind_hash = about.hasher.finish();
        event.record(&mut about);
        if counts.passes(kind_hash, about.hasher.finish(), Instant::now()) {
            return true;
        }
        let level = *event.metadata().level();
        let new = || LeftOut { lines: 0, level, like: about.message };
        counts.left_out.entry(kind).or_insert_with(new).lines += 1;
        false
    }
}

/// What a line is about: its texts. Numbers tell how something is.
struct About {
    hasher: DefaultHasher,
    message: String,
}

impl About {
    fn add(&mut self, field: &Field, value: &str) {
        let value = match field.name() {
            // Each connection has a port of its own.
            "peer" => value.rsplit_once(':').map_or(value, |(address, _)| address),
            _ => value,
        };
        (field.name(), value).hash(&mut self.hasher);
    }
}

impl Visit for About {
    fn record_str(&mut self, field: &Field, value: &str) {
        if !NO_KEYS.contains(&field.name()) {
            self.add(field, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if NO_KEYS.contains(&field.name()) {
            return;
        }
        if field.name() == "message" {
            let _ = write!(Head(&mut self.message), "{value:?}");
        } else {
            self.add(field, &format!("{value:?}"));
        }
    }

    fn record_u64(&mut self, _: &Field, _: u64) {}

    fn record_i64(&mut self, _: &Field, _: i64) {}

    fn record_f64(&mut self, _: &Field, _: f64) {}

    fn record_bool(&mut self, _: &Field, _: bool) {}
}

/// Takes the first characters of a text.
struct Head<'a>(&'a mut String);

impl fmt::Write for Head<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = EXAMPLE.saturating_sub(self.0.len());
        self.0.extend(text.chars().take(room));
        if room == 0 { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::{Layer as _, fmt::Layer, layer::SubscriberExt as _};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written of what `say` says.
    fn lines(say: impl FnOnce(&Limit)) -> Vec<String> {
        let (limit, written) = (Limit::default(), Written::default());
        let to = written.clone();
        let layer = Layer::default().with_ansi(false).with_writer(move || to.clone());
        let layer = layer.with_filter(limit.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            say(&limit);
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    fn refused(host: &str, port: u16) {
        warn!(host, peer = %format!("10.0.0.1:{port}"), seconds = port, "refused: {port}");
    }

    #[test]
    fn ten_lines_of_a_kind_are_written_and_the_others_counted() {
        let written = lines(|limit| {
            for port in 0..500 {
                refused("host-1", port);
            }
            refused("host-2", 1);
            info!(host = "host-1", "joined");
            for _ in 0..50 {
                info!(target: ASKED, host = "host-1", "report");
            }
            limit.tell();
            limit.tell();
        });
        let with = |text: &str| written.iter().filter(|line| line.contains(text)).count();
        assert_eq!(with("host=\"host-1\" peer"), 10, "{written:#?}");
        assert_eq!((with("host-2"), with("joined")), (1, 1), "others are not kept back");
        assert_eq!(with("report"), 50, "who asks is answered each time");
        let left: Vec<_> = written.iter().filter(|line| line.contains("left out")).collect();
        assert_eq!(left.len(), 1, "{written:#?}");
        assert!(left[0].contains("lines=490") && left[0].contains("refused: 10"), "{}", left[0]);
    }

    #[test]
    fn ever_new_names_cost_no_more_memory() {
        let limit = Limit::default();
        let held = limit.clone();
        let written = lines(|_| {});
        assert!(written.is_empty());
        let layer = Layer::default().with_writer(io::sink).with_filter(limit);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for n in 0..3 * MAX_KEYS {
                refused(&format!("host-{n}"), 1);
            }
        });
        // The count of the kind is one more.
        assert!(held.counts().windows.len() <= MAX_KEYS + 1);
    }

    #[test]
    fn the_next_second_has_lines_of_its_own() {
        let mut counts = Counts::default();
        let start = Instant::now();
        let passed =
            |counts: &mut Counts, now| (0..20).filter(|_| counts.passes(1, 2, now)).count();
        assert_eq!(passed(&mut counts, start), 10);
        assert_eq!(passed(&mut counts, start + WINDOW / 2), 0);
        assert_eq!(passed(&mut counts, start + WINDOW), 10);
    }
}
