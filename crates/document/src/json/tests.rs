use proptest::prelude::*;

use super::*;
use crate::findings::Profile;

fn try_read(source: &str) -> Result<Value, String> {
    let report = Report::new(Profile::Compat);
    let text = report.add_text("a.json", source);
    let value = read(source, text, &report);
    value.ok_or_else(|| report.finish()[0].to_string())
}

fn to_serde(value: &Value) -> serde_json::Value {
    match &value.data {
        Data::Null => serde_json::Value::Null,
        Data::Bool(value) => (*value).into(),
        Data::Int(number) => (*number).into(),
        Data::Float(number) => (*number).into(),
        Data::Text(text) => text.clone().into(),
        Data::List(items) => items.iter().map(to_serde).collect(),
        Data::Map(entries) => entries.iter().map(|e| (e.key.clone(), to_serde(&e.value))).collect(),
    }
}

#[test]
fn places_are_those_of_the_text() {
    let value = try_read("{\n  \"ä\": \"x\\\"y\", \"b\": [1, 2.5]}").unwrap();
    let b = value.get("b").unwrap();
    assert_eq!((b.place.line, b.place.column, b.place.width), (2, 16, 3));
    let Data::List(items) = &b.value.data else { panic!("{b:?}") };
    assert_eq!((items[1].place.line, items[1].place.column, items[1].place.width), (2, 25, 3));
}

#[test]
fn errors_name_the_place() {
    assert!(try_read("{\n  \"a\": 1,\n}").unwrap_err().starts_with("a.json:3:1: error: not JSON"));
    assert!(try_read("{\"a\": 1, \"A\": 2}").unwrap_err().contains("given twice"));
    assert!(try_read(&"[".repeat(1000)).is_err());
    assert!(
        try_read(&format!("{}{}", "[".repeat(50), "]".repeat(50)))
            .unwrap_err()
            .contains("levels deep")
    );
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>()
            .prop_filter("JSON has no others", |f| f.is_finite() && f.fract() != 0.0)
            .prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::Array),
            prop::collection::btree_map("[a-z\"\\\\ü{}\\[\\],:]{0,5}", inner, 0..6)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn reads_what_serde_reads(json in any_json(), pretty: bool) {
        let source = if pretty { serde_json::to_string_pretty(&json) } else { serde_json::to_string(&json) };
        let value = try_read(&source.unwrap()).unwrap();
        prop_assert_eq!(to_serde(&value), json);
    }

    #[test]
    fn no_text_panics(text in "[\\[\\]{}\":,0-9a-z\\\\ \n]{0,60}") {
        let _ = try_read(&text);
    }
}
