//! A configuration part by part, as its sources say it: what is merged at each load, and what is edited and written back.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::location::Position;
use crate::{
    cli::Args,
    environment::Environment,
    location::SourceTexts,
    report::Report,
    source::{self, ConfigSource, ReadError, Reader},
    url,
    value::Value,
};

/// A configuration as its sources say it, part by part. Equal parts give equal configurations.
#[derive(Debug, Clone)]
pub struct ConfigParts {
    /// In the order in which they are merged.
    pub(crate) parts: Vec<ConfigPart>,
    /// What the places in them refer to.
    pub(crate) texts: SourceTexts,
}

/// What one source says.
#[derive(Debug, Clone)]
pub(crate) struct ConfigPart {
    pub(crate) origin: PartOrigin,
    /// A map.
    pub(crate) value: Value,
    /// Whether it was edited since it was read or saved.
    pub(crate) is_edited: bool,
}

/// Where a part comes from.
#[derive(Debug, Clone)]
pub(crate) enum PartOrigin {
    /// A file with this content.
    File { path: PathBuf, text: Arc<[u8]> },
    /// Something that nothing is written back to, by the name that messages give it.
    Elsewhere(String),
}

impl ConfigParts {
    /// Reads what `args` name, or else the first default file that there is; `None` after an error was reported.
    pub(crate) fn read(
        args: &Args,
        environment: &Environment,
        reader: &mut dyn Reader,
        report: &Report,
    ) -> Option<Self> {
        let mut parts = Vec::new();
        let mut complete = true;
        for source in &args.sources {
            match part(source, reader, report) {
                Some(part) => parts.push(part),
                None => complete = false,
            }
        }
        let before = report.failed();
        let command_line = url::document(&args.services, &args.nodes, report);
        complete &= report.failed() == before;
        let has_services = command_line.get("services").is_some();
        if !command_line.entries().is_empty() {
            let origin = PartOrigin::Elsewhere("the command line".to_owned());
            parts.push(ConfigPart { origin, value: command_line, is_edited: false });
        }
        let nothing_named =
            args.sources.is_empty() && !has_services && args.api.is_none() && complete;
        if nothing_named {
            parts.push(default_file(environment, reader, report)?);
        }
        complete.then(|| Self { parts, texts: SourceTexts::default() })
    }

    /// All of it as one document.
    pub(crate) fn merged(&self) -> Value {
        let mut document = Value::map([], Position::NOWHERE);
        for part in &self.parts {
            source::merge(&mut document, part.value.clone());
        }
        document
    }
}

impl ConfigPart {
    /// The file it is, if it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.origin {
            PartOrigin::File { path, .. } => Some(path),
            PartOrigin::Elsewhere(_) => None,
        }
    }
}

/// What `source` says; `None` after an error was reported.
fn part(source: &ConfigSource, reader: &mut dyn Reader, report: &Report) -> Option<ConfigPart> {
    let content = match source.read(reader) {
        Ok(content) => content,
        Err(error) => return source::unreadable(source, error, report),
    };
    let value = source::parse(source, &content, report)?;
    let origin = match source {
        ConfigSource::File(path) => {
            PartOrigin::File { path: path.clone(), text: content.bytes.into() }
        }
        _ => PartOrigin::Elsewhere(source.to_string()),
    };
    Some(ConfigPart { origin, value, is_edited: false })
}

/// The first default file that exists; `None` after an error was reported.
fn default_file(
    environment: &Environment,
    reader: &mut dyn Reader,
    report: &Report,
) -> Option<ConfigPart> {
    let files = source::default_files(environment.home.as_deref().map(Path::new));
    for file in &files {
        let source = ConfigSource::File(file.clone());
        match reader.read(&source) {
            Ok(content) => {
                let value = source::parse(&source, &content, report)?;
                let origin = PartOrigin::File { path: file.clone(), text: content.bytes.into() };
                return Some(ConfigPart { origin, value, is_edited: false });
            }
            Err(ReadError::NotFound) => {}
            Err(error) => return source::unreadable(&source, error, report),
        }
    }
    source::nothing_found(&files, report);
    None
}
