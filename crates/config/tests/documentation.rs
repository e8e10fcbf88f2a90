//! `docs/configuration.md` names every key and every code there is.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its files has failed")]

use rtun_config::{
    cli,
    findings::{Code, Profile},
    load_text, schema,
};

const PAGE: &str = include_str!("../../../docs/configuration.md");

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
        let row = PAGE.lines().find(|line| line.starts_with(&start));
        let end =
            format!("| {} | {} |", code.severity(Profile::Compat), code.severity(Profile::Strict));
        assert!(row.is_some_and(|row| row.ends_with(&end)), "{code}: {row:?}");
    }
}

#[test]
fn the_examples_load_with_nothing_said_but_that_tls_is_missing() {
    let examples: Vec<&str> =
        PAGE.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(examples.len(), 11);
    for example in examples {
        let outcome = load_text("example", example, false, Profile::Compat);
        assert!(outcome.config.is_some());
        let others = outcome
            .findings
            .iter()
            .filter(|f| !matches!(f.code, Some(Code::C02 | Code::C03)))
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        assert!(others.is_empty(), "{}", others.join("\n"));
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
