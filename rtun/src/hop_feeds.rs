//! Files and servers with the nodes of hops, followed while this process runs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rtun_config::{
    MAX_NODES_TEXT, node_lines,
    source::{NodeSource, NodeTexts, ReadError},
};
use rtun_core::{BadLine, BadLines, LineError, Parsed, Row, TooManyRows};
use rtun_node::{Feed, FeedSpec, NodeSourceView, SavedRows};
use tokio::{runtime::Handle, sync::watch, time::timeout};

use crate::state::ProcessState;

/// What the sources are in their status, their log lines and the state directory.
const KIND: &str = "hop";

/// A configuration waits this long for the first answer of each new source.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same of a source whose nodes are known from an earlier run.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);

/// The sources of nodes of the configuration that runs. Each is read by a task, which ends with this.
pub(crate) struct HopFeeds {
    feeds: Vec<HopFeed>,
    /// Where their last good texts stand for the next start.
    state: ProcessState,
}

struct HopFeed {
    source: NodeSource,
    /// Each row is the text that a node stands in.
    feed: Arc<Feed<Arc<str>>>,
    changes: watch::Receiver<u64>,
    /// How often it had changed when it was asked last.
    asked: u64,
    /// The same of what is in force; `None`: the configuration that runs does not have it.
    in_force: Option<u64>,
    /// What it said when its nodes were used last, in this run or an earlier one.
    used: Option<Arc<str>>,
    /// Whether that is what an earlier run has saved.
    is_old: bool,
    saved: Option<SavedRows>,
    /// What stands there.
    on_disk: Option<Arc<str>>,
    /// Why what it says now cannot be used, and since when.
    refused: Option<(String, Instant)>,
    /// Whether the configuration that was read last has it.
    is_asked: bool,
}

impl HopFeeds {
    /// None yet. What they say is kept in `state`.
    pub(crate) fn new(state: ProcessState) -> Self {
        Self { feeds: Vec::new(), state }
    }

    /// A configuration is about to be read.
    pub(crate) fn begin(&mut self) {
        self.feeds.iter_mut().for_each(|it| it.is_asked = false);
    }

    /// The configuration that was read is in force: what it does not name is followed no longer, and what it uses is saved. Not to be called
    /// where tasks run.
    pub(crate) fn settle(&mut self) {
        self.feeds.retain(|it| it.is_asked);
        for it in &mut self.feeds {
            it.in_force = Some(it.asked);
            it.save();
        }
    }

    /// What the sources in force say now cannot be used, and is not tried again.
    pub(crate) fn give_up(&mut self) {
        for it in self.feeds.iter_mut().filter(|it| it.is_asked && it.in_force.is_some()) {
            it.in_force = Some(it.asked);
        }
    }

    /// Whether there is a source to follow.
    pub(crate) fn are_there(&self) -> bool {
        !self.feeds.is_empty()
    }

    /// Has every source read now.
    pub(crate) fn reload(&self) {
        self.feeds.iter().for_each(|it| it.feed.reload());
    }

    /// Saves what is used once more: the state directory had gone. Not to be called where tasks run.
    pub(crate) fn save_again(&mut self) {
        for it in self.feeds.iter_mut().filter(|it| it.in_force.is_some()) {
            it.on_disk = None;
            it.save();
        }
    }

    /// Whether a source in force says something else now.
    pub(crate) fn have_news(&self) -> bool {
        self.feeds.iter().any(|it| it.in_force.is_some_and(|before| before != *it.changes.borrow()))
    }

    /// Those in force, for the status.
    pub(crate) fn shown(&self) -> Vec<NodeSourceView> {
        self.feeds.iter().filter(|it| it.in_force.is_some()).map(HopFeed::shown).collect()
    }

    /// What `source` says, waiting for its first answer. Not to be called where tasks run.
    pub(crate) fn nodes(&mut self, source: &NodeSource) -> NodeTexts {
        let is_same = |it: &HopFeed| {
            (&it.source.settings, it.source.reload) == (&source.settings, source.reload)
        };
        let known = self.feeds.iter().position(is_same);
        let index = match known.map_or_else(|| self.follow(source), Ok) {
            Ok(index) => index,
            Err(error) => return NodeTexts { now: Err(error), before: None },
        };
        let it = &mut self.feeds[index];
        it.is_asked = true;
        it.asked = *it.changes.borrow();
        let now = it.says().ok_or_else(|| {
            let problem = it.feed.status().problem;
            let text = problem.map_or_else(|| "has not answered yet".into(), |it| it.text);
            ReadError::Other(format!("it {text}"))
        });
        NodeTexts { now, before: it.used.clone() }
    }

    /// Its nodes in `text` are used.
    pub(crate) fn used(&mut self, source: &NodeSource, text: &Arc<str>) {
        for it in self.of(source) {
            it.used = Some(Arc::clone(text));
            if it.says().as_ref() == Some(text) {
                (it.is_old, it.refused) = (false, None);
            }
        }
    }

    /// What it says now is not used, if it says anything.
    pub(crate) fn left_out(&mut self, source: &NodeSource, why: &ReadError) {
        for it in self.of(source).filter(|it| it.says().is_some()) {
            let why = why.to_string();
            if it.refused.as_ref().is_none_or(|(before, _)| *before != why) {
                it.refused = Some((why, Instant::now()));
            }
        }
    }

    fn of(&mut self, source: &NodeSource) -> impl Iterator<Item = &mut HopFeed> {
        self.feeds.iter_mut().filter(|it| it.source.settings == source.settings)
    }

    fn follow(&mut self, source: &NodeSource) -> Result<usize, ReadError> {
        let spec = FeedSpec {
            kind: KIND,
            name: &source.hop,
            source: &source.settings,
            reload: source.reload,
            max_bytes: MAX_NODES_TEXT,
            max_rows: usize::MAX,
        };
        let feed = Feed::start(&spec, rows, None);
        let feed = feed.map_err(|error| ReadError::Other(error.to_string()))?;
        let changes = feed.changes();
        let saved = self.state.for_nodes();
        let saved = saved.map(|state| SavedRows::new(state, KIND, &source.hop, &feed.label()));
        let on_disk: Option<Arc<str>> = saved.as_ref().and_then(SavedRows::read).map(Into::into);
        let patience = if on_disk.is_some() { SHORT_PATIENCE } else { PATIENCE };
        // Late answers are news.
        let _ = Handle::current().block_on(timeout(patience, feed.ready()));
        self.feeds.push(HopFeed {
            source: source.clone(),
            feed,
            changes,
            asked: 0,
            in_force: None,
            used: on_disk.clone(),
            is_old: on_disk.is_some(),
            saved,
            on_disk,
            refused: None,
            is_asked: true,
        });
        Ok(self.feeds.len() - 1)
    }
}

impl HopFeed {
    /// The last text that is a list of nodes.
    fn says(&self) -> Option<Arc<str>> {
        self.feed.rows().first().map(|row| Arc::clone(&row.value))
    }

    fn save(&mut self) {
        if let (Some(saved), Some(text)) = (&self.saved, &self.used)
            && self.on_disk.as_ref() != Some(text)
        {
            saved.write(text);
            self.on_disk = Some(Arc::clone(text));
        }
    }

    fn shown(&self) -> NodeSourceView {
        let Self { feed, used, is_old, refused, .. } = self;
        let nodes = used.as_deref().and_then(|text| node_lines(text).ok());
        NodeSourceView {
            feed: Arc::clone(feed),
            nodes: nodes.map_or(0, |nodes| nodes.len()),
            from_snapshot: *is_old,
            refused: refused.clone(),
        }
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
