//! `docs/configuration.md` and the pages with tables name every key, `docs/findings.md` every code.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its files has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use rtun_config::{
    cli,
    findings::{Code, Profile},
    schema,
};

const PAGE: &str = include_str!("../../../docs/configuration.md");
const FINDINGS: &str = include_str!("../../../docs/findings.md");

/// The pages with tables of keys, each generated between two marks.
const TABLES: [&str; 2] = ["configuration-reference.md", "configuration-metadata.md"];
const BEGIN: &str = "<!-- generated from crates/config/src/schema: begin -->\n";
const END: &str = "\n<!-- generated: end -->\n";

fn path(page: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page)
}

fn tables() -> [String; 2] {
    TABLES.map(|page| fs::read_to_string(path(page)).unwrap())
}

#[test]
fn the_pages_show_what_the_tables_say() {
    for ((name, page), tables) in TABLES.iter().zip(tables()).zip(schema::reference()) {
        let (before, rest) = page.split_once(BEGIN).unwrap();
        let (shown, after) = rest.split_once(END).unwrap();
        if std::env::var_os("RTUN_WRITE_DOCS").is_some() {
            fs::write(path(name), format!("{before}{BEGIN}{tables}{END}{after}")).unwrap();
        } else {
            assert!(
                shown == tables,
                "docs/{name} is out of date; write it again with\n  \
                 RTUN_WRITE_DOCS=1 cargo test -p rtun-config --test documentation"
            );
        }
    }
}

#[test]
fn the_links_of_the_tables_lead_to_headings() {
    let anchor = |line: &str| {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-');
        let text = line.trim_start_matches('#').trim().to_lowercase();
        text.chars().filter(kept).collect::<String>().replace(' ', "-")
    };
    for (page, least) in schema::reference().iter().zip([30, 0]) {
        let headings: Vec<String> =
            page.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
        let links: Vec<&str> =
            page.split("](#").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
        assert!(links.len() >= least, "{}", links.len());
        for link in links {
            assert_eq!(headings.iter().filter(|heading| *heading == link).count(), 1, "{link}");
        }
    }
}

#[test]
fn every_key_is_described() {
    let keys = schema::all_keys();
    assert!(keys.len() > 250, "only {} keys", keys.len());
    let pages = format!("{PAGE}{}", tables().concat());
    let missing: Vec<_> =
        keys.iter().filter(|(_, key)| !pages.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
    for types in [&schema::LISTENERS, &schema::DIALERS, &schema::HANDLERS, &schema::CONNECTORS] {
        let refused = types.refused.iter().map(|refused| &refused.name);
        for name in types.supported.iter().chain(refused) {
            assert!(pages.contains(&format!("`{name}`")), "{} {name}", types.what);
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
