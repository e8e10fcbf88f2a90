//! Where configurations come from, in which format, and how several become one.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rtun_core::{redact, text};
use rtun_settings::SourceSettings;

use crate::{
    json,
    location::{Position, quote},
    report::Report,
    schema, suggest, toml,
    value::{Data, Value, same_key},
    yaml,
};

/// Most bytes of one source that are read.
pub const MAX_BYTES: usize = 10 << 20;

/// One place to read a configuration from: the argument of a `-C`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigSource {
    /// A file.
    File(PathBuf),
    /// An `http://` or `https://` URL.
    Url(String),
    /// The standard input.
    Stdin,
    /// JSON on the command line.
    Inline(String),
}

impl ConfigSource {
    /// What the argument of a `-C` means.
    pub fn parse(argument: &str) -> Self {
        let argument = argument.trim();
        let scheme = argument.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        if argument == "-" {
            Self::Stdin
        } else if argument.starts_with('{') && argument.ends_with('}') {
            Self::Inline(argument.to_owned())
        } else if matches!(scheme.as_deref(), Some("http" | "https")) {
            Self::Url(argument.to_owned())
        } else {
            Self::File(argument.into())
        }
    }
}

impl ConfigSource {
    /// What it holds.
    pub(crate) fn read(&self, reader: &mut dyn Reader) -> Result<Content, ReadError> {
        match self {
            Self::Inline(text) => {
                Ok(Content { bytes: text.clone().into_bytes(), content_type: None })
            }
            _ => reader.read(self),
        }
    }
}

/// The name used in messages; a URL without its user info.
impl fmt::Display for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Url(url) => f.write_str(&redact::without_user_info(url)),
            Self::Stdin => f.write_str("stdin"),
            Self::Inline(_) => f.write_str("-C"),
        }
    }
}

/// What a source holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// At most [`MAX_BYTES`].
    pub bytes: Vec<u8>,
    /// Of an HTTP answer.
    pub content_type: Option<String>,
}

/// Why a source could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is no such file.
    #[error("no such file")]
    NotFound,
    /// It is asked by a running rtun only.
    #[error("only a running rtun asks there")]
    NotAsked,
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

/// Reads sources: the part of loading that this crate leaves to its caller.
///
/// Never asked for [`ConfigSource::Inline`]. A URL is to be fetched within 30 s and must answer with status 200.
pub trait Reader {
    /// The content of `source`.
    fn read(&mut self, source: &ConfigSource) -> Result<Content, ReadError>;

    /// What a source of nodes says. Unless this is overridden, files are read, and nobody else is asked.
    fn nodes(&mut self, source: &NodeSource) -> NodeTexts {
        NodeTexts { now: nodes_of_file(&source.settings, |it| self.read(it)), before: None }
    }

    /// Called when the nodes in `text`, which is what `source` said, are part of a configuration without an error.
    fn nodes_used(&mut self, _source: &NodeSource, _text: &Arc<str>) {}

    /// Called, after [`Reader::nodes_used`] if the source has another text, when what it says now is left out of a configuration without
    /// an error.
    fn nodes_left_out(&mut self, _source: &NodeSource, _why: &ReadError) {}
}

/// What the nodes of a hop are read from.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSource {
    /// The name of the hop, or where it stands.
    pub hop: String,
    /// Where the nodes are.
    pub settings: SourceSettings,
    /// Time between two readings, at least 1 s.
    pub reload: Option<Duration>,
}

/// What a source of nodes says.
#[derive(Debug, Clone)]
pub struct NodeTexts {
    /// What it says now.
    pub now: Result<Arc<str>, ReadError>,
    /// What it said when it could be used last, which counts while what it says now cannot.
    pub before: Option<Arc<str>>,
}

/// The text of a source that is a file; others are not asked.
pub fn nodes_of_file(
    source: &SourceSettings,
    read: impl FnOnce(&ConfigSource) -> Result<Content, ReadError>,
) -> Result<Arc<str>, ReadError> {
    let SourceSettings::File(path) = source else { return Err(ReadError::NotAsked) };
    let content = read(&ConfigSource::File(path.clone()))?;
    let text = text::decode(content.bytes);
    text.map(Into::into).map_err(|error| ReadError::Other(error.to_string()))
}

impl<F: FnMut(&ConfigSource) -> Result<Content, ReadError>> Reader for F {
    fn read(&mut self, source: &ConfigSource) -> Result<Content, ReadError> {
        self(source)
    }
}

/// The files looked for when nothing names a configuration, in order: `rtun.<ext>` in the working directory
/// and in
/// `/etc/rtun`, then GOST's (`gost.<ext>` in `/etc/gost`, `~/.gost` and the working directory).
pub fn default_files(home: Option<&Path>) -> Vec<PathBuf> {
    let gost_home = home.map(|home| home.join(".gost"));
    let places = [
        (Some(PathBuf::new()), "rtun"),
        (Some(PathBuf::from("/etc/rtun")), "rtun"),
        (Some(PathBuf::from("/etc/gost")), "gost"),
        (gost_home, "gost"),
        (Some(PathBuf::new()), "gost"),
    ];
    let mut files = Vec::new();
    for (directory, name) in places {
        let Some(directory) = directory else { continue };
        files.extend(
            ["json", "toml", "yaml", "yml"].map(|ext| directory.join(format!("{name}.{ext}"))),
        );
    }
    files
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Yaml,
    Json,
    Toml,
}

/// Reports that `source` cannot be read; always `None`.
pub(crate) fn unreadable<T>(
    source: &ConfigSource,
    why: impl fmt::Display,
    report: &Report,
) -> Option<T> {
    report.whole().error(format!("cannot read {source}: {why}"));
    None
}

/// Parses what `source` holds; `None` after an error was reported.
pub(crate) fn parse(source: &ConfigSource, content: &Content, report: &Report) -> Option<Value> {
    if content.bytes.len() > MAX_BYTES {
        return unreadable(source, format!("more than {MAX_BYTES} bytes"), report);
    }
    let decoded = text::decode(content.bytes.clone());
    let begin = decoded.as_deref().unwrap_or_default();
    let format = match format(source, content.content_type.as_deref(), begin) {
        Ok(format) => format,
        Err(message) => {
            return report.whole().refuse(
                format!("cannot read {source}: {message}"),
                "name the file .yaml, .yml, .json or .toml",
            );
        }
    };
    let source_text = match decoded {
        Ok(text) => text,
        Err(error) => {
            let shown = String::from_utf8_lossy(&content.bytes);
            let text = report.add_text(&source.to_string(), &shown);
            let place = Position { text, line: error.line, column: error.column, width: 1 };
            report.at(place).error(format!("this {error}"));
            return None;
        }
    };
    let text = report.add_text(&source.to_string(), &source_text);
    let value = match format {
        Format::Yaml => yaml::read(&source_text, text, report),
        Format::Json => json::read(&source_text, text, report),
        Format::Toml => toml::read(&source_text, text, report),
    }?;
    let at = report.at(value.place);
    match value.data {
        Data::Map(_) if is_version_2(&value) => at.refuse(
            "this is a configuration of GOST's version 2; rtun reads version 3",
            "give each of `ServeNodes` as -L and each of `ChainNodes` as -F: with -O yaml that prints the file of \
             version 3. Version 2 has no routing tunnel: a hub is -L router://:8443, a host -L tun:///NAME?net=ADDRESS",
        ),
        Data::Map(_) => Some(value),
        Data::Null => Some(Value::map([], value.place)),
        _ => {
            let message = format!("a configuration is a map of keys, this is {}", value.describe());
            at.refuse(message, "it begins for example with `services:`")
        }
    }
}

fn format(source: &ConfigSource, media: Option<&str>, text: &str) -> Result<Format, String> {
    match source {
        ConfigSource::Inline(_) => Ok(Format::Json),
        ConfigSource::Stdin if text.starts_with('{') => Ok(Format::Json),
        ConfigSource::Stdin => Ok(Format::Yaml),
        ConfigSource::Url(url) => {
            let media = media.unwrap_or("");
            let media = media.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
            match media.as_str() {
                "application/json" => return Ok(Format::Json),
                "application/toml" => return Ok(Format::Toml),
                "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => {
                    return Ok(Format::Yaml);
                }
                _ => {}
            }
            let path = url.split(['?', '#']).next().unwrap_or("");
            Ok(match extension(path.rsplit('/').next().unwrap_or("")).as_str() {
                "json" => Format::Json,
                "toml" => Format::Toml,
                _ => Format::Yaml,
            })
        }
        ConfigSource::File(path) => {
            let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
            match extension(&name).as_str() {
                "yaml" | "yml" => Ok(Format::Yaml),
                "json" => Ok(Format::Json),
                "toml" => Ok(Format::Toml),
                "" => Err("its name does not tell its format".to_owned()),
                other => Err(format!("{} is no format rtun reads", quote(&format!(".{other}")))),
            }
        }
    }
}

fn extension(name: &str) -> String {
    name.rsplit_once('.').map(|(_, ext)| ext.to_ascii_lowercase()).unwrap_or_default()
}

/// Whether only GOST's version 2 has keys like these.
fn is_version_2(document: &Value) -> bool {
    let is_node_list = |value: &Value| {
        let keys = value.entries().iter().map(|entry| &entry.key);
        keys.into_iter().any(|key| same_key(key, "ServeNodes") || same_key(key, "ChainNodes"))
    };
    let routes = document.get("Routes").map(|routes| &routes.value.data);
    is_node_list(document)
        || matches!(routes, Some(Data::List(routes)) if routes.iter().any(is_node_list))
}

/// Adds `later` to `document` (both maps): lists are appended, objects replaced by the later one.
pub(crate) fn merge(document: &mut Value, later: Value) {
    let (Data::Map(entries), Data::Map(new)) = (&mut document.data, later.data) else { return };
    for entry in new {
        match entries.iter_mut().find(|e| same_key(&e.key, &entry.key)) {
            None => entries.push(entry),
            Some(_) if matches!(entry.value.data, Data::Null) => {}
            Some(old) if matches!(old.value.data, Data::Null) => *old = entry,
            Some(old) if schema::is_list(&entry.key) => append(&mut old.value, entry.value),
            Some(old) => *old = entry,
        }
    }
}

fn append(old: &mut Value, new: Value) {
    let place = old.place;
    let first = std::mem::replace(old, Value::new(place, Data::Null));
    *old = Value::list([first.into_items(), new.into_items()].concat(), place);
}

/// The message for a command line or environment that names nothing to run.
pub(crate) fn nothing_found(files: &[PathBuf], report: &Report) {
    let names: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
    report
        .whole()
        .error("no service is given and no configuration file was found")
        .help(format!("give -C FILE, or -L and -F; looked for {}", names.join(", ")));
}

/// Help for a bare argument that looks like a source or a command.
pub(crate) fn as_argument(argument: &str) -> Option<String> {
    let looks = matches!(extension(argument).as_str(), "yaml" | "yml" | "json" | "toml");
    if looks {
        return Some(format!("did you mean -C {argument}?"));
    }
    if argument.contains("://") {
        return Some("did you mean -L or -F before it?".to_owned());
    }
    if matches!(argument, "bench" | "demo") {
        return Some(format!("that is a command of another program: rtun-workbench {argument}"));
    }
    suggest::did_you_mean(argument, ["check", "explain", "gen", "status"])
}

#[cfg(test)]
mod tests;
