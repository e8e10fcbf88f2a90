//! Admissions: from which addresses anybody may connect.

use rtun_core::parse_prefix;

use super::{
    Names,
    providers::{self, provider},
    tables::{located, normal_prefix},
};
use crate::{
    findings::{At, Report, quote},
    value::Cursor,
};
use rtun_settings::{AdmissionSettings, Matcher, Named};

/// All admissions, in order.
pub(super) fn read(names: &Names<'_>, report: &mut Report) -> Vec<AdmissionSettings> {
    names.admissions.list.iter().map(|(name, at)| admission(name, at, report)).collect()
}

/// Those that the service at `service` names.
pub(super) fn of_service(
    service: &Cursor<'_>,
    names: &Names<'_>,
    admissions: &[AdmissionSettings],
    report: &mut Report,
) -> Vec<AdmissionSettings> {
    let mut found = Vec::new();
    for (name, at) in super::access::references(service, ["admission", "admissions"], report) {
        let Some((name, _)) = names.admissions.find(&name, &at, report) else { continue };
        found.extend(admissions.iter().find(|a| a.matchers.name == *name).cloned());
    }
    found
}

fn admission(name: &str, at: &Cursor<'_>, report: &mut Report) -> AdmissionSettings {
    let mut flag = |key: &str| at.get(key).and_then(|at| report.boolean(&at)).unwrap_or(false);
    // `reverse` is the old spelling, and counts beside the new one.
    let whitelist = flag("whitelist") | flag("reverse");
    let mut matchers = Vec::new();
    let texts = at.get("matchers").map(|list| report.texts(&list, false));
    for (text, at) in texts.into_iter().flatten() {
        if let Some(matcher) = matcher(&text, &at, report) {
            matchers.push(located(matcher, &at, report));
        }
    }
    let provider = provider(at, &providers::ADMISSION, matchers, report);
    if whitelist && providers::is_empty(&provider) {
        report
            .warning(
                at,
                format!("{} admits nobody: it is a whitelist without a matcher", quote(name)),
            )
            .help("add `matchers:` with addresses, prefixes or names");
    }
    AdmissionSettings { whitelist, matchers: Named { name: name.to_owned(), provider } }
}

fn matcher(text: &str, at: &At, report: &mut Report) -> Option<Matcher> {
    if let Some(written) = parse_prefix(text) {
        return Some(Matcher::Prefix(normal_prefix(written, text, at, report)));
    }
    Matcher::parse(text)
        .map_err(|error| {
            report.error(at, format!("{} {error}", quote(text)));
        })
        .ok()
}
