//! Files of rows that a configuration names: whether they are there, and their bad lines.

use std::{path::Path, sync::Arc};

use rtun_config::{
    findings::{Finding, Location, Severity},
    model::{Config, Named, Provider, ServiceKind, Source},
};
use rtun_core::{parse_matchers, parse_routes, parse_rules, parse_users};

use crate::offline::{Parse, parse_file};

/// What there is to say of the files; those that a hub would read at its start and follow.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in &config.services {
        let ServiceKind::Hub(hub) = &service.kind else { continue };
        let rules = &hub.rules;
        let limit = rules.quotas.routes_per_router;
        for router in rules.namespaces.values().chain(&rules.default_router) {
            look(router, limit, parse_routes, &mut findings);
        }
        for ingress in rules.ingress.iter() {
            look(ingress, usize::MAX, parse_rules, &mut findings);
        }
        for auther in rules.authers.iter().flatten() {
            look(auther, usize::MAX, parse_users, &mut findings);
        }
        for admission in &rules.admissions {
            look(&admission.matchers, usize::MAX, parse_matchers, &mut findings);
        }
    }
    let mut seen = Vec::new();
    findings.retain(|finding| {
        let new = !seen.contains(finding);
        if new {
            seen.push(finding.clone());
        }
        new
    });
    findings
}

fn look<T>(named: &Named<T>, max_rows: usize, parse: Parse<T>, findings: &mut Vec<Finding>) {
    let Provider::Rows(rows) = &named.provider else { return };
    for source in &rows.sources {
        let Source::File(path) = source else { continue };
        match parse_file(path, max_rows, parse) {
            Err(error) => {
                let message = format!("this file of rows cannot be used: {error}");
                let help = "the hub starts with what it kept of it before, if anything";
                findings.push(finding(path, 1, message, Some(help)));
            }
            Ok(parsed) => {
                for line in &parsed.bad.first {
                    let message = format!("the line is left out: {line}");
                    findings.push(finding(path, line.line, message, None));
                }
                let more = parsed.bad.count - parsed.bad.first.len();
                if more > 0 {
                    findings.push(finding(
                        path,
                        1,
                        format!("{more} more lines are left out"),
                        None,
                    ));
                }
            }
        }
    }
}

fn finding(path: &Path, line: u32, message: String, help: Option<&str>) -> Finding {
    let location = Location {
        file: Arc::from(path.display().to_string()),
        line,
        column: 1,
        width: 1,
        text: String::new(),
        text_column: 1,
    };
    Finding {
        code: None,
        severity: Severity::Warning,
        location: Some(location),
        path: String::new(),
        message,
        help: help.map(str::to_owned),
    }
}
