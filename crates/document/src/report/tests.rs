use super::*;
use crate::{findings::Location, location::quote};

fn finding(text: &str, column: u32, width: u32) -> Finding {
    Finding {
        code: Some(Code::C01),
        severity: Severity::Error,
        location: Some(Location {
            file: "hub.yaml".into(),
            line: 12,
            column,
            width,
            text: text.to_owned(),
            text_column: 1,
        }),
        path: "routers[0].name".to_owned(),
        message: "no such name".to_owned(),
        help: Some("use another".to_owned()),
    }
}

#[test]
fn points_at_the_place() {
    assert_eq!(
        finding("    name: x", 11, 1).to_string(),
        "hub.yaml:12:11: error[C01]: no such name\n  12 |     name: x\n     |           ^ routers[0].name\n  help: use another"
    );
}

#[test]
fn long_lines_are_cut_around_the_place() {
    let line = format!("{}HERE{}", "a".repeat(5000), "b".repeat(500_000));
    let report = Report::new(Profile::Compat);
    let text = report.add_text("a.json", &line);
    report.at(Position { text, line: 1, column: 5001, width: 4 }).error("here");
    let shown = report.finish()[0].to_string();
    let lines: Vec<&str> = shown.lines().collect();
    let place = lines[1].find("HERE").unwrap();
    assert_eq!(&lines[2][place..place + 4], "^^^^");
    assert!(lines[1].len() < 150);
}

#[test]
fn places_beyond_the_text_do_not_panic() {
    let report = Report::new(Profile::Compat);
    let number = report.add_text("a.yaml", "abc\n");
    for (text, line, column, width) in
        [(0, 1, 4, 1), (0, 1, 90, 90), (0, 1, 0, 0), (0, 3, 1, 1), (9, 1, 1, 1), (0, 0, 9, 0)]
    {
        report.at(Position { text: number + text, line, column, width }).error("x");
    }
    report.finish().iter().for_each(|finding| drop(finding.to_string()));
}

#[test]
fn quoting_escapes_what_a_terminal_would_obey() {
    assert_eq!(quote("a\u{1b}[31mb\u{202e}"), r"`a\u{1b}[31mb\u{202e}`");
    assert_eq!(quote(&"x".repeat(200)).len(), 85);
    assert_eq!(quote("http://u:p@h"), "`http://***@h`");
}

#[test]
fn what_is_left_out_is_counted() {
    let report = Report::new(Profile::Compat);
    for i in 0..120 {
        report.whole().warning(format!("warning {i}"));
    }
    assert!(!report.failed());
    for i in 0..MAX_FINDINGS + 10 {
        report.whole().error(format!("error {i}"));
    }
    assert!(report.failed());
    let findings = report.finish();
    assert_eq!(findings.len(), MAX_FINDINGS + 1);
    assert!(findings.iter().all(|f| f.severity == Severity::Error), "errors come first");
    assert_eq!(findings[MAX_FINDINGS].message, "130 more findings are not shown");
}
