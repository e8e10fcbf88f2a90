use super::*;
use crate::findings::Profile;

fn try_read(source: &str) -> Result<Value, String> {
    let report = Report::new(Profile::Compat);
    let text = report.add_text("a.yaml", source);
    let value = read(source, text, &report);
    value.ok_or_else(|| report.finish()[0].to_string())
}

fn json(value: &Value) -> String {
    match &value.data {
        Data::Null => "null".into(),
        Data::Bool(value) => value.to_string(),
        Data::Int(number) => number.to_string(),
        Data::Float(number) => format!("{number:?}"),
        Data::Text(text) => format!("{text:?}"),
        Data::List(items) => {
            format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(","))
        }
        Data::Map(entries) => {
            let entry = |e: &Member| format!("{:?}:{}", e.key, json(&e.value));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(","))
        }
    }
}

#[test]
fn scalars_are_read_as_gost_reads_them() {
    for (written, read) in [
        ("~", "null"),
        ("True", "true"),
        ("yes", "\"yes\""),
        ("0123", "83"),
        ("0o17", "15"),
        ("0x1F", "31"),
        ("0b101", "5"),
        ("1_000", "1000"),
        ("-5", "-5"),
        ("08", "8.0"),
        ("1.5", "1.5"),
        ("1e3", "1000.0"),
        ("192.168.1.1", "\"192.168.1.1\""),
        ("10s", "\"10s\""),
        ("'1'", "\"1\""),
        ("!!str 1", "\"1\""),
        ("! 1", "\"1\""),
        ("2026-11-22", "\"2026-11-22\""),
        ("1e", "\"1e\""),
        ("-", "[null]"),
        (".", "\".\""),
        ("+", "\"+\""),
    ] {
        assert_eq!(try_read(written).map(|v| json(&v)), Ok(read.to_owned()), "{written}");
    }
}

#[test]
fn anchors_aliases_and_merge_keys() {
    let source = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [{z: 1}, *a], x: 9}\nd: *a\n";
    assert_eq!(
        try_read(source).map(|v| json(&v)),
        Ok(r#"{"a":{"x":1,"y":2},"b":{"y":3,"x":1},"c":{"x":9,"z":1,"y":2},"d":{"x":1,"y":2}}"#
            .to_owned())
    );
}

#[test]
fn places_are_those_of_the_text() {
    let value = try_read("a:\n  - name: x\n    addr: höst\n").unwrap();
    let list = value.get("a").unwrap();
    let Data::List(items) = &list.value.data else { panic!("{list:?}") };
    let addr = items[0].get("ADDR").unwrap();
    assert_eq!((addr.place.line, addr.place.column, addr.place.width), (3, 5, 4));
    let place = addr.value.place;
    assert_eq!((place.line, place.column, place.width), (3, 11, 4));
}

#[test]
fn what_is_not_one_plain_document_is_refused() {
    for (source, message) in [
        ("a: 1\nA: 2\n", "`A` is given twice: first in line 1, column 1"),
        ("a: !x 1\n", "the tag `!x` has no meaning"),
        ("a: &a [*a]\n", "refers to a value it is part of"),
        ("{a: 1}: 2\n", "a key must be a plain text"),
        ("<<: 1\n", "`<<` takes a map"),
        ("a: *b\n", "not YAML"),
        ("a: [1\n", "not YAML"),
        ("!!int x", "`x` is no `!!int`"),
    ] {
        let error = try_read(source).unwrap_err();
        assert!(error.contains(message), "{source}: {error}");
    }
    let deep = "[".repeat(100);
    assert!(try_read(&deep).unwrap_err().contains("levels deep"));
}

/// As GOST does, whatever the rest holds.
#[test]
fn of_several_documents_the_first_is_read() {
    for source in ["a: 1\n---\nb: 1\n", "---\na: 1\n---\n[x\n"] {
        let report = Report::new(Profile::Compat);
        let text = report.add_text("a.yaml", source);
        let keys: Vec<_> = read(source, text, &report).unwrap().entries().to_vec();
        assert_eq!(keys.iter().map(|member| &*member.key).collect::<Vec<_>>(), ["a"], "{source}");
        let findings = report.finish();
        assert_eq!(findings.len(), 1, "{source}");
        assert!(findings[0].message.starts_with("a second document begins here"), "{source}");
    }
    assert_eq!(try_read("---\na: 1\n...\n").unwrap().entries().len(), 1);
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut source = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..10 {
        let alias = format!("*a{}", i - 1);
        source += &format!("a{i}: &a{i} [{}]\n", vec![alias; 10].join(", "));
    }
    assert!(try_read(&source).unwrap_err().contains("more than 1000000 values"));
    let text = "x".repeat(1 << 20);
    let aliases = "*a, ".repeat(1000);
    let source = format!("a: &a {text}\nb: [{aliases}]\n");
    assert!(try_read(&source).unwrap_err().contains("more than 1000000 values"));
}
