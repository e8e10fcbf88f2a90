//! From sources, command line and environment to a model and findings.

use std::path::{Path, PathBuf};

use crate::{
    answered_node::{answered_hub, answered_proxy},
    check,
    cli::{Args, OutputFormat},
    emit,
    environment::{Environment, Variable},
    findings::{Finding, Profile, Severity},
    hop_sources::{HopNodes, node_lines},
    location::Position,
    login_files, normalise,
    parts::ConfigParts,
    report::Report,
    schema,
    scope::{self, ServiceFate, ServiceSummary, TunnelScope},
    source::{ConfigSource, Content, NodeSource, NodeTexts, ReadError, Reader},
    url,
    value::{Cursor, Value},
};
use rtun_settings::Config;

/// What became of a configuration.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What is to run; `None` if anything found is an error.
    pub config: Option<Config>,
    /// The merged document; `None` if a source could not be read.
    pub document: Option<Document>,
    /// What it was merged from; `None` likewise.
    pub parts: Option<ConfigParts>,
    /// Everything there is to say, in the order of the sources.
    pub findings: Vec<Finding>,
    /// All services of the document, in order, also those that do not run.
    pub services: Vec<ServiceSummary>,
    /// Files that nodes of hops are in.
    pub node_files: Vec<PathBuf>,
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
pub struct Document(pub(crate) Value);

impl Document {
    /// The text that `-O` prints: GOST's shape and spelling, with only what was set, secrets included.
    pub fn emit(&self, format: OutputFormat) -> String {
        emit::emit(&self.0, format)
    }
}

/// Reads what `args` and `environment` name with `reader`, merges it, and turns it into a model.
///
/// Sources are merged left to right, then comes what `-L` and `-F` say, then the environment, then the other
/// flags. With neither a source nor a service the first of [`default_files`](crate::source::default_files) that exists is read.
pub fn load(
    args: &Args,
    environment: &Environment,
    reader: &mut dyn Reader,
    profile: Profile,
) -> Outcome {
    let report = Report::new(profile);
    match ConfigParts::read(args, environment, reader, &report) {
        Some(parts) => understand(parts, args, environment, reader, report),
        None => Outcome {
            config: None,
            document: None,
            parts: None,
            findings: report.finish(),
            services: Vec::new(),
            node_files: Vec::new(),
        },
    }
}

/// Like [`load`], with parts that were read before in the place of what `args` name. `reader` reads
/// logins and nodes only.
pub fn load_parts(
    parts: &ConfigParts,
    args: &Args,
    environment: &Environment,
    reader: &mut dyn Reader,
    profile: Profile,
) -> Outcome {
    let report = Report::of_texts(profile, parts.texts.clone());
    understand(parts.clone(), args, environment, reader, report)
}

/// Like [`load`], for one text: YAML, or JSON if `json` is set, called `name` in the findings.
pub fn load_text(name: &str, text: &str, json: bool, profile: Profile) -> Outcome {
    let extension = if json { "json" } else { "yaml" };
    let has_extension = Path::new(name).extension().is_some_and(|ext| ext == extension);
    let name = if has_extension { name.to_owned() } else { format!("{name}.{extension}") };
    let args = Args { sources: vec![ConfigSource::File(name.into())], ..Args::default() };
    load(&args, &Environment::default(), &mut OnlyText(text), profile)
}

/// Reads this text, whatever it is called, and no nodes.
struct OnlyText<'a>(&'a str);

impl Reader for OnlyText<'_> {
    fn read(&mut self, _: &ConfigSource) -> Result<Content, ReadError> {
        Ok(Content { bytes: self.0.as_bytes().to_vec(), content_type: None })
    }

    fn nodes(&mut self, _: &NodeSource) -> NodeTexts {
        NodeTexts { now: Err(ReadError::NotAsked), before: None }
    }
}

fn understand(
    mut parts: ConfigParts,
    args: &Args,
    environment: &Environment,
    reader: &mut dyn Reader,
    report: Report,
) -> Outcome {
    // Those of the environment and the flags are not among them: each load adds these anew.
    parts.texts = report.texts();
    let mut nodes = HopNodes::default();
    loop {
        let reading = DocumentReading { parts: &parts, args, environment };
        if let Some(outcome) = reading.understand(&mut nodes, reader, report.clone()) {
            return Outcome { parts: Some(parts), ..outcome };
        }
    }
}

/// One reading of a document, with one text of each source of nodes.
struct DocumentReading<'a> {
    parts: &'a ConfigParts,
    args: &'a Args,
    environment: &'a Environment,
}

impl DocumentReading<'_> {
    /// `None` if the text of a source of nodes has an error: the next reading does without it.
    fn understand(
        &self,
        nodes: &mut HopNodes,
        reader: &mut dyn Reader,
        report: Report,
    ) -> Option<Outcome> {
        let Self { parts, args, environment } = *self;
        let mut document = parts.merged();
        apply_environment(&mut document, environment, &report);
        apply_flags(&mut document, args, &report);
        let only_tunnels = args.only_tunnels;
        let TunnelScope { document: narrowed, mut services } =
            scope::narrow(&Cursor::root(&document, &report), only_tunnels);
        let narrowed = narrowed.as_ref().unwrap_or(&document);
        let with_nodes = nodes.join(&Cursor::root(narrowed, &report), reader);
        let narrowed = with_nodes.as_ref().unwrap_or(narrowed);
        let with_logins = login_files::read(&Cursor::root(narrowed, &report), reader);
        let root = Cursor::root(with_logins.as_ref().unwrap_or(narrowed), &report);
        schema::check(&root);
        let (config, context, views) = normalise::normalise(&root);
        check::check(&config, &context, &views);
        drop((context, views));
        if nodes.leave_out_wrong(&report) {
            return None;
        }
        let failed = report.failed();
        if !failed {
            nodes.used(reader);
        }
        drop((with_logins, with_nodes));
        let findings = report.finish();
        for (index, service) in services.iter_mut().enumerate() {
            let inside = |path: &str| path.strip_prefix(&format!("services[{index}]")).is_some();
            let is_error = |finding: &&Finding| finding.severity == Severity::Error;
            if findings.iter().filter(is_error).any(|finding| inside(&finding.path)) {
                service.fate = ServiceFate::Stops;
            }
        }
        let config = (!failed).then_some(config);
        let (document, node_files) = (Some(Document(document)), nodes.files());
        Some(Outcome { config, document, parts: None, findings, services, node_files })
    }
}

fn apply_environment(document: &mut Value, environment: &Environment, report: &Report) {
    let mut apply = |variable: &Option<Variable>, object: &str, key: &str| {
        let Some(variable) = variable else { return };
        let text = report.add_text(&variable.name, &variable.value);
        set(document, object, key, whole(text, &variable.value));
    };
    apply(&environment.logger_level, "log", "level");
    apply(&environment.api, "api", "addr");
    apply(&environment.metrics, "metrics", "addr");
    apply(&environment.profiling, "profiling", "addr");
}

fn apply_flags(document: &mut Value, args: &Args, report: &Report) {
    let level = match (args.trace, args.debug) {
        (true, _) => Some(("-DD", "trace")),
        (false, true) => Some(("-D", "debug")),
        (false, false) => None,
    };
    if let Some((flag, level)) = level {
        let text = report.add_text(flag, "");
        set(document, "log", "level", whole(text, level));
    }
    let urls = [
        ("api", "-api", &args.api, &["pathPrefix", "accesslog"][..]),
        ("metrics", "-metrics", &args.metrics, &["path"]),
    ];
    for (key, flag, url, parameters) in urls {
        let url = url.as_ref().and_then(|url| url::listen_url(flag, url, parameters, report));
        if let Some(object) = url {
            document.set(key, object);
        }
    }
}

fn whole(text: u32, value: &str) -> Value {
    let width = u32::try_from(value.chars().count()).unwrap_or(u32::MAX);
    Value::text(value, Position { width, ..Position::start(text) })
}

/// Sets `object.key`, making the object if there is none.
fn set(document: &mut Value, object: &str, key: &str, value: Value) {
    let old = document.get(object).map(|old| old.value.clone());
    let mut new = old.unwrap_or_else(|| Value::map([], value.place));
    new.set(key, value);
    document.set(object, new);
}

/// For fuzzing: no text may do anything but end, whatever it is read as.
pub fn config_yaml(text: &str) {
    let _ = node_lines(text);
    let _ = answered_hub(text);
    let _ = answered_proxy(text, false);
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
