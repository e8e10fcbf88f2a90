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

/// What the pages with tables of keys have around the tables.
const BEGIN: &str = "<!-- generated from crates/config/src/schema: begin -->\n";
const END: &str = "\n<!-- generated: end -->\n";

fn path(page: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page)
}

#[test]
fn the_pages_show_what_the_tables_say() {
    for (name, tables) in schema::reference() {
        let page = fs::read_to_string(path(name)).unwrap();
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
    let pages = schema::reference();
    let mut links = 0;
    for (page, text) in &pages {
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let (there, heading) = link.split_once('#').unwrap_or((link, ""));
            let there = if there.is_empty() { page } else { there };
            let Some((_, there)) = pages.iter().find(|(page, _)| *page == there) else { continue };
            links += 1;
            let headings = there.lines().filter(|line| line.starts_with('#')).map(anchor);
            let found = headings.filter(|anchor| anchor == heading).count();
            assert!(heading.is_empty() || found == 1, "{page}: {link}");
        }
    }
    assert!(links > 50, "only {links} links");
}

#[test]
fn every_key_is_described() {
    let keys = schema::all_keys();
    assert!(keys.len() > 250, "only {} keys", keys.len());
    let tables: String = schema::reference().into_iter().map(|(_, tables)| tables).collect();
    let pages = format!("{PAGE}{tables}");
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
