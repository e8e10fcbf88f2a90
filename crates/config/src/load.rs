//! From sources, command line and environment to a model and findings.

use std::path::Path;

use crate::{
    check,
    cli::{Args, OutputFormat},
    emit,
    environment::{Environment, Variable},
    findings::{Finding, Profile, Report, Severity},
    location::{At, Position},
    normalise, schema,
    source::{self, ConfigSource, ReadError, Reader},
    url,
    value::{Data, Member, Value, same_key},
};
use rtun_settings::Config;

/// What became of a configuration.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What is to run; `None` if anything found is an error.
    pub config: Option<Config>,
    /// The merged document; `None` if a source could not be read.
    pub document: Option<Document>,
    /// Everything there is to say, in the order of the sources.
    pub findings: Vec<Finding>,
}

impl Outcome {
    /// The most serious of the findings.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// The exit status of a check: 0, 1 with warnings, 78 if refused.
    pub fn exit_status(&self) -> u8 {
        match self.worst() {
            Some(Severity::Error) => 78,
            Some(Severity::Warning) => 1,
            Some(Severity::Info) | None => 0,
        }
    }
}

/// A merged configuration as it was written, for `-O`.
#[derive(Debug, Clone)]
pub struct Document(Value);

impl Document {
    /// The text that `-O` prints: GOST's shape and spelling, with only what was set, secrets included.
    pub fn emit(&self, format: OutputFormat) -> String {
        emit::emit(&self.0, format)
    }
}

/// Reads what `args` and `environment` name with `reader`, merges it, and turns it into a model.
///
/// Sources are merged left to right, then comes what `-L` and `-F` say, then the environment, then the other
/// flags. With neither a source nor a service the first of [`source::default_files`] that exists is read.
pub fn load(
    args: &Args,
    environment: &Environment,
    reader: &mut dyn Reader,
    profile: Profile,
) -> Outcome {
    let mut report = Report::new(profile);
    let Some(document) = document(args, environment, reader, &mut report) else {
        return Outcome { config: None, document: None, findings: report.finish().0 };
    };
    understand(document, report)
}

/// Like [`load`], for one text: YAML, or JSON if `json` is set, called `name` in the findings.
pub fn load_text(name: &str, text: &str, json: bool, profile: Profile) -> Outcome {
    let extension = if json { "json" } else { "yaml" };
    let has_extension = Path::new(name).extension().is_some_and(|ext| ext == extension);
    let name = if has_extension { name.to_owned() } else { format!("{name}.{extension}") };
    let args = Args { sources: vec![ConfigSource::File(name.into())], ..Args::default() };
    let mut reader = |_: &ConfigSource| {
        Ok(source::Content { bytes: text.as_bytes().to_vec(), content_type: None })
    };
    load(&args, &Environment::default(), &mut reader, profile)
}

fn understand(document: Value, mut report: Report) -> Outcome {
    schema::check(&document, &mut report);
    let (config, context, hubs) = normalise::normalise(&document, &mut report);
    check::check(&config, &context, &hubs, &mut report);
    drop(context);
    let failed = report.failed();
    let (findings, _) = report.finish();
    Outcome { config: (!failed).then_some(config), document: Some(Document(document)), findings }
}

fn document(
    args: &Args,
    environment: &Environment,
    reader: &mut dyn Reader,
    report: &mut Report,
) -> Option<Value> {
    let mut document = Value::new(NOWHERE, Data::Map(Vec::new()));
    let mut complete = true;
    for source in &args.sources {
        match source::load(source, reader, report) {
            Some(value) => source::merge(&mut document, value),
            None => complete = false,
        }
    }
    let before = report.failed();
    let command_line = url::document(&args.services, &args.nodes, report);
    complete &= report.failed() == before;
    source::merge(&mut document, command_line);

    let nothing_named = args.sources.is_empty()
        && document.get("services").is_none()
        && args.api.is_none()
        && complete;
    if nothing_named {
        source::merge(&mut document, default_file(environment, reader, report)?);
    }
    if !complete {
        return None;
    }
    apply_environment(&mut document, environment, report);
    apply_flags(&mut document, args, report);
    Some(document)
}

const NOWHERE: Position = Position { text: u32::MAX, line: 1, column: 1, width: 1 };

/// The first default file that exists; `None` after an error was reported.
fn default_file(
    environment: &Environment,
    reader: &mut dyn Reader,
    report: &mut Report,
) -> Option<Value> {
    let files = source::default_files(environment.home.as_deref().map(Path::new));
    for file in &files {
        let source = ConfigSource::File(file.clone());
        match reader.read(&source) {
            Ok(content) => return source::parse(&source, &content, report),
            Err(ReadError::NotFound) => {}
            Err(ReadError::Other(reason)) => {
                report.error(At::default(), format!("cannot read {source}: {reason}"));
                return None;
            }
        }
    }
    source::nothing_found(&files, report);
    None
}

fn apply_environment(document: &mut Value, environment: &Environment, report: &mut Report) {
    let mut apply = |variable: &Option<Variable>, object: &str, key: &str| {
        let Some(variable) = variable else { return };
        let text = report.texts.add(&variable.name, &variable.value);
        set(document, object, key, whole(text, &variable.value));
    };
    apply(&environment.logger_level, "log", "level");
    apply(&environment.api, "api", "addr");
    apply(&environment.metrics, "metrics", "addr");
    apply(&environment.profiling, "profiling", "addr");
}

fn apply_flags(document: &mut Value, args: &Args, report: &mut Report) {
    let level = match (args.trace, args.debug) {
        (true, _) => Some(("-DD", "trace")),
        (false, true) => Some(("-D", "debug")),
        (false, false) => None,
    };
    if let Some((flag, level)) = level {
        let text = report.texts.add(flag, "");
        set(document, "log", "level", whole(text, level));
    }
    let api = args.api.as_ref();
    let api =
        api.and_then(|url| url::listen_url("-api", url, &["pathPrefix", "accesslog"], report));
    replace(document, "api", api);
    let metrics = args.metrics.as_ref();
    let metrics = metrics.and_then(|url| url::listen_url("-metrics", url, &["path"], report));
    replace(document, "metrics", metrics);
}

fn whole(text: u32, value: &str) -> Value {
    let width = u32::try_from(value.chars().count()).unwrap_or(u32::MAX);
    Value::new(Position { text, line: 1, column: 1, width }, Data::Text(value.to_owned()))
}

/// Sets `object.key`, making the object if there is none.
fn set(document: &mut Value, object: &str, key: &str, value: Value) {
    let Data::Map(entries) = &mut document.data else { return };
    let at = entries.iter().position(|e| same_key(&e.key, object));
    let at = at.unwrap_or_else(|| {
        let empty = Value::new(value.place, Data::Map(Vec::new()));
        entries.push(Member { key: object.to_owned(), place: value.place, value: empty });
        entries.len() - 1
    });
    let object = &mut entries[at].value;
    if matches!(object.data, Data::Null) {
        object.data = Data::Map(Vec::new());
    }
    let Data::Map(fields) = &mut object.data else { return };
    fields.retain(|e| !same_key(&e.key, key));
    fields.push(Member { key: key.to_owned(), place: value.place, value });
}

fn replace(document: &mut Value, key: &str, value: Option<Value>) {
    let (Data::Map(entries), Some(value)) = (&mut document.data, value) else { return };
    entries.retain(|e| !same_key(&e.key, key));
    entries.push(Member { key: key.to_owned(), place: value.place, value });
}

/// For fuzzing: no text may do anything but end, whatever it is read as.
pub fn config_yaml(text: &str) {
    for json in [false, true] {
        let outcome = load_text("fuzz", text, json, Profile::Compat);
        for finding in &outcome.findings {
            let _ = finding.to_string();
        }
        if let Some(document) = outcome.document {
            let _ = document.emit(OutputFormat::Yaml);
        }
    }
}

/// For fuzzing: no `-L` or `-F` URL may do anything but end.
pub fn cli_url(text: &str) {
    let args =
        Args { services: vec![text.to_owned()], nodes: vec![text.to_owned()], ..Args::default() };
    let mut nothing = |_: &ConfigSource| Err(ReadError::NotFound);
    let outcome = load(&args, &Environment::default(), &mut nothing, Profile::Compat);
    for finding in &outcome.findings {
        let _ = finding.to_string();
    }
}
