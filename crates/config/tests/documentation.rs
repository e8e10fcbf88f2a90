//! `docs/configuration.md` names every key, `docs/findings.md` every code.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its files has failed")]

use rtun_config::{
    cli,
    findings::{Code, Profile},
    schema,
};

const PAGE: &str = include_str!("../../../docs/configuration.md");
const FINDINGS: &str = include_str!("../../../docs/findings.md");

#[test]
fn every_key_is_described() {
    let keys = schema::all_keys();
    assert!(keys.len() > 250, "only {} keys", keys.len());
    let missing: Vec<_> =
        keys.iter().filter(|(_, key)| !PAGE.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
    for types in [&schema::LISTENERS, &schema::DIALERS, &schema::HANDLERS, &schema::CONNECTORS] {
        let refused = types.refused.iter().map(|refused| &refused.name);
        for name in types.supported.iter().chain(refused) {
            assert!(PAGE.contains(&format!("`{name}`")), "{} {name}", types.what);
        }
    }
}

#[test]
fn every_code_is_described_with_its_severities() {
    for code in Code::ALL {
        let start = format!("| {code} |");
        let row = FINDINGS.lines().find(|line| line.starts_with(&start));
        let end =
            format!("| {} | {} |", code.severity(Profile::Compat), code.severity(Profile::Strict));
        assert!(row.is_some_and(|row| row.ends_with(&end)), "{code}: {row:?}");
    }
}

#[test]
fn the_usage_names_every_flag() {
    for flag in ["-C", "-L", "-F", "-O", "-D", "-DD", "-R", "-api", "-metrics", "-V"] {
        assert!(
            cli::USAGE.contains(&format!("{flag} ")) || cli::USAGE.contains(&format!("{flag},")),
            "{flag}"
        );
        assert!(PAGE.contains(flag), "{flag}");
    }
}
