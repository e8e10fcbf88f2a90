//! Admissions: from which addresses anybody may connect.

use rtun_core::parse_prefix;

use super::{
    DocumentNames, access, located::Located, providers::named, sources, tables::normal_prefix,
};
use crate::{
    location::quote,
    report::At,
    schema::{admission, service},
    value::Cursor,
};
use rtun_settings::{AdmissionSettings, Matcher};

/// All admissions, in order.
pub(super) fn read(names: &DocumentNames<'_>) -> Vec<AdmissionSettings> {
    names.admissions.list.iter().map(|(name, at)| admission(name, at)).collect()
}

/// Those that the service at `service` names.
pub(super) fn of_service(
    service: &Cursor<'_>,
    names: &DocumentNames<'_>,
    admissions: &[AdmissionSettings],
) -> Vec<AdmissionSettings> {
    let mut found = Vec::new();
    for (name, at) in access::references(service, &service::ADMISSION, &service::ADMISSIONS) {
        let Some((name, _)) = names.admissions.find(&name, &at) else { continue };
        found.extend(admissions.iter().find(|a| a.matchers.name == *name).cloned());
    }
    found
}

fn admission(name: &str, at: &Cursor<'_>) -> AdmissionSettings {
    // `reverse` is the old spelling, and counts as well as the new one.
    let whitelist = at.or_default(&admission::WHITELIST) | at.or_default(&admission::REVERSE);
    let mut matchers = Vec::new();
    for (text, at) in at.read(&admission::MATCHERS).into_iter().flatten() {
        if let Some(matcher) = matcher(&text, &at) {
            matchers.push(at.row(matcher));
        }
    }
    let matchers = named(name, at, &sources::ADMISSION, matchers);
    if whitelist && matchers.is_empty() {
        let message = format!("{} admits nobody: it is a whitelist without a matcher", quote(name));
        at.warning(message).help("add `matchers:` with addresses, prefixes or names");
    }
    AdmissionSettings { whitelist, matchers }
}

fn matcher(text: &str, at: &At<'_>) -> Option<Matcher> {
    if let Some(written) = parse_prefix(text) {
        return Some(Matcher::Prefix(normal_prefix(written, text, at)));
    }
    Matcher::parse(text).map_err(|error| drop(at.error(format!("{} {error}", quote(text))))).ok()
}
