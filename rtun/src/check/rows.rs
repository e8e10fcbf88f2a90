//! Files of rows that a configuration names: whether they are there, and their bad lines.

use rtun_config::findings::{Finding, Location, Severity};

use rtun_settings::Config;

use crate::offline::{FileFlaw, Hub, What, flaws_of_others};

/// What there is to say of the files that these hubs, and the other services of the configuration, would read at their start and follow.
pub(super) fn findings(hubs: &[Hub<'_>], config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for flaw in hubs.iter().flat_map(Hub::flaws).chain(flaws_of_others(config)) {
        let finding = finding(flaw);
        // Several routers, or hubs, may name one file.
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings
}

fn finding(FileFlaw { file, what }: FileFlaw) -> Finding {
    let (line, message, help) = match what {
        What::Unusable(why) => {
            let help = "rtun starts with what it kept of it before, if anything";
            (1, format!("this file of rows cannot be used: {why}"), Some(help.to_owned()))
        }
        What::BadLine(line, why) => (line, format!("the line is left out: {why}"), None),
        What::More(lines) => (1, format!("{lines} more lines are left out"), None),
    };
    Finding {
        code: None,
        severity: Severity::Warning,
        location: Some(Location::of_line(&file, line)),
        path: String::new(),
        message,
        help,
    }
}
