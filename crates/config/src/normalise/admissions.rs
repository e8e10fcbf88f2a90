//! Admissions: from which addresses anybody may connect.

use std::net::IpAddr;

use ipnet::IpNet;
use rtun_core::host_prefix;

use super::{
    Names,
    providers::{self, provider},
    tables::{located, normal_prefix},
};
use crate::{
    findings::{At, Report, quote},
    model::{Admission, Matcher, Named},
    value::Cursor,
};

/// Longest name of the domain name system.
const MAX_NAME: usize = 253;

/// All admissions, in order.
pub(super) fn read(names: &Names<'_>, report: &mut Report) -> Vec<Admission> {
    names.admissions.list.iter().map(|(name, at)| admission(name, at, report)).collect()
}

/// Those that the service at `service` names.
pub(super) fn of_service(
    service: &Cursor<'_>,
    names: &Names<'_>,
    admissions: &[Admission],
    report: &mut Report,
) -> Vec<Admission> {
    let mut found = Vec::new();
    for (name, at) in super::access::references(service, ["admission", "admissions"], report) {
        let Some((name, _)) = names.admissions.find(&name, &at, report) else { continue };
        found.extend(admissions.iter().find(|a| a.matchers.name == *name).cloned());
    }
    found
}

fn admission(name: &str, at: &Cursor<'_>, report: &mut Report) -> Admission {
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
    Admission { whitelist, matchers: Named { name: name.to_owned(), provider } }
}

fn matcher(text: &str, at: &At, report: &mut Report) -> Option<Matcher> {
    if let Ok(prefix) = text.parse::<IpNet>() {
        return Some(Matcher::Prefix(normal_prefix(prefix, text, at, report)));
    }
    if let Ok(addr) = text.parse::<IpAddr>() {
        return Some(Matcher::Prefix(normal_prefix(host_prefix(addr), text, at, report)));
    }
    if is_name(text) {
        return Some(Matcher::Name(text.to_owned()));
    }
    report
        .error(at, format!("{} is no address, prefix or name", quote(text)))
        .help("write for example 192.0.2.1, 10.0.0.0/8, 2001:db8::/32 or office.example");
    None
}

/// Whether the domain name system could know `text`; what ends in a number is a misspelt address.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= MAX_NAME
        && name.split('.').all(label)
        && !last.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_what_is_none() {
        for name in ["office.example", "localhost", "a-b.c_d", "x1.example.", "1.example"] {
            assert!(is_name(name), "{name}");
        }
        for text in ["", ".", "10.0.0.256", "10.0.0.0/33", "a..b", "a b", "*.example", "10"] {
            assert!(!is_name(text), "{text}");
        }
    }
}
