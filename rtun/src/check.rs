//! `rtun check`: findings about a configuration, and who can reach whom by it, without starting anything.

mod ends;
mod gost;
mod reach;
mod rows;
mod summary;

use std::{process::ExitCode, time::SystemTime};

use clap::Args as ClapArgs;
use rtun_config::{
    Environment, cli,
    findings::{Finding, Profile},
    load,
    source::ConfigSource,
};
use serde_json::{Value, json};

use crate::{
    EXIT_USAGE, complain, machine, offline, reader::SystemReader, run::use_one_crypto_provider, say,
};

/// Look a configuration over without starting anything
///
/// Takes the flags of a start as well: -C, -L, -F, -D, -DD, -R, -api, -metrics, --only-tunnels; with -O the merged configuration
/// goes to the standard output and everything else to the standard error.
///
/// Exit status: 0 nothing to complain of, 1 warnings, 78 refused.
#[derive(ClapArgs)]
pub(crate) struct Check {
    /// Files, http(s) URLs, - or {...}, merged left to right; none: the default files
    #[arg(value_name = "FILE")]
    files: Vec<String>,
    /// Refuse what is unsafe instead of warning of it
    #[arg(long)]
    strict: bool,
    /// Also print which host can reach which
    #[arg(long)]
    reach: bool,
    /// Print what is the same as with GOST, better, different and missing
    #[arg(long)]
    gost: bool,
    /// Print one JSON object, reach included
    #[arg(long)]
    json: bool,
}

impl Check {
    /// Checks what its own arguments and `flags`, those of a start, name.
    pub(crate) fn run(self, flags: Vec<String>) -> ExitCode {
        use_one_crypto_provider();
        let mut args = match cli::parse(flags) {
            Ok(args) => args,
            Err(error) => {
                complain(&format!("rtun check: {error}"));
                return ExitCode::from(EXIT_USAGE);
            }
        };
        let files: Vec<_> = self.files.iter().map(|file| ConfigSource::parse(file)).collect();
        args.sources.splice(0..0, files);
        let environment = Environment::from_vars(|name| std::env::var(name).ok());
        let profile = if self.strict { Profile::Strict } else { Profile::Compat };
        let mut outcome = load(&args, &environment, &mut SystemReader::default(), profile);
        let hubs = outcome.config.as_ref().map(offline::hubs).unwrap_or_default();
        if let Some(config) = &outcome.config {
            outcome.findings.extend(machine::files(
                &args,
                &environment,
                config,
                &outcome.node_files,
                profile,
            ));
            let now = SystemTime::now();
            outcome.findings.extend(machine::certificates(config, profile, now));
            outcome.findings.extend(rows::findings(&hubs, config));
            outcome.findings.extend(ends::findings(&hubs, config));
            outcome.findings.extend(machine::commands_of_hooks(config));
        }
        let status = outcome.exit_status();
        let reach = if self.reach || self.json { reach::reach(&hubs) } else { Vec::new() };
        let text = if self.json {
            let findings: Vec<_> = outcome.findings.iter().map(as_json).collect();
            let summary = summary::as_json(&outcome);
            let (status, findings) = (json!(status), json!(findings));
            let whole = json!({ "status": status, "findings": findings, "reach": reach, "services": summary });
            format!("{whole:#}\n")
        } else {
            let against = if self.gost { gost::text(&outcome) } else { String::new() };
            as_text(&outcome.findings) + &reach::text(&reach) + &against + &summary::text(&outcome)
        };
        match (args.output, &outcome.document) {
            (Some(format), Some(document)) => {
                complain(text.trim_end());
                say(&document.emit(format));
            }
            _ => drop(say(&text)),
        }
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
