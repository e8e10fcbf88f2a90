//! `rtun check`: findings about a configuration, and who can reach whom by it, without starting anything.

mod reach;
mod rows;

use std::{process::ExitCode, time::SystemTime};

use clap::Args as ClapArgs;
use rtun_config::{
    Environment,
    cli::Args,
    findings::{Finding, Profile},
    load,
    source::ConfigSource,
};
use serde_json::{Value, json};

use crate::{machine, offline, reader::SystemReader, run::use_one_crypto_provider, say};

/// Look a configuration over without starting anything
///
/// Exit status: 0 nothing to complain of, 1 warnings, 78 refused.
#[derive(ClapArgs)]
pub(crate) struct Check {
    /// Files, http(s) URLs, - or {...}, merged left to right; none: the default files
    #[arg(value_name = "FILE")]
    files: Vec<String>,
    /// A service, as on rtun's own command line
    #[arg(short = 'L', value_name = "URL", allow_hyphen_values = true)]
    services: Vec<String>,
    /// A hub to connect to, as on rtun's own command line
    #[arg(short = 'F', value_name = "URL", allow_hyphen_values = true)]
    nodes: Vec<String>,
    /// Refuse what is unsafe instead of warning of it
    #[arg(long)]
    strict: bool,
    /// Also print which host can reach which
    #[arg(long)]
    reach: bool,
    /// Print one JSON object, reach included
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(crate) fn run(self) -> ExitCode {
        use_one_crypto_provider();
        let args = Args {
            sources: self.files.iter().map(|file| ConfigSource::parse(file)).collect(),
            services: self.services,
            nodes: self.nodes,
            ..Args::default()
        };
        let environment = Environment::from_vars(|name| std::env::var(name).ok());
        let profile = if self.strict { Profile::Strict } else { Profile::Compat };
        let mut outcome = load(&args, &environment, &mut SystemReader::default(), profile);
        let hubs = outcome.config.as_ref().map(offline::hubs).unwrap_or_default();
        if let Some(config) = &outcome.config {
            outcome.findings.extend(machine::files(&args, &environment, config, profile));
            let now = SystemTime::now();
            outcome.findings.extend(machine::certificates(config, profile, now));
            outcome.findings.extend(rows::findings(&hubs));
        }
        let status = outcome.exit_status();
        let reach = if self.reach || self.json { reach::reach(&hubs) } else { Vec::new() };
        let text = if self.json {
            let findings: Vec<_> = outcome.findings.iter().map(as_json).collect();
            format!("{:#}\n", json!({ "status": status, "findings": findings, "reach": reach }))
        } else {
            as_text(&outcome.findings) + &reach::text(&reach)
        };
        say(&text);
        ExitCode::from(status)
    }
}

fn as_text(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "nothing to complain of\n".into();
    }
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

fn as_json(finding: &Finding) -> Value {
    let Finding { code, severity, location, path, message, help } = finding;
    json!({
        "code": code.map(|code| code.to_string()),
        "severity": severity.to_string(),
        "file": location.as_ref().map(|location| &*location.file),
        "line": location.as_ref().map(|location| location.line),
        "column": location.as_ref().map(|location| location.column),
        "key": path,
        "message": message,
        "help": help,
    })
}
