//! Tables and lists that a hub decides by, and where their rows are.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use rtun_core::{
    Secret,
    redact::{self, without_user_info},
};

use super::{ClientTls, PluginSettings};

/// A table or list that a hub decides by, under its name, wherever its rows are.
#[derive(Debug, Clone, PartialEq)]
pub struct Named<T> {
    /// As written; the one of a handler's inline `auth` is empty.
    pub name: String,
    /// Its rows, or who is asked instead.
    pub provider: Provider<T>,
}

impl<T> Named<T> {
    /// What its rows are read from, besides the configuration.
    pub fn sources(&self) -> &[SourceSettings] {
        match &self.provider {
            Provider::Rows(rows) => &rows.sources,
            Provider::Plugin(_) => &[],
        }
    }

    /// Its rows in the configuration.
    pub fn inline(&self) -> impl Iterator<Item = &T> {
        let rows = match &self.provider {
            Provider::Rows(rows) => &rows.inline[..],
            Provider::Plugin(_) => &[],
        };
        rows.iter().map(|row| &row.value)
    }

    /// Whether all its rows are in the configuration.
    pub fn is_all_inline(&self) -> bool {
        matches!(&self.provider, Provider::Rows(rows) if rows.sources.is_empty())
    }

    /// Whether it has no row, whatever its sources say.
    pub fn is_empty(&self) -> bool {
        self.is_all_inline() && self.inline().next().is_none()
    }

    /// Who is asked in the place of rows.
    pub fn plugin(&self) -> Option<&PluginSettings> {
        match &self.provider {
            Provider::Rows(_) => None,
            Provider::Plugin(plugin) => Some(plugin),
        }
    }
}

/// Where a table's or list's rows are.
#[derive(Debug, Clone, PartialEq)]
pub enum Provider<T> {
    /// Known in advance.
    Rows(Rows<T>),
    /// Asked one by one.
    Plugin(PluginSettings),
}

/// Rows written in the configuration, and those that are read, and read again, from elsewhere.
///
/// Where two sources contradict each other http comes before redis, redis before a file, and a file before what
/// the configuration says.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows<T> {
    /// In the configuration's order.
    pub inline: Vec<LocatedRow<T>>,
    /// In rising order of priority, at most one of each kind.
    pub sources: Vec<SourceSettings>,
    /// Time between two readings of the sources, at least 1 s; `None`: at start, on request, and files as they
    /// change.
    pub reload: Option<Duration>,
}

impl<T> Rows<T> {
    /// Only what the configuration says.
    pub fn inline(inline: Vec<LocatedRow<T>>) -> Self {
        Self { inline, sources: Vec::new(), reload: None }
    }
}

/// A row and where in the configuration it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct LocatedRow<T> {
    /// What it says.
    pub value: T,
    /// The configuration's file, or whatever else it was read from.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
}

/// A source of lines.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceSettings {
    /// A file, followed as it changes.
    File(PathBuf),
    /// A key of a redis server.
    Redis(RedisSettings),
    /// A URL.
    Http(HttpSourceSettings),
}

impl SourceSettings {
    /// For people: the path, the URL, or the redis address and key, without secrets.
    pub fn label(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Redis(redis) => redis.server.label(&redis.key),
            Self::Http(http) => http.label(),
        }
    }
}

/// A redis server, and a database there.
#[derive(Debug, Clone, PartialEq)]
pub struct RedisServer {
    /// `host:port`.
    pub addr: String,
    /// The database's number; 0 unless configured.
    pub db: i64,
    /// With servers that know users.
    pub username: Option<String>,
    /// If the server wants one.
    pub password: Option<Secret>,
    /// Whether and how the connection is encrypted.
    pub tls: Option<ClientTls>,
}

impl RedisServer {
    /// For people, with the key that is used there.
    pub fn label(&self, key: &str) -> String {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://{}/{}/{key}", self.addr, self.db)
    }
}

/// A key of a redis server.
#[derive(Debug, Clone, PartialEq)]
pub struct RedisSettings {
    /// Where it is.
    pub server: RedisServer,
    /// `gost` unless configured.
    pub key: String,
    /// What is stored there.
    pub kind: RedisKind,
}

/// What a redis key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisKind {
    /// Each field and its value, with a blank between them, are a line.
    Hash,
    /// Each member is a line.
    Set,
    /// Each element is a line.
    List,
    /// One text.
    String,
}

/// A URL whose content is lines; printed without its user info.
#[derive(Clone, PartialEq)]
pub struct HttpSourceSettings {
    /// `http://` or `https://`.
    pub url: String,
    /// For one reading, from connecting to the last byte; 10 s unless configured.
    pub timeout: Duration,
}

impl HttpSourceSettings {
    /// For people: the URL without user info, query and fragment, where secrets are kept.
    pub fn label(&self) -> String {
        url_label(&self.url)
    }
}

/// `url` without user info, query and fragment, where secrets are kept.
pub(crate) fn url_label(url: &str) -> String {
    without_user_info(url.split(['?', '#']).next().unwrap_or_default())
}

impl fmt::Debug for HttpSourceSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, timeout } = self;
        let url = redact::line(url);
        f.debug_struct("HttpSource").field("url", &url).field("timeout", timeout).finish()
    }
}
