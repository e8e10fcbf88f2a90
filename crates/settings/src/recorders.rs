//! Recorders: where a service writes from which addresses it is connected to.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use rtun_core::redact;

use super::{HttpHeader, PluginSettings, RedisServer, RotationSettings, rows::url_label};

/// A recorder.
#[derive(Debug, Clone, PartialEq)]
pub struct RecorderSettings {
    /// As configured.
    pub name: String,
    /// What it writes to.
    pub target: RecordTarget,
}

/// What a recorder writes to.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordTarget {
    /// A file that grows.
    File(RecordFile),
    /// A key of a redis server.
    Redis(RecordKey),
    /// A URL, to which each record is posted.
    Http(RecordUrl),
    /// A server, to which each record is a connection of its own.
    Tcp(RecordServer),
    /// A plugin.
    Plugin(PluginSettings),
}

/// A file of records.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordFile {
    /// Made with its folder if it is not there.
    pub path: PathBuf,
    /// What follows each record (`sep`); may be empty.
    pub separator: String,
    /// When it is put aside and another begun; `None`: never.
    pub rotation: Option<RotationSettings>,
}

/// A key of a redis server that holds records.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordKey {
    /// Where it is.
    pub server: RedisServer,
    /// Its name.
    pub key: String,
    /// What it holds.
    pub kind: RecordKeyKind,
}

/// What a redis key of records holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecordKeyKind {
    /// Each record once.
    #[default]
    Set,
    /// Every record, the newest first.
    List,
    /// Each record once, with how often there was one as its score.
    SortedSet,
}

/// A URL that records are posted to; printed without its user info.
#[derive(Clone, PartialEq)]
pub struct RecordUrl {
    /// `http://` or `https://`.
    pub url: String,
    /// For one record, from connecting to the answer; 10 s unless configured.
    pub timeout: Duration,
    /// Sent with each record.
    pub headers: Vec<HttpHeader>,
}

/// A server that records are sent to.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordServer {
    /// `host:port`.
    pub addr: String,
    /// For one record; 10 s unless configured.
    pub timeout: Duration,
}

/// A recorder as a service names it: it is given the address of each connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// Who writes.
    pub recorder: RecorderSettings,
    /// What a plugin is given with each record: JSON, `null` unless configured.
    pub metadata: Arc<str>,
}

impl RecordUrl {
    /// For people: the URL without user info, query and fragment, where secrets are kept.
    pub fn label(&self) -> String {
        url_label(&self.url)
    }
}

impl fmt::Debug for RecordUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, timeout, headers } = self;
        f.debug_struct("RecordUrl")
            .field("url", &redact::line(url))
            .field("timeout", timeout)
            .field("headers", headers)
            .finish()
    }
}
