//! GOST's command line: flags read as Go's `flag` package reads them.

use std::time::Duration;

use crate::{
    coerce, duration,
    location::quote,
    source::{ConfigSource, as_argument},
    suggest,
};

/// The format that `-O` prints in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// For `json`.
    Json,
    /// For anything else.
    Yaml,
}

/// What a bare command line asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Args {
    /// `-C`, in order.
    pub sources: Vec<ConfigSource>,
    /// `-L`, in order.
    pub services: Vec<String>,
    /// `-F`, in order.
    pub nodes: Vec<String>,
    /// `-O`: print the merged configuration and exit.
    pub output: Option<OutputFormat>,
    /// `-D`: log level debug.
    pub debug: bool,
    /// `-DD`: log level trace.
    pub trace: bool,
    /// `-V`: print the version and exit.
    pub version: bool,
    /// `-h`, `-help`: print the help and exit.
    pub help: bool,
    /// `-R`: read all sources again this often.
    pub reload: Option<Duration>,
    /// `-api`.
    pub api: Option<String>,
    /// `-metrics`.
    pub metrics: Option<String>,
    /// `-only-tunnels`: services of other kinds are left out instead of refused.
    pub only_tunnels: bool,
}

/// Why a command line cannot be read; the display says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", .help.as_ref().map(|help| format!("\n  help: {help}")).unwrap_or_default())]
pub struct ArgsError {
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// The flags, without dashes.
const FLAGS: [&str; 13] =
    ["C", "L", "F", "O", "D", "DD", "V", "R", "api", "metrics", "only-tunnels", "h", "help"];

/// The text of `-h`.
pub const USAGE: &str = "\
  -C SOURCE    configuration: a file, an http(s) URL, - for standard input, or {...}; may be repeated
  -L URL       a service: router://:8443, or tun:///HOST?net=ADDRESS/PREFIX; may be repeated
  -F URL       a hub to connect to: router://HUB:8443?router.id=UUID; may be repeated
  -O FORMAT    print the merged configuration as yaml or json, and exit
  -D, -DD      log level debug, trace
  -R DURATION  read the configuration again this often, as in 30s
  -api ADDR    serve the Web API
  -metrics ADDR  serve metrics
  --only-tunnels  leave services of other kinds out
  -V           print the version, and exit
";

/// Reads the arguments after the program's name.
///
/// `-x v`, `-x=v` and `--x v` are the same; a switch takes a value only as `-D=false`. Unlike GOST, which
/// stops at the first argument that is no flag and ignores the rest, that is an error here.
pub fn parse<I, S>(arguments: I) -> Result<Args, ArgsError>
where
    I: IntoIterator<Item = S>,
    S: Into<String>,
{
    let mut args = Args::default();
    let mut rest = arguments.into_iter().map(Into::into);
    while let Some(argument) = rest.next() {
        let Some((name, value)) = flag(&argument)? else {
            let message = format!("unexpected argument {}", quote(&argument));
            return fail(message, as_argument(&argument));
        };
        if let Some(switch) = args.switch(name) {
            *switch = value.map_or(Ok(true), |value| switch_value(name, value))?;
            continue;
        }
        if !FLAGS.contains(&name) {
            let help = suggest::did_you_mean(name, FLAGS)
                .map(|help| help.replace("mean `", "mean `-"))
                .or_else(|| Some("-h lists the flags".to_owned()));
            return fail(format!("there is no flag {}", quote(&format!("-{name}"))), help);
        }
        let Some(value) = value.map(str::to_owned).or_else(|| rest.next()) else {
            return fail(format!("-{name} needs a value"), None);
        };
        args.set(name, value)?;
    }
    Ok(args)
}

/// The flags of each process that `arguments` ask for: a `--` of its own stands between two.
pub fn processes(arguments: &[String]) -> Vec<&[String]> {
    arguments.split(|argument| argument == "--").collect()
}

/// The flags that [`parse`] reads, with their values, and all other arguments; the version and help are none of these flags.
pub fn separate(arguments: impl IntoIterator<Item = String>) -> (Vec<String>, Vec<String>) {
    let (mut flags, mut others) = (Vec::new(), Vec::new());
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let (name, has_value) = match flag(&argument) {
            Ok(Some((name, value))) => (name, value.is_some()),
            _ => ("", false),
        };
        if !FLAGS.contains(&name) || matches!(name, "V" | "h" | "help") {
            others.push(argument);
            continue;
        }
        let is_alone = has_value || Args::default().switch(name).is_some();
        flags.push(argument);
        flags.extend(if is_alone { None } else { rest.next() });
    }
    (flags, others)
}

impl Args {
    fn switch(&mut self, name: &str) -> Option<&mut bool> {
        match name {
            "D" => Some(&mut self.debug),
            "DD" => Some(&mut self.trace),
            "V" => Some(&mut self.version),
            "only-tunnels" => Some(&mut self.only_tunnels),
            "h" | "help" => Some(&mut self.help),
            _ => None,
        }
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), ArgsError> {
        match name {
            "C" if value.trim().is_empty() => {}
            "C" => self.sources.push(ConfigSource::parse(&value)),
            "L" => self.services.push(value),
            "F" => self.nodes.push(value),
            "O" if value == "json" => self.output = Some(OutputFormat::Json),
            "O" => self.output = Some(OutputFormat::Yaml),
            "R" => self.reload = reload(&value)?,
            "api" => self.api = Some(value).filter(|v| !v.is_empty()),
            _ => self.metrics = Some(value).filter(|v| !v.is_empty()),
        }
        Ok(())
    }
}

fn fail<T>(message: String, help: Option<String>) -> Result<T, ArgsError> {
    Err(ArgsError { message, help })
}

/// Name and attached value of a flag; `None` if `argument` is no flag.
fn flag(argument: &str) -> Result<Option<(&str, Option<&str>)>, ArgsError> {
    if argument == "--" {
        return fail("`--` stands between the flags of two processes".to_owned(), None);
    }
    let name = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    if name.starts_with(['-', '=']) {
        return fail(format!("{} is no flag", quote(argument)), None);
    }
    Ok(Some(match name.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (name, None),
    }))
}

fn switch_value(name: &str, value: &str) -> Result<bool, ArgsError> {
    let message = || format!("-{name}: expected `true` or `false`, found {}", quote(value));
    coerce::parsed_bool(value).map_or_else(|| fail(message(), None), Ok)
}

fn reload(value: &str) -> Result<Option<Duration>, ArgsError> {
    match duration::parse(value) {
        Ok(nanos) => Ok(u64::try_from(nanos).ok().filter(|n| *n > 0).map(Duration::from_nanos)),
        Err(error) => fail(format!("-R: {} is {error}", quote(value)), None),
    }
}
