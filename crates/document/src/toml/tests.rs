use super::*;
use crate::{findings::Profile, json, print};

fn read_text(source: &str) -> Result<Value, String> {
    let report = Report::new(Profile::Compat);
    let text = report.add_text("a.toml", source);
    read(source, text, &report).ok_or_else(|| report.finish()[0].to_string())
}

/// TOML and the JSON that stands for the same.
#[test]
fn every_kind_of_value() {
    let toml = r#"
tls.certFile = 'a.pem' # dotted
[[services]]
name = "hub"
addr = ":8443"
[services.handler]
type = "router"
metadata = { "router.cache" = true, ttl = "5s", mtu = 0x5_0 }
[[services]]
numbers = [1, -2, 1.5, 1_000, 0o17]
text = """
two
lines"""
"#;
    let same = r#"{"tls": {"certFile": "a.pem"}, "services": [
        {"name": "hub", "addr": ":8443", "handler": {"type": "router",
            "metadata": {"router.cache": true, "ttl": "5s", "mtu": 80}}},
        {"numbers": [1, -2, 1.5, 1000, 15], "text": "two\nlines"}]}"#;
    let report = Report::new(Profile::Compat);
    let text = report.add_text("a.json", same);
    let same = json::read(same, text, &report).unwrap();
    assert_eq!(print::json(&read_text(toml).unwrap()), print::json(&same));
}

#[test]
fn values_know_their_places() {
    let read = read_text("a = 1\n[t]\n  b = [ 'ü', 'xyz' ]\n").unwrap();
    let place = |value: &Value| (value.place.line, value.place.column, value.place.width);
    assert_eq!(place(&read.entries()[0].value), (1, 5, 1));
    let table = &read.entries()[1].value;
    let Data::List(items) = &table.entries()[0].value.data else { panic!("no list") };
    assert_eq!((place(&items[0]), place(&items[1])), ((3, 9, 3), (3, 14, 5)));
    let key = &table.entries()[0];
    assert_eq!((key.place.line, key.place.column, key.place.width), (3, 3, 1));
}

#[test]
fn what_is_wrong_is_shown_where_it_stands() {
    for (source, says) in [
        ("a = 1\nb = \n", "a.toml:2:"),
        ("a = 1\nA = 2\n", "`A` is given twice: first in line 1, column 1"),
        ("a = 1\na = 2\n", "duplicate key"),
        ("a = 2026-11-28\n", "no key of a configuration is a date or time"),
        ("a = 99999999999999999999\n", "this number is too large"),
    ] {
        let error = read_text(source).unwrap_err();
        assert!(error.contains(says), "{source:?}: {error}");
    }
    let deep = format!("a = {}{}", "[".repeat(40), "]".repeat(40));
    assert!(read_text(&deep).unwrap_err().contains("levels deep"));
}
