//! Files and servers with the nodes of hops, followed while this process runs.

use std::{sync::Arc, time::Duration};

use rtun_config::{
    node_lines,
    source::{NodeSource, NodeTexts, ReadError},
};
use rtun_core::{BadLine, BadLines, LineError, Parsed, Row, TooManyRows};
use rtun_node::{Feed, FeedSpec};
use tokio::{runtime::Handle, sync::watch, time::timeout};

/// A configuration waits this long for the first answer of each new source.
const PATIENCE: Duration = Duration::from_secs(5);

/// The sources of nodes of the configuration that runs. Each is read by a task, which ends with this.
#[derive(Default)]
pub(crate) struct HopFeeds(Vec<HopFeed>);

struct HopFeed {
    source: NodeSource,
    /// Each row is the text that a node stands in.
    feed: Arc<Feed<Arc<str>>>,
    changes: watch::Receiver<u64>,
    /// How often it had changed when it was asked last.
    asked: u64,
    /// The same of what is in force; `None`: the configuration that runs does not have it.
    in_force: Option<u64>,
    /// What it said when its nodes were used last.
    used: Option<Arc<str>>,
    /// Whether the configuration that was read last has it.
    is_asked: bool,
}

impl HopFeeds {
    /// A configuration is about to be read.
    pub(crate) fn begin(&mut self) {
        self.0.iter_mut().for_each(|it| it.is_asked = false);
    }

    /// The configuration that was read is in force: what it does not name is followed no longer.
    pub(crate) fn settle(&mut self) {
        self.0.retain(|it| it.is_asked);
        self.0.iter_mut().for_each(|it| it.in_force = Some(it.asked));
    }

    /// What the sources in force say now cannot be used, and is not tried again.
    pub(crate) fn give_up(&mut self) {
        for it in self.0.iter_mut().filter(|it| it.is_asked && it.in_force.is_some()) {
            it.in_force = Some(it.asked);
        }
    }

    /// Whether there is a source to follow.
    pub(crate) fn are_there(&self) -> bool {
        !self.0.is_empty()
    }

    /// Has every source read now.
    pub(crate) fn reload(&self) {
        self.0.iter().for_each(|it| it.feed.reload());
    }

    /// Whether a source in force says something else now.
    pub(crate) fn have_news(&self) -> bool {
        self.0.iter().any(|it| it.in_force.is_some_and(|before| before != *it.changes.borrow()))
    }

    /// What `source` says, waiting for its first answer. Not to be called where tasks run.
    pub(crate) fn nodes(&mut self, source: &NodeSource) -> NodeTexts {
        let is_same = |it: &HopFeed| {
            (&it.source.settings, it.source.reload) == (&source.settings, source.reload)
        };
        let known = self.0.iter().position(is_same);
        let index = match known.map_or_else(|| self.follow(source), Ok) {
            Ok(index) => index,
            Err(error) => return NodeTexts { now: Err(error), before: None },
        };
        let it = &mut self.0[index];
        it.is_asked = true;
        it.asked = *it.changes.borrow();
        let now = match it.feed.rows().first() {
            Some(row) => Ok(Arc::clone(&row.value)),
            None => {
                let problem = it.feed.status().problem;
                let text = problem.map_or_else(|| "has not answered yet".into(), |it| it.text);
                Err(ReadError::Other(format!("it {text}")))
            }
        };
        NodeTexts { now, before: it.used.clone() }
    }

    /// Its nodes in `text` are used.
    pub(crate) fn used(&mut self, source: &NodeSource, text: &Arc<str>) {
        for it in self.0.iter_mut().filter(|it| it.source.settings == source.settings) {
            it.used = Some(Arc::clone(text));
        }
    }

    fn follow(&mut self, source: &NodeSource) -> Result<usize, ReadError> {
        let spec = FeedSpec {
            kind: "hop",
            name: &source.hop,
            source: &source.settings,
            reload: source.reload,
            max_rows: usize::MAX,
        };
        let feed = Feed::start(&spec, rows, None);
        let feed = feed.map_err(|error| ReadError::Other(error.to_string()))?;
        let changes = feed.changes();
        // Late answers are news.
        let _ = Handle::current().block_on(timeout(PATIENCE, feed.ready()));
        let (source, used) = (source.clone(), None);
        self.0.push(HopFeed {
            source,
            feed,
            changes,
            asked: 0,
            in_force: None,
            used,
            is_asked: true,
        });
        Ok(self.0.len() - 1)
    }
}

/// One row for each node.
fn rows(text: &str, _: usize) -> Result<Parsed<Arc<str>>, TooManyRows> {
    let whole: Arc<str> = text.into();
    Ok(match node_lines(text) {
        Ok(lines) => {
            let row = |line| Row { value: Arc::clone(&whole), line };
            Parsed { rows: lines.into_iter().map(row).collect(), bad: BadLines::default() }
        }
        Err(line) => {
            let first = vec![BadLine { line, word: None, why: LineError::NoNodes }];
            Parsed { rows: Vec::new(), bad: BadLines { count: 1, first } }
        }
    })
}
