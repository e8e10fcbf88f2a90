//! Admissions: from which addresses anybody may connect.

use rtun_core::parse_prefix;

use super::{
    DocumentNames, access,
    providers::{self, provider},
    sources,
    tables::{located, normal_prefix},
};
use crate::{
    findings::Report,
    location::{At, quote},
    schema::{admission, service},
    value::Cursor,
};
use rtun_settings::{AdmissionSettings, Matcher, Named};

/// All admissions, in order.
pub(super) fn read(names: &DocumentNames<'_>, report: &mut Report) -> Vec<AdmissionSettings> {
    names.admissions.list.iter().map(|(name, at)| admission(name, at, report)).collect()
}

/// Those that the service at `service` names.
pub(super) fn of_service(
    service: &Cursor<'_>,
    names: &DocumentNames<'_>,
    admissions: &[AdmissionSettings],
    report: &mut Report,
) -> Vec<AdmissionSettings> {
    let mut found = Vec::new();
    for (name, at) in access::references(service, &service::ADMISSION, &service::ADMISSIONS) {
        let Some((name, _)) = names.admissions.find(&name, &at, report) else { continue };
        found.extend(admissions.iter().find(|a| a.matchers.name == *name).cloned());
    }
    found
}

fn admission(name: &str, at: &Cursor<'_>, report: &mut Report) -> AdmissionSettings {
    // `reverse` is the old spelling, and counts as well as the new one.
    let whitelist = at.or_default(&admission::WHITELIST) | at.or_default(&admission::REVERSE);
    let mut matchers = Vec::new();
    for (text, at) in at.read(&admission::MATCHERS).into_iter().flatten() {
        if let Some(matcher) = matcher(&text, &at, report) {
            matchers.push(located(matcher, &at, report));
        }
    }
    let provider = provider(at, &sources::ADMISSION, matchers, report);
    if whitelist && providers::is_empty(&provider) {
        let message = format!("{} admits nobody: it is a whitelist without a matcher", quote(name));
        report.warning(at, message).help("add `matchers:` with addresses, prefixes or names");
    }
    AdmissionSettings { whitelist, matchers: Named { name: name.to_owned(), provider } }
}

fn matcher(text: &str, at: &At, report: &mut Report) -> Option<Matcher> {
    if let Some(written) = parse_prefix(text) {
        return Some(Matcher::Prefix(normal_prefix(written, text, at, report)));
    }
    Matcher::parse(text)
        .map_err(|error| drop(report.error(at, format!("{} {error}", quote(text)))))
        .ok()
}
